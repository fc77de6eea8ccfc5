"""The steps of a plan, and the shorter plan of a run that nobody watches: concatenations are read where they lie."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from runtime.emulator.operations import Function
from runtime.emulator.spec import Concat

Join = Callable[[Concat, Function], Function | None]


@dataclass(frozen=True, slots=True)
class Step:
    """One op of the plan: slots it reads, the slot it fills, and the slots nobody reads after it."""

    name: str
    function: Function
    reads: tuple[int, ...]
    writes: int
    frees: tuple[int, ...] = ()


def freed(steps: Sequence[Step], kept: Collection[int]) -> tuple[Step, ...]:
    """`steps`, each with the slots that are read for the last time; those in `kept` stay."""
    last = {slot: step.writes for step in steps for slot in step.reads}
    return tuple(
        replace(step, frees=tuple(s for s in dict.fromkeys(step.reads) if last[s] == step.writes and s not in kept))
        for step in steps
    )


def joined(steps: Sequence[Step], concats: Mapping[int, Concat], join: Join, kept: Collection[int]) -> list[Step]:
    """`steps` without the concatenations, by slot in `concats`, whose only reader can take their inputs instead.

    `join(concat, reader)` is the reader's function of the concatenation's inputs, None where it cannot.
    """
    by_slot = {step.writes: step for step in steps}
    reads = [slot for step in steps for slot in step.reads]
    found: dict[int, Step] = {}
    gone: set[int] = set()
    for step in steps:
        slot = step.reads[0] if step.reads else -1
        if slot not in concats or slot in kept or reads.count(slot) != 1:
            continue
        sources = by_slot[slot].reads
        function = None if any(source in kept for source in sources) else join(concats[slot], step.function)
        if function is not None:
            found[step.writes] = replace(step, function=function, reads=sources)
            gone.add(slot)
    return [found.get(step.writes, step) for step in steps if step.writes not in gone]
