"""Ctrl-C while training: noted at once, obeyed between two steps."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Note Ctrl-C instead of raising ``KeyboardInterrupt``, so that it never falls into the middle of a commit.

    Gives a function that says whether Ctrl-C was pressed since. Signals reach the main thread only: in another thread,
    and where the process ignores Ctrl-C or leaves it to the system, nothing is changed and the function says no.
    """
    pressed = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield pressed.is_set
        return
    signal.signal(signal.SIGINT, lambda _signal, _frame: pressed.set())
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)
