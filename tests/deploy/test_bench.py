from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deploy import command
from deploy.bench import BenchJob, run_bench, shown, shown_profiles, whole_numbers
from xmodel.errors import UnavailableError, UsageError

ROW = {
    "title": "Unmask, native kernels", "ms_per_image": 20.0, "cpu_ms_per_image": 38.0, "fps": 50.0, "ratio": 1.0,
    "cpu_ratio": 1.0, "peak_share": 0.41, "peak_kib": 3 << 10, "equal": 1.0, "load_seconds": 0.5,
    "load_cpu_seconds": 0.25, "import_seconds": 0.125,
}  # fmt: skip
SLOW = {**ROW, "title": "another", "ms_per_image": 60.0, "fps": 16.7, "ratio": 3.0, "peak_share": None, "equal": 0.763}
FOUND: dict[str, Any] = {
    "machine": {"cpu": "A CPU", "cores": 2, "instructions": ["avx2"], "native_bfloat16": False, "load": [0.5, 0, 0]},
    "peaks": [{"threads": 2, "instructions": "AVX2", "products_per_second": 1.38e11}],
    "tables": [
        {"model": "uynet", "batch": 8, "threads": 2, "rows": {"slow": SLOW, "native": ROW},
         "skipped": {"openvino": "openvino is not installed"}},
    ],
}  # fmt: skip


def test_the_table_names_the_machine_and_is_sorted() -> None:
    lines = shown(FOUND).splitlines()
    assert lines[0] == "A CPU, 2 cores; instructions: avx2. Load average 0.5."
    assert lines[2] == "Measured INT8 peak, 2 threads, AVX2: 138 billion products a second."
    assert lines[4].startswith("uynet, batch 8, 2 threads")
    assert lines[5].split("  ")[0] == "Unmask, native kernels"
    assert lines[5].split()[3:] == ["20.0", "50.0", "1.00×", "38.0", "1.00×", "41.0", "%", "3", "MB", "yes"]
    assert lines[6].split()[:4] == ["another", "60.0", "16.7", "3.00×"]
    assert lines[6].endswith("–    3 MB  no, 76.3 % equal")
    assert lines[7] == "Skipped: openvino; openvino is not installed"
    assert lines[-1].split() == ["Unmask,", "native", "kernels", "uynet", "0.50", "0.25", "0.12"]


def test_a_profile_has_a_line_an_op_that_counts() -> None:
    def row(kind: str, milliseconds: float, share: float, speed: float | None) -> dict[str, Any]:
        return {
            "op": kind, "type": kind, "shape": [1, 8, 8, 3], "ms_per_image": milliseconds,
            "cpu_ms_per_image": 2 * milliseconds, "share": share, "products_per_second": speed,
        }  # fmt: skip

    rows = [
        row("conv2d-fix", 9.0, 0.9, 2.5e11),
        row("pool-fix", 0.99, 0.099, None),
        row("fix2float", 0.01, 0.001, None),
    ]
    item = {"model": "uynet", "batch": 8, "threads": 2, "kernels": "native", "rows": rows}
    lines = shown_profiles({"machine": FOUND["machine"], "profiles": [item]}).splitlines()
    assert lines[0].startswith("A CPU, 2 cores")
    assert lines[3].startswith("uynet, batch 8, 2 threads, native kernels")
    assert [line.split() for line in lines[4:]] == [
        ["conv2d-fix", "8x8x3", "9.00", "18.00", "90.0", "%", "250.0"],
        ["pool-fix", "8x8x3", "0.99", "1.98", "9.9", "%", "–"],
        ["1", "others", "0.01", "0.02", "0.1", "%", "–"],
        ["together", "10.00", "20.00", "100.0", "%", "–"],
    ]


def test_lists_of_numbers() -> None:
    assert whole_numbers("1, 8", "--batch") == (1, 8)
    for text in ("", "0", "1,,2", "-1", "2000", "x"):
        with pytest.raises(UsageError, match="--batch"):
            whole_numbers(text, "--batch")


def test_an_unknown_network_and_an_installation_without_benchmarks(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no model 'other'"):
        run_bench(BenchJob(models=("other",)))
    with pytest.raises(UnavailableError, match="not installed"):
        run_bench(BenchJob(), tmp_path)


def test_a_run_that_fails_is_told(tmp_path: Path) -> None:
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks/speed.py").write_text("raise SystemExit(5)\n")
    with pytest.raises(UnavailableError, match="status 5"):
        run_bench(BenchJob(), tmp_path)


def test_two_measurements_at_once_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.main(["bench", "--host", "--profile"])
    assert "--host and --profile exclude each other" in capsys.readouterr().err
