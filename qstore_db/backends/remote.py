"""A remote provider behind the port of backends, with every job in a ledger before it is sent.

What is asked again after a crash is answered by the jobs that were sent before it: their results, kept in the ledger
until they were used for good, or the jobs themselves, found at the provider. A request is told from others by its
fingerprint; where equal ones are asked several times, each has a job's place of its own, so that samples stay
independent.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np

from qstore_db.backends.backend import Job, JobState, Price
from qstore_db.backends.bounded_cache import CacheStatistics
from qstore_db.backends.capabilities import Capabilities, require_supported
from qstore_db.backends.job_ledger import JobLedger, JobRecord, PlannedJob
from qstore_db.backends.job_pieces import joined, pieces_of, portions_of
from qstore_db.backends.remote_job import Line, RemoteJob
from qstore_db.backends.remote_options import RemoteOptions
from qstore_db.backends.remote_service import RemoteService
from qstore_db.backends.request import ExecutionRequest
from qstore_db.backends.result import ExecutionResult
from qstore_db.errors import InvalidArgumentError, NotFoundError, QStoreError

_Place = tuple[RemoteJob, int]
"""A job and the place of a request in it."""


@dataclass(frozen=True, slots=True)
class HandedOut:
    """What was handed out since it was last asked.

    Args:
        places: By tag, the places of the requests whose results were handed out.
        cost: Of the jobs of which something was handed out for the first time.
    """

    places: Mapping[str, frozenset[int]]
    cost: Decimal


def remote_capabilities(service: RemoteService) -> Capabilities:
    """What a service can do behind a ledger: start states are not kept with a job, so they are prepared by gates."""
    return replace(service.capabilities, amplitudes=False)


class RemoteBackend:
    """A remote service as a backend; see :class:`~qstore_db.backends.backend.Backend`.

    One job here may be several at the provider, and a part of one: requests of different shots are sent apart, long
    ones in pieces, and what an earlier process has asked is not asked again.

    Args:
        service: The provider; closed with the backend.
        ledger: Where jobs are written down.
        ceiling: What all jobs of the ledger may cost together, in dollars, open ones included; ``None`` for no limit.
        options: Times and bounds.
        keeps_delivered: Whether results stay in the ledger when they were handed out, until its owner settles them; see
            :meth:`take_delivered`. Otherwise they are given up at once.
        clock: Seconds since the epoch.
        sleep: Lets other tasks run for so many seconds.
        new_tag: Makes a tag that nobody has used.
        seed: Of the jitter; ``None`` takes it from the operating system.

    Raises:
        InvalidArgumentError: The ceiling is negative or not finite.
    """

    __slots__ = ("_adopted", "_asked", "_ceiling", "_cost", "_delivered", "_free", "_jobs", "_keeps", "_line", "_lock",
                 "_new_tag", "_numbers", "_seen", "_service", "_threads", "capabilities")  # fmt: skip

    def __init__(
        self,
        service: RemoteService,
        ledger: JobLedger,
        *,
        ceiling: Decimal | None = None,
        options: RemoteOptions | None = None,
        keeps_delivered: bool = False,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        new_tag: Callable[[], str] = lambda: f"qstore-{uuid.uuid4().hex}",
        seed: int | None = None,
    ) -> None:
        if ceiling is not None and not (ceiling.is_finite() and ceiling >= 0):
            raise InvalidArgumentError(f"the ceiling is {ceiling}", fix="Give dollars from 0 on.", value=ceiling)
        chosen = RemoteOptions() if options is None else options
        self._service, self._ceiling, self._keeps, self._new_tag = service, ceiling, keeps_delivered, new_tag
        self.capabilities = remote_capabilities(service)
        self._threads = ThreadPoolExecutor(chosen.connections, thread_name_prefix=f"qstore-{service.name}")
        self._line = Line(
            service,
            ledger,
            chosen,
            self._threads,
            clock,
            sleep,
            np.random.default_rng(seed),
            asyncio.Semaphore(chosen.sends),
        )
        self._jobs: dict[str, RemoteJob] = {}
        self._free: dict[str, deque[_Place]] = {}
        self._asked: dict[str, list[list[_Place]]] = {}
        self._numbers = itertools.count(1)
        self._adopted: asyncio.Task[None] | None = None
        self._lock = threading.Lock()  # what was delivered is read by another thread
        self._delivered: dict[str, set[int]] = {}
        self._seen: set[str] = set()
        self._cost = Decimal(0)

    @property
    def name(self) -> str:
        """That of the service."""
        return self._service.name

    @property
    def identity(self) -> str:
        """That of the service."""
        return self._service.identity

    @property
    def target(self) -> str:
        """The provider's name of the device."""
        return self._service.target

    def price(self, requests: Sequence[ExecutionRequest]) -> Price:
        """What these requests would cost if each were sent, by the provider's price list."""
        pieces = [piece for request in requests for piece in self._pieces(request)]
        portions = portions_of(pieces, self.capabilities.max_batch)
        return Price(
            sum((self._service.price([pieces[n] for n in portion]).dollars for portion in portions), Decimal(0))
        )

    async def submit(self, requests: Sequence[ExecutionRequest]) -> Job:
        """Sends what no earlier job answers; returns when the provider has taken all of it.

        Raises:
            InvalidArgumentError: No requests.
            UnsupportedRequestError: A request is beyond the capabilities; nothing was sent.
            BudgetExceededError: It would exceed the ceiling; nothing was sent.
            BackendFailedError: A part of it was not taken. What was taken is kept for whoever asks it again.
        """
        if not requests:
            raise InvalidArgumentError("a job without requests", fix="Give at least one.", value=0)
        for request in requests:
            require_supported(self.name, self.capabilities, request)
        await self._adopt()
        pieces = [self._pieces(request) for request in requests]
        placing = asyncio.ensure_future(self._placed([piece for of_one in pieces for piece in of_one]))
        try:
            places = await asyncio.shield(placing)
        except asyncio.CancelledError:
            with contextlib.suppress(QStoreError):  # rows may be written: they are for whoever asks the same again
                self._release(await placing)
            raise
        tasks = {job: job.start() for job, _ in places}
        try:
            await asyncio.gather(*(job.taken.wait() for job in tasks))
        except asyncio.CancelledError:
            self._release(places)
            raise
        failed = [task.result() for task in tasks.values() if task.done()]
        for outcome in failed:
            if isinstance(outcome, QStoreError):
                self._release(places)
                raise outcome
        taken = iter(places)
        asked = [[next(taken) for _ in of_one] for of_one in pieces]
        made = Job(str(next(self._numbers)), self.name, len(requests))
        self._asked[made.id] = asked
        return made

    async def poll(self, job: Job) -> JobState:
        """Where the job stands: done when all its parts are, failed when one is.

        Raises:
            NotFoundError: There is no such job any more.
        """
        tasks = [remote.start() for of_one in self._known(job) for remote, _ in of_one]
        if any(task.done() and isinstance(task.result(), QStoreError) for task in tasks):
            return JobState.FAILED
        return JobState.DONE if all(task.done() for task in tasks) else JobState.RUNNING

    async def result(self, job: Job) -> tuple[ExecutionResult, ...]:
        """Waits for the results.

        Raises:
            NotFoundError: There is no such job any more.
            BackendFailedError: A part of it failed. What did not is kept for whoever asks it again.
            JobUnreachableError: The provider cannot be asked about a part of it.
        """
        asked = self._known(job)
        tasks = {remote: remote.start() for of_one in asked for remote, _ in of_one}
        await asyncio.wait(tasks.values())
        if self._asked.pop(job.id, None) is None:
            raise self._unknown(job)  # cancelled while it was waited for
        places = [place for of_one in asked for place in of_one]
        found: dict[RemoteJob, tuple[ExecutionResult, ...]] = {}
        for remote, task in tasks.items():
            outcome = task.result()
            if isinstance(outcome, QStoreError):
                self._release(places)
                raise outcome
            found[remote] = outcome
        await self._note_delivered(places)
        return tuple(joined([found[remote][place] for remote, place in of_one]) for of_one in asked)

    async def cancel(self, job: Job) -> bool:
        """Forgets a job, and stops at the provider what nobody else waits for and has not begun.

        Returns:
            Whether none of it ever ran. What runs all the same is kept for whoever asks it again.
        """
        asked = self._asked.pop(job.id, None)
        if asked is None:
            return False
        places = [place for of_one in asked for place in of_one]
        self._release(places)
        idle = {remote for remote, _ in places if not remote.waiting}
        stopped = await asyncio.gather(*(remote.cancel() for remote in idle))
        return all(stopped) and len(idle) == len({remote for remote, _ in places})

    def caches(self) -> Mapping[str, CacheStatistics]:
        """None: what was paid for is in the ledger."""
        return {}

    def take_delivered(self) -> HandedOut:
        """What was handed out since the last call; with ``keeps_delivered`` its owner settles it in the ledger.

        May be called from any thread.
        """
        with self._lock:
            places, cost = self._delivered, self._cost
            self._delivered, self._cost = {}, Decimal(0)
        return HandedOut({tag: frozenset(of_one) for tag, of_one in places.items()}, cost)

    async def close(self) -> None:
        """Stops asking, without stopping anything at the provider: open jobs stay in the ledger. Idempotent."""
        tasks = [job.task for job in self._jobs.values() if job.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)
        self._service.close()

    # -- what was asked before ---------------------------------------------------------------------------------------

    async def _adopt(self) -> None:
        # Once, by whoever comes first; the others wait for it.
        if self._adopted is None:
            self._adopted = asyncio.get_running_loop().create_task(self._read_ledger())
        await asyncio.shield(self._adopted)

    async def _read_ledger(self) -> None:
        for record in await self._line.call(self._line.ledger.records):
            remote = RemoteJob(self._line, record, is_new=False)
            if record.identity != self.identity or not remote.is_useful or record.is_closed:
                continue
            self._jobs[record.tag] = remote
            for place in range(len(record.fingerprints)):
                if place not in record.used:
                    self._offer(remote, place)

    def _offer(self, remote: RemoteJob, place: int) -> None:
        self._free.setdefault(remote.record.fingerprints[place], deque()).append((remote, place))

    def _found(self, fingerprint: str) -> _Place | None:
        free = self._free.get(fingerprint, deque())
        found: _Place | None = None
        while free and found is None:
            remote, place = free.popleft()
            found = (remote, place) if remote.is_useful else None
        if not free:
            self._free.pop(fingerprint, None)
        return found

    # -- what is asked now -------------------------------------------------------------------------------------------

    def _pieces(self, request: ExecutionRequest) -> tuple[ExecutionRequest, ...]:
        return pieces_of(request, self.capabilities.max_batch)

    async def _placed(self, pieces: Sequence[ExecutionRequest]) -> list[_Place]:
        found = [self._found(piece.fingerprint) for piece in pieces]
        missing = [number for number, place in enumerate(found) if place is None]
        portions = portions_of([pieces[number] for number in missing], self.capabilities.max_batch)
        planned = [self._planned([pieces[missing[n]] for n in portion]) for portion in portions]
        if planned:
            try:
                await self._line.call(self._line.ledger.plan, planned, self._ceiling)
            except QStoreError:
                self._release([place for place in found if place is not None])
                raise
        for portion, job in zip(portions, planned, strict=True):
            remote = RemoteJob(self._line, job.record, job.requests, is_new=True)
            self._jobs[job.record.tag] = remote
            for place, number in enumerate(portion):
                found[missing[number]] = (remote, place)
        places = [place for place in found if place is not None]
        for remote, number in places:
            remote.waiting.add(number)
        return places

    def _planned(self, requests: list[ExecutionRequest]) -> PlannedJob:
        service, circuits = self._service, sum(request.samples for request in requests)
        record = JobRecord(
            tag=self._new_tag(),
            backend=service.name,
            target=service.target,
            sdk=service.sdk,
            identity=service.identity,
            fingerprints=tuple(request.fingerprint for request in requests),
            requests=len(requests),
            circuits=circuits,
            shots=circuits * (requests[0].shots or 0),
            estimate=service.price(requests).dollars,
            planned_at=self._line.clock(),
            run=self._line.ledger.run,
        )
        return PlannedJob(record, tuple(requests))

    def _release(self, places: Sequence[_Place]) -> None:
        for remote, place in places:
            remote.waiting.discard(place)
            if remote.is_useful:
                self._offer(remote, place)
            else:
                self._jobs.pop(remote.record.tag, None)

    async def _note_delivered(self, places: Sequence[_Place]) -> None:
        used: dict[str, set[int]] = {}
        with self._lock:
            for remote, place in places:
                remote.waiting.discard(place)
                tag = remote.record.tag
                used.setdefault(tag, set()).add(place)
                self._delivered.setdefault(tag, set()).add(place)
                if tag not in self._seen:
                    self._seen.add(tag)
                    self._cost += remote.record.counted
        if not self._keeps:
            await self._line.call(self._line.ledger.settle, used)
        for remote, _ in places:
            remote.left -= 1
            if not remote.left:  # memory stays flat: nothing will be asked of it again
                self._jobs.pop(remote.record.tag, None)
                self._seen.discard(remote.record.tag)

    def _known(self, job: Job) -> list[list[_Place]]:
        asked = self._asked.get(job.id)
        if asked is None or job.backend != self.name:
            raise self._unknown(job)
        return asked

    def _unknown(self, job: Job) -> NotFoundError:
        return NotFoundError(
            f"the backend {self.name!r} knows no job {job.id!r}",
            fix="Results can be fetched once; cancelled jobs are forgotten.",
            value=job,
        )
