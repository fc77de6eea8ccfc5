"""What to try for a layer: its measured causes of noise, each with its evidence and a remedy, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from quantize.analyze import Measured
from quantize.clamp import Clamp
from quantize.weights import Parameter

_WIDE = 8.0  # times the median channel's range: three of the eight bits are lost to the other channels
_GAIN = 0.5  # dB that another position must win before it is worth a word
_INHERITED = 6.0  # dB between isolated and accumulated: three quarters of the noise come from before
_QUIET = 45.0  # dB: an isolated layer this clean is as good as eight bits get


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one layer. `equalization`: a sentence per weighted op."""

    measured: Measured
    parameters: Sequence[Parameter]
    equalization: Mapping[str, str]
    clamps: Sequence[Clamp]
    batches: int  # of the calibration


def advise(facts: Facts) -> list[str]:
    """Findings in the order of their weight, at least one; plain text."""
    found = [*_moved(facts), *_causes(facts), *_coarse_bias(facts)]
    return found or ["Nothing stands out: eight bits give no more here."]


def _moved(facts: Facts) -> Iterator[str]:
    for clamp in facts.clamps:
        yield (
            f"The position of {clamp.op} was moved from {clamp.before} to {clamp.after}, because {clamp.reason}: "
            "the DPU cannot shift further. Weights whose range is nearer to that of the activations need no move."
        )


def _causes(facts: Facts) -> Iterator[str]:
    measured = facts.measured
    if measured.isolated_db > _QUIET:
        return
    if measured.parameters_db < measured.rounding_db:
        yield from _parameters(facts)
    else:
        yield from _rounding(facts)


def _parameters(facts: Facts) -> Iterator[str]:
    measured = facts.measured
    weights = [p for p in facts.parameters if p.role == "weights"]
    both = f"{measured.parameters_db:.1f} dB alone, the rounding of the result {measured.rounding_db:.1f} dB"
    if not weights:
        which = ", ".join(p.name for p in facts.parameters)
        what = f"the constants {which}" if which else "the DPU's fixed-point constants, such as that of an average pool"
        yield f"Most of the noise comes from {what} ({both}). A kernel whose size is a power of two divides exactly."
        return
    worst = max(weights, key=lambda p: p.spread or 0.0)
    if (worst.spread or 0.0) >= _WIDE:
        yield (
            f"The weights make most of the noise ({both}): channel {worst.widest} of {worst.name} is "
            f"{worst.spread:.0f} times as wide as the median channel, which is left {_percent(worst.typical)} of the "
            f"int8 range. Equalization: {facts.equalization.get(worst.op, 'none')}. Try --learn-rounding; the cure is "
            "in training: weight decay, a batch norm after this layer, or removing what keeps equalization away."
        )
    else:
        worst = min(weights, key=lambda p: p.sqnr_db)
        yield (
            f"The rounding of {worst.name} makes most of the noise ({both}; the weights themselves have "
            f"{worst.sqnr_db:.1f} dB and no channel stands out). Try --learn-rounding, or --fast-finetune with many "
            "batches."
        )


def _rounding(facts: Facts) -> Iterator[str]:
    measured = facts.measured
    gain = measured.better_db - measured.rounding_db
    better = f"position {measured.better} would win {gain:.1f} dB on these images"
    if measured.type == "data" and measured.better > measured.fix_point:
        yield (
            f"The network's input takes position {measured.fix_point} by the rule that an input never saturates; "
            f"{better}. A preprocessing whose values end just below a power of two uses the whole int8 range."
        )
    elif measured.clipping > 0.5:
        yield (
            f"{measured.saturated} values ({_percent(measured.saturated / measured.count)}) saturate and make "
            f"{_percent(measured.clipping)} of the rounding noise{'; ' + better if gain > _GAIN else ''}. "
            "Calibrate on more images, and on such as these."
        )
    elif gain > _GAIN:
        side = "lower" if measured.better > measured.fix_point else "higher"
        yield (
            f"Position {measured.fix_point} is {abs(measured.better - measured.fix_point)} {side} than what fits: "
            f"{better}. It is the most frequent one over {facts.batches} calibration batches: calibrate on more and "
            "more typical images, or in larger batches."
        )
    elif measured.type == "concat":
        yield (
            f"All inputs of a concat share one position, {measured.fix_point}, and the narrow ones lose by it "
            f"({measured.rounding_db:.1f} dB). Inputs of similar range, for which batch norms before the concat do, "
            "avoid this; --fast-finetune lets the layers before it adapt."
        )
    else:
        yield (
            f"The rounding of the result to eight bits makes most of the noise ({measured.rounding_db:.1f} dB; values "
            f"take {_percent(measured.used)} of the range, the positions beside {measured.fix_point} are no better): "
            "a few large values set the range. A bounded activation or weight decay narrows it; --fast-finetune "
            "lets the layer adapt."
        )


def _coarse_bias(facts: Facts) -> Iterator[str]:
    for bias in facts.parameters:
        coarser = facts.measured.fix_point - bias.fix_point
        if bias.role == "bias" and coarser > 0:
            yield (
                f"The bias {bias.name} has steps {2**coarser} times as large as the result's (position "
                f"{bias.fix_point} against {facts.measured.fix_point}): some of its values are far larger than the "
                "results. Bias correction (on unless --no-bias-correction) takes out the mean of that error."
            )


def inherited(measured: Measured) -> str:
    """A sentence where the noise seen at a layer is not its own, else ""."""
    if measured.isolated_db - measured.sqnr_db <= _INHERITED:
        return ""
    return (
        f"Most of the noise seen here comes from the layers before: {measured.isolated_db:.1f} dB alone, "
        f"{measured.sqnr_db:.1f} dB in the quantized network."
    )


def _percent(share: float | None) -> str:
    if share is None:
        return "none"
    return f"{share * 100:.0f} %" if share >= 0.1 else f"{share * 100:.2g} %"
