"""Addresses, and which card a fact without one belongs to."""

from __future__ import annotations

from deploy.card.facts import UNNAMED, Shell, Source, Temperature, Validation, gathered, normal_bdf, slot_of


def test_addresses_have_one_form() -> None:
    assert normal_bdf("65:00.1") == normal_bdf("[0000:65:00.1]") == normal_bdf("00000000:65:0.1") == "0000:65:00.1"
    assert normal_bdf("D8:00") == "0000:d8:00"
    assert normal_bdf("card[0]") == normal_bdf("") == normal_bdf("65:00.9") == ""
    assert slot_of("0000:65:00.1") == "0000:65:00"


def _hot(file: str, bdf: str = "") -> Temperature:
    return Temperature(Source(file, "xbutil examine"), bdf, "device", 45.0)


def _runs(file: str, bdf: str, vbnv: str) -> Shell:
    return Shell(Source(file, "xbutil examine"), bdf, vbnv)


def test_the_only_card_of_all_files_owns_what_has_no_address() -> None:
    assert gathered([_hot("a"), _hot("b", "0000:65:00.1")]).slots == ("0000:65:00",)


def test_the_only_card_of_the_same_file_comes_first() -> None:
    facts = gathered([_hot("a"), _hot("a", "0000:65:00.1"), _hot("b", "0000:17:00.1")])
    assert facts.facts[0].bdf == "0000:65:00"


def test_a_shells_name_tells_cards_apart() -> None:
    facts = [_runs("a", "0000:65:00.1", "one"), _runs("a", "0000:17:00.1", "two")]
    legacy = [Validation(Source("b", "xbutil validate"), "", "two", True), _hot("b")]
    assert {f.bdf for f in gathered([*facts, *legacy]).facts[2:]} == {"0000:17:00"}


def test_nothing_is_guessed_among_several() -> None:
    assert gathered([_hot("a"), _hot("b", "0000:65:00.1"), _hot("c", "0000:17:00.1")]).facts[0].bdf == UNNAMED
