"""Constants and inputs become int8: const > fix is const-fix, data > fix is data-fix, shape inputs are attributes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from compile.edit import drop_unread, free_name, int8_tensor, position, rebuild
from xmodel.errors import ArtifactError
from xmodel.graph import Array, Graph, Op, attrs, const

_ROUNDING: dict[str, Callable[[Array], Array]] = {
    "DPU_ROUND": lambda x: np.floor(x + np.float32(0.5)),
    "STD_ROUND": lambda x: np.copysign(np.floor(np.abs(x) + np.float32(0.5)), x),
    "PY3_ROUND": np.rint,
}


_CONVOLUTIONS = ("conv2d", "depthwise-conv2d", "transposed-conv2d", "transposed-depthwise-conv2d")
_WINDOWS = (*_CONVOLUTIONS, "maxpool2d", "avgpool2d", *(f"{name}-fix" for name in _CONVOLUTIONS), "pool-fix")
_FILLED = (*_WINDOWS, "concat", "resize", "reshape", "matmul", "fix", "concat-fix", "eltwise-fix", "upsample-fix")
_MAX_DENSE = 1 << 28  # bytes of a grouped kernel written out; no network comes near


def check_shapes(graph: Graph) -> Graph:
    """`graph` itself when the passes may rely on its shapes and windows; raises `ArtifactError` naming the op."""
    for op in graph.ops:
        shapes = [op.output.shape, *(graph.op(name).output.shape for name in op.input_names)]
        if op.type in _FILLED and not all(map(_filled, shapes)):
            raise ArtifactError(f"Op {op.name!r} of type {op.type!r} has an empty tensor among {shapes}.")
        if op.type in ("fix", "relu", "relu6", "leaky-relu") and shapes[0] != shapes[1]:
            raise ArtifactError(f"Op {op.name!r} of type {op.type!r} maps {shapes[1]} to the other shape {shapes[0]}.")
        if op.type in _WINDOWS:
            for key, count, least in (("kernel", 2, 1), ("stride", 2, 1), ("dilation", 2, 1), ("pad", 4, 0)):
                optional = key in ("dilation", "pad")
                values = tuple(op.get(key, (least,) * count if optional else ()))
                if len(values) != count or min(values) < least:
                    raise ArtifactError(f"Op {op.name!r} needs {count} values >= {least} as {key!r}, not {values}.")
            if [len(shape) for shape in shapes[:2]] != [4, 4]:
                raise ArtifactError(f"Op {op.name!r} of type {op.type!r} maps NHWC images, not {shapes[:2]}.")
        if op.type == "upsample-fix" and len(op.get("scale", ())) != 2:
            raise ArtifactError(f"Op {op.name!r} needs 2 values as 'scale', not {op.get('scale')}.")
    return graph


def _filled(shape: tuple[int, ...]) -> bool:
    return len(shape) > 0 and min(shape) > 0


def name_outputs(graph: Graph) -> Graph:
    """Say which ops leave the graph: later passes add readers, and order must survive them."""
    return graph.with_attrs(return_ops=[op.name for op in graph.outputs])


def fold_parameters(graph: Graph) -> Graph:
    """A fixed constant is an int8 constant: the device keeps no float parameters."""
    ops: list[Op] = []
    for op in graph.ops:
        source = graph.by_name.get(op.arg("input") or "") if op.type == "fix" else None
        ops.append(_parameter(source, op) if source is not None and source.type == "const" else op)
    names = {old.name: new.name for old, new in zip(graph.ops, ops, strict=True) if new is not old}
    return drop_unread(rebuild(graph, ops, names))


def _parameter(source: Op, fix: Op) -> Op:
    fix_point, mode = position(fix), str(fix.get("round_mode", "DPU_ROUND"))
    op = const(f"{source.name}_new", quantize(source, fix_point, mode), "const-fix")
    return replace(op, output=int8_tensor(fix.output.name, op.output.shape, fix_point, mode))


def quantize(source: Op, fix_point: int, round_mode: str = "DPU_ROUND") -> Array:
    """The constant `source` as int8, saturated. Raises `ArtifactError` for NaN, infinity or an unknown rounding."""
    values = source.array()
    if round_mode not in _ROUNDING:
        raise ArtifactError(f"Op {source.name!r} asks for rounding {round_mode!r}; known are {', '.join(_ROUNDING)}.")
    if not np.isfinite(values).all():
        raise ArtifactError(f"Constant {source.name!r} holds values that are not finite.")
    with np.errstate(over="ignore"):  # what grows beyond float32 saturates
        scaled = np.ldexp(values.astype(np.float32, copy=False), np.int32(fix_point))
    return np.clip(_ROUNDING[round_mode](scaled), -128, 127).astype(np.int8)


def densify_groups(graph: Graph) -> Graph:
    """A grouped convolution is a full one with zeros: the device knows groups of one channel or one group only.

    `__group` keeps the number of groups in memory, for the placement rules.
    """
    new: list[Op] = []
    for op in graph.ops:
        weights = graph.by_name.get(op.arg("weights") or "")
        groups = _groups(graph, op, weights) if weights is not None and weights.type == "const-fix" else 1
        if weights is None or groups == 1:
            new.append(op)
            continue
        array, channels = weights.array(), graph.op(op.inputs["input"][0]).output.shape[-1]
        if op.type == "depthwise-conv2d":  # [multiplier, kh, kw, channels], outputs in file order
            array = np.moveaxis(array, 3, 1).reshape(-1, *array.shape[1:3], 1)
        dense = np.zeros((*array.shape[:3], channels), np.int8)
        each_in, each_out = array.shape[3], array.shape[0] // groups
        for group in range(groups):
            rows = slice(group * each_out, (group + 1) * each_out)
            dense[rows, :, :, group * each_in : (group + 1) * each_in] = array[rows]
        stored = const(free_name(graph, f"{weights.name}_dense"), dense, "const-fix")
        tensor = replace(weights.output, name=stored.name, shape=dense.shape)
        new.append(replace(stored, output=tensor))
        inputs = {**op.inputs, "weights": (stored.name,)}
        new.append(replace(op, type="conv2d", inputs=inputs).with_attrs(group=1, __group=groups))
    return drop_unread(rebuild(graph, new))


def _groups(graph: Graph, op: Op, weights: Op) -> int:
    """How many groups a convolution has that is neither full nor plainly depthwise, or 1."""
    shape, channels = weights.output.shape, graph.op(op.inputs["input"][0]).output.shape[-1]
    if len(shape) != 4 or min(shape) < 1 or len(weights.array()) != shape[0]:
        return 1
    outputs = shape[0] * shape[3] if op.type == "depthwise-conv2d" else shape[0]
    groups = channels if op.type == "depthwise-conv2d" else channels // shape[3]
    fits = shape[3] == channels if op.type == "depthwise-conv2d" else shape[3] * groups == channels
    wanted = op.type == "conv2d" or (op.type == "depthwise-conv2d" and shape[0] > 1)
    whole = fits and outputs % groups == 0 and outputs * shape[1] * shape[2] * channels <= _MAX_DENSE
    return groups if wanted and whole else 1


def fix_inputs(graph: Graph) -> Graph:
    """An input read through one fix only is an int8 input: the host quantizes it."""
    ops: list[Op] = []
    names: dict[str, str] = {}
    for op in graph.ops:
        readers = graph.fanout[op.name]
        if op.type == "data" and len(readers) == 1 and readers[0].type == "fix" and op not in graph.outputs:
            fix = readers[0]
            names[fix.name] = op.name
            shape = op.output.shape
            tensor = int8_tensor(fix.output.name, shape, position(fix))
            ops.append(Op(op.name, "data-fix", {}, attrs(shape=list(shape), data_type="XINT8"), tensor))
        else:
            ops.append(op)
    return rebuild(graph, (op for op in ops if op.name not in names), names)


def fold_shapes(graph: Graph) -> Graph:
    """Shapes and sizes given as tensors become attributes: a compiled graph is static."""
    return drop_unread(graph.with_ops(_static(graph, op) for op in graph.ops))


def _static(graph: Graph, op: Op) -> Op:
    source = graph.by_name.get(op.arg("input") or "")
    if source is None:
        return op
    here, there = source.output.shape, op.output.shape
    if op.type in ("reshape", "flatten", "squeeze"):
        return Op(op.name, "reshape", {"input": (source.name,)}, attrs(shape=list(there)), op.output)
    if op.type == "resize" and len(here) == len(there) == 4:
        scale = Op(op.name, op.type, {"input": (source.name,)}, op.attrs, op.output)
        return scale.with_attrs(scale=[there[2] / here[2], there[1] / here[1]])
    if op.type == "strided_slice":
        return _plain_slice(op, here)
    return op


def _plain_slice(op: Op, shape: tuple[int, ...]) -> Op:
    """Masks and open ends are the exporter's shorthand; begin, end and strides say it all."""
    if op.get("shrink_axis_mask", 0) or op.get("new_axis_mask", 0) or op.get("ellipsis_mask", 0):
        return op
    begin, end, strides = (list(op.get(key, ())) for key in ("begin", "end", "strides"))
    if not len(begin) == len(end) == len(strides) == len(shape) or min(strides, default=0) < 1:
        return op
    for axis, size in enumerate(shape):
        first = 0 if op.get("begin_mask", 0) >> axis & 1 else begin[axis]
        last = size if op.get("end_mask", 0) >> axis & 1 else end[axis]
        begin[axis], end[axis], _ = slice(first, last).indices(size)
    values = attrs(begin=begin, end=end, strides=strides)
    return Op(op.name, op.type, {"input": op.inputs["input"]}, values, op.output)
