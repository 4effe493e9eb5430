"""A measurement cannot give back coherence: what a collapse leaves, against dense density matrices and Lüders' rule."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from set_clock import SetClock

from qstore_db import QuantumDatabase
from qstore_db.functions.state_reading import read_state

NAMES = ("a", "b", "c", "d")
D, T = 3, 30.0


def ket(probabilities, branches):
    psi = np.zeros((len(NAMES), D))
    for name, p in probabilities.items():
        v = np.asarray(branches[name], float)
        psi[NAMES.index(name)] = math.sqrt(p) * v / np.linalg.norm(v)
    return psi


def dephased(rho, weight):
    """Off-diagonal blocks of the context register times ``weight``."""
    out = weight * rho
    places = np.arange(len(NAMES))
    out[places, :, places, :] = rho[places, :, places, :]
    return out


def without(rho, name):
    """Lüders' state after "no" to a context."""
    keep = np.array([float(other != name) for other in NAMES])
    left = rho * keep[:, None, None, None] * keep[None, None, :, None]
    return left / np.einsum("cdcd->", left)


def score(rho, query, context):
    unit = np.asarray(query, float) / np.linalg.norm(query)
    chi = np.array([math.sqrt(context.get(name, 0.0)) for name in NAMES])
    return np.einsum("cdef,c,d,e,f->", rho, chi, unit, chi, unit)


def random_state(rng):
    branches = {name: rng.normal(size=D).astype(np.float32) for name in NAMES}
    weights = rng.uniform(0.1, 1, len(NAMES))
    return dict(zip(NAMES, weights / weights.sum(), strict=True)), branches


def refused(db, name, context):
    """Collapse by a seed under which the answer is "no"."""
    seed = next(seed for seed in range(200) if db.measure(name, context, seed=seed).outcome == "no")
    db.measure(name, context, seed=seed, collapse=True)


def bystander(db):
    """A record that has every context, so that each can be asked for."""
    db.insert(id="u", vector=np.ones(D), contexts=list(NAMES))


def stored_score(db, name, query, context):
    hits = db.query(query, context=context, top_k=10)
    return float(hits.scores[hits.ids.index(name)])


@settings(derandomize=True, deadline=None, max_examples=12)
@given(seed=st.integers(0, 10**6), first=st.floats(0.0, 50.0), then=st.floats(0.0, 50.0))
def test_a_partial_collapse_goes_on_dephasing_where_it_stood(seed, first, then):
    """Dephase, hear "no", dephase on: Lüders' state, which dephasing commutes with, so only first + then counts."""
    rng = np.random.default_rng(seed)
    probabilities, branches = random_state(rng)
    query, context = rng.normal(size=D), dict(zip(NAMES, (0.1, 0.2, 0.3, 0.4), strict=True))
    clock = SetClock(0.0)
    with QuantumDatabase.open(":memory:", clock=clock) as db:
        bystander(db)
        db.insert(id="s", vectors=branches, contexts=list(probabilities.items()), coherence_time=T)
        clock.now += first
        refused(db, "s", "b")
        clock.now += then
        psi = ket(probabilities, branches)
        rho = dephased(np.einsum("cd,ef->cdef", psi, psi), math.exp(-first / T))
        expected = score(dephased(without(rho, "b"), math.exp(-then / T)), query, context)
        assert stored_score(db, "s", query, context) == pytest.approx(expected, abs=1e-6)
        record = read_state(db._engine.snapshot(), "default", "s")
        assert record.coherent_weight(clock.now) == pytest.approx(math.exp(-(first + then) / T))
        db.update("s", contexts=["a", "c"])  # what a user writes is coherent again
        assert read_state(db._engine.snapshot(), "default", "s").coherent_weight(clock.now) == 1.0


def test_a_no_inside_a_group_counts_the_entanglement_once():
    rng = np.random.default_rng(3)
    probabilities, branches = random_state(rng)
    query, context = rng.normal(size=D), {"a": 0.3, "b": 0.3, "d": 0.4}
    with QuantumDatabase.open(":memory:") as db:
        db.insert(id="s", vectors=branches, contexts=list(probabilities.items()))
        db.insert(id="t", vector=rng.normal(size=D), contexts=[("a", 0.5), ("b", 0.2), ("c", 0.3)])
        db.create_entangled_group("pair", ["s", "t"], correlation_strength=0.6)
        refused(db, "s", "c")
        (group,) = db.entangled_groups()
        assert group.members == ("s", "t")
        psi = ket(probabilities, branches)
        rho = dephased(np.einsum("cd,ef->cdef", psi, psi), 0.4)
        expected = score(without(rho, "c"), query, context)
        assert stored_score(db, "s", query, context) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("strength", [0.0, 0.35, 0.9, 1.0])
def test_measuring_one_record_does_not_raise_the_interference_of_another(strength):
    """Averaged over outcomes the partner's off-diagonal terms never grow: nothing is signalled."""
    rng = np.random.default_rng(5)
    one = {"a": 0.55, "b": 0.45}
    other, branches = {"a": 0.3, "b": 0.7}, {"a": [1.0, 0.2, 0.0], "b": [0.4, 1.0, 0.3]}
    query, context = rng.normal(size=D), {"a": 0.5, "b": 0.5}
    unit = query / np.linalg.norm(query)
    parts = {name: unit @ np.asarray(v) / np.linalg.norm(v) for name, v in branches.items()}

    def interference(db):
        stored = read_state(db._engine.snapshot(), "default", "t").superposition
        shares = zip(stored.contexts, stored.probabilities, strict=True)
        incoherent = sum(p * 0.5 * parts[name] ** 2 for name, p in shares)
        return stored_score(db, "t", query, context) - incoherent

    def fresh():
        db = QuantumDatabase.open(":memory:")
        bystander(db)
        db.insert(id="s", vector=[1.0, 0.0, 0.0], contexts=list(one.items()))
        db.insert(id="t", vectors=branches, contexts=list(other.items()))
        db.create_entangled_group("pair", ["s", "t"], correlation_strength=strength)
        return db

    with fresh() as db:
        before = interference(db)
    after = 0.0
    for name, probability in one.items():
        with fresh() as db:
            db.measure("s", name, postselect=True, collapse=True)
            assert db.entangled_groups() == []
            after += probability * interference(db)
    assert abs(after) <= abs(before) + 1e-6
    if strength == 0.0:
        assert after == pytest.approx(before, abs=1e-6)
    if strength == 1.0:
        assert before == pytest.approx(0.0, abs=1e-6)


def test_dissolving_a_group_by_hand_gives_its_members_back_as_they_were_written():
    rng = np.random.default_rng(2)
    probabilities, branches = random_state(rng)
    query, context = rng.normal(size=D), {"a": 0.5, "b": 0.5}
    with QuantumDatabase.open(":memory:") as db:
        db.insert(id="s", vectors=branches, contexts=list(probabilities.items()))
        db.insert(id="t", vector=[1.0, 0.0, 0.0], contexts=["a", "b"])
        before = stored_score(db, "s", query, context)
        db.create_entangled_group("pair", ["s", "t"], correlation_strength=0.6)
        assert stored_score(db, "s", query, context) != pytest.approx(before, abs=1e-6)
        db.dissolve_entangled_group("pair")
        assert stored_score(db, "s", query, context) == pytest.approx(before, abs=1e-6)


def test_an_update_reads_what_it_is_given_once(monkeypatch):
    from qstore_db.functions import state_operations

    calls = []
    parse = state_operations.parse_superposition
    monkeypatch.setattr(state_operations, "parse_superposition", lambda **given: calls.append(1) or parse(**given))
    with QuantumDatabase.open(":memory:") as db:
        db.insert(id="s", vector=[1.0, 2.0], contexts=["a", "b"])
        # An iterator can be read once only.
        db.update("s", contexts=(pair for pair in [("a", 0.25), ("b", 0.75)]))
        assert len(calls) == 1
        assert db.get("s").probabilities == {"a": 0.25, "b": 0.75}
