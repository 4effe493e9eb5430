"""The executor: many circuits at once, on backends chosen by name.

A request goes: cache of results -> an equal one already under way -> queue -> job -> backend, and its result back the
same way. The executor owns one thread with an event loop; callers may be coroutines on any loop, or threads.
"""

from __future__ import annotations

import asyncio
import math
import os
import weakref
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from types import MappingProxyType, TracebackType

import numpy as np

from qstore_db.backends.backend import Backend, Price
from qstore_db.backends.bounded_cache import BoundedCache, CacheStatistics
from qstore_db.backends.capabilities import Capabilities, require_supported
from qstore_db.backends.named import backend_named, full_name
from qstore_db.backends.request import ExecutionRequest
from qstore_db.backends.result import ExecutionResult
from qstore_db.errors import (
    ExecutionError,
    ExecutorClosedError,
    ForkedExecutorError,
    InvalidArgumentError,
    UnknownBackendError,
)
from qstore_db.executor.batching import portions
from qstore_db.executor.cache import result_key
from qstore_db.executor.clock import Clock, SystemClock
from qstore_db.executor.delivery import Delivery
from qstore_db.executor.ending import Withdrawal, abandon, close_all
from qstore_db.executor.event_loop import EventLoopThread
from qstore_db.executor.lane import Lane
from qstore_db.executor.options import ExecutorOptions
from qstore_db.executor.ticket import Ticket
from qstore_db.executor.usage import Load, Usage


class Executor:
    """Runs circuits on backends; safe for many threads and event loops at once.

    Every backend has a queue of its own. Equal exact requests are run once; results do not depend on batching, on the
    number of threads or on the cache. The executor closes its backends when it is closed. A program that drops it
    without closing leaves nobody waiting: what was not run fails with ``ExecutorClosedError``.

    The methods that run circuits share these arguments:
        backend: Name of the backend; the first one if not given.
        priority: Higher numbers first; first come first served within one number.
        deadline_seconds: From now, above 0. When it passes the caller gets ``DeadlineExceededError``; what nobody else
            wants is not run.
        wait_for_room: What to do when the queue is full: wait, or fail with ``QueueFullError``.
    and these errors:
        UnknownBackendError: There is no such backend in this executor.
        UnsupportedRequestError: The backend cannot run a request; nothing was sent.
        ExecutorClosedError: The executor is or was closed.
        ForkedExecutorError: This process is a forked child of the one that made the executor.
        BackendFailedError: The backend failed, after all retries.

    Args:
        backends: One or several, with different names; they belong to the executor from now on.
        options: Its bounds.
        clock: Source of time.
        seed: Of the jitter of retries, and of nothing else; ``None`` takes it from the operating system.

    Raises:
        InvalidArgumentError: No backends, or two of one name.

    Example:
        >>> from qstore_db.circuits.circuit import Circuit, Operation
        >>> from qstore_db.circuits.observables import PauliString
        >>> bell = Circuit(2, (Operation("H", (0,)), Operation("CX", (0, 1))))
        >>> with Executor.named("local") as executor:
        ...     executor.run(ExecutionRequest(bell, [PauliString("ZZ")])).values.round(12).tolist()
        [[1.0]]
    """

    __slots__ = ("__weakref__", "_clock", "_finalizer", "_is_closed", "_lanes", "_loop", "_options", "_process",
                 "_results")  # fmt: skip

    def __init__(
        self,
        *backends: Backend,
        options: ExecutorOptions | None = None,
        clock: Clock | None = None,
        seed: int | None = None,
    ) -> None:
        names = [backend.name for backend in backends]
        if not names or len(set(names)) < len(names):
            raise InvalidArgumentError(
                f"the backends {names} are no choice by name",
                fix="Give at least one, each with its own name.",
                value=names,
            )
        self._options = ExecutorOptions() if options is None else options
        self._clock: Clock = SystemClock() if clock is None else clock
        self._results: BoundedCache[ExecutionResult] = BoundedCache(self._options.result_cache, self._clock.now)
        self._loop = EventLoopThread("qstore-executor")
        rng = np.random.default_rng(seed)
        self._lanes = {
            backend.name: Lane(
                backend,
                Delivery(backend, self._options.retry, self._clock, rng),
                self._options,
                self._results,
                self._clock,
                self._loop,
            )
            for backend in backends
        }
        self._process = os.getpid()
        self._is_closed = False
        # It knows the parts but not the executor, and also runs at the end of the program.
        self._finalizer = weakref.finalize(self, abandon, self._process, self._loop, tuple(self._lanes.values()))

    @classmethod
    def named(cls, *names: str, options: ExecutorOptions | None = None, seed: int | None = None) -> Executor:
        """An executor over backends with their default settings.

        Raises:
            UnknownBackendError: There is no backend of a name; the message says which there are.
            InvalidArgumentError: No names, or one twice.
        """
        return cls(*(backend_named(name) for name in names), options=options, seed=seed)

    async def submit(
        self,
        request: ExecutionRequest,
        *,
        backend: str | None = None,
        priority: int = 0,
        deadline_seconds: float | None = None,
        wait_for_room: bool = True,
    ) -> ExecutionResult:
        """Runs one request without blocking the caller's event loop. Cancelling the caller cancels the request.

        Raises:
            DeadlineExceededError: The deadline passed.
            QueueFullError: There is no room and the request was not to wait.
        """
        lane = self._lane(backend)
        deadline = self._deadline(deadline_seconds)
        (future,) = self._send(lane, [request], priority, deadline, wait_for_room)
        return await asyncio.wrap_future(future)

    async def submit_batch(
        self,
        requests: Iterable[ExecutionRequest],
        *,
        backend: str | None = None,
        priority: int = 0,
        deadline_seconds: float | None = None,
    ) -> list[ExecutionResult]:
        """Runs requests and returns their results in order.

        They are taken from the iterable in portions of ``queue_limit``, so that a long one does not fill the memory. If
        some fail, the others of the portion still run and the error of the first one is raised; to see every outcome,
        call :meth:`start` for each.
        """
        lane = self._lane(backend)
        deadline = self._deadline(deadline_seconds)
        results: list[ExecutionResult] = []
        for portion in portions(requests, self._options.queue_limit):
            futures = self._send(lane, portion, priority, deadline, True)
            outcomes = await asyncio.gather(*map(asyncio.wrap_future, futures), return_exceptions=True)
            results += map(_checked, outcomes)
        return results

    def start(
        self,
        request: ExecutionRequest,
        *,
        backend: str | None = None,
        priority: int = 0,
        deadline_seconds: float | None = None,
        wait_for_room: bool = True,
    ) -> Future[ExecutionResult]:
        """Queues one request and returns its future as soon as it has its place; blocks only while there is no room.

        The future may be cancelled. Callbacks added to it run on the executor's own thread: they must be short and may
        not wait for the executor.

        Raises:
            ExecutionError: Called on the executor's own thread.
        """
        self._refuse_own_thread()
        lane = self._lane(backend)
        ticket = self._ticket(lane, request, priority, self._deadline(deadline_seconds), wait_for_room)
        self._post(lane, [ticket])
        try:
            ticket.admitted.result()
        except BaseException:  # interrupted while it waited: nobody would hold the future
            ticket.future.cancel()
            raise
        return ticket.future

    def run(
        self,
        request: ExecutionRequest,
        *,
        backend: str | None = None,
        priority: int = 0,
        deadline_seconds: float | None = None,
        wait_for_room: bool = True,
    ) -> ExecutionResult:
        """:meth:`submit` for threads: blocks until the result is there.

        Raises:
            ExecutionError: Called on the executor's own thread.
        """
        future = self.start(
            request,
            backend=backend,
            priority=priority,
            deadline_seconds=deadline_seconds,
            wait_for_room=wait_for_room,
        )
        try:
            return future.result()
        finally:
            future.cancel()  # does nothing unless the wait was interrupted

    def run_batch(
        self,
        requests: Iterable[ExecutionRequest],
        *,
        backend: str | None = None,
        priority: int = 0,
        deadline_seconds: float | None = None,
    ) -> list[ExecutionResult]:
        """:meth:`submit_batch` for threads: blocks until all results are there.

        Raises:
            ExecutionError: Called on the executor's own thread.
        """
        self._refuse_own_thread()
        lane = self._lane(backend)
        deadline = self._deadline(deadline_seconds)
        results: list[ExecutionResult] = []
        for portion in portions(requests, self._options.queue_limit):
            futures = self._send(lane, portion, priority, deadline, True)
            try:
                wait(futures)
            finally:
                for future in futures:
                    future.cancel()
            results += [future.result() for future in futures]
        return results

    @property
    def backends(self) -> Mapping[str, Capabilities]:
        """Name and capabilities of every backend, the one used by default first."""
        return MappingProxyType({name: lane.backend.capabilities for name, lane in self._lanes.items()})

    def capabilities(self, backend: str | None = None) -> Capabilities:
        """What one backend can do; the first one if not given."""
        return self._lane(backend).backend.capabilities

    def price(self, requests: Sequence[ExecutionRequest], *, backend: str | None = None) -> Price:
        """What these requests would cost if each were run; nothing is sent."""
        return self._lane(backend).backend.price(requests)

    def usage(self) -> Mapping[str, Usage]:
        """What was run, by backend."""
        self._check()
        return {name: lane.delivery.usage for name, lane in self._lanes.items()}

    def load(self) -> Mapping[str, Load]:
        """What there is to do now, by backend."""
        self._check()
        return {name: lane.load() for name, lane in self._lanes.items()}

    def caches(self) -> Mapping[str, CacheStatistics]:
        """Statistics of every cache: ``results``, and those of the backends as ``<backend>.<level>``."""
        self._check()
        levels = {"results": self._results.statistics()}
        for name, lane in self._lanes.items():
            levels |= {f"{name}.{level}": found for level, found in lane.backend.caches().items()}
        return levels

    def close(self, *, drain: bool = True) -> None:
        """Ends the executor and closes its backends; returns when its thread has ended. Idempotent.

        Args:
            drain: Whether to wait for what was asked; otherwise it fails with ``ExecutorClosedError``.

        Raises:
            ForkedExecutorError: This is a forked child; the executor belongs to its parent.
            ExecutionError: Called on the executor's own thread.
        """
        self._check_fork()
        self._refuse_own_thread()
        if self._is_closed:
            return
        self._is_closed = True
        self._finalizer.detach()
        self._loop.run(lambda: close_all(tuple(self._lanes.values()), drain))
        self._loop.stop()

    async def aclose(self, *, drain: bool = True) -> None:
        """:meth:`close` without blocking the caller's event loop."""
        await asyncio.to_thread(self.close, drain=drain)

    def __enter__(self) -> Executor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(drain=error is None)

    async def __aenter__(self) -> Executor:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose(drain=error is None)

    def _send(
        self, lane: Lane, requests: Sequence[ExecutionRequest], priority: int, deadline: float | None, may_wait: bool
    ) -> list[Future[ExecutionResult]]:
        tickets = [self._ticket(lane, request, priority, deadline, may_wait) for request in requests]
        self._post(lane, tickets)
        return [ticket.future for ticket in tickets]

    def _post(self, lane: Lane, tickets: Sequence[Ticket]) -> None:
        waiting = [ticket for ticket in tickets if not ticket.is_settled]
        if not waiting:
            return
        self._loop.post(lane.add, waiting)
        for ticket in waiting:
            ticket.future.add_done_callback(Withdrawal(self._loop, lane, ticket))

    def _ticket(
        self, lane: Lane, request: ExecutionRequest, priority: int, deadline: float | None, may_wait: bool
    ) -> Ticket:
        require_supported(lane.backend.name, lane.backend.capabilities, request)
        ticket = Ticket(request, result_key(request, lane.backend), priority, deadline, may_wait)
        kept = None if ticket.key is None else self._results.get(ticket.key)
        if kept is not None:
            ticket.settle(kept)
        return ticket

    def _lane(self, name: str | None) -> Lane:
        self._check()
        lane = (
            next(iter(self._lanes.values()))
            if name is None
            else self._lanes.get(name) or self._lanes.get(full_name(name))
        )
        if lane is None:
            raise UnknownBackendError(
                f"the executor has no backend {name!r}",
                fix=f"It has {', '.join(map(repr, self._lanes))}; name others when you make it.",
                value=name,
            )
        return lane

    def _deadline(self, seconds: float | None) -> float | None:
        if seconds is None:
            return None
        if not (math.isfinite(seconds) and seconds > 0):
            raise InvalidArgumentError(
                f"deadline_seconds is {seconds}", fix="Give a time above 0, or None.", value=seconds
            )
        return self._clock.now() + seconds

    def _check(self) -> None:
        self._check_fork()
        if self._is_closed:
            raise ExecutorClosedError("the executor is closed", fix="Make a new one.")

    def _check_fork(self) -> None:
        if os.getpid() != self._process:
            raise ForkedExecutorError(
                f"the executor was made in process {self._process}; this is its forked child {os.getpid()}",
                fix="Make another executor in the child.",
                value=self._process,
            )

    def _refuse_own_thread(self) -> None:
        if self._loop.is_current:
            raise ExecutionError(
                "the executor cannot wait for itself on its own thread",
                fix="Do not call it from a callback of one of its futures.",
            )


def _checked(outcome: ExecutionResult | BaseException) -> ExecutionResult:
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome
