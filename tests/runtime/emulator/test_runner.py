"""The emulator as a runner: jobs in flight, shared weights, errors; and under the engine, whatever the threads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from runtime.emulator.program import Program
from runtime.emulator.runner import EmulatorRunner, batch_of, runners
from runtime.engine import Result, run
from tests.runtime.emulator.networks import Builder
from xmodel.errors import UsageError
from xmodel.graph import Array, Subgraph, attrs


def network() -> Program:
    net = Builder("small")
    net.conv(net.pool(net.conv(net.data(8, 8, 3), 8)), 2, relu=False)
    return Program(net.graph(), "torch")


PROGRAM = network()
IMAGES = np.random.default_rng(1).integers(0, 128, (20, 8, 8, 3)).astype(np.int8)
(X,), (Y,) = PROGRAM.inputs, PROGRAM.outputs


def outputs(count: int) -> dict[str, Array]:
    return {Y.name: np.zeros((count, *Y.shape[1:]), np.int8)}


def test_jobs_in_flight_may_be_waited_for_in_any_order() -> None:
    wanted = PROGRAM.run({X.name: IMAGES})[Y.name]
    runner = EmulatorRunner(PROGRAM)
    places = [outputs(8), outputs(8), outputs(4)]
    jobs = [
        runner.execute_async({X.name: IMAGES[8 * i : 8 * i + 8]}, place) for i, place in enumerate(places)
    ]  # fmt: skip
    for job in reversed(jobs):
        runner.wait(job)
    runner.close()
    np.testing.assert_array_equal(np.concatenate([place[Y.name] for place in places]), wanted)


def test_mistakes_are_named() -> None:
    runner = EmulatorRunner(PROGRAM)
    with pytest.raises(UsageError, match=r"1 to 8 images for tensor 'data-fix_0'"):
        runner.execute_async({X.name: IMAGES}, outputs(8))
    with pytest.raises(UsageError, match=f"for tensor '{Y.name}'"):
        runner.execute_async({X.name: IMAGES[:8]}, {})
    with pytest.raises(UsageError, match="no job 7"):
        runner.wait(7)
    job = runner.execute_async({X.name: IMAGES[:2, :4]}, outputs(2))
    with pytest.raises(UsageError, match=r"takes \[N, 8, 8, 3\]"):
        runner.wait(job)
    runner.close()


@pytest.mark.parametrize("threads", [1, 2, 5, 12])
def test_results_do_not_depend_on_threads(threads: int) -> None:
    wanted = PROGRAM.run({X.name: IMAGES})[Y.name]
    made = runners(PROGRAM, 8, threads)
    rows: list[Result[int]] = []
    run(range(20), lambda i: IMAGES[i], made, rows.append, lambda f: None)
    for runner in made:
        runner.close()
    np.testing.assert_array_equal(np.stack([row.outputs[Y.name] for row in rows]), wanted)


def test_batch_is_the_targets_number_of_engines() -> None:
    net = Builder("net")
    net.data(2, 2, 3)
    graph = net.graph()
    dpu = Subgraph("dpu", ("data-fix_0",), attrs=attrs(dpu_name="DPUCVDX8H_ISA1_F2W4_6PE_aieDWC"))
    assert batch_of(replace(graph, root=Subgraph("root", children=(dpu,)))) == 6
    assert batch_of(replace(graph, root=Subgraph("root", children=(replace(dpu, attrs=attrs(dpu_name="?")),)))) == 8
    assert batch_of(graph) == 8
