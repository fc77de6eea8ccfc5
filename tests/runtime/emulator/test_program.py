"""Programs: whole graphs on both kernel sets, feeds, memory, and graphs that must be refused."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime.emulator import program as program_module
from runtime.emulator.program import KernelChoice, Program
from tests.runtime.emulator.native import needs_native
from tests.runtime.emulator.networks import Builder, uynet
from xmodel.errors import ArtifactError, UnavailableError, UsageError
from xmodel.graph import Array, Graph, Op, Tensor, attrs

SMALL = uynet(8, size=112, seed=3)


def image(batch: int, size: int = 112, seed: int = 0, low: int = 0) -> Array:
    return np.random.default_rng(seed).integers(low, 128, (batch, size, size, 3)).astype(np.int8)


def test_every_tensor_of_a_network_is_the_same_on_both_kernel_sets() -> None:
    x = image(2, low=-128)
    wanted = Program(SMALL, "reference").run({"data-fix_0": x}, dump=True)
    got = Program(SMALL, "torch").run({"data-fix_0": x}, dump=True)
    assert set(got) == set(wanted) == {op.output.name for op in SMALL.ops}
    for name, array in wanted.items():
        assert got[name].dtype == array.dtype
        np.testing.assert_array_equal(got[name], array, err_msg=name)
    body = [v for k, v in wanted.items() if k.startswith("conv2d")]
    assert any((v == 127).any() for v in body) and all(v.any() for v in body)  # it saturates, and is alive


@pytest.mark.parametrize("kernels", ["reference", "torch", pytest.param("native", marks=needs_native)])
def test_a_batch_is_its_images_one_by_one(kernels: KernelChoice) -> None:
    program, x = Program(SMALL, kernels), image(3)
    together = program.run({"data-fix_0": x})
    assert list(together) == [op.output.name for op in SMALL.outputs]
    for i in range(3):
        for name, alone in program.run({"data-fix_0": x[i : i + 1]}).items():
            np.testing.assert_array_equal(together[name][i : i + 1], alone)


def test_threads_may_share_a_program() -> None:
    program = Program(SMALL, "torch")
    wanted = [program.run({"data-fix_0": image(1, seed=s)}) for s in range(6)]
    with ThreadPoolExecutor(3) as pool:
        got = list(pool.map(lambda s: program.run({"data-fix_0": image(1, seed=s)}), range(6)))
    for a, b in zip(wanted, got, strict=True):
        assert all(np.array_equal(a[name], b[name]) for name in a)


def test_memory_does_not_grow_with_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_module, "CHUNK_ELEMENTS", 1)
    program = Program(SMALL, "reference")
    peaks = []
    for batch in (1, 6):
        x = image(batch)
        tracemalloc.start()
        program.run({"data-fix_0": x})
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    per_image = sum(int(np.prod(op.output.shape)) for op in SMALL.outputs)
    assert peaks[1] - peaks[0] < 3 * 6 * per_image


def test_float_feeds_are_quantized_half_up_and_saturated() -> None:
    net = Builder("echo")
    x = net.data(1, 2, 2, fix_point=7)
    net.concat(x, out=7)
    program = Program(net.graph())
    real = np.array([1.0, 0.5 / 128, -2.0, -0.5 / 128], np.float32).reshape(1, 1, 2, 2)
    (got,) = program.run({x: real}).values()
    assert got.reshape(-1).tolist() == [127, 1, -128, 0]


def test_several_inputs_and_outputs() -> None:
    net = Builder("two")
    a, b = net.data(4, 4, 3), net.data(4, 4, 3, fix_point=5)
    total = net.add("eltwise-fix", {"input": (a, b)}, (1, 4, 4, 3), 5, type="ADD", nonlinear="NONE")
    net.conv(total, 6)
    net.pool(total)
    program, x = Program(net.graph(), "torch"), image(2, 4)
    results = program.run({a: x, b: x})
    assert [array.shape for array in results.values()] == [(2, 4, 4, 6), (2, 2, 2, 3)]
    with pytest.raises(UsageError, match=r"also needs the inputs \['data-fix_1'\]"):
        program.run({a: x})
    with pytest.raises(UsageError, match="different batches"):
        program.run({a: x, b: x[:1]})


def test_an_output_that_is_also_read_is_kept() -> None:
    net = Builder("kept")
    first = net.conv(net.data(4, 4, 3), 4)
    last = net.conv(first, 2)
    graph = net.graph().with_attrs(return_ops=[first, last])
    assert list(Program(graph).run({"data-fix_0": image(1, 4)})) == [first, last]


@pytest.mark.parametrize(
    ("feed", "message"),
    [
        ({"nothing": image(1)}, "has no input 'nothing'"),
        ({"data-fix_0": image(1)[0]}, r"takes \[N, 112, 112, 3\], not \[112, 112, 3\]"),
        ({"data-fix_0": image(1).transpose(0, 3, 1, 2)}, r"not \[1, 3, 112, 112\]"),
        ({"data-fix_0": image(1).astype(np.int32)}, "takes int8 or float32 values, not int32"),
        ({"data-fix_0": image(1)[:0]}, r"not \[0, 112, 112, 3\]"),
    ],
)
def test_feeds_that_do_not_fit(feed: dict[str, Array], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Program(SMALL, "reference").run(feed)


def changed(name: str, change: Callable[[Op], Op]) -> Graph:
    net = Builder("net")
    net.pool(net.conv(net.data(8, 8, 3), 4))
    graph = net.graph()
    return graph.with_ops(change(op) if op.name == name else op for op in graph.ops)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("pool-fix_4", lambda op: replace(op, type="roi-align"), "'pool-fix_4' has type 'roi-align', which the emul"),
        ("pool-fix_4", lambda op: op.with_attrs(kernel=[3]), r"of type 'pool-fix' needs 'kernel' as 2 integers"),
        ("pool-fix_4", lambda op: op.with_attrs(stride=[0, 2]), "needs 'stride' as 2 integers within"),
        ("pool-fix_4", lambda op: op.with_attrs(type="MEDIAN"), "has 'type' 'MEDIAN'; known are 'MAX', 'AVG'"),
        ("pool-fix_4", lambda op: replace(op, output=replace(op.output, shape=(1, 9, 4, 4))), "its tensor says 9"),
        ("pool-fix_4", lambda op: replace(op, output=replace(op.output, shape=(1, 0, 4, 4))), "impossible shape"),
        ("pool-fix_4", lambda op: replace(op, output=replace(op.output, attrs={})), "needs a fix_point .* not None"),
        ("pool-fix_4", lambda op: replace(op, inputs={"input": ("ghost",)}), "reads 'ghost', which does not come bef"),
        ("pool-fix_4", lambda op: replace(op, inputs={}), "has 0 inputs"),
        ("conv2d-fix_3", lambda op: replace(op, inputs={"input": ("pool-fix_4",)}), "does not come before it"),
        ("conv2d-fix_3", lambda op: op.with_attrs(nonlinear="PRELU"), "has 'nonlinear' 'PRELU'; known are"),
        ("conv2d-fix_3", lambda op: op.with_attrs(kernel=[1, 1]), r"needs weights \[4, 1, 1, 3\], not \[4, 3, 3, 3\]"),
        ("conv2d-fix_3", lambda op: op.with_attrs(nonlinear="HSIGMOID"), "needs 'hsigmoid_in' as an integer"),
        ("const_1", lambda op: op.with_attrs(data=b""), "'const_1' holds no values"),
        ("const_1", lambda op: op.with_attrs(data=b"123"), "holds 3 bytes"),
        (
            "data-fix_0",
            lambda op: replace(op, output=Tensor("x", (1, 1 << 20, 1 << 20, 3), "XINT8", attrs(fix_point=7))),
            "impossible shape",
        ),
    ],
)
def test_damaged_graphs_are_refused_when_loaded(name: str, change: Callable[[Op], Op], message: str) -> None:
    for kernels in ("reference", "torch"):
        with pytest.raises(ArtifactError, match=message):
            Program(changed(name, change), kernels)


def test_an_unknown_kernel_set() -> None:
    with pytest.raises(UsageError, match="no kernel set called 'cuda'"):
        Program(SMALL, "cuda")  # type: ignore[arg-type]


def test_auto_falls_back_to_the_reference_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    from runtime.emulator import torch_selftest

    def broken() -> None:
        raise UnavailableError("this torch build is not exact on this machine")

    monkeypatch.setattr(torch_selftest, "verified", broken)
    monkeypatch.setenv("UNMASK_NATIVE", str(tmp_path))
    assert program_module.Program(SMALL, "auto").kernels == "reference"
    assert "runs its slow reference: this torch build is not exact" in caplog.text
    with pytest.raises(UnavailableError, match="torch kernels cannot be used"):
        Program(SMALL, "torch")
