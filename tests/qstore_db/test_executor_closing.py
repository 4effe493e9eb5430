"""How an executor ends, and that it leaves nothing behind."""

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

import pytest
from executor_scripting import ONE_BY_ONE, PATIENCE, ScriptedBackend, turn

from qstore_db.backends.bounded_cache import CacheLimits
from qstore_db.errors import (
    ExecutionError,
    ExecutorClosedError,
)
from qstore_db.executor.executor import Executor
from qstore_db.executor.options import ExecutorOptions


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
