"""How the work of an executor ends early: its caller cancels, it is closed, or it is forgotten."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future

from qstore_db.backends.result import ExecutionResult
from qstore_db.executor.event_loop import EventLoopThread
from qstore_db.executor.lane import Lane
from qstore_db.executor.ticket import Ticket


class Withdrawal:
    """Tells the lane when a caller cancels; a callback of the caller's future that holds no reference to the executor.

    Args:
        loop: The loop of the lane.
        lane: Where the ticket is.
        ticket: Whose future it is added to.
    """

    __slots__ = ("_lane", "_loop", "_ticket")

    def __init__(self, loop: EventLoopThread, lane: Lane, ticket: Ticket) -> None:
        self._loop, self._lane = loop, lane
        self._ticket: Ticket | None = ticket

    def __call__(self, future: Future[ExecutionResult]) -> None:
        """Called once, when the future is done."""
        ticket, self._ticket = self._ticket, None  # the future is done: no circle of references stays
        if ticket is not None and future.cancelled():
            self._loop.post(self._lane.withdraw, ticket, CancelledError())


async def close_all(lanes: Sequence[Lane], drain: bool) -> None:
    """Closes lanes together; see :meth:`~qstore_db.executor.lane.Lane.close`."""
    await asyncio.gather(*(lane.close(drain=drain) for lane in lanes))


def abandon(process: int, loop: EventLoopThread, lanes: Sequence[Lane]) -> None:
    """Ends what a forgotten executor leaves: all callers fail, then the thread ends.

    It never waits: a finalizer may run on any thread, and in a forked child the loop's thread does not exist.

    Args:
        process: Id of the process that made the executor; in any other nothing is done.
        loop: Its loop.
        lanes: Its lanes.
    """
    if os.getpid() == process:
        loop.post(lambda: _close_then_stop(loop, lanes))


def _close_then_stop(loop: EventLoopThread, lanes: Sequence[Lane]) -> None:
    task = loop.spawn(close_all(lanes, False))
    task.add_done_callback(lambda _finished: loop.stop())
