"""SIGINT and SIGTERM as a request to finish what is in flight; the second of them stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_DEFAULTS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


@contextmanager
def requested(finish: Callable[[], None]) -> Iterator[None]:
    """While the block runs, the first signal calls `finish`, between two instructions of the main thread; any later
    one raises `KeyboardInterrupt` there.

    Signals that the program already handles in its own way are left alone, and so are all of them outside of the
    main thread, where Python allows no handler.
    """
    asked = False

    def handle(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        finish()

    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in _DEFAULTS} if main else {}
    taken = [number for number, handler in before.items() if handler == _DEFAULTS[number]]
    try:
        for number in taken:
            signal.signal(number, handle)
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])
