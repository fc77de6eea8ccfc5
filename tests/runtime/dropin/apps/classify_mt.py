"""Image classification with one runner per thread: classify_mt.py MODEL FOLDER THREADS OUT."""

import math
import os
import sys
import threading
from typing import List

import cv2
import numpy as np
import vart
import xir


def get_child_subgraph_dpu(graph: "Graph") -> List["Subgraph"]:
    assert graph is not None, "'graph' should not be None."
    root_subgraph = graph.get_root_subgraph()
    assert root_subgraph is not None, "Failed to get root subgraph of input Graph object."
    if root_subgraph.is_leaf:
        return []
    child_subgraphs = root_subgraph.toposort_child_subgraph()
    assert child_subgraphs is not None and len(child_subgraphs) > 0
    return [cs for cs in child_subgraphs if cs.has_attr("device") and cs.get_attr("device").upper() == "DPU"]


def preprocess(path, fix_scale, height, width):
    image = cv2.resize(cv2.imread(path), (width, height))
    return np.floor((image.astype(np.float64) / 255.0 - 0.5) * fix_scale + 0.5).astype(np.int8)


def softmax(data):
    exps = [math.exp(float(x)) for x in data]
    return [x / sum(exps) for x in exps]


def run(runner, images, first, results):
    inputs, outputs = runner.get_input_tensors(), runner.get_output_tensors()
    input_ndim, output_ndim = tuple(inputs[0].dims), tuple(outputs[0].dims)
    batch, size = input_ndim[0], int(outputs[0].get_element_num() / input_ndim[0])
    assert outputs[0].get_data_size() / batch == size
    scale = 2 ** outputs[0].get_attr("fix_point")
    count = 0
    while count < len(images):
        run_size = min(batch, len(images) - count)
        input_data = [np.empty(input_ndim, dtype=np.int8, order="C")]
        output_data = [np.empty(output_ndim, dtype=np.int8, order="C")]
        for j in range(run_size):
            input_data[0][j, ...] = images[count + j].reshape(input_ndim[1:])
        job_id = runner.execute_async(input_data, output_data)
        runner.wait(job_id)
        for j in range(run_size):
            results[first + count + j] = softmax(output_data[0].reshape(batch, size)[j] / scale)
        count += run_size


def main(argv):
    model, folder, threads, out = argv[1], argv[2], int(argv[3]), argv[4]
    g = xir.Graph.deserialize(model)
    subgraphs = get_child_subgraph_dpu(g)
    assert len(subgraphs) == 1  # only one DPU kernel
    runners = [vart.Runner.create_runner(subgraphs[0], "run") for _ in range(threads)]
    tensor = runners[0].get_input_tensors()[0]
    scale, (height, width) = 2 ** tensor.get_attr("fix_point"), tensor.dims[1:3]
    images = [preprocess(os.path.join(folder, name), scale, height, width) for name in sorted(os.listdir(folder))]
    results = [None] * len(images)
    each = len(images) // threads
    workers = []
    for i in range(threads):
        end = len(images) if i == threads - 1 else (i + 1) * each
        part = images[i * each : end]
        workers.append(threading.Thread(target=run, args=(runners[i], part, i * each, results)))
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    del runners
    np.save(out, np.array(results))
    print("top-1:", [int(np.argmax(r)) for r in results])


if __name__ == "__main__":
    main(sys.argv)
