"""One job at a remote provider, from its row in the ledger to its results there.

It is sent by exactly one POST. Where the answer got lost, or the process that sent it died, the provider is asked for
the job's tag; only when it says that there is no such job, and has had the stated grace to take it in, does the job
count as never sent. Once a job is taken, no trouble on the way makes anybody send it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar

import numpy as np

from qstore_db.backends.backend import JobState
from qstore_db.backends.job_ledger import JobLedger, JobRecord, JobStatus
from qstore_db.backends.remote_options import RemoteOptions
from qstore_db.backends.remote_service import RemoteService
from qstore_db.backends.request import ExecutionRequest
from qstore_db.backends.result import ExecutionResult
from qstore_db.errors import (
    BackendFailedError,
    JobUnreachableError,
    NotFoundError,
    QStoreError,
    SubmissionRefusedError,
    UnsupportedRequestError,
)

_Given = ParamSpec("_Given")
_Answer = TypeVar("_Answer")
Results = tuple[ExecutionResult, ...]
NOTHING: Final = Decimal(0)


@dataclass(frozen=True, slots=True)
class Line:
    """What all jobs of a backend share.

    Args:
        service: The provider.
        ledger: Where jobs are written down.
        options: Times and bounds.
        threads: Where blocking calls run.
        clock: Seconds since the epoch.
        sleep: Lets other tasks run for so many seconds.
        rng: Source of the jitter.
        sending: Held while a job is made ready and sent.
    """

    service: RemoteService
    ledger: JobLedger
    options: RemoteOptions
    threads: Executor
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    rng: np.random.Generator
    sending: asyncio.Semaphore

    async def call(self, ask: Callable[_Given, _Answer], *given: _Given.args, **named: _Given.kwargs) -> _Answer:
        """Runs a blocking call on a thread."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, partial(ask, *given, **named))

    async def ask(self, ask: Callable[..., _Answer], *given: Any) -> _Answer:
        """Asks the provider, within the time of one call."""
        return await self.call(ask, *given, timeout_seconds=self.options.timeout_seconds)


class RemoteJob:
    """A job on its way; one task drives it, on the event loop of its backend.

    Args:
        line: What it shares with other jobs.
        record: Its row, already in the ledger.
        requests: What it asks; ``None`` to read it from the ledger when it is needed.
        is_new: Whether it was planned by this backend and was never sent.
    """

    __slots__ = ("_copies", "_is_new", "_line", "_requests", "left", "record", "taken", "task", "waiting")

    def __init__(
        self, line: Line, record: JobRecord, requests: tuple[ExecutionRequest, ...] | None = None, *, is_new: bool
    ) -> None:
        self._line, self._requests, self._is_new = line, requests, is_new
        self.record = record
        self._copies = NOTHING  # what copies of it cost that ran
        self.taken = asyncio.Event()
        self.waiting: set[int] = set()
        """Places of its requests that somebody waits for."""
        self.left = len(record.fingerprints) - len(record.used)
        """How many of its results were not handed out yet."""
        self.task: asyncio.Task[Results | QStoreError] | None = None

    @property
    def is_useful(self) -> bool:
        """Whether its results are here or still to come."""
        return self.record.is_open or self.record.status is JobStatus.DONE

    def start(self) -> asyncio.Task[Results | QStoreError]:
        """The task that drives it; it gives the results, or the error that they ended in.

        Started at the first call, and again where the provider could not be asked before.
        """
        if self.task is None or (self.task.done() and self.record.is_open):
            self.taken = asyncio.Event()
            self.task = asyncio.get_running_loop().create_task(self._outcome())
        return self.task

    async def cancel(self) -> bool:
        """Stops it at the provider where that is still possible; whether it is certain that it never ran.

        A job that has begun is paid for either way: it goes on, and its results are kept for whoever asks the same
        again.
        """
        known, service = self.record, self._line.service
        job_id = known.provider_id
        if job_id is None or not known.is_open:
            return False
        try:
            state: JobState = await self._line.ask(service.state, job_id)
            if state is not JobState.WAITING:
                return False
            stopped = await self._line.ask(service.cancel, job_id)
        except (BackendFailedError, NotFoundError):
            return False  # it stays open in the ledger, and is found again
        if stopped and self.record.is_open:
            if self.task is not None:
                self.task.cancel()
            await self._end(JobStatus.CANCELLED, note="cancelled before it ran")
        elif stopped and self.task is not None:
            await asyncio.wait({self.task})  # it has seen the end itself, and is writing it down
        return stopped

    async def _outcome(self) -> Results | QStoreError:
        try:
            return await self._results()
        except QStoreError as error:
            return error
        except asyncio.CancelledError:
            if self.record.status is not JobStatus.CANCELLED:
                raise
            return self._cancelled()  # somebody may have begun to wait for it meanwhile
        finally:
            self.taken.set()

    async def _results(self) -> Results:
        line = self._line
        if self.record.status is JobStatus.DONE:
            return await line.call(line.ledger.results, self.record.tag)
        if self._requests is None:
            self._requests = await line.call(line.ledger.requests, self.record.tag)
        if self.record.provider_id is None:
            await self._note_taken(await (self._sent() if self._is_new else self._looked_up()))
        self.taken.set()
        await self._ended(str(self.record.provider_id))
        results = await self._fetched(str(self.record.provider_id))
        done = replace(
            self.record, status=JobStatus.DONE, ended_at=line.clock(), cost=self.record.estimate
        )  # the price list's price: providers do not tell the price of a job
        await line.call(line.ledger.finish, done, results)
        self.record = done
        return results

    async def _sent(self) -> str:
        service, requests = self._line.service, self._requests or ()
        try:
            async with self._line.sending:
                self._is_new = False  # whatever comes of it: never a second time
                return await self._line.call(
                    service.send,
                    requests,
                    tag=self.record.tag,
                    timeout_seconds=self._line.options.timeout_seconds,
                )
        except (SubmissionRefusedError, UnsupportedRequestError) as error:
            await self._end(JobStatus.FAILED, note=str(error))
            raise
        except BackendFailedError:
            return await self._looked_up()  # whatever else went wrong, it may be there

    async def _looked_up(self) -> str:
        line = self._line
        # Whoever sent it has given up or is dead by now: the grace begins here, not when the row was written, because a
        # planned job may have waited long for its turn to be sent.
        began, asked = line.clock(), 0
        while True:
            asked += 1
            at = line.clock()
            try:
                found = await line.ask(line.service.find, self.record.tag)
            except BackendFailedError as error:
                found = None
                self._check_patience(began, error)
            if found:
                await self._drop_copies(found[1:])
                return found[0]
            if found is not None and at >= began + line.options.grace_seconds:
                raise await self._never_taken()
            await line.sleep(line.options.pause_seconds(asked, line.rng))

    async def _never_taken(self) -> SubmissionRefusedError:
        grace = self._line.options.grace_seconds
        note = f"the provider knew no job of its tag, asked for {grace:g} s"
        await self._end(JobStatus.LOST, note=note)
        return SubmissionRefusedError(
            f"job {self.record.tag!r} did not reach {self._line.service.name!r}: {note}",
            fix="Nothing: it is sent again under another tag.",
            value=self.record.tag,
            retryable=True,
        )

    async def _drop_copies(self, others: tuple[str, ...]) -> None:
        # Only a library that sends twice by itself makes copies; what they cost is written down.
        of_one = self.record.estimate
        for other in others:
            stopped = False
            try:
                stopped = await self._line.ask(self._line.service.cancel, other)
            except BackendFailedError as error:
                note = f"{other} could not be cancelled: {error}"
            else:
                note = f"{other} {'was cancelled' if stopped else 'ran as well'}"
            self._copies += NOTHING if stopped else of_one
            self.record = replace(
                self.record, note=f"sent more than once; the copy {note}", estimate=of_one + self._copies
            )

    async def _note_taken(self, provider_id: str) -> None:
        line = self._line
        taken = replace(self.record, status=JobStatus.SENT, provider_id=provider_id, sent_at=line.clock())
        self.record = taken
        await line.call(line.ledger.update, taken)

    async def _ended(self, job_id: str) -> None:
        asked, answered_at = 0, self._line.clock()
        while True:
            asked += 1
            pause = self._line.options.pause_seconds(asked, self._line.rng)
            try:
                state = await self._line.ask(self._line.service.state, job_id)
            except NotFoundError as error:
                raise await self._forgotten(job_id) from error
            except BackendFailedError as error:
                pause = max(pause, error.retry_after_seconds)
                self._check_patience(answered_at, error)
            else:
                answered_at = self._line.clock()
                if state is JobState.CANCELLED:
                    raise await self._stopped(job_id)
                if state in (JobState.DONE, JobState.FAILED):
                    return  # fetching a failed job tells why
            await self._line.sleep(pause)

    async def _fetched(self, job_id: str) -> Results:
        asked, began = 0, self._line.clock()
        requests = self._requests or ()
        while True:
            asked += 1
            pause = self._line.options.pause_seconds(asked, self._line.rng)
            try:
                results = await self._line.ask(self._line.service.fetch, job_id, requests)
            except NotFoundError as error:
                raise await self._forgotten(job_id) from error
            except BackendFailedError as error:
                if not error.retryable:
                    await self._end(JobStatus.FAILED, note=str(error), cost=await self._cost_of_failure(job_id))
                    raise
                pause = max(pause, error.retry_after_seconds)
                self._check_patience(began, error)
            else:
                if len(results) == len(requests):
                    return tuple(results)
                note = f"{len(results)} result(s) for {len(requests)} request(s)"
                await self._end(JobStatus.FAILED, note=note, cost=self.record.estimate)
                raise BackendFailedError(
                    f"job {job_id!r} gave {note}", fix="Report it to the author of the service.", value=job_id
                )
            await self._line.sleep(pause)

    async def _cost_of_failure(self, job_id: str) -> Decimal:
        # A job that the provider failed costs nothing; one whose results cannot be read was paid for.
        try:
            state = await self._line.ask(self._line.service.state, job_id)
        except QStoreError:
            return self.record.estimate
        return NOTHING if state is JobState.FAILED else self.record.estimate

    async def _forgotten(self, job_id: str) -> BackendFailedError:
        note = f"{self._line.service.name!r} knows no job {job_id!r} any more"
        await self._end(JobStatus.FAILED, note=note, cost=self.record.estimate)
        return BackendFailedError(note, fix="Look for it in the provider's console.", value=job_id)

    async def _stopped(self, job_id: str) -> BackendFailedError:
        # It may have begun before somebody cancelled it: only a provider that is sure of it makes it cost nothing.
        try:
            never_ran = await self._line.ask(self._line.service.cancel, job_id)
        except QStoreError:
            never_ran = False
        cost = NOTHING if never_ran else self.record.estimate
        await self._end(JobStatus.CANCELLED, note="cancelled at the provider", cost=cost)
        return self._cancelled()

    def _cancelled(self) -> BackendFailedError:
        job_id = self.record.provider_id
        return BackendFailedError(
            f"job {job_id!r} was cancelled at {self._line.service.name!r}", fix="Send it again.", value=job_id
        )

    async def _end(self, status: JobStatus, *, note: str, cost: Decimal = NOTHING) -> None:
        line = self._line
        cost = max(cost, self._copies)
        ended = replace(self.record, status=status, ended_at=line.clock(), cost=cost, note=note)
        self.record = ended
        await line.call(line.ledger.update, ended)

    def _check_patience(self, since: float, error: BackendFailedError) -> None:
        if self._line.clock() - since >= self._line.options.patience_seconds:
            raise self._unreachable(error) from error

    def _unreachable(self, error: BackendFailedError) -> JobUnreachableError:
        return JobUnreachableError(
            f"job {self.record.tag!r} cannot be asked about at {self._line.service.name!r}: {error}",
            fix="Try again later; the job is in the ledger and is not sent again.",
            value=self.record.tag,
        )
