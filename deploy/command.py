"""The `unmask` command: one verb a task, errors told in a sentence, exit codes that mean something."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from deploy.console import Json, Output, Quiet, say_error
from deploy.verbs import (
    application,
    bench,
    card,
    card_status,
    compare,
    compiler,
    data,
    doctor,
    evaluate,
    infer,
    inspect,
    quantize,
    run,
    setup,
    summary,
    train,
    video,
    xmodel,
)
from xmodel.artifact import versions
from xmodel.errors import ExitCode, UnmaskError

INTERRUPTED = 130  # 128 + SIGINT, what a shell reports for a program stopped by Ctrl-C
BROKEN = 70  # EX_SOFTWARE of sysexits.h: a fault of this program, not of its use
_STORAGE = {errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EIO}


class _StoppedError(Exception):
    """Ctrl-C, on its way past typer, which would end without a word: the verb, and what it says of what is kept."""


class _Verbs(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise _StoppedError(str(ctx.invoked_subcommand or ""), str(error)) from error


app = typer.Typer(
    name="unmask",
    cls=_Verbs,
    help="Deepfake detection on AMD DPUs: quantize, compile, run and report, with or without the card.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"unmask {versions().get('unmask', '(not installed)')}")
        raise typer.Exit


@app.callback()
def _before(
    context: typer.Context,
    json: Json = False,
    quiet: Quiet = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    context.obj = Output(json, quiet)


app.command("fetch")(data.fetch)
app.command("samples")(data.samples)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("quantize")(quantize.quantize)
app.command("inspect")(inspect.inspect)
app.command("compile")(compiler.compile_)
app.command("run")(run.run)
app.command("infer")(infer.infer)
app.command("exec", context_settings=application.SETTINGS)(application.exec_)
app.command("video")(video.video)
app.command("compare")(compare.compare)
app.command("bench")(bench.bench)
app.command("summary")(summary.summary)
card.app.command("status")(card_status.status)
card.app.command("setup")(setup.setup)
app.command("doctor")(doctor.doctor)
app.add_typer(card.app, name="card")
app.add_typer(xmodel.app, name="xmodel")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line `arguments` (default: this process's) and exit with one of `ExitCode`."""
    code = _run(sys.argv[1:] if arguments is None else arguments)
    if _stuck():
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        os._exit(code)
    sys.exit(code)


def _stuck() -> bool:
    """Whether a backend holds a thread: the interpreter would wait for it, or fall over it, on its way out."""
    engine = sys.modules.get("runtime.engine")
    return engine is not None and bool(engine.left_behind())


def _run(arguments: Sequence[str]) -> int:
    try:
        app(list(arguments), prog_name="unmask")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except UnmaskError as error:
        say_error(_told(error))
        return int(error.exit_code)
    except (KeyboardInterrupt, _StoppedError) as stop:
        verb, kept = stop.args if isinstance(stop, _StoppedError) else ("", "")
        where = f" during `{verb}`" if verb else ""
        say_error(f"Interrupted{where}. {kept or 'Finished results are kept; run the same command again to go on.'}")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has gone; nothing can be told to it, and Python must not try at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitCode.GATE)
    except Exception as error:
        return _unexpected(error)
    return int(ExitCode.DONE)


def _told(error: UnmaskError) -> str:
    lines = [f"Error: {error.what}", f"  where: {error.where}" if error.where else "", f"  what to do: {error.hint}"]
    return "\n".join(line for line in lines if line and not line.endswith(": "))


def _unexpected(error: Exception) -> int:
    if isinstance(error, OSError) and error.errno in _STORAGE:
        where = f"\n  where: {error.filename}" if error.filename else ""
        hint = "\n  what to do: Free some space, check the permissions, or choose another folder with --out."
        say_error(f"Error: The system refused a file operation: {error.strerror}.{where}{hint}")
        return int(ExitCode.ENVIRONMENT)
    if isinstance(error, MemoryError):
        say_error("Error: Not enough memory.\n  what to do: Use fewer --threads or a smaller --batch-size.")
        return int(ExitCode.ENVIRONMENT)
    if os.environ.get("UNMASK_DEBUG"):
        traceback.print_exception(error)
    say_error(
        f"This is a fault of unmask, not yours: {type(error).__name__}: {error}\n"
        "  what to do: Please report it with the command you ran; UNMASK_DEBUG=1 shows where it happened."
    )
    return BROKEN


if __name__ == "__main__":
    main()
