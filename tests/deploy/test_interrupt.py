"""Ctrl-C as a shell sends it: a signal to a process with its threads at work."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.deploy.pictures import make_crops
from tests.deploy.tiny import NETWORK, exit_code, files, register

ROOT = Path(__file__).resolve().parents[2]
START = """
import time
from deploy import command, pictures
real = pictures.png
pictures.png = lambda mask: (time.sleep(0.02), real(mask))[1]  # so that there is a middle to stop in
command.main()
"""


def test_infer_finishes_what_is_in_flight_and_keeps_the_masks_it_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    register(monkeypatch)
    crops, out = tmp_path / "crops", tmp_path / "out"
    make_crops(crops, 400)
    model = tmp_path / "model"
    calib = ["--calib", crops, "--limit", 8, "--evaluate", 0]
    assert exit_code("quantize", *NETWORK, *calib, "--out", model / "quantize", "-q") == 0
    assert exit_code("compile", model / "quantize", "--out", model / "compile", "-q") == 0
    arguments = ["infer", model / "compile", "--crops", crops, "--out", out, "--threads", 2]
    process = subprocess.Popen(
        [sys.executable, "-c", START, *map(str, arguments)], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not list(out.glob("masks/*.png")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130, told
    assert "Stopping: what is in flight is finished first." in told and "Traceback" not in told
    left = {name for name in files(out) if not name.startswith(".journal/")}
    assert left and len(left) < 400 and all(name.startswith("masks/v") and name.endswith(".png") for name in left)
    entries = (out / ".journal" / "entries").read_text().splitlines()
    assert len(entries) == len(left), "each mask has its line in the journal"
    assert f"Interrupted during `infer`. {len(left)} of 400 crops are done and kept; run the same command" in told
