"""Measuring stored states: Born's rule through the database, records of it, collapse, and the three tables."""

from __future__ import annotations

import datetime
import json
import math
import uuid

import numpy as np
import pyarrow as pa
import pytest

from qstore_db.errors import (
    InvalidArgumentError,
    InvalidStateError,
    UnknownCollectionError,
    UnknownContextError,
    UnknownIdError,
)
from qstore_db.functions.state_measurement import measure
from qstore_db.functions.state_reading import read_state
from qstore_db.functions.state_writing import delete_rows, write_rows, write_states
from qstore_db.functions.superposed_search import search
from qstore_db.sql.state_tables import state_tables
from qstore_db.states.superposition import parse_superposition
from storage_engine.batch import CreateCollection, WriteBatch
from storage_engine.engine import Engine
from storage_engine.schema import CollectionSchema, Metric

D = 4
WEIGHTS = (("a", 0.5), ("b", 0.3), ("c", 0.2))
VECTORS = {
    "a": np.array([1, 2, 0, 0], np.float32),
    "b": np.array([0, 1, -1, 0], np.float32),
    "c": np.array([2, 0, 1, 5], np.float32),
}


@pytest.fixture
def now():
    return [100.0]


@pytest.fixture
def engine(now):
    with Engine.open(None, clock=lambda: now[0]) as opened:
        for name, metric in (("items", Metric.COSINE), ("flat", Metric.L2)):
            opened.commit(WriteBatch([CreateCollection(CollectionSchema(name, uuid.uuid4().hex, D, metric))]))
        put(opened, "x")
        write_rows(opened, "items", ["plain"], np.ones((1, D), np.float32), None, "insert")
        yield opened


def put(engine, record_id, coherence_time=10.0):
    state = parse_superposition(vectors=VECTORS, contexts=WEIGHTS, coherence_time=coherence_time)
    write_states(engine, "items", [record_id], [state], pa.table({"n": [7]}), "upsert")


def stored(engine, record_id="x"):
    return read_state(engine.snapshot(), "items", record_id)


def rows(engine, name, clock=lambda: 100.0):
    table = next(table for table in state_tables(clock) if table.name == name)
    found = table.rows(engine.snapshot())
    assert found.schema == table.schema
    return found.to_pylist()


def chi_square(counts, probabilities):
    expected = np.asarray(probabilities) * sum(counts)
    return float(np.sum((np.asarray(counts) - expected) ** 2 / expected))


def test_complete_measurement_follows_born_over_seeds(engine):
    drawn = [measure(engine, "items", "x", seed=seed) for seed in range(600)]
    counts = [sum(m.outcome == name for m in drawn) for name, _ in WEIGHTS]
    assert chi_square(counts, [p for _, p in WEIGHTS]) < 13.8  # 99.9 %, 2 degrees of freedom
    for m in drawn[:20]:
        assert m.probability == dict(WEIGHTS)[m.outcome]
        assert m.vector.tobytes() == VECTORS[m.outcome].tobytes()
    assert [measure(engine, "items", "x", seed=seed).outcome for seed in range(30)] == [m.outcome for m in drawn[:30]]
    assert stored(engine).superposition.probabilities == (0.5, 0.3, 0.2)
    assert stored(engine).written_at == 100.0


def test_named_measurement_follows_born_and_does_not_decay(engine, now):
    now[0] = 1e6
    drawn = [measure(engine, "items", "x", "b", seed=seed) for seed in range(400)]
    yes = sum(m.outcome == "yes" for m in drawn)
    assert chi_square([yes, 400 - yes], [0.3, 0.7]) < 10.8
    assert {(m.outcome, round(m.probability, 12)) for m in drawn} == {("yes", 0.3), ("no", 0.7)}


def test_superposed_measurement_follows_born_and_dephases(engine, now):
    u = sum(math.sqrt(p * 0.5) * VECTORS[c].astype(float) / np.linalg.norm(VECTORS[c]) for c, p in WEIGHTS[:2])
    coherent, classical = u @ u, 0.5 * (0.5 + 0.3)
    for age in (0.0, 10.0, 1e9):
        now[0] = 100.0 + age
        weight = math.exp(-age / 10)
        p = weight * coherent + (1 - weight) * classical
        drawn = [measure(engine, "items", "x", {"a": 1, "b": 1}, seed=seed) for seed in range(300)]
        yes = [m for m in drawn if m.outcome == "yes"]
        assert chi_square([len(yes), 300 - len(yes)], [p, 1 - p]) < 10.8
        assert yes[0].probability == pytest.approx(p, abs=1e-7)
        assert yes[0].context == {"a": 0.5, "b": 0.5}
        if age == 0:
            assert yes[0].vector == pytest.approx(u / np.linalg.norm(u), abs=1e-6)


def test_post_selection(engine):
    m = measure(engine, "items", "x", "c", postselect=True)
    assert (m.outcome, m.probability, m.postselected, m.collapsed) == ("yes", 0.2, True, False)
    assert m.vector.tobytes() == VECTORS["c"].tobytes()


def test_collapse_is_written_with_its_measurement_in_one_commit(engine, now):
    version = engine.snapshot().version
    now[0] = 105.0
    m = measure(engine, "items", "x", seed=3, collapse=True)
    assert engine.snapshot().version == version + 1
    record = stored(engine)
    assert record.superposition.contexts == (m.outcome,)
    assert record.superposition.probabilities == (1.0,)
    assert record.superposition.vectors.tobytes() == VECTORS[m.outcome].tobytes()
    assert record.superposition.coherence_time == 10.0
    assert record.written_at == 105.0
    view = engine.snapshot().collection("items")
    assert view.metadata_at(view.slots_of(["x"])).to_pylist() == [{"n": 7}]
    for name, _ in WEIGHTS:
        if name == m.outcome:
            assert search(engine.snapshot(), "items", VECTORS[name], 1, now=105.0, context=name).scores[
                0
            ] == pytest.approx(1)
        else:
            with pytest.raises(UnknownContextError):
                search(engine.snapshot(), "items", VECTORS["a"], 1, now=105.0, context=name)
    again = [measure(engine, "items", "x", seed=seed) for seed in range(20)]
    assert {(a.outcome, a.probability) for a in again} == {(m.outcome, 1.0)}


def test_collapse_to_not_in_a_context_keeps_the_rest_and_gains_no_coherence(engine, now):
    now[0] = 110.0
    seed = next(s for s in range(50) if measure(engine, "items", "x", "a", seed=s).outcome == "no")
    measure(engine, "items", "x", "a", seed=seed, collapse=True)
    record = stored(engine)
    assert record.superposition.contexts == ("b", "c")
    assert record.superposition.probabilities == pytest.approx((0.6, 0.4))
    assert record.superposition.vectors.tobytes() == np.stack([VECTORS["b"], VECTORS["c"]]).tobytes()
    assert record.written_at == 110.0
    assert record.is_coherent(119.9)
    assert not record.is_coherent(120.0)
    assert record.superposition.initial_coherence == pytest.approx(1 / math.e)
    assert record.coherent_weight(120.0) == pytest.approx(math.exp(-2))
    q = np.ones(D, np.float32)
    a, b = (float(v @ q / np.linalg.norm(v) / 2) for v in (VECTORS["b"], VECTORS["c"]))
    joint, parts = (math.sqrt(0.3) * a + math.sqrt(0.2) * b) ** 2, 0.3 * a * a + 0.2 * b * b
    found = search(engine.snapshot(), "items", q, 1, now=120.0, context={"b": 1, "c": 1})
    assert found.scores[0] == pytest.approx(math.exp(-2) * joint + (1 - math.exp(-2)) * parts, abs=1e-7)


def test_collapse_to_a_superposed_context(engine):
    m = measure(engine, "items", "x", {"a": 0.5, "b": 0.5}, postselect=True, collapse=True)
    record = stored(engine)
    assert record.superposition.contexts == ("a", "b")
    assert record.superposition.probabilities == pytest.approx((0.5, 0.5))
    assert record.superposition.shared
    assert record.superposition.vectors.tobytes() == np.stack([m.vector, m.vector]).tobytes()
    again = measure(engine, "items", "x", {"a": 0.5, "b": 0.5}, seed=1)
    assert (again.outcome, again.probability) == ("yes", 1.0)


def test_every_measurement_is_a_row(engine, now):
    first = measure(engine, "items", "x", seed=5)
    now[0] = 101.5
    second = measure(engine, "items", "x", "a", rng=np.random.default_rng(0))
    third = measure(engine, "items", "x", {"b": 3, "a": 1}, collapse=True)
    delete_rows(engine, "items", ["x"])
    found = rows(engine, "measurements")
    assert [row["number"] for row in found] == [first.number, second.number, third.number] == [1, 2, 3]
    assert found[0] == {
        "number": 1,
        "collection": "items",
        "id": "x",
        "context": None,
        "superposed": False,
        "outcome": first.outcome,
        "probability": first.probability,
        "postselected": False,
        "collapsed": False,
        "measured_at": datetime.datetime.fromtimestamp(100.0, datetime.UTC),
        "seed": 5,
    }
    later = datetime.datetime.fromtimestamp(101.5, datetime.UTC)
    assert (found[1]["context"], found[1]["seed"], found[1]["measured_at"]) == ("a", None, later)
    assert json.loads(found[2]["context"]) == {"b": 0.75, "a": 0.25}
    assert (found[2]["superposed"], found[2]["collapsed"]) == (True, True)


def test_a_seed_that_was_not_given_is_kept_and_repeats_the_outcome(engine):
    drawn = [measure(engine, "items", "x") for _ in range(12)]
    assert len({m.seed for m in drawn}) == 12
    assert [measure(engine, "items", "x", seed=m.seed).outcome for m in drawn] == [m.outcome for m in drawn]


def test_what_cannot_be_measured_is_refused_and_leaves_no_row(engine):
    put(engine, "y")
    write_states(engine, "items", ["z"], [parse_superposition(vector=np.ones(D), contexts=["z"])])
    version = engine.snapshot().version
    cases = [
        (UnknownIdError, ("items", "nobody"), {}),
        (UnknownCollectionError, ("nowhere", "x"), {}),
        (InvalidStateError, ("flat", "x"), {}),
        (InvalidStateError, ("items", "plain"), {}),
        (UnknownContextError, ("items", "x", "technical"), {}),
        (UnknownContextError, ("items", "x", {"a": 1, "technical": 1}), {}),
        (InvalidStateError, ("items", "x", ""), {}),
        (InvalidStateError, ("items", "x", {"a": -1}), {}),
        (InvalidStateError, ("items", "x", "z"), {"postselect": True}),
        (InvalidStateError, ("items", "x", {"z": 1}), {"postselect": True}),
        (InvalidArgumentError, ("items", "x"), {"postselect": True}),
        (InvalidArgumentError, ("items", "x"), {"seed": -1}),
        (InvalidArgumentError, ("items", "x"), {"seed": 2**63}),
        (InvalidArgumentError, ("items", "x"), {"seed": 1.5}),
        (InvalidArgumentError, ("items", "x"), {"seed": 1, "rng": np.random.default_rng(0)}),
    ]
    for error, where, arguments in cases:
        with pytest.raises(error):
            measure(engine, *where, **arguments)
    assert engine.snapshot().version == version
    absent = measure(engine, "items", "x", "z", seed=0)
    assert (absent.outcome, absent.probability) == ("no", 1.0)


def test_tables_of_states(engine, now):
    put(engine, "y", coherence_time=None)
    found = rows(engine, "states", lambda: 115.0)
    assert [(r["id"], r["contexts"], r["age_seconds"], r["is_coherent"]) for r in found] == [
        ("x", 3, 15.0, False),
        ("y", 3, 15.0, True),
    ]
    assert (found[0]["coherence_time"], found[1]["coherence_time"]) == (10.0, math.inf)
    branches = rows(engine, "state_contexts")
    assert [(r["id"], r["position"], r["context"], r["probability"]) for r in branches[:3]] == [
        ("x", 0, "a", 0.5),
        ("x", 1, "b", 0.3),
        ("x", 2, "c", 0.2),
    ]
    assert branches[0]["norm"] == pytest.approx(math.sqrt(5))
    with Engine.open(None) as empty:
        for table in state_tables(lambda: 0.0):
            assert table.rows(empty.snapshot()).schema == table.schema
