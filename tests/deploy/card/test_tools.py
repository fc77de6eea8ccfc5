"""Running tools: answers, silence, and what does not start."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import pytest

from deploy.card import tools
from deploy.card.check import CheckJob, check
from deploy.card.live import Machinery
from deploy.card.machine import Machine
from deploy.card.tools import Tools, run
from deploy.card.verdict import Status
from deploy.console import Output
from tests.deploy.card import fakes


def test_the_vendors_installation_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XILINX_XRT", "/somewhere/xrt")
    assert Tools.here().folders[:2] == (Path("/somewhere/xrt/bin"), tools.XRT)


def test_an_answer_with_its_report(tmp_path: Path) -> None:
    fakes.tool(tmp_path, "xbutil", 'echo "{}" > "$report"; echo done; echo hm >&2; exit 1')
    answer = Tools((tmp_path / "bin",)).ask("xbutil", ("examine",))
    assert answer is not None and answer.code == 1 and answer.report == b"{}\n"
    assert answer.command[1:] == ("examine", "--format", "JSON", "--output", "report.json", "--force", "--batch")
    assert answer.text.decode().split("\n")[1:] == ["rc=1", "", "--stdout", "done", "", "--stderr", "hm", ""]
    assert Tools((tmp_path / "bin",)).ask("xbmgmt", ("examine",)) is None


def test_a_tool_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    fakes.tool(tmp_path, "xbutil", f"sleep 1000 & echo $! > {tmp_path}/pid; wait")
    answer = run((str(tmp_path / "bin/xbutil"),), 0.2)
    assert answer.code is None and answer.problem == "gave no answer in 0 s"
    with suppress(FileNotFoundError, ProcessLookupError):
        child = int((tmp_path / "pid").read_text())
        for _ in range(2000):  # the signal was sent; the end of the process takes a moment
            os.kill(child, 0)
            if Path(f"/proc/{child}/stat").read_text().split()[2] in "ZX":
                return
            time.sleep(0.005)
        pytest.fail("the tool's child is still there")


def test_a_file_that_is_no_program(tmp_path: Path) -> None:
    (tmp_path / "xbutil").write_bytes(b"\x7fELF")
    (tmp_path / "xbutil").chmod(0o755)
    assert "does not start" in run((str(tmp_path / "xbutil"),), 5).problem


def test_a_tool_that_does_not_know_an_option_is_asked_for_its_text(tmp_path: Path) -> None:
    body = 'case "$*" in *--batch*) echo "ERROR: Unrecognized option --batch"; exit 1;; *) echo Thermals;; esac'
    fakes.tool(tmp_path, "xbutil", body)
    answer = Tools((tmp_path / "bin",)).ask("xbutil", ("examine",))
    assert answer is not None and answer.output == b"Thermals\n" and answer.command[1:] == ("examine",)


DEBIAN = Path("/usr/bin/xbutil")


@pytest.mark.skipif(
    not DEBIAN.exists() or Path("/usr/bin/unwrapped/xbutil2").exists(), reason="Debian's bare wrapper is not installed"
)
def test_debians_real_wrapper(tmp_path: Path) -> None:
    here = Machinery(Machine(tmp_path, tmp_path), Tools((DEBIAN.parent,)))
    judgement = check(CheckJob(), Output(quiet=True), here)
    assert int(judgement.exit_code) == 3 and Status.BROKEN in {c.status for c in judgement.machine}
