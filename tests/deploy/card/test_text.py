"""Bytes to text, numbers in other languages, and JSON in the middle of a log."""

from __future__ import annotations

import pytest

from deploy.card.text import decoded, flag, number, parts, whole


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_every_encoding_gives_the_same_text(encoding: str) -> None:
    text = "Thermals\r\n  device : \x1b[38;5;3m45\x1b[39m °C\r\n"
    assert decoded(text.encode(encoding)) == "Thermals\n  device : 45 °C\n"


def test_a_window_title_and_bells_are_no_text() -> None:
    assert decoded(b"\x1b]0;host\x07PCB\x07 : 3\x088 C\x1b(B\r") == "PCB : 38 C\n"


def test_binary_is_no_text() -> None:
    assert decoded(b"\x7fELF\x02\x01\x01" + bytes(40) + b"\x03\x00>\x00" * 9) is None
    assert decoded(b"") == ""


@pytest.mark.parametrize(
    ("written", "unit", "value"),
    [
        ("12.061", "", 12.061), ("12,061 V", "V", 12.061), ("45C", "C", 45.0), ("45 °C", "C", 45.0),
        ("98 Celsius", "C", 98.0), ("9,140.510806", "", 9140.510806), ("9.140,51", "", 9140.51),
        ("49 676 MB/s", "MB/s", 49676.0), ("1.234.567", "", 1234567.0), (".5", "", 0.5), ("-3", "", -3.0),
        (45, "", 45.0), ("NA", "", None), ("", "", None), ("45 98", "", None), ("45 W", "C", None), ("nan", "", None),
        (True, "", None), (None, "", None), (["98"], "", None), ("9" * 400, "", None), ("1e999", "", None),
    ],
)  # fmt: skip
def test_numbers(written: object, unit: str, value: float | None) -> None:
    assert number(written, unit) == value


def test_whole_numbers_and_flags() -> None:
    assert [whole(v) for v in ("0x5049", "8", "8.5", "", None, "0xzz")] == [0x5049, 8, None, None, None, None]
    assert [flag(v) for v in ("true", "Yes", "False", "no", "", "maybe", None)] == [
        True, True, False, False, None, None, None,
    ]  # fmt: skip


def test_json_is_found_between_lines_of_text() -> None:
    taken = parts('$ xbutil examine\n{\n "a": "1"\n}\nThermals\n{"b": ""}\nend')
    assert taken.documents == ({"a": "1"}, {"b": ""})
    assert [line for line in taken.lines if line] == ["$ xbutil examine", "Thermals", "end"]
    assert not taken.broken


def test_json_that_ends_too_early_is_told() -> None:
    taken = parts('{"devices": [{"device_id": "0000:65:00.1", "therm')
    assert not taken.documents and len(taken.broken) == 1 and "not whole" in taken.broken[0][0]


def test_a_name_that_is_there_twice_is_no_value() -> None:
    (document,) = parts('{"temp_C": "98", "temp_C": "45"}').documents
    assert number(document["temp_C"]) is None


@pytest.mark.parametrize(
    "text", ['{"a":' * 100_000, "{" * 200_000, '{"a": ' + "9" * 10_000 + "}", "\n{ \n" * 50_000, " " * 1_000_000 + ":"]
)
def test_hostile_text_is_read_to_the_end(text: str) -> None:
    assert not parts(text).documents  # a regular expression that explodes would not come back
