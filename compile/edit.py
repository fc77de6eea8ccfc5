"""Small rewrites that several passes share: redirect readers, drop what nobody reads, int8 tensors and casts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from xmodel.errors import ArtifactError
from xmodel.graph import Graph, Op, Tensor, attrs, sort

BIT_WIDTH = 8
MAX_POSITION = 32  # a shift of 32 bits empties or overflows any int8 value
QUANTIZED = ("fix", "const-fix", "data-fix")


def redirect(op: Op, names: Mapping[str, str]) -> Op:
    """`op` reading `names[x]` wherever it read `x`; the same object when nothing changes."""
    if not any(name in names for name in op.input_names):
        return op
    return replace(op, inputs={arg: tuple(names.get(n, n) for n in ops) for arg, ops in op.inputs.items()})


def rebuild(graph: Graph, ops: Iterable[Op], names: Mapping[str, str] | None = None) -> Graph:
    """`graph` with other ops, sorted; `names` says which op took whose place, for readers and outputs."""
    moved = names or {}
    graph = graph.with_ops(sort([redirect(op, moved) for op in ops]))
    if any(name in moved for name in graph.get("return_ops", ())):
        graph = graph.with_attrs(return_ops=[moved.get(name, name) for name in graph.get("return_ops")])
    return graph


def drop_unread(graph: Graph) -> Graph:
    """Without the ops that lead to no output; the graph's own inputs stay."""
    wanted = {op.name for op in (*graph.outputs, *graph.inputs)}
    for op in reversed(graph.ops):
        if op.name in wanted:
            wanted.update(op.input_names)
    return graph.with_ops(op for op in graph.ops if op.name in wanted)


def quantization(fix_point: int, round_mode: str = "DPU_ROUND") -> dict[str, object]:
    """The four attributes of a quantized tensor, and of `fix`, `fix2float` and `float2fix`."""
    return {"bit_width": BIT_WIDTH, "fix_point": fix_point, "if_signed": True, "round_mode": round_mode}


def int8_tensor(name: str, shape: tuple[int, ...], fix_point: int, round_mode: str = "DPU_ROUND") -> Tensor:
    """A tensor of int8 values q that mean q * 2**-fix_point."""
    return Tensor(name, shape, "XINT8", attrs(**quantization(fix_point, round_mode)))


def fix_of(name: str, source: Op, fix_point: int) -> Op:
    """A float `fix` op called `name` that rounds the output of `source` to the grid 2**-fix_point."""
    values = attrs(**quantization(fix_point))
    return Op(name, "fix", {"input": (source.name,)}, values, Tensor(name, source.output.shape))


def position(op: Op) -> int:
    """The fix point of a quantized op (`fix`, or any op with an int8 tensor).

    Raises `ArtifactError` for a missing position or one that is not of 8 signed bits.
    """
    value = op.get("fix_point") if op.type == "fix" else op.output.fix_point
    bits = op.get("bit_width", BIT_WIDTH) if op.type == "fix" else op.output.get("bit_width", BIT_WIDTH)
    signed = op.get("if_signed", True) if op.type == "fix" else op.output.get("if_signed", True)
    if value is None or abs(int(value)) > MAX_POSITION or int(bits) != BIT_WIDTH or not signed:
        raise ArtifactError(
            f"Op {op.name!r} has fix point {value}, {bits} bits, {'signed' if signed else 'unsigned'}; "
            f"a DPU takes signed {BIT_WIDTH}-bit tensors with a fix point within ±{MAX_POSITION}.",
            hint="Quantize again with the DPU's default configuration.",
        )
    return int(value)


def is_quantized(op: Op) -> bool:
    """True when the values of `op`'s output lie on an 8-bit grid by the op's own doing."""
    return op.type in QUANTIZED


def free_name(graph: Graph, wanted: str, taken: Iterable[str] = ()) -> str:
    """`wanted`, or `wanted` with a number, whichever no op has yet."""
    used = set(taken)
    name, count = wanted, 0
    while name in graph.by_name or name in used:
        count += 1
        name = f"{wanted}_{count}"
    return name
