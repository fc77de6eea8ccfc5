"""What a person sees: progress and notes on stderr, results on stdout, JSON alone when asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, alone, on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no tables; warnings and errors stay.")]

_SLOW = 3600.0  # seconds that a step may take and still tell the time left: a batch of a large network takes minutes


@dataclass(frozen=True, slots=True)
class Output:
    """Where a verb's words go. `json`: data alone on stdout; `quiet`: warnings and errors only."""

    json: bool = False
    quiet: bool = False

    @staticmethod
    def of(context: typer.Context, json: bool, quiet: bool) -> Output:
        """The verb's own switches joined with those given before the verb."""
        before = context.find_object(Output) or Output()
        return Output(json or before.json, quiet or before.quiet)

    def note(self, text: str) -> None:
        """One line about what is going on, on stderr."""
        if not self.quiet:
            _console(stderr=True).print(printable(text), style="dim", soft_wrap=True)

    def warn(self, text: str) -> None:
        """One line that the user should act on, on stderr."""
        line = f"Warning: {printable(text)}"
        _console(stderr=True).print(line, style="yellow", soft_wrap=True)

    def result(self, data: Mapping[str, Any], *shown: RenderableType) -> None:
        """The verb's result on stdout: `data` as JSON, or `shown` for a person."""
        if self.json:
            from xmodel.artifact import json_text

            sys.stdout.write(json_text(data).encode(errors="backslashreplace").decode())
            sys.stdout.flush()
        elif not self.quiet:
            console = _console(stderr=False)
            for item in shown:
                if isinstance(item, str):
                    console.print(printable(item), soft_wrap=True)
                else:
                    console.print(item)

    @contextmanager
    def progress(self, title: str, total: int | None, done: int = 0) -> Iterator[Callable[[int], None]]:
        """A bar with the time left on stderr, where that is a terminal; yields `advance(count)`.

        What an earlier run has `done` does not count for the time left.
        """
        console = _console(stderr=True)
        if self.quiet or not console.is_terminal:
            yield _ignore
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        text = TextColumn("{task.description}", markup=False)
        with Progress(
            text,
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            speed_estimate_period=_SLOW,
        ) as bar:
            task = bar.add_task(printable(title), total=total, completed=done)
            bar.advance(task, 0)  # the time left is known from the first step on
            yield lambda count: bar.advance(task, count)


def printable(text: str) -> str:
    """`text` with control characters, lone surrogates and the like written as escapes.

    >>> printable("a\\x1b[31mb")
    'a\\\\x1b[31mb'
    """
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def say_error(text: str) -> None:
    """One message on stderr."""
    _console(stderr=True).print(printable(text), style="bold red", soft_wrap=True)


def _ignore(_count: int) -> None:
    """Take progress that nobody watches."""


def _console(stderr: bool) -> Console:
    from rich.console import Console

    # Names of files and ops are shown as they are: no [markup], no :emoji:
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)
