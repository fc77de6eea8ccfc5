"""Lines for the terminal that say where a run's time went and what is wrong with it."""

from __future__ import annotations

from deploy.tables import bottleneck_line, compat_line

SPEED = {
    "bottleneck": "device", "host_ms": 1.24, "workers": 2, "queue_ms": 30.0, "device_ms": 20.04, "threads": 1,
    "device_busy": 0.987, "sink_ms": 0.5, "threads_to_try": 33,
}  # fmt: skip


def test_the_times_the_bottleneck_and_the_threads_to_try() -> None:
    assert bottleneck_line(SPEED) == (
        "It waited for running the network most: decoding 1.2 ms a crop on each of 2 threads, queue 30.0, "
        "network 20.0 on each of 1 (99 % busy), writing 0.5; try --threads 33"
    )
    told = bottleneck_line({**SPEED, "bottleneck": "sink", "threads": 33})
    assert told.startswith("It waited for writing results most") and told.endswith("writing 0.5")


def test_what_is_wrong_with_another_programs_arithmetic() -> None:
    told = compat_line({"name": "deepynet", "flaws": ["It cuts off.", "It wraps."]})
    assert told.startswith("--compat deepynet imitates") and told.endswith("It cuts off. It wraps.")
