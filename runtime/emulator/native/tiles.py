"""Which convolutions Winograd's tiles suit, or pixels one by one: a rule of shapes alone, nothing depends on time.

The bytes are the same either way; src/winograd.h and src/pointwise.h have the algorithms.
"""

from __future__ import annotations

from runtime.emulator.spec import Convolution

MOST_CHANNELS = 1 << 14  # of the input; beyond, a block of tiles leaves every cache
MOST_WEIGHTS = 48 << 20  # bytes of a layer's transformed weights: memory counts too
FEW_CHANNELS = 32  # of the input of a 1x1 convolution: with more, products of bytes are as fast
CHANNELS, TILES = 16, 6  # of one call of the multiplication

# Measured on a CPU with AVX2, in cycles: products a cycle, bytes of weights a cycle, what a call of the way without
# tiles costs beside its products, and the transforms of a tile's inputs and sums for 16 channels.
PRODUCTS, MEMORY, CALL = 26.0, 12.0, 150.0
TRANSFORMS = {2: (80.0, 150.0), 4: (180.0, 360.0)}


def possible(spec: Convolution, channels: int) -> bool:
    """Whether a convolution of so many input channels has 3x3 windows of stride 1."""
    plain = spec.window.kernel == (3, 3) and spec.window.stride == (1, 1) and spec.window.dilation == (1, 1)
    return plain and not spec.depthwise and not spec.transposed and channels <= MOST_CHANNELS


def one_by_one(spec: Convolution, height: int, width: int) -> bool:
    """Whether each output pixel of a (height, width) image has one input pixel: 1x1, or transposed in tiles."""
    (kernel, stride), whole = (spec.window.kernel, spec.window.stride), spec.window.pad == (0, 0, 0, 0)
    tiled = kernel == stride if spec.transposed else kernel == stride == (1, 1)
    return tiled and whole and not spec.depthwise and spec.out == (height * stride[1], width * stride[0])


def suited(spec: Convolution, height: int, width: int, channels: int, made: int) -> int:
    """Outputs along a side of the tiles, 2 or 4, that cost least for one image; 1: pixels one by one; 0: neither."""
    if one_by_one(spec, height, width):
        return 1 if channels <= FEW_CHANNELS and height * width >= TILES else 0
    if not possible(spec, channels):
        return 0
    (out_height, out_width), blocks = spec.out, -(-made // CHANNELS)
    pixels, columns = _up(out_height * out_width, TILES), blocks * CHANNELS
    costs = {0: 9 * channels * columns * (pixels / PRODUCTS + 1 / MEMORY) + pixels / TILES * blocks * CALL}
    for side, (inputs, sums) in TRANSFORMS.items():
        weights = 2 * (side + 2) ** 2 * _up(channels, 2) * columns
        if weights > MOST_WEIGHTS:
            continue
        count = -(-out_height // side) * -(-out_width // side)
        products = weights / 2 * _up(count, TILES) / PRODUCTS
        costs[side] = products + weights / MEMORY + count * (inputs * -(-channels // CHANNELS) + sums * blocks)
    return min(costs, key=lambda side: costs[side])


def _up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple
