"""Export: the quantized graph in the vendor's form (float ops and `fix`), quant_info.json, bias_corr.npz."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from quantize import rounding
from quantize.plan import Plan, keys
from xmodel.graph import Array, Graph, Op, attrs, const
from xmodel.graph import Tensor as XTensor

_CONST_TYPE = "float32"  # the vendor's spelling in constants; its data ops say FLOAT32


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
    for op in graph.ops:
        bound = replace(op, inputs={arg: tuple(fixed.get(n, n) for n in names) for arg, names in op.inputs.items()})
        if op.is_const:
            constants.extend(_constant(op, positions.get(op.name), biases.get(op.name)))
            continue
        body.extend(_expand(bound.with_attrs(__key=key[op.name])))
        if op.name in plan.activations:
            body.append(_fix(op, positions[op.name]))
    returned = [fixed.get(name, name) for name in graph.get("return_ops", ())]
    return graph.with_ops([*constants, *body]).with_attrs(return_ops=returned)


def _fix(op: Op, position: int) -> Op:
    name = f"{op.name}_fix"
    return Op(name, "fix", {"input": (op.name,)}, attrs(**fix_attrs(position)), XTensor(name, op.output.shape))


def _constant(op: Op, position: int | None, correction: Array | None) -> list[Op]:
    if position is None:
        return [op.with_attrs(data_type=_CONST_TYPE)]
    array = op.array() if correction is None else op.array() - correction
    grid = _on_grid(array, position)
    kept = {name: attr for name, attr in op.attrs.items() if name.startswith("__")}
    stored = _stored(op.name, grid)
    return [replace(stored, attrs={**stored.attrs, **kept}), _fix(op, position)]


def _stored(name: str, array: Array) -> Op:
    return const(name, array).with_attrs(data_type=_CONST_TYPE)


def _on_grid(array: Array, position: int) -> Array:
    import torch

    tensor = torch.from_numpy(np.array(array, np.float32))
    return np.asarray(rounding.to_grid(tensor, position, weights=True).numpy())


def _expand(op: Op) -> list[Op]:
    """Ops that the vendor writes as several: average pools and reshapes."""
    if op.type == "avgpool2d":
        pool, factor = f"{op.name}_i0", f"{op.name}_i1"
        meta = {name: attr for name, attr in op.attrs.items() if name in ("__key", "__source", "__kind")}
        plain = {name: attr for name, attr in op.attrs.items() if not name.startswith("__")}
        scale = float(op.get("__scale", 1.0))
        return [
            replace(op, name=pool, attrs=plain, output=replace(op.output, name=pool)),
            _stored(factor, np.array([scale], np.float32)),
            Op(op.name, "mul", {"input": (pool, factor)}, meta, op.output),
        ]
    if op.type == "reshape":
        sizes = [f"{op.name}_shape_attr_{i}_" for i in range(len(op.output.shape))]
        stack = f"{op.name}_shape_i0"
        parts = [_stored(n, np.array([d], np.float32)) for n, d in zip(sizes, op.output.shape, strict=True)]
        info = attrs(shape_info=list(op.output.shape))
        tensor = XTensor(stack, (len(sizes), 1), attrs=info)
        stacked = Op(stack, "stack", {"input": tuple(sizes)}, attrs(axis=0), tensor)
        return [*parts, stacked, replace(op.with_attrs(shape=[0]), inputs={**op.inputs, "shape": (stack,)})]
    return [op]


def quant_info(graph: Graph, plan: Plan, positions: Mapping[str, int], bias_corrected: bool, version: str) -> Any:
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
        },
        "input": {},
        "fast_finetuned": False,
        "bias_corrected": bias_corrected,
        "version": version,
        "graph_md5": hashlib.md5(types.encode(), usedforsecurity=False).hexdigest(),
    }


def bias_corrections(graph: Graph, corrections: Mapping[str, Tensor]) -> dict[str, Array]:
    """`bias_corr.npz`: float32 (out channels,) per weighted node, by the vendor's node key."""
    key = keys(graph)
    return {key[name]: value.cpu().numpy().astype(np.float32) for name, value in corrections.items()}
