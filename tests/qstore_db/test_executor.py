"""The executor against a backend whose jobs the test holds, fails and counts, and a clock that the test turns."""

import asyncio
import gc
import signal
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from decimal import Decimal
from itertools import chain

import numpy as np
import pytest

from qstore_db.backends.backend import Job, JobState, Price
from qstore_db.backends.batched import BatchedSimulator
from qstore_db.backends.bounded_cache import CacheLimits
from qstore_db.backends.capabilities import Capabilities, require_supported
from qstore_db.backends.local import StateVectorEngine, local_backend
from qstore_db.backends.request import ExecutionRequest, Reading
from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.observables import PauliString
from qstore_db.circuits.parameters import Weight
from qstore_db.errors import (
    BackendFailedError,
    DeadlineExceededError,
    ExecutionError,
    ExecutorClosedError,
    InvalidArgumentError,
    NotEnoughMemoryError,
    QueueFullError,
    UnknownBackendError,
    UnsupportedRequestError,
)
from qstore_db.executor.batching import BatchOptions
from qstore_db.executor.executor import Executor
from qstore_db.executor.options import ExecutorOptions
from qstore_db.executor.retry import RetryPolicy
from qstore_db.executor.usage import Load

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


# --- results -----------------------------------------------------------------------------------------------------


def test_results_come_in_order_from_every_door():
    angles = np.linspace(0, 3, 40)
    requests = [turn(angle) for angle in angles]

    async def from_a_loop(executor):
        one = await executor.submit(requests[3])
        return [one, *await executor.submit_batch(iter(requests))]

    with Executor(ScriptedBackend()) as executor:
        batch = executor.run_batch(requests)
        single = executor.run(requests[7])
        started = [executor.start(request) for request in requests]
        first, *awaited = asyncio.run(from_a_loop(executor))
    for results in (batch, awaited, [future.result(PATIENCE) for future in started]):
        np.testing.assert_allclose([result.values[0, 0] for result in results], np.cos(angles), atol=1e-12)
    assert single.values[0, 0] == batch[7].values[0, 0]
    assert first.values[0, 0] == batch[3].values[0, 0]


def test_more_than_a_hundred_at_once_from_coroutines_and_threads():
    backend = ScriptedBackend(max_jobs=200, held=True)
    options = ExecutorOptions(batch=ONE_BY_ONE, max_jobs=150)

    async def coroutines(executor):
        tasks = [asyncio.create_task(executor.submit(turn(n / 100))) for n in range(120)]
        while len(backend.jobs) < 120:
            await asyncio.sleep(0.001)
        backend.release()
        return await asyncio.gather(*tasks)

    with Executor(backend, options=options) as executor:
        results = asyncio.run(coroutines(executor))
        np.testing.assert_allclose([r.values[0, 0] for r in results], np.cos(np.arange(120) / 100), atol=1e-12)
        with ThreadPoolExecutor(16) as threads:
            again = list(threads.map(lambda n: executor.run(turn(-n / 100)).values[0, 0], range(160)))
        np.testing.assert_allclose(again, np.cos(np.arange(160) / 100), atol=1e-12)


def test_jobs_under_way_are_bounded():
    backend = ScriptedBackend(max_jobs=50, held=True)
    with Executor(backend, options=ExecutorOptions(batch=ONE_BY_ONE, max_jobs=3)) as executor:
        futures = [executor.start(turn(n)) for n in range(10)]
        for _ in range(3):
            backend.wait_sent()
        assert not backend.sent.acquire(timeout=0.02)
        assert executor.load()["scripted"] == Load(blocked=0, queued=7, running=3, jobs=3)
        backend.release()
        wait_for(futures)


def test_what_waits_together_goes_together():
    backend = ScriptedBackend(held=True)
    with Executor(backend, options=TOGETHER) as executor:
        first = executor.start(turn(0.5))
        backend.wait_sent()
        others = [executor.start(turn(n)) for n in range(20)]
        backend.release()
        wait_for([first, *others])
    assert [len(job) for job in backend.jobs] == [1, 20]


def test_a_backend_by_name_and_its_label():
    with Executor(ScriptedBackend("one"), ScriptedBackend("two")) as executor:
        assert list(executor.backends) == ["one", "two"]
        executor.run(turn(1))
        executor.run(turn(1), backend="two")
        assert {name: usage.jobs for name, usage in executor.usage().items()} == {"one": 1, "two": 1}
        assert executor.price([turn(1), turn(2)], backend="two") == Price(Decimal(2))
        with pytest.raises(UnknownBackendError, match=r"'three'.*'one', 'two'"):
            executor.run(turn(1), backend="three")


def test_an_executor_needs_backends_of_different_names():
    for backends in ((), (ScriptedBackend(), ScriptedBackend())):
        with pytest.raises(InvalidArgumentError):
            Executor(*backends)


def test_unsupported_requests_are_refused_before_anything_is_sent():
    backend = ScriptedBackend(seeded=False)
    with Executor(backend) as executor:
        with pytest.raises(UnsupportedRequestError, match="seeded with 3"):
            executor.run_batch([turn(1), ExecutionRequest(TURN, shots=5, weights=[1.0], seed=3)])
        assert backend.jobs == []


# --- queue -------------------------------------------------------------------------------------------------------


def test_higher_priorities_first_then_first_come_first_served():
    backend = ScriptedBackend(held=True)
    with Executor(backend, options=ExecutorOptions(batch=ONE_BY_ONE)) as executor:
        futures = [executor.start(turn(0))]
        backend.wait_sent()
        futures += [executor.start(turn(angle), priority=p) for angle, p in ((1, 0), (2, 5), (3, 0), (4, 5), (5, -1))]
        futures.append(executor.start(turn(3), priority=9))  # an equal request in more of a hurry
        backend.release()
        wait_for(futures)
    assert backend.angles == [[0], [3], [2], [4], [1], [5]]


def test_a_full_queue_holds_callers_back_or_refuses():
    backend = ScriptedBackend(held=True)
    with Executor(backend, options=ExecutorOptions(batch=ONE_BY_ONE, queue_limit=4)) as executor:
        futures = [executor.start(turn(0))]
        backend.wait_sent()
        futures += [executor.start(turn(n)) for n in range(1, 5)]
        refused = executor.start(turn(90), wait_for_room=False)
        with pytest.raises(QueueFullError, match="4 request"):
            refused.result(PATIENCE)
        joined = executor.start(turn(2), wait_for_room=False)  # needs no room of its own
        with ThreadPoolExecutor(3) as threads:
            starting = [threads.submit(executor.start, turn(n)) for n in range(5, 8)]
            while executor.load()["scripted"].blocked < 3:
                pass
            assert not any(future.done() for future in starting)
            assert executor.load()["scripted"] == Load(blocked=3, queued=4, running=1, jobs=1)
            backend.release()
            futures += [future.result(PATIENCE) for future in starting]
        wait_for([joined, *futures])
    assert sorted(chain(*backend.angles)) == [0, 1, 2, 3, 4, 5, 6, 7]


def test_a_long_batch_is_taken_in_portions():
    drawn = []

    def endless():
        for n in range(1000):
            drawn.append(n)
            yield turn(n / 1000)

    backend = ScriptedBackend(held=True)
    with Executor(backend, options=ExecutorOptions(queue_limit=50)) as executor, ThreadPoolExecutor(1) as threads:
        running = threads.submit(executor.run_batch, endless())
        backend.wait_sent()
        assert len(drawn) == 50
        backend.release()
        assert len(running.result(PATIENCE)) == 1000


# --- joining and caches ------------------------------------------------------------------------------------------


def test_equal_requests_run_once():
    backend = ScriptedBackend(held=True)
    with Executor(backend, options=TOGETHER) as executor:
        futures = [executor.start(turn(1, tags={"n": str(n)})) for n in range(5)]
        futures += [executor.start(turn(2)) for _ in range(5)]
        backend.release()
        wait_for(futures)
        assert sorted(chain(*backend.angles)) == [1, 2]
        assert executor.usage()["scripted"].joined == 8
        executor.run(turn(1))
        assert executor.caches()["results"].hits == 1
        assert len(backend.jobs) <= 2


def test_a_result_that_came_in_meanwhile_is_used():
    backend = ScriptedBackend()
    with Executor(backend) as executor:
        lane = executor._lanes["scripted"]
        late = executor._ticket(lane, turn(1), 0, None, True)  # nothing is kept yet
        result = executor.run(turn(1))
        executor._post(lane, [late])
        assert late.future.result(PATIENCE) is result
    assert len(backend.jobs) == 1


def test_samples_are_never_silently_used_again():
    def shots(seed):
        return ExecutionRequest(TURN, shots=1000, weights=[1.2], seed=seed)

    backend = ScriptedBackend()
    with Executor(backend) as executor:
        fresh = executor.run_batch([shots(None), shots(None), shots(None)])
        again = executor.run(shots(None))
        assert len({result.counts[0].dense()[0] for result in [*fresh, again]}) > 1
        seeded = executor.run_batch([shots(7), shots(7), shots(8)])
        assert seeded[0] is seeded[1]
        assert executor.run(shots(7)) is seeded[0]
        assert (seeded[2].counts[0].dense() != seeded[0].counts[0].dense()).any()
    assert sum(len(job) for job in backend.jobs) == 6


def test_a_backend_that_cannot_be_seeded_is_asked_every_time():
    backend = ScriptedBackend(seeded=False)
    with Executor(backend) as executor:
        for _ in range(3):
            executor.run(ExecutionRequest(TURN, shots=10, weights=[1.0]))
    assert len(backend.jobs) == 3


def test_kept_results_grow_old_and_give_way():
    clock, backend = TurnedClock(), ScriptedBackend()
    limits = CacheLimits(entries=3, size_bytes=1 << 20, ttl_seconds=10.0)
    with Executor(backend, options=ExecutorOptions(result_cache=limits), clock=clock) as executor:
        for angle in (1, 1, 2, 3, 4, 4):
            executor.run(turn(angle))
        assert backend.angles == [[1], [2], [3], [4]]
        executor.run(turn(1))  # was evicted
        clock.turn(10.0)
        executor.run(turn(4))  # is too old
        assert backend.angles == [[1], [2], [3], [4], [1], [4]]
        found = executor.caches()["results"]
    assert (found.hits, found.misses, found.evictions, found.expirations, found.entries) == (2, 6, 2, 1, 3)


def test_caches_of_the_local_backend_are_seen():
    with Executor(local_backend()) as executor:
        executor.run_batch([turn(n) for n in range(30)])
        levels = executor.caches()
        assert set(levels) == {"results", "local.plans", "local.angles"}
        assert levels["local.plans"].misses == 1
        assert levels["local.plans"].entries == 1
        assert (levels["local.angles"].misses, levels["local.angles"].hits) == (1, 29)
        assert levels["results"].size_bytes > 30 * 8


# --- ends --------------------------------------------------------------------------------------------------------


def test_cancelled_requests_are_not_run_and_leave_room():
    backend = ScriptedBackend(held=True)
    with Executor(backend, options=ExecutorOptions(batch=ONE_BY_ONE, queue_limit=2)) as executor:
        running = executor.start(turn(0))
        backend.wait_sent()
        lonely, shared, sharing = executor.start(turn(1)), executor.start(turn(2)), executor.start(turn(2))
        assert lonely.cancel()
        assert shared.cancel()
        later = executor.start(turn(3))  # the room of the first
        backend.release()
        assert sharing.result(PATIENCE).values[0, 0] == pytest.approx(np.cos(2))
        wait_for([running, later])
    assert backend.angles == [[0], [2], [3]]
    assert backend.cancelled == []


def test_a_job_that_nobody_wants_is_cancelled_on_its_backend():
    backend = ScriptedBackend(held=True)

    async def impatient(executor):
        task = asyncio.create_task(executor.submit_batch([turn(1), turn(2)]))
        await asyncio.to_thread(backend.wait_sent)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with Executor(backend) as executor:
        asyncio.run(impatient(executor))
        next_one = executor.start(turn(3))
        backend.release()
        next_one.result(PATIENCE)
    assert backend.cancelled == ["1"]
    assert backend.angles == [[1, 2], [3]]


def test_deadlines_pass_while_queued_blocked_and_running():
    clock, backend = TurnedClock(), ScriptedBackend(held=True)
    options = ExecutorOptions(batch=ONE_BY_ONE, queue_limit=1)

    async def three(executor):
        tasks = [asyncio.create_task(executor.submit(turn(0), deadline_seconds=3.0))]
        await asyncio.to_thread(backend.wait_sent)
        for angle, seconds in ((1, 1.0), (2, 2.0)):
            tasks.append(asyncio.create_task(executor.submit(turn(angle), deadline_seconds=seconds)))
            await asyncio.to_thread(clock.wait_for_sleepers, len(tasks))
        assert executor.load()["scripted"] == Load(blocked=1, queued=1, running=1, jobs=1)
        seen = []
        for _ in range(3):
            clock.turn(1.0)
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            seen.append([tasks.index(task) for task in done])
            for task in done:
                with pytest.raises(DeadlineExceededError):
                    await task
                tasks[tasks.index(task)] = asyncio.get_running_loop().create_future()
        return seen

    with Executor(backend, options=options, clock=clock) as executor:
        assert asyncio.run(three(executor)) == [[1], [2], [0]]
        backend.release()
        assert executor.run(turn(5), deadline_seconds=1.0).values[0, 0] == pytest.approx(np.cos(5))
        with pytest.raises(TimeoutError):
            clock.turn(0.0)
            backend.hold()
            hanging = executor.start(turn(6), deadline_seconds=0.5)
            clock.wait_for_sleepers(1)
            clock.turn(0.5)
            hanging.result(PATIENCE)
        backend.release()
    assert backend.angles[:2] == [[0], [5]]


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_deadlines_are_refused(seconds):
    with Executor(ScriptedBackend()) as executor, pytest.raises(InvalidArgumentError):
        executor.run(turn(1), deadline_seconds=seconds)


# --- failures ----------------------------------------------------------------------------------------------------


def flaky(seconds=0.0):
    return BackendFailedError("503", retryable=True, retry_after_seconds=seconds)


def test_a_failure_that_may_pass_is_retried_after_its_delay():
    clock = TurnedClock()
    backend = ScriptedBackend(failures=[flaky(), flaky(7.0), None])
    policy = RetryPolicy(attempts=3, base_seconds=1.0, cap_seconds=4.0)
    expected = np.random.default_rng(5)
    with Executor(backend, options=ExecutorOptions(retry=policy), clock=clock, seed=5) as executor:
        future = executor.start(turn(1))
        (delay,) = clock.wait_for_sleepers(1)
        assert delay == pytest.approx(expected.uniform(0, 1.0))
        clock.turn(delay)
        (delay,) = clock.wait_for_sleepers(1)
        assert delay == 7.0  # what the backend asked for
        clock.turn(delay)
        assert future.result(PATIENCE).values[0, 0] == pytest.approx(np.cos(1))
        usage = executor.usage()["scripted"]
    assert (usage.jobs, usage.failures, usage.retries, usage.requests, usage.circuits) == (1, 2, 2, 1, 1)


def test_retries_end():
    backend = ScriptedBackend(failures=[flaky()] * 9)
    policy = RetryPolicy(attempts=3, base_seconds=0.0)
    with Executor(backend, options=ExecutorOptions(retry=policy)) as executor:
        outcomes = [executor.start(turn(n)) for n in range(2)]
        for outcome in outcomes:
            with pytest.raises(BackendFailedError, match="503"):
                outcome.result(PATIENCE)
    assert len(backend.jobs) <= 6  # not taken apart: the backend is down


def test_a_retry_leaves_out_those_who_have_gone():
    clock, backend = TurnedClock(), ScriptedBackend(held=True, failures=[flaky()])
    with Executor(backend, options=TOGETHER, clock=clock) as executor:
        futures = [executor.start(turn(0))]
        backend.wait_sent()
        futures += [executor.start(turn(n)) for n in (1, 2, 3)]
        backend.release()
        (delay,) = clock.wait_for_sleepers(1)
        clock.turn(delay)
        backend.wait_sent()
        backend.wait_sent()
        wait_for(futures)
        backend._failures.append(flaky())
        futures = executor._send(executor._lane(None), [turn(n) for n in (5, 6, 7)], 0, None, True)
        (delay,) = clock.wait_for_sleepers(1)
        futures[1].cancel()
        clock.turn(delay)
        wait_for([futures[0], futures[2]])
    assert backend.angles[-2:] == [[5, 6, 7], [5, 7]]


@pytest.mark.parametrize("error", [BackendFailedError("bad angle"), NotEnoughMemoryError("too large")])
def test_a_bad_request_fails_alone(error):
    backend = ScriptedBackend(held=True, poison={2.0: error})
    with Executor(backend, options=TOGETHER) as executor:
        first = executor.start(turn(0))
        backend.wait_sent()
        futures = [executor.start(turn(n)) for n in (1, 2, 3)]
        backend.release()
        wait_for([first, *futures])
        assert futures[1].exception() is error
        assert futures[2].result().values[0, 0] == pytest.approx(np.cos(3))
        assert executor.run(turn(1)).values[0, 0] == pytest.approx(np.cos(1))
    assert backend.angles == [[0], [1, 2, 3], [1], [2], [3]]


def test_a_batch_raises_its_first_error_and_runs_the_rest():
    backend = ScriptedBackend(poison={1.0: BackendFailedError("one"), 3.0: BackendFailedError("three")})
    with Executor(backend) as executor:
        with pytest.raises(BackendFailedError, match="one"):
            executor.run_batch([turn(n) for n in range(5)])
        with pytest.raises(BackendFailedError, match="one"):
            asyncio.run(executor.submit_batch([turn(n) for n in range(5)]))
        jobs = len(backend.jobs)
        executor.run_batch([turn(n) for n in (0, 2, 4)])
        assert len(backend.jobs) == jobs  # they were kept


def test_a_fault_in_a_backend_reaches_the_callers():
    backend = ScriptedBackend(poison={1.0: ZeroDivisionError("a bug")})
    with Executor(backend) as executor:
        with pytest.raises(ZeroDivisionError):
            executor.run(turn(1))
        assert executor.run(turn(2)).values.shape == (1, 1)


def test_a_backend_that_loses_results_is_caught():
    class Forgetful(ScriptedBackend):
        async def result(self, job):
            return (await super().result(job))[1:]

    with Executor(Forgetful()) as executor, pytest.raises(BackendFailedError, match="0 result"):
        executor.run(turn(1))


# --- closing -----------------------------------------------------------------------------------------------------


def test_closing_runs_what_was_asked():
    backend = ScriptedBackend(held=True)
    executor = Executor(backend, options=ExecutorOptions(batch=ONE_BY_ONE))
    futures = [executor.start(turn(n)) for n in range(5)]
    backend.release()
    executor.close()
    executor.close()
    assert all(future.done() for future in futures)
    assert backend.closed == 1
    for call in (lambda: executor.run(turn(1)), lambda: executor.start(turn(1)), executor.usage, executor.load):
        with pytest.raises(ExecutorClosedError):
            call()
    with pytest.raises(ExecutorClosedError):
        asyncio.run(executor.submit(turn(1)))


def test_closing_without_draining_fails_what_is_left():
    backend = ScriptedBackend(held=True)
    executor = Executor(backend, options=ExecutorOptions(batch=ONE_BY_ONE, queue_limit=2))
    futures = [executor.start(turn(0))]
    backend.wait_sent()
    futures += [executor.start(turn(n)) for n in (1, 2)]
    with ThreadPoolExecutor(1) as threads:
        blocked = threads.submit(executor.run, turn(3))
        while not executor.load()["scripted"].blocked:
            pass
        executor.close(drain=False)
        for future in [*futures, blocked]:
            with pytest.raises(ExecutorClosedError):
                future.result(PATIENCE)
    assert backend.cancelled == ["1"]
    assert backend.closed == 1


def test_an_error_in_the_block_does_not_wait_for_the_rest():
    backend = ScriptedBackend(held=True)

    async def block():
        async with Executor(backend) as executor:
            future = executor.start(turn(1))
            raise KeyError(future)

    with pytest.raises(KeyError) as caught:
        asyncio.run(block())
    with pytest.raises(ExecutorClosedError):
        caught.value.args[0].result(PATIENCE)


def test_a_forgotten_executor_leaves_nobody_waiting():
    backend = ScriptedBackend(held=True)
    executor = Executor(backend)
    thread = executor._loop._thread
    future = executor.start(turn(1))
    backend.wait_sent()
    del executor
    gc.collect()
    with pytest.raises(ExecutorClosedError):
        future.result(PATIENCE)
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert backend.closed == 1


@pytest.mark.parametrize("door", ["run", "run_batch", "start"])
def test_ctrl_c_takes_the_requests_along(door):
    backend = ScriptedBackend(held=True)
    main = threading.main_thread().ident

    def press(executor):
        backend.wait_sent()
        if door == "start":
            while not executor.load()["scripted"].blocked:
                pass
        while sys._current_frames()[main].f_code.co_name != "wait":
            pass
        time.sleep(0.03)  # past the first lines of wait(), where the standard library cannot be interrupted
        signal.pthread_kill(main, signal.SIGINT)

    with Executor(backend, options=ExecutorOptions(batch=ONE_BY_ONE, queue_limit=1)) as executor:
        if door == "start":
            futures = [executor.start(turn(n)) for n in range(2)]
        presser = threading.Thread(target=press, args=[executor])
        presser.start()
        with pytest.raises(KeyboardInterrupt):
            if door == "run_batch":
                executor.run_batch([turn(9)])
            else:
                getattr(executor, door)(turn(9))
        presser.join(PATIENCE)
        backend.release()
        if door == "start":
            wait_for(futures)
        executor.run(turn(5))
    assert backend.angles == ([[0], [1], [5]] if door == "start" else [[9], [5]])
    assert backend.cancelled == ([] if door == "start" else ["1"])


def test_a_loop_that_ends_takes_its_requests_along():
    backend = ScriptedBackend(held=True)

    async def leave(executor):
        executor_task = asyncio.create_task(executor.submit(turn(1)))
        await asyncio.to_thread(backend.wait_sent)
        assert not executor_task.done()

    with Executor(backend) as executor:
        asyncio.run(leave(executor))
        backend.release()
        executor.run(turn(2))
    assert backend.cancelled == ["1"]


def test_the_executor_does_not_wait_for_itself():
    caught = Future()
    backend = ScriptedBackend(held=True)
    with Executor(backend) as executor:

        def callback(_future):
            for call in (lambda: executor.run(turn(2)), lambda: executor.run_batch([turn(2)]), executor.close):
                with pytest.raises(ExecutionError, match="own thread"):
                    call()
            caught.set_result(True)

        executor.start(turn(1)).add_done_callback(callback)
        backend.release()
        assert caught.result(PATIENCE)


FORK = """
import os, warnings
warnings.simplefilter("ignore")  # that a process with threads forks is the point here
from qstore_db.backends.request import ExecutionRequest
from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.observables import PauliString
from qstore_db.errors import ForkedExecutorError
from qstore_db.executor.executor import Executor
request = ExecutionRequest(Circuit(1, (Operation("X", (0,)),)), [PauliString("Z")])
executor = Executor.named("local")
assert executor.run(request).values[0, 0] == -1.0
child = os.fork()
if child == 0:
    for call in (lambda: executor.run(request), lambda: executor.start(request), executor.caches, executor.close):
        try:
            call()
        except ForkedExecutorError as error:
            assert str(os.getppid()) in str(error)
            continue
        raise SystemExit("a call went through")
    with Executor.named("local") as own:
        assert own.run(request).values[0, 0] == -1.0
    raise SystemExit(0)  # not os._exit: finalizers run
assert os.waitpid(child, 0)[1] == 0
assert executor.run(ExecutionRequest(Circuit(1), [PauliString("Z")])).values[0, 0] == 1.0
print("forgotten, and the program ends")
"""


def test_a_forked_child_is_told_and_both_programs_end():
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "forgotten, and the program ends\n", "")


# --- memory ------------------------------------------------------------------------------------------------------


def test_a_thousand_batches_leave_nothing_behind():
    limits = CacheLimits(entries=10, size_bytes=1 << 20)
    backend = ScriptedBackend()
    alive = weakref.WeakSet()
    with Executor(backend, options=ExecutorOptions(result_cache=limits)) as executor:
        lane = executor._lanes["scripted"]
        for number in range(1000):
            futures = executor._send(lane, [turn(number + part / 10) for part in range(3)], 0, None, True)
            alive.update(futures)
            wait_for(futures)
            backend.jobs.clear()
            if number == 100:
                # From here on without the collector: everything is freed as soon as its callers have it.
                gc.collect()
                gc.disable()
        try:
            executor.run(turn(-1))
            assert len(alive) <= 6
        finally:
            gc.enable()
        assert (len(lane._entries), len(lane._queue), len(lane._blocked)) == (0, 0, 0)
        assert backend._results == {}
        assert executor.caches()["results"].entries == 10
        assert executor.usage()["scripted"].requests == 3001
