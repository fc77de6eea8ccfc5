"""The quantization report: what every layer does to the result, ranked, as `quant_report.json` and its page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy import layer_plots
from deploy.console import Output
from deploy.report import provenance, write_html
from deploy.report_samples import LAYER_IMAGES, Samples
from xmodel.graph import Graph

if TYPE_CHECKING:
    from quantize.analyze import Measured
    from quantize.clamp import Clamp
    from quantize.layers import Layer
    from quantize.pipeline import Quantized
    from quantize.sensitivity import Effect, Ranking
    from quantize.weights import Parameter

_GLUED = frozenset({"relu", "relu6", "leaky-relu", "prelu"})  # part of the int8 op before them
_NO_WORK = frozenset({"data", "fix", "stack"})


@dataclass(slots=True)
class _Context:
    """What the layers' entries are made from."""

    quantized: Quantized
    layers: Sequence[Layer]
    measured: Mapping[str, Measured]
    notes: Mapping[str, str]
    titles: dict[str, str] = field(default_factory=dict)


def measure(quantized: Quantized, samples: Samples, equalized: bool, out: Output) -> dict[str, Any]:
    """The measured part of quant_report.json: `layers`, `ranking` (None without), `float_ops`, `summary`.

    `equalized` says whether equalization was on. Ratios are in dB, null without noise or without signal; shares lie
    in 0..1.
    """
    from quantize import sensitivity
    from quantize.analyze import analyze
    from quantize.layers import layers
    from quantize.weights import equalization

    graph, real = quantized.graph, quantized.float_graph
    parts = layers(graph, real)
    images = samples.images[:LAYER_IMAGES]
    found = {m.name: m for m in analyze(graph, real, images)}
    context = _Context(quantized, parts, found, equalization(real, equalized))
    context.titles = {layer.producer.name: title(layer, real) for layer in parts}
    entries = [_layer(context, layer) for layer in parts if layer.producer.name in found]
    ranked = samples.images[: samples.ranked]
    ranking = None
    if ranked:
        with out.progress("ranking layers", sensitivity.steps(len(parts), len(ranked))) as advance:
            ranking = sensitivity.rank(graph, real, ranked, samples.metric, advance)
    data = None if ranking is None else _ranking(ranking, context, {e["name"]: e for e in entries})
    return {
        "layer_images": len(images),
        "layers": entries,
        "ranking": data,
        "float_ops": _float_ops(graph),
        "summary": summary(data, entries),
    }


def title(layer: Layer, real: Graph) -> str:
    """A layer's short name: the modules whose weights it holds, or its op's name without the model's."""
    modules = [
        str(real.op(name).get("__param", "")).rpartition(".")[0]
        for op in layer.ops
        for arg in ("weights", "input")
        for source in op.inputs.get(arg, ())
        if (name := source.removesuffix("_fix")) in real.by_name and real.op(name).is_const
    ]
    named = [module for module in dict.fromkeys(modules) if module]
    if named:
        return " + ".join(named)
    path = [part.removeprefix(f"{real.name}_") for part in layer.producer.name.split("__")[1:]]
    if not path:
        return layer.producer.name
    return ".".join([*(part.partition("_")[2] or part for part in path[:-1]), path[-1]])  # Class_attribute, ..., op


def _layer(context: _Context, layer: Layer) -> dict[str, Any]:
    from quantize.advice import Facts, advise, inherited
    from quantize.weights import layer_parameters, layer_shifts

    graph, m = context.quantized.graph, context.measured[layer.producer.name]
    parameters = layer_parameters(graph, context.quantized.float_graph, layer)
    notes = {op.name: context.notes[op.name] for op in layer.ops if op.name in context.notes}
    names = {layer.producer.name, *(p.name for p in parameters)}
    clamps = [clamp for clamp in context.quantized.clamps if clamp.op in names]
    return {
        "name": m.name,
        "title": context.titles[m.name],
        "type": m.type,
        "key": m.key,
        "source": m.source,
        "ops": [{"name": op.name, "type": op.type, "source": str(op.get("__source", ""))} for op in layer.ops],
        "fix_point": m.fix_point,
        "sqnr": decibel(m.sqnr_db),
        "sqnr_isolated": decibel(m.isolated_db),
        "sqnr_parameters": decibel(m.parameters_db),
        "sqnr_rounding": decibel(m.rounding_db),
        "used": share(m.used),
        "low": m.low,
        "high": m.high,
        "saturated": share(m.saturated / m.count),
        "saturated_count": m.saturated,
        "count": m.count,
        "better_fix_point": m.better,
        "better_gain": decibel(m.better_db - m.rounding_db),
        "histogram": list(m.histogram),
        "parameters": [_parameter(p) for p in parameters],
        "shifts": [
            {"op": s.op, "input_fix_point": s.input_point, "shift_cut": s.cut, "shift_bias": s.bias}
            for s in layer_shifts(graph, layer)
        ],
        "clamps": [_clamp(clamp) for clamp in clamps],
        "equalization": notes,
        "advice": advise(Facts(m, parameters, notes, clamps, context.quantized.batches)),
        "inherited": inherited(m),
    }


def _parameter(p: Parameter) -> dict[str, Any]:
    return {
        "name": p.name,
        "op": p.op,
        "role": p.role,
        "fix_point": p.fix_point,
        "used": share(p.used),
        "saturated_count": p.saturated,
        "count": p.count,
        "sqnr": decibel(p.sqnr_db),
        "channel_spread": decibel(p.spread),
        "widest_channel": p.widest,
        "median_channel_used": share(p.typical),
        "histogram": list(p.histogram),
    }


def _clamp(clamp: Clamp) -> dict[str, Any]:
    return {"op": clamp.op, "before": clamp.before, "after": clamp.after, "reason": clamp.reason}


def _ranking(ranking: Ranking, context: _Context, entries: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "images": ranking.images,
        "float_scores": _scores(ranking.float_scores),
        "quantized_scores": _scores(ranking.quantized.scores),
        "sqnr": decibel(ranking.quantized.output_db),
        "outputs": {name: decibel(value) for name, value in ranking.quantized.outputs.items()},
        "noise_over_sum": share(ranking.quantized.share),
        "layers": [_effect(effect, context, entries) for effect in ranking.effects],
    }


def _effect(effect: Effect, context: _Context, entries: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    entry = entries.get(effect.name)
    return {
        "name": effect.name,
        "title": context.titles[effect.name],
        "type": context.quantized.graph.op(effect.name).type,
        "share": share(effect.share),
        "cost": share(effect.cost),
        "sqnr": decibel(effect.output_db),
        "outputs": {name: decibel(value) for name, value in effect.outputs.items()},
        "scores": _scores(effect.scores),
        "restored_sqnr": decibel(effect.restored_db),
        "restored_scores": _scores(effect.restored_scores),
        "advice": list(entry["advice"]) if entry else [],
    }


def _scores(scores: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: share(value) for name, value in scores.items()}


def _float_ops(graph: Graph) -> list[dict[str, str]]:
    """Ops without an integer form on any DPU: they stay float and the CPU computes them."""
    from compile.normalize import COMPUTE, LAYOUT

    known = COMPUTE | LAYOUT | _GLUED | _NO_WORK
    return [
        {"name": op.name, "type": op.type, "source": str(op.get("__source", ""))}
        for op in graph.ops
        if op.type not in known and not op.is_const
    ]


def summary(ranking: Mapping[str, Any] | None, entries: Sequence[Mapping[str, Any]]) -> str:
    """Where the error comes from, in a sentence or two."""
    if ranking is None or not ranking["layers"]:
        known = [e for e in entries if e["sqnr_isolated"] is not None]
        if not known:
            return "Quantization adds no noise on these images."
        worst = min(known, key=lambda e: e["sqnr_isolated"])
        return f"Alone, {worst['title']} is the noisiest layer ({worst['sqnr_isolated']:.1f} dB). The ranking is off."
    items = ranking["layers"]
    if not any(item["share"] for item in items):
        return "Quantization adds no noise to the output on these images."
    return f"{_loudest(items)} {_costs(items)}"


def _loudest(items: Sequence[Mapping[str, Any]]) -> str:
    loud = sorted(items, key=lambda item: -item["share"])
    total, first = 0.0, []
    for item in loud[:3]:
        total += item["share"]
        first.append(f"{item['title']} ({item['share'] * 100:.0f} %)")
        if total >= 0.5:
            break
    names = ", ".join(first[:-1]) + (" and " if len(first) > 1 else "") + first[-1]
    if total < 0.4:
        return f"No layer stands out: the noisiest of {len(items)} are {names} of the output's noise."
    if len(first) == 1:
        return f"One layer of {len(items)} makes most of the output's noise: {names}."
    return f"{len(first)} of {len(items)} layers make {total * 100:.0f} % of the output's noise: {names}."


def _costs(items: Sequence[Mapping[str, Any]]) -> str:
    if not items[0]["scores"]:
        return "Without labels or masks the layers are ranked by that noise."
    if not items[0]["cost"]:
        return "Alone none of them costs half a point of a task score on these images."
    return f"{items[0]['title']} alone costs {items[0]['cost'] * 100:.1f} points of a task score."


def decibel(value: float | None) -> float | None:
    """Rounded for the report; None for what is not finite."""
    return None if value is None or not math.isfinite(value) else round(value, 3) + 0.0


def share(value: float | None) -> float | None:
    """Rounded for the report; None for what is not finite."""
    return None if value is None or not math.isfinite(value) else round(value, 6) + 0.0


def write_page(path: Path, report: Mapping[str, Any], record: Mapping[str, Any]) -> None:
    """`report` (the content of quant_report.json) as one self-contained page."""
    drawn = layer_plots.draw(report["layers"])
    rows = provenance(record)
    write_html(path, "quantize.html.j2", r=report, plots=drawn, provenance=rows, record=record)
