"""JSON of `xbutil examine`, `xbutil validate` and `xbmgmt examine`, where every leaf is text and "" an empty list."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from deploy.card.facts import (
    Clock,
    Complaint,
    Era,
    Fact,
    Firewall,
    Host,
    Kernels,
    Link,
    Memory,
    Outcome,
    Power,
    Rail,
    Report,
    Shell,
    Source,
    Temperature,
    Trial,
    Unreadable,
    Validation,
    normal_bdf,
)  # fmt: skip
from deploy.card.sensors import is_fpga, rail
from deploy.card.testnames import canonical, era_of, era_of_version, outcome, with_log
from deploy.card.text import flag, number, whole

Json = Mapping[str, Any]
_PARTS = ("devices", "logical_devices", "system")
# Names that nothing but the card tools writes.
_OURS = {
    "temp_c", "power_rails", "power_consumption_watts", "pcie_info", "express_lane_width_count", "mig_calibrated",
    "logical_devices", "platform_id", "sc_version", "thermals", "electrical", "static_region", "is_ready", "vbnv",
    "device_id", "interface_type", "xrt", "volts", "amps", "location_id", "is_present", "satellite_controller",
}  # fmt: skip
_DEEPEST = 24  # levels that are searched
# Parts of a device's entry that hold no reading that a check needs.
_HARMLESS = {
    "aie_metadata", "aie", "aie_shim_status", "aie_shim", "aie_mem",
    "asynchronous_errors", "error", "cmc", "debug_ip_status", "debug-ip-status", "mailbox", "qspi_wp_status", "vmr",
    "qspi_write_protection", "qspi-status", "mechanical", "mem_topology", "memory", "mac_addresses", "host",
}  # fmt: skip
_NAMES = {"interface_type", "device_id", "bdf"}
_TELLTALES = ("temp", "volt", "amps", "watts", "calibrated", "lane_width", "link_speed", "firewall_")


def is_card_json(beginning: str) -> bool:
    """Does text that begins like JSON come from a card tool?"""
    return any(f'"{mark}"' in beginning for mark in (*_PARTS, "schema_version", "device_id", "vbnv"))


def facts_of(document: object, file: str) -> list[Fact]:
    """What one JSON document says; [] when no card tool wrote it."""
    if not isinstance(document, Mapping):
        return []
    if not _ours(document):
        return []
    source = Source(file, "xbutil examine", "JSON")
    found: list[Fact] = []
    host = _host(document, source)
    if host is not None:
        source = replace(source, era=era_of_version(host.xrt))
        found.append(replace(host, source=source))
    found += _listed(document, source, host)
    for entry in _entries(document.get("devices"), source, found, "devices"):
        found += _device(entry, source)
    if "logical_devices" in document:
        found += _validation(document, file)
    return found or [Unreadable(source, "", "it has no part of a known name")]


def _ours(document: Json) -> bool:
    keys = set(_keys(document))
    versioned = any("schema_version" in key for key in keys)
    if document and set(document) <= {"devices", "system", "schema_version"}:
        return True
    return not _OURS.isdisjoint(keys) or (versioned and bool(keys & {"devices", "schema", "creation_date"}))


def _text(value: object) -> str:
    return str(value).strip()[:300] if isinstance(value, str | int | float) else ""


def _map(value: object) -> Json:
    return value if isinstance(value, Mapping) else {}


def _entries(value: object, source: Source, found: list[Fact], what: str) -> list[Json]:
    """The objects of a list; anything that is no list of objects is reported in `found`."""
    if value is None or value == "":
        return []
    items = value if isinstance(value, list) else [value]
    good = [item for item in items if isinstance(item, Mapping)]
    if len(good) < len(items):
        found.append(Unreadable(source, "", f"{what} holds something that is no object"))
    return good


def _host(document: Json, source: Source) -> Host | None:
    host = _map(_map(document.get("system")).get("host"))
    xrt = _map(host.get("xrt"))
    if not host:
        return None
    listed = xrt.get("drivers")
    drivers = [_map(item) for item in listed] if isinstance(listed, list) else []
    devices = host.get("devices")
    return Host(
        source, "", _text(xrt.get("version")), _text(xrt.get("branch")),
        tuple((_text(d.get("name")), _text(d.get("version"))) for d in drivers if d),
        len(devices) if isinstance(devices, list) else 0 if devices == "" else None,
    )  # fmt: skip


def _listed(document: Json, source: Source, host: Host | None) -> list[Fact]:
    found: list[Fact] = []
    entries = _map(_map(document.get("system")).get("host")).get("devices")
    for entry in _entries(entries, source, found, "the list of cards"):
        bdf, ready = normal_bdf(_text(entry.get("bdf"))), flag(entry.get("is_ready"))
        said = "is_ready" in entry or source.era in (Era.XRT_2022, Era.UNKNOWN)  # 2021.x did not tell it
        if ready is None and said:
            found.append(Unreadable(source, bdf, f"whether card {bdf} is ready"))
        found.append(Shell(source, bdf, _text(entry.get("vbnv")), _uuid(entry.get("id")), ready=ready))
    if "system" in document and (host is None or host.cards is None or not host.xrt):
        found.append(Unreadable(source, "", "the host's part, or its list of cards"))
    return found


def _uuid(value: object) -> str:
    text = _text(value)
    return "" if text.lower() in ("n/a", "na", "0x0") else text


def _device(entry: Json, source: Source) -> Iterator[Fact]:
    bdf = normal_bdf(_text(entry.get("device_id", entry.get("bdf"))))
    if not bdf:
        yield Unreadable(source, "", f"a device with the address {_text(entry.get('device_id'))!r}")
    known = 0
    for name, value in entry.items():
        if name in _READERS:
            part, reader = _READERS[name]
            yield Report(source, bdf, part)
            yield from reader(value, source, bdf)
            known += 1
        elif name in _HARMLESS:
            yield Report(source, bdf, name)
            known += 1
        elif name not in _NAMES and any(t in key for key in _keys(value) for t in _TELLTALES):
            yield Unreadable(source, bdf, f"the unknown part {name[:60]!r}")
    if not known:
        yield Unreadable(source, bdf, "a device without any known report")


def _keys(value: object, depth: int = 0) -> Iterator[str]:
    if depth < _DEEPEST:
        if isinstance(value, Mapping):
            for name, inner in value.items():
                yield str(name).lower()
                yield from _keys(inner, depth + 1)
        elif isinstance(value, list):
            for inner in value[:1000]:
                yield from _keys(inner, depth + 1)


def _values(value: object, part: str, depth: int = 0) -> Iterator[object]:
    """The values of all keys that have `part` in their name, at any depth."""
    if depth < _DEEPEST:
        if isinstance(value, Mapping):
            for name, inner in value.items():
                if part in str(name).lower():
                    yield inner
                yield from _values(inner, part, depth + 1)
        elif isinstance(value, list):
            for inner in value[:1000]:
                yield from _values(inner, part, depth + 1)


def _thermals(value: Any, source: Source, bdf: str) -> Iterator[Fact]:
    found: list[Fact] = []
    entries = _entries(value, source, found, "thermals")
    yield from found
    if not entries:
        yield Unreadable(source, bdf, "a thermal report without sensors")
    for entry in entries:
        name = _text(entry.get("location_id")) or _text(entry.get("description")) or "unnamed sensor"
        celsius = number(entry.get("temp_C"), "C")
        absent = flag(entry.get("is_present")) is False
        # 0 is what an absent sensor reads; an FPGA is never at 0 degrees and always has one.
        if (absent and not celsius) or (celsius == 0 and not is_fpga(name)):
            continue
        yield Temperature(source, bdf, name, celsius or None)


def _electrical(value: Any, source: Source, bdf: str) -> Iterator[Fact]:
    report, found = _map(value), list[Fact]()
    for entry in _entries(report.get("power_rails"), source, found, "power_rails"):
        voltage, current = _map(entry.get("voltage")), _map(entry.get("current"))
        volts, amps = number(voltage.get("volts"), "V"), number(current.get("amps"), "A")
        has_volts, has_amps = (flag(part.get("is_present")) is not False for part in (voltage, current))
        name = _text(entry.get("id")) or _text(entry.get("description")) or "unnamed rail"
        # The 12 V rails are always metered; only a statement that a current is not present stands for one.
        metered = has_amps if current else rail(name).startswith("12v")
        if metered and amps is None:
            found.append(Unreadable(source, bdf, f"the current of rail {name}"))
        if has_volts or volts or amps:
            found.append(Rail(source, bdf, name, volts, amps))
    yield from found
    if any(str(key).startswith("power_consumption") for key in report):
        warning = flag(report.get("power_consumption_warning")) is True
        yield Power(source, bdf, number(report.get("power_consumption_watts"), "W"), warning)
    elif not found:
        yield Unreadable(source, bdf, "an electrical report without rails and power")


def _platforms(value: Any, source: Source, bdf: str) -> Iterator[Fact]:
    found: list[Fact] = []
    entries = _entries(value, source, found, "platforms")
    yield from found
    if not entries:
        yield Unreadable(source, bdf, "a platform report without a platform")
    for entry in entries:
        static, controller = _map(entry.get("static_region")), _map(entry.get("controller"))
        satellite = _map(controller.get("satellite_controller"))
        sc, expected = _text(satellite.get("version")), _text(satellite.get("expected_version"))
        if static:
            uuid = _uuid(static.get("logic_uuid"))
            yield Shell(source, bdf, _text(static.get("vbnv")), uuid, sc, expected)
        else:
            yield from _partitions(entry, source, bdf, "")
        said = [flag(value) for value in _values(entry, "calibrated")]
        # The management function's report has shells alone; a user function's report always tells of the memory.
        if said or not bdf.endswith(".0"):
            yield Memory(source, bdf, None if None in said or not said else all(said))
        for clock in _entries(entry.get("clocks"), source, [], "clocks"):
            reading = next((v for k, v in clock.items() if "freq" in k.lower() or "mhz" in k.lower()), None)
            yield Clock(source, bdf, _text(clock.get("id")) or _text(clock.get("description")), number(reading, "MHz"))


def _partitions(entry: Json, source: Source, bdf: str, path: str, depth: int = 0) -> Iterator[Fact]:
    """xbmgmt's platform report: whatever names a shell, active on the card or installed on the host."""
    if depth > _DEEPEST:
        return
    if "vbnv" in entry:
        installed = "available" in path or "installed" in path
        sc = _text(entry.get("sc_version"))
        uuid = _uuid(entry.get("logic_uuid", entry.get("logic-uuid")))
        managed = replace(source, tool="xbmgmt examine")
        yield Shell(managed, bdf, _text(entry["vbnv"]), uuid, sc, running=not installed)
    for name, inner in entry.items():
        for item in inner if isinstance(inner, list) else [inner]:
            if isinstance(item, Mapping):
                yield from _partitions(item, source, bdf, f"{path} {name}".lower()[-500:], depth + 1)


def _link(value: Any, source: Source, bdf: str) -> Iterator[Fact]:
    report = _map(value)
    speeds = [_generation(report.get(name)) for name in ("link_speed_gbit_sec", "expected_link_speed_gbit_sec")]
    lanes = [whole(report.get(name)) for name in ("express_lane_width_count", "expected_express_lane_width_count")]
    yield Link(source, bdf, speeds[0], lanes[0], speeds[1], lanes[1], whole(report.get("device")))


def _generation(value: object) -> int | None:
    """`link_speed_gbit_sec` holds the PCIe generation, whatever its name says; a real speed is understood too."""
    speed = number(value)
    return {2.5: 1, 8.0: 3, 16.0: 4, 32.0: 5}.get(speed or 0.0, int(speed) if speed in (1, 2, 3, 4, 5, 6) else None)


def _firewall(value: Any, source: Source, bdf: str) -> Iterator[Fact]:
    for entry in value if isinstance(value, list) else [value]:
        report = _map(entry)
        words = " ".join(_text(v) for v in report.values()).upper()
        status = whole(report.get("firewall_status"))
        if report and "error_msg" not in report:
            good = "GOOD" in words or status == 0
            tripped = False if good and not status else True if status else None
            yield Firewall(source, bdf, _text(report.get("firewall_level")), tripped)


def _kernels(value: Any, source: Source, bdf: str) -> Iterator[Fact]:
    names: list[str] = []
    for region in value if isinstance(value, list) else [value]:
        units = _map(region).get("compute_units")
        names += [_text(_map(unit).get("name")) for unit in units] if isinstance(units, list) else []
    if names:
        yield Kernels(source, bdf, tuple(names))


def _validation(document: Json, file: str) -> Iterator[Fact]:
    source, found = Source(file, "xbutil validate", "JSON"), list[Fact]()
    devices = _entries(document["logical_devices"], source, found, "logical_devices")
    yield from found
    if not devices:
        yield Complaint(source, "", "no devices", "validate tested no card")
    for entry in devices:
        bdf, listed = normal_bdf(_text(entry.get("device_id"))), list[Fact]()
        tests = _entries(entry.get("tests"), source, listed, "tests")
        yield from listed
        era = era_of(_text(test.get("name")) for test in tests)
        here = replace(source, era=era)
        results = [_test(test, here, bdf) for test in tests]
        passed = bool(results) and not any(r.outcome in (Outcome.FAILED, Outcome.UNREADABLE) for r in results)
        vbnv = _text(entry.get("platform"))
        yield Shell(here, bdf, vbnv, _uuid(entry.get("platform_id")), _text(entry.get("sc_version")))
        yield Validation(here, bdf, vbnv, passed and not any(r.errors for r in results), len(results))
        yield from results


def _test(entry: Json, source: Source, bdf: str) -> Trial:
    lines: list[tuple[str, str]] = []
    log = entry.get("log")
    for item in log if isinstance(log, list) else [log]:
        lines += [(_kind(str(kind)), str(text)[:2000]) for kind, text in _map(item).items()]
    name = _text(entry.get("name"))
    ended = with_log(outcome(entry.get("status", "none")), (kind for kind, _ in lines))
    return Trial(source, bdf, canonical(name), name, ended, tuple(lines))


def _kind(name: str) -> str:
    lower = name.lower()
    return "error" if "err" in lower else "warning" if "warn" in lower else "detail"


_READERS: dict[str, tuple[str, Callable[[Any, Source, str], Iterator[Fact]]]] = {
    "thermals": ("thermals", _thermals), "electrical": ("electrical", _electrical),
    "platforms": ("platform", _platforms), "pcie_info": ("pcie", _link), "firewall": ("firewall", _firewall),
    "dynamic_regions": ("kernels", _kernels),
}  # fmt: skip
