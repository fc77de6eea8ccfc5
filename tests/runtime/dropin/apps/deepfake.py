"""A deepfake detector in the manner of the published one: -d IMAGES.npy -t THREADS -m MODEL -o OUT.npz."""

import argparse
import threading

import numpy as np
import vart
import xir


def get_child_subgraph_dpu(graph):
    root = graph.get_root_subgraph()
    if root.is_leaf:
        return []
    return [
        cs for cs in root.toposort_child_subgraph() if cs.has_attr("device") and cs.get_attr("device").upper() == "DPU"
    ]


def preprocess(image, scale):
    return np.clip(np.round(image * scale), -128, 127).astype(np.int8)


def run_dpu(dpu, images, start, masks, scores):
    input_tensors, output_tensors = dpu.get_input_tensors(), dpu.get_output_tensors()
    assert len(output_tensors) == 2
    input_ndim = tuple(input_tensors[0].dims)
    dims = [tuple(t.dims) for t in output_tensors]
    scales = [2.0 ** -t.get_attr("fix_point") for t in output_tensors]
    batch, count, n = input_ndim[0], 0, len(images)
    while count < n:
        size = batch if count + batch <= n else n - count
        data = [np.empty(input_ndim, dtype=np.int8, order="C")]
        out = [np.empty(d, dtype=np.int8, order="C") for d in dims]
        for j in range(size):
            data[0][j, ...] = images[count + j].reshape(input_ndim[1:])
        job_id = dpu.execute_async(data, out)
        dpu.wait(job_id)
        for j in range(size):
            masks[start + count + j] = out[0][j] * scales[0]
            scores[start + count + j] = 1 / (1 + np.exp(-(out[1][j] * scales[1])))
        count += size


def app(images, threads, model, out):
    graph = xir.Graph.deserialize(model)
    subgraphs = get_child_subgraph_dpu(graph)
    assert len(subgraphs) == 1
    runners = [vart.Runner.create_runner(subgraphs[0], "run") for _ in range(threads)]
    fix_point = runners[0].get_input_tensors()[0].get_attr("fix_point")
    prepared = [preprocess(image, 2**fix_point) for image in images]
    masks, scores = [None] * len(images), [None] * len(images)
    workers, start = [], 0
    for i in range(threads):
        end = len(images) if i == threads - 1 else start + len(images) // threads
        workers.append(threading.Thread(target=run_dpu, args=(runners[i], prepared[start:end], start, masks, scores)))
        start = end
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    np.savez(out, mask=np.array(masks, np.float32), score=np.array(scores, np.float32))


if __name__ == "__main__":
    ap = argparse.ArgumentParser()
    ap.add_argument("-d", "--data", required=True)
    ap.add_argument("-t", "--threads", type=int, default=1)
    ap.add_argument("-m", "--model", required=True)
    ap.add_argument("-o", "--out", required=True)
    args = ap.parse_args()
    app(np.load(args.data), args.threads, args.model, args.out)
