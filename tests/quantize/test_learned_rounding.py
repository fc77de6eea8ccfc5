"""Learned rounding: every weight next to its float one, closer outputs, the same result every time."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from quantize import refine
from quantize.execute import Executor
from quantize.learned_rounding import learn_rounding
from quantize.pipeline import Quantized, Settings, export, float_graph, quantize_graph
from quantize.tuning import layers
from tests.quantize.networks import frozen, images, small
from xmodel import file
from xmodel.errors import UsageError

LEARNED = Settings(finetune="learned")
DATA = images(16)
BATCHES = [DATA[start : start + 4] for start in range(0, 16, 4)]


def _learned() -> Quantized:
    """Through the pipeline, in fewer steps than a user's run."""
    graph = float_graph(small(), "Small", DATA[:1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refine, "learn_rounding", partial(learn_rounding, steps=100))
        return quantize_graph(graph, iter(BATCHES), LEARNED, finetune_batches=iter(BATCHES))


@pytest.fixture(scope="module")
def learned() -> Quantized:
    return _learned()


@pytest.fixture(scope="module")
def plain() -> Quantized:
    return quantize_graph(float_graph(small(), "Small", DATA[:1]), BATCHES)


def test_every_weight_is_the_float_one_rounded_up_or_down() -> None:
    network, batches = frozen(small(), DATA, 4)
    found = learn_rounding(network, batches, steps=50)
    assert sum(layer.changed for layer in found.layers) > 50
    for layer in layers(network.graph, network.plan):
        step = 2.0 ** -network.positions[layer.weights]
        scaled = network.constants[layer.weights] / step
        assert torch.equal(scaled, scaled.round()) and scaled.min() >= -128 and scaled.max() <= 127
        real = (network.real[layer.weights] / step).clamp(-128, 127)
        assert (scaled - real).abs().max() < 1


def test_layers_and_outputs_come_closer_to_the_float_ones(learned: Quantized, plain: Quantized) -> None:
    assert learned.tuning is not None
    assert len(learned.tuning.layers) == 5
    assert all(layer.loss_after <= layer.loss_before for layer in learned.tuning.layers)
    assert sum(layer.loss_after < 0.9 * layer.loss_before for layer in learned.tuning.layers) >= 3
    assert learned.tuning.losses_after[0] < learned.tuning.losses_before[0]
    unseen = images(8, seed=9).transpose(0, 2, 3, 1)
    mask = learned.float_graph.outputs[0].name
    real = Executor(learned.float_graph).run(unseen)[mask]
    errors = [np.square(Executor(r.graph).run(unseen)[mask + "_fix"] - real).mean() for r in (learned, plain)]
    assert errors[0] < errors[1]


def test_the_file_differs_in_values_alone(learned: Quantized, plain: Quantized) -> None:
    assert learned.quant_info == {**plain.quant_info, "fast_finetuned": True}
    assert set(learned.bias_corr) == set(plain.bias_corr)
    for op in plain.graph.ops:
        other = learned.graph.op(op.name)
        assert (op.type, op.inputs, op.output) == (other.type, other.inputs, other.output)
        if op.type == "fix":
            assert op.get("fix_point") == other.get("fix_point")


def test_recorded_bias_corrections_give_the_exported_biases(learned: Quantized) -> None:
    """As in the vendor's files: the stored bias is the float one less its correction, on the grid."""
    graph = learned.graph
    for op in graph.ops:
        if op.type in ("conv2d", "transposed-conv2d", "matmul"):
            fixed = graph.op(op.inputs["bias"][0])
            stored = graph.op(fixed.inputs["input"][0])
            real = learned.float_graph.op(stored.name).array()
            exact = real - learned.bias_corr[str(op.get("__key"))]
            assert np.abs(stored.array() - exact).max() <= 2.0 ** -int(fixed.get("fix_point")) / 2


def test_the_same_bytes_every_time(learned: Quantized, tmp_path_factory: pytest.TempPathFactory) -> None:
    again = _learned()
    folders = [tmp_path_factory.mktemp("run") for _ in range(2)]
    for result, folder in zip((learned, again), folders, strict=True):
        export(result, folder)
    for name in ("Small_int.xmodel", "quant_info.json", "bias_corr.npz"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
    assert file.read(folders[0] / "Small_int.xmodel").outputs


def test_torchs_own_generator_is_left_alone() -> None:
    network, batches = frozen(small(), DATA[:4], 4)
    state = torch.get_rng_state()
    learn_rounding(network, batches, steps=2)
    assert torch.equal(torch.get_rng_state(), state)


def test_another_seed_gives_other_weights() -> None:
    weights = []
    for seed in (0, 0, 1):
        network, batches = frozen(small(), DATA[:4], 4)
        learn_rounding(network, batches, seed=seed, steps=20)
        weights.append(torch.cat([network.constants[name].flatten() for name in sorted(network.plan.parameters)]))
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_biases_stay_without_correction() -> None:
    network, batches = frozen(small(), DATA[:8], 4)
    before = dict(network.constants)
    found = learn_rounding(network, batches, correct_bias=False, steps=20)
    assert all(layer.bias_changed == 0 for layer in found.layers)
    for layer in layers(network.graph, network.plan):
        assert layer.bias is not None and torch.equal(network.constants[layer.bias], before[layer.bias])


def test_it_can_be_stopped_between_layers() -> None:
    seen: list[tuple[int, int]] = []

    def stop(done: int, total: int) -> None:
        seen.append((done, total))
        if done == 2:
            raise KeyboardInterrupt

    network, batches = frozen(small(), DATA[:4], 4)
    with pytest.raises(KeyboardInterrupt):
        learn_rounding(network, batches, steps=2, progress=stop)
    assert seen == [(0, 5), (1, 5), (2, 5)]


def test_nothing_to_learn_from() -> None:
    with pytest.raises(UsageError, match="nothing to finetune with"):
        quantize_graph(float_graph(small(), "Small", DATA[:1]), BATCHES, LEARNED)
