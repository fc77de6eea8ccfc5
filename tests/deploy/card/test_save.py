"""Masking: what is taken out, and what the checks still need."""

from __future__ import annotations

from deploy.card.evidence import from_files
from deploy.card.judge import judged
from deploy.card.save import masked
from tests.deploy.card import samples


def test_names_numbers_and_addresses_are_taken_out_of_every_file() -> None:
    files = {
        "a": b'{"serial_number": "XFL1RT5PHT31", "hostname": "rack-7.example.org"}\nHOST: xcohost\n',
        "b": b"jane@rack-7.example.org:~$ xbutil examine\n  Serial Number : XFL1RT5PHT31 \n  00:0a:35:0f:1b:2c\n",
        "c": b"card XFL1RT5PHT31 of jane in /home/jane/saved, prompt [0000:21:00.1] at xcohost, own myself\n",
    }
    text = b"".join(masked(files, {"myself"}).values()).decode()
    for secret in ("XFL1RT5PHT31", "rack-7", "xcohost", "jane", "00:0a:35", "myself"):
        assert secret not in text
    assert "[0000:21:00.1]" in text and "xbutil examine" in text


def test_what_is_masked_is_judged_as_before() -> None:
    files = samples.folder(thermal=samples.device(**samples.thermals(device=98)))
    plain, hidden = (judged(from_files(f.items())) for f in (files, masked(files, {"card", "lab7", "xilinx"})))
    assert plain.data() == hidden.data() and int(plain.exit_code) == 1
