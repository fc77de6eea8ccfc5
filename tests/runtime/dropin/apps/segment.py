"""Segmentation with two outputs, told apart by name: segment.py MODEL IMAGES.npy OUT."""

import argparse
import pathlib

import numpy as np
import vart
import xir


def app(args):
    graph = xir.Graph.deserialize(pathlib.Path(args.model))
    dpu = next(s for s in graph.get_root_subgraph().toposort_child_subgraph() if s.get_attr("device") == "DPU")
    runner = vart.Runner.create_runner(subgraph=dpu, mode="run")
    (input_tensor,) = runner.get_input_tensors()
    output_tensors = runner.get_output_tensors()
    by_name = {t.name: i for i, t in enumerate(output_tensors)}
    mask = by_name[next(n for n in by_name if "mask" in n)]
    score = by_name[next(n for n in by_name if "linear" in n)]
    images = np.load(args.images)
    masks, scores = [], []
    batch = input_tensor.dims[0]
    for start in range(0, len(images), batch):
        chunk = images[start : start + batch]
        shape_in = (len(chunk), *[input_tensor.dims[i] for i in range(input_tensor.ndim)][1:])
        data = [np.empty(shape_in, dtype=np.float32, order="C")]
        data[0][:] = chunk
        outputs = [np.empty((len(chunk), *t.dims[1:]), dtype=np.float32, order="C") for t in output_tensors]
        job = runner.execute_async(data, outputs)
        runner.wait(job)
        masks.append(np.argmax(outputs[mask], axis=-1).astype(np.uint8))
        scores.append(outputs[score].reshape(len(chunk), -1))
    np.savez(args.out, mask=np.concatenate(masks), score=np.concatenate(scores))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("-i", "--images", required=True)
    parser.add_argument("-o", "--out", required=True)
    app(parser.parse_args())
