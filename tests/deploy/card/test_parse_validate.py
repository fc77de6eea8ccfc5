"""Text of `validate` in the three eras."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.card import parse_legacy, parse_validate
from deploy.card.facts import Era, Outcome, Shell, Trial, Validation
from tests.deploy.card import samples

CANONICAL = ["pcie-link", "sc-version", "verify", "dma", "iops", "mem-bw"]


def _of(kind: type[Any], text: str) -> list[Any]:
    lines = text.split("\n")
    facts = [*parse_validate.facts_of(lines, "x"), *parse_legacy.facts_of(lines, "x")]
    return [fact for fact in facts if isinstance(fact, kind)]


def _text(era: str, outcomes: dict[int, str] | None = None) -> str:
    return samples.legacy_text(outcomes) if era == "legacy" else samples.validation_text(era, outcomes)


@pytest.mark.parametrize(("era", "told"), [("legacy", Era.LEGACY), ("2021", Era.XRT_2021), ("2022", Era.XRT_2022)])
def test_a_good_run(era: str, told: Era) -> None:
    trials = _of(Trial, _text(era))
    assert [t.name for t in trials] == CANONICAL and {t.outcome for t in trials} == {Outcome.PASSED}
    assert {t.source.era for t in trials} == {told}
    assert "write bandwidth = 9011.2 MB/s" in trials[3].text and "read bandwidth = 8702.9 MB/s" in trials[3].text
    assert [(v.passed, v.tests) for v in _of(Validation, _text(era))] == [(True, 6)]
    assert _of(Shell, _text(era))[0].vbnv.startswith("xilinx_vck5000")


@pytest.mark.parametrize("era", ["legacy", "2021", "2022"])
def test_a_failure_ends_the_run(era: str) -> None:
    trials = _of(Trial, _text(era, {3: "FAILED"}))
    assert [t.outcome for t in trials] == [*[Outcome.PASSED] * 3, Outcome.FAILED]
    assert [v.passed for v in _of(Validation, _text(era, {3: "FAILED"}))] == [False]


@pytest.mark.parametrize("era", ["legacy", "2021", "2022"])
def test_what_ends_early_has_no_good_end(era: str) -> None:
    text = _text(era)
    end = max(text.find("INFO: Card[0] validated"), text.find("Validation completed"))
    for length in range(0, end + 10, 37):
        assert all(v.passed is None for v in _of(Validation, text[:length]))


def test_passed_with_warnings() -> None:
    assert _of(Trial, _text("legacy", {0: "PASSED with warning"}))[0].outcome is Outcome.WARNED
    assert _of(Trial, _text("2022", {0: "PASSED WITH WARNINGS"}))[0].outcome is Outcome.WARNED


def test_a_test_without_status_is_silent_and_a_strange_one_unreadable() -> None:
    text = samples.validation_text().replace("    Test Status           : [PASSED]\n", "", 1)
    assert _of(Trial, text)[0].outcome is Outcome.SILENT
    assert _of(Trial, samples.validation_text(outcomes={1: "DONE"}))[1].outcome is Outcome.UNREADABLE


def test_a_legacy_test_without_result_is_unreadable() -> None:
    text = samples.legacy_text().replace("INFO: == DMA test PASSED\n", "")
    assert _of(Trial, text)[3].outcome is Outcome.UNREADABLE


def test_errors_of_a_skipped_test_are_kept() -> None:
    text = (
        "Test 3 [0000:65:00.1]     : verify \n    Error(s)              : Failed to find the package\n"
        "                            Please install it\n    Details               : Skipping\n"
        "    Test Status           : [SKIPPED]\nValidation failed\n"
    )
    (trial,) = _of(Trial, text)
    assert trial.errors == ("Failed to find the package", "Please install it") and trial.outcome is Outcome.SKIPPED
    assert _of(Validation, text)[0].passed is False


def test_messages_in_between_change_nothing() -> None:
    noise = "WARNING: clock : slow\n[XRT] WARNING: retry\n"
    for era in ("2021", "2022"):
        noisy = "".join(f"{line}\n{noise}" for line in _text(era).split("\n"))
        assert _of(Trial, noisy) == _of(Trial, _text(era))


def test_two_cards_in_one_run() -> None:
    other = "0000:65:00.1"
    text = samples.validation_text().replace("Validation completed\n", "") + samples.validation_text(bdf=other)
    assert [(v.bdf, v.passed, v.tests) for v in _of(Validation, text)] == [(samples.BDF, True, 6), (other, True, 6)]
    text += (
        "\nValidation Summary\n1  device(s) had exceptions during validation\n\nValidation Exceptions [1 device(s)]\n"
    )
    text += f"  - [{other}] : xilinx : Test(s): 'DMA'\n"
    assert [v.passed for v in _of(Validation, text)] == [True, False]


def test_two_runs_in_one_log_are_both_kept() -> None:
    first = samples.validation_text(outcomes={2: "FAILED"})
    log = f"$ xbutil validate -d {samples.BDF}\n{first}$ xbutil validate -d {samples.BDF}\n{samples.validation_text()}"
    assert [v.passed for v in _of(Validation, log)] == [False, True]


def test_legacy_cards_have_numbers() -> None:
    second = samples.legacy_text({2: "FAILED"}).replace("card[0]", "card[1]").replace("Card[0]", "Card[1]")
    first = samples.legacy_text().replace("INFO: All cards validated successfully.\n", "")
    assert [(v.bdf, v.passed) for v in _of(Validation, first + second)] == [("card[0]", True), ("card[1]", False)]
