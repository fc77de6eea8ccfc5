"""How `unmask` starts."""

from __future__ import annotations

import signal

import pytest

from deploy import command, start


@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN])
def test_the_command_runs_with_the_signals_it_would_have(handler: object, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    monkeypatch.setattr(command, "main", lambda: seen.append(signal.getsignal(signal.SIGINT)))
    before = signal.signal(signal.SIGINT, handler)  # type: ignore[arg-type]
    try:
        start.main()
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == [handler]
