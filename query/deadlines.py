"""Interrupts statements that run too long: one thread for all of them, started when needed and gone when idle."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_AGAIN_SECONDS = 0.05


@dataclass(slots=True, eq=False)
class Deadline:
    """One running statement.

    Args:
        at: When it is interrupted, on the monotonic clock.
        interrupt: How.
        passed: Whether that has happened.
    """

    at: float
    interrupt: Callable[[], None]
    passed: bool = False


@dataclass(slots=True, eq=False)
class Deadlines:
    """All running statements of a connection, each with the same number of seconds.

    A thread for every statement would cost more than a short statement itself. This one sleeps until the oldest
    deadline, looks, and ends when nothing is running.

    Args:
        seconds: How long a statement may run.
    """

    seconds: float
    _running: dict[int, Deadline] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _thread: threading.Thread | None = None

    @contextmanager
    def limit(self, interrupt: Callable[[], None]) -> Iterator[Deadline]:
        """Call ``interrupt`` if the body takes longer; never after the body has ended."""
        deadline = Deadline(time.monotonic() + self.seconds, interrupt)
        with self._changed:
            number = next(self._numbers)
            self._running[number] = deadline
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="qstore-deadlines", daemon=True)
                self._thread.start()
        try:
            yield deadline
        finally:
            with self._changed:
                self._running.pop(number, None)

    def close(self) -> None:
        """End the thread, and wait until it has ended."""
        with self._changed:
            thread = self._thread
            self._running.clear()
            self._changed.notify_all()
        if thread is not None:
            thread.join()

    def _watch(self) -> None:
        with self._changed:
            while self._running:
                self._changed.wait(self._interrupt_late())
            self._thread = None

    def _interrupt_late(self) -> float:
        """Interrupt what is late; seconds until the next look.

        Every later statement has a later deadline, so none has to wake the thread early. An interrupt between two steps
        of a statement may be lost, so what is late is interrupted again and again.
        """
        now = time.monotonic()
        for deadline in self._running.values():
            if deadline.at <= now:
                deadline.passed = True
                deadline.interrupt()
        return max(min(deadline.at for deadline in self._running.values()) - now, _AGAIN_SECONDS)
