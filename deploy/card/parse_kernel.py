"""The kernel's log: what the drivers wrote there and no report of the tools keeps after a reset of the counters."""

from __future__ import annotations

import re
from collections.abc import Sequence

from deploy.card.facts import Fact, Firewall, Source, normal_bdf
from deploy.card.lines import BDF

_TRIPPED = re.compile(rf"\b(?:xocl|xclmgmt)\s+({BDF}):.{{0,120}}?\bfirewall (\d{{1,2}}) tripped", re.IGNORECASE)


def facts_of(lines: Sequence[str], file: str) -> list[Fact]:
    """Every firewall that tripped; [] when none did."""
    source = Source(file, "kernel log")
    # A terminal may have broken the line.
    pairs = (f"{line}{after}" for line, after in zip(lines, (*lines[1:], ""), strict=False))
    found = {(m[1], m[2]) for line in pairs if (m := _TRIPPED.search(line))}
    return [Firewall(source, normal_bdf(bdf), level, True) for bdf, level in sorted(found)]
