"""Two threads on one batch, many threads on one plan, and children of a process that has threads."""

import os
import threading
import time

import numpy as np
import pytest

from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
from qstore_db.circuits.encodings.angle import angle_encoding
from qstore_db.circuits.readouts import single_z
from qstore_db.errors import InvalidArgumentError
from qstore_db.simulation import lanes_engine, workers
from qstore_db.simulation.plan import compile_circuit


@pytest.fixture(autouse=True)
def small_batches_are_shared(monkeypatch):
    monkeypatch.setattr(lanes_engine, "SHARED_WORK", 1)


@pytest.fixture
def plan():
    return compile_circuit(angle_encoding(6).compose(hardware_efficient(6, 3)), single_z(6))


def batch(plan, samples, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(samples, plan.number_of_data)), rng.normal(size=plan.number_of_weights)


def everything(plan, samples, dtype="float32", seed=0):
    data, weights = batch(plan, samples, seed)
    values, pullback = plan.forward(data, weights, dtype=dtype)
    cotangent = np.random.default_rng(1).normal(size=values.shape)
    found = pullback(cotangent)
    swept = plan.gradients(data, weights, cotangent=cotangent, dtype=dtype)
    head = np.random.default_rng(2).normal(size=(3, plan.number_of_readouts))
    step = plan.head_step(data, weights, matrix=head, bias=np.zeros(3), labels=np.arange(samples) % 3, dtype=dtype)
    return [
        values, found.weights, found.data, swept[0], swept[1].weights, plan.expectations(data, weights, dtype=dtype),
        step.weights, step.matrix, step.bias, np.array([step.loss, step.correct]),
    ]  # fmt: skip


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_bits_do_not_depend_on_the_number_of_threads(plan):
    shapes = [(samples, dtype) for samples in (1, 16, 17, 100, 256) for dtype in ("float32", "float64")]
    wanted = {shape: everything(plan, *shape) for shape in shapes}
    for shape in shapes:
        with workers.two_threads():
            for _ in range(20):
                assert same(everything(plan, *shape), wanted[shape])


def test_the_worker_does_take_blocks(plan):
    data, weights = batch(plan, 2000)
    deadline = time.monotonic() + 30  # a busy machine may give it no processor for a while
    with workers.two_threads():
        plan.expectations(data, weights)
        worker = workers.current()
        joined = False
        while not joined and time.monotonic() < deadline:
            plan.expectations(data, weights)
            joined = worker._words[worker._first] & 3 == 2  # the state of a job that it joined; see entry
    assert joined


def test_the_worker_sleeps_when_there_is_nothing_to_do(plan):
    data, weights = batch(plan, 100)
    with workers.two_threads():
        plan.expectations(data, weights)
        worker = workers.current()
        deadline = time.monotonic() + 10
        while not worker._asleep and time.monotonic() < deadline:
            time.sleep(0.01)
        assert worker._asleep
        before = time.process_time()
        time.sleep(0.1)
        assert time.process_time() - before < 0.05
        plan.expectations(data, weights)  # wakes it
        assert worker._thread.is_alive()


def test_the_worker_ends_with_its_block(plan):
    data, weights = batch(plan, 100)
    for error in (None, KeyboardInterrupt, ValueError):
        alive = threading.active_count()
        try:
            with workers.two_threads():
                plan.expectations(data, weights)
                assert threading.active_count() == alive + 1
                if error:
                    raise error
        except (KeyboardInterrupt, ValueError):
            pass
        assert threading.active_count() == alive
        assert workers.current() is None
    with workers.two_threads():  # never used
        pass


def test_blocks_inside_blocks_share_the_worker_and_one_thread_has_none(plan):
    data, weights = batch(plan, 100)
    with workers.two_threads(1):
        assert workers.current() is None
    with workers.two_threads():
        outer = workers.current()
        with workers.two_threads():
            assert workers.current() is outer
            plan.expectations(data, weights)
        assert workers.current() is outer
    with pytest.raises(InvalidArgumentError, match="threads"), workers.two_threads(3):
        pass


def test_an_error_of_the_input_leaves_the_worker_in_order(plan):
    data, weights = batch(plan, 100)
    wanted = plan.expectations(data, weights)
    bad = data.copy()
    bad[77, 1] = np.nan
    with workers.two_threads():
        for _ in range(50):
            with pytest.raises(ValueError, match="row 77"):
                plan.expectations(bad, weights)
            assert np.array_equal(plan.expectations(data, weights), wanted)


def test_many_threads_share_a_plan_and_some_have_workers(plan):
    wanted = {seed: everything(plan, 100, seed=seed) for seed in range(6)}
    wrong = []

    def work(seed):
        with workers.two_threads(1 + seed % 2):
            wrong.extend(seed for _ in range(15) if not same(everything(plan, 100, seed=seed), wanted[seed]))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_one_pullback_may_be_called_from_many_threads(plan):
    data, weights = batch(plan, 2000)
    values, pullback = plan.forward(data, weights)
    cotangents = [np.random.default_rng(seed).normal(size=values.shape) for seed in range(4)]
    wanted = [pullback(one).weights for one in cotangents]
    wrong = []

    def work(number):
        found = [pullback(cotangents[number]).weights for _ in range(40)]
        wrong.extend(number for weights in found if not np.array_equal(weights, wanted[number]))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_child_computes(plan):
    wanted = everything(plan, 100)
    with workers.two_threads():
        everything(plan, 100)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                fresh = workers.current() is None and same(everything(plan, 100), wanted)
                with workers.two_threads():
                    code = 0 if fresh and same(everything(plan, 100), wanted) else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert same(everything(plan, 100), wanted)


def test_small_batches_are_not_shared(plan, monkeypatch):
    data, weights = batch(plan, 20)
    with workers.two_threads():
        monkeypatch.setattr(lanes_engine, "SHARED_WORK", 1 << 60)
        plan.expectations(data, weights)
        assert workers.current()._thread is None
