from __future__ import annotations

import io
from pathlib import Path

from compile.vitis.failure import own_log
from compile.vitis.log import Log


def test_a_containers_log_folder_is_found_where_its_tmp_is(tmp_path: Path) -> None:
    (tmp_path / "user/log/xcompiler-1").mkdir(parents=True)
    (tmp_path / "user/log/xcompiler-1/a.log").write_text("op c failed\n")
    found, kept = Log(folder="/tmp/user/log/xcompiler-1"), io.StringIO()
    assert "is copied below ours" in own_log(found, 0.0, tmp_path, kept.write)
    assert "op c failed" in kept.getvalue() and found.tail == ["op c failed"]


def test_a_folder_that_the_log_does_not_name_is_found_by_its_age(tmp_path: Path) -> None:
    found, kept = Log(), io.StringIO()
    assert own_log(found, 0.0, tmp_path, kept.write) == "The compiler left no log folder."
    (tmp_path / "user/log/xcompiler-20231023-114843-116").mkdir(parents=True)
    told = own_log(found, 0.0, tmp_path, kept.write)
    assert told.endswith("xcompiler-20231023-114843-116 is empty.")
    assert own_log(found, 2.0**40, tmp_path, kept.write) == "The compiler left no log folder."


def test_long_logs_are_kept_from_their_end(tmp_path: Path) -> None:
    folder = tmp_path / "user/log/xcompiler-1"
    folder.mkdir(parents=True)
    (folder / "a.log").write_text("x" * 200_000 + "\nthe end")
    found, kept = Log(folder="/tmp/user/log/xcompiler-1"), io.StringIO()
    own_log(found, 0.0, tmp_path, kept.write)
    assert len(kept.getvalue()) < 70_000 and found.tail[-1] == "the end"
