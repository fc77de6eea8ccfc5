"""Is the card healthy: what its tools say, read from the machine or from saved files, and judged check by check."""

from __future__ import annotations

from deploy.card.known import CardFacts, Known, known

__all__ = ["CardFacts", "Known", "known"]
