"""Copies a graph op by op, as a tool that cuts networks does, and runs both: copy_graph.py MODEL."""

import sys

import numpy as np
import vart
import xir


def copied(g):
    new, made = xir.Graph(g.get_name()), {}
    for op in g.toposort():
        inputs = {arg: [made[o.get_name()] for o in ops] for arg, ops in op.get_input_ops().items()}
        made[op.get_name()] = new.create_op(op.get_name(), op.get_type(), attrs=op.get_attrs(), input_ops=inputs)
        tensor, old = made[op.get_name()].get_output_tensor(), op.get_output_tensor()
        assert (tensor.dims, tensor.dtype) == (old.dims, old.dtype), op
        tensor.name = old.name
        for name, value in old.get_attrs().items():
            tensor.set_attr(name, value)
    root = new.get_root_subgraph()
    root.create_child_subgraph()
    for old in g.get_root_subgraph().toposort_child_subgraph():
        part = root.merge_children({root.find_child_subgraph_by_op(made[o.get_name()]) for o in old.get_ops()})
        part.set_name(old.get_name())
        for name, value in old.get_attrs().items():
            part.set_attr(name, value)
    return new


def run(g):
    dpu = next(s for s in g.get_root_subgraph().toposort_child_subgraph() if s.get_attr("device") == "DPU")
    runner = vart.Runner.create_runner(dpu, "run")
    x = np.random.RandomState(0).randint(-128, 128, runner.get_input_tensors()[0].dims).astype(np.int8)
    outputs = [np.zeros(t.dims, np.int8) for t in runner.get_output_tensors()]
    runner.wait(runner.execute_async([x], outputs))
    return outputs


graph = xir.Graph.deserialize(sys.argv[1])
copy = copied(graph)
assert copy.get_op_num() == graph.get_op_num() and not copy.get_ops() & graph.get_ops()
assert [op.get_attrs() for op in copy.toposort()] == [op.get_attrs() for op in graph.toposort()]
print([bool((a == b).all() and a.any()) for a, b in zip(run(graph), run(copy), strict=True)])
