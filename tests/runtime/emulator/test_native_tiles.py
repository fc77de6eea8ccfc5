from __future__ import annotations

import pytest

from runtime.emulator.native import tiles
from runtime.emulator.spec import Activation, Convolution, Window


def layer(size: int, window: Window | None = None, transposed: bool = False, depthwise: bool = False) -> Convolution:
    return Convolution(
        window or Window((3, 3), pad=(1, 1, 1, 1)), depthwise, transposed, (size, size), 0, 9, Activation()
    )


@pytest.mark.parametrize(
    ("size", "channels", "made", "side"),
    [(224, 64, 64, 4), (224, 16, 16, 4), (56, 256, 256, 4), (28, 1024, 512, 4), (1, 64, 64, 0), (2, 512, 512, 0)],
)
def test_the_more_pixels_the_larger_the_tiles(size: int, channels: int, made: int, side: int) -> None:
    assert tiles.suited(layer(size), size, size, channels, made) == side


def test_only_3x3_windows_of_stride_1_have_tiles() -> None:
    others = [
        layer(64, Window((3, 3), (2, 2))),
        layer(64, Window((3, 3), dilation=(2, 2))),
        layer(64, Window((5, 5))),
        layer(64, Window((1, 1))),
        layer(64, transposed=True),
        layer(64, depthwise=True),
    ]
    assert [tiles.suited(spec, 64, 64, 64, 64) for spec in others] == [0] * len(others)
    assert tiles.suited(layer(64), 64, 64, tiles.MOST_CHANNELS + 1, 64) == 0


def test_pixels_one_by_one_are_for_few_channels() -> None:
    up = Window((2, 2), (2, 2))
    cases = [
        (layer(64, Window((1, 1))), 64, 32, 1),
        (layer(64, Window((1, 1))), 64, 33, 0),
        (layer(64, up, transposed=True), 32, 32, 1),
        (layer(64, up), 128, 32, 0),
        (layer(63, up, transposed=True), 32, 32, 0),
        (layer(1, Window((1, 1))), 1, 32, 0),
    ]
    assert [tiles.suited(spec, size, size, channels, 16) for spec, size, channels, _ in cases] == [c[3] for c in cases]
