"""Execute a graph of XIR float ops (and `fix`) with torch: the float network and its fake-quantized form alike.

Tensors live in NCHW, as torch computes them; only inputs and outputs are NHWC. That keeps every
float sum in the order in which the original module takes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from quantize.kernels import KERNELS, Args, Kernel
from quantize.rounding import to_grid
from xmodel.errors import UsageError
from xmodel.graph import Array, Graph, Op

After = Callable[[Op, Tensor, Args], Tensor]


def to_torch(array: Array) -> Tensor:
    """NHWC float32 array to a contiguous NCHW tensor (other ranks as they are)."""
    tensor = torch.from_numpy(np.ascontiguousarray(array, np.float32))
    return tensor.permute(0, 3, 1, 2).contiguous() if tensor.ndim == 4 else tensor


def to_numpy(tensor: Tensor) -> Array:
    """NCHW tensor to a contiguous NHWC array."""
    laid = tensor.permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor
    return laid.contiguous().numpy()


def parameters(graph: Graph, device: str = "cpu") -> dict[str, Tensor]:
    """Every constant, and every `fix` of a constant, as a tensor in the layout that torch's kernels want."""
    found: dict[str, Tensor] = {}
    for op in graph.ops:
        if op.is_const:
            found[op.name] = _torch_layout(graph, op).to(device)
        elif op.type == "fix" and graph.op(op.inputs["input"][0]).is_const:
            found[op.name] = to_grid(found[op.inputs["input"][0]], int(op.get("fix_point")), weights=True)
    return found


def _torch_layout(graph: Graph, constant: Op) -> Tensor:
    array = np.array(constant.array(), np.float32)  # a writable copy: the graph stays as it is
    return torch.from_numpy(np.ascontiguousarray(_arranged(graph, constant, array)))


def stored_layout(graph: Graph, constant: Op, values: Array) -> Array:
    """`values`, in the layout that torch's kernels want, in the layout in which `constant` is stored."""
    size = math.prod(constant.output.shape)
    places = _arranged(graph, constant, np.arange(size).reshape(constant.output.shape))
    stored = np.empty(size, np.float32)
    stored[places.reshape(-1)] = values.reshape(-1)
    return stored.reshape(constant.output.shape)


def _arranged(graph: Graph, constant: Op, array: Array) -> Array:
    """`array`, of the shape in which `constant` is stored, with its axes as torch's kernels want them."""
    reader, name = constant, constant.name
    while graph.fanout[name]:
        reader = graph.fanout[name][0]
        if reader.type != "fix":
            break
        name = reader.name
    if reader.type.endswith("convolution_mode"):
        return array  # kept in torch's order
    is_weights = name in reader.inputs.get("weights", ()) or (
        reader.type == "matmul" and reader.inputs["input"][1:] == (name,)
    )
    if not is_weights:
        if array.ndim == 4:  # a full constant operand, NHWC
            array = array.transpose(0, 3, 1, 2)
    elif reader.type == "conv2d":
        array = array.transpose(0, 3, 1, 2)
    elif reader.type == "depthwise-conv2d":
        array = array.transpose(0, 3, 1, 2).reshape(-1, 1, *array.shape[1:3])
    elif reader.type == "transposed-conv2d" or reader.type == "transposed-depthwise-conv2d":
        array = array.transpose(3, 0, 1, 2)[:, :, ::-1, ::-1]
    elif reader.type == "matmul":
        array = _undo_flatten(graph, reader, array)
    return array


def _undo_flatten(graph: Graph, matmul: Op, weights: Array) -> Array:
    """Columns from H, W, C back to C, H, W order when the input was flattened from an image."""
    shape = flattened_from(graph, matmul)
    if shape is None:
        return weights
    height, width, channels = shape
    return weights.reshape(-1, height, width, channels).transpose(0, 3, 1, 2).reshape(len(weights), -1)


def flattened_from(graph: Graph, matmul: Op) -> tuple[int, int, int] | None:
    """The (H, W, C) of the image that a matmul's input is a flattening of, or None."""
    op = graph.op(matmul.inputs["input"][0])
    while True:
        if op.type == "reshape":
            shape = graph.op(op.inputs["input"][0]).output.shape
            if len(shape) == 4:
                return (shape[1], shape[2], shape[3])
        elif op.type in ("matmul", "data", "const") or len(op.inputs.get("input", ())) != 1:
            return None
        op = graph.op(op.inputs["input"][0])


def forward(
    graph: Graph,
    constants: Mapping[str, Tensor],
    feeds: Mapping[str, Tensor],
    after: After | None = None,
    keep: Collection[str] = (),
    kernels: Mapping[str, Kernel] = KERNELS,
) -> dict[str, Tensor]:
    """Run `graph` on NCHW float32 `feeds` (by input op name), any batch size.

    `kernels`, by op type, compute each op's result, and `after(op, result, args)` may replace it.
    Returns the graph's outputs and the tensors named in `keep`, by op name; everything else is freed
    when its last reader is done.
    """
    wanted = {op.name for op in graph.outputs} | set(keep)
    left = {name: len(readers) for name, readers in graph.fanout.items()}
    live: dict[str, Tensor] = {}
    results: dict[str, Tensor] = {}
    for op in graph.ops:
        args = {arg: [live[n] for n in names] for arg, names in op.inputs.items()}
        if op.name in constants:
            result = constants[op.name]
        elif op.type == "data":
            result = feeds[op.name]
        else:
            result = kernels[op.type](op, args)
        if after is not None and not op.is_const:
            result = after(op, result, args)
        live[op.name] = result
        if op.name in wanted:
            results[op.name] = result
        for name in dict.fromkeys(op.input_names):
            left[name] -= 1
            if not left[name]:
                del live[name]
    return results


def check_executable(graph: Graph) -> None:
    """Raise `UsageError` naming the first op that has no kernel here."""
    for op in graph.ops:
        if op.type not in KERNELS and not op.is_const and op.type not in ("data", "stack"):
            raise UsageError(f"Op {op.name!r} of type {op.type!r} cannot be executed in float.")


class Executor:
    """A graph with its parameters laid out once, to be run on NHWC arrays batch by batch."""

    def __init__(self, graph: Graph, device: str = "cpu") -> None:
        """Raises `UsageError` for an op that cannot be executed."""
        check_executable(graph)
        self.graph, self.device = graph, device
        self.constants = parameters(graph, device)

    def run(self, batch: Array, keep: Iterable[str] = ()) -> dict[str, Array]:
        """Outputs (and tensors in `keep`) by op name, NHWC float32, for one NHWC float32 batch."""
        feeds = {self.graph.inputs[0].name: to_torch(batch).to(self.device)}
        with torch.inference_mode():
            found = forward(self.graph, self.constants, feeds, keep=set(keep))
        return {name: to_numpy(tensor.cpu()) for name, tensor in found.items()}
