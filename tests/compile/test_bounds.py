from __future__ import annotations

import pytest

from arch.anchors import ANCHORS
from arch.targets import find
from compile.bounds import LABEL, bounds, layers, variants
from compile.estimate import Cost, total
from compile.pipeline import compile_graph, summarize
from tests.compile.build import Builder, uynet

PE8 = find("8PE")


def test_the_published_network_has_the_known_ceilings() -> None:
    graph = compile_graph(uynet(64, 224), PE8)
    found = variants(graph, PE8)
    assert [round(item.compute) for item in found] == [625, 625, 469, 469, 313]
    assert {(item.dpu_subgraphs, item.limit, item.work.parameter_bytes) for item in found} == {(1, "compute", 31833856)}
    paper = next(anchor for anchor in ANCHORS if "U-YNet" in anchor.network)
    assert paper.operations == pytest.approx(found[0].work.workload, rel=1e-3)
    assert paper.fps[found[0].target] / found[0].fps == pytest.approx(0.51, abs=0.005)


def test_every_bound_by_hand() -> None:
    b = Builder("Net")
    x = b.fix(b.unary("r", "relu", b.conv("c", b.data((1, 256, 256, 64)), 64)), 4)
    graph = compile_graph(b.graph(b.fix(b.conv("d", x, 2, 1, pad=0), 4)), PE8)
    first, second = layers(graph, PE8)
    image = 256 * 256 * 64
    assert (first.map_bytes, first.streamed) == (2 * image, 2 * image)  # 4 MiB each: more than an engine holds
    # Two channels take a whole line of 64 on the chip, so the result is streamed as well.
    assert (second.map_bytes, second.streamed) == (image + 256 * 256 * 2, image + 256 * 256 * 2)
    work = first.work + second.work
    assert work.parameter_bytes == 128 * (9 * 64 + 1) + 128 * (64 + 1)
    found = bounds(graph, PE8)
    assert found is not None and found.work == work
    moved = work.parameter_bytes / 8 + image + 256 * 256 * 2 + first.streamed + second.streamed
    assert found.ddr == pytest.approx(102.4e9 / moved)
    assert found.pcie == pytest.approx(128e9 / 8 * 128 / 130 / image)
    assert found.compute == pytest.approx(60e12 / work.workload_on_arch)
    times = first.seconds(PE8)
    assert times is not None
    assert times[0] == pytest.approx(first.work.workload_on_arch / 60e12)


def test_the_layers_add_up_to_the_summary() -> None:
    graph = compile_graph(uynet(8, 64), PE8)
    summary = summarize(graph, PE8)
    found = total(layer.work for layer in layers(graph, PE8))
    assert found == Cost(summary.workload, summary.workload_on_arch, summary.parameter_bytes)
    assert not any({"concat-fix", "upload"} & set(layer.types) for layer in layers(graph, PE8))


def test_each_design_has_its_own_partition() -> None:
    b = Builder("Net")
    x = b.fix(b.pool("p", "maxpool2d", b.fix(b.conv("c", b.data((1, 28, 28, 3)), 8), 3), 14), 3)
    graph = compile_graph(b.graph(b.fix(b.conv("d", x, 4), 2)), PE8)
    assert [item.dpu_subgraphs for item in variants(graph, PE8)] == [2, 2, 2, 1, 1]


def test_a_target_of_unknown_speed_has_no_bounds() -> None:
    target = find("KV260")
    graph = compile_graph(uynet(4, 64), target)
    assert bounds(graph, target) is None and variants(graph, target) == ()
    assert layers(graph, target)[0].seconds(target) is None


def test_the_label_is_true_of_the_published_speeds() -> None:
    tops = [fps * a.operations / 1e12 for a in ANCHORS for name, fps in a.fps.items() if name == PE8.name]
    assert (round(min(tops)), round(max(tops))) == (6, 46)
    assert "6 to 46 trillion" in LABEL and "not" not in LABEL.partition("measured")[0].split()[-1:]
    assert PE8.usable_ops == 60 * 10**12
