"""The estimate in the compile report: bounds of every design, published speeds beside them, the work of each layer."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from arch.anchors import ANCHORS
from arch.targets import Target, find
from compile.bounds import FORMULAS, LABEL, Bounds, layers, variants
from compile.rules import short_name
from xmodel.graph import Graph


def estimate(graph: Graph, target: Target) -> dict[str, Any]:
    """For JSON and the page: `layers` of a compiled `graph`, and where speeds are known `designs` and `published`."""
    designs = variants(graph, target)
    names = [item.target for item in designs]
    return {
        "label": LABEL,
        "formulas": FORMULAS,
        "usable_tops": None if target.usable_ops is None else target.usable_ops / 1e12,
        "ddr_gb_s": None if target.memory is None else target.memory.ddr_bandwidth / 1e9,
        "designs": [_design(item) for item in designs],
        "published": _published(names),
        "layers": _layers(graph, target),
    }


def _design(item: Bounds) -> dict[str, Any]:
    return {
        "target": item.target,
        "name": short_name(find(item.target)),
        "batch": item.batch,
        "dpu_subgraphs": item.dpu_subgraphs,
        **asdict(item.work),
        "fps": {"compute": item.compute, "ddr": item.ddr, "pcie": item.pcie},
        "bound": item.fps,
        "limit": item.limit,
    }


def _published(names: list[str]) -> list[dict[str, Any]]:
    return [
        {
            "network": anchor.network,
            "source": anchor.release,
            "operations": anchor.operations,
            "fps": {name: anchor.fps[name] for name in names if name in anchor.fps},
            "tops": {name: anchor.fps[name] * anchor.operations / 1e12 for name in names if name in anchor.fps},
        }
        for anchor in ANCHORS
        if set(names) & set(anchor.fps)
    ]


def _layers(graph: Graph, target: Target) -> list[dict[str, Any]]:
    """Rows; `seconds` is the longer of computing and moving, at best, for one image (None: speed not known)."""
    rows: list[dict[str, Any]] = []
    for layer in layers(graph, target):
        times = layer.seconds(target)
        rows.append(
            {
                "name": layer.name,
                "types": list(layer.types),
                "shape": list(layer.shape[1:]),
                **asdict(layer.work),
                "map_bytes": layer.map_bytes,
                "ddr_bytes": layer.map_bytes + layer.work.parameter_bytes / target.batch,
                "seconds": None if times is None else max(times),
                "limit": None if times is None else ("compute", "ddr")[times[1] > times[0]],
            }
        )
    return rows
