"""What the tools say instead of an answer, since their exit codes cannot be relied on."""

from __future__ import annotations

import re
from collections.abc import Sequence

from deploy.card.facts import Complaint, Fact, Source

BROKEN, NO_DEVICES, NOT_READY, REFUSED = "broken tool", "no devices", "not ready", "refused"
ABSENT, HUNG = "tool not found", "hung"

# Debian's libxrt-utils 202210.2.13.466 ships the wrapper scripts without the programs, and exits with 0.
_SAYINGS = (
    (BROKEN, re.compile(r"unwrapped/\S{1,40}(?:: No such file or directory| does not exist)")),
    (HUNG, re.compile(r"^gave no answer in \d+ s$")),
    (BROKEN, re.compile(r"^does not start: ")),
    (BROKEN, re.compile(r"Could not find 64-bit loader executable")),
    (BROKEN, re.compile(r"\b(?:xbutil2?|xbmgmt2?)\b.{0,80}(?:error while loading shared libraries|cannot execute)")),
    (ABSENT, re.compile(r"\b(?:xbutil|xbmgmt)\b.{0,20}(?:command not found|: not found)")),
    (
        NO_DEVICES,
        re.compile(r"ERROR: No devices found|No card found|INFO: Found (?:total )?0 card|^\s*0 devices found"),
    ),
    (NOT_READY, re.compile(r"Warning: Device is not ready", re.IGNORECASE)),
    (NOT_READY, re.compile(r"INFO: Found total [1-9]\d{0,3} card.{0,9} 0 are usable")),
    (REFUSED, re.compile(r"ERROR: (?:Please specify|The output file|Unknown|Unrecognized|Missing|Obsoleted)")),
    (REFUSED, re.compile(r"(?:Permission denied|Operation not permitted|requires? root)", re.IGNORECASE)),
    (REFUSED, re.compile(r"^Error: Obsoleted option")),
)


def facts_of(lines: Sequence[str], file: str) -> list[Fact]:
    """Each thing that was said, once."""
    found: dict[tuple[str, str], Fact] = {}
    spoken = ""
    for line in lines:
        named = re.search(r"\b(xbutil|xbmgmt)\d?\b", line)
        spoken = named[1] if named else spoken
        kind = next((kind for kind, said in _SAYINGS if said.search(line)), "")
        if kind and (spoken or line.startswith(("ERROR", "INFO", "Warning", "Error", " "))):
            text = line.strip()[:200]
            found.setdefault((kind, text), Complaint(Source(file, spoken or "xbutil"), "", kind, text))
    return list(found.values())
