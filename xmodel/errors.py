"""The one error a user sees: what went wrong, where, and what to do about it."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the `unmask` command."""

    DONE = 0
    GATE = 1  # a check failed: accuracy, card health, unreadable inputs among good ones
    USAGE = 2  # the request itself is wrong
    ENVIRONMENT = 3  # no card, no vendor tool, no space, no network
    ARTIFACT = 4  # a file is damaged or not what it should be


class UnmaskError(Exception):
    """A mistake or circumstance to be told in one sentence, never as a traceback.

    `what` is a full sentence with the offending value, `where` the file, op or argument it
    concerns, `hint` the way out. `exit_code` is what the command returns.
    """

    exit_code = ExitCode.USAGE

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f" {self.hint}" if self.hint else ""
        return f"{place}{self.what}{advice}"


class GateError(UnmaskError):
    """A gate failed: the work was done, its result is not good enough or not complete."""

    exit_code = ExitCode.GATE


class UsageError(UnmaskError):
    """The request is wrong: a missing path, an impossible option."""

    exit_code = ExitCode.USAGE


class UnavailableError(UnmaskError):
    """Something outside the request is missing: card, vendor tool, network, disk space."""

    exit_code = ExitCode.ENVIRONMENT


class ArtifactError(UnmaskError):
    """A file is damaged, truncated or not of the kind it should be."""

    exit_code = ExitCode.ARTIFACT
