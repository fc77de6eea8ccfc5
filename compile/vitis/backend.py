"""The vendor's compiler from a quantized file to a package that was checked, with its words kept in a log."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from arch.targets import Target
from compile.inspect import inspect
from compile.pipeline import dpu_subgraphs, meta
from compile.vitis.failure import Case, failure, own_log
from compile.vitis.find import Compiler
from compile.vitis.log import Log
from xmodel import artifact, file
from xmodel.errors import ArtifactError
from xmodel.graph import Graph
from xmodel.process import stream

LOG = "vitis_compiler.log"
SILENCE = 1800.0  # seconds; code generation for a large network prints nothing for minutes

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class VitisResult:
    """The checked package: file names in the output folder, the compiled graph, notes for the user."""

    files: list[str]
    graph: Graph
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VitisJob:
    """Compile the quantized `source` for `target` into `out`/`name`.xmodel, with the vendor's `options`."""

    source: Path
    target: Target
    out: Path
    name: str
    options: Mapping[str, str]
    silence: float = SILENCE


def compile_with_vitis(job: VitisJob, compiler: Compiler, say: Say) -> VitisResult:
    """Run `compiler` and check what it made; `say` gets its milestones, `out`/vitis_compiler.log all of its words.

    Raises `ArtifactError` for a network that it refuses or of which nothing runs on the DPU, and for a result that is
    not what it claims; `UnavailableError` for a compiler that crashes, hangs or does not know the target. The folder
    it works in is removed, also on Ctrl-C, and its processes are ended.
    """
    source = file.read(job.source)
    folder = Path(tempfile.mkdtemp(prefix=".vitis-", dir=job.out)).resolve()
    try:
        made = _run(job, compiler, source, folder, say)
        return _publish(job, source, made, folder / "out")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(job: VitisJob, compiler: Compiler, source: Graph, folder: Path, say: Say) -> Log:
    model, arch = folder / job.source.name, folder / "arch.json"
    _copy(job.source, model)
    arch.write_text(json.dumps({"target": job.target.name}), encoding="utf-8")
    for inner in ("out", "tmp"):
        (folder / inner).mkdir()
    arguments = ["-x", str(model), "-a", str(arch), "-o", str(folder / "out"), "-n", job.name]
    if job.options:
        arguments += ["-e", json.dumps(dict(job.options))]
    name = f"unmask-{os.getpid()}-{folder.name.removeprefix('.vitis-')}".replace("_", "-")
    command, found, start = compiler.command(arguments, folder, name), Log(), time.time()
    with (job.out / LOG).open("w", buffering=1, encoding="utf-8", errors="replace") as log:
        print(f"== {' '.join(command)}", file=log)

        def heard(line: str) -> None:
            if line.strip():
                print(line, file=log)
            if (milestone := found.heard(line)) is not None:
                say(f"{compiler.program.name}: {milestone}")

        try:
            code = stream(command, folder, compiler.environment(), heard, job.silence)
        except BaseException:
            compiler.remove(name)
            raise
        print(f"== exit code {code}", file=log)
        if found.fatal or found.aborted or code or not (folder / "out" / f"{job.name}.xmodel").is_file():
            kept = own_log(found, start, folder / "tmp" if compiler.image else Path("/tmp"), log.write)
            raise failure(Case(job.target, job.name, source, job.out / LOG), found, code, kept)
    return found


def _copy(source: Path, target: Path) -> None:
    """A second name for the file where the file system allows it."""
    try:
        target.hardlink_to(source.resolve())
    except OSError:
        shutil.copyfile(source, target)


def _publish(job: VitisJob, source: Graph, found: Log, made: Path) -> VitisResult:
    """Check the files in `made` and move them to the output folder."""
    model, notes = made / f"{job.name}.xmodel", []
    graph = file.read(model)
    _check(job, graph, found)
    digest = _md5(model)
    claimed = {"its log": found.md5, "md5sum.txt": _claimed(made / "md5sum.txt")}
    wrong = [who for who, value in claimed.items() if value and value != digest]
    if wrong:
        raise ArtifactError(
            f"{model.name} has the md5 {digest}, and {wrong[0]} says {claimed[wrong[0]]}: the file is damaged.",
            where=str(job.out / LOG),
            hint="Look for a full disk, and compile again.",
        )
    lost = {k: v for k, v in source.attrs.items() if k.startswith("preprocess_") and k not in graph.attrs}
    if lost:
        graph = graph.with_attrs(**lost)
        file.write(model, graph)
        notes.append("The description of the preprocessing was added to the compiler's file, and md5sum.txt renewed.")
    artifact.write_text(made / "md5sum.txt", _md5(model) + "\n")
    if not (made / "meta.json").is_file():
        artifact.write_text(made / "meta.json", json.dumps(meta(graph, model.name), indent=4) + "\n")
        notes.append("The compiler wrote no meta.json; it was made from the file.")
    names = [model.name, "meta.json", "md5sum.txt"]
    for name in names:
        (made / name).replace(job.out / name)
    return VitisResult([*names, LOG], graph, tuple(notes))


def _check(job: VitisJob, graph: Graph, found: Log) -> None:
    parts, where = dpu_subgraphs(graph), str(job.out / LOG)
    if not parts:
        reasons = "; ".join(f"{op.name}: {op.rule}" for op in inspect(file.read(job.source), job.target).problems[:3])
        raise ArtifactError(
            "The vendor's compiler says that it is done, and nothing runs on the DPU: 0 DPU subgraphs.",
            where=where,
            hint=f"Likely: {reasons}." if reasons else "`unmask inspect` tells for every op what the target takes.",
        )
    if found.dpu_subgraphs is not None and found.dpu_subgraphs != len(parts):
        raise ArtifactError(
            f"The compiler counts {found.dpu_subgraphs} DPU subgraphs, its file holds {len(parts)}.", where=where
        )
    for part in parts:
        fingerprint = part.get("dpu_fingerprint")
        known = (job.target.fingerprint, *job.target.former_fingerprints)
        if fingerprint not in known:
            told = f"0x{fingerprint:016x}" if isinstance(fingerprint, int) else "none"
            raise ArtifactError(
                f"Subgraph {part.name!r} has the fingerprint {told}; {job.target.name} has "
                f"{job.target.fingerprint_text}. The card would refuse it.",
                where=where,
            )
        if not part.get("mc_code"):
            raise ArtifactError(f"Subgraph {part.name!r} holds no machine code.", where=where)


def _claimed(path: Path) -> str:
    with suppress(OSError):
        words = path.read_text(encoding="utf-8", errors="replace")[:200].split()
        return words[0].lower() if words else ""
    return ""


def _md5(path: Path) -> str:
    with path.open("rb") as stream_:
        return hashlib.file_digest(stream_, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
