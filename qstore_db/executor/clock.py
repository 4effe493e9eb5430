"""Time as an argument: deadlines, delays and ages read one clock, and a test brings its own."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Where the executor's time comes from."""

    def now(self) -> float:
        """Seconds from any start, never going back; may be called from any thread."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Returns when that many seconds of this clock have passed."""
        ...


class SystemClock:
    """The monotonic clock of this machine."""

    def now(self) -> float:
        """Seconds since an unknown moment."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Lets other tasks run for that long."""
        await asyncio.sleep(seconds)
