"""The pure parts of the executor: batch sizes, retries, the queue, bounded caches, request values, skeletons."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.backends.bounded_cache import BoundedCache, CacheLimits
from qstore_db.backends.request import ExecutionRequest, Reading
from qstore_db.backends.skeleton import AngleMap, skeleton
from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.encodings.angle import angle_encoding
from qstore_db.circuits.observables import PauliString
from qstore_db.circuits.parameters import Data, Weight
from qstore_db.errors import (
    BackendFailedError,
    InvalidArgumentError,
    InvalidCircuitError,
    InvalidVectorError,
)
from qstore_db.executor.batching import UNMEASURED_BATCH, BatchOptions, batch_size, portions, typical
from qstore_db.executor.options import ExecutorOptions
from qstore_db.executor.priority_queue import PriorityQueue
from qstore_db.executor.retry import RetryPolicy
from qstore_db.gradients.gradient import shifted
from qstore_db.simulation.reference import state_vector

HYPOTHESIS = settings(derandomize=True, deadline=None, max_examples=60)


# --- batch sizes -------------------------------------------------------------------------------------------------


@HYPOTHESIS
@given(
    st.lists(st.floats(0.1, 1e6), min_size=1, max_size=60),
    st.integers(1, 8),
    st.none() | st.floats(0, 1e-2),
    st.integers(1, 40),
    st.integers(0, 40),
)
def test_a_batch_keeps_its_bounds(works, idle, seconds_per_work, minimum, more):
    options = BatchOptions(minimum=minimum, maximum=minimum + more, target_seconds=0.1)
    size = batch_size(works, len(works), idle, seconds_per_work, options)
    assert 1 <= size <= min(len(works), options.maximum)
    assert size >= min(minimum, len(works))
    if size > minimum and seconds_per_work is not None:
        assert sum(works[:size]) * seconds_per_work <= 0.1 + 1e-12
        assert size <= -(-len(works) // idle)


def test_sizes_worked_out_by_hand():
    options = BatchOptions(minimum=2, maximum=50, target_seconds=1.0)
    assert batch_size([1.0] * 100, 100, 1, 0.1, options) == 10  # as many as take a second
    assert batch_size([1.0] * 12, 12, 2, 0.1, options) == 6  # shared between two jobs
    assert batch_size([1.0] * 100, 100, 1, 9.0, options) == 2  # slow, but at least two
    assert batch_size([1.0] * 100, 100, 1, 0.0, options) == 50
    assert batch_size([1.0] * 100, 100, 1, None, options) == UNMEASURED_BATCH
    assert batch_size([6.0, 1.0, 1.0, 4.0], 4, 1, 0.1, options) == 3  # the fourth is too much


def test_one_slow_job_does_not_move_the_typical_time():
    assert typical([]) is None
    assert typical([0.2, 90.0, 0.1]) == 0.2


def test_portions_read_no_further_than_they_give():
    source = iter(range(10))
    taken = portions(source, 4)
    assert next(taken) == [0, 1, 2, 3]
    assert next(source) == 4
    assert list(taken) == [[5, 6, 7, 8], [9]]


# --- retries -----------------------------------------------------------------------------------------------------


def test_delays_are_jittered_and_bounded():
    policy = RetryPolicy(attempts=100, base_seconds=0.5, cap_seconds=8.0)
    busy = BackendFailedError("429", retryable=True)
    for attempt in range(1, 99):
        bound = min(8.0, 0.5 * 2.0 ** (attempt - 1))
        drawn = [policy.delay_seconds(attempt, busy, np.random.default_rng(seed)) for seed in range(40)]
        assert 0 <= min(drawn) < 0.2 * bound
        assert 0.8 * bound < max(drawn) <= bound


def test_only_what_may_pass_is_retried_and_not_for_ever():
    rng = np.random.default_rng(0)
    policy = RetryPolicy(attempts=3, base_seconds=1.0)
    assert policy.delay_seconds(1, BackendFailedError("bad circuit"), rng) is None
    delay = policy.delay_seconds(2, BackendFailedError("503", retryable=True), rng)
    assert delay is not None
    assert 0 <= delay <= 2.0
    assert policy.delay_seconds(3, BackendFailedError("503", retryable=True), rng) is None
    asked = BackendFailedError("429", retryable=True, retry_after_seconds=60.0)
    assert policy.delay_seconds(1, asked, rng) == 60.0


@pytest.mark.parametrize(
    "make",
    [
        lambda: RetryPolicy(attempts=0),
        lambda: RetryPolicy(base_seconds=-1.0),
        lambda: RetryPolicy(base_seconds=2.0, cap_seconds=1.0),
        lambda: BatchOptions(minimum=0),
        lambda: BatchOptions(minimum=9, maximum=8),
        lambda: BatchOptions(target_seconds=0.0),
        lambda: CacheLimits(entries=-1, size_bytes=1),
        lambda: CacheLimits(entries=1, size_bytes=1, ttl_seconds=0.0),
        lambda: ExecutorOptions(queue_limit=0),
        lambda: ExecutorOptions(max_jobs=0),
    ],
)
def test_impossible_bounds_are_refused(make):
    with pytest.raises(InvalidArgumentError):
        make()


# --- queue -------------------------------------------------------------------------------------------------------


@HYPOTHESIS
@given(st.lists(st.tuples(st.sampled_from(["push", "pop", "remove"]), st.integers(-3, 3), st.integers(0, 99))))
def test_the_queue_agrees_with_a_sorted_list(steps):
    queue, model = PriorityQueue(), []
    for number, (step, priority, choice) in enumerate(steps):
        if step == "push":
            queue.push(number, priority)
            model.append((-priority, number))
        elif model and step == "pop":
            model.sort()
            assert queue.pop() == model.pop(0)[1]
        elif model:
            level, item = model.pop(choice % len(model))
            queue.remove(item, -level)
        assert list(queue) == [item for _, item in sorted(model)]
        assert len(queue) == len(model)


# --- caches ------------------------------------------------------------------------------------------------------


@HYPOTHESIS
@given(
    st.lists(st.tuples(st.sampled_from(["put", "get", "wait"]), st.sampled_from("abcdef"), st.integers(0, 7))),
    st.integers(0, 4),
    st.integers(0, 15),
)
def test_a_cache_never_grows_past_its_bounds(steps, entries, size):
    now = [0.0]
    cache = BoundedCache(CacheLimits(entries=entries, size_bytes=size, ttl_seconds=5.0), lambda: now[0])
    model = {}  # in the order of use: key to (value, size, since)
    for number, (step, key, amount) in enumerate(steps):
        if step == "wait":
            now[0] += amount
        elif step == "put":
            cache.put(key, number, amount)
            model.pop(key, None)
            if amount <= size and entries:
                model[key] = (number, amount, now[0])
                while len(model) > entries or sum(one[1] for one in model.values()) > size:
                    del model[next(iter(model))]
        else:
            known = model.pop(key, None)
            if known is not None and now[0] - known[2] < 5.0:
                model[key] = known
            assert cache.get(key) == (model[key][0] if key in model else None)
        found = cache.statistics()
        assert found.entries <= entries
        assert found.size_bytes <= size
        assert (found.entries, found.size_bytes) == (len(model), sum(one[1] for one in model.values()))
    cache.clear()
    assert cache.statistics().entries == cache.statistics().size_bytes == 0


def test_what_was_used_last_stays():
    cache = BoundedCache(CacheLimits(entries=2, size_bytes=9), lambda: 0.0)
    cache.put("a", 1, 1)
    cache.put("b", 2, 1)
    cache.get("a")
    cache.put("c", 3, 1)
    assert [cache.get(key) for key in "abc"] == [1, None, 3]


def test_a_second_look_is_not_counted():
    cache = BoundedCache(CacheLimits(entries=2, size_bytes=9), lambda: 0.0)
    cache.put("a", 1, 1)
    assert (cache.get("a"), cache.get("b"), cache.get("a", counted=False), cache.get("b", counted=False)) == (
        1, None, 1, None,
    )  # fmt: skip
    assert (cache.statistics().hits, cache.statistics().misses) == (1, 1)


# --- requests ----------------------------------------------------------------------------------------------------

PLAIN = Circuit(2, (Operation("H", (0,)), Operation("CX", (0, 1))))
TURN = Circuit(2, (Operation("RY", (0,), (Weight(0) + Data(0),)), Operation("RZ", (1,), (Data(1, 2.0),))))
ZZ = PauliString("ZZ")


def turned(**changes):
    arguments = {"circuit": TURN, "observables": [ZZ], "weights": [0.1], "data": [[1.0, 2.0]]} | changes
    return ExecutionRequest(arguments.pop("circuit"), arguments.pop("observables"), **arguments)


def test_the_fingerprint_tells_everything_that_changes_a_result():
    start = np.eye(4)[:1]
    different = [
        turned(),
        turned(weights=[0.1 + 1e-15]),
        turned(data=[[2.0, 1.0]]),
        turned(data=[[1.0, 2.0], [1.0, 2.0]]),
        turned(observables=[ZZ, ZZ]),
        turned(observables=[1.0 * ZZ + (1 + 1e-15) * ZZ]),
        turned(observables=[]),
        turned(observables=[], shots=10),
        turned(observables=[], shots=10, seed=1),
        turned(observables=[], shots=11, seed=1),
        turned(amplitudes=start),
        turned(amplitudes=start.astype(complex)),
        turned(amplitudes=start[:, ::-1]),
        turned(circuit=shifted(TURN, [(0, 0, 1e-12)])),
    ]
    assert len({request.fingerprint for request in different}) == len(different)
    assert len(set(different)) == len(different)
    assert turned() == turned(tags={"step": "3"}, weights=np.array([0.1]))
    # Stable between processes: written down once.
    assert turned().fingerprint.startswith("50108de64d9f0bd3")
    assert turned(amplitudes=7 * start) == turned(amplitudes=start)  # the same state


def test_what_is_read_follows_from_the_arguments():
    assert turned().reading is Reading.EXPECTATIONS
    assert turned(observables=[]).reading is Reading.PROBABILITIES
    assert turned(observables=[], shots=3).reading is Reading.COUNTS


def test_arrays_of_a_request_are_its_own():
    weights = np.array([0.1])
    request = turned(weights=weights)
    before = request.fingerprint
    weights[0] = 9.0
    assert (request.weights[0], request.fingerprint) == (0.1, before)
    with pytest.raises(ValueError, match="read-only"):
        request.weights[0] = 9.0


@pytest.mark.parametrize(
    ("error", "changes"),
    [
        (InvalidCircuitError, {"observables": [PauliString("Z")]}),
        (InvalidArgumentError, {"weights": None}),
        (InvalidArgumentError, {"weights": [0.1, 0.2]}),
        (InvalidArgumentError, {"weights": [float("nan")]}),
        (InvalidArgumentError, {"data": None}),
        (InvalidArgumentError, {"data": [1.0, 2.0]}),
        (InvalidArgumentError, {"data": [[1.0]]}),
        (InvalidArgumentError, {"data": np.zeros((0, 2))}),
        (InvalidVectorError, {"data": [[1.0, float("inf")]]}),
        (InvalidArgumentError, {"amplitudes": np.eye(4)[:2]}),
        (InvalidVectorError, {"amplitudes": np.zeros((1, 4))}),
        (InvalidVectorError, {"amplitudes": np.full((1, 4), np.nan)}),
        (InvalidVectorError, {"amplitudes": np.ones((1, 5))}),
        (InvalidVectorError, {"amplitudes": np.ones(4)}),
        (InvalidArgumentError, {"shots": 10}),
        (InvalidArgumentError, {"observables": [], "shots": 0}),
        (InvalidArgumentError, {"observables": [], "shots": 1.5}),
        (InvalidArgumentError, {"observables": [], "shots": True}),
        (InvalidArgumentError, {"observables": [], "shots": 5, "seed": -1}),
        (InvalidArgumentError, {"seed": 1}),
        (InvalidArgumentError, {"tags": {"step": 3}}),
    ],
)
def test_bad_requests_are_refused_when_they_are_made(error, changes):
    with pytest.raises(error):
        turned(**changes)


def test_extreme_amplitudes_are_one_state():
    for factor in (1e-300, 1e300):
        request = ExecutionRequest(PLAIN, [ZZ], amplitudes=np.array([[3.0, 4.0]]) * factor)
        np.testing.assert_allclose(request.amplitudes, [[0.6, 0.8]], rtol=1e-15)


# --- skeletons ---------------------------------------------------------------------------------------------------


def random_circuit(rng, n_qubits):
    operations = []
    for _ in range(12):
        angle = rng.normal() + sum(
            kind(int(rng.integers(3)), rng.normal()) for kind in (Weight, Data) for _ in range(rng.integers(3))
        )
        first, second = rng.permutation(n_qubits)[:2].tolist()
        operations += [Operation("RX", (first,), (angle,)), Operation("CRY", (first, second), (angle * 0.3,))]
        operations += [Operation("H", (second,)), Operation("U", (first,), (angle, 0.2, Weight(2)))]
    return Circuit(n_qubits, (*operations, Operation("RZ", (0,), (Data(2) + Weight(2),))))


@pytest.mark.parametrize("seed", range(8))
def test_a_skeleton_with_its_angles_is_the_circuit(seed):
    rng = np.random.default_rng(seed)
    circuit = random_circuit(rng, 3)
    weights, data = rng.normal(size=3), rng.normal(size=(5, 3))
    angles = AngleMap.of(circuit)
    rows = angles.rows(weights, data)
    np.testing.assert_allclose(
        state_vector(skeleton(circuit), None, rows), state_vector(circuit, weights, data), atol=1e-12
    )
    moved = shifted(circuit, [(0, 0, 0.5)])
    assert AngleMap.of(moved).skeleton == angles.skeleton
    assert AngleMap.of(moved.then(Operation("X", (0,)))).skeleton != angles.skeleton
    assert angles.nbytes > 0
    alone = np.concatenate([angles.rows(weights, data[k : k + 1]) for k in range(5)])
    assert (alone == rows).all()


def test_a_skeleton_of_no_angles():
    angles = AngleMap.of(PLAIN)
    assert angles.rows(np.zeros(0), np.zeros((4, 0))).shape == (4, 0)
    assert skeleton(PLAIN) == PLAIN
    assert AngleMap.of(angle_encoding(2)).skeleton != angles.skeleton
