"""Soaks on made-up cards in made-up time: the curve, the verdict, and every way to end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from arch.targets import find
from compile.pipeline import compile_graph
from deploy.card.curve import plot
from deploy.card.live import Machinery
from deploy.card.load import load_of
from deploy.card.readings import Reading
from deploy.card.sampling import Clock
from deploy.card.soak import Soak, soak
from deploy.card.soak_job import SoakJob, soak_job
from deploy.card.soak_page import headline, write_soak_page
from deploy.card.verdict import Status
from deploy.console import Output
from tests.compile.build import Builder
from tests.deploy.card import fakes
from tests.deploy.card import samples as made
from xmodel import file
from xmodel.errors import GateError, UnavailableError


def _card(celsius: float | None, limit: float = 95.0) -> dict[str, tuple[Reading, ...]]:
    status = Status.FAILED if celsius is None or celsius >= 97 else Status.OK
    return {"0000:21:00": (Reading("temperature", "FPGA", celsius, "°C", limit, "throttling", status),)}


def _clock(stop: threading.Event) -> Clock:
    now = [0.0]

    def wait(seconds: float) -> bool:
        now[0] += seconds
        return stop.is_set()

    return Clock(lambda: now[0], wait)


def _busy(stop: Callable[[], bool], done: Callable[[int], None]) -> Mapping[str, Any]:
    while not stop():
        done(1)
        time.sleep(0.0005)
    return {"fps": 812.0}


def _soak(temperatures: Sequence[float | None], load: Any = _busy) -> Soak:
    values = iter(temperatures)
    return soak(lambda: _card(next(values)), load, 10.0 * (len(temperatures) - 1), 10.0, clock=_clock)


def test_a_cool_card() -> None:
    found = _soak([40, 50, 58, 62, 64, 65, 65, 65, 65, 65, 65])
    (curve,) = found.curves
    assert (curve.first, curve.highest, curve.headroom, curve.near, curve.rising) == (40, 65, 30, False, False)
    assert (
        found.passed and found.seconds == 100.0 and found.speed == {"fps": 812.0} and headline(found) == "Cool enough"
    )
    assert found.sentence == "FPGA reached 65 °C, 30 below its throttling limit of 95."


def test_near_the_limit_and_still_rising() -> None:
    found = _soak([40, 45, 50, 55, 60, 65, 70, 75, 80, 85, 91])
    assert found.passed and found.curves[0].rising and headline(found) == "Limits came near"
    assert found.sentence.startswith("The card's limits came near: FPGA reached 91 °C, 4 below")
    assert found.sentence.endswith("It was still rising at the end: run longer.")


def test_the_limit_is_reached() -> None:
    found = _soak([80, 90, 95, 96])
    assert not found.passed and headline(found) == "Limits reached" and found.curves[0].rising is None
    assert found.sentence == "The card's limits were reached: FPGA reached 96 °C, 1 above its throttling limit of 95."


def test_a_critical_temperature_stops_the_load() -> None:
    found = _soak([90, 98, 99, 99])
    assert [s.seconds for s in found.samples] == [0.0, 10.0] and not found.passed
    assert found.ended == "Stopped: FPGA is critical at 98 °C."


def test_a_card_that_falls_silent_stops_the_load() -> None:
    found = _soak([50, None, 50])
    assert found.ended.startswith("Stopped: FPGA is critical") is False and "no temperature" in found.ended
    assert not found.passed and len(found.curves[0].points) == 1


def test_no_temperature_at_all() -> None:
    found = _soak([None, None])
    assert not found.passed and found.sentence.startswith("No temperature was read")


def test_a_tool_that_breaks_stops_the_load() -> None:
    def take() -> dict[str, tuple[Reading, ...]]:
        raise UnavailableError("xbutil is gone.")

    found = soak(take, _busy, 20.0, 10.0, clock=_clock)
    assert found.ended == "Sampling failed: xbutil is gone." and not found.passed


def _raises(error: BaseException) -> Any:
    def load(_stop: Callable[[], bool], _done: Callable[[int], None]) -> Mapping[str, Any]:
        raise error

    return load


@pytest.mark.parametrize(
    ("load", "ended"),
    [
        (_raises(UnavailableError("The card hangs.")), "The load failed: The card hangs."),
        (_raises(KeyboardInterrupt()), "Interrupted."),
    ],
)  # fmt: skip
def test_what_stops_the_load_stops_the_sampling(load: Any, ended: str) -> None:
    found = _soak([50] * 1000, load)
    assert found.ended == ended and not found.passed


def test_a_load_that_becomes_slower() -> None:
    def found(rates: list[float]) -> Soak:
        pairs = tuple((10.0 * n, rate) for n, rate in enumerate(rates, 1))
        return Soak(60, 60, (), (), {}, pairs)

    assert found([100, 800, 800, 800, 600, 600, 600]).slowed
    assert not found([100, 800, 810, 800, 790, 800, 800]).slowed
    assert not found([800, 100]).slowed


def test_the_page_has_the_curve(tmp_path: Path) -> None:
    found = _soak([40, 60, 80, 92])
    write_soak_page(tmp_path / "x.html", found, "u.xmodel", "card<b>")
    text = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert "<svg" in text and "Limits came near" in text and "card&lt;b&gt;" in text and "812.0" in text
    assert plot(found.curves).count("<polyline") == 1 and "nan" not in text


def test_a_curve_of_one_point_and_one_of_many() -> None:
    one = _soak([50, None]).curves
    assert "<polyline" in plot(one) and "NaN" not in plot(one)
    many = soak(lambda: _card(60.0), _busy, 30000.0, 10.0, clock=_clock).curves
    assert len(many[0].points) == 3001 and plot(many).count(",") < 1400


@pytest.fixture
def warm(tmp_path: Path) -> Machinery:
    fakes.production(tmp_path)
    fakes.working(tmp_path, {
        "host": made.host(), "platform": made.device(**made.platform()),
        "thermal": made.device(**made.thermals(device=96)),
    })  # fmt: skip
    return fakes.machinery(tmp_path)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A detector of two layers, compiled."""
    b = Builder()
    first = b.fix(b.unary("r", "relu", b.conv("c1", b.data((1, 8, 8, 3)), 8)), 3)
    score = b.unary("prob", "sigmoid", b.fix(b.linear("l", b.fix(b.pool("p", "maxpool2d", first, 2), 3), 1), -3))
    graph = b.graph(b.fix(b.conv("c2", first, 2), 1), score)
    file.write(tmp_path / "net.xmodel", compile_graph(graph, find("8PE")))
    return tmp_path / "net.xmodel"


def test_the_network_as_the_load(model: Path, warm: Machinery, tmp_path: Path) -> None:
    load, device, _ = load_of(model, "emulator", 1)
    turns = iter(range(100))
    counted: list[int] = []
    speed = load(lambda: next(turns) >= 20, counted.append)
    assert device == "emulator" and speed["crops"] == 20 == sum(counted)
    job = SoakJob(model, 0.2, 0.2, None, "emulator", 1, tmp_path / "log.csv", tmp_path / "soak.html")
    with pytest.raises(GateError, match=r"Limits reached: .*FPGA reached 96 °C"):
        soak_job(job, Output(quiet=True), warm)
    assert "Limits reached" in (tmp_path / "soak.html").read_text(encoding="utf-8")
    assert (tmp_path / "log.csv").read_text(encoding="utf-8").startswith("seconds,temperature PCB")
