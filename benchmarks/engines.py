"""The engines that `unmask bench` measures: Unmask's kernel sets and what a user would pick instead.

Each takes the folder that `benchmarks.engine_case` wrote: compiled.xmodel, quantized.xmodel, model.onnx, input.npy
(int8 NHWC) and case.json. An engine imports its library when it is made, not before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from xmodel.artifact import read_json
from xmodel.graph import Array


class Engine(Protocol):
    """A loaded network with its input batch."""

    def run(self) -> Any:
        """Compute the batch once."""
        ...

    def integers(self) -> list[Array] | None:
        """The int8 NHWC outputs of the first image, computed anew; None for an engine without integers."""
        ...


@dataclass(frozen=True, slots=True)
class Job:
    """What an engine is made for."""

    folder: Path
    batch: int
    threads: int

    @property
    def case(self) -> dict[str, Any]:
        """What the case says of itself."""
        return dict(read_json(self.folder / "case.json"))

    def images(self) -> Array:
        """The batch, int8 NHWC."""
        return np.ascontiguousarray(np.load(self.folder / "input.npy")[: self.batch])

    def real_images(self) -> Array:
        """The batch as float32 NHWC."""
        return self.images().astype(np.float32) * np.float32(2.0 ** -self.case["fix_point"])


class _Emulator:
    def __init__(self, job: Job, kernels: Any) -> None:
        from runtime.emulator.program import Program
        from xmodel import file

        self._program = Program(file.read(job.folder / "compiled.xmodel"), kernels)
        self._program.set_threads(job.threads)
        self._feed, self._ends = {self._program.inputs[0].name: job.images()}, job.case["ends"]

    def run(self) -> Any:
        return self._program.run(self._feed)

    def integers(self) -> list[Array]:
        one = {name: images[:1] for name, images in self._feed.items()}
        found = self._program.run(one, dump=True)
        return [found[name] for name in self._ends]


class _OnnxRuntime:
    def __init__(self, job: Job) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = job.threads, 1
        options.log_severity_level = 3
        path = str(job.folder / "model.onnx")
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._zeros = job.case["zero_points"]
        self._feed = {self._session.get_inputs()[0].name: _unsigned(job.images())}

    def run(self) -> Any:
        return self._session.run(None, self._feed)

    def integers(self) -> list[Array]:
        one = {name: images[:1] for name, images in self._feed.items()}
        return [_signed(array, zero) for array, zero in zip(self._session.run(None, one), self._zeros, strict=True)]


class _OpenVino:
    def __init__(self, job: Job) -> None:
        import openvino

        core = openvino.Core()
        model = core.read_model(str(job.folder / "model.onnx"))
        self._feed, self._zeros = _unsigned(job.images()), job.case["zero_points"]
        model.reshape({model.input(0).any_name: list(self._feed.shape)})
        settings = {
            "INFERENCE_NUM_THREADS": job.threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._request = core.compile_model(model, "CPU", settings).create_infer_request()

    def run(self) -> Any:
        return self._request.infer([self._feed], share_inputs=True, share_outputs=True)

    def integers(self) -> list[Array]:
        found = self.run()
        return [_signed(np.array(found[i][:1]), zero) for i, zero in enumerate(self._zeros)]


class _Float:
    """The float module, channels last."""

    def __init__(self, job: Job, name: str) -> None:
        import torch

        from model import registry

        torch.set_num_threads(job.threads)
        kind, model = getattr(torch, name), job.case["model"]
        seed = None if registry.find(model).weights else 0
        module: Any = registry.load(model, None, seed=seed)
        self._module = module.to(kind).to(memory_format=torch.channels_last)
        self._images = torch.from_numpy(job.real_images()).permute(0, 3, 1, 2).to(kind)
        self._mode = torch.inference_mode

    def run(self) -> Any:
        with self._mode():
            return self._module(self._images)

    def integers(self) -> None:
        return None


class _FakeQuant:
    """The quantized graph in float, rounded to its grid after every op: how the vendor's test mode computes."""

    def __init__(self, job: Job) -> None:
        import torch

        from quantize.execute import Executor
        from xmodel import file

        torch.set_num_threads(job.threads)
        self._executor = Executor(file.read(job.folder / "quantized.xmodel"))
        self._images, self._ends = job.real_images(), job.case["fixes"]

    def run(self) -> Any:
        return self._executor.run(self._images)

    def integers(self) -> list[Array]:
        found = self._executor.run(self._images[:1], keep=list(self._ends))
        return [(found[name] * np.float32(2.0**fix)).astype(np.int8) for name, fix in self._ends.items()]


def _unsigned(images: Array) -> Array:
    """int8 NHWC as uint8 NCHW with zero point 128."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)).view(np.uint8) ^ np.uint8(128)


def _signed(array: Array, zero: int) -> Array:
    """uint8 NCHW with a zero point as the integers, NHWC; int16, because a uint8 may be beyond int8."""
    values = array.astype(np.int16) - zero
    return values.transpose(0, 2, 3, 1) if values.ndim == 4 else values


@dataclass(frozen=True, slots=True)
class Entrant:
    """An engine's title, how it is made, the module it needs and whether it is Unmask's own."""

    title: str
    make: Callable[[Job], Engine]
    module: str
    ours: bool = False
    onnx: bool = False


ENTRANTS: Mapping[str, Entrant] = MappingProxyType(
    {
        "native": Entrant("Unmask, native kernels", lambda job: _Emulator(job, "native"), "numpy", ours=True),
        "torch": Entrant("Unmask, torch kernels", lambda job: _Emulator(job, "torch"), "torch", ours=True),
        "openvino": Entrant("OpenVINO INT8", _OpenVino, "openvino", onnx=True),
        "onnxruntime": Entrant("ONNX Runtime INT8, U8S8", _OnnxRuntime, "onnxruntime", onnx=True),
        "bf16": Entrant("torch bfloat16", lambda job: _Float(job, "bfloat16"), "torch"),
        "fp32": Entrant("torch float32", lambda job: _Float(job, "float32"), "torch"),
        "fake-quant": Entrant("fake-quantized in float", _FakeQuant, "torch"),
    }
)
