"""QAOA for QUBOs: its circuit against dense matrices, its answers against every assignment."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.errors import InvalidArgumentError, UnsupportedRequestError
from qstore_db.executor.executor import Executor
from qstore_db.qubo.problem import qubo
from qstore_db.qubo.qaoa import ising_of, qaoa_circuit, sample_by_qaoa
from qstore_db.qubo.selection import select_diverse
from qstore_db.qubo.solving import solve_qubo
from qstore_db.simulation.state_vector import states


@pytest.fixture(scope="module")
def executor():
    with Executor.named("local", "local_noisy") as executor:
        yield executor


def a_problem(m, seed):
    return qubo(np.random.default_rng(seed).normal(size=(m, m)), offset=0.3)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(m=st.integers(1, 5), seed=st.integers(0, 10**6))
def test_spins_have_the_energies_of_the_bits(m, seed):
    problem = a_problem(m, seed)
    ising = ising_of(problem)
    for bits in itertools.product((0, 1), repeat=m):
        spins = 1.0 - 2.0 * np.array(bits)
        assert ising.energy(spins) == pytest.approx(float(problem.energy(bits)), abs=1e-12)


@settings(derandomize=True, deadline=None, max_examples=20)
@given(m=st.integers(1, 4), layers=st.integers(1, 3), seed=st.integers(0, 10**6))
def test_the_circuit_is_the_product_of_dense_exponentials(m, layers, seed):
    rng = np.random.default_rng(seed)
    problem = a_problem(m, seed)
    ising, angles = ising_of(problem), rng.uniform(-2, 2, 2 * layers)
    bits = np.array(list(itertools.product((0, 1), repeat=m)))
    energies = ising.energy(1.0 - 2.0 * bits) - ising.offset
    one_qubit = lambda beta: np.cos(beta) * np.eye(2) + 1j * np.sin(beta) * np.array([[0, 1], [1, 0]])  # noqa: E731
    psi = np.full(1 << m, 2 ** (-m / 2), complex)
    for gamma, beta in angles.reshape(-1, 2):
        psi = np.exp(-1j * gamma * energies / ising.unit) * psi
        mixer = np.ones((1, 1))
        for _ in range(m):
            mixer = np.kron(mixer, one_qubit(beta))
        psi = mixer @ psi
    found = states(qaoa_circuit(problem, layers), weights=angles)[0]
    assert abs(np.vdot(found, psi)) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_it_finds_the_best_and_says_what_it_ran(executor, seed):
    problem = qubo(np.random.default_rng(seed).normal(size=(9, 9)) * 10.0 ** (seed - 2))
    found = solve_qubo(problem, "qaoa", executor=executor, shots=60, seed=seed)
    best = solve_qubo(problem, "brute_force")
    assert found.bits.tolist() == best.bits.tolist()
    assert found.energy == pytest.approx(float(problem.energy(found.bits)))
    assert (found.method, found.optimal, found.circuits) == ("qaoa", False, 12 + 2 * 25 + 1)
    again = solve_qubo(problem, "qaoa", executor=executor, shots=60, seed=seed)
    assert again.bits.tolist() == found.bits.tolist()


def test_angles_that_were_chosen_measure_lower_energies_than_chance(executor):
    gains = []
    for seed in range(5):
        problem = a_problem(10, seed)
        random = problem.energy(np.array(list(itertools.product((0, 1), repeat=10))))
        sampler = sample_by_qaoa(problem, executor, backend=None, layers=2, shots=200, rounds=20, seed=seed)
        found = sampler.mean_energies(sampler.chosen[None])[0]
        gains.append((random.mean() - found) / (random.mean() - random.min()))
    assert min(gains) > 0.35  # 0 is chance, 1 the optimum in every shot
    assert np.mean(gains) > 0.5


def test_single_shots_are_no_better_than_they_are(executor):
    """The answer is what was measured: with one layer, no search and one shot a circuit it is seldom the optimum."""
    hits = 0
    for seed in range(20):
        problem = a_problem(8, seed)
        found = solve_qubo(problem, "qaoa", executor=executor, layers=1, rounds=0, shots=1, seed=seed)
        hits += found.energy == pytest.approx(solve_qubo(problem, "brute_force").energy)
    assert 0 < hits < 20


def test_selections_by_qaoa_have_k_members(executor):
    rng = np.random.default_rng(4)
    points = rng.normal(size=(9, 3))
    similarity, relevance = points @ points.T, rng.normal(size=9)
    best = select_diverse(relevance, similarity, 4)
    found = select_diverse(relevance, similarity, 4, executor=executor, shots=200, seed=2)
    assert (len(found.chosen), found.method, found.circuits) == (4, "qaoa", 63)
    assert found.gain == pytest.approx(best.gain, abs=1e-12)
    few = select_diverse(relevance, similarity, 4, method="qaoa", executor=executor, shots=1, seed=2)
    assert len(few.chosen) == 4


def test_another_backend_is_the_one_that_runs(executor):
    problem = a_problem(5, 3)
    found = solve_qubo(problem, "qaoa", executor=executor, backend="local_noisy", shots=100, rounds=3, seed=1)
    assert found.energy == pytest.approx(solve_qubo(problem, "brute_force").energy)
    before = executor.usage()["local_noisy"].circuits
    solve_qubo(problem, "qaoa", executor=executor, backend="local_noisy", shots=100, rounds=0, seed=2)
    assert executor.usage()["local_noisy"].circuits == before + 13
    with pytest.raises(UnsupportedRequestError, match="no room for 13 qubits"):
        solve_qubo(a_problem(13, 0), "qaoa", executor=executor, backend="local_noisy", shots=10)


def test_what_makes_no_sense_is_refused(executor):
    problem = a_problem(2, 0)
    for wrong in ({"layers": 0}, {"shots": 0}, {"rounds": -1}, {"seed": -1}):
        with pytest.raises(InvalidArgumentError):
            solve_qubo(problem, "qaoa", executor=executor, **wrong)
    with pytest.raises(InvalidArgumentError, match="at most 24"):
        solve_qubo(a_problem(25, 0), "qaoa", executor=executor)


def test_a_flat_problem_has_an_answer(executor):
    found = solve_qubo(qubo(np.zeros((3, 3))), "qaoa", executor=executor, shots=5, rounds=1)
    assert found.energy == 0.0
