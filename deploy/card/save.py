"""Saves what the tools said, for support: as it is, or without serial numbers, host names and MAC addresses."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

from deploy.card.text import decoded
from xmodel.artifact import output_folder, write_bytes
from xmodel.errors import UsageError

_MAC = re.compile(r"(?<![0-9A-Fa-f:])[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}(?![0-9A-Fa-f:])")
_SECRETS = (
    re.compile(r'"(?:serial_?num(?:ber)?|board_serial)"\s*:\s*"([^"]{1,64})"', re.IGNORECASE),
    re.compile(r"^\s*(?:Card |Board )?Serial(?: Number| No\.?)?\s*:\s*(\S{1,64})\s*$", re.IGNORECASE | re.MULTILINE),
    re.compile(r'"hostname"\s*:\s*"([^"]{1,255})"', re.IGNORECASE),
    re.compile(r"^\s*HOST(?:NAME)?\s*:\s*(\S{1,255})\s*$", re.IGNORECASE | re.MULTILINE),
    re.compile(r"^\[?[\w.-]{1,32}@([\w.-]{1,255})[: ].{0,200}?[#$]", re.MULTILINE),
    re.compile(r"^\[?([\w.-]{1,32})@[\w.-]{1,255}[: ].{0,200}?[#$]", re.MULTILINE),
    re.compile(r"/home/([\w.-]{1,32})/"),
)
# Words of the tools' own: a machine that is called like one of them keeps its name, for the output's sake.
_WORDS = {
    "n/a", "na", "none", "unknown", "linux", "xilinx", "card", "device", "platform", "host", "root", "user", "test",
    "true", "false", "yes", "no", "xrt", "xbutil",
}  # fmt: skip
_HIDDEN = "masked"


def masked(files: Mapping[str, bytes], own: Iterable[str] = ()) -> dict[str, bytes]:
    """The files as UTF-8 without serial numbers, host and user names, MAC addresses.

    A name that one file tells is taken out of all of them. `own`: further names, such as this machine's.
    """
    texts = {name: decoded(data) or "" for name, data in files.items()}
    secrets = {s for text in texts.values() for pattern in _SECRETS for s in pattern.findall(text)} | set(own)
    words = sorted((s for s in secrets if len(s) > 1 and s.lower() not in _WORDS), key=len, reverse=True)
    pattern = re.compile("|".join(rf"(?<![\w.-]){re.escape(word)}(?![\w-])" for word in words)) if words else None
    clean = {}
    for name, text in texts.items():
        hidden = pattern.sub(_HIDDEN, text) if pattern else text
        clean[name] = _MAC.sub("00:00:00:00:00:00", hidden).encode()
    return clean


def save(files: Mapping[str, bytes], folder: Path, mask: bool) -> None:
    """Write the files to a new or empty folder. Raises `UsageError` for one that holds something."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError("This folder is not empty.", where=str(folder), hint="Give --save a new folder.")
    output_folder(folder)
    host = socket.gethostname()
    kept = masked(files, {host, host.partition(".")[0]}) if mask else files
    for name, data in kept.items():
        write_bytes(folder / name, data)
