"""The vendor's quantizer from a captured network to the same result that our own gives."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from quantize.equalize import equalize
from quantize.execute import Executor, to_numpy
from quantize.fold import fold_batch_norm
from quantize.pipeline import Progress, Quantized
from quantize.vitis.align import align
from quantize.vitis.interpreter import WORKER, Interpreter, find
from quantize.vitis.job import SCHEMA, Job, VitisSettings, write_job
from quantize.vitis.messages import Message, failure, fatal, parse
from quantize.vitis.modelcode import model_code
from xmodel import file
from xmodel.artifact import read_json
from xmodel.check import check
from xmodel.errors import ArtifactError, UnmaskError, UsageError
from xmodel.graph import Array, Graph
from xmodel.process import stream
from xmodel.python import environment, event

LOG = "vitis.log"
STEPS = ("calib", "test", "export")
_NOTES = 100  # warnings of the tool that are kept; it repeats some for every batch
_TAIL = 20

Say = Callable[[str], None]


def quantize_with_vitis(
    graph: Graph,
    batches: Iterable[Array],
    out: Path,
    settings: VitisSettings | None = None,
    progress: Progress | None = None,
    say: Say | None = None,
) -> Quantized:
    """Quantize the float `graph` (from `pipeline.float_graph`, or as captured) with pytorch_nndct.

    `batches` are float32 (n, C, H, W), used in order and in this split. `progress(images so far)` follows
    the calibration; `say` gets the milestones. Everything that the tool prints goes to `out`/vitis.log; its
    files are made in a folder inside `out` that is removed at the end, also on Ctrl-C.
    The result's `graph` is the vendor's, its ops named by the vendor. Raises `UnavailableError` where there
    is no such tool, and errors that name the step and the tool's own message.
    """
    settings, say = settings or VitisSettings(), say or (lambda _text: None)
    code = model_code(graph)
    python = find(settings.python)
    say(f"Vendor's quantizer: {python}")
    settings = replace(settings, device=_device(settings.device, python))
    folder = Path(tempfile.mkdtemp(prefix=".vitis-", dir=out))
    try:
        job = write_job(folder, code, _input(graph), batches, settings)
        run = Run(python, job, out / LOG, settings.silence, progress, say)
        answers = {step: run.step(step) for step in STEPS}
        return _result(job, graph, answers["export"]["xmodel"], run, settings)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _input(graph: Graph) -> tuple[int, ...]:
    """The input's torch shape."""
    if len(graph.inputs) != 1:
        raise UsageError(f"{graph.name!r} has {len(graph.inputs)} inputs; one image input is expected.")
    shape = graph.inputs[0].output.shape
    return (shape[0], shape[3], shape[1], shape[2]) if len(shape) == 4 else shape


def _device(name: str, python: Interpreter) -> str:
    """The device for the vendor's torch, whose GPU counts and not that of ours."""
    if name == "auto":
        return "cuda" if python.cuda else "cpu"
    if name != "cpu" and not python.cuda:
        raise UsageError(f"The torch of {python.path} sees no GPU.", hint="Use --device cpu or auto.")
    return name


@dataclass
class Run:
    """The steps of one job on one interpreter; `messages` is what the tool said in all of them."""

    python: Interpreter
    job: Job
    log: Path
    silence: float
    progress: Progress | None = None
    say: Say = lambda _text: None
    messages: list[Message] = field(default_factory=list)

    def step(self, step: str) -> dict[str, Any]:
        """Run one step in a process of its own: what the worker says of it.

        Raises an `UnmaskError` when the process failed, when it claims success without its files, or when
        the tool printed an error that spoils them.
        """
        finished = self.job.folder / f"{step}.json"
        finished.unlink(missing_ok=True)
        self.say(f"Vendor's quantizer: {step}")
        said: list[Message] = []
        tail: list[str] = []
        command = [str(self.python.path), "-u", str(self.job.folder / WORKER.name), step, str(self.job.folder)]
        mode = "w" if step == STEPS[0] else "a"
        with self.log.open(mode, buffering=1, encoding="utf-8", errors="replace") as log:
            print(f"== {step}: {' '.join(command)}", file=log)
            code = stream(
                command, self.job.folder, environment(self.python.path),
                lambda line: self._heard(line, log, said, tail), self.silence,
            )  # fmt: skip
            print(f"== {step}: exit code {code}", file=log)
        self.messages += said
        answer = _answer(finished, step)
        spoiled = fatal(said)
        if code or answer is None or not answer.get("ok") or spoiled is not None:
            told = None if answer is None else answer.get("error")
            raise failure(step, code, said, told if isinstance(told, dict) else None, tail, str(self.log))
        self._verify(step, answer)
        return answer

    def _heard(self, line: str, log: Any, said: list[Message], tail: list[str]) -> None:
        found = event(line)
        if found is not None:
            self._follow(found)
            return
        if line.strip():
            print(line, file=log)
            tail[:] = [*tail[1 - _TAIL :], line]
        message = parse(line)
        if message is not None:
            said.append(message)

    def _follow(self, found: Mapping[str, Any]) -> None:
        if found.get("event") == "calib" and self.progress is not None and isinstance(found.get("images"), int):
            self.progress(min(found["images"], self.job.images))
        elif found.get("event") == "finetune":
            self.say(f"Vendor's quantizer: fast finetune on {self.job.images} images")

    def _verify(self, step: str, answer: Mapping[str, Any]) -> None:
        files = answer.get("files")
        wanted = {"calib": "quant_info.json", "test": "outputs.npz", "export": str(answer.get("xmodel"))}[step]
        if not isinstance(files, dict) or wanted not in files:
            raise ArtifactError(f"The worker says that the {step} step is done and names no {wanted}.")
        for name, size in files.items():
            path = self.job.results / name
            if Path(name).name != name or not path.is_file() or path.stat().st_size != size:
                raise ArtifactError(f"The {step} step left {name!r} incomplete.", where=str(self.log))


def _answer(path: Path, step: str) -> dict[str, Any] | None:
    """The worker's word on a step; None when it did not come to write one."""
    if not path.is_file():
        return None
    with suppress(UnmaskError):
        answer = read_json(path)
        if isinstance(answer, dict) and answer.get("schema") == SCHEMA and answer.get("step") == step:
            return answer
    return None


def _result(job: Job, floats: Graph, xmodel: str, run: Run, settings: VitisSettings) -> Quantized:
    folded = fold_batch_norm(floats)
    equal = check(equalize(folded)) if settings.equalize else folded
    reference, graph, missing = align(equal, file.loads((job.results / xmodel).read_bytes()))
    kept = {name: attr for name, attr in floats.attrs.items() if name not in graph.attrs and not name.startswith("__")}
    graph = graph.with_attrs(**kept)  # the preprocessing travels with the graph
    notes = [f"Quantized by the vendor's tool: {run.python}."]
    notes += [f"{m.code}: {m.text}" if m.code else m.text for m in run.messages if m.level == "WARN"]
    if missing:
        notes.append(f"No counterpart in the vendor's graph: {', '.join(missing)}.")
    notes.append(_agreement(job, graph))
    told = list(dict.fromkeys([*floats.get("__notes", ()), *notes]))
    return Quantized(
        graph=check(graph),
        float_graph=reference,
        quant_info=_quant_info(job.results / "quant_info.json"),
        bias_corr=_arrays(job.results / "bias_corr.npz"),
        clamps=(),
        notes=(*told[:-1][: _NOTES - 1], told[-1]),
        images=job.images,
        batches=job.batches,
    )


def _quant_info(path: Path) -> Mapping[str, Any]:
    info = read_json(path)
    if not isinstance(info, dict) or not all(isinstance(info.get(key), dict) for key in ("param", "output")):
        raise ArtifactError('The vendor\'s quant_info.json has no "param" and "output" tables.')
    return info


def _arrays(path: Path) -> dict[str, Array]:
    if not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: np.asarray(arrays[name], np.float32) for name in arrays.files}
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(f"The worker's {path.name} cannot be read: {error}.") from error


def _agreement(job: Job, graph: Graph) -> str:
    """How far the exported graph, executed here, is from what the tool's own quantized network computed."""
    found = _arrays(job.results / "outputs.npz")
    try:
        images = np.load(job.folder / "test.npy").transpose(0, 2, 3, 1)
        results = Executor(graph).run(images)
    except UnmaskError as error:
        return f"The exported graph could not be executed here: {error}"
    wanted = [to_numpy(torch.from_numpy(found[key].copy())) for key in sorted(found, key=lambda key: int(key[3:]))]
    got = [results[op.name] for op in graph.outputs]
    if [a.shape for a in got] != [a.shape for a in wanted]:
        shapes = f"{[list(a.shape) for a in got]} instead of {[list(a.shape) for a in wanted]}"
        raise ArtifactError(
            f"The vendor's .xmodel gives outputs of shapes {shapes}.",
            hint="The tool exports some operators wrongly, such as a ConvTranspose2d with output_padding.",
        )
    worst = max((float(np.abs(a - b).max()) for a, b in zip(got, wanted, strict=True)), default=0.0)
    return (
        f"On {len(images)} images the exported graph, executed here, differs from the vendor's quantized network "
        f"by at most {worst:g}."
    )
