"""What the readers of text have in common: addresses, keys and values, prompts, and lines that only interrupt."""

from __future__ import annotations

import re

BDF = r"(?:[0-9a-fA-F]{4,8}:)?[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]"
_COMMAND = re.compile(
    r"^.{0,120}?[>#$%]\s{0,4}(?:sudo\s{1,4}(?:-\S{1,20}\s{1,4})?)?(?:[\w./-]{0,200}/)?(xbutil|xbmgmt|lspci)2?(?:\s|$)"
)
_INTERRUPTION = re.compile(
    r"^\s*(?:\[XRT\]|WARNING:|WARN:|ERROR:|INFO:|Verbose:|Successfully wrote|\[\s*\d+\.\d+\]|\*+|"
    r"(?:[A-Z][a-z]{2} [ \d]\d|\d{4}-\d\d-\d\dT?) ?\d\d:\d\d:\d\d\S{0,16} \S{1,64} [\w.-]{1,40}(?:\[\d{1,8}\])?: )",
    re.IGNORECASE,
)
_KEY = re.compile(r"^\s*([^:\[\]]{1,60}?)\s*:(?:\s+(.*)|$)")


def command(line: str) -> str:
    """The card tool that a line of a terminal's log starts ("xbutil", "xbmgmt", "lspci"), or "".

    >>> command("(base) me@lab:~$ sudo /opt/xilinx/xrt/bin/xbutil validate"), command("> see xbutil")
    ('xbutil', '')
    """
    found = _COMMAND.match(line)
    return found[1] if found else ""


def interrupts(line: str) -> bool:
    """Is this a message that came in between, and no part of the report around it?"""
    return _INTERRUPTION.match(line) is not None


def key_value(line: str) -> tuple[str, str] | None:
    """`key : value`, both stripped; None for another kind of line.

    >>> key_value("  12v_pex    : 12.061 V,  1.702 A")
    ('12v_pex', '12.061 V,  1.702 A')
    """
    found = _KEY.match(line)
    return (found[1].strip(), (found[2] or "").strip()) if found else None
