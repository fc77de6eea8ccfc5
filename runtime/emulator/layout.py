"""Ops that only move values: reshape, pad, slice, reorg, tile, pixel shuffle; int8 and float32 alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xmodel.graph import Array


def reshape(x: Array, shape: tuple[int, ...]) -> Array:
    """`x` with the dimensions `shape` after the batch, whatever the batch."""
    return np.ascontiguousarray(x).reshape(-1, *shape[1:]) if shape else x.reshape(())


def pad(x: Array, paddings: Sequence[int], mode: str, values: Sequence[float]) -> Array:
    """`paddings` are (before, after) of every axis; CONSTANT takes a value for each of them."""
    widths = list(zip(paddings[::2], paddings[1::2], strict=True))
    if mode == "CONSTANT":
        constants = list(zip(values[::2], values[1::2], strict=True)) if values else 0
        return np.pad(x, widths, mode="constant", constant_values=constants)
    return np.pad(x, widths, mode="reflect" if mode == "REFLECT" else "symmetric")


def space_to_depth(x: Array, step: int) -> Array:
    """tile: each step x step square of pixels becomes one pixel, its channels row by row."""
    n, h, w, c = x.shape
    blocks = x.reshape(n, h // step, step, w // step, step, c).transpose(0, 1, 3, 2, 4, 5)
    return np.ascontiguousarray(blocks).reshape(n, h // step, w // step, step * step * c)


def depth_to_space(x: Array, step: int) -> Array:
    """The inverse of `space_to_depth`."""
    n, h, w, c = x.shape
    blocks = x.reshape(n, h, w, step, step, c // (step * step)).transpose(0, 1, 3, 2, 4, 5)
    return np.ascontiguousarray(blocks).reshape(n, h * step, w * step, c // (step * step))


def reorg_rows(height: int, step: int) -> Array:
    """For each output row and vertical tap of reorg, the input row: taps are `step` rows apart within step**2 rows.

    Source: AMD's cpu-runner; where the height is no multiple of step**2 a row can lie outside, and counts as 0.
    """
    out = np.arange(height // step)
    return (out // step * step * step + out % step)[:, None] + np.arange(step) * step


def reorg(x: Array, step: int) -> Array:
    """reorg: like `space_to_depth` with the row order of `reorg_rows`."""
    n, h, w, c = x.shape
    rows = reorg_rows(h, step)
    extended = np.zeros((n, max(h, int(rows.max()) + 1), w, c), x.dtype)
    extended[:, :h] = x
    blocks = extended[:, rows].reshape(n, h // step, step, w // step, step, c).transpose(0, 1, 3, 2, 4, 5)
    return np.ascontiguousarray(blocks).reshape(n, h // step, w // step, step * step * c)


def reorg_reverse(x: Array, step: int) -> Array:
    """The inverse of `reorg`; rows that it never writes are 0."""
    n, h, w, c = x.shape
    depth = c // (step * step)
    rows = reorg_rows(h * step, step)
    blocks = x.reshape(n, h, w, step, step, depth).transpose(0, 1, 3, 2, 4, 5).reshape(n, h, step, w * step, depth)
    spread = np.zeros((n, max(h * step, int(rows.max()) + 1), w * step, depth), x.dtype)
    spread[:, rows] = blocks
    return np.ascontiguousarray(spread[:, : h * step])


def pixel_shuffle(x: Array, step: int) -> Array:
    """Channels to pixels with PyTorch's channel order: channel = (out channel, row, column)."""
    n, h, w, c = x.shape
    depth = c // (step * step)
    blocks = x.reshape(n, h, w, depth, step, step).transpose(0, 1, 4, 2, 5, 3)
    return np.ascontiguousarray(blocks).reshape(n, h * step, w * step, depth)


def pixel_unshuffle(x: Array, step: int) -> Array:
    """The inverse of `pixel_shuffle`."""
    n, h, w, c = x.shape
    blocks = x.reshape(n, h // step, step, w // step, step, c).transpose(0, 1, 3, 5, 2, 4)
    return np.ascontiguousarray(blocks).reshape(n, h // step, w // step, c * step * step)
