"""A stand-in for the vendor's vart on a card: jobs of a full batch with recorded results, and its ways to fail.

To the letter of the project's sheet on the API: job ids are tuples, tensors carry the batch of the card, buffers are
taken in the order of the runner's tensors without a check of shape or size, what is too small is read past its end (a
crash), wrong types abort, a read-only array raises ValueError, a wait on anything but the tuple TypeError, and `wait`
keeps the interpreter's lock. Inputs are read when the job runs, which is after execute_async returned.

Python 3.6 syntax. Environment: STANDIN_ANSWERS is the folder with the recorded lanes, STANDIN_BATCH the card's
engines, STANDIN_DELAY the milliseconds of a job (the card does one after the other), STANDIN_FAULT how it fails,
STANDIN_AT in which job (from 0). With STANDIN_FAULT "null" it leaves the outputs as they are and prints nothing.
"""
# ruff: noqa: UP006, UP035

import ctypes
import hashlib
import importlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Tuple

xir: Any = importlib.import_module("xir")

FAULT = os.environ.get("STANDIN_FAULT", "")
AT = int(os.environ.get("STANDIN_AT", "0"))
BATCH = int(os.environ.get("STANDIN_BATCH", "8"))
DELAY = float(os.environ.get("STANDIN_DELAY", "0")) / 1000
ANSWERS = Path(os.environ.get("STANDIN_ANSWERS", "."))
_C = ctypes.PyDLL(None)  # its calls keep the interpreter's lock
_jobs: Dict[int, Tuple[float, "Runner", List[Any], List[Any]]] = {}
_count = [0]
_free = [0.0]  # when the card has done all that it was given

if FAULT == "import":
    raise ImportError("librt-engine.so: cannot open shared object file: No such file or directory")


def crash(number: int) -> None:
    sys.stderr.flush()
    os.kill(os.getpid(), number)


def stderr(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def memory(array: Any, tensor: Any) -> Any:
    """The bytes of a buffer, as many as the tensor has, whatever the array's shape."""
    view = memoryview(getattr(array, "memory", array))
    if view.format not in ("b", "h", "f"):
        xir.fatal(f"unsupported data type {view.format}")
    if view.readonly:
        raise ValueError("buffer source array is read-only")
    if not view.c_contiguous or view.nbytes < tensor.get_data_size():
        crash(signal.SIGSEGV)
    return view.cast("B")[: tensor.get_data_size()] if view.format == "B" else view.cast("B")


class Runner:
    def __init__(self, subgraph: Any) -> None:
        self.inputs = [xir.Tensor(told, BATCH) for told in subgraph.inputs]
        self.outputs = [xir.Tensor(told, BATCH) for told in subgraph.outputs]

    @staticmethod
    def create_runner(subgraph: Any, mode: str = "") -> "Runner":
        if mode not in subgraph.get_attr("runner"):
            xir.fatal(f"unknown mode {mode}")
        if FAULT == "fingerprint":
            stderr("W1121 CHECK fingerprint fail ! model_fingerprint 0x501000000140fee dpu_fingerprint "
                "0x5010000001e082f")  # fmt: skip
            xir.fatal("fingerprint check failure.")
        if FAULT == "es1":
            xir.fatal("cannot find or create target with fingerprint=0x0501000000000fee")
        if FAULT == "acquire":
            stderr("Error: Could not acquire CU")
            raise RuntimeError("Error: no cu")
        if FAULT == "library":
            xir.fatal("cannot open library 'librt-engine.so'")
        if FAULT == "opening":
            _C.pause()
        return Runner(subgraph)

    def get_input_tensors(self) -> List[Any]:
        return list(self.inputs)

    def get_output_tensors(self) -> List[Any]:
        return list(reversed(self.outputs))  # any order will do

    def execute_async(self, inputs: Any, outputs: Any, enable_dynamic_array: bool = False) -> Tuple[int, int]:
        if len(inputs) > len(self.inputs) or len(outputs) > len(self.outputs):
            crash(signal.SIGSEGV)
        number = _count[0]
        _count[0] += 1
        if number == AT:
            if FAULT == "abort":
                xir.fatal("Check failed: size == buffer.second")
            if FAULT == "segv":
                crash(signal.SIGSEGV)
            if FAULT == "invalid":
                raise RuntimeError("[UNILOG][FATAL][VART_TENSOR_BUFFER_INVALID] tensor buffer is invalid")
        read = [memory(array, tensor) for array, tensor in zip(inputs, self.get_input_tensors())]  # noqa: B905
        written = [memory(array, tensor) for array, tensor in zip(outputs, self.get_output_tensors())]  # noqa: B905
        _free[0] = max(_free[0], time.time()) + DELAY
        _jobs[number] = (_free[0], self, read, written)
        if FAULT != "null":
            print("job", number, "of a runner that prints")
        return number, 0

    def wait(self, job_id: Tuple[int, int]) -> int:
        if not isinstance(job_id, tuple):
            raise TypeError("wait(): incompatible function arguments")
        if job_id[0] not in _jobs:
            return -1
        until, runner, read, written = _jobs.pop(job_id[0])
        if job_id[0] == AT:
            if FAULT == "hang":
                while True:
                    _C.pause()
            if FAULT == "timeout":  # the card's own: a line, and outputs that nobody wrote
                stderr("E1121 10:20:30 dpu_control.cpp:180] CU timeout 0")
                return 0
            if FAULT == "status":
                return 5
            if FAULT == "exit":
                stderr("terminate called")
                os._exit(3)
        left = until - time.time()
        if left > 0:
            _C.usleep(int(left * 1e6))
        if FAULT != "null":
            runner.run(read, written)
        return 0

    def run(self, read: List[Any], written: List[Any]) -> None:
        """Lane by lane, as the engines do: the recorded answer, or something else for a lane that was not recorded."""
        names = [tensor.name for tensor in self.get_output_tensors()]
        for lane in range(BATCH):
            key = hashlib.sha256()
            for view in read:
                step = len(view) // BATCH
                key.update(bytes(view[lane * step : (lane + 1) * step]))
            folder = ANSWERS / key.hexdigest()
            known = folder.is_dir()
            for name, view in zip(names, written):  # noqa: B905
                step = len(view) // BATCH
                place = hashlib.sha256(name.encode()).hexdigest()
                data = (folder / place).read_bytes() if known else b"\x55" * step
                view[lane * step : (lane + 1) * step] = data
