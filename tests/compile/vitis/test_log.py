from __future__ import annotations

from compile.vitis.log import MEANINGS, Fatal, Log


def read(*lines: str) -> tuple[Log, list[str]]:
    log = Log()
    return log, [shown for line in lines if (shown := log.heard(line)) is not None]


def test_a_whole_log_of_release_2() -> None:
    log, shown = read(
        "*" * 50,
        '[UNILOG][INFO] The compiler log will be dumped at "/tmp/u/log/xcompiler-20220101-101010-77"',
        "[UNILOG][INFO] Target architecture: DPUCVDX8H_ISA1_F2W2_8PE",
        "[UNILOG][INFO] Compile mode: dpu",
        "[UNILOG][INFO] Graph name: UNet, with op num: 210",
        "[UNILOG][INFO] Begin to compile...",
        "[UNILOG][INFO] Total device subgraph number 4, DPU subgraph number 1",
        "[UNILOG][INFO] Compile done.",
        '[UNILOG][INFO] The compiled xmodel\'s md5sum is 0123456789abcdef0123456789ABCDEF, and has been saved to "x"',
    )
    assert (log.folder, log.target) == ("/tmp/u/log/xcompiler-20220101-101010-77", "DPUCVDX8H_ISA1_F2W2_8PE")
    assert (log.device_subgraphs, log.dpu_subgraphs, log.done) == (4, 1, True)
    assert log.md5 == "0123456789abcdef0123456789abcdef"
    assert (log.fatal, log.aborted) == (None, False)
    assert shown[1:3] == ["Graph name: UNet, with op num: 210", "Begin to compile..."] and len(shown) == 5


def test_release_3_has_a_prefix() -> None:
    prefix = "I20231023 11:48:43.061691   116 compile_pass_manager.cpp:489] "
    log, shown = read(f"{prefix}Total device subgraph number 3, DPU subgraph number 0", f"{prefix}Compile done.")
    assert (log.device_subgraphs, log.dpu_subgraphs, log.done) == (3, 0, True)
    assert shown == ["Total device subgraph number 3, DPU subgraph number 0", "Compile done."]


def test_fatal_messages() -> None:
    log, _ = read(
        "F0312 16:00:08.870633   991 op_imp.cpp:110] [UNILOG][FATAL][XCOM_DATA_OUTRANGE][Data value is out of range!]",
        "*** Check failure stack trace: ***",
        "[UNILOG][FATAL][XCOM_PM_FAIL][later] not the cause",
        "Aborted (core dumped)",
    )
    assert log.fatal == Fatal("XCOM_DATA_OUTRANGE", "Data value is out of range!", "")
    assert log.aborted and log.fatal.code in MEANINGS
    assert str(Fatal("A", "b", "c")) == "[A] b c"


def test_noise_is_harmless() -> None:
    log, shown = read("", "\x1b[31m\x1b[0m", "x" * 10**5, "DPU subgraph number " + "9" * 5000, "[UNILOG][FATAL][")
    assert shown == [] and log.fatal is None and log.dpu_subgraphs is None
    for number in range(100):
        log.heard(f"line {number}")
    assert len(log.tail) == 41 and log.tail[-1] == "line 99"
