"""A compiled file through the worker: the emulator's values, whatever the interpreter, the order and the threads."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.engine import run
from runtime.vitis.memory import Layout, Memory
from runtime.vitis.plan import CardStep, plan
from runtime.vitis.process import Limits
from runtime.vitis.runner import SLOTS, CardRunner, agreed, open_runners
from tests.runtime.vitis import tool
from tests.runtime.vitis.conftest import Recorded
from tests.shared import SHARED, needs_shared
from tests.xmodel.test_process import wait_gone
from xmodel import file
from xmodel.errors import ArtifactError, UnavailableError, UsageError
from xmodel.graph import Array, Attr, Graph, Subgraph, numpy_dtype

HERE = Path(sys.executable)


def opened(recorded: Recorded, python: Path = HERE, count: int = 1) -> list[CardRunner]:
    return open_runners(recorded.graph, recorded.path, python, count, "reference")


@pytest.fixture
def runner(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> Iterator[CardRunner]:
    tool.use(monkeypatch, recorded.answers)
    (made,) = opened(recorded)
    yield made
    made.close()


def empty(runner: CardRunner, size: int) -> dict[str, Array]:
    return {t.name: np.zeros((size, *t.shape[1:]), numpy_dtype(t.data_type)) for t in runner.outputs}


def through(runner: CardRunner, images: dict[str, Array], order: Sequence[int] | None = None) -> dict[str, Array]:
    """All images in batches that are all in flight at once, waited for in `order`."""
    count = len(next(iter(images.values())))
    outputs, jobs = [], []
    for start in range(0, count, runner.batch):
        feeds = {name: array[start : start + runner.batch] for name, array in images.items()}
        outputs.append(empty(runner, min(runner.batch, count - start)))
        jobs.append(runner.execute_async(feeds, outputs[-1]))
    for index in order or range(len(jobs)):
        runner.wait(jobs[index])
    return {name: np.concatenate([made[name] for made in outputs]) for name in outputs[0]}


def same(found: dict[str, Array], wanted: dict[str, Array]) -> None:
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("version", ["3.6", "3.7", "3.8"])
def test_on_a_real_old_python(version: str, recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tool.old_python(version)
    tool.use(monkeypatch, recorded.answers, delay=1)
    first, second = opened(recorded, python, 2)
    same(through(first, recorded.images), recorded.wanted)
    same(through(second, recorded.images), recorded.wanted)
    first.close()
    second.close()


def test_with_this_numpy(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    tool.use(monkeypatch, recorded.answers, bare=False)
    (made,) = opened(recorded)
    assert made.batch == 8 and made.inputs[0].name == recorded.x and made.kernels == "reference"
    same(through(made, recorded.images), recorded.wanted)
    pid = made._card.worker.pid
    made.close()
    made.close()
    assert wait_gone(pid)
    with pytest.raises(UnavailableError, match=r"^The card was closed\.$"):
        through(made, recorded.images)


def test_more_jobs_than_slots_waited_for_in_any_order(runner: CardRunner, recorded: Recorded) -> None:
    assert len(recorded.images[recorded.x]) > SLOTS * 8
    same(through(runner, recorded.images, [3, 0, 2, 1]), recorded.wanted)
    same(through(runner, recorded.images, [2, 3, 1, 0]), recorded.wanted)


def test_the_batch_is_the_cards(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    tool.use(monkeypatch, recorded.answers, batch=6)
    (made,) = opened(recorded)
    assert made.batch == 6
    same(through(made, recorded.images), recorded.wanted)
    made.close()


def test_runners_share_a_worker_under_the_engine(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    tool.use(monkeypatch, recorded.answers, delay=1)
    pool = opened(recorded, count=3)
    assert len({made._card.worker.pid for made in pool}) == 1
    images, name = recorded.images[recorded.x], pool[0].outputs[0].name
    got: list[Array] = []
    run(range(30), lambda index: images[index], pool, lambda result: got.append(result.outputs[name]), print)
    np.testing.assert_array_equal(np.stack(got), recorded.wanted[name])
    threads = [threading.Thread(target=made.close) for made in pool]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wait_gone(pool[0]._card.worker.pid)


def test_lanes_without_an_image_are_zero(runner: CardRunner, recorded: Recorded) -> None:
    for count in (8, 3):
        through(runner, {recorded.x: recorded.images[recorded.x][:count]})
    lanes = [slot[0][0][recorded.x] for slot in runner._slots]
    assert [int(np.any(lane[3:])) for lane in lanes] == [0, 0, 0]  # a free slot is taken again, the last one first
    assert any(np.array_equal(lane[:3], recorded.images[recorded.x][:3]) for lane in lanes)


def test_arrays_that_do_not_fit_never_reach_the_vendor(runner: CardRunner, recorded: Recorded) -> None:
    x = recorded.images[recorded.x]
    for feeds, size, text in (
        ({recorded.x: x[:9]}, 9, "1 to 8 images for tensor 'x"),
        ({}, 2, "1 to 8 images for tensor 'x"),
        ({recorded.x: x[:2].astype(np.int16)}, 2, r"takes int8 \[8, 8, 3\], not int16 \[8, 8, 3\]"),
        ({recorded.x: x[:2, :4]}, 2, r"takes int8 \[8, 8, 3\], not int8 \[4, 8, 3\]"),
        ({recorded.x: x[:2]}, 3, r"different batches: \[2, 3\]"),
    ):
        with pytest.raises(UsageError, match=text):
            runner.execute_async(feeds, empty(runner, size))
    with pytest.raises(UsageError, match="There is no job 5"):
        runner.wait(5)
    strided = np.repeat(x[:4], 2, axis=2)[:, :, ::2]
    assert not strided.flags.c_contiguous
    same(through(runner, {recorded.x: strided}), {name: array[:4] for name, array in recorded.wanted.items()})


@needs_shared
def test_a_file_of_the_vendors_for_the_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two DPU subgraphs, a custom layer (here: a ReLU) between them; the weights stay in the file's blob."""
    path = SHARED / "goldens/xmodels/v25_vck50008pe_tf2_custom_op.xmodel"
    graph = file.read(path)
    with pytest.raises(ArtifactError, match="'Mylayer', which the emulator does not know"):
        open_runners(graph, path, HERE, 1)
    own = graph.op("custom_layer")
    layer = replace(own, type="relu", inputs={"input": own.inputs["input"][:1]})
    graph = replace(graph, ops=tuple(layer if op is own else op for op in graph.ops))
    images = tool.random_images(graph, 11)
    wanted = tool.record(graph, images, tmp_path)
    tool.use(monkeypatch, tmp_path)
    (made,) = open_runners(graph, path, HERE, 1)
    same(through(made, images), wanted)
    made.close()


def dpu(graph: Graph) -> list[CardStep]:
    return [step for step in plan(graph, "reference") if isinstance(step, CardStep)]


def test_what_the_vendor_states_must_be_what_the_file_says(recorded: Recorded) -> None:
    parts = dpu(recorded.graph)

    def told(**change: Any) -> dict[str, Any]:
        def entry(tensor: Any) -> dict[str, Any]:
            return {"name": tensor.name, "dims": [8, *tensor.shape[1:]], "fix_point": tensor.fix_point}

        answer = [{"inputs": [*map(entry, p.inputs)], "outputs": [*map(entry, p.outputs)]} for p in parts]
        answer[0]["inputs"][0].update(change)
        return {"parts": answer}

    batch, layout = agreed(parts, told())
    assert batch == 8 and layout.stride == 3 * 4096 and len(layout.parts) == 2
    for change, text in (
        ({"name": "y"}, r"subgraph_c' has the tensors \['y'\]; the file \['x.*'\]"),
        ({"dims": [8, 8, 8, 4]}, r"takes 'x.*' as \[8, 8, 8, 4\]; the file says \[1, 8, 8, 3\]"),
        ({"fix_point": -9}, "has 'x.*' at fix point -9; the file says"),
        ({"dims": [6, 8, 8, 3]}, r"different batches: \[6, 8\]"),
    ):
        with pytest.raises(UnavailableError, match=text):
            agreed(parts, told(**change))


def test_graphs_that_are_no_compiled_ones(recorded: Recorded) -> None:
    graph = recorded.graph
    assert graph.root is not None
    children = graph.root.children
    for changed, text in (
        (replace(graph, root=None), "No subgraph of graph 'Net' makes the output"),
        (_with(graph, children[:1] + children[2:]), "reads 'r_fix', which no subgraph before it makes"),
        (_with(graph, (children[0], replace(children[1], attrs={"device": Attr.of("GPU")}))), "for the device 'GPU'"),
    ):
        with pytest.raises(ArtifactError, match=text):
            plan(changed, "reference")


def _with(graph: Graph, children: tuple[Subgraph, ...]) -> Graph:
    return replace(graph, root=Subgraph("root", children=children))


def test_places_do_not_overlap() -> None:
    layout = Layout.of([([("a", (8, 3))], [("b", (8, 100)), ("c", (8, 1))]), ([("b", (8, 100))], [("d", (8, 5000))])])
    ends, last = [], 0
    for place in (place for part in layout.parts for side in part for place in side):
        assert place.offset % 64 == 0 and place.offset >= last
        last = place.offset + int(np.prod(place.shape))
        ends.append(last)
    assert layout.stride % 4096 == 0 and layout.stride >= ends[-1]


def test_memory_that_is_not_there() -> None:
    memory = Memory()
    with pytest.raises(UnavailableError, match=r"There are no \d+ MiB of memory for the card's batches"):
        memory.resize(1 << 60)
    memory.close()


def test_a_job_gets_as_long_as_the_vendor_gives_it() -> None:
    assert Limits.of({}).job == Limits().job > 10
    assert Limits.of({"XLNX_DPU_TIMEOUT": "100000"}).job == 110
    assert Limits.of({"XLNX_DPU_TIMEOUT": "much"}).job == Limits().job
