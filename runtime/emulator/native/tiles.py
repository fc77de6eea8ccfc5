"""Which convolutions Winograd's way suits, and with what tiles: a rule of shapes alone, nothing depends on time.

The bytes are the same either way; src/winograd.h has the algorithm.
"""

from __future__ import annotations

from runtime.emulator.spec import Convolution

MOST_CHANNELS = 1 << 14  # of the input; beyond, a block of tiles leaves every cache
MOST_WEIGHTS = 48 << 20  # bytes of a layer's transformed weights: memory counts too
CHANNELS, TILES = 16, 6  # of one call of the multiplication

# Measured on a CPU with AVX2, in cycles: products a cycle, bytes of weights a cycle, what a call of the way without
# tiles costs beside its products, and the transforms of a tile's inputs and sums for 16 channels.
PRODUCTS, MEMORY, CALL = 26.0, 12.0, 150.0
TRANSFORMS = {2: (80.0, 150.0), 4: (180.0, 360.0)}


def possible(spec: Convolution, channels: int) -> bool:
    """Whether a convolution of so many input channels has 3x3 windows of stride 1."""
    plain = spec.window.kernel == (3, 3) and spec.window.stride == (1, 1) and spec.window.dilation == (1, 1)
    return plain and not spec.depthwise and not spec.transposed and channels <= MOST_CHANNELS


def suited(spec: Convolution, channels: int, made: int) -> int:
    """Outputs along a side of the tiles, 2 or 4, that cost least for one image; 0: without tiles."""
    if not possible(spec, channels):
        return 0
    (height, width), blocks = spec.out, -(-made // CHANNELS)
    pixels, columns = _up(height * width, TILES), blocks * CHANNELS
    costs = {0: 9 * channels * columns * (pixels / PRODUCTS + 1 / MEMORY) + pixels / TILES * blocks * CALL}
    for side, (inputs, sums) in TRANSFORMS.items():
        weights = 2 * (side + 2) ** 2 * _up(channels, 2) * columns
        if weights > MOST_WEIGHTS:
            continue
        count = -(-height // side) * -(-width // side)
        products = weights / 2 * _up(count, TILES) / PRODUCTS
        costs[side] = products + weights / MEMORY + count * (inputs * -(-channels // CHANNELS) + sums * blocks)
    return min(costs, key=lambda side: costs[side])


def _up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple
