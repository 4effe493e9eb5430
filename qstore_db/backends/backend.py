"""The port behind which circuits run, and the values that pass through it.

A backend takes jobs: one job is a few requests sent together, its results come back together and in order. How it talks
to its device, waits and decodes is its own business; queueing, caching and retrying are the executor's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final, Protocol, runtime_checkable

from qstore_db.backends.bounded_cache import CacheStatistics
from qstore_db.backends.capabilities import Capabilities
from qstore_db.backends.request import ExecutionRequest
from qstore_db.backends.result import ExecutionResult


class JobState(StrEnum):
    """Where a job stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Job:
    """A job that a backend has taken.

    Args:
        id: Given by the backend, unique within it.
        backend: Its name.
        requests: How many.
    """

    id: str
    backend: str
    requests: int


@dataclass(frozen=True, slots=True)
class Price:
    """What a job costs.

    Args:
        dollars: United States dollars; 0 for a simulator in this process.
    """

    dollars: Decimal


FREE: Final = Price(Decimal(0))


@runtime_checkable
class Backend(Protocol):
    """A place where circuits run. All coroutines are called from one event loop."""

    @property
    def name(self) -> str:
        """How it is chosen; the label of its results, unless it chooses among simulators that label theirs."""
        ...

    @property
    def identity(self) -> str:
        """Name and every setting that can change a result; equal identities give equal exact results."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        ...

    def price(self, requests: Sequence[ExecutionRequest]) -> Price:
        """What a job of these requests would cost; asks nobody and spends nothing."""
        ...

    async def submit(self, requests: Sequence[ExecutionRequest]) -> Job:
        """Sends a job; returns as soon as the backend has taken it.

        Raises:
            UnsupportedRequestError: A request is beyond the capabilities; nothing was sent.
            BackendFailedError: It was not taken.
        """
        ...

    async def poll(self, job: Job) -> JobState:
        """Where the job stands now.

        Raises:
            NotFoundError: The backend does not know it, or its results were already fetched.
        """
        ...

    async def result(self, job: Job) -> tuple[ExecutionResult, ...]:
        """Waits for the job's end; one result for each request, in order. The job is forgotten afterwards.

        Raises:
            NotFoundError: As in :meth:`poll`.
            BackendFailedError: The job failed; ``retryable`` says whether sending it again may help.
            asyncio.CancelledError: The job was cancelled.
        """
        ...

    async def cancel(self, job: Job) -> bool:
        """Asks to stop a job and forgets it; whether it never ran. A job that is already unknown is not an error."""
        ...

    def caches(self) -> Mapping[str, CacheStatistics]:
        """Statistics of its own caches by level, such as ``"plans"``."""
        ...

    async def close(self) -> None:
        """Gives its threads and connections back. Idempotent."""
        ...
