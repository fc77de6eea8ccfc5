"""Small graphs for the tests of the file format."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from xmodel.graph import Attr, Graph, Op, Subgraph, Tensor, attrs, const

FIX = {"fix_point": 5, "bit_width": 8, "if_signed": True, "round_mode": "DPU_ROUND"}


def compiled() -> Graph:
    """A one-convolution graph in USER, DPU and CPU subgraphs, as complete as libxir wants it."""
    shape = (1, 4, 4, 2)
    weights = np.arange(3 * 3 * 2 * 4, dtype=np.int8).reshape(4, 3, 3, 2)

    def fix(name: str, channels: int = 2) -> Tensor:
        return Tensor(name, (*shape[:3], channels), "XINT8", attrs(**FIX))

    window = attrs(kernel=[3, 3], stride=[1, 1], dilation=[1, 1], pad=[1, 1, 1, 1], nonlinear="RELU")
    ops = (
        Op("input", "data-fix", {}, attrs(shape=list(shape), data_type="XINT8"), fix("input_t")),
        Op("up", "upload", {"input": ("input",)}, {}, fix("up_t")),
        const("w", weights, "const-fix", **FIX),
        Op("conv", "conv2d-fix", {"input": ("up",), "weights": ("w",)}, window, fix("conv_t", 4)),
        Op("down", "download", {"input": ("conv",)}, {}, fix("down_t", 4)),
        Op("out", "fix2float", {"input": ("down",)}, attrs(**FIX), Tensor("out_t", (*shape[:3], 4))),
    )
    dpu = attrs(
        device="DPU",
        dpu_name="DPUCVDX8H_ISA1_F2W2_8PE",
        dpu_fingerprint=Attr("uint64", 0x0501000000140FEE),
        runner={"run": "librt-engine.so"},
    )
    root = Subgraph(
        "root",
        (),
        (
            Subgraph("sub_input", ("input",), (), attrs(device="USER")),
            Subgraph("sub_conv", (), (Subgraph("layer", ("up", "w", "conv", "down")),), dpu),
            Subgraph("sub_out", ("out",), (), attrs(device="CPU")),
        ),
    )
    return Graph("net", ops, attrs(origin="pytorch"), root)


def with_op(graph: Graph, name: str, /, **changes: object) -> Graph:
    """`graph` with fields of one op replaced, its tree kept."""
    ops = tuple(replace(op, **changes) if op.name == name else op for op in graph.ops)  # type: ignore[arg-type]
    return replace(graph, ops=ops)


def with_output(graph: Graph, name: str, /, **changes: object) -> Graph:
    """`graph` with fields of one op's tensor replaced, its tree kept."""
    return with_op(graph, name, output=replace(graph.op(name).output, **changes))  # type: ignore[arg-type]
