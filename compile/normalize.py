"""Puts a fix where the integer graph needs one.

Every inserted fix rounds values that are already on its grid, or commutes with the ops it crosses: no byte changes.
"""

from __future__ import annotations

from dataclasses import replace

from compile.edit import drop_unread, fix_of, free_name, is_quantized, position, rebuild, redirect
from xmodel.graph import Graph, Op

# Ops that move values and compute nothing: their output is on their input's grid.
LAYOUT = frozenset({"reshape", "transpose", "strided_slice", "pixel-shuffle", "reorg", "tile"})
# Float ops that have an integer form, and so must read int8.
COMPUTE = frozenset(
    {
        "conv2d", "depthwise-conv2d", "transposed-conv2d", "transposed-depthwise-conv2d", "matmul", "add", "mul",
        "concat", "maxpool2d", "avgpool2d", "resize", "pad", "scale", "hard-sigmoid", "reshape",
        "reduction_max",
    }
)  # fmt: skip
_CLAMPED_BY_INT8 = 5  # 6 * 2**5 > 127
_CLAMPED_BY_DPU = 4  # 6 * 2**4 = 96, the constant in the device


def grid(graph: Graph, name: str) -> int | None:
    """The fix point that the values of `name` are known to lie on, also through layout ops; None without one."""
    op = graph.op(name)
    while op.type in LAYOUT and op.arg("input") is not None:
        op = graph.op(op.inputs["input"][0])
    return position(op) if is_quantized(op) else None


def settle_relu6(graph: Graph) -> Graph:
    """The device clamps relu6 at the integer 96: finer grids saturate before 6, coarser ones clamp after rounding."""
    ops: list[Op] = []
    for op in graph.ops:
        readers = graph.fanout[op.name]
        if op.type != "relu6" or len(readers) != 1 or readers[0].type != "fix":
            ops.append(op)
            continue
        point = position(readers[0])
        if point >= _CLAMPED_BY_INT8:
            ops.append(replace(op, type="relu"))
        elif -1 <= point < _CLAMPED_BY_DPU:
            first = replace(op, name=free_name(graph, f"{op.name}_unclamped"), type="relu")
            first = replace(first, output=replace(op.output, name=first.name))
            rounded = fix_of(free_name(graph, f"{first.name}_fix"), first, point)
            ops += [first, rounded, replace(op, inputs={"input": (rounded.name,)})]
        else:
            ops.append(op)
    return rebuild(graph, ops)


def activate_before_concat(graph: Graph) -> Graph:
    """concat > relu becomes relu > concat: the same values, and each convolution before the concat takes its own."""
    moved: dict[str, Op] = {}  # concat -> the relu behind it
    for op in graph.ops:
        readers = graph.fanout[op.name]
        alone = len(readers) == 1 and readers[0].type == "relu" and op.name not in graph.get("return_ops", ())
        if op.type == "concat" and alone and all(graph.fanout[name] == (op,) for name in op.input_names):
            moved[op.name] = readers[0]
    ops: list[Op] = []
    after = {relu.name: name for name, relu in moved.items()}
    for op in graph.ops:
        if op.name in moved:
            relu = moved[op.name]
            names: dict[str, str] = {}
            for name in dict.fromkeys(op.input_names):
                own = replace(relu, name=free_name(graph, f"{name}_relu"), inputs={"input": (name,)})
                ops.append(replace(own, output=replace(graph.op(name).output, name=own.name)))
                names[name] = own.name
            ops.append(redirect(op, names))
        elif op.name not in after:
            ops.append(op)
    return rebuild(graph, ops, after) if moved else graph


def fix_concat_inputs(graph: Graph) -> Graph:
    """A concat input without a fix of its own takes the concat's position: the quantizer left it out for that."""
    wanted: dict[str, int] = {}
    places: dict[tuple[str, str], int] = {}
    for op in reversed(graph.ops):
        if op.type != "concat":
            continue
        readers = graph.fanout[op.name]
        point = position(readers[0]) if len(readers) == 1 and readers[0].type == "fix" else wanted.get(op.name)
        if point is None:
            continue
        for name in dict.fromkeys(op.input_names):
            if grid(graph, name) is None and not graph.op(name).is_const:
                places[op.name, name] = point
                if graph.fanout[name] == (op,):
                    wanted[name] = point
    inserted: dict[tuple[str, str], Op] = {}
    for op in graph.ops:
        for name in op.input_names:
            if (op.name, name) in places and (op.name, name) not in inserted:
                fix_name = free_name(graph, f"{name}_inserted_fix_{len(inserted)}")
                inserted[op.name, name] = fix_of(fix_name, graph.op(name), places[op.name, name])
    return _insert(graph, inserted)


def hoist_fixes(graph: Graph) -> Graph:
    """Rounding commutes with layout: a fix behind reshapes is also put where the values are computed."""
    inserted: dict[tuple[str, str], Op] = {}
    for fix in graph.ops:
        if fix.type != "fix":
            continue
        reader, source = fix, graph.op(fix.inputs["input"][0])
        while source.type in LAYOUT and len(graph.fanout[source.name]) == 1:
            reader, source = source, graph.op(source.inputs["input"][0])
        if reader is not fix and grid(graph, source.name) is None and graph.fanout[source.name] == (reader,):
            name = free_name(graph, f"{source.name}_hoisted_fix")
            inserted[reader.name, source.name] = fix_of(name, source, position(fix))
    return _insert(graph, inserted)


def pin_layout(graph: Graph) -> Graph:
    """A layout op keeps its input's grid: say so with a fix where an integer op reads it."""
    inserted: dict[tuple[str, str], Op] = {}
    pins: dict[str, Op] = {}
    for op in graph.ops:
        for name in op.input_names if op.type in COMPUTE else ():
            point = grid(graph, name) if graph.op(name).type in LAYOUT else None
            if point is not None:
                pin = fix_of(free_name(graph, f"{name}_fix"), graph.op(name), point)
                inserted[op.name, name] = pins.setdefault(name, pin)
    return _insert(graph, inserted)


def _insert(graph: Graph, inserted: dict[tuple[str, str], Op]) -> Graph:
    """Put each op of `inserted` between its reader and source, both given by name."""
    moved: dict[str, dict[str, str]] = {}
    for (reader, source), op in inserted.items():
        moved.setdefault(reader, {})[source] = op.name
    ops = [redirect(op, moved[op.name]) if op.name in moved else op for op in graph.ops]
    new = {op.name: op for op in inserted.values()}
    return drop_unread(rebuild(graph, [*ops, *new.values()]))
