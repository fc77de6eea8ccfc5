"""What there is, as far as it decides what fits: the card, its software, a model. None: not known or not there."""

from __future__ import annotations

from dataclasses import dataclass

from arch.releases import Card


@dataclass(frozen=True, slots=True)
class CardState:
    """A card as its tools tell it. `shell`: its platform's name; `golden`: it runs its factory image; `function`: the
    PCI address of its management function; `link`: PCIe generation and lanes now."""

    card: Card
    shell: str | None = None
    golden: bool = False
    function: str | None = None
    satellite: str | None = None
    link: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Overlay:
    """What `XLNX_VART_FIRMWARE` names; `exists` is None where that cannot be known (saved output)."""

    path: str
    exists: bool | None


@dataclass(frozen=True, slots=True)
class Model:
    """An .xmodel. `targets`: names of the DPUs its subgraphs are for, as their fingerprints decode (the name in the
    file where that is unknown); `compiler`: the vendor's compiler's version; `code`: machine code is in it;
    `runner`: the library that the vendor's runtime loads to run it."""

    file: str
    kind: str
    targets: tuple[str, ...] = ()
    fingerprints: tuple[int, ...] = ()
    batch: int | None = None
    compiler: str | None = None
    code: bool = False
    runner: str | None = None


@dataclass(frozen=True, slots=True)
class Library:
    """A library that was looked for: where it is (None: nowhere), and where was looked."""

    name: str
    path: str | None
    searched: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything that the verdict depends on. `xrt`: the version that its tools print ("2.14.354"); `container`: the
    version of the vendor's container that this runs in; `unchecked`: the runtime's fingerprint check is switched off;
    `here`: it is this machine's; of another one, only what its tools said is known."""

    card: CardState | None = None
    xrt: str | None = None
    overlay: Overlay | None = None
    installed: tuple[str, ...] = ()  # overlays' files
    container: str | None = None
    unchecked: bool = False
    model: Model | None = None
    library: Library | None = None
    here: bool = True
