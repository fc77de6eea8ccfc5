"""The card, from what its tools said here or in saved output."""

from __future__ import annotations

from arch.releases import CARDS
from deploy.card.facts import Evidence, Link, normal_bdf, slot_of
from deploy.card.known import CardFacts, summary
from deploy.doctor.situation import CardState
from xmodel.errors import UsageError

_KINDS = {card.name: card for card in CARDS}


def card_state(evidence: Evidence, device: str | None = None) -> CardState | None:
    """The VCK5000 at the PCI address `device`, or the first one; None where there is none.

    Raises `UsageError` for an address at which there is none.
    """
    cards = [card for card in summary(evidence).cards if card.kind in _KINDS]
    if device is not None:
        wanted = slot_of(normal_bdf(device))
        cards = [card for card in cards if wanted and card.slot == wanted]
        if not cards:
            known = ", ".join(card.slot for card in summary(evidence).cards) or "none"
            raise UsageError(f"There is no VCK5000 at {device!r}.", hint=f"Cards that were seen: {known}.")
    return _state(cards[0], evidence) if cards else None


def xrt_version(evidence: Evidence) -> str | None:
    """The version that XRT's tools print, None where they do not."""
    return summary(evidence).xrt or None


def _state(card: CardFacts, evidence: Evidence) -> CardState:
    links = evidence.all(Link, card.slot)
    link = next(((x.generation, x.lanes) for x in links if x.generation and x.lanes), None)
    satellite = card.sc if card.sc and card.sc[0].isdigit() else None
    return CardState(
        _KINDS[card.kind], card.vbnv or None, card.golden, card.management or None, satellite, link,
    )  # fmt: skip
