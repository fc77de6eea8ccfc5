"""ATen's elementwise operators in XIR: activations, arithmetic, and what stays float on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch

from quantize.call import Call
from xmodel.graph import Array

# The DPU multiplies by 26/256 for a negative input, whatever slope the network was trained with.
LEAKY_ALPHA = 26 / 256


def unary(type_: str, kind: str) -> Callable[[Call], None]:
    """An elementwise op without attributes."""

    def translate_unary(call: Call) -> None:
        x = call.first()
        call.emit(type_, kind, {"input": (x.op,)}, flat=x.flat)

    return translate_unary


def on_cpu(type_: str, kind: str, **names: str) -> Callable[[Call], None]:
    """An elementwise op that the DPU does not have: float, on the CPU. `names`: attribute = schema argument."""

    def translate_on_cpu(call: Call) -> None:
        x = call.first()
        values = {attribute: call[argument] for attribute, argument in names.items()}
        for attribute, value in values.items():
            if isinstance(value, torch.fx.Node):
                raise call.refuse(f"its {attribute} is computed by the network, not a number.")
        call.note("stays float and runs on the CPU.")
        numbers = {attribute: float(value) for attribute, value in values.items() if value is not None}
        call.emit(type_, kind, {"input": (x.op,)}, flat=x.flat, **numbers)

    return translate_on_cpu


def gelu(call: Call) -> None:
    """GELU, exact or by tanh, in float on the CPU."""
    x = call.first()
    call.note("stays float and runs on the CPU.")
    call.emit("gelu", "GELU", {"input": (x.op,)}, flat=x.flat, approximate=f"'{call['approximate']}'")


def relu6(call: Call) -> None:
    """ReLU6: the vendor's tool turns the module into ReLU (equalization), the function stays."""
    if call.scope and call.scope[-1][0] == "ReLU6":
        call.note("nn.ReLU6 is replaced by ReLU, as the vendor's quantizer does.")
        return unary("relu", "relu")(call)
    return unary("relu6", "relu6")(call)


def hardtanh(call: Call) -> None:
    """[0, 6] is ReLU6; another range is a float op on the CPU."""
    if (call["min_val"], call["max_val"]) == (0, 6):
        return relu6(call)
    return on_cpu("nndct_hardtanh", "hardtanh", min="min_val", max="max_val")(call)


def leaky_relu(call: Call) -> None:
    """Leaky ReLU with the DPU's only slope, 26/256."""
    x, slope = call.value("self"), float(call["negative_slope"])
    if slope != LEAKY_ALPHA:
        call.note(f"negative slope {slope:g} becomes {LEAKY_ALPHA:g}, the DPU's only one.")
    call.emit("leaky-relu", "leaky_relu", {"input": (x.op,)}, flat=x.flat, alpha=LEAKY_ALPHA)


def prelu(call: Call) -> None:
    """PReLU: its slopes are quantized, and the op runs in float on the CPU (the vendor's tool cannot export it)."""
    x, slopes = call.value("self"), cast(Array, call.array("weight"))
    call.note("the DPU has no PReLU: it stays float and runs on the CPU. LeakyReLU(0.1015625) runs on the DPU.")
    operands = (x.op, call.b.parameter(call["weight"], slopes))
    call.emit("nndct_prelu", "prelu", {"input": operands}, flat=x.flat)


def softmax(call: Call) -> None:
    """Softmax over the channel axis (stays on the CPU)."""
    x = call.value("self")
    axis = int(call["dim"]) % len(x.shape)
    if axis != 1 or x.flat is not None:
        raise call.refuse(f"softmax over axis {axis} is only handled over channels (axis 1).")
    call.emit("softmax", "softmax", {"input": (x.op,)}, axis=len(x.shape) - 1)


def binary(type_: str, kind: str, swapped: bool = False) -> Callable[[Call], None]:
    """An elementwise op of two tensors (which may broadcast), or of a tensor and a constant of the result's shape."""

    def translate_binary(call: Call) -> None:
        if call.args.get("alpha", 1) != 1:
            raise call.refuse(f"alpha={call['alpha']} has no XIR form.", "Multiply explicitly.")
        if call.args.get("rounding_mode") is not None:
            raise call.refuse(f"a division with rounding_mode={call['rounding_mode']!r} has no XIR form.")
        names = [_operand(call, call[arg]) for arg in ("self", "other")]
        call.emit(type_, kind, {"input": tuple(reversed(names) if swapped else names)})

    return translate_binary


def _operand(call: Call, operand: Any) -> str:
    if isinstance(operand, torch.fx.Node) and operand.name in call.b.values:
        value = call.b.values[operand.name]
        if value.flat is not None or len(value.shape) != len(call.shape):
            raise call.refuse(f"an operand of shape {value.shape} for {call.shape} has no XIR form.")
        return value.op
    return _constant(call, operand)


def _constant(call: Call, operand: Any) -> str:
    """A number or parameter operand as a constant of the result's full shape, as the vendor's tool writes it."""
    tensor = call.b.tensor(operand)
    source = torch.tensor(operand, dtype=torch.float32) if tensor is None else tensor.to(torch.float32)
    full = np.broadcast_to(source.cpu().numpy(), call.shape)
    laid = full.transpose(0, 2, 3, 1) if len(call.shape) == 4 else full
    target = call.b.parameters[operand.name][0] if tensor is not None else f"{call.node.name}.constant"
    name = call.b.constant(f"{call.b.model}__{target.replace('.', '_')}", laid, target)
    call.b.ops[-1] = call.b.ops[-1].with_attrs(__kind="const")
    return name


_ARITHMETIC: dict[str, tuple[str, str, bool]] = {
    "add": ("add", "elemwise_add", False),
    "sub": ("sub", "elementwise_sub", False),
    "mul": ("mul", "elemwise_mul", False),
    "div": ("div", "elemwise_div", False),
    "rsub": ("sub", "rsub", True),
}

ELEMENTWISE: dict[str, Callable[[Call], None]] = {
    **{
        f"{name}{mark}.{overload}": binary(*rule)
        for name, rule in _ARITHMETIC.items()
        for mark in ("", "_")
        for overload in ("Tensor", "Scalar")
    },
    "relu.default": unary("relu", "relu"),
    "relu6.default": relu6,
    "hardtanh.default": hardtanh,
    "leaky_relu.default": leaky_relu,
    "prelu.default": prelu,
    "sigmoid.default": unary("sigmoid", "sigmoid"),
    "tanh.default": unary("tanh", "tanh"),
    "neg.default": unary("neg", "neg"),
    "hardsigmoid.default": unary("hard-sigmoid", "hsigmoid"),
    "hardswish.default": unary("hard-swish", "hswish"),
    "gelu.default": gelu,
    "softmax.int": softmax,
    "silu.default": on_cpu("silu", "aten_silu"),
    "elu.default": on_cpu("elu", "aten_elu", alpha="alpha"),
    "softplus.default": on_cpu("softplus", "aten_softplus", beta="beta", threshold="threshold"),
    "abs.default": on_cpu("abs", "aten_abs"),
    "pow.Tensor_Scalar": on_cpu("pow", "aten_pow", exponent="exponent"),
    "exp.default": on_cpu("nndct_elemwise_exp", "elemwise_exp"),
    "sqrt.default": on_cpu("nndct_sqrt", "sqrt"),
    "mish.default": on_cpu("nndct_mish", "mish"),
    "clamp.default": on_cpu("nndct_clamp", "clamp", min="min", max="max"),
}
_IN_PLACE = ("relu", "relu6", "hardtanh", "leaky_relu", "sigmoid", "tanh", "hardsigmoid", "hardswish", "silu", "elu",
             "mish", "clamp")  # fmt: skip
ELEMENTWISE |= {f"{name}_.default": ELEMENTWISE[f"{name}.default"] for name in _IN_PLACE}
