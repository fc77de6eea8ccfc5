"""U-YNet: the published names and shapes, and the outputs of a network trained elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.registry import MODELS, find, load
from model.uynet import UNet
from tests.shared import SHARED, needs_shared
from xmodel.errors import UsageError

GOLDEN = SHARED / "goldens" / "quantizer" / "b_uynet_div8"


def test_published_widths() -> None:
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in UNet(64).state_dict().items()}
    assert shapes["inc.double_conv.0.weight"] == (64, 3, 3, 3)
    assert shapes["down4.maxpool_conv.1.double_conv.3.weight"] == (1024, 1024, 3, 3)
    assert shapes["up1.up.weight"] == (1024, 512, 2, 2)
    assert shapes["up1.conv.double_conv.0.weight"] == (512, 1024, 3, 3)
    assert shapes["up4.conv.double_conv.4.running_var"] == (64,)
    assert shapes["outc.conv.weight"] == (2, 64, 1, 1)
    assert shapes["linear_1.weight"] == (512, 1024)
    assert shapes["linear_2.weight"] == (1, 512)
    assert len(shapes) == 9 * 2 * 7 + 4 * 2 + 3 * 2
    assert not any(key.startswith("down5") for key in shapes)


@pytest.mark.parametrize(("size", "last_pool"), [(224, 7), (64, 2), (32, 1), (112, 3)])
def test_second_pool_covers_what_is_left(size: int, last_pool: int) -> None:
    net = UNet(2, size).eval()
    assert net.last_pool == last_pool
    mask, real = net(torch.rand(2, 3, size, size))
    assert mask.shape == (2, 2, size, size)
    assert real.shape == (2, 1)
    assert bool(((real > 0) & (real < 1)).all())


@pytest.mark.parametrize("size", [16, 100, 0])
def test_impossible_size(size: int) -> None:
    with pytest.raises(UsageError, match=f"cannot take {size}x{size} images"):
        UNet(2, size)


def test_can_be_exported_and_gives_the_same() -> None:
    net = UNet(2, 64).eval()
    x = torch.rand(1, 3, 64, 64)
    exported = torch.export.export(net, (x,)).module()
    for ours, theirs in zip(net(x), exported(x), strict=True):
        assert torch.equal(ours, theirs)


@needs_shared
def test_weights_trained_elsewhere_load_without_renaming() -> None:
    net = UNet(8, 64)
    with np.load(GOLDEN / "float_state.npz") as stored:
        state = {key: torch.from_numpy(stored[key]) for key in stored.files}
    unused = [key for key in state if key.startswith("down5.")]
    assert len(unused) == 14
    net.load_state_dict({key: value for key, value in state.items() if key not in unused})
    x = torch.from_numpy(np.load(GOLDEN / "test_input.npy"))
    with torch.inference_mode():
        outputs = net.eval()(x)
    with np.load(GOLDEN / "float_outputs.npz") as expected:
        for name, output in zip(("out0", "out1"), outputs, strict=True):
            np.testing.assert_allclose(output.numpy(), expected[name], atol=2e-5, rtol=1e-4)


def test_registry_names() -> None:
    assert find("UYNet-Lite").width == 16
    assert (find("uynet").class_name, find("uynet").weights) == ("UNet", None)
    assert all((spec.preprocessing.width, spec.preprocessing.color_order) == (224, "RGB") for spec in MODELS.values())
    with pytest.raises(UsageError, match=r"no model 'resnet'.*uynet-lite"):
        find("resnet")


def test_random_weights_follow_the_seed_alone() -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    first, again, other = (load("uynet-lite", seed=seed).state_dict() for seed in (5, 5, 6))
    assert torch.equal(torch.random.get_rng_state(), before)
    key = "up1.up.weight"
    assert torch.equal(first[key], again[key])
    assert not torch.equal(first[key], other[key])


def test_no_shipped_weights() -> None:
    with pytest.raises(UsageError, match=r"No weights are shipped.*--weights"):
        load("uynet")


def test_shipped_weights_load() -> None:
    net = load("uynet-lite")
    assert not net.training
    with torch.inference_mode():
        mask, real = net(torch.full((1, 3, 224, 224), 0.5))
    assert mask.shape == (1, 2, 224, 224)
    assert 0 <= float(real) <= 1
