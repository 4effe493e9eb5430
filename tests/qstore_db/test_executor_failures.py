"""Cancelled requests, deadlines, retries and faults of backends."""

import asyncio
from concurrent.futures import wait as wait_for

import numpy as np
import pytest
from executor_scripting import ONE_BY_ONE, PATIENCE, TOGETHER, ScriptedBackend, TurnedClock, turn

from qstore_db.errors import (
    BackendFailedError,
    DeadlineExceededError,
    InvalidArgumentError,
    NotEnoughMemoryError,
)
from qstore_db.executor.executor import Executor
from qstore_db.executor.options import ExecutorOptions
from qstore_db.executor.retry import RetryPolicy
from qstore_db.executor.usage import Load


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
