from __future__ import annotations

import pytest

from xmodel.errors import ArtifactError, ExitCode, GateError, UnavailableError, UnmaskError, UsageError


@pytest.mark.parametrize(
    ("error", "code"), [(GateError, 1), (UsageError, 2), (UnavailableError, 3), (ArtifactError, 4), (UnmaskError, 2)]
)
def test_each_error_has_its_exit_code(error: type[UnmaskError], code: int) -> None:
    assert error("x").exit_code == code
    assert ExitCode(code) is error.exit_code


def test_the_message_says_where_what_and_what_to_do() -> None:
    error = ArtifactError("It is damaged.", where="a.xmodel", hint="Copy it again.")
    assert str(error) == "a.xmodel: It is damaged. Copy it again."
    assert (error.what, error.where, error.hint) == ("It is damaged.", "a.xmodel", "Copy it again.")
    assert str(UsageError("Alone.")) == "Alone."
