"""Entangled groups in a database: joint outcomes, collapse, interference of a member, propagation, leaving."""

import math

import numpy as np
import pytest
from set_clock import SetClock

from qstore_db import QuantumDatabase
from qstore_db.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    InvalidStateError,
    UnknownGroupError,
    UnknownIdError,
)
from qstore_db.functions.state_reading import read_state

NAMES = ("x", "y", "z")


@pytest.fixture
def clock():
    return SetClock()


@pytest.fixture
def db(clock, tmp_path):
    with QuantumDatabase.open(tmp_path / "db", clock=clock) as db:
        db.insert(
            id="one", vectors={"x": [1, 0.2], "y": [0.1, 1]}, contexts=[("x", 0.6), ("y", 0.4)], coherence_time=50
        )
        db.insert(id="two", vector=[1, 1], contexts=[("x", 0.5), ("z", 0.5)])
        db.insert(id="three", vector=[0.5, 2], contexts=[("x", 0.2), ("y", 0.5), ("z", 0.3)])
        db.insert(id="plain", vector=[1, 0])
        yield db


def probabilities(db, name):
    state = read_state(db._engine.snapshot(), "default", name).superposition
    return dict(zip(state.contexts, state.probabilities, strict=True))


def test_a_group_says_what_agreement_is_possible(db):
    group = db.create_entangled_group("pair", ["one", "two"], correlation_strength=0.85)
    assert group.members == ("one", "two")
    assert group.maximal_agreement == 0.5
    assert group.agreement == pytest.approx(0.85 * 0.5 + 0.15 * 0.3, abs=1e-15)
    assert db.entangled_groups() == [group]
    rows = db.sql(
        'SELECT "group", id, correlation_strength, agreement FROM entanglement_groups ORDER BY position'
    ).fetchall()
    assert rows == [("pair", "one", 0.85, group.agreement), ("pair", "two", 0.85, group.agreement)]


def test_sequential_collapses_follow_the_joint_law(tmp_path):
    """Measuring one, then the other, gives the joint distribution of the definition."""
    wanted = {
        ("x", "x"): 0.8 * 0.5 + 0.2 * 0.3,
        ("x", "z"): 0.8 * 0.1 / 0.5 * 0.5 + 0.2 * 0.3,
        ("y", "x"): 0.2 * 0.2,
        ("y", "z"): 0.8 * 0.4 / 0.5 * 0.5 + 0.2 * 0.2,
    }
    assert sum(wanted.values()) == pytest.approx(1.0)
    counts = dict.fromkeys(wanted, 0)
    with QuantumDatabase.open(":memory:") as db:
        for seed in range(300):
            db.upsert(id="one", vector=[1, 0], contexts=[("x", 0.6), ("y", 0.4)])
            db.upsert(id="two", vector=[0, 1], contexts=[("x", 0.5), ("z", 0.5)])
            db.create_entangled_group("pair", ["one", "two"], 0.8)
            first, second = ("one", "two") if seed % 2 else ("two", "one")
            shown = {first: db.measure(first, seed=seed, collapse=True).outcome}
            assert db.entangled_groups() == []
            shown[second] = db.measure(second, seed=seed + 10_000, collapse=True).outcome
            counts[shown["one"], shown["two"]] += 1
    chi = sum((counts[key] - 300 * p) ** 2 / (300 * p) for key, p in wanted.items())
    assert chi < 11.3  # 99 % of chi-square with 3 degrees of freedom; seeded


def test_a_collapse_moves_the_partners_in_the_same_commit_and_keeps_their_age(db, clock):
    db.create_entangled_group("trio", ["one", "two", "three"], 0.5)
    clock.now += 10
    before = db.versions()[-1].number
    measured = db.measure("one", "x", postselect=True, collapse=True)
    assert db.versions()[-1].number == before + 1
    assert probabilities(db, "one") == {"x": 1.0}
    # P(two = c | one = x), from the joint law: common mass .2 on x, residuals (.4 x, .4 y), (.3 x, .5 z), (.5 y, .3 z).
    given = {
        "x": (0.5 * (0.2 + 0.8 * (0.4 / 0.8) * (0.3 / 0.8)) + 0.5 * 0.6 * 0.5) / 0.6,
        "z": (0.5 * 0.8 * (0.4 / 0.8) * (0.5 / 0.8) + 0.5 * 0.6 * 0.5) / 0.6,
    }
    assert sum(given.values()) == pytest.approx(1.0)
    assert probabilities(db, "two") == pytest.approx(given, abs=1e-12)
    state = read_state(db._engine.snapshot(), "default", "two")
    assert state.written_at == 1000.0
    assert read_state(db._engine.snapshot(), "default", "one").written_at == 1010.0
    assert measured.probability == 0.6
    (left,) = db.entangled_groups()
    assert left.members == ("two", "three")
    # The pair that is left stays correlated, by the conditional law; it survives a reopening.
    joint = 0.5 * 0.2 + 0.5 * 0.6 * 0.5 * 0.2  # all three show x
    agree = (joint + (0.5 * 0.8 * 0.5 * (0.5 / 0.8) * (0.3 / 0.8)) + 0.5 * 0.6 * 0.5 * 0.3) / 0.6
    assert left.agreement == pytest.approx(agree, abs=1e-12)
    path = db.path
    db.close()
    with QuantumDatabase.open(path) as again:
        assert again.entangled_groups()[0].agreement == pytest.approx(agree, abs=1e-12)
        again.measure("two", "z", postselect=True, collapse=True)
        assert again.entangled_groups() == []


def test_a_no_keeps_the_member_in_the_group(db):
    db.create_entangled_group("pair", ["one", "three"], 1.0)
    seed = next(seed for seed in range(50) if db.measure("three", "x", seed=seed).outcome == "no")
    db.measure("three", "x", seed=seed, collapse=True)
    assert probabilities(db, "three") == pytest.approx({"y": 0.625, "z": 0.375})
    # Common mass: .2 x, .4 y; residuals x (.4) and y .1, z .3. three not x: .4 both y, .4 one x (three y or z).
    assert probabilities(db, "one") == pytest.approx({"x": 0.5, "y": 0.5})
    (group,) = db.entangled_groups()
    assert group.members == ("one", "three")
    assert group.agreement == pytest.approx(0.5)


def test_interference_of_a_member_is_that_of_its_reduced_state(db, clock):
    query, context = np.array([0.6, 0.8]), {"x": 0.5, "y": 0.5}
    clock.now += 20
    v = {"x": np.array([1, 0.2]), "y": np.array([0.1, 1])}
    a = [math.sqrt(p * 0.5) * (query @ v[c]) / np.linalg.norm(v[c]) for c, p in (("x", 0.6), ("y", 0.4))]

    def score():
        hits = db.query(query, context=context, top_k=5)
        return float(hits.scores[hits.ids.index("one")])

    def overlap(weight):
        return weight * sum(a) ** 2 + (1 - weight) * sum(part**2 for part in a)

    decay = math.exp(-20 / 50)
    assert score() == pytest.approx(overlap(decay), abs=1e-6)
    db.create_entangled_group("pair", ["one", "two"], 0.85)
    assert score() == pytest.approx(overlap(0.15 * decay), abs=1e-6)
    db.dissolve_entangled_group("pair")
    assert score() == pytest.approx(overlap(decay), abs=1e-6)


def test_measuring_in_a_superposed_context_uses_the_reduced_state(db, clock):
    weights = {"x": 0.5, "y": 0.5}
    v = {"x": np.array([1, 0.2]) / np.hypot(1, 0.2), "y": np.array([0.1, 1]) / np.hypot(0.1, 1)}
    vector = sum(math.sqrt(p * 0.5) * v[c] for c, p in (("x", 0.6), ("y", 0.4)))
    db.create_entangled_group("pair", ["one", "two"], 0.7)
    measured = db.measure("one", weights, postselect=True)
    assert measured.probability == pytest.approx(0.3 * (vector @ vector) + 0.7 * 0.5, abs=1e-6)
    before = db.versions()
    with pytest.raises(InvalidStateError, match="says nothing about its partners"):
        db.measure("one", weights, seed=1, collapse=True)
    assert db.versions() == before


def test_measuring_a_group(db):
    db.create_entangled_group("trio", ["one", "two", "three"], 1.0)
    kept = db.measure_entangled_group("trio", seed=3)
    assert kept.outcomes == db.measure_entangled_group("trio", seed=3).outcomes
    assert [row.outcome for row in kept.measurements] == list(kept.outcomes.values())
    assert db.sql("SELECT number, id, outcome, collapsed, seed FROM measurements WHERE number <= 3").fetchall() == [
        (number, name, kept.outcomes[name], False, 3) for number, name in enumerate(("one", "two", "three"), 1)
    ]
    db.measure_entangled_group("trio", seed=3, collapse=True)
    assert all(probabilities(db, name) == {context: 1.0} for name, context in kept.outcomes.items())
    with pytest.raises(UnknownGroupError, match="no entangled group 'trio'"):
        db.measure_entangled_group("trio")
    with pytest.raises(UnknownGroupError):
        db.dissolve_entangled_group("trio")


def test_updates_move_partners_only_where_asked(db):
    db.create_entangled_group("pair", ["one", "two"], 0.5, propagate=True)
    db.update("one", contexts=[("x", 0.8), ("y", 0.2)])
    assert probabilities(db, "two") == pytest.approx({"x": 0.6 / 1.1, "z": 0.5 / 1.1})
    assert probabilities(db, "one") == pytest.approx({"x": 0.8, "y": 0.2})
    db.update("one", metadata={"note": "no probabilities changed"})
    assert probabilities(db, "two") == pytest.approx({"x": 0.6 / 1.1, "z": 0.5 / 1.1})
    db.dissolve_entangled_group("pair")
    db.create_entangled_group("pair", ["one", "two"], 0.5)
    two = probabilities(db, "two")
    db.update("one", contexts=[("x", 0.1), ("y", 0.9)])
    assert probabilities(db, "two") == two
    assert db.entangled_groups()[0].maximal_agreement == pytest.approx(0.1)


def test_deleted_and_replaced_members_leave(db):
    db.create_entangled_group("trio", ["one", "two", "three"], 0.5)
    db.upsert(id="two", vector=[1, 1], contexts=["x", "z"])
    assert db.entangled_groups()[0].members == ("one", "three")
    db.delete("three")
    assert db.entangled_groups() == []
    other = db.create_collection("other", dimension=2, metric="cosine")
    for name in ("a", "b"):
        other.insert(id=name, vector=[1, 1], contexts=["x", "y"])
    other.create_entangled_group("others", ["a", "b"])
    db.drop_collection("other")
    assert db.entangled_groups() == []


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda db: db.create_entangled_group("pair", ["one", "nobody"]), UnknownIdError, "no record 'nobody'"),
        (lambda db: db.create_entangled_group("pair", ["one", "plain"]), InvalidStateError, "no contexts"),
        (lambda db: db.create_entangled_group("pair", ["one"]), InvalidStateError, "are no group"),
        (lambda db: db.create_entangled_group("pair", ["one", "one"]), InvalidStateError, "are no group"),
        (lambda db: db.create_entangled_group("", ["one", "two"]), InvalidStateError, "cannot name"),
        (lambda db: db.create_entangled_group("pair", ["one", "two"], 1.5), InvalidStateError, "correlation_strength"),
        (lambda db: db.create_entangled_group("taken", ["one", "three"]), AlreadyExistsError, "group 'taken'"),
        (
            lambda db: db.create_entangled_group("pair", ["one", "two"]),
            InvalidStateError,
            "belongs to the group",
        ),
        (lambda db: db.measure_entangled_group("taken", seed=-1), InvalidArgumentError, "seed"),
    ],
)
def test_what_is_refused_writes_nothing(db, call, error, says):
    db.create_entangled_group("taken", ["two", "three"])
    before = db.versions()
    with pytest.raises(error, match=says):
        call(db)
    assert db.versions() == before
