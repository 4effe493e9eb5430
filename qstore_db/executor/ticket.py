"""A caller's wish, and the one run that fulfils all equal wishes. Both belong to the executor's event loop."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from dataclasses import dataclass, field

from qstore_db.backends.request import ExecutionRequest
from qstore_db.backends.result import ExecutionResult


@dataclass(slots=True, eq=False)
class Ticket:
    """One caller waiting for one result.

    Args:
        request: What is asked.
        key: Under which an equal result may be used; ``None`` when it must be run for this caller alone.
        priority: Higher first.
        deadline: When the caller loses interest, on the executor's clock; ``None`` for never.
        may_wait: Whether it may wait for room in the queue.
        future: Where the result goes; its owner may cancel it at any time.
        admitted: Done once the request is in the queue, or needs no place there.
        entry: The run it waits for, once there is one.
        watch: The task that waits for the deadline.
        is_settled: Whether the future is done and this ticket needs nothing more.
    """

    request: ExecutionRequest
    key: str | None
    priority: int
    deadline: float | None
    may_wait: bool
    future: Future[ExecutionResult] = field(default_factory=Future)
    admitted: Future[None] = field(default_factory=Future)
    entry: Entry | None = None
    watch: asyncio.Task[None] | None = None
    is_settled: bool = False

    def settle(self, outcome: ExecutionResult | BaseException) -> None:
        """Gives a result or an error to the caller, once; a caller who has cancelled gets nothing."""
        if self.is_settled:
            return
        self.is_settled = True
        self.entry = None
        if self.watch is not None:
            self.watch.cancel()
            self.watch = None
        if self.future.set_running_or_notify_cancel():
            if isinstance(outcome, BaseException):
                self.future.set_exception(outcome)
            else:
                self.future.set_result(outcome)
        self.admit()

    def admit(self) -> None:
        """Says that the request has its place in the queue or needs none."""
        if not self.admitted.done():
            self.admitted.set_result(None)


@dataclass(slots=True, eq=False)
class Entry:
    """One run of a request for all tickets that want it.

    Args:
        request: What is run.
        key: As in :class:`Ticket`.
        priority: The highest of its tickets so far.
        tickets: Who waits for it; none when all have gone.
        batch: The job it is in; ``None`` while it is queued.
    """

    request: ExecutionRequest
    key: str | None
    priority: int
    tickets: list[Ticket]
    batch: Batch | None = None


@dataclass(slots=True, eq=False)
class Batch:
    """The entries of one job, and the task that sends it.

    Args:
        entries: In the order of the job; fewer after a retry that some no longer wait for.
        task: Gives one outcome for each of the entries.
    """

    entries: list[Entry]
    task: asyncio.Task[list[ExecutionResult | BaseException]] | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether anybody waits for any of it."""
        return any(entry.tickets for entry in self.entries)
