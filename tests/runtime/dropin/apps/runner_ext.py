"""The runner's own buffers: runner_ext.py MODEL IMAGES.npy OUT."""

import sys

import numpy as np
import vart
import xir


def main(model, images, out):
    graph = xir.Graph.deserialize(model)
    subgraph = [c for c in graph.get_root_subgraph().get_children() if c.get_attr("device").upper() == "DPU"][0]
    runner = vart.RunnerExt.create_runner(subgraph, "run")
    assert runner is not None
    input_tensor_buffers, output_tensor_buffers = runner.get_inputs(), runner.get_outputs()
    tensor = input_tensor_buffers[0].get_tensor()
    scale = 2 ** tensor.get_attr("fix_point")
    memory = memoryview(input_tensor_buffers[0])
    assert memory.shape == tuple(tensor.dims) and memory.format == "b" and not memory.readonly
    np.asarray(input_tensor_buffers[0])[...] = np.clip(np.floor(np.load(images) * scale + 0.5), -128, 127)
    v = runner.execute_async(input_tensor_buffers, output_tensor_buffers)
    assert runner.wait(v) == 0
    # Buffers are matched by name, whatever their order.
    runner.wait(runner.execute_async(list(input_tensor_buffers), output_tensor_buffers[::-1]))
    print([str(buffer.get_tensor().name) for buffer in output_tensor_buffers], str(input_tensor_buffers[0]))
    np.savez(out, *[np.asarray(buffer) for buffer in output_tensor_buffers])


if __name__ == "__main__":
    main(*sys.argv[1:])
