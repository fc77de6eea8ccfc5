"""The whole examination: card, software and model of this machine, or of one whose tools' output was saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from deploy.card.evidence import from_folder
from deploy.card.live import Machinery, identify
from deploy.doctor.card import card_state, xrt_version
from deploy.doctor.fit import Verdict, judge
from deploy.doctor.gather import Place, read_model, situation
from deploy.doctor.here import Row, rows
from deploy.doctor.situation import Situation


def diagnose(
    model: Path | None, saved: Path | None, device: str | None, python: Path | None, place: Place | None = None
) -> tuple[Situation, Verdict, list[Row]]:
    """What there is, what fits, and what this machine has (nothing of it for `saved` output).

    Raises `UsageError` for a folder, a device or a model that is not there, `ArtifactError` for a damaged model.
    """
    place = place or Place()
    network = read_model(model) if model is not None else None
    evidence = from_folder(saved) if saved is not None else identify(Machinery.here()).evidence
    card = card_state(evidence, device)
    found = situation(place, card, xrt_version(evidence), network, saved is not None)
    return found, judge(found), [] if saved is not None else rows(place, found, _tools(python))


def _tools(python: Path | None) -> Mapping[str, Callable[[], str]]:
    """The vendor's tools by name: each says what was found, or raises an `UnmaskError` that says where was looked."""

    def quantizer() -> str:
        from quantize.vitis.interpreter import find

        return str(find(python))

    def runtime() -> str:
        from runtime.vitis.interpreter import find

        return str(find(python))

    def compiler() -> str:
        from compile.vitis.find import find

        return str(find())

    return {"xir and vart": runtime, "quantizer": quantizer, "compiler": compiler}
