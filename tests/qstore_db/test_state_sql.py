"""States from SQL: queries in contexts, measurements, and the four tables."""

import math

import numpy as np
import pytest

from qstore_db import QuantumDatabase
from qstore_db.errors import (
    InvalidArgumentError,
    InvalidParameterError,
    InvalidStateError,
    ReadOnlyError,
    SqlSyntaxError,
    UnknownCollectionError,
    UnknownContextError,
    UnknownIdError,
)


@pytest.fixture
def db(tmp_path):
    rng = np.random.default_rng(1)
    with QuantumDatabase.open(tmp_path / "db", clock=lambda: 1000.0) as db:
        for n in range(6):
            db.insert(
                id=f"s{n}",
                vectors={"technical": rng.normal(size=4), "legal": rng.normal(size=4)},
                contexts=[("technical", 0.3 + n / 10), ("legal", 0.7 - n / 10)],
                metadata={"year": 2000 + n},
                coherence_time=100.0,
            )
        db.insert("plain", rng.normal(size=4), metadata={"year": 1990})
        yield db


Q = [0.3, -0.2, 0.9, 0.1]


def test_a_context_query_is_that_of_python(db):
    found = db.sql("CALL query(vector => $q, context => 'technical', top_k => 3)", q=Q)
    hits = db.query(Q, 3, context="technical")
    assert found.columns == ["id", "score", "year"]
    assert [row[0] for row in found.fetchall()] == hits.ids
    assert [row[1] for row in found.fetchall()] == hits.scores.tolist()
    superposed = {"technical": 0.7, "legal": 0.3}
    wanted = db.query(Q, 4, context=superposed, phases={"legal": 1.0}, where="year > 2001")
    text = "CALL query($q, 4, context => $c, phases => $p, where => 'year > 2001')"
    assert [row[0] for row in db.sql(text, q=Q, c=superposed, p={"legal": 1.0})] == wanted.ids
    pairs = "CALL query($q, 4, context => [['technical', 0.7], ['legal', 0.3]], where => 'year > 2001')"
    assert [row[0] for row in db.sql(pairs, q=Q)] == db.query(Q, 4, context=superposed, where="year > 2001").ids
    assert [row[0] for row in db.sql("CALL query(vector => $q, top_k => 9, filter => $f)", q=Q, f={"year": 1990})] == [
        "plain"
    ]


def test_quantum_keywords_bring_their_columns(db):
    measured = db.sql(
        "CALL query(vector => $q, top_k => 2, rerank => 'quantum', backend => 'local', shots => 100, seed => 4,"
        " include => [])",
        q=Q,
    )
    hits = db.query(Q, 2, rerank="quantum", backend="local", shots=100, seed=4)
    assert measured.columns == ["id", "score", "standard_error"]
    assert [row[2] for row in measured.fetchall()] == hits.standard_errors.tolist()
    pytest.importorskip("dwave.samplers", reason="dwave-samplers is optional")
    chosen = db.sql("CALL query(vector => $q, top_k => 2, tunneling_strength => 0.5)", q=Q)
    assert chosen.columns == ["id", "score", "energy", "year"]
    assert chosen.fetchone()[2] == db.query(Q, 2, tunneling_strength=0.5).energy
    empty = db.sql("CALL query(vector => $q, rerank => 'quantum', where => 'year = 1')", q=Q)
    assert (len(empty), empty.columns[2]) == (0, "standard_error")


def test_a_measurement_is_that_of_python_and_leaves_a_row(db):
    (number, collection, name, outcome, probability, vector, collapsed, _, seed) = db.sql(
        "CALL measure(id => 's1', seed => 7)"
    ).fetchone()
    again = db.measure("s1", seed=7)
    assert (number, collection, name, collapsed, seed) == (1, "default", "s1", False, 7)
    assert (outcome, probability) == (again.outcome, again.probability)
    assert vector == again.vector.tolist()
    yes = db.sql("CALL measure(id => 's1', context => 'legal', postselect => true, collapse => true)")
    assert yes.arrow().column("outcome").to_pylist() == ["yes"]
    assert yes.arrow().column("probability").to_pylist() == pytest.approx([0.6])
    rows = db.sql("SELECT number, id, context, outcome, collapsed FROM measurements ORDER BY number").fetchall()
    assert rows == [
        (1, "s1", None, outcome, False),
        (2, "s1", None, outcome, False),
        (3, "s1", "legal", "yes", True),
    ]
    assert db.sql("SELECT context, probability FROM state_contexts WHERE id = 's1'").fetchall() == [("legal", 1.0)]
    superposed = db.sql("CALL measure(id => 's2', context => $c, seed => 1)", c={"technical": 0.5, "legal": 0.5})
    assert superposed.arrow().column("outcome").to_pylist()[0] in ("yes", "no")
    assert (
        db.sql("SELECT context FROM measurements WHERE superposed").fetchone()[0] == '{"technical": 0.5, "legal": 0.5}'
    )


def test_outcomes_by_sql_follow_born(db):
    seen = [db.sql("CALL measure(id => 's2', seed => $n)", n=n).fetchone()[3] for n in range(400)]
    expected = np.array([0.5, 0.5]) * 400
    counts = np.array([seen.count("technical"), seen.count("legal")])
    assert np.sum((counts - expected) ** 2 / expected) < 10.8  # 99.9 % of chi-square with 1 degree of freedom


def test_a_group_is_measured_as_one(db):
    db.create_entangled_group("pair", ["s0", "s1"], correlation_strength=0.8)
    found = db.sql("CALL measure_entangled_group(id => 'pair', seed => 3)").fetchall()
    again = db.measure_entangled_group("pair", seed=3)
    assert [(row[2], row[3]) for row in found] == list(again.outcomes.items())
    assert {row[4] for row in found} == {again.probability}
    assert [row[1] for row in found] == [1, 2]
    groups = db.sql(
        'SELECT "group", position, id, propagate, created_at FROM entanglement_groups ORDER BY 2'
    ).fetchall()
    assert [row[:4] for row in groups] == [("pair", 0, "s0", False), ("pair", 1, "s1", False)]


def test_fidelity_of_branches_from_a_query(db):
    """Overlaps in SQL: the squared cosine of what a measurement left."""
    vector = db.sql("CALL measure(id => 's3', context => 'legal', postselect => true)").arrow().column("vector")[0]
    shown = db.sql("SELECT fidelity($a, $q) AS f", a=vector.as_py(), q=Q).fetchone()[0]
    branch = np.asarray(db.get("s3").vectors["legal"], float)
    assert shown == pytest.approx((branch @ Q / np.linalg.norm(branch) / np.linalg.norm(Q)) ** 2, abs=1e-6)


def test_tables_say_all_there_is_to_know(db):
    (row,) = db.sql(
        "SELECT contexts, shared_vector, coherence_time, initial_coherence, coherent_weight, age_seconds, is_coherent"
        " FROM states WHERE id = 's0'"
    ).fetchall()
    assert row == (2, False, 100.0, 1.0, 1.0, 0.0, True)
    branches = db.sql("SELECT position, context, probability FROM state_contexts WHERE id = 's0' ORDER BY 1").fetchall()
    assert branches == [(0, "technical", 0.3), (1, "legal", 0.7)]


def test_the_weight_of_interference_in_the_table_is_that_of_queries(tmp_path):
    class Clock:
        now = 0.0

        def __call__(self):
            return self.now

    clock = Clock()
    with QuantumDatabase.open(":memory:", clock=clock) as db:
        for name in ("s", "t"):
            db.insert(id=name, vector=[1.0, 0.0], contexts=["a", "b"], coherence_time=50.0)
        db.create_entangled_group("pair", ["s", "t"], correlation_strength=0.4)
        clock.now = 20.0
        (weight,) = db.sql("SELECT coherent_weight FROM states WHERE id = 's'").fetchone()
        assert weight == pytest.approx(0.6 * math.exp(-0.4))
        # Two equal branches: coherent 1, incoherent 1/2.
        score = float(db.query([1.0, 0.0], context={"a": 0.5, "b": 0.5}).scores[0])
        assert score == pytest.approx(weight + (1 - weight) / 2, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("CALL query(vector => [1, 2, 3, 4], context => 'other')", UnknownContextError, "other"),
        ("CALL query(vector => [1, 2, 3, 4], collection => 'none')", UnknownCollectionError, "none"),
        ("CALL query(vector => [1, 2, 3, 4], collection => 'default$branches')", UnknownCollectionError, "branches"),
        ("CALL query(vector => [[1, 2, 3, 4], [4, 3, 2, 1]])", InvalidArgumentError, "several vectors"),
        ("CALL query(vector => 'x')", InvalidParameterError, "must be a list"),
        ("CALL query(top_k => 3)", InvalidParameterError, "needs vector"),
        ("CALL measure(id => 'nobody')", UnknownIdError, "nobody"),
        ("CALL measure(id => 'plain')", InvalidStateError, "no contexts"),
        ("CALL measure(id => 's0', postselect => true)", InvalidArgumentError, "context"),
        ("CALL measure(ids => 's0')", SqlSyntaxError, "no argument 'ids'"),
    ],
)
def test_what_makes_no_sense_is_refused(db, text, error, says):
    before = db.version
    with pytest.raises(error, match=says):
        db.sql(text)
    assert db.version == before


def test_a_database_that_is_only_read_measures_nothing(db):
    path = db.path
    db.close()
    with QuantumDatabase.open(path, read_only=True) as reader:
        assert len(reader.sql("CALL query(vector => $q, context => 'legal')", q=Q)) == 6
        with pytest.raises(ReadOnlyError):
            reader.sql("CALL measure(id => 's0', seed => 1)")
