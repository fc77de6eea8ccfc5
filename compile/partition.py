"""Partition: USER, DPU and CPU subgraphs in topological order, with the attributes that the vendor's files carry.

What only a code generator can know (mc_code, addresses, the parameter image) is absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from arch.targets import Target
from compile.edit import redirect
from compile.estimate import Cost, augmented, cost, total
from xmodel.graph import Attr, Graph, Op, Subgraph, Tensor, attrs

# Integer ops that only move bytes; a DPU subgraph of nothing else would be two transfers for no work.
MOVES = ("reshape-fix", "concat-fix")
_CPU_RUNNER = "libvart-cpu-runner.so"
# Cards on PCIe are driven by rt-engine, embedded DPUs by vart's own runner (seen in compiled files).
_CLOUD = ("DPUCVDX8H", "DPUCAHX8H", "DPUCAHX8L", "DPUCADF8H")


@dataclass(frozen=True, slots=True)
class Group:
    """A future subgraph: `device` "USER", "DPU" or "CPU", op names in topological order."""

    device: str
    ops: tuple[str, ...]


def partition(graph: Graph, target: Target, on_cpu: Mapping[str, str]) -> Graph:
    """`graph` with its subgraph tree for `target`; `on_cpu` names the ops that the DPU does not take, and why.

    The partition is convex: a DPU subgraph needs nothing that depends on its own results. Uploads and downloads
    stand where int8 tensors cross into and out of a DPU subgraph. Every op gets its `device`.
    """
    groups = group(graph, devices(graph, on_cpu))
    graph, groups = separate_constants(graph, groups)
    graph, groups = insert_transfers(graph, groups)
    graph = _annotate(graph, groups, target)
    return _with_tree(graph, groups, target)


def devices(graph: Graph, on_cpu: Mapping[str, str]) -> dict[str, str]:
    """The device of every op that is no constant; a DPU subgraph without work goes to the CPU."""
    device = {op.name: _device(op, on_cpu) for op in graph.ops if not op.is_const}
    while True:
        idle = [
            name
            for part in group(graph, device)
            if part.device == "DPU" and all(graph.op(name).type in MOVES for name in part.ops)
            for name in part.ops
        ]
        if not idle:
            return device
        device.update((name, "CPU") for name in idle)


def _device(op: Op, on_cpu: Mapping[str, str]) -> str:
    if op.type in ("data", "data-fix"):
        return "USER"
    return "CPU" if op.name in on_cpu or not op.type.endswith("-fix") else "DPU"


def group(graph: Graph, device: Mapping[str, str]) -> list[Group]:
    """Connected ops of one device and one level, where an op's level is how often the way to it changes device.

    Edges between groups lead from a lower level to a higher one, so no group waits for itself.
    """
    level: dict[str, int] = {}
    parent = {name: name for name in device}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    first_reader: dict[tuple[str, int], str] = {}
    for op in graph.ops:
        if op.name not in device:
            continue
        sources = [name for name in op.input_names if name in device]
        level[op.name] = max((level[s] + (device[s] != device[op.name]) for s in sources), default=0)
        for source in sources:
            if (device[source], level[source]) == (device[op.name], level[op.name]):
                parent[root(op.name)] = root(source)
            elif device[op.name] == "DPU":  # one upload serves all that read it
                parent[root(op.name)] = root(first_reader.setdefault((source, level[op.name]), op.name))
    members: dict[str, list[str]] = {}
    for op in graph.ops:
        if op.name in device:
            members.setdefault(root(op.name), []).append(op.name)
    ordered = sorted(members.values(), key=lambda names: level[names[0]])
    return [Group(device[names[0]], tuple(names)) for names in ordered]


def separate_constants(graph: Graph, groups: Sequence[Group]) -> tuple[Graph, list[Group]]:
    """Every constant lives in the subgraph that reads it, as a copy where several do."""
    home = {name: number for number, part in enumerate(groups) for name in part.ops}
    owner: dict[str, int] = {}
    copies: dict[tuple[str, int], Op] = {}
    ops: list[Op] = []
    for op in graph.ops:
        names: dict[str, str] = {}
        for name in op.input_names:
            source = graph.op(name)
            if not source.is_const or owner.setdefault(name, home[op.name]) == home[op.name]:
                continue
            if (name, home[op.name]) not in copies:
                copy = replace(source, name=f"{name}_copy_{home[op.name]}")
                copy = replace(copy, output=replace(source.output, name=f"{source.output.name}_copy_{home[op.name]}"))
                copies[name, home[op.name]] = copy
                ops.append(copy)
                owner[copy.name] = home[op.name]
            names[name] = copies[name, home[op.name]].name
        ops.append(redirect(op, names))
    members: dict[int, list[str]] = {number: [] for number in range(len(groups))}
    for op in ops:
        number = owner.get(op.name) if op.is_const else home[op.name]
        if number is not None:
            members[number].append(op.name)
    kept = [op for op in ops if not op.is_const or op.name in owner]
    return graph.with_ops(kept), [replace(part, ops=tuple(members[n])) for n, part in enumerate(groups)]


def insert_transfers(graph: Graph, groups: Sequence[Group]) -> tuple[Graph, list[Group]]:
    """An upload for every tensor that a DPU subgraph reads, a download for every tensor that leaves one."""
    home = {name: number for number, part in enumerate(groups) for name in part.ops}
    uploads: dict[tuple[str, int], Op] = {}
    downloads: dict[str, Op] = {}
    counts: dict[str, int] = {}
    ops: list[Op] = []
    members: list[list[str]] = [[] for _ in groups]
    for op in graph.ops:
        here, names = home[op.name], {}
        for name in op.input_names:
            source = downloads.get(name) if home[name] != here else None
            if source is not None:
                names[name] = source.name
            if home[name] == here or groups[here].device != "DPU":
                continue
            if (name, here) not in uploads:
                number = counts[name] = counts.get(name, -1) + 1
                uploads[name, here] = _upload(name, source or graph.op(name), number)
                ops.append(uploads[name, here])
                members[here].append(ops[-1].name)
            names[name] = uploads[name, here].name
        op = redirect(op, names)
        if groups[here].device == "DPU" and any(home[r.name] != here for r in graph.fanout[op.name]):
            tensor = op.output
            op = replace(op, output=replace(tensor, name=f"{tensor.name}_download_0"))
            downloads[op.name] = Op(f"{op.name}_download_0", "download", {"input": (op.name,)}, {}, tensor)
        ops.append(op)
        members[here].append(op.name)
        if op.name in downloads:
            ops.append(downloads[op.name])
            members[here].append(ops[-1].name)
    return graph.with_ops(ops), [replace(part, ops=tuple(members[n])) for n, part in enumerate(groups)]


def _upload(name: str, source: Op, number: int) -> Op:
    tensor = replace(source.output, name=f"{source.output.name}_upload_{number}")
    return Op(f"{name}_upload_{number}", "upload", {"input": (source.name,)}, {}, tensor)


def _annotate(graph: Graph, groups: Sequence[Group], target: Target) -> Graph:
    """Ops say their device, and their work where the vendor's do."""
    device = {name: part.device for part in groups for name in part.ops}
    ops = []
    for op in graph.ops:
        values: dict[str, Attr] = {"device": Attr.of(device[op.name])}
        work = cost(graph, op, target.parallel)
        if work.workload:
            values |= _work(work)
        if op.type == "conv2d-fix" and augmented(graph, op, target.parallel) and device[op.name] == "DPU":
            values["channel_augmentation"] = Attr.of(1)
        ops.append(replace(op, attrs={**op.attrs, **values}))
    return graph.with_ops(ops)


def _work(work: Cost) -> dict[str, Attr]:
    return {
        "workload": Attr("uint64", work.workload),
        "workload_on_arch": Attr("uint64", work.workload_on_arch),
    }


def _with_tree(graph: Graph, groups: Sequence[Group], target: Target) -> Graph:
    children = tuple(_subgraph(graph, part, target) for part in groups)
    work = _work(_cost(graph, (op.name for op in graph.ops), target))
    return replace(graph, root=Subgraph("root", children=children, attrs=work))


def _subgraph(graph: Graph, part: Group, target: Target) -> Subgraph:
    ops = [graph.op(name) for name in part.ops]
    main = next(op for op in ops if op.type != "upload" and not op.is_const)
    name = f"subgraph_{main.name}"
    values = {"device": Attr.of(part.device), **_work(_cost(graph, part.ops, target))}
    if part.device == "DPU":
        layers = [_layer(graph, layer, target) for layer in super_layers(graph, ops)]
        values |= _dpu(graph, ops, target) | attrs(children_topological_sort=[layer.name for layer in layers])
        return Subgraph(name, children=tuple(layers), attrs=values)
    if part.device == "CPU":
        values["runner"] = Attr.of(dict.fromkeys(("ref", "run", "sim"), _CPU_RUNNER))
    return Subgraph(name, part.ops, attrs=values)


def _dpu(graph: Graph, ops: Sequence[Op], target: Target) -> dict[str, Attr]:
    """Attributes of a DPU subgraph: REG_0 holds parameters, REG_2 inputs, REG_3 outputs, sizes in bytes."""
    run = "librt-engine.so" if target.type in _CLOUD else "libvart-dpu-runner.so"
    sizes = {
        "REG_0": _cost(graph, (op.name for op in ops), target).parameter_bytes,
        "REG_2": sum(_elements(op.output) for op in ops if op.type == "upload"),
        "REG_3": sum(_elements(op.output) for op in ops if op.type == "download"),
    }
    sizes = {name: size for name, size in sizes.items() if size}
    constant = {name: name == "REG_0" for name in sizes}
    return attrs(
        dpu_name=target.name,
        dpu_fingerprint=Attr("uint64", target.fingerprint),
        runner={"ref": _CPU_RUNNER, "run": run, "sim": "libvart-sim-runner.so"},
        debug_mode="function",
        if_prefetch=False,
        reg_id_to_size=sizes,
        reg_id_to_context_type={name: "CONST" if c else "DATA" for name, c in constant.items()},
        reg_id_to_context_type_v2={name: "CONST" if c else "INTERFACE" for name, c in constant.items()},
        reg_id_to_hw_segment={name: "W0" if c else "D0" for name, c in constant.items()},
    )


def super_layers(graph: Graph, ops: Sequence[Op]) -> list[list[Op]]:
    """What the device runs as one: an op with its constants, a convolution also with the pool that alone reads it."""
    layers: dict[str, list[Op]] = {}
    placed: set[str] = set()
    for op in ops:
        if op.is_const:
            continue
        source = graph.op(op.inputs["input"][0])
        if op.type == "pool-fix" and source.type == "conv2d-fix" and len(graph.fanout[source.name]) == 1:
            layers[source.name].append(op)
        else:
            constants = [n for n in dict.fromkeys(op.input_names) if graph.op(n).is_const and n not in placed]
            placed.update(constants)
            layers[op.name] = [*map(graph.op, constants), op]
    return list(layers.values())


def _layer(graph: Graph, layer: Sequence[Op], target: Target) -> Subgraph:
    main = next(op for op in layer if not op.is_const)
    values = _work(_cost(graph, (op.name for op in layer), target))
    if main.type in ("upload", *MOVES):
        values["skip_code_gen"] = Attr.of(True)
    return Subgraph(f"subgraph_{main.name}", tuple(op.name for op in layer), attrs=values)


def _cost(graph: Graph, names: Iterable[str], target: Target) -> Cost:
    return total(cost(graph, graph.op(name), target.parallel) for name in names)


def _elements(tensor: Tensor) -> int:
    return int(np.prod(tensor.shape, dtype=np.int64))
