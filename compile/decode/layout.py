"""The order in which the DPUCVDX8H's arrays take weights and biases, undone.

Source: the project's sheet on the instruction set; proven there by decoding a compiled detection network (23 of 23
layers) and by programs on AMD's instruction simulator. Real channels are padded to the array's: 64 in, 128 out.
"""

from __future__ import annotations

import numpy as np

from xmodel.graph import Array

IN, OUT = 64, 128  # channels that one line, and all banks, hold
OUT_BLOCK_BYTES = OUT  # biases of one block of output channels


def bank_row(channel: Array) -> Array:
    """The row of a block of weights in the blob that the bank of stored output channel 0..127 is loaded from."""
    row: Array = channel + 16 * (channel // 16) - np.where(channel < IN, 0, 112)
    return row


def _weight_places() -> tuple[Array, Array]:
    """Row and byte within the line of output channel o (0..127) and input channel c (0..63), each [128, 64]."""
    o, c = np.arange(OUT)[:, None], np.arange(IN)[None, :]
    # spec: inside 8 rows x 16 channels a byte's place takes its bits from both numbers
    i, j = o % 8, c % 16
    place = 32 * (i >> 2) + 64 * (i >> 1 & 1) + (i & 1) + 2 * j
    stored = 8 * (o // 8) + place // 16
    byte = 8 * (c // 16) + 32 * (place % 16 // 8) + place % 8
    return bank_row(stored), byte


_ROW, _BYTE = _weight_places()
_BIAS_CHANNEL = np.arange(OUT)
_BIAS_BYTE = (
    64 * (_BIAS_CHANNEL // 64) + 32 * (_BIAS_CHANNEL % 16 // 8) + 8 * (_BIAS_CHANNEL % 64 // 16) + _BIAS_CHANNEL % 8
)
_UNIT = np.arange(IN) // 8
_DEPTHWISE_BYTE = 32 * (_UNIT % 2) + 8 * (_UNIT // 2) + np.arange(IN) % 8


def conv_weights(block: Array) -> Array:
    """Weights [128 output channels, lines, 64 input channels] from a block of the blob, int8 [128 rows, lines, 64]."""
    lines = np.arange(block.shape[1])
    weights: Array = block[_ROW[:, None, :], lines[None, :, None], _BYTE[:, None, :]]
    return weights


def conv_bias(stored: Array) -> Array:
    """Biases of 128 output channels from their 128 stored bytes."""
    bias: Array = stored[_BIAS_BYTE]
    return bias


def depthwise(stored: Array) -> Array:
    """Weights or biases [..., 64 channels] from stored pairs of 32-byte lines [..., 64]."""
    return stored[..., _DEPTHWISE_BYTE]
