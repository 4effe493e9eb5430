"""Searching states in a database: expected similarity, one context, superposed contexts, dephasing, masks."""

from __future__ import annotations

import math
import uuid

import numpy as np
import pytest
from set_clock import SetClock

from qstore_db.errors import (
    DimensionMismatchError,
    InvalidArgumentError,
    InvalidStateError,
    InvalidVectorError,
    UnknownContextError,
)
from qstore_db.functions.state_reading import read_state
from qstore_db.functions.state_writing import write_rows, write_states
from qstore_db.functions.superposed_search import search
from qstore_db.states.superposition import parse_superposition
from storage_engine.batch import CreateCollection, WriteBatch
from storage_engine.engine import Engine
from storage_engine.schema import CollectionSchema, Metric

D = 6
CONTEXTS = ("a", "b", "c")


def create(engine, name="items", metric=Metric.COSINE, dimension=D):
    engine.commit(WriteBatch([CreateCollection(CollectionSchema(name, uuid.uuid4().hex, dimension, metric))]))


@pytest.fixture
def clock():
    return SetClock()


@pytest.fixture
def engine(clock):
    with Engine.open(None, clock=clock) as opened:
        create(opened)
        yield opened


def fill(engine, n=60, seed=0, coherence_time=None):
    """States with one to three contexts and ordinary rows between them; returns the states by id."""
    rng = np.random.default_rng(seed)
    states = {}
    for i in range(n):
        names = [name for name in CONTEXTS if rng.random() < 0.6]
        if not names:
            write_rows(engine, "items", [f"row{i}"], rng.normal(size=(1, D)).astype(np.float32), None, "insert")
            continue
        vectors = {name: rng.normal(size=D) * rng.uniform(0.3, 4) for name in names}
        states[f"s{i}"] = parse_superposition(
            vectors=vectors,
            contexts=[(name, rng.uniform(0.1, 1)) for name in names],
            coherence_time=coherence_time,
        )
    write_states(engine, "items", list(states), list(states.values()))
    return states


def dense_overlap(state, weights, phases, unit, weight):
    """⟨χ,q|ρ|χ,q⟩ with ρ built as a matrix on |context⟩⊗|vector⟩."""
    parts = np.zeros((len(CONTEXTS), D))
    for name, p, v in zip(state.contexts, state.probabilities, state.vectors.astype(float), strict=True):
        parts[CONTEXTS.index(name)] = math.sqrt(p) * v / math.sqrt(v @ v)
    rho = weight * np.outer(parts.ravel(), parts.ravel())
    for c in range(len(CONTEXTS)):
        alone = np.zeros_like(parts)
        alone[c] = parts[c]
        rho += (1 - weight) * np.outer(alone.ravel(), alone.ravel())
    chi = np.array([math.sqrt(weights.get(n, 0)) * np.exp(-1j * phases.get(n, 0)) for n in CONTEXTS])
    bra = np.kron(chi, unit)
    return float(np.real(bra.conj() @ rho @ bra))


def query_vector(seed=9):
    q = np.random.default_rng(seed).normal(size=D).astype(np.float32)
    return q, q.astype(float) / np.linalg.norm(q.astype(float))


def test_without_context_ranks_the_expected_similarity(engine, clock):
    states = fill(engine)
    q, unit = query_vector()
    expected = {
        name: sum(p * (v @ unit) for p, v in zip(state.probabilities, state.unit_vectors, strict=True))
        for name, state in states.items()
    }
    found = search(engine.snapshot(), "items", q, 1000, now=clock())
    assert len(found.ids) == 60
    scores = dict(zip(found.ids, found.scores.tolist(), strict=True))
    for name, value in expected.items():
        assert scores[name] == pytest.approx(value, abs=1e-6)
    assert [name for name in found.ids if name in states] == sorted(states, key=lambda name: -expected[name])
    clock.now += 1e6
    later = search(engine.snapshot(), "items", q, 1000, now=clock())
    assert later.ids == found.ids


@pytest.mark.parametrize("exact", [False, True])
def test_one_context_is_post_selected(engine, clock, exact):
    states = fill(engine, coherence_time=5.0)
    clock.now += 50
    q, unit = query_vector()
    expected = {
        name: float(state.unit_vectors[state.contexts.index("b")] @ unit)
        for name, state in states.items()
        if "b" in state.contexts
    }
    found = search(engine.snapshot(), "items", q, 1000, now=clock(), context="b", exact=exact)
    assert found.ids == sorted(expected, key=lambda name: -expected[name])
    assert found.scores == pytest.approx([expected[name] for name in found.ids], abs=1e-6)
    view = engine.snapshot().collection("items")
    assert view.ids_at(found.slots) == found.ids
    assert search(engine.snapshot(), "items", q, 3, now=clock(), context="b").ids == found.ids[:3]


@pytest.mark.parametrize("phases", [None, {"a": 0.7, "c": -2.0}])
@pytest.mark.parametrize("age", [0.0, 4.0, 1e9])
def test_superposed_context_equals_the_dense_construction(engine, clock, phases, age):
    states = fill(engine, coherence_time=4.0)
    clock.now += age
    q, unit = query_vector()
    weights = {"a": 0.7, "c": 0.3}
    expected = {
        name: dense_overlap(state, weights, phases or {}, unit, math.exp(-age / 4.0))
        for name, state in states.items()
        if {"a", "c"} & set(state.contexts)
    }
    found = search(engine.snapshot(), "items", q, 1000, now=clock(), context={"a": 7, "c": 3}, phases=phases)
    assert found.strategy == "states"
    assert found.ids == sorted(expected, key=lambda name: -expected[name])
    assert found.scores == pytest.approx([expected[name] for name in found.ids], abs=1e-12)


def test_interference_decays_to_a_classical_mixture(engine, clock):
    e = np.eye(D)[0]
    opposite = parse_superposition(vectors={"a": e, "b": -e}, coherence_time=10.0)
    forever = parse_superposition(vectors={"a": e, "b": -e})
    write_states(engine, "items", ["fades", "stays"], [opposite, forever])
    written = clock()

    def scores(**arguments):
        found = search(engine.snapshot(), "items", e, 5, now=clock(), context={"a": 0.5, "b": 0.5}, **arguments)
        return dict(zip(found.ids, found.scores.tolist(), strict=True))

    assert scores() == pytest.approx({"fades": 0.0, "stays": 0.0}, abs=1e-15)
    assert scores(phases={"b": math.pi}) == pytest.approx({"fades": 1.0, "stays": 1.0})
    clock.now = written + 10.0
    assert scores() == pytest.approx({"fades": 0.5 * (1 - 1 / math.e), "stays": 0.0}, abs=1e-15)
    clock.now = written + 1e6
    assert scores() == pytest.approx({"fades": 0.5, "stays": 0.0}, abs=1e-15)
    clock.now = written - 5  # a clock that was set back
    assert scores() == pytest.approx({"fades": 0.0, "stays": 0.0}, abs=1e-15)


def test_a_context_of_its_own_is_joint_and_a_named_one_is_post_selected(engine, clock):
    e = np.eye(D)[0]
    write_states(engine, "items", ["x"], [parse_superposition(vector=e, contexts=[("a", 0.25), ("b", 0.75)])])
    joint = search(engine.snapshot(), "items", e, 5, now=clock(), context={"a": 1.0})
    named = search(engine.snapshot(), "items", e, 5, now=clock(), context="a")
    assert joint.scores.tolist() == pytest.approx([0.25])
    assert named.scores.tolist() == pytest.approx([1.0])


def test_coherent_only_filters_and_age_never_deletes(engine, clock):
    short = fill(engine, seed=1, coherence_time=10.0)
    clock.now += 10.0
    v = np.ones(D)
    write_states(engine, "items", ["fresh"], [parse_superposition(vector=v, contexts=["a"], coherence_time=10.0)])
    q, _ = query_vector()
    snapshot = engine.snapshot()
    for context in ("a", {"a": 1.0}):
        assert search(snapshot, "items", q, 1000, now=clock(), context=context, coherent_only=True).ids == ["fresh"]
        everything = search(snapshot, "items", q, 1000, now=clock(), context=context).ids
        assert len(everything) == 1 + sum("a" in state.contexts for state in short.values())
    plain = search(snapshot, "items", q, 1000, now=clock(), coherent_only=True)
    assert set(plain.ids) == {"fresh", *(i for i in snapshot.collection("items").ids_at(range(60)) if i[:3] == "row")}
    assert len(search(snapshot, "items", q, 1000, now=clock()).ids) == 61
    clock.now += 1e12
    for name, state in short.items():
        assert read_state(engine.snapshot(), "items", name).superposition.contexts == state.contexts


@pytest.mark.parametrize("context", [None, "a", {"a": 0.5, "b": 0.5}])
def test_mask_keeps_exactly_the_rows_allowed(engine, clock, context):
    fill(engine)
    view = engine.snapshot().collection("items")
    mask = np.random.default_rng(2).random(view.slot_count) < 0.4
    q, _ = query_vector()
    everything = search(engine.snapshot(), "items", q, 1000, now=clock(), context=context)
    masked = search(engine.snapshot(), "items", q, 1000, now=clock(), context=context, mask=mask)
    assert masked.ids == [i for i, slot in zip(everything.ids, everything.slots, strict=True) if mask[slot]]
    assert masked.ids
    nothing = search(engine.snapshot(), "items", q, 5, now=clock(), context=context, mask=np.zeros_like(mask))
    assert nothing.ids == []
    with pytest.raises(InvalidArgumentError, match="mask"):
        search(engine.snapshot(), "items", q, 5, now=clock(), context=context, mask=mask[:-1])


@pytest.mark.parametrize("seed", range(4))
def test_equal_scores_stand_in_the_order_of_writing(engine, clock, seed):
    rng = np.random.default_rng(seed)
    create(engine, "wide", dimension=83)
    twin = parse_superposition(vectors={c: rng.normal(size=83) for c in CONTEXTS}, contexts=dict.fromkeys(CONTEXTS, 1))
    reordered = parse_superposition(vectors=twin.branches(), contexts=dict.fromkeys(("c", "a", "b"), 1))
    ids = [f"t{i}" for i in range(37)]
    write_states(engine, "wide", ids, [twin if i % 2 else reordered for i in range(37)])
    q = rng.normal(size=83).astype(np.float32)
    context = {"a": 0.2, "b": 0.3, "c": 0.5}
    phases = {"b": 1.0, "c": 2.0}
    found = search(engine.snapshot(), "wide", q, 37, now=clock(), context=context, phases=phases)
    assert found.ids == ids
    assert len(set(found.scores.tolist())) == 1
    assert search(engine.snapshot(), "wide", q, 4, now=clock(), context=context, phases=phases).ids == ids[:4]


def test_blocks_do_not_change_scores(engine, clock, monkeypatch):
    fill(engine)
    q, _ = query_vector()
    whole = search(engine.snapshot(), "items", q, 100, now=clock(), context={"a": 1, "b": 2})
    monkeypatch.setattr("qstore_db.functions.superposed_search._BLOCK_VALUES", 7 * D)
    pieces = search(engine.snapshot(), "items", q, 100, now=clock(), context={"a": 1, "b": 2})
    assert pieces.ids == whole.ids
    assert pieces.scores.tobytes() == whole.scores.tobytes()


def test_unknown_context_names_the_known_ones(engine, clock):
    q, _ = query_vector()
    for context in ("a", {"a": 1.0}):
        with pytest.raises(UnknownContextError, match="insert a record with contexts"):
            search(engine.snapshot(), "items", q, 5, now=clock(), context=context)
    fill(engine)
    for context in ("technical", {"a": 0.5, "technical": 0.5}):
        with pytest.raises(UnknownContextError, match=r"'technical'.*'a', 'b', 'c'") as raised:
            search(engine.snapshot(), "items", q, 5, now=clock(), context=context)
        assert raised.value.value == "technical"


def test_arguments_without_meaning_are_refused(engine, clock):
    fill(engine)
    q, _ = query_vector()

    def run(query=q, top_k=5, **arguments):
        return search(engine.snapshot(), "items", query, top_k, now=clock(), **arguments)

    superposed = {"a": 1.0, "b": 1.0}
    for arguments in (
        {"phases": {"a": 1.0}},
        {"context": "a", "phases": {"a": 1.0}},
        {"context": superposed, "ef": 50},
    ):
        with pytest.raises(InvalidArgumentError):
            run(**arguments)
    for top_k in (0, -1, 10_001, 2.5, True):
        with pytest.raises(InvalidArgumentError):
            run(top_k=top_k, context=superposed)
    for query in (np.zeros(D), np.full(D, np.nan), np.ones((1, D))):
        with pytest.raises(InvalidVectorError):
            run(query=query, context=superposed)
    with pytest.raises(DimensionMismatchError):
        run(query=np.ones(D + 1), context=superposed)
    for context in ("", {"a": -1.0}, {}, 5):
        with pytest.raises(InvalidStateError):
            run(context=context)


def test_contexts_need_a_cosine_collection(engine, clock):
    create(engine, "flat", Metric.L2)
    q, _ = query_vector()
    with pytest.raises(InvalidStateError, match="cosine"):
        search(engine.snapshot(), "flat", q, 5, now=clock(), context="a")
    with pytest.raises(InvalidStateError, match="cosine"):
        write_states(engine, "flat", ["x"], [parse_superposition(vector=q, contexts=["a"])])
