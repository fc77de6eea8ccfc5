"""`unmask exec`: what it gives an application to run with, and its own mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy import application, command
from runtime.dropin.session import current, use
from tests.runtime.dropin import graphs
from tests.shared import SHARED, needs_shared
from xmodel import file
from xmodel.part import part


def test_a_session_compiles_for_eight_engines() -> None:
    session = application.session("reference", print)
    assert session.kernels == "reference" and not session.runs and session.compile is not None
    assert graphs.dpu(session.compile(graphs.detector())).get("dpu_name") == "DPUCVDX8H_ISA1_F2W2_8PE"


@needs_shared
def test_a_session_reads_the_vendors_parameters() -> None:
    graph = file.read(SHARED / "goldens" / "xmodels" / "v25_vck50008pe_tf2_custom_op.xmodel")
    first = part(graph, "subgraph_quant_conv2d")
    assert not len(first.op("quant_conv2d_bias_new").data)
    assert application.session("auto", print).prepare(first).op("quant_conv2d_bias_new").array().shape == (32,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument 'APP'"),
        (["--kernels", "fast", "app.py"], "'fast' is not one of"),
        (["none.py", "--kernels", "fast"], "Error: Cannot read this application: No such file or directory."),
    ],
)
def test_a_wrong_request_exits_with_2(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    before = current()
    try:
        with pytest.raises(SystemExit, match="2"):
            command.main(["exec", *arguments])
    finally:
        use(before)
    seen = capsys.readouterr()
    assert message in seen.err and not seen.out
