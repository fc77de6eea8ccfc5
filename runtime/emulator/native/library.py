"""The native library through ctypes: its C interface, declared once, and typed calls on NumPy arrays.

ctypes releases the interpreter's lock during a call, so several runners compute at once.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path

import numpy as np

from runtime.emulator.native import build, tiles
from runtime.emulator.spec import Activation, Convolution, Pool
from xmodel.errors import UnavailableError, UsageError
from xmodel.graph import Array

ABI = 2  # of src/api.cpp
MOST_SOURCES = 8  # of a convolution, as in src/kernel.h
SMALLEST_SHIFT, LARGEST_SHIFT = -30, 1000


HINT = "Run `make setup`, or `python -m runtime.emulator.native.build`; it takes a C++ compiler."


class NotBuiltError(UnavailableError):
    """There is no library for these sources here."""


class Isa(IntEnum):
    """Instruction sets the kernels are written for, worst first."""

    PORTABLE = 0
    AVX2 = 1
    VNNI = 2
    AMX = 3


def _structure(name: str, fields: str) -> type[ctypes.Structure]:
    return type(name, (ctypes.Structure,), {"_fields_": [(field, ctypes.c_int32) for field in fields.split()]})


_CONVOLUTION = _structure(
    "UnmaskConvolution",
    "height width channels made out_height out_width kernel_height kernel_width stride_height stride_width "
    "dilation_height dilation_width left top depthwise transposed shift low high leaky tile isa",
)
_POOL = _structure(
    "UnmaskPool",
    "height width channels out_height out_width kernel_height kernel_width stride_height stride_width "
    "dilation_height dilation_width left top maximum factor shift rescale isa",
)


class _Source(ctypes.Structure):
    _fields_ = (("x", ctypes.c_void_p), ("channels", ctypes.c_int32), ("shift", ctypes.c_int32))


def limit() -> Isa:
    """The best instruction set that UNMASK_ISA allows. Raises `UsageError` for a name there is not."""
    name = os.environ.get("UNMASK_ISA", "amx").strip().upper() or "AMX"
    try:
        return Isa[name]
    except KeyError:
        known = ", ".join(isa.name.lower() for isa in Isa)
        raise UsageError(
            f"UNMASK_ISA names no instruction set: {name.lower()!r}.", hint=f"Known are {known}."
        ) from None


def cores() -> int:
    """Cores for a thread that does not say how many it may use: OMP_NUM_THREADS, else all that this process may."""
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if wanted.isdecimal() and int(wanted) > 0:
        return int(wanted)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def limits(activation: Activation) -> tuple[int, int]:
    """The range that the activation leaves an int8."""
    if activation.signed:
        return -128, 127
    if activation.name == "RELU6" and activation.relu6_limit is not None:
        return 0, activation.relu6_limit
    return (0, 127) if activation.name in ("RELU", "RELU6") else (-128, 127)


def _pointer(array: Array | None) -> int | None:
    return None if array is None else array.ctypes.data


class Library:
    """A loaded library; `isa` is what its kernels use. Raises `UnavailableError` when it cannot be loaded."""

    def __init__(self, path: Path, cap: Isa = Isa.AMX) -> None:
        try:
            self._c = ctypes.CDLL(str(path))
            abi = int(self._c.unmask_abi())
        except (OSError, AttributeError) as error:
            raise UnavailableError(f"The native kernels cannot be loaded: {error}.") from error
        if abi != ABI:
            raise UnavailableError(f"The native kernels at {path} have interface {abi}, not {ABI}.")
        pointer, integer, long = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
        self._c.unmask_convolution_new.argtypes = [pointer] * 5
        self._c.unmask_convolution_new.restype = pointer
        self._c.unmask_convolution_delete.argtypes = [pointer]
        self._c.unmask_convolution_delete.restype = None
        for function in (self._c.unmask_convolution_parts, self._c.unmask_convolution_joins):
            function.argtypes = [pointer]
        self._c.unmask_convolution_run.argtypes = [pointer, pointer, integer, integer, pointer]
        self._c.unmask_pool.argtypes = [pointer, pointer, integer, pointer]
        self._c.unmask_add.argtypes = [integer, pointer, pointer, integer, integer, integer, long, pointer, integer]
        self._c.unmask_concat.argtypes = [integer, pointer, pointer, pointer, long, pointer, integer]
        for function in (self._c.unmask_set_threads, self._c.unmask_set_default_threads):
            function.argtypes, function.restype = [integer], None
        self._c.unmask_set_default_threads(cores())
        self.path = path
        self.isa = min(Isa(self._c.unmask_best_isa()), cap)

    def set_threads(self, count: int) -> None:
        """How many cores the calling thread's work may use."""
        self._c.unmask_set_threads(count)

    def convolution(
        self, spec: Convolution, height: int, width: int, weights: Array, half_steps: Array, negative: Array,
        table: Array | None, tile: int | None = None,
    ) -> PackedConvolution | None:  # fmt: skip
        """Weights packed for this CPU; None when 32-bit sums could overflow. See `PackedConvolution`.

        `tile` is the side of Winograd's tiles, 2 or 4; 1 for pixels one by one; 0 for neither. What suits the shape
        when it is not given.
        """
        if tile is None:  # CPUs with VNNI multiply bytes faster than this saves multiplications
            tile = 0
            if self.isa is Isa.AVX2:
                tile = tiles.suited(spec, height, width, weights.shape[3], len(weights))
        return PackedConvolution.make(
            self._c, int(self.isa), spec, height, width, weights, half_steps, negative, table, tile
        )

    def pool(self, spec: Pool, x: Array) -> Array:
        """pool-fix of NHWC int8."""
        (n, h, w, c), (kw, kh), (sw, sh), (dw, dh) = (
            x.shape,
            spec.window.kernel,
            spec.window.stride,
            spec.window.dilation,
        )
        (left, _, top, _), (out_h, out_w), (n, h, w, c) = spec.window.pad, spec.out, x.shape
        numbers = _POOL(
            h, w, c, out_h, out_w, kh, kw, sh, sw, dh, dw, left, top, spec.maximum, spec.factor, spec.shift,
            spec.rescale, self.isa,
        )  # fmt: skip
        x, y = np.ascontiguousarray(x), np.empty((n, out_h, out_w, c), np.int8)
        _done(self._c.unmask_pool(ctypes.byref(numbers), _pointer(x), n, _pointer(y)))
        return y

    def add(self, falls: Sequence[int], shift: int, low: int, high: int, inputs: Sequence[Array]) -> Array:
        """low..high of (sum of floor(4 x / 2^fall)) / 2^shift of int8 arrays of one shape."""
        arrays, y = [np.ascontiguousarray(x) for x in inputs], np.empty(inputs[0].shape, np.int8)
        places, numbers = _addresses(arrays), (ctypes.c_int32 * len(falls))(*falls)
        _done(self._c.unmask_add(len(arrays), places, numbers, shift, low, high, y.size, _pointer(y), self.isa))
        return y

    def concat(self, axis: int, shifts: Sequence[int], inputs: Sequence[Array]) -> Array:
        """int8 arrays side by side along `axis`, each rescaled by 2^-shift."""
        arrays, shape = [np.ascontiguousarray(x) for x in inputs], list(inputs[0].shape)
        shape[axis] = sum(x.shape[axis] for x in arrays)
        y, rows = np.empty(shape, np.int8), int(np.prod(shape[:axis], dtype=np.int64))
        widths = (ctypes.c_int64 * len(arrays))(*(x.size // rows for x in arrays))
        numbers = (ctypes.c_int32 * len(shifts))(*shifts)
        _done(self._c.unmask_concat(len(arrays), _addresses(arrays), widths, numbers, rows, _pointer(y), self.isa))
        return y


class PackedConvolution:
    """A convolution whose weights the library holds; call it with NHWC int8 of the size that it was made for."""

    def __init__(
        self, library: ctypes.CDLL, handle: int, spec: Convolution, shape: tuple[int, int, int], made: int, tile: int
    ) -> None:
        self._c, self._handle, self._spec, self._shape, self._made = library, handle, spec, shape, made
        weakref.finalize(self, library.unmask_convolution_delete, handle)
        self.tile = tile
        self.joins = bool(library.unmask_convolution_joins(handle))
        self.parts: int = library.unmask_convolution_parts(handle)

    @classmethod
    def make(
        cls, library: ctypes.CDLL, isa: int, spec: Convolution, height: int, width: int, weights: Array,
        half_steps: Array, negative: Array, table: Array | None, tile: int,
    ) -> PackedConvolution | None:  # fmt: skip
        """`weights` are OHWI, `half_steps` int64 halves of a step of the sum, `negative` the channels that can be."""
        (kw, kh), (sw, sh), (dw, dh) = spec.window.kernel, spec.window.stride, spec.window.dilation
        (left, _, top, _), channels = spec.window.pad, weights.shape[3]
        made = channels if spec.depthwise else weights.shape[0]
        low, high = limits(spec.activation)
        numbers = _CONVOLUTION(
            height, width, channels, made, *spec.out, kh, kw, sh, sw, dh, dw, left, top, spec.depthwise,
            spec.transposed, max(SMALLEST_SHIFT, min(LARGEST_SHIFT, spec.shift_cut + 1)), low, high,
            spec.activation.name == "LEAKYRELU", tile, isa,
        )  # fmt: skip
        held = (
            np.ascontiguousarray(weights, np.int8),
            np.ascontiguousarray(half_steps, np.int64),
            np.ascontiguousarray(negative, np.uint8),
            None if table is None else np.ascontiguousarray(table, np.int8),
        )
        handle = library.unmask_convolution_new(ctypes.byref(numbers), *(_pointer(array) for array in held))
        return None if handle is None else cls(library, handle, spec, (height, width, channels), made, tile)

    def __call__(self, x: Array, *_: Array) -> Array:
        """[N, out_h, out_w, made] int8."""
        return self.joined((0,), (x,))

    def joined(self, shifts: Sequence[int], inputs: Sequence[Array]) -> Array:
        """The same of several inputs side by side along the channels, each rescaled by 2^-shift; for one that joins."""
        if not self.joins and tuple(shifts) != (0,):
            raise ValueError("a convolution that reads its input where it lies was given several, or one to rescale")
        channels = sum(x.shape[-1] for x in inputs)
        for x in inputs:
            shape = (len(x), *x.shape[1:3], channels)
            if x.ndim != 4 or shape != (len(inputs[0]), *self._shape) or x.dtype != np.int8:
                raise ValueError(f"a convolution made for int8 {list(self._shape)} was given {x.dtype} {list(x.shape)}")
        arrays = [np.ascontiguousarray(x) for x in inputs]
        y = np.empty((len(arrays[0]), *self._spec.out, self._made), np.int8)
        sources = (_Source * len(arrays))(
            *(_Source(_pointer(x), x.shape[3], shift) for x, shift in zip(arrays, shifts, strict=True))
        )
        _done(self._c.unmask_convolution_run(self._handle, sources, len(arrays), len(y), _pointer(y)))
        return y


def _addresses(arrays: Sequence[Array]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(arrays))(*(_pointer(x) for x in arrays))


def _done(status: int) -> None:
    if status:
        raise RuntimeError("the native kernels ran out of memory")


def load(cap: Isa) -> Library:
    """The library built for these sources. Raises `UnavailableError`, `NotBuiltError` when there is none."""
    path = build.find()
    if path is None:
        damaged = next(iter(build.candidates()), None)
        if damaged is not None:
            raise UnavailableError(f"the library {damaged} is damaged", hint=HINT)
        raise NotBuiltError("the native kernels are not built", hint=HINT)
    return Library(path, cap)
