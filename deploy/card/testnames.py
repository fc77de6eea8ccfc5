"""The names of the `validate` tests in the three eras of XRT, and the words for how a test ended."""

from __future__ import annotations

from collections.abc import Iterable

from deploy.card.facts import Era, Outcome

# Today's name: (legacy, 2021.x). The legacy tool adds "test" or "check" to most. Source: XRT releases 2020.2 to 2022.2.
_ERAS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "kernel-version": (("Kernel version",), ()),
    "aux-connection": (("AUX power connector",), ("Aux connection",)),
    "power-warning": (("Power warning",), ()),
    "pcie-link": (("PCIE link",), ("PCIE link",)),
    "sc-version": (("SC firmware version",), ("SC version",)),
    "verify": (("verify kernel",), ("Verify kernel",)),
    "dma": (("DMA",), ("DMA",)),
    "iops": (("IOPS",), ("iops",)),
    "mem-bw": (("device memory bandwidth",), ("Bandwidth kernel",)),
    "p2p": (("PCIE peer-to-peer",), ("Peer to peer bar",)),
    "m2m": (("memory-to-memory DMA",), ("Memory to memory DMA",)),
    "hostmem-bw": (("host memory bandwidth",), ("Host memory bandwidth test",)),
    "bist": ((), ("bist",)),
    "vcu": ((), ("vcu",)),
    "aie-pl": ((), ()),
}
REQUIRED = ("verify", "dma", "mem-bw")  # a card is healthy only when each of these has said PASSED itself
# The auxiliary power test knows other cards only, and the VCK5000 has no video codec unit.
NEVER_RUN = ("aux-connection", "vcu")


def _plain(name: str) -> str:
    words = name.lower().replace("-", " ").replace("_", " ").split()
    while len(words) > 1 and words[-1] in ("test", "check"):
        words.pop()
    return " ".join(words)


_CANONICAL = {
    _plain(name): today for today, (legacy, later) in _ERAS.items() for name in (today, *legacy, *later)
}  # fmt: skip


def canonical(printed: str) -> str:
    """The test's name in XRT 2022.1 and later; a name of no era in the same style.

    >>> canonical("device memory bandwidth test"), canonical("Bandwidth kernel"), canonical("mem-bw")
    ('mem-bw', 'mem-bw', 'mem-bw')
    """
    plain = _plain(printed)
    return _CANONICAL.get(plain, plain.replace(" ", "-"))


def era_of(names: Iterable[str]) -> Era:
    """2021.x or 2022.1+ from test names as printed; what only the text's form tells (legacy) is not decided here."""
    for name in names:
        today = canonical(name)
        if today in _ERAS and name != today:
            return Era.XRT_2021
        if today in _ERAS and "-" in name:
            return Era.XRT_2022
    return Era.UNKNOWN


def era_of_version(xrt: str) -> Era:
    """The era of an XRT version such as 2.14.354.

    >>> era_of_version("2.11.648"), era_of_version("2.14.354")
    (<Era.XRT_2021: '2021.x'>, <Era.XRT_2022: '2022.1 and later'>)
    """
    major, _, rest = xrt.partition(".")
    minor = rest.partition(".")[0]
    if not (major.isascii() and major.isdigit() and minor.isascii() and minor.isdigit() and len(minor) < 6):
        return Era.UNKNOWN
    number = (int(major), int(minor))
    if number < (2, 10):
        return Era.LEGACY
    return Era.XRT_2021 if number < (2, 13) else Era.XRT_2022


def outcome(word: object) -> Outcome:
    """How a test ended, from the word for it; `UNREADABLE` for any other."""
    plain = " ".join(str(word).strip().strip("[]").upper().split())
    if plain in ("PASSED WITH WARNINGS", "PASSED WITH WARNING"):
        return Outcome.WARNED
    return next((o for o in (Outcome.PASSED, Outcome.FAILED, Outcome.SKIPPED) if plain == o), Outcome.UNREADABLE)


def with_log(ended: Outcome, kinds: Iterable[str]) -> Outcome:
    """The outcome together with what was logged: JSON has no word for a pass with warnings."""
    return Outcome.WARNED if ended is Outcome.PASSED and "warning" in kinds else ended
