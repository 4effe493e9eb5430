"""Equal requests, kept results and samples that are never used again."""

from concurrent.futures import wait as wait_for
from itertools import chain

from executor_scripting import PATIENCE, TOGETHER, TURN, ScriptedBackend, TurnedClock, turn

from qstore_db.backends.bounded_cache import CacheLimits
from qstore_db.backends.local import local_backend
from qstore_db.backends.request import ExecutionRequest
from qstore_db.executor.executor import Executor
from qstore_db.executor.options import ExecutorOptions


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
