"""The command's frame: help, exit codes, what is said where."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from deploy import command, console
from deploy.card.judge import Judgement
from deploy.card.live import Depth
from deploy.console import Output, printable
from deploy.verbs import card as card_verb
from xmodel.errors import ArtifactError, ExitCode, GateError, UnavailableError, UnmaskError, UsageError

ROOT = Path(__file__).resolve().parents[2]


def _exit(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as caught:
        command.main(arguments)
    assert isinstance(caught.value.code, int)
    return caught.value.code


def _failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let `unmask card check` raise `error`."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("deploy.card.check.check", fail)


@pytest.mark.parametrize("verb", ["", *sorted(typer.main.get_command(command.app).commands)])  # type: ignore[attr-defined]
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _exit([*verb.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Usage: unmask") and "..." not in shown.partition("Commands:")[2]


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert _exit(["--version"]) == 0
    assert capsys.readouterr().out.startswith("unmask ")


@pytest.mark.parametrize("arguments", [["nonsense"], ["infer", "--no-such"], ["run"], ["infer", "--crops"]])
def test_a_wrong_request_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert _exit(arguments) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("kind", "code"), [(GateError, 1), (UsageError, 2), (UnavailableError, 3), (ArtifactError, 4)])
def test_an_error_says_what_where_and_what_to_do(
    kind: type[UnmaskError], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _failing(monkeypatch, kind("It broke.", where="a\x1b[31m/[red]:b:", hint="Mend it."))
    assert _exit(["card", "check"]) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == "Error: It broke.\n  where: a\\x1b[31m/[red]:b:\n  what to do: Mend it.\n"


def test_a_message_without_place_and_advice_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _failing(monkeypatch, UsageError("It broke."))
    assert _exit(["card", "check"]) == 2
    assert capsys.readouterr().err == "Error: It broke.\n"


def test_ctrl_c_is_told_with_the_verb(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _failing(monkeypatch, KeyboardInterrupt())
    assert _exit(["card", "check"]) == 130
    assert capsys.readouterr().err.startswith("Interrupted during `card`. Finished results are kept")


def test_a_full_disk_is_the_systems_fault(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _failing(monkeypatch, OSError(errno.ENOSPC, "No space left on device", "/out/x"))
    assert _exit(["card", "check"]) == 3
    assert "No space left on device.\n  where: /out/x" in capsys.readouterr().err


def test_a_fault_of_ours_is_owned(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("UNMASK_DEBUG", raising=False)
    _failing(monkeypatch, ZeroDivisionError("division by zero"))
    assert _exit(["card", "check"]) == 70
    told = capsys.readouterr().err
    assert "ZeroDivisionError: division by zero" in told and "Traceback" not in told
    monkeypatch.setenv("UNMASK_DEBUG", "1")
    assert _exit(["card", "check"]) == 70
    assert "Traceback" in capsys.readouterr().err


def _healthy(*_: object) -> Judgement:
    return Judgement((), (), ExitCode.DONE, Depth.NORMAL, True)


@pytest.mark.parametrize("arguments", [["--json", "card", "check"], ["card", "check", "--json"]])
def test_json_is_alone_on_stdout(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("deploy.card.check.check", _healthy)
    assert _exit(arguments) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["healthy"] is True


def test_quiet_says_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("deploy.card.check.check", _healthy)
    assert _exit(["card", "check", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_progress_is_silent_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with Output().progress("working", 3) as advance:
        advance(3)
    assert capsys.readouterr() == ("", "")


def test_the_time_left_is_told_after_the_first_slow_step(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    screen, now = io.StringIO(), 0.0
    terminal = Console(file=screen, force_terminal=True, width=100, get_time=lambda: now, legacy_windows=False)
    monkeypatch.setattr(console, "_console", lambda stderr: terminal)
    with Output().progress("working", 100, done=40) as advance:
        now += 60.0
        advance(20)  # 20 in a minute: 40 more take two
    assert "60/100 0:02:00" in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())


def test_warnings_stay_when_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    Output(quiet=True).warn("beware of [b]\x07")
    Output(quiet=True).note("nothing")
    assert capsys.readouterr() == ("", "Warning: beware of [b]\\x07\n")


def test_no_colour_where_it_is_not_wanted() -> None:
    code = "from deploy.console import say_error; say_error('x')"
    environment = {**os.environ, "NO_COLOR": "1", "TERM": "xterm-256color"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, timeout=60)
    assert done.stderr == b"x\n"


def test_a_reader_that_leaves_is_no_error() -> None:
    code = f"cd {ROOT} && {sys.executable} -m deploy.command --help | true"
    done = subprocess.run(["sh", "-c", code], capture_output=True, timeout=60)
    assert done.stderr == b""


def test_printable_escapes_what_a_terminal_would_obey() -> None:
    assert printable("ä\n\x1b[2J\u202e\udcff") == "ä\n\\x1b[2J\\u202e\\udcff"


def test_the_card_verb_belongs_to_the_command() -> None:
    assert any(group.typer_instance is card_verb.app for group in command.app.registered_groups)
    assert console.Output.of.__doc__
