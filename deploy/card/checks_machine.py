"""The first layer: is the card on the bus, do its drivers have it, may this user open it, do the tools work."""

from __future__ import annotations

from collections.abc import Iterator

from arch.releases import RELEASES, card_of_device
from deploy.card import complaints
from deploy.card.facts import Complaint, Evidence, Fact, Host, Node, PciFunction, PciScan, Report, Shell, Trial
from deploy.card.facts import Unreadable as Unread
from deploy.card.verdict import Case, Check, Status, files

_LAYER = "machine"
RESEAT = (
    "Seat the card, connect its AUX power and boot cold: a card that has shut itself down is off the bus until then."
)


def tools(evidence: Evidence, missing: tuple[str, ...], live: bool) -> Check:
    """Do XRT's tools give answers? Their exit codes are not asked."""
    name, hosts = "XRT tools", [h for h in evidence.all(Host) if h.xrt]
    broken = [c for c in evidence.all(Complaint) if c.kind in (complaints.BROKEN, complaints.ABSENT, complaints.HUNG)]
    limit = "xbutil answers `examine`"
    if hosts:
        said = f"XRT {hosts[0].xrt}" + (f" ({hosts[0].branch})" if hosts[0].branch else "")
        if broken:
            said += f"; but also: {broken[0].text}"
        return Check(name, _LAYER, Status.WARNING if broken else Status.OK, said, limit, "", files([*hosts, *broken]))
    if broken:
        advice = "This is no real XRT: distributions pack its wrapper without the program. Install XRT from AMD."
        if broken[0].kind == complaints.HUNG:
            advice = "The driver hangs: look at `dmesg`, end what holds the card, and boot cold."
        status = Status.WARNING if answered(evidence) else Status.BROKEN
        return Check(name, _LAYER, status, broken[0].text, limit, advice, files(broken))
    if "xbutil" in missing:
        return Check(
            name,
            _LAYER,
            Status.FAILED,
            "xbutil is not installed",
            limit,
            "Install XRT from AMD, not from the distribution.",
        )
    if answered(evidence):
        return Check(name, _LAYER, Status.OK, "the tools have answered; their version is not in what was saved", limit)
    status = Status.BROKEN if live else Status.SKIPPED
    refused = next((c.text for c in evidence.all(Complaint)), "xbutil said nothing that can be understood")
    return Check(name, _LAYER, status, refused if live else "no answer of XRT's tools was saved", limit)


def bus(evidence: Evidence) -> Check:
    """Is a card of any kind on the bus? Asked when nothing names one."""
    name, limit = "PCIe device", "a VCK5000 (10ee:5048, 10ee:5044)"
    scans = evidence.all(PciScan)
    if not scans:
        return Check(name, _LAYER, Status.SKIPPED, "no output tells what is on the bus", limit)
    return Check(name, _LAYER, Status.FAILED, "no device of AMD/Xilinx on the bus", limit, RESEAT, files(scans))


def answered(evidence: Evidence) -> bool:
    """Has any of XRT's tools said something about a card?"""
    return bool(
        evidence.all(Trial) or evidence.all(Report) or [s for s in evidence.all(Shell) if s.vbnv]
    )  # fmt: skip


def readable(evidence: Evidence) -> Check:
    """Could everything that a card tool wrote be understood? What could not may be the bad news."""
    name, limit = "Output readable", "all of it"
    unread = evidence.all(Unread)
    if not unread:
        count = len(evidence.files) - len(evidence.unrecognised)
        return Check(name, _LAYER, Status.OK, f"{count} file{'s' * (count != 1)}", limit)
    told = "; ".join(dict.fromkeys(f"{u.source.file}: {u.reason}" for u in unread[:5]))
    more = f"; and {len(unread) - 5} more" if len(unread) > 5 else ""
    advice = "Run the command again and save its whole output; what cannot be read counts as not healthy."
    return Check(name, _LAYER, Status.FAILED, told + more, limit, advice, files(unread))


def of_card(case: Case) -> Iterator[Check]:
    """The machine's side of one card."""
    yield _device(case)
    yield _drivers(case)
    yield _nodes(case)
    yield _seen(case)
    yield _release(case)


def _device(case: Case) -> Check:
    functions = case.evidence.all(PciFunction, case.slot)
    name, limit = "PCIe device", "10ee:5048 and 5049, or ES1 10ee:5044 and 5045"
    ids = {f.device for f in functions if f.device is not None}
    seen = ", ".join(dict.fromkeys(f"{f.bdf} 10ee:{f.device:04x}" if f.device else f.bdf for f in functions))
    if case.card.kind == "other":
        what = seen or ", ".join(case.card.shells)
        return Check(name, _LAYER, Status.FAILED, f"another card: {what}", limit, "", files(functions))
    if not functions:
        return _not_listed(case, name, limit)
    known = next((k for k in map(card_of_device, ids) if k is not None), None)
    if known is None:
        advice = "Its id is not that of a VCK5000 with a shell." if ids else "Save `lspci -nn` too; it prints the ids."
        return Check(name, _LAYER, Status.WARNING, seen, limit, advice, files(functions))
    if known.user not in ids:
        advice = "A card with the management function alone runs its factory image: program the shell, boot cold."
        status = Status.FAILED if case.live else Status.WARNING
        return Check(name, _LAYER, status, f"{seen}; the user function is missing", limit, advice, files(functions))
    return Check(name, _LAYER, Status.OK, f"{known.name}: {seen}", limit, "", files(functions))


def _not_listed(case: Case, name: str, limit: str) -> Check:
    scans = case.evidence.all(PciScan)
    if scans and case.live and case.card.ready:  # asked at the same time, XRT lists it as ready
        advice = "A container or virtual machine hides the bus; look at it on the host."
        said = "not in the list of PCI devices; XRT sees it"
        return Check(name, _LAYER, Status.WARNING, said, limit, advice, files(scans))
    if scans:
        status = Status.FAILED if case.live or not any(s.functions for s in scans) else Status.WARNING
        return Check(name, _LAYER, status, "not in the list of PCI devices", limit, RESEAT, files(scans))
    if case.card.kind:
        return Check(name, _LAYER, Status.SKIPPED, f"no output of lspci; by its shell a {case.card.kind}", limit)
    advice = "Save `lspci -d 10ee:` or `xbutil examine` too; without them it is not known that this is a VCK5000."
    return Check(name, _LAYER, Status.FAILED, "nothing tells which card this is", limit, advice)


def _drivers(case: Case) -> Check:
    name, limit = "Drivers", "xclmgmt and xocl, of XRT's version"
    functions = [f for f in case.evidence.all(PciFunction, case.slot) if f.driver is not None]
    hosts = case.evidence.all(Host)
    versions = next((h.drivers for h in hosts if h.drivers), ())
    wrong = [f for f in functions if f.driver not in ("xclmgmt", "xocl")]
    if wrong:
        said = ", ".join(f"{f.bdf} has {'driver ' + f.driver if f.driver else 'no driver'}" for f in wrong)
        advice = "Install XRT with the headers of the running kernel (`dkms status`), then `modprobe xclmgmt xocl`."
        if any(f.driver and f.driver.startswith("vfio") for f in wrong):
            advice = "vfio-pci holds the card for a virtual machine; XRT works inside that machine."
        return Check(name, _LAYER, Status.FAILED, said, limit, advice, files(wrong))
    xrt = next((h.xrt for h in hosts if h.xrt), "")
    told = ", ".join(f"{n} {v}" for n, v in versions if v)
    other = [n for n, v in versions if v not in ("", "unknown") and xrt and not v.startswith(xrt)]
    if other:
        advice = "Tools and drivers are of different installations: remove XRT, install one, boot again."
        return Check(name, _LAYER, Status.WARNING, f"{told}; XRT is {xrt}", limit, advice, files(hosts))
    if functions:
        said = ", ".join(f"{f.bdf} {f.driver}" for f in functions)
        return Check(name, _LAYER, Status.OK, said, limit, "", files(functions))
    if versions and all(v in ("", "unknown") for _, v in versions):
        advice = "`lsmod | grep -e xocl -e xclmgmt`; in a container or virtual machine the host's are not seen."
        return Check(name, _LAYER, Status.WARNING, told, limit, advice, files(hosts))
    if versions:
        return Check(name, _LAYER, Status.OK, told, limit, "", files(hosts))
    return Check(name, _LAYER, Status.SKIPPED, "no output that names the drivers", limit)


def _nodes(case: Case) -> Check:
    name, limit = "Device files", "/dev/dri/renderD* readable and writable"
    if not case.live:
        return Check(name, _LAYER, Status.NOT_APPLICABLE, "saved output does not show device files", limit)
    nodes = case.evidence.all(Node, case.slot)
    render = [n for n in nodes if "xclmgmt" not in n.path]
    said = ", ".join(f"{n.path} {'missing' if n.access is None else n.access or 'no access'}" for n in nodes)
    if not render:
        return Check(name, _LAYER, Status.SKIPPED, "the user function has no driver, so there are none", limit)
    if any(n.access is None for n in render):
        advice = "In a container: start it with --device=/dev/dri/renderD... of the card. Else: `modprobe xocl`."
        return Check(name, _LAYER, Status.FAILED, said, limit, advice)
    if any(n.access != "rw" for n in render):
        advice = "Add the user to the files' group (`ls -l /dev/dri`; render or video) and log in again; not chmod."
        return Check(name, _LAYER, Status.FAILED, said, limit, advice)
    return Check(name, _LAYER, Status.OK, said, limit)


def _seen(case: Case) -> Check:
    name, limit = "XRT sees the card", "it is listed, ready"
    empty = [h for h in case.evidence.all(Host) if h.cards == 0]
    denied: list[Fact] = [*empty, *(c for c in case.evidence.all(Complaint) if c.kind == complaints.NO_DEVICES)]
    shells = [s for s in case.evidence.all(Shell, case.slot) if s.vbnv and s.running]
    advice = (
        "Look at `dmesg` for xocl and xclmgmt; xbutil wants the user function (.1), xbmgmt the management one (.0)."
    )
    if case.card.ready is False:
        advice = "Device Ready No: factory image, a shell that was programmed and not yet booted, or a driver mismatch."
        return Check(name, _LAYER, Status.FAILED, "listed as not ready", limit, advice, files(shells))
    if any(c.kind == complaints.NOT_READY for c in case.evidence.all(Complaint)) and case.card.ready is None:
        said = "XRT says that a device is not ready"
        return Check(name, _LAYER, Status.FAILED, said, limit, advice, files(case.evidence.all(Complaint)))
    reported = bool(case.evidence.all(Trial, case.slot)) or bool(case.evidence.all(Report, case.slot))
    if shells or reported:
        ready = "" if case.card.ready is None else ", ready"
        status = Status.FAILED if empty else Status.WARNING if denied else Status.OK
        said = f"listed{ready}" + ("; another command found no device" if denied else "")
        return Check(name, _LAYER, status, said, limit, advice if denied else "", files([*shells, *denied]))
    if denied:
        return Check(name, _LAYER, Status.FAILED, "XRT finds no device", limit, advice, files(denied))
    return Check(name, _LAYER, Status.SKIPPED, "no output of XRT's tools about this card", limit)


def _release(case: Case) -> Check:
    name = "XRT for this shell"
    hosts = [h for h in case.evidence.all(Host) if h.xrt]
    fitting = [r for r in RELEASES if r.shell in case.card.shells]
    if not hosts or not fitting:
        what = "the version of XRT" if not hosts else "a release of Vitis AI for this shell"
        return Check(name, _LAYER, Status.SKIPPED, f"{what} is not known")
    limit = " or ".join(f"{r.xrt_build} (Vitis AI {r.version})" for r in fitting)
    if any(h.xrt == r.xrt_build for h in hosts for r in fitting):
        return Check(name, _LAYER, Status.OK, hosts[0].xrt, limit, "", files(hosts))
    advice = "The card can be healthy all the same, but Vitis AI was only released with this pair; see `unmask doctor`."
    return Check(name, _LAYER, Status.WARNING, hosts[0].xrt, limit, advice, files(hosts))
