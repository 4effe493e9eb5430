"""Everything that waits for one backend: queue, equal requests joined, jobs under way. On one event loop only.

add ─► blocked (no room) ─► queued ─► running (in a job) ─► settled
            any of them ─► withdrawn (cancelled, or its deadline passed)
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import CancelledError
from dataclasses import replace
from functools import partial

from qstore_db.backends.backend import Backend
from qstore_db.backends.bounded_cache import BoundedCache
from qstore_db.backends.result import ExecutionResult
from qstore_db.errors import DeadlineExceededError, ExecutorClosedError, QueueFullError
from qstore_db.executor.batching import batch_size
from qstore_db.executor.clock import Clock
from qstore_db.executor.delivery import Delivery
from qstore_db.executor.event_loop import EventLoopThread
from qstore_db.executor.options import ExecutorOptions
from qstore_db.executor.priority_queue import PriorityQueue
from qstore_db.executor.ticket import Batch, Entry, Ticket
from qstore_db.executor.usage import Load

KEPT_OVERHEAD_BYTES = 1024
"""Counted for every kept result besides its arrays: objects and name."""


class Lane:
    """The way of requests to one backend.

    Args:
        backend: Where jobs go; closed with the lane.
        delivery: Sends them.
        options: Of the executor.
        results: The cache of results, shared by all lanes.
        clock: For deadlines.
        loop: The event loop that every method but :meth:`load` is called on.
    """

    __slots__ = ("_batches", "_blocked", "_clock", "_entries", "_is_closing", "_is_idle", "_is_pump_due", "_limit",
                 "_loop", "_options", "_queue", "_results", "backend", "delivery")  # fmt: skip

    def __init__(
        self,
        backend: Backend,
        delivery: Delivery,
        options: ExecutorOptions,
        results: BoundedCache[ExecutionResult],
        clock: Clock,
        loop: EventLoopThread,
    ) -> None:
        self.backend, self.delivery = backend, delivery
        self._options, self._results, self._clock, self._loop = options, results, clock, loop
        self._limit = min(options.max_jobs, backend.capabilities.max_jobs)
        self._blocked: PriorityQueue[Ticket] = PriorityQueue()
        self._queue: PriorityQueue[Entry] = PriorityQueue()
        self._entries: dict[str, Entry] = {}
        self._batches: set[Batch] = set()
        self._is_closing = self._is_pump_due = False
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    def load(self) -> Load:
        """What there is to do now; may be called from any thread."""
        batches = list(self._batches)
        return Load(
            blocked=len(self._blocked),
            queued=len(self._queue),
            running=sum(len(batch.entries) for batch in batches),
            jobs=len(batches),
        )

    def add(self, tickets: Sequence[Ticket]) -> None:
        """Takes tickets in; each is settled sooner or later, whatever happens."""
        self._is_idle.clear()
        for ticket in tickets:
            if ticket.future.cancelled():
                ticket.settle(CancelledError())
            elif self._is_closing:
                ticket.settle(_closed())
            elif ticket.deadline is not None and ticket.deadline <= self._clock.now():
                ticket.settle(_too_late())
            else:
                if ticket.deadline is not None:
                    ticket.watch = self._loop.spawn(self._expire(ticket, ticket.deadline))
                self._place(ticket)
        self._pump_soon()

    def withdraw(self, ticket: Ticket, outcome: BaseException) -> None:
        """Ends a ticket before its result is there; what nobody else waits for is not run.

        Args:
            ticket: Any ticket, also one that is settled.
            outcome: What its caller gets, unless it has cancelled.
        """
        if ticket.is_settled:
            return
        entry = ticket.entry
        ticket.settle(outcome)
        if entry is None:
            self._blocked.remove(ticket, ticket.priority)
        else:
            entry.tickets.remove(ticket)
            if not entry.tickets:
                self._drop(entry)
        self._pump_soon()

    async def close(self, *, drain: bool) -> None:
        """Refuses new tickets, settles those there are, and closes the backend.

        Args:
            drain: Whether to run what was already asked; otherwise all tickets fail with ``ExecutorClosedError``.
        """
        self._is_closing = True
        if not drain:
            for ticket in [*self._blocked, *(ticket for entry in self._live() for ticket in entry.tickets)]:
                self.withdraw(ticket, _closed())
        await self._is_idle.wait()
        await self.backend.close()

    def _live(self) -> list[Entry]:
        return [*self._queue, *(entry for batch in self._batches for entry in batch.entries)]

    def _place(self, ticket: Ticket) -> None:
        key = ticket.key
        if key is not None and (kept := self._results.get(key, counted=False)) is not None:
            ticket.settle(kept)  # it came in after the caller had looked
        elif key is not None and (entry := self._entries.get(key)) is not None:
            self._join(ticket, entry)
        elif len(self._queue) < self._options.queue_limit:
            ticket.entry = entry = Entry(ticket.request, key, ticket.priority, [ticket])
            self._queue.push(entry, entry.priority)
            if key is not None:
                self._entries[key] = entry
            ticket.admit()
        elif ticket.may_wait:
            self._blocked.push(ticket, ticket.priority)
        else:
            ticket.settle(_full(self.backend.name, self._options.queue_limit))

    def _join(self, ticket: Ticket, entry: Entry) -> None:
        usage = self.delivery.usage
        self.delivery.usage = replace(usage, joined=usage.joined + 1)
        ticket.entry = entry
        entry.tickets.append(ticket)
        if ticket.priority > entry.priority:
            if entry.batch is None:
                self._queue.remove(entry, entry.priority)
                self._queue.push(entry, ticket.priority)
            entry.priority = ticket.priority
        ticket.admit()

    async def _expire(self, ticket: Ticket, deadline: float) -> None:
        await self._clock.sleep(deadline - self._clock.now())
        ticket.watch = None
        self.withdraw(ticket, _too_late())

    def _drop(self, entry: Entry) -> None:
        self._forget(entry)
        if entry.batch is None:
            self._queue.remove(entry, entry.priority)
        elif not entry.batch.is_wanted and entry.batch.task is not None:
            entry.batch.task.cancel()

    def _forget(self, entry: Entry) -> None:
        if entry.key is not None and self._entries.get(entry.key) is entry:
            del self._entries[entry.key]

    def _pump_soon(self) -> None:
        # Once for everything that arrives in the same turn of the loop, so that it shares jobs.
        if not self._is_pump_due:
            self._is_pump_due = True
            self._loop.soon(self._pump)

    def _pump(self) -> None:
        self._is_pump_due = False
        self._unblock()
        while self._queue and len(self._batches) < self._limit:
            self._start(self._next_size())
            self._unblock()
        if not self._queue and not self._batches:
            self._is_idle.set()

    def _unblock(self) -> None:
        while self._blocked and len(self._queue) < self._options.queue_limit:
            self._place(self._blocked.pop())

    def _next_size(self) -> int:
        size = batch_size(
            (entry.request.work for entry in self._queue),
            len(self._queue),
            self._limit - len(self._batches),
            self.delivery.seconds_per_work(),
            self._options.batch,
        )
        return min(size, self.backend.capabilities.max_batch)

    def _start(self, size: int) -> None:
        batch = Batch([self._queue.pop() for _ in range(size)])
        for entry in batch.entries:
            entry.batch = batch
        self._batches.add(batch)
        batch.task = self._loop.spawn(self.delivery.deliver(batch))
        batch.task.add_done_callback(partial(self._finish, batch))

    def _finish(self, batch: Batch, task: asyncio.Task[list[ExecutionResult | BaseException]]) -> None:
        self._batches.discard(batch)
        if task.cancelled():
            outcomes: list[ExecutionResult | BaseException] = [_closed()] * len(batch.entries)
        elif (fault := task.exception()) is not None:
            # Not an error that a backend may raise: shown to the callers as it is, instead of leaving them waiting.
            outcomes = [fault] * len(batch.entries)
        else:
            outcomes = task.result()
        for entry, outcome in zip(batch.entries, outcomes, strict=True):
            self._forget(entry)
            if entry.key is not None and isinstance(outcome, ExecutionResult):
                self._results.put(entry.key, outcome, outcome.nbytes + KEPT_OVERHEAD_BYTES)
            for ticket in entry.tickets:
                ticket.settle(outcome)
            # Ends the circle of references: memory is free at once, not at the next garbage collection.
            entry.tickets.clear()
            entry.batch = None
        self._pump_soon()


def _closed() -> ExecutorClosedError:
    return ExecutorClosedError("the executor was closed before the circuit ran", fix="Close it with drain=True.")


def _too_late() -> DeadlineExceededError:
    return DeadlineExceededError("the deadline passed before the result was there", fix="Give more time.")


def _full(name: str, limit: int) -> QueueFullError:
    return QueueFullError(
        f"{limit} request(s) already wait for the backend {name!r}",
        fix="Wait for room, or raise ExecutorOptions.queue_limit.",
        value=limit,
    )
