"""A whole graph, CPU subgraphs included: graph_run.py MODEL IMAGES.npy OUT."""

import sys

import numpy as np
import vitis_ai_library
import xir

g = xir.Graph.deserialize(sys.argv[1])
runner = vitis_ai_library.GraphRunner.create_graph_runner(g)
inputs, outputs = runner.get_inputs(), runner.get_outputs()
tensor = inputs[0].get_tensor()
batch, scale = tuple(tensor.dims)[0], 2 ** tensor.get_attr("fix_point")
images = np.load(sys.argv[2])
found = []
for start in range(0, len(images), batch):
    chunk = images[start : start + batch]
    data = np.asarray(inputs[0])
    data[: len(chunk)] = np.clip(np.floor(chunk * scale + 0.5), -128, 127)
    job_id = runner.execute_async(inputs, outputs)
    runner.wait(job_id)
    found.append([np.array(o)[: len(chunk)].copy() for o in outputs])
names = [o.get_tensor().name for o in outputs]
np.savez(sys.argv[3], **{n: np.concatenate([f[i] for f in found]) for i, n in enumerate(names)})
