"""Status: tables, extremes, the log, and a clean end. Time is made up."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.card.evidence import from_files
from deploy.card.facts import Rail, Source, gathered
from deploy.card.readings import Reading, readings
from deploy.card.sampling import Clock, samples
from deploy.card.status import StatusJob, status
from deploy.card.verdict import Status
from deploy.console import Output
from tests.deploy.card import fakes
from tests.deploy.card import samples as made
from xmodel.errors import UnavailableError


class Time:
    """A clock that stands still but for its waits; after `turns` waits Ctrl-C is pressed."""

    def __init__(self, turns: int) -> None:
        self.seconds, self.turns = 100.0, turns
        self.clock = Clock(lambda: self.seconds, self.wait)

    def wait(self, seconds: float) -> bool:
        if self.turns == 0:
            raise KeyboardInterrupt
        self.turns -= 1
        self.seconds += seconds
        return False


def _readings(files: dict[str, bytes]) -> dict[str, Reading]:
    evidence = from_files(files.items())
    return {f"{r.group} {r.name}": r for r in readings(evidence, "0000:21:00")}


def test_readings_with_their_limits() -> None:
    found = _readings(made.folder())
    fpga = found["temperature FPGA"]
    assert (fpga.value, fpga.limit, fpga.what, fpga.headroom, fpga.status) == (52.0, 95, "throttling", 43.0, Status.OK)
    assert found["temperature PCB"].limit == 85 and found["power total"].headroom == 244.0
    assert found["power 12v_pex"].shown == "20.5 W" and found["voltage 12v_aux_1"].shown == "12.10 V"
    assert found["clock DATA_CLK"].value == 350.0 and found["link Gen4 x8"].status is Status.OK
    assert next(iter(found)).startswith("temperature") and list(found)[-1] == "link Gen4 x8"


def test_of_several_readings_the_gravest_counts() -> None:
    files = made.folder(second=made.device(**made.thermals(device=98)), third=made.device(**made.thermals(device=60)))
    assert _readings(files)["temperature FPGA"].value == 98.0


def test_a_reading_that_is_missing_is_shown_as_such() -> None:
    rail = Rail(Source("x", "xbutil"), "0000:21:00.1", "12v_pex", None)
    (reading,) = readings(gathered([rail]), "0000:21:00")
    assert reading.shown == "no reading" and reading.status is Status.FAILED and reading.headroom is None


def test_samples_keep_their_pace_and_none_is_made_up_for() -> None:
    time = Time(100)

    def slow() -> dict[str, tuple[Reading, ...]]:
        time.seconds += 2.5 if 103 < time.seconds < 105 else 0.1
        return {}

    taken = [round(s.seconds, 6) for s in samples(slow, 2.0, time.clock, 9.0)]
    assert taken == [0.0, 2.0, 4.0, 8.0]


def test_a_clock_that_is_told_to_stop_ends_the_samples() -> None:
    assert len(list(samples(dict, 1.0, Clock(lambda: 0.0, lambda _: True)))) == 1


def _warming(root: Path) -> None:
    """An xbutil whose FPGA is 10 degrees warmer each time it is asked."""
    fakes.production(root)
    fakes.working(root, {
        "host": made.host(), "platform": made.device(**made.platform()), "pcie-info": made.device(**made.pcie()),
        "electrical": made.device(**made.electrical()),
        **{f"thermal{n}": made.device(**made.thermals(device=50 + 10 * n)) for n in range(8)},
    })  # fmt: skip
    tool = root / "bin/xbutil"
    folder = root / "answers"
    step = (
        f'[ "$what" = thermal ] && {{ n=$(cat {folder}/n 2>/dev/null || echo 0); echo $((n+1)) > {folder}/n; '
        "what=thermal$n; }\n"
    )
    tool.write_text(tool.read_text().replace("[ -f ", f"{step}[ -f ", 1))


def test_watching_until_ctrl_c(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _warming(tmp_path)
    log = tmp_path / "log/x.csv"
    status(StatusJob(watch=True, csv=log), Output(), fakes.machinery(tmp_path), Time(2).clock)
    told = capsys.readouterr()
    rows = list(csv.reader(log.open()))
    column = rows[0].index("temperature FPGA [°C]")
    assert [row[column] for row in rows[1:]] == ["50", "60", "70"] and rows[1][0] == "0.0"
    assert "Stopped." in told.err and "70 °C" in told.out and told.out.count("worst") == 3


def test_once_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _warming(tmp_path)
    status(StatusJob(), Output(json=True), fakes.machinery(tmp_path), Time(0).clock)
    data = json.loads(capsys.readouterr().out)
    (fpga,) = [r for r in data["cards"]["0000:21:00"] if r["name"] == "FPGA"]
    assert fpga == {
        "group": "temperature", "name": "FPGA", "value": 50.0, "unit": "°C", "limit": 95.0, "headroom": 45.0,
        "status": "ok",
    }  # fmt: skip
    assert data["names"] == {"0000:21:00": f"0000:21:00.1 · VCK5000 · {made.GEN4}"}


def test_ctrl_c_without_watch_is_an_interruption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _warming(tmp_path)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("deploy.card.sampling.sample", interrupted)
    with pytest.raises(KeyboardInterrupt):
        status(StatusJob(), Output(quiet=True), fakes.machinery(tmp_path), Time(0).clock)


@pytest.mark.parametrize("prepare", [lambda root: None, fakes.production], ids=["nothing", "no tools"])
def test_without_a_card(prepare: Callable[[Path], None], tmp_path: Path) -> None:
    prepare(tmp_path)
    tmp_path.joinpath("bin").mkdir(exist_ok=True)
    with pytest.raises(UnavailableError):
        status(StatusJob(device="17:00.1"), Output(quiet=True), fakes.machinery(tmp_path), Time(0).clock)


def test_saved_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, data in made.folder(thermal=made.device(**made.thermals(device=98))).items():
        (tmp_path / name).write_bytes(data)
    status(StatusJob(source=tmp_path), Output())
    shown = capsys.readouterr().out
    assert "98 °C" in shown and "throttling 95 °C" in shown and "worst" not in shown
    with pytest.raises(UnavailableError, match="no card '17:00'"):
        status(StatusJob(source=tmp_path, device="17:00"), Output(quiet=True))


def test_saved_output_without_sensors(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(made.host())
    with pytest.raises(UnavailableError, match="No sensor's reading"):
        status(StatusJob(source=tmp_path), Output(quiet=True))
