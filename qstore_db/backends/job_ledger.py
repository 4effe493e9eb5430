"""The ledger of remote jobs: each is a row before it is sent, so that none is ever paid for twice.

    planned ─► sent ─► done ─► its results are used, and given up when their user is safe
        │        └───► failed, cancelled
        └─► failed (the provider refused it), lost (it never got there)

A job carries its tag to the provider. Whoever finds a planned row after a crash asks the provider for the tag, and
polls again what it finds there. How rows are kept is the business of whoever implements the port: one that survives the
process is in :mod:`qstore_db.training.job_ledger`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import Protocol, TypeVar

from qstore_db.backends.request import ExecutionRequest
from qstore_db.backends.result import ExecutionResult
from qstore_db.errors import AlreadyExistsError, BudgetExceededError, InvalidArgumentError, NotFoundError

Value = TypeVar("Value")


class JobStatus(StrEnum):
    """Where a job of the ledger stands.

    ``PLANNED``: about to be sent; it may be at the provider or not. ``SENT``: the provider has taken it. ``DONE``: its
    results are here. ``FAILED``: the provider refused it or could not run it. ``CANCELLED``: stopped, as a rule
    before it ran. ``LOST``: the provider was asked for its tag, long enough after it could have been sent, and knows no
    such job.
    """

    PLANNED = "planned"
    SENT = "sent"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """One job.

    Args:
        tag: Its name here and at the provider; unique.
        backend: Name of the backend.
        target: The provider's name of the device.
        sdk: The library that spoke with the provider.
        identity: Of the service: results may be used only where it is the same.
        fingerprints: Of the requests, in their order; none once the row is closed.
        requests: How many.
        circuits: Samples of these requests.
        shots: Measurements of all circuits together.
        estimate: What it costs by the price list, in United States dollars.
        planned_at: When the row was written, in seconds since the epoch.
        run: Number of the training run it belongs to, or ``None``.
        status: Where it stands.
        provider_id: The provider's id, once it is known.
        sent_at: When the provider is known to have taken it.
        ended_at: When it was done, failed, cancelled or found to be lost.
        cost: What it counts for: the estimate once it may have run, 0 once it is sure that it never did. ``None`` while
            that is open; the estimate counts until then.
        note: Why it failed, or what else is worth knowing.
        used: Places of the requests whose results were used for good, while some are not.
    """

    tag: str
    backend: str
    target: str
    sdk: str
    identity: str
    fingerprints: tuple[str, ...]
    requests: int
    circuits: int
    shots: int
    estimate: Decimal
    planned_at: float
    run: int | None = None
    status: JobStatus = JobStatus.PLANNED
    provider_id: str | None = None
    sent_at: float | None = None
    ended_at: float | None = None
    cost: Decimal | None = None
    note: str | None = None
    used: tuple[int, ...] = ()

    @property
    def counted(self) -> Decimal:
        """What it counts for in a budget: its cost, or its estimate while that is open."""
        return self.estimate if self.cost is None else self.cost

    @property
    def is_open(self) -> bool:
        """Whether its results are still to come."""
        return self.status in (JobStatus.PLANNED, JobStatus.SENT)

    @property
    def is_closed(self) -> bool:
        """Whether nothing of it is needed any more: it ended without results, or all of them were used for good."""
        return not self.fingerprints

    @property
    def requests_used(self) -> int:
        """How many results were used for good."""
        return self.requests if self.status is JobStatus.DONE and self.is_closed else len(self.used)


def counted(records: Iterable[JobRecord]) -> Decimal:
    """What jobs count for together, open ones included."""
    return sum((record.counted for record in records), Decimal(0))


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """A job that is about to be sent.

    Args:
        record: Its row.
        requests: What it asks.
    """

    record: JobRecord
    requests: tuple[ExecutionRequest, ...]


class JobLedger(Protocol):
    """Rows of jobs of one owner: a run, or whoever has no run. May be called from several threads at once.

    When a call that writes returns, what it wrote survives the end of the process, as far as the ledger survives it at
    all.
    """

    @property
    def run(self) -> int | None:
        """The run whose jobs these are."""
        ...

    def plan(self, jobs: Sequence[PlannedJob], ceiling: Decimal | None) -> None:
        """Writes the rows of jobs that are about to be sent: all of them, or none.

        Args:
            jobs: Planned, each with a new tag.
            ceiling: What all jobs of the ledger may count for, these included; ``None`` for no limit.

        Raises:
            BudgetExceededError: They would exceed the ceiling.
            AlreadyExistsError: A tag is taken.
        """
        ...

    def update(self, record: JobRecord) -> None:
        """Writes a row anew; one that ended without results is closed, and what it asks is given up.

        Raises:
            NotFoundError: There is no row of that tag.
        """
        ...

    def finish(self, record: JobRecord, results: Sequence[ExecutionResult]) -> None:
        """Writes a row anew with the results of its job, together."""
        ...

    def records(self) -> tuple[JobRecord, ...]:
        """All rows, in the order in which they were planned."""
        ...

    def requests(self, tag: str) -> tuple[ExecutionRequest, ...]:
        """What a job asks that is not closed.

        Raises:
            NotFoundError: There is no such job, or it is closed.
        """
        ...

    def results(self, tag: str) -> tuple[ExecutionResult, ...]:
        """The results of a job that is done and not closed.

        Raises:
            NotFoundError: There are none.
        """
        ...

    def settle(self, used: Mapping[str, Iterable[int]]) -> None:
        """Notes that results were used for good; a job of which all were is closed: only its row stays.

        Args:
            used: Tags, and places of the requests in their jobs.
        """
        ...


def check_budget(jobs: Sequence[PlannedJob], spent: Decimal, ceiling: Decimal | None) -> None:
    """Check that jobs stay within a ceiling.

    Raises:
        BudgetExceededError: They do not.
    """
    estimate = counted(job.record for job in jobs)
    if ceiling is not None and spent + estimate > ceiling:
        raise BudgetExceededError("the next job", estimate=estimate, spent=spent, ceiling=ceiling)


def settled(record: JobRecord, places: Iterable[int]) -> JobRecord:
    """The row once the results at these places were used for good."""
    used = tuple(sorted({*record.used, *places}))
    return _closed(record) if len(used) == record.requests else replace(record, used=used)


def written(record: JobRecord) -> JobRecord:
    """The row as it is kept: closed, where the job ended without results."""
    return record if record.is_open or record.status is JobStatus.DONE else _closed(record)


def _closed(record: JobRecord) -> JobRecord:
    # Fingerprints are most of a row, and rows are kept for ever.
    return replace(record, fingerprints=(), used=())


class MemoryLedger:
    """A ledger that ends with its process: for work that nobody continues after a crash, and for tests.

    Args:
        run: Whose jobs these are.
    """

    __slots__ = ("_lock", "_records", "_requests", "_results", "run")

    def __init__(self, run: int | None = None) -> None:
        self.run = run
        self._lock = threading.Lock()
        self._records: dict[str, JobRecord] = {}
        self._requests: dict[str, tuple[ExecutionRequest, ...]] = {}
        self._results: dict[str, tuple[ExecutionResult, ...]] = {}

    def plan(self, jobs: Sequence[PlannedJob], ceiling: Decimal | None) -> None:
        """See :class:`JobLedger`."""
        with self._lock:
            check_planned(jobs, self._records, self.run)
            check_budget(jobs, counted(self._records.values()), ceiling)
            for job in jobs:
                self._records[job.record.tag] = job.record
                self._requests[job.record.tag] = tuple(job.requests)

    def update(self, record: JobRecord) -> None:
        """See :class:`JobLedger`."""
        with self._lock:
            known_job(self._records, record.tag)
            self._keep(written(record))

    def finish(self, record: JobRecord, results: Sequence[ExecutionResult]) -> None:
        """See :class:`JobLedger`."""
        with self._lock:
            known_job(self._records, record.tag)
            self._records[record.tag] = record
            self._results[record.tag] = tuple(results)

    def records(self) -> tuple[JobRecord, ...]:
        """See :class:`JobLedger`."""
        with self._lock:
            return tuple(self._records.values())

    def requests(self, tag: str) -> tuple[ExecutionRequest, ...]:
        """See :class:`JobLedger`."""
        with self._lock:
            return known_job(self._requests, tag)

    def results(self, tag: str) -> tuple[ExecutionResult, ...]:
        """See :class:`JobLedger`."""
        with self._lock:
            return known_job(self._results, tag)

    def settle(self, used: Mapping[str, Iterable[int]]) -> None:
        """See :class:`JobLedger`."""
        with self._lock:
            for tag, places in used.items():
                self._keep(settled(known_job(self._records, tag), places))

    def _keep(self, record: JobRecord) -> None:
        self._records[record.tag] = record
        if record.is_closed:
            self._requests.pop(record.tag, None)
            self._results.pop(record.tag, None)


def check_planned(jobs: Sequence[PlannedJob], known: Mapping[str, object], run: int | None) -> None:
    """Check that rows are new to a ledger and belong to it.

    Raises:
        AlreadyExistsError: A tag is taken, or occurs twice.
        InvalidArgumentError: A row belongs to another run.
    """
    tags = [job.record.tag for job in jobs]
    for number, job in enumerate(jobs):
        tag = job.record.tag
        if tag in known or tag in tags[:number]:
            raise AlreadyExistsError(f"there is a job with the tag {tag!r}", fix="Give every job its own.", value=tag)
        if job.record.run != run:
            raise InvalidArgumentError(
                f"job {tag!r} is of run {job.record.run}, the ledger of run {run}",
                fix="Plan it in the ledger of its run.",
                value=job.record.run,
            )


def known_job(kept: Mapping[str, Value], tag: str) -> Value:
    """What is kept for a tag.

    Raises:
        NotFoundError: Nothing is.
    """
    if tag not in kept:
        raise NotFoundError(f"nothing is kept for a job {tag!r}", fix="See the table jobs.", value=tag)
    return kept[tag]
