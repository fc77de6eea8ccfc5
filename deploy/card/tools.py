"""The vendor's command line tools: where they are, and what they answer within a time."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deploy.card.text import MOST_BYTES

XRT = Path("/opt/xilinx/xrt/bin")  # where the vendor's own packages install
_REFUSES = re.compile(rb"unrecogni[sz]ed|unknown option|invalid option|unsupported", re.IGNORECASE)
EXAMINE, VALIDATE = 60.0, 900.0  # seconds; a hung driver can block a tool for ever


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one command. `code` None: it did not start or did not end; `problem` then says why."""

    command: tuple[str, ...]
    code: int | None
    output: bytes = b""
    errors: bytes = b""
    report: bytes = b""  # the JSON file that it was asked to write
    problem: str = ""

    @property
    def text(self) -> bytes:
        """Command, exit code and both outputs, as a terminal's log would show them."""
        head = f"$ {' '.join(self.command)}\nrc={self.code}\n{self.problem}\n"
        return head.encode(errors="replace") + b"--stdout\n" + self.output + b"\n--stderr\n" + self.errors


@dataclass(frozen=True, slots=True)
class Tools:
    """The folders in which tools are looked for; the first that has one wins."""

    folders: tuple[Path, ...]

    @staticmethod
    def here() -> Tools:
        """This machine's: the vendor's own installation before whatever else the PATH holds."""
        installed = os.environ.get("XILINX_XRT")
        own = [Path(installed) / "bin"] if installed else []
        return Tools((*own, XRT, *map(Path, os.get_exec_path())))

    def find(self, name: str) -> str | None:
        """The path of a tool, None where there is none."""
        return next((p for folder in self.folders if (p := shutil.which(name, path=str(folder)))), None)

    def ask(self, name: str, arguments: Sequence[str], seconds: float = EXAMINE, json: bool = True) -> Answer | None:
        """Run a tool, with its report as JSON in a file; None where it is not installed."""
        path = self.find(name)
        if path is None:
            return None
        if not json:
            return run((path, *arguments), seconds)
        with tempfile.TemporaryDirectory(prefix="unmask-card-") as folder:
            report = Path(folder) / "report.json"
            answer = run((path, *arguments, "--format", "JSON", "--output", str(report), "--force", "--batch"), seconds)
            said = answer.output + answer.errors
            if not report.exists() and _REFUSES.search(said) and not answer.problem:
                return run((path, *arguments), seconds)  # an XRT without one of these options: its text is read too
            content = b""
            with suppress(OSError), report.open("rb") as stream:
                content = stream.read(MOST_BYTES + 1)
            shown = tuple("report.json" if part == str(report) else part for part in answer.command)
            return Answer(shown, answer.code, answer.output, answer.errors, content, answer.problem)


def run(command: tuple[str, ...], seconds: float) -> Answer:
    """Run a command for `seconds` at most; it and what it started are ended then. Outputs are read up to a bound."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, start_new_session=True
            )  # fmt: skip
        except OSError as error:
            return Answer(command, None, problem=f"does not start: {error.strerror}")
        problem = ""
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            problem = f"gave no answer in {seconds:.0f} s"
        finally:
            _end(process)
        output.seek(0)
        errors.seek(0)
        code = None if problem else process.returncode
        return Answer(command, code, output.read(MOST_BYTES), errors.read(MOST_BYTES), problem=problem)


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    # A process that hangs in the driver dies only when the driver lets it go.
    with suppress(subprocess.TimeoutExpired):
        process.wait(5)
