"""QUBOs: energies by hand, solvers against every assignment, selections against every subset."""

import itertools

import numpy as np
import pytest

from qstore_db.errors import InvalidArgumentError
from qstore_db.qubo import exact_count
from qstore_db.qubo.problem import qubo
from qstore_db.qubo.selection import select_diverse
from qstore_db.qubo.solving import Solution, solve_qubo


def random_matrix(m, seed):
    return np.random.default_rng(seed).normal(size=(m, m))


def test_energies_are_those_of_the_matrix():
    matrix = random_matrix(5, 0)
    problem = qubo(matrix, offset=0.5)
    for bits in itertools.product((0, 1), repeat=5):
        x = np.array(bits)
        assert problem.energy(x) == pytest.approx(x @ matrix @ x + 0.5, abs=1e-12)
    assert problem.energy(np.eye(5)).shape == (5,)


@pytest.mark.parametrize("seed", range(4))
def test_brute_force_finds_the_lowest(seed):
    matrix = random_matrix(7, seed)
    lowest = min(itertools.product((0, 1), repeat=7), key=lambda bits: np.array(bits) @ matrix @ np.array(bits))
    found = solve_qubo(qubo(matrix), "brute_force")
    assert tuple(found.bits) == lowest
    assert found.optimal
    assert found.energy == pytest.approx(np.array(lowest) @ matrix @ np.array(lowest))


def test_ties_go_to_the_smallest_number():
    assert solve_qubo(qubo(np.zeros((3, 3))), "brute_force").bits.tolist() == [0, 0, 0]
    assert solve_qubo(qubo(np.diag([-1.0, -1.0]) + np.array([[0, 1.0], [0, 0]])), "brute_force").bits.tolist() == [0, 1]


@pytest.mark.parametrize("strength", [0.5, 1.0, 2.0])
def test_annealing_finds_what_brute_force_finds(strength):
    pytest.importorskip("dwave.samplers", reason="dwave-samplers is optional")
    for seed in range(3):
        problem = qubo(random_matrix(12, seed) * 10.0 ** (seed % 3))
        found = solve_qubo(problem, tunneling_strength=strength, seed=seed)
        assert found.energy == pytest.approx(solve_qubo(problem, "brute_force").energy, abs=1e-9), seed
        assert found.energy == pytest.approx(float(problem.energy(found.bits)))
        assert not found.optimal
    again = solve_qubo(problem, tunneling_strength=strength, seed=seed)
    assert again.bits.tolist() == found.bits.tolist()


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_equal_seeds_give_equal_annealings(seed):
    pytest.importorskip("dwave.samplers", reason="dwave-samplers is optional")
    # So short an annealing of so many variables ends elsewhere each time.
    problem = qubo(random_matrix(60, 5))
    found = {solve_qubo(problem, seed=seed, reads=1, sweeps=2).bits.tobytes() for _ in range(5)}
    assert len(found) == 1
    others = {solve_qubo(problem, seed=other, reads=1, sweeps=2).bits.tobytes() for other in range(10, 15)}
    assert len(others) > 1


def gain_of(chosen, relevance, similarity, k, diversity):
    """The definition, written out."""
    r = (relevance - relevance.min()) / (relevance.max() - relevance.min())
    outside = similarity[~np.eye(len(r), dtype=bool)]
    s = (similarity - outside.min()) / (outside.max() - outside.min())
    pairs = sum(s[i, j] for i, j in itertools.combinations(chosen, 2))
    return (1 - diversity) * sum(r[i] for i in chosen) - diversity * 2 / max(1, k - 1) * pairs


@pytest.mark.parametrize("diversity", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("k", [1, 3, 8])
def test_a_selection_is_the_best_of_all_subsets(k, diversity):
    rng = np.random.default_rng(k)
    points = rng.normal(size=(8, 3))
    similarity, relevance = points @ points.T, rng.normal(size=8)
    best = max(
        itertools.combinations(range(8), k),
        key=lambda chosen: gain_of(chosen, relevance, similarity, k, diversity),
    )
    found = select_diverse(relevance, similarity, k, diversity=diversity)
    assert found.gain == pytest.approx(gain_of(best, relevance, similarity, k, diversity), abs=1e-12)
    assert found.gain == pytest.approx(gain_of(found.chosen, relevance, similarity, k, diversity), abs=1e-12)
    assert (len(found.chosen), found.method, found.repaired) == (k, "brute_force" if k < 8 else "all", False)
    assert found.energy == -found.gain
    if diversity == 0:
        assert sorted(found.chosen) == sorted(np.argsort(-relevance)[:k])


def test_annealed_selections_have_k_members_and_nearly_the_best_gain():
    pytest.importorskip("dwave.samplers", reason="dwave-samplers is optional")
    rng = np.random.default_rng(1)
    reached = []
    for seed in range(4):
        points = rng.normal(size=(16, 4))
        similarity, relevance = points @ points.T, rng.normal(size=16)
        best = select_diverse(relevance, similarity, 5)
        found = select_diverse(relevance, similarity, 5, method="path_integral", seed=seed)
        assert len(found.chosen) == 5
        assert found.gain <= best.gain + 1e-12
        reached.append(found.gain / best.gain)
    assert np.mean(reached) > 0.95
    large = rng.normal(size=(30, 4))
    found = select_diverse(rng.normal(size=30), large @ large.T, 10, seed=3)
    assert (len(found.chosen), found.method) == (10, "path_integral")


def test_a_wrong_count_is_mended(monkeypatch):
    def stubborn(problem, method, **_):
        bits = np.zeros(problem.variables, np.int8)
        bits[:4] = 1
        return Solution(bits, 0.0, "stubborn", optimal=False)

    monkeypatch.setattr(exact_count, "solve_qubo", stubborn)
    relevance = np.array([0.1, 0.9, 0.2, 0.8, 1.0, 0.0])
    similarity = np.zeros((6, 6))
    assert select_diverse(relevance, similarity, 2, diversity=0.0).chosen.tolist() == [1, 4]
    found = select_diverse(relevance, similarity, 5, diversity=0.0)
    assert (found.chosen.tolist(), found.repaired) == ([0, 1, 2, 3, 4], True)


@pytest.mark.parametrize(
    "call",
    [
        lambda: qubo([[1.0, 2.0]]),
        lambda: qubo(np.zeros((0, 0))),
        lambda: qubo([[np.nan]]),
        lambda: solve_qubo(qubo(np.zeros((21, 21))), "brute_force"),
        lambda: solve_qubo(qubo([[1.0]]), "guess"),
        lambda: solve_qubo(qubo([[1.0]]), tunneling_strength=-1),
        lambda: solve_qubo(qubo([[1.0]]), reads=0),
        lambda: solve_qubo(qubo([[1.0]]), temperature=0.0),
        lambda: solve_qubo(qubo([[1.0]]), sweeps=1),
        lambda: solve_qubo(qubo([[1.0]]), seed=-1),
        lambda: solve_qubo(qubo([[1.0]]), "brute_force", tunneling_strength=1.0),
        lambda: solve_qubo(qubo([[1.0]]), "brute_force", seed=1),
        lambda: solve_qubo(qubo([[1.0]]), layers=2),
        lambda: solve_qubo(qubo([[1.0]]), "qaoa"),
        lambda: solve_qubo(qubo([[1.0]]), "qaoa", sweeps=10),
        lambda: select_diverse(np.zeros(3), np.zeros((3, 3)), 4),
        lambda: select_diverse(np.zeros(3), np.zeros((2, 2)), 1),
        lambda: select_diverse(np.zeros(3), np.full((3, 3), np.inf), 1),
        lambda: select_diverse(np.zeros(3), np.zeros((3, 3)), 1, diversity=2),
    ],
)
def test_what_makes_no_sense_is_refused(call):
    with pytest.raises(InvalidArgumentError):
        call()


def test_descent_ends_where_no_flip_helps():
    problem = qubo(random_matrix(6, 2))
    for bits in itertools.product((0, 1), repeat=6):
        ended = problem.descended(np.array(bits, np.int8))
        assert problem.energy(ended) <= problem.energy(np.array(bits)) + 1e-12
        for i in range(6):
            flipped = ended.copy()
            flipped[i] ^= 1
            assert problem.energy(flipped) >= problem.energy(ended) - 1e-12
