"""Processes are heard line by line and never left behind."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from xmodel.errors import UnavailableError
from xmodel.process import stream


def python(code: str, folder: Path, heard: list[str], silence: float = 60.0) -> int:
    return stream([sys.executable, "-u", "-c", code], folder, os.environ, heard.append, silence)


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[-1].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"


def wait_gone(process: int) -> bool:
    deadline = time.monotonic() + 20
    while alive(process) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(process)


def test_lines_codes_and_folder(tmp_path: Path) -> None:
    heard: list[str] = []
    code = "import os, sys; print('a\\rb'); sys.stderr.write('\\u00e9\\n'); print(os.getcwd(), end=''); sys.exit(7)"
    assert python(code, tmp_path, heard) == 7
    assert heard[:2] == ["a", "b"] and str(tmp_path) in heard[-1] + heard[-2]


def test_bytes_that_are_no_text_and_endless_lines(tmp_path: Path) -> None:
    heard: list[str] = []
    assert python("import sys; sys.stdout.buffer.write(b'\\xff' + b'x' * 200000)", tmp_path, heard) == 0
    assert "".join(heard) == "\ufffd" + "x" * 200000 and len(heard) > 1


def test_a_crash_is_its_signal(tmp_path: Path) -> None:
    assert python("import os; os.abort()", tmp_path, []) == -signal.SIGABRT


def test_silence_ends_it(tmp_path: Path) -> None:
    heard: list[str] = []
    with pytest.raises(UnavailableError, match=r"said nothing for 1\.5 s"):
        python("import os, time; print(os.getpid()); time.sleep(600)", tmp_path, heard, 1.5)
    assert wait_gone(int(heard[0]))


CHILD = "import os, subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])"


def test_an_error_in_between_ends_the_whole_group(tmp_path: Path) -> None:
    heard: list[str] = []

    def stop(line: str) -> None:
        heard.append(line)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stream([sys.executable, "-u", "-c", f"{CHILD}; print(p.pid); time.sleep(600)"], tmp_path, os.environ, stop, 60)
    assert wait_gone(int(heard[0]))


def test_a_grandchild_that_holds_the_pipe_does_not_hold_us(tmp_path: Path) -> None:
    heard: list[str] = []
    assert python(f"{CHILD}; print(p.pid)", tmp_path, heard) == 0
    assert wait_gone(int(heard[0]))


def test_a_program_that_cannot_start(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="Cannot start this program"):
        stream([str(tmp_path)], tmp_path, {}, print, 1)
