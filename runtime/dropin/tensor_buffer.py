"""`vart.TensorBuffer`: the memory of one tensor of a runner."""

from __future__ import annotations

from typing import Any

import numpy as np

from runtime.dropin.tensor import Tensor
from xmodel.graph import Array, numpy_dtype


class TensorBuffer(np.ndarray[Any, Any]):
    """A C-ordered buffer of a tensor's dimensions and type; `np.asarray(buffer)` shares its memory.

    It is an array, which gives it the buffer protocol in every Python; it equals itself alone.
    """

    _tensor: Tensor | None = None  # None of views, which are arrays like any other

    @classmethod
    def of(cls, tensor: Tensor) -> TensorBuffer:
        """A new buffer of zeros for `tensor`."""
        return cls.over(tensor, np.zeros(tensor.dims, numpy_dtype(tensor.data_type.name)))

    @classmethod
    def over(cls, tensor: Tensor, array: Array) -> TensorBuffer:
        """A buffer that is `array`'s memory."""
        buffer = array.view(cls)
        buffer._tensor = tensor
        return buffer

    def get_tensor(self) -> Tensor:
        """The tensor that the buffer is for."""
        if self._tensor is None:
            raise TypeError("This is a part of a tensor buffer: it has no tensor.")
        return self._tensor

    @property
    def tensor_name(self) -> str | None:
        """The name of the tensor, None of a view."""
        return None if self._tensor is None else self._tensor.name

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)

    def __repr__(self) -> str:
        return f"vart.TensorBuffer{{{self._tensor!r}, data: {self.dtype}{list(self.shape)}}}"

    __str__ = __repr__
