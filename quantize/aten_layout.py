"""ATen's layout operators in XIR: concatenation, reshapes, slices, padding, resizing, and reductions over axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from quantize.builder import Value, nhwc
from quantize.call import Call

_FAR = 2**31 - 1  # XIR's "to the end" in a slice
_AXES = {0: 0, 1: 3, 2: 1, 3: 2}  # NCHW axis -> NHWC axis
_TORCH = (0, 2, 3, 1)  # NHWC axis -> NCHW axis


def axis_of(call: Call, axis: Any, rank: int) -> int:
    """The XIR axis of a torch axis."""
    place = int(axis) % rank
    return _AXES[place] if rank == 4 else place


def cat(call: Call) -> None:
    """Concatenation along channels (any axis of a 4-D tensor is translated to NHWC)."""
    values = [call.b.value(node, call.where) for node in call["tensors"]]
    if any(v.flat is not None for v in values):
        raise call.refuse("concatenating flattened tensors has no DPU form.", "Concatenate before flattening.")
    axis = axis_of(call, call["dim"], len(values[0].shape))
    call.emit("concat", "concat", {"input": tuple(v.op for v in values)}, axis=axis)


def reshape(kind: str) -> Callable[[Call], None]:
    """flatten, view, reshape, squeeze and unsqueeze.

    (N, C, H, W) -> (N, K) is a reshape whose reader's weights are re-ordered. Otherwise torch's element order is
    kept: a 4-D side whose order matters goes through a transpose from or to NCHW, as the vendor's exporter does.
    """

    def translate_reshape(call: Call) -> None:
        x, shape = call.first(), call.shape
        if shape == x.shape:
            return call.skip(x)
        if len(shape) == 2 and len(x.shape) == 4:
            chw = (x.shape[1], x.shape[2], x.shape[3])
            ordered = _same_order(x.shape)
            call.emit("reshape", kind, {"input": (x.op,)}, flat=None if ordered else chw, shape=list(shape))
            return None
        if x.flat is not None:
            raise call.refuse(f"a reshape of a tensor that was flattened from {x.flat} has no XIR form here.")
        value = x
        if len(x.shape) == 4 and not _same_order(x.shape):
            value = _transposed(call, value, (0, 3, 1, 2), x.shape)
        if len(shape) != 4 or _same_order(shape):
            call.emit("reshape", kind, {"input": (value.op,)}, shape=list(nhwc(shape)))
            return None
        laid = call.part("reshape", kind, {"input": (value.op,)}, shape, shape=list(shape), dims=shape)
        call.b.values[call.node.name] = _transposed(call, laid, (0, 2, 3, 1), nhwc(shape))
        return None

    return translate_reshape


def _same_order(shape: Sequence[int]) -> bool:
    """Whether a 4-D tensor has the same element order in NCHW and in NHWC."""
    return len(shape) != 4 or shape[1] == 1 or shape[2] * shape[3] == 1


def _transposed(call: Call, value: Value, order: tuple[int, ...], dims: Sequence[int]) -> Value:
    """A transpose of XIR axes whose result has the XIR shape `dims`; it counts as no node of the vendor's."""
    return call.part("transpose", "", {"input": (value.op,)}, value.shape, order=list(order), dims=tuple(dims))


def permute(call: Call) -> None:
    """permute and transpose of axes; a 4-D order is translated to NHWC."""
    x = call.first()
    rank = len(x.shape)
    if x.flat is not None:
        raise call.refuse("permuting a flattened tensor has no XIR form here.", "Permute before flattening.")
    if "dims" in call.args:
        dims = [int(d) % rank for d in call["dims"]]
    else:
        dims = list(range(rank))
        first, second = int(call["dim0"]) % rank, int(call["dim1"]) % rank
        dims[first], dims[second] = second, first
    if dims == list(range(rank)):
        return call.skip(x)
    order = [_AXES[dims[_TORCH[axis]]] for axis in range(4)] if rank == 4 else dims
    call.emit("transpose", "transpose", {"input": (x.op,)}, order=order)
    return None


def slice_tensor(call: Call) -> None:
    """x[begin:end:step] along one axis; consecutive slices of different axes become one op."""
    x = call.value("self")
    rank = len(x.shape)
    axis = int(call["dim"]) % rank
    if x.flat is not None:
        raise call.refuse("slicing a flattened tensor has no XIR form here.", "Slice before flattening.")
    start, stop, step = slice(call["start"], call["end"], call["step"]).indices(x.shape[axis])
    if (start, stop, step) == (0, x.shape[axis], 1) or (axis == 0 and start == 0 and step == 1):
        return call.skip(x)
    if axis == 0:
        raise call.refuse("a slice of the batch has no XIR form.")
    place = axis_of(call, axis, rank)
    begin, end, strides = [0] * rank, [_FAR] * rank, [1] * rank
    source = x.op
    earlier = call.b.by_name[source]
    if earlier.type == "strided_slice" and (earlier.get("begin")[place], earlier.get("end")[place]) == (0, _FAR):
        begin, end, strides = (list(earlier.get(name)) for name in ("begin", "end", "strides"))
        source = earlier.inputs["input"][0]
    begin[place], strides[place] = start, step
    end[place] = _FAR if stop == x.shape[axis] and call["end"] in (None, 2**63 - 1) else stop
    call.emit("strided_slice", "strided_slice", {"input": (source,)}, **_slice(begin, end, strides))
    return None


def _slice(begin: list[int], end: list[int], strides: list[int]) -> dict[str, Any]:
    return {
        "begin": begin,
        "end": end,
        "strides": strides,
        "begin_mask": sum(1 << axis for axis, value in enumerate(begin) if value == 0),
        "end_mask": sum(1 << axis for axis, value in enumerate(end) if value == _FAR),
        "ellipsis_mask": 0,
        "new_axis_mask": 0,
        "shrink_axis_mask": 0,
    }


def split(call: Call) -> None:
    """chunk and split: one slice a part."""
    x = call.value("self")
    rank = len(x.shape)
    axis = int(call["dim"]) % rank
    if axis == 0 or x.flat is not None:
        raise call.refuse("splitting the batch or a flattened tensor has no XIR form.")
    place, at = axis_of(call, axis, rank), 0
    parts: list[Value | None] = []
    for size in _part_sizes(call, x.shape[axis]):
        begin, end = [0] * rank, [_FAR] * rank
        begin[place], end[place] = at, at + size
        shape = (*x.shape[:axis], size, *x.shape[axis + 1 :])
        # The vendor's graph has a node for the sizes between the first part and the second.
        skipped = {"__skip": 1} if len(parts) == 1 else {}
        values = _slice(begin, end, [1] * rank) | skipped
        parts.append(call.part("strided_slice", "strided_slice", {"input": (x.op,)}, shape, **values))
        at += size
    call.b.parts[call.node.name] = tuple(parts)


def _part_sizes(call: Call, whole: int) -> list[int]:
    """The sizes of the parts, from a number of them, one size for all, or a list."""
    if "chunks" in call.args:
        step = -(-whole // int(call["chunks"]))
    else:
        given = call.args["split_sizes" if "split_sizes" in call.args else "split_size"]
        if not isinstance(given, int):
            return [int(size) for size in given]
        step = given
    return [min(step, whole - at) for at in range(0, whole, step)]


def pad(call: Call) -> None:
    """Constant (also zero), reflect padding of rows and columns."""
    x = call.image("self")
    given = [int(v) for v in call["pad"]]
    mode = {"constant": "CONSTANT", "reflect": "REFLECT"}.get(str(call.args.get("mode", "constant")))
    if mode is None or len(given) > 4 or len(given) % 2 or min(given, default=0) < 0:
        raise call.refuse(f"padding {given} in mode {call.args.get('mode')!r} has no XIR form.")
    left, right, top, bottom = (*given, 0, 0, 0, 0)[:4]
    value = float(call.args.get("value") or 0.0)
    call.emit(
        "pad", "pad_nd", {"input": (x.op,)}, paddings=[0, 0, top, bottom, left, right, 0, 0], mode=mode,
        constant_values=[value] * 8,
    )  # fmt: skip


def resize(mode: str) -> Callable[[Call], None]:
    """Nearest or bilinear interpolation by a factor or to a size."""

    def translate_resize(call: Call) -> None:
        x, shape = call.image("input"), call.shape
        align = bool(call.args.get("align_corners") or False)
        by_size = call.args.get("scale_factors") is None
        scale = [shape[3] / x.shape[3], shape[2] / x.shape[2]]
        call.emit(
            "resize", "resize", {"input": (x.op,)}, scale=scale, mode=mode, align_corners=align,
            half_pixel_centers=mode == "BILINEAR" and not align, __by_size=by_size,
        )  # fmt: skip

    return translate_resize


def pixel_shuffle(upscale: bool) -> Callable[[Call], None]:
    """Depth to space (`upscale`) or space to depth, in torch's channel order."""

    def translate_pixel_shuffle(call: Call) -> None:
        x = call.image("self")
        factor = int(call["upscale_factor" if upscale else "downscale_factor"])
        kind = "pixel_shuffle" if upscale else "pixel_unshuffle"
        call.emit("pixel-shuffle", kind, {"input": (x.op,)}, scale=factor, upscale=upscale)

    return translate_pixel_shuffle


def reduction(type_: str, kind: str, argument: str, several: bool = False) -> Callable[[Call], None]:
    """A reduction over axes. `several`: the operator also returns indices, which are not available."""

    def translate_reduction(call: Call) -> None:
        x = call.value("self")
        rank = len(x.shape)
        given = call[argument]
        dims = [given] if isinstance(given, int) else list(given or range(1, rank))
        axes = sorted(int(d) % rank for d in dims)
        keep = bool(call["keepdim"])
        shape = tuple(1 if d in axes else s for d, s in enumerate(x.shape) if keep or d not in axes)
        if 0 in axes or x.flat is not None or (rank == 4 and not keep and len(shape) == 3 and 1 not in axes):
            raise call.refuse(f"a reduction of {x.shape} over axes {axes} has no XIR form.", "Use keepdim=True.")
        if kind.startswith("aten_"):
            call.note("stays float and runs on the CPU.")
            placed = axes
        else:
            placed = sorted(axis_of(call, axis, rank) for axis in axes)
        value = call.part(type_, kind, {"input": (x.op,)}, shape, axis=placed, keep_dims=keep)
        if several:
            call.b.parts[call.node.name] = (value, None)
        else:
            call.b.values[call.node.name] = value

    return translate_reduction


def identity(call: Call) -> None:
    """Dropout in eval mode, contiguous, clone: nothing to compute."""
    call.skip(call.first())


LAYOUT: dict[str, Callable[[Call], None]] = {
    "cat.default": cat,
    "flatten.using_ints": reshape("flatten"),
    "unflatten.int": reshape("reshape"),
    "view.default": reshape("reshape"),
    "reshape.default": reshape("reshape"),
    "squeeze.dim": reshape("squeeze"),
    "squeeze.dims": reshape("squeeze"),
    "squeeze.default": reshape("squeeze"),
    "unsqueeze.default": reshape("unsqueeze"),
    "permute.default": permute,
    "transpose.int": permute,
    "slice.Tensor": slice_tensor,
    "chunk.default": split,
    "split.Tensor": split,
    "split.sizes": split,
    "split_with_sizes.default": split,
    "pad.default": pad,
    "upsample_nearest2d.vec": resize("NEAREST"),
    "upsample_bilinear2d.vec": resize("BILINEAR"),
    "pixel_shuffle.default": pixel_shuffle(True),
    "pixel_unshuffle.default": pixel_shuffle(False),
    "mean.dim": reduction("mean", "aten_mean", "dim"),
    "sum.dim_IntList": reduction("reduction_sum", "sum", "dim"),
    "amax.default": reduction("reduction_max", "max", "dim"),
    "max.dim": reduction("reduction_max", "max", "dim", several=True),
    "dropout.default": identity,
    "dropout_.default": identity,
    "feature_dropout.default": identity,
    "contiguous.default": identity,
    "clone.default": identity,
    "detach.default": identity,
    "alias.default": identity,
}
