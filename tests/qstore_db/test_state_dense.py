"""Closed forms of states against dense vectors and density matrices on |context⟩⊗|vector⟩ (pure, no database)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qstore_db.errors import InvalidStateError
from qstore_db.states.coherence import age_seconds, coherent_weight, dephased_overlaps, is_coherent
from qstore_db.states.contexts import parse_superposed_context
from qstore_db.states.measurement import measure_complete, measure_named, measure_superposed
from qstore_db.states.superposition import parse_superposition

NAMES = ("a", "b", "c", "d")
D = 5


def a_state(seed, names=("a", "b", "c")):
    rng = np.random.default_rng(seed)
    vectors = {name: rng.normal(size=D) * rng.uniform(0.5, 3) for name in names}
    return parse_superposition(vectors=vectors, contexts=list(zip(names, rng.uniform(0.1, 1, len(names)), strict=True)))


def ket(state):
    """|ψ⟩ built entry by entry from its definition, shape (contexts · D,)."""
    psi = np.zeros((len(NAMES), D))
    for name, p, v in zip(state.contexts, state.probabilities, state.vectors.astype(float), strict=True):
        label = np.eye(len(NAMES))[NAMES.index(name)]
        psi += math.sqrt(p) * np.kron(label, v / math.sqrt(v @ v)).reshape(len(NAMES), D)
    return psi.reshape(-1)


def density(state, weight):
    """λ|ψ⟩⟨ψ| + (1 − λ)·(its part that is diagonal in the context)."""
    rho = np.outer(ket(state), ket(state))
    diagonal = np.zeros_like(rho)
    for c in range(len(NAMES)):
        block = slice(c * D, (c + 1) * D)
        diagonal[block, block] = rho[block, block]
    return weight * rho + (1 - weight) * diagonal


def bra_context(q, phases):
    """|χ⟩ = Σ √q_c e^{−iφ_c}|c⟩ on the register of NAMES."""
    chi = np.zeros(len(NAMES), complex)
    for name, weight in q.items():
        chi[NAMES.index(name)] = math.sqrt(weight) * np.exp(-1j * phases.get(name, 0.0))
    return chi


def overlap(state, q, phases, unit, weight):
    named = [i for i, name in enumerate(state.contexts) if name in q]
    p = np.array([state.probabilities[i] for i in named])
    names = [state.contexts[i] for i in named]
    amplitudes = np.sqrt(p * [q[n] for n in names]) * (state.unit_vectors[named] @ unit)
    return dephased_overlaps(
        np.zeros(len(named), np.int64), amplitudes, np.array([phases.get(n, 0.0) for n in names]), np.array([weight])
    )[0]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("weight", [1.0, 0.37, 0.0])
@pytest.mark.parametrize("phases", [{}, {"b": 1.1, "a": -0.4}])
def test_overlap_is_the_expectation_of_the_dense_projector(seed, weight, phases):
    state = a_state(seed)
    unit = np.random.default_rng(100 + seed).normal(size=D)
    unit /= np.linalg.norm(unit)
    q = {"a": 0.5, "b": 0.3, "d": 0.2}
    projector = np.kron(bra_context(q, phases), unit)
    expected = np.real(projector.conj() @ density(state, weight) @ projector)
    assert overlap(state, q, phases, unit, weight) == pytest.approx(expected, abs=1e-12)


def test_branches_interfere_by_sign_and_phase():
    e = np.array([1.0, 0, 0, 0, 0])
    q = {"a": 0.5, "b": 0.5}
    same = parse_superposition(vectors={"a": e, "b": e})
    opposite = parse_superposition(vectors={"a": e, "b": -e})
    quarter = {"b": math.pi / 2}
    assert overlap(same, q, {}, e, 1.0) == pytest.approx(1.0)
    assert overlap(opposite, q, {}, e, 1.0) == pytest.approx(0.0)
    assert overlap(opposite, q, {"b": math.pi}, e, 1.0) == pytest.approx(1.0)
    assert overlap(same, q, quarter, e, 1.0) == pytest.approx(0.5)
    assert overlap(same, q, {}, e, 0.0) == pytest.approx(0.5)
    assert overlap(opposite, q, {}, e, 0.0) == pytest.approx(0.5)
    assert overlap(same, {"a": 1.0}, {}, e, 1.0) == pytest.approx(0.5)  # joint, not post-selected: p_a


def test_coherence_decays_with_age():
    assert coherent_weight(0.0, 10.0) == 1.0
    assert coherent_weight(10.0, 10.0) == pytest.approx(1 / math.e)
    assert coherent_weight(1e9, math.inf) == 1.0
    assert coherent_weight(1e9, 1.0) == 0.0
    assert coherent_weight(10.0, 10.0, 0.5) == pytest.approx(0.5 / math.e)
    assert age_seconds(5.0, 8.0) == 0.0
    assert is_coherent(9.999, 10.0)
    assert not is_coherent(10.0, 10.0)


def outcomes(measure, state, draws=4000, seed=3, **arguments):
    rng = np.random.default_rng(seed)
    return [measure(state, rng=rng, **arguments) for _ in range(draws)]


def chi_square(counts, probabilities):
    expected = np.asarray(probabilities) * sum(counts)
    return float(np.sum((np.asarray(counts) - expected) ** 2 / expected))


def test_complete_measurement_follows_born():
    state = a_state(1)
    drawn = outcomes(measure_complete, state)
    counts = [sum(o.name == name for o in drawn) for name in state.contexts]
    assert chi_square(counts, state.probabilities) < 13.8  # 99.9 % of chi-square with 2 degrees of freedom
    for outcome in drawn[:20]:
        index = state.contexts.index(outcome.name)
        assert outcome.probability == state.probabilities[index]
        assert outcome.vector.tobytes() == state.vectors[index].tobytes()
        assert outcome.state.contexts == (outcome.name,)
        assert outcome.state.probabilities == (1.0,)


@pytest.mark.parametrize("weight", [1.0, 0.4, 0.0])
def test_named_measurement_is_born_and_leaves_lueders_state(weight):
    state = a_state(2)
    drawn = outcomes(measure_named, state, context="b", coherent_weight=weight)
    p = state.probabilities[1]
    yes = sum(o.name == "yes" for o in drawn)
    assert chi_square([yes, len(drawn) - yes], [p, 1 - p]) < 10.8
    rho = density(state, weight)
    project = np.kron(np.diag([0.0, 1.0, 0.0, 0.0]), np.eye(D))
    for name, operator in (("yes", project), ("no", np.eye(len(rho)) - project)):
        outcome = next(o for o in drawn if o.name == name)
        after = operator @ rho @ operator
        assert outcome.probability == pytest.approx(np.trace(after), abs=1e-12)
        left = density(outcome.state, outcome.state.initial_coherence)
        assert left == pytest.approx(after / np.trace(after), abs=1e-7)
    no = next(o for o in drawn if o.name == "no")
    assert no.vector is None
    assert no.state.vectors.tobytes() == state.vectors[[0, 2]].tobytes()


def test_named_measurement_of_certain_and_absent_contexts():
    rng = np.random.default_rng(0)
    single = parse_superposition(vector=[1.0, 2.0], contexts=["a"])
    for _ in range(50):
        assert measure_named(single, "a", coherent_weight=1.0, rng=rng).name == "yes"
        absent = measure_named(single, "b", coherent_weight=1.0, rng=rng)
        assert (absent.name, absent.probability, absent.state.contexts) == ("no", 1.0, ("a",))
    with pytest.raises(InvalidStateError, match="probability 0"):
        measure_named(single, "b", coherent_weight=1.0, rng=rng, postselect=True)


def test_post_selection_gives_the_branch_with_its_probability():
    state = a_state(4)
    for index, name in enumerate(state.contexts):
        outcome = measure_named(state, name, coherent_weight=0.3, rng=np.random.default_rng(0), postselect=True)
        assert outcome.name == "yes"
        assert outcome.probability == state.probabilities[index]
        assert outcome.vector.tobytes() == state.vectors[index].tobytes()


@pytest.mark.parametrize("weight", [1.0, 0.4, 0.0])
@pytest.mark.parametrize("q", [{"a": 0.5, "b": 0.5}, {"a": 0.2, "b": 0.5, "d": 0.3}, {"c": 1.0}, {"d": 1.0}])
def test_superposed_measurement_is_born_and_averages_to_lueders_state(weight, q):
    state = a_state(5)
    draws = 6000
    drawn = outcomes(measure_superposed, state, draws, context=parse_superposed_context(q), coherent_weight=weight)
    rho = density(state, weight)
    chi = np.real(bra_context(q, {}))
    project = np.kron(np.outer(chi, chi), np.eye(D))
    for name, operator in (("yes", project), ("no", np.eye(len(rho)) - project)):
        after = operator @ rho @ operator
        probability = np.trace(after)
        members = [o for o in drawn if o.name == name]
        assert (
            abs(len(members) - draws * probability) <= 3.5 * math.sqrt(draws * probability * (1 - probability)) + 1e-9
        )
        if not members:
            continue
        assert members[0].probability == pytest.approx(probability, abs=1e-12)
        average = sum(density(o.state, o.state.initial_coherence) for o in members) / len(members)
        tolerance = 1e-6 if weight == 1.0 else 4 / math.sqrt(len(members))
        assert average == pytest.approx(after / probability, abs=tolerance)
        for outcome in members[:50]:
            assert sum(outcome.state.probabilities) == pytest.approx(1.0)
            assert outcome.state.norms == pytest.approx(np.ones(len(outcome.state.contexts)), abs=1e-6)


def test_superposed_yes_shares_one_vector_and_cancelling_branches_cannot_be_selected():
    state = parse_superposition(vectors={"a": [1.0, 1.0], "b": [1.0, -1.0]}, contexts=[("a", 0.8), ("b", 0.2)])
    context = parse_superposed_context({"a": 0.5, "b": 0.5})
    outcome = measure_superposed(state, context, coherent_weight=1.0, rng=np.random.default_rng(0), postselect=True)
    u = math.sqrt(0.4) * np.array([1.0, 1.0]) / math.sqrt(2) + math.sqrt(0.1) * np.array([1.0, -1.0]) / math.sqrt(2)
    assert outcome.probability == pytest.approx(u @ u)
    assert outcome.vector == pytest.approx(u / math.sqrt(u @ u), abs=1e-6)
    assert outcome.state.shared
    assert outcome.state.probabilities == pytest.approx((0.5, 0.5))
    assert outcome.state.vectors[0].tobytes() == outcome.state.vectors[1].tobytes()
    opposite = parse_superposition(vectors={"a": [1.0, 0.0], "b": [-1.0, 0.0]})
    with pytest.raises(InvalidStateError, match="probability 0"):
        measure_superposed(opposite, context, coherent_weight=1.0, rng=np.random.default_rng(0), postselect=True)
    with pytest.raises(InvalidStateError, match="no phases"):
        measure_superposed(
            state,
            parse_superposed_context({"a": 1.0, "b": 1.0}, {"a": 1.0}),
            coherent_weight=1.0,
            rng=np.random.default_rng(0),
        )
