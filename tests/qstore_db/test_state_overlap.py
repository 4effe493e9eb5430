"""Circuits of superposed records against dense density matrices on |context⟩⊗|vector⟩, and against Cirq."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.circuits.interop.to_cirq import to_cirq
from qstore_db.errors import DimensionMismatchError, InvalidArgumentError, InvalidStateError
from qstore_db.executor.executor import Executor
from qstore_db.kernels.state_overlap import estimate_state_overlaps, state_readings
from qstore_db.states.contexts import parse_superposed_context
from qstore_db.states.superposition import parse_superposition

ALL = ("a", "b", "c", "d", "e")


@pytest.fixture(scope="module")
def executor():
    with Executor.named("local", "local_noisy") as executor:
        yield executor


def a_state(rng, names, dimension):
    vectors = {name: rng.normal(size=dimension) * rng.uniform(0.2, 4) for name in names}
    weights = rng.uniform(0.1, 1, len(names))
    return parse_superposition(vectors=vectors, contexts=list(zip(names, weights, strict=True)))


def density(state, weight):
    """λ|ψ⟩⟨ψ| + (1 − λ)·(its blocks of equal context), entry by entry from the definition."""
    psi = np.zeros((len(ALL), state.vectors.shape[1]))
    for name, p, v in zip(state.contexts, state.probabilities, state.vectors.astype(float), strict=True):
        psi[ALL.index(name)] = np.sqrt(p) * v / np.linalg.norm(v)
    rho = np.einsum("cd,ef->cdef", psi, psi)
    blocks = np.einsum("cdcf->cdf", rho)
    mixed = np.zeros_like(rho)
    mixed[np.arange(len(ALL)), :, np.arange(len(ALL)), :] = blocks
    return weight * rho + (1 - weight) * mixed


def truth(state, weight, query, asked):
    q = query / np.linalg.norm(query)
    rho = np.einsum("cdef,d,f->ce", density(state, weight), q, q)  # ⟨q|ρ|q⟩, left on the contexts
    if asked is None:
        return np.trace(rho)
    if isinstance(asked, str):
        place = ALL.index(asked)
        return rho[place, place] / state.probabilities[state.contexts.index(asked)]
    chi = np.zeros(len(ALL), complex)
    for name, share, phase in zip(asked.contexts, asked.weights, asked.phases, strict=True):
        chi[ALL.index(name)] = np.sqrt(share) * np.exp(-1j * phase)
    return np.real(chi.conj() @ rho @ chi)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 5), dimension=st.integers(1, 9), kind=st.sampled_from("nos"))
def test_exact_circuits_give_the_dense_overlap(executor, seed, k, dimension, kind):
    rng = np.random.default_rng(seed)
    states = [a_state(rng, list(rng.permutation(ALL)[:k]), dimension) for _ in range(3)]
    weights, query = np.array([1.0, 0.0, rng.uniform()]), rng.normal(size=dimension)
    asked = None
    if kind == "o":
        name = states[0].contexts[0]
        states = [state for state in states if name in state.contexts]
        asked = name
    elif kind == "s":
        names = list(rng.permutation(ALL)[: rng.integers(1, 5)])
        shares = dict(zip(names, rng.uniform(0.1, 1, len(names)), strict=True))
        asked = parse_superposed_context(shares, {name: rng.uniform(-4, 4) for name in names[:2]})
    weights = weights[: len(states)]
    found = estimate_state_overlaps(executor, query, states, context=asked, coherent_weights=weights)
    wanted = [truth(state, weight, query, asked) for state, weight in zip(states, weights, strict=True)]
    assert np.allclose(found.values, wanted, rtol=0, atol=1e-6)
    assert not found.standard_errors.any()


def test_an_independent_simulator_reads_the_same_chances():
    cirq = pytest.importorskip("cirq", reason="the oracle is Cirq")
    rng = np.random.default_rng(3)
    state, query = a_state(rng, ["b", "a", "d"], 3), rng.normal(size=3)
    asked = parse_superposed_context({"a": 0.5, "b": 0.2, "e": 0.3}, {"b": 0.7})
    wanted = state_readings(query, [state], asked, [0.4])
    assert wanted.weights.tolist() == [0.4, 0.6]
    chances = []
    for reading in wanted.readings:
        n = reading.circuit.n_qubits
        qubits = cirq.LineQubit.range(n)
        simulator = cirq.Simulator(dtype=np.complex128)
        psi = simulator.simulate(to_cirq(reading.circuit), qubit_order=qubits).final_state_vector
        by_bits = np.abs(psi.reshape((2,) * n)) ** 2
        chances.append(by_bits[tuple(0 if q in reading.zeros else slice(None) for q in range(n))].sum())
    assert wanted.weights @ chances == pytest.approx(truth(state, 0.4, query, asked), abs=1e-9)


def test_shots_scatter_by_the_standard_errors_that_are_said(executor):
    rng = np.random.default_rng(8)
    state, query = a_state(rng, ["a", "b"], 4), rng.normal(size=4)
    asked = parse_superposed_context({"a": 0.5, "b": 0.5})
    repeats = 300
    found = estimate_state_overlaps(
        executor, query, [state] * repeats, context=asked, coherent_weights=[0.6] * repeats, shots=300, seed=5
    )
    expected = truth(state, 0.6, query, asked)
    assert found.circuits == 2 * repeats
    scatter = (found.values - expected) / found.standard_errors
    # The sum of squares of 300 standard normal numbers is a chi-square: 99.9 % of it lies between these.
    assert 221 < np.sum(scatter**2) < 391
    assert abs(scatter.mean()) < 3.3 / np.sqrt(repeats)
    again = estimate_state_overlaps(executor, query, [state], context=asked, coherent_weights=[0.6], shots=300, seed=5)
    assert (
        again.values
        == estimate_state_overlaps(
            executor, query, [state], context=asked, coherent_weights=[0.6], shots=300, seed=5
        ).values
    )


def test_noise_of_a_backend_shows(executor):
    rng = np.random.default_rng(1)
    state = a_state(rng, ["a", "b"], 2)
    query = state.vectors[0]
    asked = parse_superposed_context({"a": 0.5, "b": 0.5})
    noisy = estimate_state_overlaps(executor, query, [state], context=asked, backend="local_noisy")
    exact = estimate_state_overlaps(executor, query, [state], context=asked, backend="local")
    assert 1e-4 < abs(noisy.values[0] - exact.values[0]) < 0.2
    assert noisy.backend == "local_noisy"


def test_what_makes_no_sense_is_refused(executor):
    state = a_state(np.random.default_rng(0), ["a", "b"], 3)
    with pytest.raises(InvalidStateError, match="without the context 'z'"):
        state_readings([1.0, 0, 0], [state], "z")
    with pytest.raises(DimensionMismatchError, match="length 2"):
        state_readings([1.0, 0], [state])
    for weights in ([0.5, 0.5], [1.1], [np.nan]):
        with pytest.raises(InvalidArgumentError, match="coherent weights"):
            state_readings([1.0, 0, 0], [state], None, weights)
