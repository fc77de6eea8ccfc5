"""The quantizer end to end on a small network."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from quantize import pipeline
from quantize.execute import Executor
from quantize.pipeline import Quantized, Settings, export, float_graph, quantize_graph
from tests.quantize.networks import images, small
from xmodel import file
from xmodel.artifact import read_json
from xmodel.errors import UsageError
from xmodel.graph import Array


def _quantized(settings: Settings | None = None) -> Quantized:
    data = images(16)
    return quantize_graph(float_graph(small(), "Small", data[:1]), (data[i : i + 4] for i in range(0, 16, 4)), settings)


def test_every_constant_and_activation_is_on_its_grid() -> None:
    result = _quantized()
    for op in result.graph.ops:
        if op.type == "fix":
            source = result.graph.op(op.inputs["input"][0])
            if source.is_const:
                scaled = source.array() * 2.0 ** op.get("fix_point")
                assert np.array_equal(scaled, np.rint(scaled)) and np.abs(scaled).max() <= 128
    assert {op.get("round_mode") for op in result.graph.ops if op.type == "fix"} == {"DPU_ROUND"}
    assert result.images == 16 and result.batches == 4


def test_quantized_network_stays_close_to_the_float_one() -> None:
    result, batch = _quantized(), images(4, seed=9).transpose(0, 2, 3, 1)
    fake, real = Executor(result.graph).run(batch), Executor(result.float_graph).run(batch)
    mask, score = (op.name for op in result.float_graph.outputs)
    noise = np.square(fake[mask + "_fix"] - real[mask]).sum() / np.square(real[mask]).sum()
    assert 10 * np.log10(1 / noise) > 20
    assert np.abs(fake[score] - real[score]).max() < 0.05
    assert [op.name for op in result.graph.outputs] == [mask + "_fix", score]


def test_results_are_the_same_bytes_every_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        files = export(_quantized(), tmp_path / name)
    assert files == ["Small_int.xmodel", "quant_info.json", "bias_corr.npz"]
    for item in files:
        assert (tmp_path / "a" / item).read_bytes() == (tmp_path / "b" / item).read_bytes()
    graph = file.read(tmp_path / "a" / "Small_int.xmodel")
    assert [op.type for op in graph.inputs] == ["data"]
    info = read_json(tmp_path / "a" / "quant_info.json")
    assert info["output"]["Small::nndct_input_0"] == [[8, 6]]
    assert set(info["param"]) == {f"Small::{p}" for p in (
        "conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias", "up.weight", "up.bias", "head.weight",
        "head.bias", "fc.weight", "fc.bias")}  # fmt: skip


def test_bias_correction_can_be_switched_off() -> None:
    assert _quantized(Settings(bias_correction=False)).bias_corr == {}
    assert set(_quantized().bias_corr) >= {"Small::nndct_conv2d_1", "Small::nndct_dense_11"}


def test_nothing_to_calibrate_with() -> None:
    with pytest.raises(UsageError, match="nothing to calibrate"):
        quantize_graph(float_graph(small(), "Small", images(1)), [])


def test_wrong_batches_are_refused() -> None:
    graph = float_graph(small(), "Small", images(1))
    with pytest.raises(UsageError, match=r"float32 \(n, 3, 16, 16\) is expected"):
        quantize_graph(graph, [images(2, size=8)])
    with pytest.raises(UsageError, match="float64"):
        quantize_graph(graph, [images(2).astype(np.float64)])


def test_weights_with_nan_are_refused() -> None:
    module = small()
    with torch.no_grad():
        module.head.weight[0, 0] = float("nan")
    with pytest.raises(UsageError, match="NaN or infinity"):
        quantize_graph(float_graph(module, "Small", images(1)), [images(1)])


def test_a_network_of_one_layer() -> None:
    module = nn.Conv2d(3, 2, 1).eval()
    result = quantize_graph(float_graph(module, "One", images(1)), [images(2)])
    assert [op.type for op in result.graph.ops] == ["const", "fix", "const", "fix", "data", "fix", "conv2d", "fix"]


def test_the_users_module_is_left_as_it_was() -> None:
    module = small()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    kind, inner = type(module), dict(module.named_modules())
    quantize_graph(float_graph(module, "Small", images(1)), [images(4)])
    assert type(module) is kind and dict(module.named_modules()) == inner and not module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert not module._forward_hooks and all(p.grad is None for p in module.parameters())


def test_one_batch_is_held_at_a_time() -> None:
    live, most = 0, 0

    class Batch(np.ndarray):
        def __del__(self) -> None:
            nonlocal live
            live -= self.base is None

    def batches() -> Iterator[Array]:
        nonlocal live, most
        for seed in range(5):
            array = np.empty((2, 3, 16, 16), np.float32).view(Batch).copy()
            array[:] = images(2, seed=seed)
            live += 1
            most = max(most, live)
            yield array
            del array

    seen: list[int] = []
    result = quantize_graph(float_graph(small(), "Small", images(1)), batches(), progress=seen.append)
    assert (result.batches, most, seen) == (5, 1, [2, 4, 6, 8, 10])


def test_read_only_batches_do(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", images(4))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    graph = float_graph(small(), "Small", images(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert quantize_graph(graph, [mapped]).quant_info == quantize_graph(graph, [images(4)]).quant_info


def test_the_modules_docstring_works(tmp_path: Path) -> None:
    """The three lines that its docstring shows."""
    code = re.findall(r"^    (\w.*)$", pipeline.__doc__ or "", flags=re.MULTILINE)
    assert len(code) == 3
    names = {**vars(pipeline), "module": small(), "images": images(20)}
    monkey = [line.replace('Path("out")', f"Path({str(tmp_path)!r})") for line in code]
    exec("\n".join(monkey), names)
    assert {path.name for path in tmp_path.iterdir()} == {"Net_int.xmodel", "quant_info.json", "bias_corr.npz"}
    assert names["result"].batches == 3
