"""A compiled graph as an ONNX model with the same integers: what ONNX Runtime and OpenVINO are given.

Every op is a float op between DequantizeLinear and QuantizeLinear with power-of-two scales, which both engines fuse
into their INT8 kernels. Activations that cannot be negative are uint8 with zero point 0, signed ones uint8 with zero
point 128, so that every convolution is U8S8. Two things stay the engine's own: a tie is rounded to even, and a result
of a ReLU saturates at 255 instead of 127.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.engine_case import ends
from runtime.emulator import operations, signs
from runtime.emulator.layer import half_steps
from runtime.emulator.node import Node
from runtime.emulator.operations import Spec
from runtime.emulator.spec import Concat, Convolution, Eltwise, Pool, Rules, Window
from xmodel.errors import UsageError
from xmodel.graph import Array, Graph, Op

OPSET, IR_VERSION = 13, 8
ZERO_SIGNED = 128  # zero point of a signed activation
_SAME = ("upload", "download")


class _Writer:
    """The nodes and constants of the model while it grows."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.signed: dict[str, bool] = {}

    def constant(self, name: str, array: Array) -> str:
        """An initializer; the same name is the same constant."""
        self.constants.setdefault(name, numpy_helper.from_array(np.array(array, order="C"), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """One node with one output."""
        self.nodes.append(helper.make_node(kind, inputs, [output], f"{output}/{kind}", **attributes))
        return output

    def scale(self, fix_point: int) -> str:
        """2 ** -fix_point."""
        return self.constant(f"scale_{fix_point}", np.array(2.0**-fix_point, np.float32))

    def zero(self, signed: bool) -> str:
        """The zero point of an activation."""
        return self.constant(f"zero_{int(signed)}", np.array(ZERO_SIGNED if signed else 0, np.uint8))

    def real(self, name: str) -> str:
        """The float form of an integer activation."""
        fix_point = int(self.graph.op(name).output.get("fix_point"))
        inputs = [name, self.scale(fix_point), self.zero(self.signed[name])]
        return self.node("DequantizeLinear", inputs, f"{name}/real{len(self.nodes)}")

    def stored(self, name: str, values: Array, fix_point: int) -> str:
        """The float form of an integer constant."""
        zero = self.constant(f"zero_{values.dtype}", np.zeros((), values.dtype))
        inputs = [self.constant(name, values), self.scale(fix_point), zero]
        return self.node("DequantizeLinear", inputs, f"{name}/real")

    def quantized(self, op: Op, real: str) -> None:
        """`real` as the integer activation that `op` makes."""
        fix_point = int(op.output.get("fix_point"))
        self.node("QuantizeLinear", [real, self.scale(fix_point), self.zero(self.signed[op.name])], op.name)

    def convolution(self, op: Op, spec: Convolution, names: tuple[str, ...]) -> None:
        """conv2d-fix and its depthwise and transposed forms, with NONE or RELU."""
        image, weights, *rest = names
        if spec.activation.name not in ("NONE", "RELU") or (spec.depthwise and spec.transposed):
            raise UsageError(f"Op {op.name!r} has no place in the benchmark's ONNX model.")
        values, (kw, kh), (sw, sh), (dw, dh) = (
            self.graph.op(weights).array(),
            spec.window.kernel,
            spec.window.stride,
            spec.window.dilation,
        )
        made = values.shape[3] if spec.depthwise else values.shape[0]
        if spec.transposed:
            values = values[:, ::-1, ::-1].transpose(3, 0, 1, 2)
        else:
            values = values.transpose(3, 0, 1, 2) if spec.depthwise else values.transpose(0, 3, 1, 2)
        fix_points = [int(self.graph.op(name).output.get("fix_point")) for name in (image, weights)]
        bias = half_steps(spec, made, self.graph.op(rest[0]).array() if rest else None) >> 1
        inputs = [
            self.real(image),
            self.stored(f"{op.name}/weights", values.astype(np.int8), fix_points[1]),
            self.stored(f"{op.name}/bias", bias.astype(np.int32), sum(fix_points)),
        ]
        kind = "ConvTranspose" if spec.transposed else "Conv"
        real = self.node(
            kind, inputs, f"{op.name}/sum", kernel_shape=[kh, kw], strides=[sh, sw], dilations=[dh, dw],
            pads=_pads(spec.window), group=made if spec.depthwise else 1,
        )  # fmt: skip
        if spec.activation.name == "RELU":
            real = self.node("Relu", [real], f"{op.name}/relu")
        self.quantized(op, real)

    def other(self, op: Op, spec: Spec | None, names: tuple[str, ...]) -> None:
        """Every other op that the networks of the benchmark have."""
        match spec:
            case Pool(maximum=True):
                (kw, kh), (sw, sh) = spec.window.kernel, spec.window.stride
                real = self.node(
                    "MaxPool", [self.real(names[0])], f"{op.name}/max", kernel_shape=[kh, kw], strides=[sh, sw],
                    pads=_pads(spec.window),
                )  # fmt: skip
            case Concat(axis=3):
                real = self.node("Concat", [self.real(name) for name in names], f"{op.name}/concat", axis=1)
            case Eltwise(product=False) if len(names) == 2 and spec.activation.name in ("NONE", "RELU"):
                real = self.node("Add", [self.real(name) for name in names], f"{op.name}/add")
                if spec.activation.name == "RELU":
                    real = self.node("Relu", [real], f"{op.name}/relu")
            case _ if op.type == "reshape-fix" and self.graph.op(names[0]).output.shape[1:3] == (1, 1):
                real = self.node("Flatten", [self.real(names[0])], f"{op.name}/flat")
            case _:
                raise UsageError(f"Op {op.name!r} of type {op.type!r} has no place in the benchmark's ONNX model.")
        self.quantized(op, real)


def _pads(window: Window) -> list[int]:
    left, right, top, bottom = window.pad
    return [top, left, bottom, right]


def write(graph: Graph, path: Path) -> None:
    """Write the integer part of a compiled `graph`: NCHW uint8 in and out, any batch.

    Raises `UsageError` for an op that the benchmark's networks do not have.
    """
    writer = _Writer(graph)
    masks: dict[str, Array] = {}
    renamed: dict[str, str] = {}
    for op in graph.ops:
        if op.output.data_type == "FLOAT32":
            continue
        node, names = operations.node(graph, op)
        spec = operations.parse(node, Rules.CARD)
        masks[op.name] = signs.nonnegative(node, spec, tuple(masks[name] for name in names))
        writer.signed[op.name] = not bool(np.all(masks[op.name]))
        renamed[op.name] = renamed[names[0]] if op.type in _SAME else op.name
        _add(writer, op, node, spec, tuple(renamed[name] for name in names))
    outputs = [_described(graph.op(renamed[name])) for name in ends(graph)]
    inputs = [_described(op) for op in graph.inputs]
    body = helper.make_graph(writer.nodes, graph.name, inputs, outputs, list(writer.constants.values()))
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _add(writer: _Writer, op: Op, node: Node, spec: Spec | None, names: tuple[str, ...]) -> None:
    if op.is_const or op.type in _SAME:
        return
    if op.type in ("data", "data-fix"):
        writer.signed[op.name] = True
    elif isinstance(spec, Convolution):
        writer.convolution(op, spec, names)
    else:
        writer.other(op, spec, names)


def _described(op: Op) -> Any:
    shape = op.output.shape
    nchw = [shape[0], shape[3], *shape[1:3]] if len(shape) == 4 else list(shape)
    return helper.make_tensor_value_info(op.name, TensorProto.UINT8, ["n", *nchw[1:]])


def zero_points(path: Path) -> dict[str, int]:
    """Of the model's outputs, by name: 128 for a signed one, else 0."""
    model = onnx.load(str(path))
    makers = {node.output[0]: node for node in model.graph.node}
    constants = {item.name: item for item in model.graph.initializer}
    return {
        output.name: int(numpy_helper.to_array(constants[makers[output.name].input[2]]))
        for output in model.graph.output
    }
