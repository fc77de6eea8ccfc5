"""Export: the quantized graph in the vendor's form (float ops and `fix`), quant_info.json, bias_corr.npz."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from quantize import rounding
from quantize.expand import CONST_TYPE, Layout, expand, merge_pads, stored_const
from quantize.plan import Plan, keys
from xmodel.graph import Array, Graph, Op, attrs
from xmodel.graph import Tensor as XTensor


def fix_attrs(fix_point: int) -> dict[str, Any]:
    """The attributes that the vendor's `fix` ops carry."""
    return {"fix_point": fix_point, "bit_width": 8, "round_mode": "DPU_ROUND", "if_signed": True}


def quantized_graph(graph: Graph, plan: Plan, positions: Mapping[str, int], corrections: Mapping[str, Tensor]) -> Graph:
    """`graph` with a `fix` after every planned tensor, parameters corrected and put on their int8 grid.

    Parameters first, as the vendor orders them. Source lines and node keys stay as `__` attributes.
    """
    biases = {graph.op(name).inputs["bias"][0]: value.cpu().numpy() for name, value in corrections.items()}
    fixed = {name: f"{name}_fix" for name in (*plan.activations, *plan.parameters)}
    key = keys(graph)
    constants: list[Op] = []
    body: list[Op] = []
    layout = Layout(graph, fixed)
    for op in graph.ops:
        if op.is_const:
            constants.extend(_constant(op, positions.get(op.name), biases.get(op.name)))
            continue
        marked = op.with_attrs(__key=key[op.name]) if op.name in key else op
        before, bound, after = layout.place(marked)
        body.extend((*before, *expand(bound)))
        if op.name in plan.activations:
            body.append(_fix(bound, positions[op.name]))
        body.extend(after)
    returned = [layout.names.get(name, name) for name in graph.get("return_ops", ())]
    return merge_pads(graph.with_ops([*constants, *body]).with_attrs(return_ops=returned))


def _fix(op: Op, position: int) -> Op:
    name = f"{op.name}_fix"
    return Op(name, "fix", {"input": (op.name,)}, attrs(**fix_attrs(position)), XTensor(name, op.output.shape))


def _constant(op: Op, position: int | None, correction: Array | None) -> list[Op]:
    if position is None:
        return [op.with_attrs(data_type=CONST_TYPE)]
    array = op.array() if correction is None else op.array() - correction
    grid = _on_grid(array, position)
    kept = {name: attr for name, attr in op.attrs.items() if name.startswith("__")}
    stored = stored_const(op.name, grid)
    return [replace(stored, attrs={**stored.attrs, **kept}), _fix(op, position)]


def _on_grid(array: Array, position: int) -> Array:
    import torch

    tensor = torch.from_numpy(np.array(array, np.float32))
    return np.asarray(rounding.to_grid(tensor, position, weights=True).numpy())


def quant_info(
    graph: Graph,
    plan: Plan,
    positions: Mapping[str, int],
    bias_corrected: bool,
    version: str,
    *,
    finetuned: bool = False,
) -> Any:
    """`quant_info.json` in the layout of vai_q_pytorch 3.5: [[bit width, fix position]] per tensor."""
    key = keys(graph)
    types = "".join(f"{op.get('__kind')};" for op in graph.ops if op.get("__kind"))
    return {
        "param": {
            f"{graph.name}::{op.get('__param')}": [[8, positions[op.name]]]
            for op in graph.ops
            if op.name in plan.parameters and op.get("__kind") != "const"
        },
        "output": {
            key[op.name]: [[8, positions[op.name]]]
            for op in graph.ops
            if op.name in plan.activations or (op.name in plan.parameters and op.get("__kind") == "const")
        }
        | {key[op.name]: [[8, None]] for op in graph.ops if op.get("__unquantized")},
        "input": {},
        "fast_finetuned": finetuned,
        "bias_corrected": bias_corrected,
        "version": version,
        "graph_md5": hashlib.md5(types.encode(), usedforsecurity=False).hexdigest(),
    }


def bias_corrections(graph: Graph, corrections: Mapping[str, Tensor]) -> dict[str, Array]:
    """`bias_corr.npz`: float32 (out channels,) per weighted node, by the vendor's node key."""
    key = keys(graph)
    return {key[name]: value.cpu().numpy().astype(np.float32) for name, value in corrections.items()}
