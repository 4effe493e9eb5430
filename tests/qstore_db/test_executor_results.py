"""Results of the executor: in order, from every door, bounded, by priority."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from decimal import Decimal
from itertools import chain

import numpy as np
import pytest
from executor_scripting import ONE_BY_ONE, PATIENCE, TOGETHER, TURN, ScriptedBackend, turn

from qstore_db.backends.backend import Price
from qstore_db.backends.request import ExecutionRequest
from qstore_db.errors import (
    InvalidArgumentError,
    QueueFullError,
    UnknownBackendError,
    UnsupportedRequestError,
)
from qstore_db.executor.executor import Executor
from qstore_db.executor.options import ExecutorOptions
from qstore_db.executor.usage import Load


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
