"""Which convolutions Winograd's way suits, and with what tiles: a rule of shapes alone, nothing depends on time.

The bytes are the same either way; src/winograd.h has the algorithm.
"""

from __future__ import annotations

from runtime.emulator.spec import Convolution

MOST_CHANNELS = 1 << 14  # of the input; beyond, a block of tiles leaves every cache
CHANNELS, TILES = 16, 6  # of one call of the multiplication

# Measured on a CPU with AVX2, in cycles: 16-bit products a cycle, bytes of weights that come from memory a cycle, and
# what the transforms of a tile's inputs and sums take for 16 channels.
DIRECT, PRODUCTS, MEMORY = 24.0, 26.0, 4.0
TRANSFORMS = {2: (45.0, 90.0), 4: (110.0, 250.0)}


def possible(spec: Convolution, channels: int) -> bool:
    """Whether a convolution of so many input channels has 3x3 windows of stride 1."""
    plain = spec.window.kernel == (3, 3) and spec.window.stride == (1, 1) and spec.window.dilation == (1, 1)
    return plain and not spec.depthwise and not spec.transposed and channels <= MOST_CHANNELS


def suited(spec: Convolution, channels: int, made: int) -> int:
    """Outputs along a side of the tiles, 2 or 4, that cost least for one image; 0: without tiles."""
    if not possible(spec, channels):
        return 0
    height, width = spec.out
    columns = _up(made, CHANNELS)
    costs = {0: 9 * channels * columns * (_up(height * width, TILES) / DIRECT + 1 / MEMORY)}
    for side, (inputs, sums) in TRANSFORMS.items():
        count = -(-height // side) * -(-width // side)
        products = (side + 2) ** 2 * _up(channels, 2) * columns * (_up(count, TILES) / PRODUCTS + 2 / MEMORY)
        costs[side] = products + count * (inputs * _up(channels, CHANNELS) + sums * columns) / CHANNELS
    return min(costs, key=lambda side: costs[side])


def _up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple
