"""The quantization report: its data, its page, and that nothing from outside becomes markup."""

from __future__ import annotations

import json
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.dom import minidom

import pytest
from rich.console import Console

from deploy import layer_plots, quantize_report, tables
from deploy.console import Output
from deploy.crops import Crop, Labels
from deploy.judge import Judge
from deploy.report import provenance, render
from deploy.report_samples import Samples, choose
from quantize.pipeline import float_graph, quantize_graph
from tests.deploy.test_report import EVIL, RECORD
from tests.deploy.tiny import NETWORK, data, exit_code, register
from tests.quantize.networks import images, small
from xmodel.artifact import json_text

_LAYER_KEYS = {
    "name", "title", "type", "key", "source", "ops", "fix_point", "sqnr", "sqnr_isolated", "sqnr_parameters",
    "sqnr_rounding", "used", "low", "high", "saturated", "saturated_count", "count", "better_fix_point",
    "better_gain", "histogram", "parameters", "shifts", "clamps", "equalization", "advice", "inherited",
}  # fmt: skip
_PARAMETER_KEYS = {
    "name", "op", "role", "fix_point", "used", "saturated_count", "count", "sqnr", "channel_spread",
    "widest_channel", "median_channel_used", "histogram",
}  # fmt: skip
_RANKING_KEYS = {
    "images", "float_scores", "quantized_scores", "sqnr", "outputs", "noise_over_sum", "layers"
}  # fmt: skip
_EFFECT_KEYS = {
    "name", "title", "type", "share", "cost", "sqnr", "outputs", "scores", "restored_sqnr", "restored_scores",
    "advice",
}  # fmt: skip


def _measure(ranked: int = 2) -> dict[str, Any]:
    found = quantize_graph(float_graph(small(), "Small", images(1)), [images(4)])
    batch = [image[None].transpose(0, 2, 3, 1) for image in images(3, seed=9)]
    return quantize_report.measure(found, Samples(batch, ranked), True, Output(quiet=True))


@cache
def _measured() -> str:
    return json_text(_measure())


def _report() -> dict[str, Any]:
    head = {
        "model": "Small", "network": "small", "images": 4, "batches": 1, "clamps": [], "notes": [], "unreadable": [],
        "comparison": None, "fidelity": None,
    }  # fmt: skip
    return {**head, **json.loads(_measured())}


def _page(report: dict[str, Any]) -> str:
    drawn = layer_plots.draw(report["layers"])
    return render("quantize.html.j2", r=report, plots=drawn, provenance=provenance(RECORD), record=RECORD)


def test_the_schema_of_the_data() -> None:
    report = json.loads(_measured())
    assert set(report) == {"layer_images", "layers", "ranking", "float_ops", "summary"}
    assert report["layer_images"] == 3 and len(report["layers"]) == 8
    assert all(set(layer) == _LAYER_KEYS for layer in report["layers"])
    parameters = [p for layer in report["layers"] for p in layer["parameters"]]
    assert len(parameters) == 10 and all(set(p) == _PARAMETER_KEYS for p in parameters)
    assert set(report["ranking"]) == _RANKING_KEYS and report["ranking"]["images"] == 2
    assert all(set(item) == _EFFECT_KEYS for item in report["ranking"]["layers"])


def test_the_same_inputs_give_the_same_bytes() -> None:
    assert json_text(_measure()) == _measured()


def test_layers_have_the_names_of_their_modules() -> None:
    titles = [layer["title"] for layer in _report()["layers"]]
    assert titles == ["input_0", "conv1", "max_pool2d", "conv2", "up", "head", "avg_pool2d", "fc"]


def test_what_stays_float_is_named_with_its_source_line() -> None:
    (op,) = _report()["float_ops"]
    assert op["type"] == "sigmoid" and re.fullmatch(r"quantize/networks\.py:\d+", op["source"])


def test_the_summary_names_the_loudest_layers() -> None:
    report = _report()
    first = max(report["ranking"]["layers"], key=lambda item: item["share"])
    assert first["title"] in report["summary"] and "ranked by that noise" in report["summary"]
    silent = [{**item, "share": 0.0} for item in report["ranking"]["layers"]]
    assert "no noise" in quantize_report.summary({"layers": silent}, [])
    even = [{"title": f"l{i}", "share": 0.05, "scores": {"AUC": 1.0}, "cost": 0.0} for i in range(20)]
    text = quantize_report.summary({"layers": even}, [])
    assert text.startswith("No layer stands out") and "Alone none of them costs half a point" in text
    one = [{"title": "a", "share": 0.9, "scores": {"AUC": 0.5}, "cost": 0.25}, {**even[0], "share": 0.1}]
    text = quantize_report.summary({"layers": one}, [])
    assert (
        text == "One layer of 2 makes most of the output's noise: a (90 %). a alone costs 25.0 points of a task score."
    )


def test_the_ranking_can_be_left_out() -> None:
    report = {**_report(), **_measure(ranked=0)}
    assert report["ranking"] is None and "The ranking is off" in report["summary"]
    assert "What each layer costs" not in _page(report)


def test_the_page_leads_with_the_summary_and_the_ranking() -> None:
    report, page = _report(), _page(_report())
    places = [page.index(text) for text in ('class="lead"', "What each layer costs", 'class="chart"', "Layer by layer")]
    assert places == sorted(places)
    assert page.count('class="hist"') == 8 + 10 and page.count("<details") == 8 + 1
    assert report["ranking"]["layers"][0]["title"] in page


def test_nothing_from_outside_is_markup() -> None:
    report = json.loads(_measured().replace("Small__", EVIL.replace("\\", "\\\\").replace('"', '\\"')))
    report = {**_report(), **report, "summary": EVIL, "model": EVIL, "notes": [EVIL]}
    report["clamps"] = [{"op": EVIL, "before": 1, "after": 2, "reason": EVIL}]
    for layer in report["layers"]:
        layer.update(title=EVIL, source=EVIL, key=EVIL, advice=[EVIL], inherited=EVIL, equalization={EVIL: EVIL})
    for item in report["ranking"]["layers"]:
        item.update(title=EVIL, advice=[EVIL])
    page = _page(report)
    assert "<script" not in page and "<img src=x" not in page and page.count("&lt;script&gt;") > 50
    minidom.parseString(layer_plots.sqnr(report["layers"]))


class _Balance(HTMLParser):
    """Every element that opens closes, in order."""

    VOID = frozenset({"meta", "br", "img", "link", "input", "hr"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, (tag, self.open[-3:], self.getpos())
        self.open.pop()


def test_the_page_is_well_formed_and_loads_nothing() -> None:
    page = _page(_report())
    parser = _Balance()
    parser.feed(page)
    assert parser.open == [] and "script" not in parser.seen and "link" not in parser.seen
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)
    assert "@import" not in page and "url(" not in page and "prefers-color-scheme: dark" in page


@pytest.mark.parametrize("counts", [[], [0] * 64, [5] + [0] * 62 + [7], list(range(64))])
def test_histograms_are_well_formed(counts: list[int]) -> None:
    svg = layer_plots.histogram(counts, saturated=3)
    root = minidom.parseString(svg).documentElement
    assert root is not None and root.tagName == "svg" and "nan" not in svg
    assert svg.count("M") == sum(n > 0 for n in counts)
    assert svg.count('class="end"') == (2 if counts[:1] == [5] else 1 if counts[-1:] == [63] else 0)


def test_the_chart_leaves_gaps() -> None:
    layers = [{"title": f"l{i}", "sqnr": value, "sqnr_isolated": None} for i, value in enumerate([20.0, None, -5.0])]
    svg = layer_plots.sqnr(layers)
    minidom.parseString(svg)
    assert svg.count("<circle") == 2 and layer_plots.sqnr([]) == ""


def test_classes_take_turns_among_the_images() -> None:
    crops = [Crop(Path(f"v{i}_0_0.png"), "") for i in range(8)]
    labels = Labels({f"v{i}.mp4": int(i >= 6) for i in range(8)})
    chosen = choose(crops, Judge(labels), 4)
    assert [crop.path.name[:2] for crop in chosen] == ["v0", "v6", "v3", "v7"]
    assert choose(crops, Judge(), 4) == crops[::2] and choose([], Judge(), 4) == []


def test_the_terminal_shows_the_ranking() -> None:
    console = Console(width=120, record=True, file=None, quiet=False)
    with console.capture() as capture:
        console.print(tables.ranking(_report()["ranking"]))
    shown = capture.get()
    assert "costliest of 8 layers, on 2 images" in " ".join(shown.replace("│", " ").replace("┃", " ").split())
    assert "conv1" in shown and " dB" in shown


def test_the_stage_writes_the_same_report_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    register(monkeypatch)
    crops, labels = data(tmp_path)
    out = tmp_path / "out"
    run = ["quantize", *NETWORK, "--calib", crops, "--labels", labels, "--out", out, "--evaluate", 2,
           "--report-images", 2, "-q"]  # fmt: skip
    written = []
    for _ in range(2):
        assert exit_code(*run) == 0
        written.append([(out / name).read_bytes() for name in ("quant_report.json", "quant_report.html")])
        (out / "run.json").unlink()
    assert written[0] == written[1]
    report = json.loads(written[0][0])
    assert report["ranking"]["images"] == 2 and report["ranking"]["float_scores"]["accuracy"] is not None
    assert report["layer_images"] == 4 and len(report["layers"]) > 20
