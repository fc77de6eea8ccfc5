"""Where a compiled file runs: on the card, when everything that needs is here, or in the emulator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from xmodel.errors import UnmaskError, UsageError

if TYPE_CHECKING:
    from runtime.vitis.interpreter import Interpreter

Device = Literal["auto", "card", "emulator"]


@dataclass(frozen=True, slots=True)
class Where:
    """ "card", with the vendor's Python that drives it, or "emulator"; `notes` say why, and what to beware of."""

    name: Literal["card", "emulator"]
    python: Interpreter | None = None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name if self.python is None else f"{self.name} through {self.python}"

    @property
    def arguments(self) -> dict[str, str | None]:
        """Its part of `run.json`."""
        return {"device": self.name, **({} if self.python is None else {"runtime": str(self.python)})}


EMULATOR = Where("emulator")


def choose(device: Device, model: Path, python: Path | None = None) -> Where:
    """Where the compiled file `model` runs. "auto" takes the card when nothing speaks against it.

    `python` is the vendor's interpreter (None: it is looked for). Raises `UnavailableError` that names everything
    that is missing for a card that was asked for, `UsageError` for a Python that would not be used.
    """
    if device == "emulator":
        if python is not None:
            raise UsageError(
                f"--vitis-python {python} has no effect with --device emulator.", hint="Use --device card or auto."
            )
        return EMULATOR
    from runtime.vitis import machine, preflight
    from runtime.vitis.interpreter import find
    from xmodel import file

    here = machine.look()
    if device == "auto" and not here.has_card:
        return EMULATOR
    found, missing = None, []
    try:
        found = find(python)
    except UsageError:
        raise
    except UnmaskError as error:
        missing.append(preflight.Finding(True, error.what, error.hint))
    release = found.release if found is not None else None
    findings = [*preflight.preflight(file.read(model), here, release), *missing]
    refusals = [finding for finding in findings if finding.refuses]
    if device == "auto" and refusals:
        reasons = " ".join(finding.what for finding in refusals)
        return Where("emulator", notes=(f"The card is not used: {reasons} --device card says what to do.",))
    return Where("card", found, preflight.demand(findings))
