"""What the vendor's compiler prints, and what its fatal codes mean for a user.

Forms: `[UNILOG][FATAL][CODE][what the code says] detail`, in releases 3.x behind glog's prefix such as
"F20231023 11:48:43.061691   116 file.cpp:489] "; milestones as plain or [UNILOG][INFO] lines. It says "Compile done."
also when nothing runs on the DPU.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_PREFIX = re.compile(r"^[IWEF]\d{4,8} [\d:.]+\s+\d+ [\w.\-/]+:\d+\] ")
_FATAL = re.compile(r"\[FATAL\]\[(\w+)\](?:\[([^\]]*)\])?\s*(.*)")
_COUNTS = re.compile(r"Total device subgraph number (\d+), DPU subgraph number (\d+)")
_LOG = re.compile(r'compiler log will be dumped at "([^"]+)"')
_MD5 = re.compile(r"md5sum is ([0-9a-fA-F]{32})")
_TARGET = re.compile(r"Target architecture: (\S+)")
_MILESTONES = ("Target architecture:", "Graph name:", "Begin to compile", "Total device subgraph", "Compile done")

MEANINGS: Mapping[str, str] = {
    "TARGET_FACTORY_UNREGISTERED_TARGET": "This release of the compiler does not know the target.",
    "XCOM_PM_FAIL": "A pass of the compiler failed, most often over an op or a shape that the target does not take.",
    "XCOM_ITEM_UNDEFINED": "The compiler looked for something that the graph does not have, such as an op's input.",
    "XCOM_UNEXPECTED_VALUE": "An attribute has a value that the compiler does not expect, such as a dilation or a pad.",
    "XCOME_VALUE_UNMATCH": "Two shapes that should agree do not: look at odd sizes before a concat or an add, and keep "
    "image sides multiples of 16.",
    "XIR_INVALID_ARG_OCCUR": "An op has an attribute or a shape that the format refuses.",
    "XCOM_OPFACTORY_OP_UNSUPPORTED": "The target has no such operator.",
    "XCOM_DATA_OUTRANGE": "A fix point or a shift is beyond what the target holds: calibrate again, and look for "
    "layers whose weights are all near zero.",
    "XCOM_UTIL_INVALID_VALUE": "The compiler divided by a size of 0: a tensor of the graph is empty.",
}


@dataclass(frozen=True, slots=True)
class Fatal:
    """The message that the compiler dies with: its `code`, what the code `says`, the `detail` of this case."""

    code: str
    says: str
    detail: str

    def __str__(self) -> str:
        return f"[{self.code}] {' '.join(part for part in (self.says, self.detail) if part)}".strip()


@dataclass(slots=True)
class Log:
    """What was understood of the output so far; `tail` holds the last lines."""

    target: str = ""
    folder: str = ""
    device_subgraphs: int | None = None
    dpu_subgraphs: int | None = None
    done: bool = False
    md5: str = ""
    fatal: Fatal | None = None
    aborted: bool = False
    tail: list[str] = field(default_factory=list)

    def heard(self, line: str) -> str | None:
        """Take one line; returns it, cleaned, when a user wants to see it go by."""
        text = _PREFIX.sub("", _COLOUR.sub("", line).strip())
        if not text:
            return None
        self.tail[:] = [*self.tail[-40:], text]
        if (found := _FATAL.search(text)) and self.fatal is None:
            self.fatal = Fatal(found[1], (found[2] or "").strip(), found[3].strip())
        if found := _COUNTS.search(text):
            self.device_subgraphs, self.dpu_subgraphs = (int(number[:9]) for number in found.groups())
        if found := _LOG.search(text):
            self.folder = found[1]
        if found := _MD5.search(text):
            self.md5 = found[1].lower()
        if found := _TARGET.search(text):
            self.target = found[1]
        self.done |= "Compile done" in text
        self.aborted |= "core dumped" in text or "Check failure stack trace" in text
        text = text.removeprefix("[UNILOG][INFO] ")
        return text if text.startswith(_MILESTONES) else None
