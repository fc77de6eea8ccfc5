"""The module file that is written for old torch computes what the network did."""

from __future__ import annotations

import ast
import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model import registry
from quantize.capture import capture, export_program
from quantize.execute import Executor
from quantize.pipeline import float_graph
from quantize.vitis.modelcode import ModelCode, model_code
from tests.quantize import operators
from tests.quantize.networks import images, small
from tests.quantize.vitis import tool
from tests.shared import SHARED, needs_shared
from xmodel.errors import UsageError
from xmodel.graph import Array, Graph, Op, attrs
from xmodel.graph import Tensor as XTensor

GOLDENS = SHARED / "goldens"
NETWORKS = ["a_tinycnn", "b_uynet_div8", "c2_ressimple", "e_edges"]
OPS = sorted(path.parent.name for path in (GOLDENS / "opzoo").glob("*/float_model.pt2"))
FORCED = "leaky_relu_0_1"  # its slope is the DPU's, which the tool would force anyway


def build(code: ModelCode) -> nn.Module:
    """An instance of the emitted class with its weights."""
    space: dict[str, Any] = {}
    exec(compile(code.source, "model.py", "exec"), space)
    network: nn.Module = space[code.name]()
    loaded = network.load_state_dict(tool.tensors(dict(code.state)), strict=False)
    assert not loaded.unexpected_keys
    assert all(key.endswith("num_batches_tracked") for key in loaded.missing_keys)
    return network.eval()


def outputs(network: Any, batch: Array) -> list[Array]:
    with torch.no_grad():
        found = network(torch.from_numpy(batch))
    return [tensor.numpy() for tensor in (found if isinstance(found, tuple | list) else [found])]


def assert_equal(found: list[Array], wanted: list[Array]) -> None:
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def test_u_ynet() -> None:
    name = "uynet-lite"
    module = registry.load(name, seed=3)
    batch = images(1, 224)
    code = model_code(capture(export_program(module, torch.from_numpy(batch)), registry.find(name).class_name))
    assert_equal(outputs(build(code), batch), outputs(module, batch))
    assert set(code.state) <= set(module.state_dict())


def test_the_file_is_python_3_6_and_imports_torch_alone() -> None:
    code = model_code(capture(export_program(small(), torch.from_numpy(images(1))), "Small"))
    tree = ast.parse(code.source, feature_version=(3, 6))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert imported == {"torch", "torch.nn", "torch.nn.functional"}
    assert set(code.state) == {key for key in small().state_dict() if not key.endswith("num_batches_tracked")}


@pytest.mark.filterwarnings("ignore:.torch.jit.trace:DeprecationWarning")
def test_torch_jit_trace_follows_it_under_the_networks_own_names() -> None:
    batch = images(1)
    network = build(model_code(capture(export_program(small(), torch.from_numpy(batch)), "Small")))
    trace: Any = torch.jit.trace
    traced = trace(network, (torch.from_numpy(batch),))
    assert_equal(outputs(traced, batch), outputs(small(), batch))
    assert set(dict(traced.named_parameters())) == {name for name, _ in small().named_parameters()}


@needs_shared
@pytest.mark.parametrize("name", [*(f"quantizer/{n}" for n in NETWORKS), *(f"opzoo/{n}" for n in OPS if n != FORCED)])
def test_reference_programs(name: str) -> None:
    case = GOLDENS / name
    meta = json.loads((case / "case.json").read_text())
    program = torch.export.load(str(case / "float_model.pt2"))
    code = model_code(capture(program, meta["model_class"]))
    raw = np.load(case / "test_input.npy")
    batch = raw.astype(np.float32) / np.float32(255) if raw.dtype == np.uint8 else raw
    assert_equal(outputs(build(code), batch), outputs(program.module(), batch))
    assert all(key.startswith("const_") for key in set(code.state) - set(program.state_dict))


@needs_shared
@pytest.mark.parametrize("case", ["quantizer/meso4_real", f"opzoo/{FORCED}"])
def test_leaky_relu_has_the_slope_that_the_tool_would_force(case: str) -> None:
    program = torch.export.load(str(GOLDENS / case / "float_model.pt2"))
    graph = capture(program, "Net")
    raw = np.load(GOLDENS / case / "test_input.npy")
    batch = raw.astype(np.float32) / np.float32(255) if raw.dtype == np.uint8 else raw
    wanted = Executor(graph).run(batch.transpose(0, 2, 3, 1))
    found = outputs(build(model_code(graph)), batch)[0]
    value = wanted[graph.outputs[0].name]
    np.testing.assert_allclose(found, value.transpose(0, 3, 1, 2) if value.ndim == 4 else value, atol=1e-6)


@pytest.mark.parametrize("name", [*operators.NETWORKS, *operators.OPERATORS])
def test_blocks_and_operators(name: str) -> None:
    module, batch = operators.build((operators.NETWORKS | operators.OPERATORS)[name]), images(3)
    code = model_code(capture(export_program(module, torch.from_numpy(batch[:1])), "Net"))
    found, wanted = outputs(build(code), batch), outputs(module, batch)
    if name == "mobilenet_v2":  # nn.ReLU6 becomes ReLU, as the tool does itself
        np.testing.assert_allclose(found[0], wanted[0], atol=10)
    else:
        assert_equal(found, wanted)
    ast.parse(code.source, feature_version=(3, 6))
    folded = model_code(float_graph(module, "Net", batch[:1]))
    np.testing.assert_allclose(outputs(build(folded), batch)[0], found[0], atol=2e-5)
    assert set(folded.state) <= set(code.state) | {f"{key.rpartition('.')[0]}.bias" for key in code.state}


def test_a_batch_norm_that_folds_into_nothing() -> None:
    module = operators.build(lambda: nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 1)))
    graph = float_graph(module, "Net", images(1))
    assert "scale" in {op.type for op in graph.ops}
    found = outputs(build(model_code(graph)), images(2))
    np.testing.assert_allclose(found[0], outputs(module, images(2))[0], atol=1e-6)


def test_layers_of_our_own_get_out_of_the_way() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    module._modules = {"first": module[0], "act": module[1], "relu_1": module[2]}
    code = model_code(capture(export_program(module, torch.from_numpy(images(1))), "Net"))
    assert set(code.state) == set(module.state_dict())
    assert_equal(outputs(build(code), images(1)), outputs(module, images(1)))


class _Twice(nn.Module):
    """A shared layer, a weight without a layer, a number and an array as operands."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = nn.Conv2d(3, 3, 3, padding=1)
        self.kernel = nn.Parameter(torch.rand(4, 3, 1, 1))
        self.register_buffer("shift", torch.rand(1, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.shared(torch.relu(self.shared(x))) * 0.3 + self.shift
        return nn.functional.conv2d(y, self.kernel)


def test_shared_layers_bare_weights_and_constants() -> None:
    torch.manual_seed(0)
    module, batch = _Twice().eval(), images(2)
    code = model_code(capture(export_program(module, torch.from_numpy(batch[:1])), "Twice"))
    assert_equal(outputs(build(code), batch), outputs(module, batch))
    assert code.source.count("place(self, 'shared'") == 1
    assert {"shared.weight", "shared.bias", "kernel.weight"} < set(code.state)
    assert " * 0.30000001192092896" in code.source


class _Same(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(2, 3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.weight)


def test_a_weight_at_the_root() -> None:
    module, batch = _Same().eval(), images(1)
    code = model_code(capture(export_program(module, torch.from_numpy(batch)), "Same"))
    assert_equal(outputs(build(code), batch), outputs(module, batch))


@pytest.mark.parametrize("name", ["my net", "class", "torch", "x;import os", ""])
def test_names_that_no_class_can_have(name: str) -> None:
    graph = capture(export_program(small(), torch.from_numpy(images(1))), name)
    with pytest.raises(UsageError, match="cannot name a Python class"):
        model_code(graph)


def test_an_unknown_op_is_refused_by_name() -> None:
    data = Op("in", "data", {}, attrs(shape=[1, 4, 4, 3]), XTensor("in", (1, 4, 4, 3)))
    odd = Op("odd", "correlation1d", {"input": ("in",)}, attrs(__source="net.py:7"), XTensor("odd", (1, 4, 4, 3)))
    with pytest.raises(UsageError, match=r"net\.py:7: Op 'odd' of type 'correlation1d' .*--backend unmask"):
        model_code(Graph("Net", (data, odd)))


def test_asymmetric_padding_becomes_a_pad() -> None:
    graph = capture(export_program(nn.Conv2d(3, 2, 3).eval(), torch.from_numpy(images(1, 8))), "One")
    ops = [op.with_attrs(pad=[0, 1, 2, 0]) if op.type == "conv2d" else op for op in graph.ops]
    padded = graph.with_ops(ops).with_attrs(return_ops=[graph.outputs[0].name])
    found = outputs(build(model_code(padded)), images(1, 8))
    wanted = Executor(padded).run(images(1, 8).transpose(0, 2, 3, 1))[graph.outputs[0].name]
    assert_equal(found, [wanted.transpose(0, 3, 1, 2)])


def test_text_from_a_program_stays_text() -> None:
    graph = capture(export_program(small(), torch.from_numpy(images(1))), "Small")
    evil = "x'); raise SystemExit(1)  #\n    raise SystemExit(2)"
    ops = [op.with_attrs(__source=evil, **({"__param": f"{evil}.weight"} if op.is_const else {})) for op in graph.ops]
    code = model_code(graph.with_ops(ops).with_attrs(return_ops=[op.name for op in graph.outputs]))
    tree = ast.parse(code.source)
    assert not any(isinstance(node, ast.Raise) for node in ast.walk(tree))
