"""Results as rich tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from deploy.report import number, percent


def accuracy_line(score: Mapping[str, Any]) -> str:
    """The published script's words: how many correct, how many wrong, the accuracy."""
    low, high = score["accuracy_interval"]
    return (
        f"Correct {score['correct']}, wrong {score['wrong']}, accuracy {percent(score['accuracy'], 2)} "
        f"(95 % interval {percent(low)} to {percent(high)})"
    )


def compat_line(compat: Mapping[str, Any]) -> str:
    """What is wrong with the arithmetic that `--compat` took."""
    return (
        f"--compat {compat['name']} imitates the published script, so these results are for comparing with its numbers "
        f"only, and the plain command gives better ones. {' '.join(compat['flaws'])}"
    )


def bottleneck_line(speed: Mapping[str, Any]) -> str:
    """Where the time of a run went, and how many threads to try; `speed` as `Deployed.run` gives it."""
    what = {"host": "decoding", "device": "running the network", "sink": "writing results"}[speed["bottleneck"]]
    advice = "" if speed["threads_to_try"] == speed["threads"] else f"; try --threads {speed['threads_to_try']}"
    return (
        f"It waited for {what} most: decoding {speed['host_ms']:.1f} ms a crop on each of {speed['workers']} threads, "
        f"queue {speed['queue_ms']:.1f}, network {speed['device_ms']:.1f} on each of {speed['threads']} "
        f"({percent(speed['device_busy'], 0)} busy), writing {speed['sink_ms']:.1f}{advice}"
    )


def scores(forms: Mapping[str, Mapping[str, Any]]) -> Table:
    """Accuracy, AUC, F1 and mask scores, one column a form; a form has `accuracy` and `masks`, either None."""
    table = Table("", *forms)
    for title, key, show in (
        ("accuracy", "accuracy", percent),
        ("ROC AUC", "auc", number),
        ("F1 of finding fakes", "f1_fake", number),
    ):
        table.add_row(title, *(show((form["accuracy"] or {}).get(key)) for form in forms.values()))
    for title, key, show in (
        ("mask IoU, forged crops", "iou", number),
        ("mask Dice, forged crops", "dice", number),
        ("pixels marked on genuine crops", "fired_on_genuine", percent),
    ):
        table.add_row(title, *(show((form["masks"] or {}).get(key)) for form in forms.values()))
    return table


def agreement(pairs: Mapping[str, Mapping[str, float]]) -> Table:
    """How each two forms agree."""
    table = Table("agreement", "labels equal", "mask IoU", "pixels equal", "mean |ΔP(real)|", "largest")
    for name, pair in pairs.items():
        table.add_row(
            name,
            f"{pair['labels_equal']} of {pair['crops']} ({percent(pair['label_agreement'])})",
            number(pair["mask_iou"], 4),
            percent(pair["pixel_agreement"], 2),
            number(pair["p_real_mean_difference"], 4),
            number(pair["p_real_max_difference"], 4),
        )
    return table


def fidelity(found: Mapping[str, Any]) -> Table:
    """How the quantized outputs differ from the float ones."""
    table = Table(f"output, over {found['images']} images", "SQNR", "largest error")
    for item in found["outputs"]:
        sqnr = "–" if item["sqnr"] is None else f"{number(item['sqnr'], 1)} dB"
        table.add_row(_tail(item["name"]), sqnr, f"{item['max_error']:.4g}")
    return table


def top1_line(top1: Mapping[str, Any]) -> str:
    """The share of right classes before and after."""
    return (
        f"Top-1 accuracy {percent(top1['float'], 2)} in float, {percent(top1['quantized'], 2)} quantized "
        f"({top1['images']} images, same class on {percent(top1['same'])})"
    )


def _tail(name: str, length: int = 44) -> str:
    return name if len(name) <= length else "…" + name[1 - length :]


def layers(items: Sequence[Mapping[str, Any]], worst: int = 8) -> Table:
    """The layers with the lowest signal to quantization noise."""
    table = Table(f"the {min(worst, len(items))} noisiest of {len(items)} layers", "type", "fix point", "SQNR")
    known = [item for item in items if item["sqnr"] is not None]
    for item in sorted(known, key=lambda item: item["sqnr"])[:worst]:
        fix_point = "–" if item["fix_point"] is None else str(item["fix_point"])
        table.add_row(_tail(item["name"]), item["type"], fix_point, f"{number(item['sqnr'], 1)} dB")
    return table


def columns(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ("fix", "bytes")) -> str:
    """Aligned lines that are never folded: a pipe gets one a row. Columns named in `right` are flush right."""
    cells = [[cell.replace("\n", "\\n") for cell in row] for row in ([header, *rows] if header else rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    flush = [title in right for title in header] or [False] * len(widths)
    return "\n".join(
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, flush, strict=True)
        ).rstrip()
        for row in cells
    )


def ranking(found: Mapping[str, Any], worst: int = 5) -> Table:
    """The layers that cost the result most, as the quantization report ranks them."""
    items = found["layers"]
    shown = items[:worst]
    head = f"the {len(shown)} costliest of {len(items)} layers, on {found['images']} images"
    scored = bool(found["float_scores"])
    table = Table(head, "type", "of the noise", *(["largest loss"] if scored else []), "alone", "network without it")
    for item in shown:
        loss = [f"{item['cost'] * 100:.1f} points"] if scored else []
        table.add_row(
            _tail(item["title"]),
            item["type"],
            percent(item["share"]),
            *loss,
            _db(item["sqnr"]),
            _db(item["restored_sqnr"]),
        )
    table.caption = f"The whole network quantized: {_db(found['sqnr'])} of signal to noise at the outputs."
    return table


def _db(value: float | None) -> str:
    return "–" if value is None else f"{number(value, 1)} dB"
