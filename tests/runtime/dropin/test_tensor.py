"""Tensors and data types as applications see them."""

from __future__ import annotations

import pytest

from runtime.dropin.tensor import DataType, Tensor
from xmodel.errors import UsageError


def test_a_tensor() -> None:
    tensor = Tensor("x", (8, 28, 28, 1), "XINT8")
    tensor.set_attr("fix_point", -2)
    assert (tensor.name, tensor.ndim, tensor.dims, tensor.dtype) == ("x", 4, [8, 28, 28, 1], "xint8")
    assert isinstance(tensor.dims, list) and tensor.producer is None
    assert tensor.get_element_num() == tensor.get_data_size() == 6272
    assert Tensor("y", (3, 3)).get_data_size() == 36 and Tensor("z", (3,), "XINT4").get_data_size() == 2
    assert str(tensor) == "xir.Tensor{name: x, type: XINT8, shape: [8, 28, 28, 1]}"
    tensor.dims.append(5)
    assert tensor.ndim == 4


def test_a_clone_is_another_tensor() -> None:
    tensor = Tensor("x", (1, 2), "xint8")
    tensor.set_attr("fix_point", 3)
    copy = tensor.clone()
    copy.name = "y"
    copy.set_attr("fix_point", 4)
    assert copy != tensor and (tensor.name, tensor.get_attr("fix_point")) == ("x", 3)
    assert (copy.dims, copy.dtype, copy.get_attr("fix_point")) == ([1, 2], "xint8", 4)


def test_data_types() -> None:
    assert DataType("xint8") == DataType("XINT", 8) and str(DataType("FLOAT32")) == "float32"
    assert DataType("xint8") != DataType("int8") and len({DataType("xint8"), DataType("XINT8")}) == 1
    assert repr(DataType("int32")) == "xir.DataType('int32')" and DataType("uint16").bit_width == 16
    for text in ("int", "float8x", "", "double"):
        with pytest.raises(UsageError, match="no data type"):
            DataType(text)
