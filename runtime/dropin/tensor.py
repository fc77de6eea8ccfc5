"""`xir.Tensor` and `xir.DataType`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from runtime.dropin.attributes import Attributed
from xmodel.errors import UsageError
from xmodel.graph import Attr

if TYPE_CHECKING:
    from runtime.dropin.op import Op

_PATTERN = re.compile(r"(BFLOAT|FLOAT|XINT|XUINT|INT|UINT|UNKNOWN)(\d{1,3})")


class DataType:
    """A data type: `DataType("xint8")` or `DataType("XINT", 8)`; equal when kind and width are."""

    def __init__(self, type: str, bit_width: int | None = None) -> None:
        text = f"{type}{'' if bit_width is None else bit_width}".upper()
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise UsageError(
                f"There is no data type {text.lower()!r}.", hint="Examples are 'xint8', 'int32' and 'float32'."
            )
        self.type, self.bit_width = match[1], int(match[2])

    @property
    def name(self) -> str:
        """As files store it: "XINT8"."""
        return f"{self.type}{self.bit_width}"

    def __str__(self) -> str:
        return self.name.lower()

    def __repr__(self) -> str:
        return f"xir.DataType({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DataType) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)


class Tensor(Attributed):
    """A tensor: its name, dimensions (NHWC for images), data type and attributes such as `fix_point`.

    `producer` is the op that makes it, None for one of no graph. Two tensors are equal when they are one object.
    """

    def __init__(
        self, name: str, dims: Iterable[int], dtype: str | DataType = "float32",
        attrs: Mapping[str, Attr] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(attrs)
        self._name = name
        self._dims = tuple(int(size) for size in dims)
        self._type = dtype if isinstance(dtype, DataType) else DataType(dtype)
        self.producer: Op | None = None

    def _title(self) -> str:
        return f"Tensor {self._name!r}"

    def _changed(self) -> None:
        if self.producer is not None:
            self.producer.get_graph().touch()

    @property
    def name(self) -> str:
        """The tensor's name; it can be set."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._name = str(name)
        self._changed()

    @property
    def dims(self) -> list[int]:
        """The dimensions; those of a runner have the batch first."""
        return list(self._dims)

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self._dims)

    @property
    def dtype(self) -> str:
        """The data type in lower case: "xint8", "float32"."""
        return str(self._type)

    @property
    def data_type(self) -> DataType:
        """The data type."""
        return self._type

    def reshape(self, dims: Iterable[int], dtype: str | DataType) -> None:
        """Take other dimensions and another type: what shape inference does."""
        self._dims, self._type = tuple(dims), dtype if isinstance(dtype, DataType) else DataType(dtype)
        self._changed()

    def clone(self) -> Tensor:
        """A copy that belongs to no graph."""
        return Tensor(self._name, self._dims, self._type, self._attrs)

    def get_element_num(self) -> int:
        """The product of the dimensions."""
        return math.prod(self._dims)

    def get_data_size(self) -> int:
        """Bytes of all elements."""
        return -(-self.get_element_num() * self._type.bit_width // 8)

    def __repr__(self) -> str:
        return f"xir.Tensor{{name: {self._name}, type: {self.dtype.upper()}, shape: {self.dims}}}"
