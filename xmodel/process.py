"""A process of the vendor's tools: its output line by line, an end to its silence, no orphans."""

from __future__ import annotations

import codecs
import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from xmodel.errors import UnavailableError

_LINE_END = re.compile(r"[\r\n]+")  # progress bars end their lines with \r
_LONGEST = 1 << 16  # characters; a line without an end is cut there
GRACE = 5.0  # seconds between the request to end and the end


def stream(
    command: Sequence[str], folder: Path, env: Mapping[str, str], heard: Callable[[str], None], silence: float
) -> int:
    """Run `command` in `folder`, give every line it prints to `heard`, return its exit code (negative: signal).

    The process leads a group of its own, which is ended with it: on Ctrl-C, on any error of `heard`, and
    when nothing was printed for `silence` seconds. Raises `UnavailableError` for that and for a program
    that cannot be started.
    """
    try:
        process = subprocess.Popen(
            command, cwd=folder, env=dict(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise UnavailableError(f"Cannot start this program: {error.strerror}.", where=command[0]) from error
    try:
        _read(process, heard, silence)
    except BaseException:
        _end(process, signal.SIGTERM)
        raise
    finally:
        _end(process, signal.SIGKILL)
    return process.wait()


def _read(process: subprocess.Popen[bytes], heard: Callable[[str], None], silence: float) -> None:
    assert process.stdout is not None
    decoder, rest, last = codecs.getincrementaldecoder("utf-8")("replace"), "", time.monotonic()
    with process.stdout as output, selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        while True:
            ended = process.poll() is not None  # asked before reading: what came before the end is read
            if selector.select(0 if ended else 0.5):
                data = os.read(output.fileno(), 1 << 16)
                rest, last = rest + decoder.decode(data), time.monotonic()
                *lines, rest = _LINE_END.split(rest)
                for line in [*lines, rest] if not data or len(rest) > _LONGEST else lines:
                    heard(line)
                rest = "" if len(rest) > _LONGEST else rest
                if not data:
                    break
            elif ended:  # a grandchild still holds the pipe
                heard(rest)
                break
            elif time.monotonic() - last > silence:
                raise UnavailableError(
                    f"The vendor's tool has said nothing for {silence:g} s and was stopped.",
                    hint="Its log shows how far it came. --backend unmask does without it.",
                )
        _wait(process, max(0.0, silence - (time.monotonic() - last)))


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        raise UnavailableError("The vendor's tool closed its output, did not end, and was stopped.") from None


def _end(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, how)
    if how == signal.SIGTERM:
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
