"""Exactly k ones: against all combinations."""

from itertools import combinations

import numpy as np
import pytest

from qstore_db.errors import InvalidArgumentError
from qstore_db.executor.executor import Executor
from qstore_db.qubo import exact_count
from qstore_db.qubo.exact_count import choose_exactly
from qstore_db.qubo.problem import qubo
from qstore_db.qubo.solving import Solution


def least(problem, k):
    best = (np.inf, None)
    for places in combinations(range(problem.variables), k):
        bits = np.zeros(problem.variables)
        bits[list(places)] = 1
        best = min(best, (float(problem.energy(bits)), places))
    return best


@pytest.mark.parametrize("seed", range(12))
def test_brute_force_finds_the_best_of_the_combinations(seed):
    rng = np.random.default_rng(seed)
    m = int(rng.integers(2, 9))
    k = int(rng.integers(1, m + 1))
    problem = qubo(rng.normal(size=(m, m)) * 10.0 ** rng.integers(-3, 4), float(rng.normal()))
    found = choose_exactly(problem, k)
    energy, places = least(problem, k)
    assert found.optimal
    assert not found.repaired
    assert found.energy == pytest.approx(energy)
    assert np.flatnonzero(found.bits).tolist() == list(places)


@pytest.mark.parametrize("method", ["path_integral", "qaoa"])
def test_other_solvers_keep_the_count(method):
    if method == "path_integral":
        pytest.importorskip("dwave.samplers")
    rng = np.random.default_rng(5)
    problem = qubo(rng.normal(size=(8, 8)))
    with Executor.named("local") as executor:
        given = {"executor": executor, "shots": 200} if method == "qaoa" else {}
        found = choose_exactly(problem, 3, method=method, seed=1, **given)
    assert found.bits.sum() == 3
    assert found.energy == pytest.approx(float(problem.energy(found.bits)))
    assert not found.optimal
    assert found.energy <= least(problem, 3)[0] + 1.0
    assert (found.circuits > 0) == (method == "qaoa")


@pytest.mark.parametrize("start", [[0] * 7, [1] * 7, [1, 0, 0, 0, 0, 0, 1]])
def test_an_answer_of_another_count_is_mended_and_said(monkeypatch, start):
    rng = np.random.default_rng(9)
    problem = qubo(rng.normal(size=(7, 7)))
    bits = np.array(start, np.int8)
    monkeypatch.setattr(exact_count, "solve_qubo", lambda *_, **__: Solution(bits, 0.0, "path_integral", optimal=False))
    found = choose_exactly(problem, 3, method="path_integral")
    assert found.repaired
    assert found.bits.sum() == 3
    assert found.energy == pytest.approx(float(problem.energy(found.bits)))
    worse = [
        float(problem.energy(np.where(np.arange(7) == one, 0, np.where(np.arange(7) == zero, 1, found.bits))))
        for one in np.flatnonzero(found.bits)
        for zero in np.flatnonzero(found.bits == 0)
    ]
    assert min(worse) >= found.energy - 1e-9  # no exchange lowers it


def test_counts_out_of_range_are_refused():
    for k in (0, 4, True):
        with pytest.raises(InvalidArgumentError, match="cannot be chosen"):
            choose_exactly(qubo(np.eye(3)), k)
