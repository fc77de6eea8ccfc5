"""A convolution-like layer as a matrix product: rows of its input at chosen output places, and its weights as a matrix.

    rows (n, groups, k) x matrix (groups, out / groups, k) -> (n, out)

The places may be a small sample, which keeps memory and time independent of the image's size.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from xmodel.graph import Op


def groups(op: Op, x: Tensor) -> int:
    """Independent groups of the layer on the NCHW input `x`; a matmul has one."""
    if op.type == "matmul":
        return 1
    return x.shape[1] if "depthwise" in op.type else int(op.get("group", 1))


def row_length(op: Op, weights: Tensor) -> int:
    """Input elements that one output place reads, all groups together, for `weights` in torch's layout."""
    if op.type == "matmul":
        return weights.shape[1]
    return int(op.get("in_dim")) * weights.shape[2] * weights.shape[3]


def matrix(op: Op, weights: Tensor, count: int) -> Tensor:
    """`weights` in torch's layout as (groups, out / groups, k), a view or copy; `count` is the number of groups."""
    if not op.type.startswith("transposed"):
        return weights.reshape(count, -1, weights[0].numel())
    inputs, outputs, height, width = weights.shape
    split = weights.flip(2, 3).reshape(count, inputs // count, outputs, height, width)
    return split.transpose(1, 2).reshape(count, outputs, -1)


def from_matrix(op: Op, values: Tensor, like: Tensor) -> Tensor:
    """The inverse of `matrix`: `values` in the layout and shape of the weights `like`."""
    if not op.type.startswith("transposed"):
        return values.reshape(like.shape)
    inputs, outputs, height, width = like.shape
    count = values.shape[0]
    split = values.reshape(count, outputs, inputs // count, height, width).transpose(1, 2)
    return split.reshape(like.shape).flip(2, 3)


def places(op: Op, count: int, generator: torch.Generator) -> Tensor:
    """(count, 2) int64 rows and columns of `op`'s output, chosen at random; zeros for a matmul."""
    if op.type == "matmul":
        return torch.zeros(count, 2, dtype=torch.int64)
    _, height, width, _ = op.output.shape
    flat = torch.randint(height * width, (count,), generator=generator)
    return torch.stack([flat // width, flat % width], 1)


def rows(op: Op, x: Tensor, weights: Tensor, at: Tensor) -> Tensor:
    """What the output places `at` read of one image `x`, (1, C, H, W) or (1, K): (len(at), groups, k)."""
    if op.type == "matmul":
        return x.expand(len(at), -1)[:, None, :]
    height, width = weights.shape[2:]
    dilation_w, dilation_h = op.get("dilation")
    stride_w, stride_h = op.get("stride")
    if op.type.startswith("transposed"):
        x, stride_w, stride_h = _spread(op, x[0], height, width), 1, 1
    else:
        left, right, top, bottom = op.get("pad")
        x = F.pad(x[0], (left, right, top, bottom))
    down = at[:, 0, None] * stride_h + torch.arange(height, device=at.device) * dilation_h
    across = at[:, 1, None] * stride_w + torch.arange(width, device=at.device) * dilation_w
    found = x[:, down[:, :, None], across[:, None, :]]  # (C, n, kh, kw)
    return found.transpose(0, 1).reshape(len(at), groups(op, x[None]), -1)


def results(y: Tensor, at: Tensor) -> Tensor:
    """The layer's result, (1, O, H, W) or (1, O), at the same places: (len(at), O)."""
    return y.expand(len(at), -1) if y.ndim == 2 else y[0][:, at[:, 0], at[:, 1]].T


def _spread(op: Op, x: Tensor, height: int, width: int) -> Tensor:
    """A transposed convolution's input with its stride as gaps of zeros, padded so that a plain one follows."""
    (stride_w, stride_h), (dilation_w, dilation_h) = op.get("stride"), op.get("dilation")
    channels, rows_in, columns_in = x.shape
    spread = x.new_zeros(channels, (rows_in - 1) * stride_h + 1, (columns_in - 1) * stride_w + 1)
    spread[:, ::stride_h, ::stride_w] = x
    left, _, top, _ = op.get("pad")
    reach_h, reach_w = dilation_h * (height - 1), dilation_w * (width - 1)
    _, rows_out, columns_out, _ = op.output.shape
    before_h, before_w = reach_h - top, reach_w - left
    after_h = rows_out + reach_h - before_h - spread.shape[1]
    after_w = columns_out + reach_w - before_w - spread.shape[2]
    return F.pad(spread, (before_w, after_w, before_h, after_h))
