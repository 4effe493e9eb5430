"""A backend whose jobs a test holds, fails and counts, and a clock that it turns."""

import asyncio
import threading
from concurrent.futures import Future
from decimal import Decimal

from qstore_db.backends.backend import Job, JobState, Price
from qstore_db.backends.batched import BatchedSimulator
from qstore_db.backends.capabilities import Capabilities, require_supported
from qstore_db.backends.local import StateVectorEngine
from qstore_db.backends.request import ExecutionRequest, Reading
from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.observables import PauliString
from qstore_db.circuits.parameters import Weight
from qstore_db.executor.batching import BatchOptions
from qstore_db.executor.options import ExecutorOptions

PATIENCE = 20.0
"""Seconds after which a test that hangs fails."""

TURN = Circuit(1, (Operation("RY", (0,), (Weight(0),)),))
Z = PauliString("Z")
ONE_BY_ONE = BatchOptions(minimum=1, maximum=1)
TOGETHER = ExecutorOptions(batch=BatchOptions(minimum=100))  # whatever the first job took


def turn(angle, **arguments):
    """⟨Z⟩ after RY(angle) is cos(angle)."""
    return ExecutionRequest(TURN, [Z], weights=[float(angle)], **arguments)


def angle_of(request):
    return round(float(request.weights[0]), 9)


class ScriptedBackend:
    """Computes truly, but only when its jobs are released, and after the failures in its script."""

    def __init__(self, name="scripted", *, max_jobs=1, held=False, failures=(), poison=(), seeded=True):
        self.name, self.identity = name, name
        self.capabilities = Capabilities(readings=frozenset(Reading), max_jobs=max_jobs, seeded=seeded)
        self.jobs = []
        self.cancelled = []
        self.closed = 0
        self._failures = list(failures)
        self._poison = dict(poison)
        self._simulator = BatchedSimulator(StateVectorEngine())
        self._gate = Future()
        self._results = {}
        self.sent = threading.Semaphore(0)
        if not held:
            self.release()

    @property
    def angles(self):
        return [[angle_of(request) for request in job] for job in self.jobs]

    def release(self):
        self._gate.set_result(None)

    def hold(self):
        self._gate = Future()

    def price(self, requests):
        return Price(Decimal(len(requests)))

    async def submit(self, requests):
        for request in requests:
            require_supported(self.name, self.capabilities, request)
        self.jobs.append(list(requests))
        job = Job(str(len(self.jobs)), self.name, len(requests))
        self._results[job.id] = list(requests)
        self.sent.release()
        return job

    async def poll(self, job):
        return JobState.RUNNING

    async def result(self, job):
        await asyncio.shield(asyncio.wrap_future(self._gate))
        requests = self._results.pop(job.id)
        for request in requests:
            if angle_of(request) in self._poison:
                raise self._poison[angle_of(request)]
        failure = self._failures.pop(0) if self._failures else None
        if failure is not None:
            raise failure
        return self._simulator.run(requests)

    async def cancel(self, job):
        self.cancelled.append(job.id)
        return self._results.pop(job.id, None) is not None

    def caches(self):
        return {}

    async def close(self):
        self.closed += 1

    def wait_sent(self):
        assert self.sent.acquire(timeout=PATIENCE)


class TurnedClock:
    """Stands still until it is turned."""

    def __init__(self):
        self._time = 100.0
        self._sleepers = []
        self._changed = threading.Condition()

    def now(self):
        return self._time

    async def sleep(self, seconds):
        woken = Future()
        with self._changed:
            self._sleepers.append((self._time + seconds, woken))
            self._changed.notify_all()
        await asyncio.wrap_future(woken)

    def wait_for_sleepers(self, number):
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._awake_later()) >= number, timeout=PATIENCE)
            return sorted(when - self._time for when, _ in self._awake_later())

    def turn(self, seconds):
        with self._changed:
            self._time += seconds
            due = [woken for when, woken in self._sleepers if when <= self._time]
            self._sleepers = [one for one in self._sleepers if one[1] not in due]
        for woken in due:
            if woken.set_running_or_notify_cancel():
                woken.set_result(None)

    def _awake_later(self):
        return [one for one in self._sleepers if not one[1].cancelled()]
