"""What a file holds, as JSON, the way the vendor's listing tool walks it: dump.py MODEL."""

import json
import sys

import xir


def tensor(t):
    attrs = t.get_attrs()
    return {
        "name": t.name, "shape": t.dims, "type": t.dtype, "ndim": t.ndim, "elements": t.get_element_num(),
        "bytes": t.get_data_size(), "fix_point": attrs.get("fix_point"), "producer": t.producer.get_name(),
    }  # fmt: skip


def subgraph(s):
    device = s.get_attr("device").upper() if s.has_attr("device") else ""
    entry = {"name": s.get_name(), "device": device, "depth": s.depth, "ops": s.get_op_num(), "leaf": s.is_leaf}
    if device == "DPU":
        entry["fingerprint"] = hex(s.get_attr("dpu_fingerprint"))
        entry["dpu_name"] = s.get_attr("dpu_name")
        entry["workload"] = s.get_attr("workload")
        entry["reg_types"] = s.get_attr("reg_id_to_context_type_v2")
        entry["parameters"] = (
            s.get_attr("reg_id_to_parameter_value") if "reg_id_to_parameter_value" in s.get_attrs() else ""
        )
        entry["inputs"] = [tensor(t) for t in sorted(s.get_input_tensors(), key=lambda t: t.name)]
        entry["outputs"] = [tensor(t) for t in sorted(s.get_output_tensors(), key=lambda t: t.name)]
    entry["children"] = [subgraph(c) for c in s.toposort_child_subgraph()]
    return entry


def op(o):
    return {
        "name": o.get_name(), "type": o.get_type(),
        "inputs": {arg: [i.get_name() for i in ops] for arg, ops in o.get_input_ops().items()},
        "fanout": sorted(f.get_name() for f in o.get_fanout_ops()),
        "attrs": {k: v for k, v in o.get_attrs().items() if k != "data"},
        "output": tensor(o.get_output_tensor()),
    }  # fmt: skip


g = xir.Graph.deserialize(sys.argv[1])
root = g.get_root_subgraph()
assert root.is_root and g.get_op_num() == len(g.get_ops()) == len(g.toposort())
json.dump({
    "name": g.get_name(), "attrs": g.get_attrs(), "heads": sorted(o.get_name() for o in g.get_head_ops()),
    "ops": [op(o) for o in g.toposort()], "root": subgraph(root),
}, sys.stdout)  # fmt: skip
