"""Drives the vendor's quantizer from inside its own Python: one file that needs numpy, torch and pytorch_nndct.

    python worker.py probe           prints one line of JSON: the versions that this interpreter has
    python worker.py STEP FOLDER     runs one step, calib, test or export, of the job in FOLDER

Each step is a process of its own, because the tool keeps its state in globals. FOLDER holds job.json,
model.py (the float network), state.npz and the batches; the tool writes to FOLDER/quantize_result.
FOLDER/STEP.json is written last, and atomically; it says how the step ended and which files it made.
Files that a step is to make are removed before it, so that none of an earlier run can pass for a new one.

Python 3.6 syntax; torch 1.4 to 2.0; pytorch_nndct of Vitis AI 1.4.1 to 3.5, whose calls differ: an
argument that this version does not know is left out, and refused where the job depends on it.
"""

# ruff: noqa: B905, UP006, UP035, UP045

import faulthandler
import importlib
import importlib.util
import inspect
import json
import os
import platform
import shutil
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Set

SCHEMA = 1
MARK = "@unmask "  # begins a line of progress, among what the tool prints
RESULTS = "quantize_result"  # the tool's own default; its first versions have no argument for it
QUANT_INFO, BIAS, FINETUNED, DEPLOY = "quant_info.json", "bias_corr.pth", "param.pth", "deploy_check_data_int"
BIAS_ARRAYS, OUTPUTS = "bias_corr.npz", "outputs.npz"


class JobError(Exception):
    """The step cannot be done or was not done: `kind` is "job", "option" or "missing"."""

    def __init__(self, kind: str, message: str) -> None:
        Exception.__init__(self, message)
        self.kind = kind


class Job:
    """The job in a folder, its network and its images."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out = folder, folder / RESULTS
        try:
            self.data: Dict[str, Any] = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise JobError("job", f"job.json cannot be read: {error}") from error
        if self.data.get("schema") != SCHEMA:
            raise JobError("job", f"job.json has schema {self.data.get('schema')}, not {SCHEMA}")
        self.settings: Dict[str, Any] = self.data["settings"]

    def path(self, name: str) -> str:
        """A file of the job."""
        return str(self.folder / name)

    def result(self, name: str) -> Path:
        """A file that the tool or this worker writes."""
        return self.out / name

    def network(self) -> Any:
        """The float network with its weights, in evaluation mode, on the job's device."""
        import numpy
        import torch

        model = self.data["model"]
        spec = importlib.util.spec_from_file_location("unmask_float_model", self.path(model["file"]))
        if spec is None or spec.loader is None:
            raise JobError("job", f"{model['file']} cannot be imported")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        network = getattr(module, model["class"])()
        with numpy.load(self.path(model["state"]), allow_pickle=False) as arrays:
            state = {
                name: torch.from_numpy(arrays[f"p{index}"].copy()) for index, name in enumerate(model["parameters"])
            }
        loaded = network.load_state_dict(state, strict=False)
        lost = [name for name in loaded.missing_keys if not name.endswith("num_batches_tracked")]
        if lost or loaded.unexpected_keys:
            raise JobError("job", f"weights do not fit the network: {lost + loaded.unexpected_keys}")
        return network.eval().to(self.device())

    def device(self) -> Any:
        """The torch device the job asks for."""
        import torch

        return torch.device(self.settings["device"])

    def batches(self, which: str) -> "Batches":
        """Image batches "calib", "finetune" or "test"."""
        return Batches(self, self.data[which])

    def example(self) -> Any:
        """One image, (1, C, H, W) float32: the first of the calibration set."""
        return next(iter(self.batches("calib")))[:1].contiguous()


class Batches:
    """Batches in their given order and split, read from disk one at a time, any number of times."""

    def __init__(self, job: Job, entries: List[Dict[str, Any]]) -> None:
        self.job, self.entries = job, entries

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Any]:
        import numpy
        import torch

        wanted = tuple(self.job.data["input"][1:])
        for entry in self.entries:
            array = numpy.load(self.job.path(entry["file"]), allow_pickle=False)
            if array.shape != (entry["images"], *wanted) or array.dtype != numpy.float32:
                raise JobError("job", f"{entry['file']} holds {array.dtype} {array.shape}")
            yield torch.from_numpy(array).to(self.job.device())

    @property
    def images(self) -> int:
        """How many images they hold together."""
        return sum(int(entry["images"]) for entry in self.entries)


def say(**event: Any) -> None:
    """One line of progress; it begins on a fresh line, since the tool leaves progress bars unfinished."""
    sys.stdout.write("\n" + MARK + json.dumps(event, sort_keys=True) + "\n")
    sys.stdout.flush()


def versions() -> Dict[str, Any]:
    """What this interpreter has; "nndct" is None where pytorch_nndct is not installed or does not import."""
    found: Dict[str, Any] = {"python": platform.python_version(), "executable": sys.executable}
    found.update(torch=None, nndct=None, error=None, cuda=False)
    if importlib.util.find_spec("pytorch_nndct") is None:
        return found
    try:
        import torch

        found["torch"] = str(torch.__version__)
        found["cuda"] = bool(torch.cuda.is_available())
        tool = importlib.import_module("pytorch_nndct")
        importlib.import_module("pytorch_nndct.apis")
        found["nndct"] = str(getattr(tool, "__version__", "") or "unknown")
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # importing the tool may call exit()
        found["error"] = f"{type(error).__name__}: {error}"
    return found


def known(function: Callable[..., Any], wanted: Dict[str, Any], needed: Iterable[str]) -> Dict[str, Any]:
    """Those of the keyword arguments `wanted` that `function` takes; `needed` are those the job depends on."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return wanted
    if any(p.kind == inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return wanted
    lost = sorted(name for name in needed if name not in parameters)
    if lost:
        name = getattr(function, "__name__", "call")
        raise JobError("option", f"this version's {name} has no argument {' and '.join(lost)}")
    return {name: value for name, value in wanted.items() if name in parameters}


def quantizer(job: Job, mode: str, network: Any, example: Any) -> Any:
    """The tool's quantizer in `mode`, "calib" or "test"."""
    torch_quantizer = importlib.import_module("pytorch_nndct.apis").torch_quantizer
    wanted: Dict[str, Any] = {"output_dir": str(job.out), "device": job.device()}
    needed: Set[str] = set()
    if job.settings.get("config"):
        wanted["quant_config_file"] = job.path(job.settings["config"])
        needed.add("quant_config_file")
    else:
        wanted["bitwidth"] = 8
    if job.settings.get("target"):
        wanted["target"] = job.settings["target"]
        needed.add("target")
    if job.settings["device"] != "cpu":
        needed.add("device")
    made = torch_quantizer(mode, network, (example,), **known(torch_quantizer, wanted, needed))
    if getattr(made, "quant_model", None) is None:
        raise JobError("missing", "the tool gave no quantized network")
    made.quant_model.eval()
    return made


def evaluate(model: Any, batches: Batches, title: str = "") -> None:
    """Run every batch through `model`, in order."""
    import torch

    done = 0
    with torch.no_grad():
        for batch in batches:
            model(batch)
            done += len(batch)
            if title:
                say(event=title, images=done, total=batches.images)


def calib(job: Job) -> Dict[str, Any]:
    """Positions of every tensor and the bias correction; with fast finetune, tuned weights first."""
    made = [QUANT_INFO, BIAS, BIAS_ARRAYS, FINETUNED]
    discard(job, made)
    tool = quantizer(job, "calib", job.network(), job.example())
    batches = job.batches("calib")
    if job.settings["fast_finetune"]:
        need(tool, "fast_finetune")
        say(event="finetune", images=0, total=job.batches("finetune").images)
        tool.fast_finetune(evaluate, (tool.quant_model, job.batches("finetune")))
    evaluate(tool.quant_model, batches, "calib")
    tool.export_quant_config()
    demand(job, QUANT_INFO)
    info = json.loads(job.result(QUANT_INFO).read_text(encoding="utf-8"))
    if info.get("bias_corrected"):
        demand(job, BIAS)
    if job.result(BIAS).is_file():
        write_bias(job)
    if job.settings["fast_finetune"]:
        demand(job, FINETUNED)
    return {"files": files(job, made), "images": batches.images, "batches": len(batches)}


def test(job: Job) -> Dict[str, Any]:
    """The quantized network's outputs on the test images, each (N, ...) float32."""
    import numpy
    import torch

    discard(job, [OUTPUTS])
    tool = quantizer(job, "test", job.network(), job.example())
    tuned(job, tool)
    batches, done = job.batches("test"), 0
    found: List[List[Any]] = []
    with torch.no_grad():
        for batch in batches:
            found.append([tensor.detach().cpu().numpy() for tensor in flat(tool.quant_model(batch))])
            done += len(batch)
            say(event="test", images=done, total=batches.images)
    outputs: Dict[str, Any] = {f"out{i}": numpy.concatenate(parts) for i, parts in enumerate(zip(*found))}
    numpy.savez(str(job.result(OUTPUTS)), **outputs)
    return {"files": files(job, [OUTPUTS]), "images": batches.images}


def export(job: Job) -> Dict[str, Any]:
    """The .xmodel; the tool demands one forward pass of batch 1 in a quantizer of its own."""
    import torch

    discard(job, [name for name in listing(job) if name.endswith("_int.xmodel")] + [DEPLOY])
    job.settings["device"] = "cpu"  # the tool exports nothing that lies on a GPU
    example = job.example()
    tool = quantizer(job, "test", job.network(), example)
    tuned(job, tool)
    say(event="export", images=0, total=1)
    with torch.no_grad():
        tool.quant_model(example)
    write = getattr(tool, "export_xmodel", None) or getattr(tool, "dump_xmodel", None)
    if write is None:
        raise JobError("option", "this version has neither export_xmodel nor dump_xmodel")
    check = bool(job.settings["deploy_check"])
    wanted = {"deploy_check": check, "output_dir": str(job.out)}
    write(**known(write, wanted, ["deploy_check"] if check else []))
    written = [name for name in listing(job) if name.endswith("_int.xmodel")]
    if len(written) > 1:
        raise JobError("missing", f"the tool split the network into {', '.join(written)}")
    name = written[0] if written else job.data["model"]["class"] + "_int.xmodel"
    demand(job, name)
    if check:
        demand(job, DEPLOY)
    return {"files": files(job, [name]), "xmodel": name}


def tuned(job: Job, tool: Any) -> None:
    """Load what fast finetune wrote; the tool only warns when it is forgotten."""
    if job.settings["fast_finetune"]:
        need(tool, "load_ft_param")
        tool.load_ft_param()


def need(tool: Any, name: str) -> None:
    """Fail unless the tool's quantizer has a method `name`."""
    if not callable(getattr(tool, name, None)):
        raise JobError("option", f"this version has no {name}")


def flat(value: Any) -> List[Any]:
    """The tensors that a network returned, in order."""
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in flat(item)]
    return [value]


def write_bias(job: Job) -> None:
    """bias_corr.pth, which needs torch to be read, as bias_corr.npz: one float32 array a node, empty for None."""
    import numpy
    import torch

    table = torch.load(str(job.result(BIAS)))
    arrays: Dict[str, Any] = {
        str(node): numpy.asarray([] if values is None else values, numpy.float32) for node, values in table.items()
    }
    numpy.savez(str(job.result(BIAS_ARRAYS)), **arrays)


def listing(job: Job) -> List[str]:
    """Names in the result folder, sorted."""
    return sorted(path.name for path in job.out.iterdir())


def discard(job: Job, names: List[str]) -> None:
    """Remove what an earlier run left of `names`; the result folder exists afterwards."""
    job.out.mkdir(parents=True, exist_ok=True)
    for path in map(job.result, names):
        if path.is_dir():
            shutil.rmtree(str(path))
        elif path.exists() or path.is_symlink():
            path.unlink()


def demand(job: Job, name: str) -> None:
    """Fail unless `name` is a file with content, or a folder with files, in the result folder."""
    path = job.result(name)
    if not path.exists():
        raise JobError("missing", f"the tool did not write {name}")
    if not (any(path.iterdir()) if path.is_dir() else path.stat().st_size):
        raise JobError("missing", f"the tool wrote {name} without content")


def files(job: Job, names: List[str]) -> Dict[str, int]:
    """Sizes in bytes of those of `names` that are there."""
    return {path.name: path.stat().st_size for path in map(job.result, names) if path.is_file()}


def finish(folder: Path, step: str, result: Dict[str, Any]) -> None:
    """Write FOLDER/STEP.json, atomically."""
    part = folder / f"{step}.json.part"
    with part.open("w", encoding="utf-8") as stream:
        json.dump(result, stream, indent=1, sort_keys=True, default=str)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(folder / f"{step}.json")


STEPS: Dict[str, Callable[[Job], Dict[str, Any]]] = {"calib": calib, "test": test, "export": export}


def run(step: str, folder: Path) -> Dict[str, Any]:
    """Run one step: what goes to FOLDER/STEP.json."""
    start = time.time()
    answer: Dict[str, Any] = {"schema": SCHEMA, "step": step, "ok": False}
    failure: Optional[Dict[str, Any]] = None
    try:
        answer.update(STEPS[step](Job(folder)), ok=True)
    except JobError as error:
        failure = {"kind": error.kind, "message": str(error)}
    except SystemExit as error:  # the tool calls exit() after printing what is wrong, with 0 as often as not
        failure = {"kind": "exit", "message": f"the tool called exit({error.code})", "code": error.code}
    except Exception as error:
        traceback.print_exc()
        failure = {"kind": "exception", "message": f"{type(error).__name__}: {error}"}
    answer.update(error=failure, seconds=time.time() - start)
    return answer


def main(arguments: List[str]) -> int:
    """The command line of this file; 0 when the step was done."""
    if arguments == ["probe"]:
        say(event="probe", **versions())
        return 0
    if len(arguments) != 2 or arguments[0] not in STEPS:
        sys.stderr.write("usage: worker.py probe | worker.py calib|test|export FOLDER\n")
        return 64
    faulthandler.enable()
    step, folder = arguments[0], Path(arguments[1]).resolve()
    finished = folder / f"{step}.json"
    if finished.exists():
        finished.unlink()
    os.chdir(str(folder))  # versions without output_dir write to quantize_result in the current folder
    result = run(step, folder)
    sys.stdout.flush()
    finish(folder, step, result)
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
