from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deploy.bench import BenchJob, run_bench, shown, whole_numbers
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
