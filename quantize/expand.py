"""The vendor's spelling of ops that its exporter writes as several: scaled pools, reshapes, gates, NCHW float ops."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from quantize.kernels import NCHW_OPS
from xmodel.graph import Array, Attr, Graph, Op, Tensor, attrs, const, rewrite

CONST_TYPE = "float32"  # the vendor's spelling in constants; its data ops say FLOAT32
_TO_NCHW, _TO_NHWC = (0, 3, 1, 2), (0, 2, 3, 1)
_GATE = 6 * 2731 / 16384  # the DPU's hard-sigmoid over the true one
_GATE_POINT = 7
_META = ("__key", "__source", "__kind")


def stored_const(name: str, array: Array) -> Op:
    """A constant as the vendor's exporter writes it."""
    return const(name, np.asarray(array, np.float32)).with_attrs(data_type=CONST_TYPE)


def expand(op: Op) -> list[Op]:
    """The ops that the vendor's exporter writes for `op`; the last one has its name."""
    rule = _RULES.get(op.type)
    return [op] if rule is None else rule(op)


def _split(op: Op) -> tuple[dict[str, Attr], dict[str, Attr]]:
    """(attributes that say where the op comes from, the op's own)."""
    meta = {name: attr for name, attr in op.attrs.items() if name in _META}
    return meta, {name: attr for name, attr in op.attrs.items() if not name.startswith("__")}


def _scaled(op: Op, factor: float, own: dict[str, Attr], meta: dict[str, Attr]) -> list[Op]:
    """`op` under the name `_i0`, times a constant `_i1`."""
    inner, constant = f"{op.name}_i0", f"{op.name}_i1"
    return [
        replace(op, name=inner, attrs=own, output=replace(op.output, name=inner)),
        stored_const(constant, np.array([factor], np.float32)),
        Op(op.name, "mul", {"input": (inner, constant)}, meta, op.output),
    ]


def _average(op: Op) -> list[Op]:
    meta, own = _split(op)
    return _scaled(op, float(op.get("__scale", 1.0)), own, meta)


def _hard_sigmoid(op: Op) -> list[Op]:
    meta, _ = _split(op)
    return _scaled(op, _GATE if op.get("__approximate") else 1.0, {}, meta)


def _hard_swish(op: Op) -> list[Op]:
    if not op.get("__approximate"):
        return [op]
    meta, _ = _split(op)
    gate_name = f"{op.name}_mul"
    *parts, gate = _scaled(replace(op, type="hard-sigmoid"), _GATE, {}, {})
    gate = replace(gate, name=gate_name, output=replace(op.output, name=gate_name))
    values = attrs(fix_point=_GATE_POINT, bit_width=8, round_mode="DPU_ROUND", if_signed=True)
    fix = Op(f"{gate_name}_fix", "fix", {"input": (gate_name,)}, values, replace(op.output, name=f"{gate_name}_fix"))
    return [*parts, gate, fix, Op(op.name, "mul", {"input": (fix.name, *op.inputs["input"])}, meta, op.output)]


def _sizes(name: str, what: str, sizes: Sequence[int]) -> list[Op]:
    """A list of numbers as the vendor passes it: one constant each, stacked; the stack comes last."""
    names = [f"{name}_{what}_attr_{i}_" for i in range(len(sizes))]
    stack = f"{name}_{what}_i0"
    parts = [stored_const(n, np.array([size], np.float32)) for n, size in zip(names, sizes, strict=True)]
    tensor = Tensor(stack, (len(names), 1), attrs=attrs(shape_info=list(sizes)))
    return [*parts, Op(stack, "stack", {"input": tuple(names)}, attrs(axis=0), tensor)]


def _reshape(op: Op) -> list[Op]:
    parts = _sizes(op.name, "shape", op.output.shape)
    return [*parts, replace(op.with_attrs(shape=[0]), inputs={**op.inputs, "shape": (parts[-1].name,)})]


def _resize(op: Op) -> list[Op]:
    if not op.get("__by_size"):
        return [op]
    parts = _sizes(op.name, "size", op.output.shape[1:3])
    sized = replace(op, attrs={**op.attrs, "scale": Attr("float_vec", ())})
    return [*parts, replace(sized, inputs={**op.inputs, "size": (parts[-1].name,)})]


_RULES: Mapping[str, Callable[[Op], list[Op]]] = {
    "avgpool2d": _average,
    "hard-sigmoid": _hard_sigmoid,
    "hard-swish": _hard_swish,
    "reshape": _reshape,
    "resize": _resize,
}


@dataclass
class Layout:
    """Which name stands for an op's result where it is read, and the transposes around NCHW float ops."""

    graph: Graph
    names: dict[str, str]  # op -> its fix, or the transpose behind it
    sinks: dict[str, int] = field(default_factory=dict)

    def place(self, op: Op) -> tuple[list[Op], Op, list[Op]]:
        """(ops before, `op` reading what it should, ops behind its fix)."""
        if op.type not in NCHW_OPS:
            return [], replace(op, inputs=self._bound(op)), []
        image, *rest = op.inputs["input"]
        before, source = self._sink(image)
        dims = _nchw(op.output.shape)
        own = op.with_attrs(shape=list(dims), data_type="FLOAT32")
        inputs = {"input": (source, *(self.names.get(name, name) for name in rest))}
        placed = replace(own, type=NCHW_OPS[op.type], inputs=inputs, output=replace(op.output, shape=dims))
        return before, placed, self._swim(op)

    def _bound(self, op: Op) -> dict[str, tuple[str, ...]]:
        return {arg: tuple(self.names.get(name, name) for name in names) for arg, names in op.inputs.items()}

    def _sink(self, name: str) -> tuple[list[Op], str]:
        """The input of an NCHW op: its producer's own result where that is NCHW too, else a transpose."""
        producer = self.graph.op(name)
        fixed = f"{name}_fix" if name in self.names else name
        if producer.type in NCHW_OPS or len(producer.output.shape) != 4:
            return [], fixed
        count = self.sinks.get(name, 0)
        self.sinks[name] = count + 1
        ops = moved(f"{name}_sink_transpose_{count}", fixed, producer.output.shape, _TO_NCHW)
        return ops, ops[-1].name

    def _swim(self, op: Op) -> list[Op]:
        """Back to NHWC, for readers that want it; they are sent there."""
        readers = self.graph.fanout[op.name]
        returned = op.name in self.graph.get("return_ops", ())
        if len(op.output.shape) != 4 or (not returned and all(reader.type in NCHW_OPS for reader in readers)):
            return []
        source = self.names.get(op.name, op.name)
        ops = moved(f"{op.name}_swim_transpose_0", source, _nchw(op.output.shape), _TO_NHWC)
        self.names[op.name] = ops[-1].name
        return ops


def _nchw(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(shape[axis] for axis in _TO_NCHW) if len(shape) == 4 else shape


def moved(name: str, source: str, shape: Sequence[int], order: tuple[int, ...]) -> list[Op]:
    """A transpose of `source` (XIR `shape`) by `order`, or the reshape that it amounts to."""
    dims = tuple(shape[axis] for axis in order)
    op = Op(name, "transpose", {"input": (source,)}, attrs(order=list(order)), Tensor(name, dims))
    real = [axis for axis in order if shape[axis] != 1]
    return _reshape(replace(op, type="reshape", attrs={})) if real == sorted(real) else [op]


def merge_pads(graph: Graph) -> Graph:
    """A symmetric zero `pad` read by one convolution becomes part of that convolution's own pad."""
    merged: dict[str, tuple[str, list[int]]] = {}  # convolution -> (what it reads instead, its pad)
    dropped: set[str] = set()
    for op in graph.ops:
        if op.type not in ("conv2d", "depthwise-conv2d"):
            continue
        fix = graph.op(op.inputs["input"][0])
        pad = graph.op(fix.inputs["input"][0]) if fix.type == "fix" else fix
        if pad.type != "pad" or any(len(graph.fanout[each.name]) != 1 for each in (pad, fix)):
            continue
        top, bottom, left, right = pad.get("paddings")[2:6]
        if pad.get("mode") == "CONSTANT" and not any(pad.get("constant_values")) and (top, left) == (bottom, right):
            own = [a + b for a, b in zip(op.get("pad"), (left, right, top, bottom), strict=True)]
            merged[op.name] = (pad.inputs["input"][0], own)
            dropped |= {pad.name, fix.name}

    def rule(op: Op) -> Op | None:
        if op.name not in merged:
            return None
        source, own = merged[op.name]
        return replace(op, inputs={**op.inputs, "input": (source,)}).with_attrs(pad=own)

    kept = graph.with_ops(op for op in graph.ops if op.name not in dropped)
    return rewrite(kept, rule) if merged else graph
