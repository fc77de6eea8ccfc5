"""Runners: what a job takes, gives and refuses."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.dropin import jobs, runner
from runtime.dropin.network import Network
from tests.runtime.dropin import graphs
from tests.runtime.dropin.conftest import Names
from tests.shared import SHARED, needs_shared
from xmodel.errors import ArtifactError, UsageError
from xmodel.graph import Array, Graph


@pytest.fixture
def detector() -> Graph:
    return graphs.compiled(graphs.detector())


def _opened(names: Names, folder: Path, graph: Graph) -> Any:
    return names.xir.Graph.deserialize(graphs.write(folder, graph))


def _part(graph: Any, device: str = "DPU", place: int = 0) -> Any:
    parts = graph.get_root_subgraph().toposort_child_subgraph()
    return [part for part in parts if part.get_attr("device") == device][place]


@pytest.fixture
def dpu(names: Names, tmp_path: Path, detector: Graph) -> Any:
    """A runner of the detector's DPU subgraph."""
    return names.vart.Runner.create_runner(_part(_opened(names, tmp_path, detector)), "run")


def _outputs(run: Any, images: int, dtype: Any = np.int8) -> list[Array]:
    return [np.full((images, *tensor.dims[1:]), 99, dtype) for tensor in run.get_output_tensors()]


def _done(run: Any, inputs: Any, outputs: Any, **options: Any) -> Any:
    job = run.execute_async(inputs, outputs, **options)
    assert type(job) is tuple and len(job) == 2 and type(job[0]) is int and job[1] == 0
    assert run.wait(job) == 0
    return outputs


@pytest.mark.parametrize(("target", "batch"), [("8PE", 8), ("6PE_aieMISC", 6), ("4PE", 4), ("DPUCZDX8G_ISA1_B4096", 1)])
def test_tensors_have_the_batch_of_the_target(target: str, batch: int, names: Names, tmp_path: Path) -> None:
    graph = _opened(names, tmp_path, graphs.compiled(graphs.detector(), target))
    run = names.vart.Runner.create_runner(_part(graph), "run")
    (given,), (mask, score) = run.get_input_tensors(), run.get_output_tensors()
    assert (given.dims, given.dtype, given.get_attr("fix_point")) == ([batch, 8, 8, 3], "xint8", 6)
    assert (mask.dims, mask.get_attr("fix_point")) == ([batch, 8, 8, 2], 2) and score.dims == [batch, 1]
    assert run.get_input_tensors() == [given] and given.producer is graph.get_op("x") and type(mask) is names.xir.Tensor
    assert graph.get_tensor_producer(given) is graph.get_op("x")


@pytest.mark.parametrize("images", [1, 3, 8])
def test_int8_and_float32_and_int16_buffers_hold_the_same_values(images: int, dpu: Any, detector: Graph) -> None:
    real = graphs.images(images)
    mask, score = wanted = graphs.expected(detector, graphs.at_6(real))
    for given in (graphs.at_6(real), real, graphs.at_6(real).astype(np.int16)):
        for made, value in zip(_done(dpu, [given.copy()], _outputs(dpu, images)), wanted, strict=True):
            np.testing.assert_array_equal(made, value)
    floats = _done(dpu, [real.copy()], _outputs(dpu, images, np.float32))
    np.testing.assert_array_equal(floats[0], mask.astype(np.float32) / 4)
    np.testing.assert_array_equal(floats[1], score.astype(np.float32))
    np.testing.assert_array_equal(_done(dpu, [real.copy()], _outputs(dpu, images, np.int16))[0], mask)


def test_real_values_are_rounded_half_up_and_saturate(dpu: Any, detector: Graph) -> None:
    values = np.array([0.5, -0.5, 1.5, -1.5, 127.4, 127.5, 500, -128.5, -129, -500], np.float32)
    wanted = np.array([1, 0, 2, -1, 127, 127, 127, -128, -128, -128], np.int8)
    real, integers = np.zeros((2, 8 * 8 * 3), np.float32), np.zeros((2, 8 * 8 * 3), np.int8)
    real[1, 20:30], integers[1, 20:30] = values / 64, wanted
    made = _done(dpu, [real], _outputs(dpu, 2))
    np.testing.assert_array_equal(made[0], graphs.expected(detector, integers.reshape(2, 8, 8, 3))[0])
    wide = integers.astype(np.int16)
    wide[1, 25:27], wide[1, 29] = 300, -300
    np.testing.assert_array_equal(_done(dpu, [wide], _outputs(dpu, 2))[0], made[0])


def test_arrays_need_the_right_size_alone(dpu: Any, detector: Graph) -> None:
    given = graphs.at_6(graphs.images(8))
    mask, score = graphs.expected(detector, given)
    flat = [np.zeros(8 * 128, np.int8), np.zeros((8, 1, 1, 1), np.int8)]
    _done(dpu, [given.reshape(8, -1)], flat)
    np.testing.assert_array_equal(flat[0], mask.ravel())
    one = [np.zeros((8, 8, 2), np.int8), np.zeros(1, np.int8)]
    _done(dpu, (given[0].copy(),), tuple(one))
    np.testing.assert_array_equal(one[0], mask[0])
    only = np.zeros((8, 8, 8, 2), np.int8)
    _done(dpu, given, [only])  # fewer outputs than tensors, and an array where a list belongs
    np.testing.assert_array_equal(only, mask)
    longer = _outputs(dpu, 8)
    _done(dpu, [given[:2].copy()], longer, enable_dynamic_array=True)
    np.testing.assert_array_equal(longer[0][:2], mask[:2])
    assert (longer[0][2:] == 99).all() and score.any()
    _done(dpu, [given[:1].copy().data], one)
    np.testing.assert_array_equal(one[0], mask[0])


def _locked(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view


def _refusals() -> list[tuple[Any, Any, type[Exception], str]]:
    x = np.zeros((8, 8, 8, 3), np.int8)
    y = [np.zeros((8, 8, 8, 2), np.int8), np.zeros((8, 1), np.int8)]
    strided = np.zeros((8, 8, 8, 6), np.int8)[..., ::2]
    return [
        ([x.astype(np.uint8)], y, UsageError, "array for tensor 'x_fix' is uint8; VART takes int8, int16, float32"),
        ([x.astype(np.float64)], y, UsageError, "is float64"),
        ([x.astype(">f4")], y, UsageError, "is >f4"),
        ([x], [y[0].astype(np.int32)], UsageError, "output array for tensor 'mask_fix' is int32"),
        ([_locked(x)], y, ValueError, "input array for tensor 'x_fix' is read-only"),
        ([x], [y[0], _locked(y[1])], ValueError, "output array for tensor 'linear_fix' is read-only"),
        ([strided], y, UsageError, "'x_fix' is a strided view"),
        ([x.transpose(0, 3, 1, 2)], y, UsageError, "'x_fix' is a strided view"),
        ([x[:, :7]], y, UsageError, "'x_fix' is a strided view"),
        ([x[:, :7].copy()], y, UsageError, r"'x_fix' is \[8, 7, 8, 3\], 1344 values; .* takes \[8, 8, 8, 3\], 192 "),
        ([np.zeros((9, 8, 8, 3), np.int8)], y, UsageError, "'x_fix' holds 9 images; a job takes at most 8"),
        ([np.zeros((0, 8, 8, 3), np.int8)], y, UsageError, "0 values"),
        ([x, x], y, UsageError, r"has 1 input tensors; 2 arrays were given. They are, in this order, \['x_fix'\]"),
        ([], y, UsageError, "has 1 input tensors; 0 arrays"),
        ([x], [*y, y[0]], UsageError, "has 2 output tensors; 3 arrays"),
        ([x], [y[0][:3].copy(), y[1]], UsageError, "'mask_fix' has room for 3 images; the inputs hold 8"),
        ([[1, 2]], y, TypeError, "input for tensor 'x_fix' is a list, not an array"),
        ([b"abc"], y, ValueError, "'x_fix' is read-only"),
    ]  # fmt: skip


@pytest.mark.parametrize("place", range(len(_refusals())))
def test_what_the_vendors_module_reads_out_of_bounds_or_aborts_on_is_refused_by_name(place: int, dpu: Any) -> None:
    inputs, outputs, kind, message = _refusals()[place]
    with pytest.raises(kind, match=message):
        dpu.execute_async(inputs, outputs)


def test_a_dynamic_array_states_its_batch(dpu: Any) -> None:
    given, made = np.zeros((8, 8, 3), np.int8), _outputs(dpu, 1)
    with pytest.raises(UsageError, match=r"'x_fix' is \[8, 8, 3\]"):
        dpu.execute_async([given], made, True)
    _done(dpu, [given[None]], made, enable_dynamic_array=True)


def test_jobs_are_waited_for_once_with_their_tuple(dpu: Any) -> None:
    given, made = np.zeros((1, 8, 8, 3), np.int8), _outputs(dpu, 1)
    job = dpu.execute_async([given], made)
    with pytest.raises(TypeError, match=r"takes the tuple \(job id, status\)"):
        dpu.wait(job[0])
    assert dpu.wait(list(job)) == 0
    again = np.array(dpu.execute_async([given], made))
    assert dpu.wait(tuple(again)) == 0
    with pytest.raises(UsageError, match=f"Job {job[0]} was waited for already"):
        dpu.wait(job)
    with pytest.raises(UsageError, match="Job 1000000000 was never started"):
        dpu.wait((1000000000, 0))


def test_runners_of_a_subgraph_share_its_weights_until_the_graph_changes(
    names: Names, tmp_path: Path, detector: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    make = runner._made

    def counted(*arguments: Any) -> Network:
        made.append(arguments)
        return make(*arguments)

    monkeypatch.setattr(runner, "_made", counted)
    graph = _opened(names, tmp_path, detector)
    ready = threading.Barrier(5)

    def create() -> None:
        ready.wait()
        names.vart.Runner.create_runner(_part(graph), "run")

    threads = [threading.Thread(target=create) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    names.vart.RunnerExt.create_runner(_part(graph), "ref")
    assert len(made) == 1
    graph.get_op("conv1").get_output_tensor().set_attr("fix_point", 3)
    names.vart.Runner.create_runner(_part(graph), "sim")
    assert len(made) == 2


def test_threads_that_share_a_runner(dpu: Any, detector: Graph) -> None:
    wrong: list[int] = []

    def work(seed: int) -> None:
        for number in range(4):
            given = graphs.at_6(graphs.images(8, 10 * seed + number))
            for made, wanted in zip(
                _done(dpu, [given], _outputs(dpu, 8)), graphs.expected(detector, given), strict=True
            ):
                if not np.array_equal(made, wanted):
                    wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_cpu_subgraph(names: Names, tmp_path: Path, detector: Graph) -> None:
    graph = _opened(names, tmp_path, detector)
    run = names.vart.Runner.create_runner(_part(graph, "CPU", 1), "run")
    (given,), (made,) = run.get_input_tensors(), run.get_output_tensors()
    assert (given.name, given.dims, given.dtype, made.dims, made.dtype) == (
        "linear_fix",
        [1, 1],
        "xint8",
        [1, 1],
        "float32",
    )
    out = np.zeros((1, 1), np.float32)
    _done(run, [np.array([[3]], np.int8)], [out])
    assert out[0, 0] == np.float32(1 / (1 + np.exp(-3.0)))
    with pytest.raises(UsageError, match=r"'prob' is float32 and has no fix_point to convert int8 with. Use a float32"):
        run.execute_async([np.array([[3]], np.int8)], [np.zeros((1, 1), np.int8)])
    with pytest.raises(UsageError, match="holds 2 images; a job takes at most 1"):
        run.execute_async([np.zeros((2, 1), np.int8)], [np.zeros((2, 1), np.float32)])


def test_what_has_no_runner(names: Names, tmp_path: Path, detector: Graph) -> None:
    graph = _opened(names, tmp_path, detector)
    create = names.vart.Runner.create_runner
    with pytest.raises(UsageError, match=r"'subgraph_x' \(device USER\) has no runner"):
        create(_part(graph, "USER"), "run")
    with pytest.raises(UsageError, match=r"has no runner mode ''. It has \['ref', 'run', 'sim'\]: use 'run'"):
        create(_part(graph))
    with pytest.raises(UsageError, match="no runner mode 'fast'"):
        create(_part(graph), "fast")
    with pytest.raises(UsageError, match=r"'root' \(no device\) has no runner"):
        create(graph.get_root_subgraph(), "run")
    with pytest.raises(TypeError, match=r"takes a subgraph of an xir.Graph, not Graph"):
        create(graph, "run")
    with pytest.raises(TypeError, match=r"takes an xir.Graph, not Subgraph"):
        names.library.GraphRunner.create_graph_runner(graph.get_root_subgraph())
    assert repr(create(_part(graph), "run")) == "vart.Runner{subgraph_conv1}"


def test_a_job_that_fails_raises_where_it_is_waited_for(dpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(feeds: object) -> None:
        raise ArtifactError("No.")

    monkeypatch.setattr(dpu._engine.network, "run", fail)
    job = dpu.execute_async([np.zeros((1, 8, 8, 3), np.int8)], _outputs(dpu, 1))
    with pytest.raises(ArtifactError, match=r"^No\.$"):
        dpu.wait(job)
    assert not jobs.jobs().unheard()


def test_buffers_of_a_runner(names: Names, tmp_path: Path, detector: Graph) -> None:
    run = names.vart.RunnerExt.create_runner(_part(_opened(names, tmp_path, detector)), "run")
    (given,), (mask, score) = run.get_inputs(), run.get_outputs()
    assert run.get_inputs() == [given] and isinstance(given, names.vart.TensorBuffer) and mask != score
    assert given.get_tensor() is run.get_input_tensors()[0] and len({given, given, mask}) == 2
    array = np.asarray(given)
    assert type(array) is np.ndarray and np.shares_memory(array, given) and array.dtype == np.int8
    assert str(mask).startswith("vart.TensorBuffer{xir.Tensor{name: mask_fix") and mask.ndim == 4
    array[...] = graphs.at_6(graphs.images(8))
    _done(run, [given], [score, mask])
    for made, wanted in zip((mask, score), graphs.expected(detector, array), strict=True):
        np.testing.assert_array_equal(np.asarray(made), wanted)
    with pytest.raises(UsageError, match="Two buffers were given for the output tensor 'mask_fix'"):
        run.execute_async([given], [mask, mask])
    with pytest.raises(TypeError, match="a part of a tensor buffer"):
        given[0].get_tensor()


@needs_shared
@pytest.mark.parametrize("device", ["VCK50008PE", "VCK50006PEDWC", "VCK50006PEMISC", "VCK50004PE"])
def test_files_of_the_vendors_compiler_give_what_its_simulator_gave(device: str, names: Names) -> None:
    folder = SHARED / "goldens"
    graph = names.xir.Graph.deserialize(folder / "xmodels" / f"v25_{device.lower()}_tf2_custom_op.xmodel")
    recorded = device.removeprefix("VCK5000").lower()
    batch = int(recorded[0])
    for place in (0, 1):
        run = names.vart.Runner.create_runner(_part(graph, "DPU", place), "run")
        stored = [np.load(folder / f"simulator/models/tf2cnn_{recorded}_sub{place}_set{n}.npz") for n in range(4)]
        given = np.concatenate([item["in0"] for item in stored])
        (made,) = _done(run, [given], _outputs(run, 4))
        assert run.get_input_tensors()[0].dims[0] == batch
        np.testing.assert_array_equal(made, np.concatenate([item["out0"] for item in stored]))


@needs_shared
def test_a_file_for_a_dpu_whose_parameters_cannot_be_read_says_so(names: Names) -> None:
    path = SHARED / "goldens" / "xmodels" / "v25_zcu102_zcu104_kv260_tf2_custom_op.xmodel"
    graph = names.xir.Graph.deserialize(path)
    with pytest.raises(ArtifactError, match="compiled for DPUCZDX8G"):
        names.vart.Runner.create_runner(_part(graph), "run")
    run = names.vart.Runner.create_runner(_part(graph, "CPU", -1), "run")
    (given,), (made,) = run.get_input_tensors(), run.get_output_tensors()
    values = np.arange(given.get_element_num(), dtype=np.int8)
    (out,) = _done(run, [values], [np.zeros(made.dims, np.float32)])
    assert out.shape == (1, 10) and out.any()
