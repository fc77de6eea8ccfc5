from __future__ import annotations

import numpy as np

from runtime.emulator.operations import Function
from runtime.emulator.program import Program
from runtime.emulator.spec import Concat
from runtime.emulator.steps import Step, freed, joined
from tests.runtime.emulator.native import needs_native
from tests.runtime.emulator.networks import Builder
from xmodel.graph import Array

CONCAT = Concat(3, (0, 1))


def nothing(*_: Array) -> Array:
    return np.zeros(0)


def fused(*_: Array) -> Array:
    return np.ones(0)


def join(concat: Concat, reader: Function) -> Function | None:
    return fused if concat is CONCAT and reader is nothing else None


def step(writes: int, *reads: int) -> Step:
    return Step(f"step {writes}", nothing, reads, writes)


def test_a_slot_is_freed_by_its_last_reader() -> None:
    steps = freed([step(1, 0), step(2, 0, 1, 1), step(3, 2, 9)], kept=(9,))
    assert [item.frees for item in steps] == [(), (0, 1), (2,)]


def test_the_only_reader_takes_the_inputs_of_a_concatenation() -> None:
    # 2 = concat(0, 1), 3 = reader of 2 with the constant 8
    steps = joined([step(2, 0, 1), step(3, 2, 8)], {2: CONCAT}, join, kept=(3, 8))
    assert [(item.name, item.reads, item.function) for item in steps] == [("step 3", (0, 1), fused)]


def test_a_concatenation_stays_where_somebody_else_reads_it() -> None:
    plain = [step(2, 0, 1), step(3, 2, 8), step(4, 2)]
    assert joined(plain, {2: CONCAT}, join, kept=(8,)) == plain  # two readers
    plain = [step(2, 0, 1), step(3, 2, 8)]
    assert joined(plain, {2: CONCAT}, join, kept=(2, 8)) == plain  # it is an output
    assert joined(plain, {2: CONCAT}, join, kept=(0,)) == plain  # an input is a constant, which has no batch
    assert joined(plain, {2: Concat(3, (0,))}, join, kept=()) == plain  # the reader cannot
    plain = [step(2, 0, 1), step(3, 0, 2)]
    assert joined(plain, {2: CONCAT}, join, kept=()) == plain  # not the image that the reader computes on


@needs_native
def test_a_run_makes_the_concatenation_only_for_those_who_watch() -> None:
    net = Builder("net")
    x = net.data(24, 24, 16)
    both = net.concat(net.conv(x, 16), x)
    net.conv(both, 16)
    program, reference = Program(net.graph(), "native"), Program(net.graph(), "reference")
    feeds = {program.inputs[0].name: np.random.default_rng(0).integers(-128, 128, (2, 24, 24, 16), np.int8)}
    seen: list[str] = []
    wanted = reference.run(feeds, dump=True)
    plain, dumped = program.run(feeds), program.run(feeds, dump=True)
    watched = program.run(feeds, watch=lambda name, _: seen.append(name))
    assert both in seen and net.output(both).name in dumped
    for found in (plain, dumped, watched):
        for name, values in found.items():
            np.testing.assert_array_equal(values, wanted[name])
