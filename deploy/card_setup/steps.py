"""The steps themselves: from an empty host to a model on the card, in order, with what to expect of each.

Sources: the setup notes of Vitis AI 1.4.1, 2.0, 2.5 and 3.0 for the VCK5000, and what their users reported.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from arch.releases import FIRMWARE, OVERLAYS, Overlay, Release
from deploy.card_setup.host import TESTED, Host

XBUTIL = "/opt/xilinx/xrt/bin/xbutil"


@dataclass(frozen=True, slots=True)
class Probe:
    """A read-only command that tells whether a step is done: it is when the output contains every one of `wants`."""

    command: tuple[str, ...]
    wants: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `where`: "host" or "container"; `commands`: for a shell, those that need it begin with sudo;
    `expect`: what is seen when it went well; `trouble`: what is seen otherwise, and the way out."""

    title: str
    where: str
    commands: tuple[str, ...]
    expect: str
    trouble: str = ""
    probe: Probe | None = None


def steps(release: Release, overlay: Overlay, host: Host) -> list[Step]:
    """All steps for the DPU variant of `overlay`, in order."""
    return [*_host(release, overlay, host), *_container(release, overlay, host)]


def _host(release: Release, overlay: Overlay, host: Host) -> Iterator[Step]:
    install = f"sudo {host.packages} install"
    suffix = "deb" if host.packages == "apt-get" else "rpm"
    headers = f"linux-headers-{host.kernel}" if host.packages == "apt-get" else f"kernel-devel-{host.kernel}"
    management = host.function or "<BDF>"
    user = f"{management.rsplit('.', 1)[0]}.1" if host.function else "<BDF>.1"
    ids = f"10ee:{release.card.management:04x}", f"10ee:{release.card.user:04x}"
    yield Step(
        "See the card on the bus", "host", ("lspci -d 10ee:",),
        f"Two functions: {ids[0]} (management) and {ids[1]} (user). <BDF> below is the first one's address.",
        "Nothing: seat the card, connect its AUX power (8 and 6 pins), give it airflow, and power the machine off and "
        "on. 10ee:5044 and 5045 are the engineering sample (ES1), for which Vitis AI 1.4.1 is the last release.",
        Probe(("lspci", "-n", "-d", "10ee:"), ids),
    )  # fmt: skip
    yield Step(
        "Look for room and for the system", "host", ("df -h /var/lib /opt", "cat /etc/os-release"),
        f"100 GB free for the container's image, and {TESTED}.",
        "" if host.tested else f"This is {host.system}: XRT's packages may not install, or their drivers not build.",
    )  # fmt: skip
    yield Step(
        "Install XRT, its drivers are built for the running kernel", "host",
        (f"{install} {headers}", f"{install} ./xrt_{release.xrt}_*.{suffix}", "source /opt/xilinx/xrt/setup.sh"),
        f"`{XBUTIL} examine` says version {release.xrt_build} and names xocl and xclmgmt with the same version.",
        "Version `unknown`: the driver was not built; see `dkms status`. Take XRT from AMD's page for the VCK5000, not "
        "from the distribution: Debian's xbutil is a wrapper without its program, and says so with exit code 0.",
        Probe((XBUTIL, "examine"), (release.xrt_build,)),
    )  # fmt: skip
    yield Step(
        "Install the resource manager XRM", "host", (f"{install} ./xrm_{release.xrm}_*.{suffix}",),
        "/opt/xilinx/xrm exists.", "", Probe(("ls", "/opt/xilinx"), ("xrm",)),
    )  # fmt: skip
    yield Step(
        "Install the card's platform (the shell's image) and flash it", "host",
        (f"{install} ./xilinx-*vck5000*.{suffix}", *(f"sudo {c.format(bdf=management)}" for c in release.flash)),
        "It takes some minutes and must not be interrupted; at its end it asks for a reboot.",
        "The card runs its factory (golden) image until then: Device Ready is No, which is expected.",
    )  # fmt: skip
    yield Step(
        "Power the machine off and on" if release.reboot == "cold" else "Reboot", "host",
        ("sudo poweroff",) if release.reboot == "cold" else ("sudo reboot",),
        f"`{XBUTIL} examine` shows {release.shell}, Device Ready: Yes.",
        "Still the old shell: a warm reboot does not reload the card's flash; cut the power for a minute.",
        Probe((XBUTIL, "examine"), (release.shell,)),
    )  # fmt: skip
    generation, lanes = release.link
    yield Step(
        "Prove the card", "host", (f"{XBUTIL} validate --device {user} --batch", "unmask card check --full"),
        f"verify, DMA and memory bandwidth PASSED, link Gen{generation} x{lanes}.",
        "PASSED WITH WARNINGS at the link: the slot has fewer lanes or an older generation; it works, and slower. "
        "Only PASSED counts: SKIPPED is not healthy.",
    )  # fmt: skip
    yield Step(
        f"Install the overlays ({release.package})", "host", (f"tar -xzf {release.package}.tar.gz",),
        f"After its packages are installed, {overlay.file} exists.", "",
        Probe(("ls", str(overlay.file)), (overlay.file.name,)),
    )  # fmt: skip


def _container(release: Release, overlay: Overlay, host: Host) -> Iterator[Step]:
    repository, tag = release.image
    image = f"{repository}:<tag>"
    yield Step(
        "Bring the image", "host", (f"{host.engine} pull {image}",),
        f"<tag> is one that begins with {tag}; releases do not mix: a model compiled with one and run with another "
        "ends in CU timeouts and wrong results.",
        "permission denied: add yourself to the group docker and log in again.",
        Probe((host.engine, "image", "ls", "--format", "{{.Repository}}:{{.Tag}}"), (f"{repository}:{tag}",)),
    )  # fmt: skip
    yield Step(
        "Start the container with the card's device files", "host",
        (
            f"{host.engine} run -it --rm $(for node in /dev/xclmgmt* /dev/dri/renderD*; do "
            'echo "--device=$node:$node"; done) '
            f"-v {OVERLAYS.parent}:{OVERLAYS.parent} -v /opt/xilinx/dsa:/opt/xilinx/dsa "
            f'-v "$PWD":/workspace -w /workspace {image} bash',
        ),
        "`ls /dev/dri` inside shows a renderD file for the card.",
        "No permission for renderD: on the host, add the user to the group render (or video), not chmod.",
    )  # fmt: skip
    told = f" (or source the release's setup.sh with {overlay.argument})" if overlay.argument else ""
    yield Step(
        "Set the environment, anew in every container", "container",
        ("source /opt/xilinx/xrt/setup.sh", f"export {FIRMWARE}={overlay.file}"),
        f"`echo ${FIRMWARE}` names the overlay of the variant that the model was compiled for{told}.",
        "Error: Could not acquire CU: it is not set, or another process or XRM holds the card.",
    )  # fmt: skip
    yield Step(
        "Compile for the card and run", "container",
        (
            f"unmask compile build/quantize --target {overlay.target} --backend vitis --out build/card",
            "unmask doctor build/card/*.xmodel",
            "unmask infer build/card --crops CROPS --device card --out build/infer-card",
        ),
        "The doctor finds no mismatch, and the masks equal the emulator's byte for byte.",
        "Unmask needs Python 3.11 and the container has an older one: make an environment of its own "
        "(conda create -n unmask python=3.11); the vendor's Python is found and driven from there.",
    )  # fmt: skip
