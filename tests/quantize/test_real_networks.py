"""Trained networks of other people: float equals their recorded outputs, int8 stays close, and the emulator agrees.

The outputs were recorded by the networks' own frameworks, so this does not hang on the vendor's tool.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from quantize.execute import Executor
from quantize.pipeline import Quantized, float_graph, quantize_graph
from tests.quantize import real_networks
from tests.shared import SHARED, needs_shared
from xmodel.graph import Array

WEIGHTS = SHARED / "weights"
pytestmark = needs_shared


def _pictures(path: str) -> Array:
    """NHWC float32 in [0, 1]."""
    with np.load(WEIGHTS / path) as recorded:
        key = "x_u8_nhwc"
        images: Array = recorded[key].astype(np.float32) / np.float32(255)
    return images


@cache
def quantized(name: str) -> tuple[Quantized, Array, Array]:
    """(the quantized network, its pictures, the recorded logits); mirrored pictures calibrate along."""
    face = name == "FaceUNet"
    sample = "unet_face/samples_expected.npz" if face else "mesonet/mesonet_sample_inputs_expected.npz"
    weights = WEIGHTS / ("unet_face/unet_face.npz" if face else f"mesonet/{name}_DF.npz")
    module = real_networks.load(getattr(real_networks, name)(), weights)
    images = _pictures(sample)
    with np.load(WEIGHTS / sample) as recorded:
        logits: Array = recorded["logits_fp32" if face else f"{name}_DF_logits"]
    nchw = images.transpose(0, 3, 1, 2)
    batches = [nchw, np.ascontiguousarray(nchw[..., ::-1])]
    return quantize_graph(float_graph(module, name, nchw[:1]), batches), images, logits


def _sqnr(reference: Array, other: Array) -> float:
    return float(10 * np.log10(np.square(reference).sum() / np.square(reference - other).sum()))


@pytest.mark.parametrize(("name", "decibels"), [("Meso4", 18), ("MesoInception", 27)])
def test_mesonet_keeps_its_verdicts(name: str, decibels: float) -> None:
    result, images, logits = quantized(name)
    (exact,) = Executor(result.float_graph).run(images).values()
    # the DPU's leaky slope is 0.1015625, theirs 0.1
    np.testing.assert_allclose(exact[:, 0], logits, rtol=0.02)
    (rough,) = Executor(result.graph).run(images).values()
    assert ((rough[:, 0] > 0) == (logits > 0)).all()
    assert _sqnr(logits, rough[:, 0]) > decibels


def test_face_unet_keeps_its_masks() -> None:
    result, images, logits = quantized("FaceUNet")
    (exact,) = Executor(result.float_graph).run(images).values()
    np.testing.assert_allclose(exact[..., 0], logits, atol=1e-3)
    (rough,) = Executor(result.graph).run(images).values()
    assert ((rough[..., 0] > 0) == (logits > 0)).mean() > 0.997
    assert _sqnr(logits, rough[..., 0]) > 30
