"""Host arrays of a job: checked against the tensor they are for, copied in, converted, written back in place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from runtime.dropin.tensor import Tensor
from runtime.dropin.tensor_buffer import TensorBuffer
from runtime.emulator.rounding import quantize
from xmodel.errors import UsageError
from xmodel.graph import Array, numpy_dtype

_TYPES = ("int8", "int16", "float32")  # measured: the vendor's module ends the process on every other type


def bind(tensors: Sequence[Tensor], given: Any, what: str, dynamic: bool) -> list[tuple[Tensor, Array]]:
    """Which array is for which tensor: tensor buffers by name, plain arrays by place in the list.

    `what` is "input" or "output". Fewer outputs than tensors are taken, fewer inputs are not. Every array must be a
    writable, C-contiguous int8, int16 or float32 one that holds whole images, at most the tensor's dims[0]; with
    `dynamic` its own dimensions count. Raises `UsageError` or `ValueError` naming the tensor.
    """
    arrays = [given] if isinstance(given, np.ndarray) else list(given)
    names = [tensor.name for tensor in tensors]
    if len(arrays) > len(tensors) or (what == "input" and len(arrays) < len(tensors)):
        raise UsageError(
            f"The runner has {len(tensors)} {what} tensors; {len(arrays)} arrays were given.",
            hint=f"They are, in this order, {names}.",
        )
    by_name = {tensor.name: tensor for tensor in tensors}
    bound: dict[str, tuple[Tensor, Array]] = {}
    for place, item in enumerate(arrays):
        named = item.tensor_name if isinstance(item, TensorBuffer) else None
        tensor = by_name.get(named or "", tensors[place])
        if tensor.name in bound:
            raise UsageError(f"Two buffers were given for the {what} tensor {tensor.name!r}.")
        bound[tensor.name] = tensor, _checked(tensor, item, what, dynamic)
    return list(bound.values())


def _checked(tensor: Tensor, item: Any, what: str, dynamic: bool) -> Array:
    try:
        array = np.asarray(item if isinstance(item, np.ndarray) else memoryview(item))
    except TypeError:
        raise TypeError(f"The {what} for tensor {tensor.name!r} is a {type(item).__name__}, not an array.") from None
    shape, name = list(array.shape), f"The {what} array for tensor {tensor.name!r}"
    if not array.flags.writeable:
        raise ValueError(f"{name} is read-only; VART takes writable arrays only, also as inputs: give it a copy.")
    if array.dtype.name not in _TYPES or not array.dtype.isnative:
        raise UsageError(
            f"{name} is {array.dtype}; VART takes {', '.join(_TYPES)}.",
            hint="Convert it with astype; on the card's software this ends the process.",
        )
    if not array.flags.c_contiguous:
        raise UsageError(
            f"{name} is a strided view of {shape}, which VART reads as if it were contiguous.",
            hint="Use np.ascontiguousarray, or order='C'.",
        )
    images = _images(tensor, array) if _whole(tensor, array, dynamic) else 0
    if not images:
        raise UsageError(
            f"{name} is {shape}, {array.size} values; the tensor takes {tensor.dims}, "
            f"{math.prod(tensor.dims[1:])} values an image.",
            hint="Give it whole images, NHWC, the first dimension counting them.",
        )
    if images > (tensor.dims or [1])[0]:
        raise UsageError(
            f"{name} holds {images} images; a job takes at most {tensor.dims[0]}.", hint="Split it into several jobs."
        )
    return array


def _whole(tensor: Tensor, array: Array, dynamic: bool) -> bool:
    """Whether `array` is whole images: its first dimension counts them, or it is flat, or one image, or ends in one.

    The other dimensions may be anything of the right size: VART sees memory.
    """
    image = tuple(tensor.dims[1:])
    each = math.prod(image)
    if array.ndim and array.shape[0] * each == array.size:
        return True
    tail = array.shape[array.ndim - len(image) :]
    return not dynamic and array.size % each == 0 and (array.ndim == 1 or array.size == each or tail == image)


def count(bound: Sequence[tuple[Tensor, Array]]) -> int:
    """Images that all arrays hold. Raises `UsageError` when they differ."""
    found = {tensor.name: _images(tensor, array) for tensor, array in bound}
    if len(set(found.values())) > 1:
        raise UsageError(f"The input arrays hold different numbers of images: {found}.")
    return max(found.values(), default=1)


def _images(tensor: Tensor, array: Array) -> int:
    return array.size // math.prod(tensor.dims[1:])


def room(bound: Sequence[tuple[Tensor, Array]], images: int) -> None:
    """Raise `UsageError` for an output array that is smaller than a job's `images`, or of a type it cannot have."""
    for tensor, array in bound:
        held = _images(tensor, array)
        if held < images:
            raise UsageError(
                f"The output array for tensor {tensor.name!r} has room for {held} images; the inputs hold {images}.",
                hint="Make it as long as the inputs.",
            )
        _fix_point(tensor, array.dtype)


def _fix_point(tensor: Tensor, dtype: np.dtype[Any]) -> int | None:
    """The fix point through which values pass between tensor and host, None where both are real or both integers.

    Raises `UsageError` for a tensor that has none.
    """
    own = numpy_dtype(tensor.data_type.name)
    if (own.kind == "f") == (dtype.kind == "f"):
        return None
    fix_point = tensor.get_attr("fix_point") if tensor.has_attr("fix_point") else None
    if not isinstance(fix_point, int):
        wanted = "float32" if own.kind == "f" else "int8"
        raise UsageError(
            f"Tensor {tensor.name!r} is {tensor.dtype} and has no fix_point to convert {dtype} with.",
            hint=f"Use a {wanted} array.",
        )
    return fix_point


def load(tensor: Tensor, array: Array, images: int) -> Array:
    """A copy of `array` as [images, ...] in the tensor's type.

    Real values become integers at the tensor's fix point, half up and saturating; integers are taken at that fix
    point, int16 ones saturated.
    """
    own = numpy_dtype(tensor.data_type.name)
    shaped = array.reshape(images, *tensor.dims[1:])
    fix_point = _fix_point(tensor, array.dtype)
    if fix_point is None:
        if own.kind == "i" and array.dtype.itemsize > own.itemsize:
            limits = np.iinfo(own)
            return np.clip(shaped, limits.min, limits.max).astype(own)
        return shaped.astype(own)
    if own.kind == "f":
        return (shaped.astype(np.float64) * 2.0**-fix_point).astype(own)
    return quantize(shaped, fix_point, 8 * own.itemsize).astype(own)


def store(tensor: Tensor, made: Array, array: Array, images: int) -> None:
    """Write `made`, [images, ...] in the tensor's type, into the beginning of `array`, converted as `load` does."""
    values = np.broadcast_to(made, (images, *made.shape[1:])) if len(made) != images else made
    fix_point = _fix_point(tensor, array.dtype)
    if fix_point is not None:
        if array.dtype.kind == "f":
            values = values.astype(np.float32) * np.float32(2.0**-fix_point)
        else:
            values = quantize(values, fix_point, 8 * array.dtype.itemsize)
    elif array.dtype.kind == "i" and values.dtype.itemsize > array.dtype.itemsize:
        limits = np.iinfo(array.dtype)
        values = np.clip(values, limits.min, limits.max)
    target = array.reshape(-1)[: values.size]
    np.copyto(target, values.reshape(-1), casting="unsafe")
