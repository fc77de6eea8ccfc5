"""Every command that README.md shows in an `sh` block is run; those in `bash` blocks need files of the reader's own.

`make` targets are run as the `unmask` commands that `make -n` shows for them: the tests cannot set up the
environment that they run in. Stages get `--limit` to be quick.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from deploy.command import app

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
COMMANDS = [line.split("  #")[0].strip() for block in BLOCKS for line in block.splitlines() if line.strip()]
OTHERS = re.findall(r"^```bash\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
LIMITED = {
    "quantize": ["--limit", "4"],
    "infer": ["--limit", "4"],
    "compare": ["--limit", "4", "--min-agreement", "0"],  # of 4 labels, 98 % is all or nothing
}
NO_CARD = 3
pytestmark = [
    pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed"),
    pytest.mark.xdist_group("readme"),  # one worker runs the main job once for all of them
]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a checkout in which the main job has been run."""
    folder = tmp_path_factory.mktemp("readme")
    for command in _stages("make", folder):
        _run(command, folder)
    return folder


def _make(arguments: list[str]) -> str:
    """What `make` would do with `arguments`, without doing it."""
    command = ["make", "--no-print-directory", "-n", "-o", ".venv/.ready", "-o", ".venv/.ready-fetch", *arguments]
    plain = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    done = subprocess.run(command, cwd=ROOT, env=plain, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.replace("\\\n", " ")


def _stages(command: str, out: Path) -> list[list[str]]:
    """The `unmask` commands of a `make` command, their results in `out`/build."""
    shown = _make([*shlex.split(command)[1:], f"OUT={out}/build"])
    return [shlex.split(line) for line in re.findall(r"\.venv/bin/unmask ([^;\n]*)", shown)]


def _run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "deploy.command", *arguments, *LIMITED.get(arguments[0], [])]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    expected = (0, NO_CARD) if arguments[:2] == ["card", "check"] else (0,)
    assert done.returncode in expected, f"unmask {shlex.join(arguments)}\n{done.stdout}{done.stderr}"
    return done


def _parse(arguments: list[str]) -> None:
    """Fail when `unmask` does not know the verb or an option."""
    group = typer.main.get_group(app)
    name, command, rest = group.resolve_command(group.make_context("unmask", [], resilient_parsing=True), arguments)
    assert command is not None, arguments
    command.make_context(name, list(rest))


def test_there_are_commands_to_run() -> None:
    assert COMMANDS[:2] == ["make", "make test"]


def test_the_main_job_ends_with_a_report(scratch: Path) -> None:
    for name in ("infer/report.html", "compare/compare.html", "infer/segmentation_output_array.npy"):
        assert (scratch / "build" / name).stat().st_size > 0


def test_the_unmask_commands_run_in_their_order(scratch: Path) -> None:
    for command in COMMANDS:
        if command.startswith("unmask "):
            _run(shlex.split(command)[1:], scratch)


@pytest.mark.parametrize("command", [line for block in OTHERS for line in block.splitlines()])
def test_a_command_for_other_files_is_known(command: str) -> None:
    assert command.startswith("unmask ")
    _parse(shlex.split(command)[1:])


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.split()[0] == "make"])
def test_a_make_command_runs_verbs_that_exist(command: str, tmp_path: Path) -> None:
    for stage in _stages(command, tmp_path):
        _parse(stage)


def test_make_help_names_every_target() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, timeout=60).stdout
    targets = (
        "setup",
        "fetch",
        "samples",
        "quantize",
        "compile",
        "infer",
        "compare",
        "validate",
        "test",
        "bench",
        "clean",
    )
    for target in targets:
        assert re.search(rf"^  {target} ", shown, flags=re.MULTILINE), target
    for variable in ("WEIGHTS", "MODEL", "CALIB", "CROPS", "LABELS", "TARGET", "DEVICE", "THREADS", "OUT"):
        assert re.search(rf"^  {variable} ", shown, flags=re.MULTILINE), variable


def test_every_command_is_of_a_kind_that_is_tested() -> None:
    assert {command.split()[0] for command in COMMANDS} <= {"make", "unmask"}


@pytest.mark.parametrize("target", re.findall(r"\]\((?!https?://)([^)#]+)", README))
def test_links_lead_somewhere(target: str) -> None:
    assert (ROOT / target).exists()
