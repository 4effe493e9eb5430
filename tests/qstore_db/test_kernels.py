"""Overlaps and kernel matrices against dense states of an independent simulator."""

import numpy as np
import pytest

from qstore_db.circuits.encodings.amplitude import state_preparation
from qstore_db.circuits.encodings.zz_feature_map import zz_columns, zz_feature_map
from qstore_db.circuits.interop.to_cirq import to_cirq
from qstore_db.circuits.placement import bind
from qstore_db.errors import InvalidArgumentError, InvalidVectorError
from qstore_db.executor.executor import Executor
from qstore_db.kernels.estimated import estimated_gram
from qstore_db.kernels.gram import fidelity_gram, projected_gram
from qstore_db.kernels.overlap import estimate_overlaps, overlap_circuit

cirq = pytest.importorskip("cirq", reason="the oracle is Cirq")


@pytest.fixture(scope="module")
def executor():
    with Executor.named("local", "local_noisy") as executor:
        yield executor


def vectors(count, width, seed):
    return np.random.default_rng(seed).normal(size=(count, width))


def dense(circuit):
    """The state of a bound circuit by Cirq, qubit 0 the highest bit."""
    qubits = cirq.LineQubit.range(circuit.n_qubits)
    return cirq.Simulator(dtype=np.complex128).simulate(to_cirq(circuit), qubit_order=qubits).final_state_vector


def zz_state(row):
    return dense(bind(zz_feature_map(len(row), 2), data=zz_columns(row[None])[0]))


@pytest.mark.parametrize("method", ["compute_uncompute", "swap_test"])
def test_both_circuits_tell_the_squared_overlap(executor, method):
    rows = vectors(4, 5, 1)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    pairs = [(state_preparation(rows[i]), state_preparation(rows[j])) for i in range(4) for j in range(4)]
    found = estimate_overlaps(executor, pairs, method=method)
    assert np.allclose(found.values.reshape(4, 4), (unit @ unit.T) ** 2, atol=1e-9)
    assert not found.standard_errors.any()
    assert (found.backend, found.shots, found.circuits) == ("local", None, 16)
    state = np.abs(dense(overlap_circuit(*pairs[1], method))) ** 2
    share = state[0] if method == "compute_uncompute" else 2 * state[: len(state) // 2].sum() - 1
    assert share == pytest.approx((unit[0] @ unit[1]) ** 2, abs=1e-9)


@pytest.mark.parametrize("method", ["compute_uncompute", "swap_test"])
def test_shots_scatter_by_the_standard_error(executor, method):
    rows = vectors(2, 4, 2)
    pair = (state_preparation(rows[0]), state_preparation(rows[1]))
    truth = estimate_overlaps(executor, [pair], method=method).values[0]
    found = estimate_overlaps(executor, [pair] * 200, method=method, shots=400, seed=3)
    chance = truth if method == "compute_uncompute" else (1 + truth) / 2
    expected = np.sqrt(chance * (1 - chance) / 400) * (1 if method == "compute_uncompute" else 2)
    assert abs(found.values.mean() - truth) < 4 * expected / np.sqrt(200)
    assert found.values.std() == pytest.approx(expected, rel=0.2)
    assert found.standard_errors.mean() == pytest.approx(expected, rel=0.05)
    again = estimate_overlaps(executor, [pair] * 200, method=method, shots=400, seed=3)
    assert np.array_equal(again.values, found.values)
    assert len(set(found.values)) > 5


def test_kernels_are_those_of_the_states():
    rows, others = vectors(5, 3, 4), vectors(2, 3, 5)
    left, right = [zz_state(row) for row in rows], [zz_state(row) for row in others]
    expected = np.array([[abs(np.vdot(a, b)) ** 2 for b in right] for a in left])
    assert np.allclose(fidelity_gram(rows, others), expected, atol=1e-12)
    square = fidelity_gram(rows)
    assert np.allclose(np.diagonal(square), 1.0)
    assert np.linalg.eigvalsh(square)[0] > -1e-12
    product = np.prod(np.cos((rows[:, None] - others[None]) / 2) ** 2, axis=2)
    assert np.allclose(fidelity_gram(rows, others, feature_map="angle"), product, atol=1e-12)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert np.allclose(fidelity_gram(rows, feature_map="amplitude"), (unit @ unit.T) ** 2, atol=1e-12)


@pytest.mark.parametrize("feature_map", ["zz", "amplitude"])
def test_projected_kernels_compare_single_qubits(feature_map):
    rows = vectors(4, 3, 6)
    states = [zz_state(row) if feature_map == "zz" else dense(state_preparation(row)) for row in rows]
    n = 3 if feature_map == "zz" else 2

    def reduced(state, qubit):
        matrix = np.moveaxis(state.reshape([2] * n), qubit, 0).reshape(2, -1)
        return matrix @ matrix.conj().T

    expected = np.array(
        [
            [np.exp(-0.7 * sum(np.linalg.norm(reduced(a, q) - reduced(b, q)) ** 2 for q in range(n))) for b in states]
            for a in states
        ]
    )
    assert np.allclose(projected_gram(rows, gamma=0.7, feature_map=feature_map), expected, atol=1e-9)


def test_an_estimated_matrix_is_made_a_kernel_and_says_so(executor):
    rows = 0.2 * vectors(6, 2, 7)  # so alike that the true matrix has eigenvalues near 0
    found = estimated_gram(executor, rows, shots=50, seed=1)
    assert np.array_equal(found.raw, found.raw.T)
    assert np.linalg.eigvalsh(found.matrix)[0] > -1e-9
    assert found.smallest_eigenvalue == pytest.approx(np.linalg.eigvalsh(found.raw)[0])
    assert found.smallest_eigenvalue < 0 < found.moved
    assert found.circuits == 15
    close = estimated_gram(executor, rows, shots=200_000, seed=1)
    assert np.allclose(close.matrix, fidelity_gram(rows), atol=0.01)


def test_a_support_vector_machine_takes_it():
    svm = pytest.importorskip("sklearn.svm", reason="scikit-learn is optional")
    rng = np.random.default_rng(8)
    rows = rng.uniform(0, np.pi, (60, 2))
    labels = (np.cos(rows[:, 0]) * np.cos(rows[:, 1]) > 0).astype(int)
    gram, cross = fidelity_gram(rows[:40]), fidelity_gram(rows[40:], rows[:40])
    by_us = svm.SVC(kernel="precomputed").fit(gram, labels[:40]).decision_function(cross)
    states = [zz_state(row) for row in rows]
    whole = np.array([[abs(np.vdot(a, b)) ** 2 for b in states] for a in states])
    by_cirq = svm.SVC(kernel="precomputed").fit(whole[:40, :40], labels[:40]).decision_function(whole[40:, :40])
    assert np.allclose(by_us, by_cirq, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda e: overlap_circuit(state_preparation([1.0, 2]), state_preparation([1.0, 2, 3])), InvalidArgumentError),
        (lambda e: estimate_overlaps(e, []), InvalidArgumentError),
        (lambda e: estimate_overlaps(e, [(state_preparation([1.0, 2]),) * 2], seed=1), InvalidArgumentError),
        (lambda e: estimate_overlaps(e, [(state_preparation([1.0, 2]),) * 2], method="x"), InvalidArgumentError),
        (lambda e: fidelity_gram([[1.0, np.nan]]), InvalidVectorError),
        (lambda e: fidelity_gram([[1.0, 2.0]], [[1.0]]), InvalidVectorError),
        (lambda e: fidelity_gram([[1.0] * 25]), InvalidVectorError),
        (lambda e: fidelity_gram([[1.0]], feature_map="guess"), InvalidArgumentError),
        (lambda e: projected_gram([[1.0]], gamma=0), InvalidArgumentError),
        (lambda e: estimated_gram(e, [[1.0]], shots=10), InvalidArgumentError),
    ],
)
def test_what_makes_no_sense_is_refused(executor, call, error):
    with pytest.raises(error):
        call(executor)
