"""Builds a graph, divides it, writes it, reads it back, runs it: build.py OUT.xmodel."""

import sys

import numpy as np
import vart
import xir

FIX = {"fix_point": 4, "bit_width": 8, "if_signed": True, "round_mode": "DPU_ROUND"}

graph = xir.Graph("built")
x = graph.create_op("x", "data-fix", attrs={"shape": [1, 6, 6, 2], "data_type": "XINT8"})
x.get_output_tensor().set_attrs(FIX)
weights = np.arange(3 * 3 * 3 * 2, dtype=np.int8).reshape(3, 3, 3, 2) - 20
w = graph.create_op("w", "const-fix", {"shape": list(weights.shape), "data_type": "xint8", "data": weights.tobytes()})
w.get_output_tensor().set_attrs(FIX)
conv = graph.create_op(
    "conv", "conv2d-fix",
    {"kernel": [3, 3], "stride": [2, 2], "pad": [1, 1, 1, 1], "nonlinear": "RELU"},
    {"input": [x], "weights": [w]},
)  # fmt: skip
conv.get_output_tensor().set_attrs({**FIX, "fix_point": 1})
real = graph.create_op("real", "fix2float", {**FIX, "fix_point": 1}, {"input": [conv]})
graph.create_op("prob", "softmax", {"axis": -1}, input_ops={"input": [real]})
assert graph.get_op("prob").get_output_tensor().dims == [1, 3, 3, 3]

root = graph.get_root_subgraph()
root.create_child_subgraph()
assert not root.is_leaf and root.get_children_num() == 5
user = root.find_child_subgraph_by_op(x)
user.set_attr("device", "USER")
dpu = root.merge_children({root.find_child_subgraph_by_op_name(n) for n in ("w", "conv")})
cpu = root.merge_children({root.find_child_subgraph_by_op_name(n) for n in ("real", "prob")})
for part, device in ((dpu, "DPU"), (cpu, "CPU")):
    part.set_attr("device", device)
    part.set_attr("runner", {"run": "libvart-cpu-runner.so", "ref": "libvart-cpu-runner.so"})
dpu.set_attr("dpu_name", "DPUCVDX8H_ISA1_F2W2_8PE")
dpu.set_attr("dpu_fingerprint", 0x501000000140FEE)
graph.serialize(sys.argv[1])

again = xir.Graph.deserialize(sys.argv[1])
parts = again.get_root_subgraph().toposort_child_subgraph()
print([(p.get_attr("device"), sorted(o.get_name() for o in p.get_ops())) for p in parts])
array = np.arange(72, dtype=np.int8).reshape(1, 6, 6, 2) - 36
for part in parts[1:]:
    runner = vart.Runner.create_runner(part, "ref")
    (out,) = runner.get_output_tensors()
    made = np.zeros([1, *out.dims[1:]], np.int8 if out.dtype == "xint8" else np.float32)
    runner.wait(runner.execute_async([array], [made]))
    print(out.name, out.dims, made.ravel().tolist())
    array = made
