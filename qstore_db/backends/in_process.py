"""Makes a backend of a simulator that simply computes: jobs run on threads of this process."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Protocol

from qstore_db.backends.backend import FREE, Job, JobState, Price
from qstore_db.backends.bounded_cache import CacheStatistics
from qstore_db.backends.capabilities import Capabilities, require_supported
from qstore_db.backends.request import ExecutionRequest
from qstore_db.backends.result import ExecutionResult
from qstore_db.errors import InvalidArgumentError, NotFoundError


class Simulator(Protocol):
    """Computes results in the calling thread; may be called from several threads at once."""

    @property
    def name(self) -> str:
        """Of the backend it becomes."""
        ...

    @property
    def identity(self) -> str:
        """Name and every setting that can change a result."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What it can do; the number of jobs is set by whoever gives it threads."""
        ...

    def run(self, requests: Sequence[ExecutionRequest]) -> tuple[ExecutionResult, ...]:
        """One result for each request, in order; none depends on the requests beside it."""
        ...

    def caches(self) -> Mapping[str, CacheStatistics]:
        """Statistics of its caches by level."""
        ...


class InProcessBackend:
    """A simulator behind the port of backends.

    Args:
        simulator: What computes.
        threads: Jobs at the same time, at least 1. Results do not depend on it.

    Raises:
        InvalidArgumentError: The number of threads is below 1.
    """

    __slots__ = ("_jobs", "_numbers", "_simulator", "_threads", "capabilities")

    def __init__(self, simulator: Simulator, *, threads: int = 1) -> None:
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
            raise InvalidArgumentError(f"threads is {threads!r}", fix="Give at least 1.", value=threads)
        self._simulator = simulator
        self.capabilities = replace(simulator.capabilities, max_jobs=threads)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=f"qstore-{simulator.name}")
        self._jobs: dict[str, Future[tuple[ExecutionResult, ...]]] = {}
        self._numbers = itertools.count(1)

    @property
    def name(self) -> str:
        """That of the simulator."""
        return self._simulator.name

    @property
    def identity(self) -> str:
        """That of the simulator."""
        return self._simulator.identity

    def price(self, requests: Sequence[ExecutionRequest]) -> Price:
        """Nothing."""
        del requests  # any number of them is free
        return FREE

    async def submit(self, requests: Sequence[ExecutionRequest]) -> Job:
        """Queues a job for the threads.

        Raises:
            UnsupportedRequestError: A request is beyond the capabilities.
            InvalidArgumentError: No requests.
        """
        if not requests:
            raise InvalidArgumentError("a job without requests", fix="Give at least one.", value=0)
        for request in requests:
            require_supported(self.name, self.capabilities, request)
        job = Job(str(next(self._numbers)), self.name, len(requests))
        self._jobs[job.id] = self._threads.submit(self._simulator.run, tuple(requests))
        return job

    async def poll(self, job: Job) -> JobState:
        """Where the job stands.

        Raises:
            NotFoundError: There is no such job any more.
        """
        future = self._known(job)
        if future.cancelled():
            return JobState.CANCELLED
        if not future.done():
            return JobState.RUNNING if future.running() else JobState.WAITING
        return JobState.FAILED if future.exception() else JobState.DONE

    async def result(self, job: Job) -> tuple[ExecutionResult, ...]:
        """Waits for the results.

        Raises:
            NotFoundError: There is no such job any more.
            NotEnoughMemoryError: The states do not fit.
        """
        future = self._known(job)
        try:
            return await asyncio.wrap_future(future)
        finally:
            self._jobs.pop(job.id, None)

    async def cancel(self, job: Job) -> bool:
        """Forgets a job. One that already runs is not interrupted; its results go nowhere.

        Returns:
            Whether it was still waiting and now never runs.
        """
        future = self._jobs.pop(job.id, None)
        return future is not None and future.cancel()

    def caches(self) -> Mapping[str, CacheStatistics]:
        """Those of the simulator."""
        return self._simulator.caches()

    async def close(self) -> None:
        """Waits for running jobs and ends the threads; waiting jobs are cancelled."""
        await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)

    def _known(self, job: Job) -> Future[tuple[ExecutionResult, ...]]:
        future = self._jobs.get(job.id)
        if future is None or job.backend != self.name:
            raise NotFoundError(
                f"the backend {self.name!r} knows no job {job.id!r}",
                fix="Results can be fetched once; cancelled jobs are forgotten.",
                value=job,
            )
        return future
