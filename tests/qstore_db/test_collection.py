"""The face of a collection against brute force and its own promises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.database import QuantumDatabase
from qstore_db.errors import (
    DimensionMismatchError,
    DuplicateIdError,
    InvalidArgumentError,
    InvalidFilterError,
    InvalidIdError,
    InvalidMetadataError,
    InvalidStateError,
    InvalidVectorError,
    QStoreError,
    SqlSyntaxError,
    UnknownColumnError,
    UnknownContextError,
    UnknownIdError,
)


@pytest.fixture
def db():
    with QuantumDatabase.open(":memory:") as database:
        yield database


def score(metric, query, vectors):
    query, vectors = query.astype(np.float64), vectors.astype(np.float64)
    if metric == "l2":
        return np.linalg.norm(vectors - query, axis=1)
    if metric == "ip":
        return -(vectors @ query)
    return -(vectors @ query) / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    metric=st.sampled_from(["l2", "cosine", "ip"]),
    rows=st.integers(1, 60),
    dimension=st.integers(1, 9),
    top_k=st.integers(1, 70),
    threshold=st.integers(0, 10),
    seed=st.integers(0, 2**32),
)
def test_filtered_search_equals_brute_force(metric, rows, dimension, top_k, threshold, seed):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(rows, dimension)).astype(np.float32)
    labels = rng.integers(0, 10, rows)
    query = rng.normal(size=dimension).astype(np.float32)
    matching = np.flatnonzero(labels < threshold)
    expected = matching[np.argsort(score(metric, query, vectors[matching]), kind="stable")][:top_k]
    with QuantumDatabase.open(":memory:") as db:
        items = db.create_collection("items", dimension=dimension, metric=metric)
        items.insert([f"r{n}" for n in range(rows)], vectors, metadata={"label": labels})
        by_text = items.query(query, top_k, where=f"label < {threshold}")
        by_mapping = items.query(query, top_k, filter={"label": {"$lt": threshold}})
    assert len(by_text) == min(top_k, len(matching))
    assert by_text.ids == by_mapping.ids
    sign = 1 if metric == "l2" else -1
    np.testing.assert_allclose(sign * by_text.scores, score(metric, query, vectors[expected]), rtol=1e-5, atol=1e-6)
    if dimension > 1:
        assert by_text.ids == [f"r{n}" for n in expected]


def test_rows_come_back_bit_for_bit(db):
    vectors = np.array([[1e-42, -0.0, 3.4e38], [1 / 3, 2, -7]], np.float32)
    items = db.create_collection("items", dimension=3, metric="l2")
    items.insert(["a\x00b", "ß🙂"], vectors, metadata=[{"x": 1, "tags": ["p", "q"]}, {"x": None}])
    first, second = items.get(["a\x00b", "ß🙂"])
    assert first.vector.tobytes() == vectors[0].tobytes()
    assert second.vector.tobytes() == vectors[1].tobytes()
    assert first.metadata == {"x": 1, "tags": ["p", "q"]}
    assert second.metadata == {"x": None, "tags": None}
    assert items.get("ß🙂").id == "ß🙂"
    assert "ß🙂" in items
    assert "other" not in items


def test_update_changes_what_is_given(db):
    items = db.create_collection("items", dimension=2, metric="l2")
    items.insert(["a", "b"], [[1, 2], [3, 4]], metadata={"x": [1, 2], "y": ["p", "q"]})
    items.update("a", metadata={"x": 5})
    items.update("b", [9, 9])
    assert items.get("a").metadata == {"x": 5, "y": "p"}
    assert items.get("a").vector.tolist() == [1, 2]
    assert items.get("b").metadata == {"x": 2, "y": "q"}
    assert items.get("b").vector.tolist() == [9, 9]
    items.upsert("a", [0, 0])
    assert items.get("a").metadata == {"x": None, "y": None}
    items.delete("a")
    with pytest.raises(UnknownIdError, match="'a'"):
        items.get("a")
    assert items.query([0, 0], top_k=10).ids == ["b"]


def test_hits_show_what_was_asked_for(db):
    items = db.create_collection("items", dimension=2, metric="l2")
    items.insert(["a", "b"], [[0, 0], [3, 4]], metadata={"x": [1, 2], "y": ["p", "q"]})
    hits = items.query([0, 0], include=["y"])
    assert hits.arrow().to_pydict() == {"id": ["a", "b"], "score": [0.0, 5.0], "y": ["p", "q"]}
    assert [hit.metadata for hit in hits] == [{"y": "p"}, {"y": "q"}]
    assert hits[1].score == 5.0
    assert hits.df().shape == (2, 3)
    assert hits.pl().shape == (2, 3)
    assert hits.vectors.tolist() == [[0, 0], [3, 4]]
    assert list(items.query([0, 0], include=[]).arrow().column_names) == ["id", "score"]
    assert [len(answer) for answer in items.query([[0, 0], [1, 1]], top_k=1)] == [1, 1]


def test_hits_keep_answering_after_later_writes(db):
    items = db.create_collection("items", dimension=2, metric="l2")
    items.insert(["a", "b"], [[0, 0], [3, 4]], metadata={"x": [1, 2]})
    hits = items.query([0, 0])
    items.upsert(["a", "c"], [[7, 7], [8, 8]], metadata={"x": [5, 6]})
    items.delete("b")
    assert hits.arrow().to_pydict() == {"id": ["a", "b"], "score": [0.0, 5.0], "x": [1, 2]}


BAD_ROWS = {
    "nan": (("a", [np.nan, 1]), InvalidVectorError, "NaN|nan|finite"),
    "infinite": (("a", [np.inf, 1]), InvalidVectorError, "finite|inf"),
    "zero": (("a", [0, 0]), InvalidVectorError, "zero"),
    "dimension": (("a", [1, 2, 3]), DimensionMismatchError, "3.*2|2.*3"),
    "empty id": (("", [1, 2]), InvalidIdError, "empty|''"),
    "long id": (("x" * 513, [1, 2]), InvalidIdError, "512"),
    "surrogate": (("\ud800", [1, 2]), InvalidIdError, "ud800"),
    "twice": ((["a", "a"], [[1, 2], [3, 4]]), DuplicateIdError, "'a'"),
    "stored": ((["new", "kept"], [[1, 2], [3, 4]]), DuplicateIdError, "'kept'"),
    "rows": ((["a", "b"], [[1, 2]]), InvalidVectorError, "2"),
    "reserved": (("a", [1, 2], {"id": 1}), InvalidMetadataError, "id"),
    "conflict": (("a", [1, 2], {"x": "text"}), InvalidMetadataError, "x"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_bad_rows_are_refused_and_leave_nothing(db, case):
    arguments, error, pattern = BAD_ROWS[case]
    items = db.create_collection("items", dimension=2, metric="cosine")
    items.insert("kept", [1, 1], metadata={"x": 1})
    version = db.version
    with pytest.raises(error, match=pattern) as caught:
        items.insert(*arguments)
    assert isinstance(caught.value, QStoreError)
    assert caught.value.fix
    assert db.version == version
    assert len(items) == 1
    assert items.get("kept").metadata == {"x": 1}


BAD_QUERIES = {
    "k": ({"top_k": 0}, InvalidArgumentError),
    "k text": ({"top_k": "3"}, InvalidArgumentError),
    "column": ({"where": "nothing = 1"}, UnknownColumnError),
    "include": ({"include": ["nothing"]}, UnknownColumnError),
    "syntax": ({"where": "x = = 1"}, SqlSyntaxError),
    "operator": ({"filter": {"x": {"$near": 1}}}, InvalidFilterError),
    "context": ({"context": "nothing"}, UnknownContextError),
    "length": ({"vector": [1, 2, 3]}, DimensionMismatchError),
    "nan": ({"vector": [np.nan, 0]}, InvalidVectorError),
    "zero": ({"vector": [0, 0]}, InvalidVectorError),
}


@pytest.mark.parametrize("case", BAD_QUERIES)
def test_bad_queries_name_the_fix(db, case):
    arguments, error = BAD_QUERIES[case]
    items = db.create_collection("items", dimension=2, metric="cosine")
    items.insert("kept", [1, 1], metadata={"x": 1})
    with pytest.raises(error) as caught:
        items.query(**{"vector": [1, 0], **arguments})
    assert caught.value.fix


def test_k_above_the_rows_returns_them_all(db):
    items = db.create_collection("items", dimension=1, metric="l2")
    items.insert(["a", "b", "c"], [[3], [1], [2]])
    assert items.query([0], top_k=10_000).ids == ["b", "c", "a"]


def test_states_through_the_face(db):
    technical, legal = np.array([3.0, 0.0], np.float32), np.array([0.0, 5.0], np.float32)
    db.insert(id="doc", vectors={"technical": technical, "legal": legal}, contexts=[("technical", 3), ("legal", 1)])
    db.insert(id="plain", vector=[1, 1], metadata={"kind": "note"})
    record = db.get("doc")
    assert record.probabilities == {"technical": 0.75, "legal": 0.25}
    assert record.vectors["legal"].tobytes() == legal.tobytes()
    assert db.query([1, 0], context="technical").ids == ["doc"]
    expected = {hit.id: hit.score for hit in db.query([0.6, 0.8])}
    assert expected["doc"] == pytest.approx(0.75 * 0.6 + 0.25 * 0.8, abs=1e-6)
    coherent = db.query([0.6, 0.8], context={"technical": 0.5, "legal": 0.5})
    assert coherent.scores[0] == pytest.approx((np.sqrt(0.375) * 0.6 + np.sqrt(0.125) * 0.8) ** 2, abs=1e-6)
    db.update(id="doc", contexts=[("legal", 1.0)])
    assert db.get("doc").probabilities == {"legal": 1.0}
    assert db.measure("doc", seed=1).outcome == "legal"
    assert db.sql("SELECT count(*) FROM measurements").fetchall() == [(1,)]
    db.delete("doc")
    assert db.sql("SELECT count(*) FROM states").fetchall() == [(0,)]
    with pytest.raises(InvalidStateError, match="cosine"):
        db.create_collection("flat", dimension=2, metric="l2").insert("a", [1, 2], contexts=["x"])


def test_a_refused_first_insert_makes_no_collection(db):
    for arguments in ({"vector": [np.nan, 1]}, {"vector": [0, 0]}, {"vector": [1, 2], "contexts": [("a", -1)]}):
        with pytest.raises(QStoreError):
            db.insert(id="a", **arguments)
    assert db.version == 0
    assert db.collections() == []


def clustered(rows=6000, dimension=40, seed=0):
    g = np.random.default_rng(seed)
    centres = g.normal(size=(20, dimension))
    labels = g.integers(0, 20, rows + 60)
    points = (centres[labels] + 0.6 * g.normal(size=(rows + 60, dimension))).astype(np.float32)
    return points[:rows], points[rows:], labels[:rows]


@pytest.fixture(scope="module")
def graphed():
    vectors, queries, labels = clustered()
    with QuantumDatabase.open(":memory:", build_threads=1) as database:
        items = database.create_collection("items", dimension=40, metric="cosine", ef_construction=60, recall=0.95)
        items.insert([f"r{n}" for n in range(5800)], vectors[:5800], metadata={"label": labels[:5800]})
        items.build_graph()
        items.delete([f"r{n}" for n in range(0, 5800, 50)])
        items.insert([f"r{n}" for n in range(5800, 6000)], vectors[5800:], metadata={"label": labels[5800:]})
        yield items, queries


@pytest.mark.parametrize(
    "wish",
    [
        {},
        {"ef": 30},
        {"exact": True},
        {"recall": 0.99, "where": "label < 12"},
        {"filter": {"label": 3}},
        {"where": "label = 99"},
    ],
    ids=str,
)
def test_many_queries_at_once_give_what_each_gives_alone(graphed, wish):
    items, queries = graphed
    for top_k in (1, 10):
        many = items.query(queries, top_k, **wish)
        alone = [items.query(query, top_k, **wish) for query in queries]
        assert [hits.ids for hits in many] == [hits.ids for hits in alone]
        assert [hits.scores.tobytes() for hits in many] == [hits.scores.tobytes() for hits in alone]
        assert [(hits.strategy, hits.reason) for hits in many] == [(hits.strategy, hits.reason) for hits in alone]
        assert many[-1].metadata.equals(alone[-1].metadata)
    assert items.query(queries[:0]) == []


def test_a_promised_recall_is_kept(graphed):
    items, queries = graphed
    truth = [set(hits.ids) for hits in items.query(queries, exact=True)]
    for wish, promised in (({}, 0.95), ({"recall": 0.9}, 0.9), ({"recall": 0.99}, 0.99), ({"recall": 1.0}, 1)):
        for condition in (None, "label < 15"):
            if condition is not None:
                truth = [set(hits.ids) for hits in items.query(queries, exact=True, where=condition)]
            found = [set(hits.ids) for hits in items.query(queries, where=condition, **wish)]
            assert np.mean([len(a & b) / 10 for a, b in zip(found, truth, strict=True)]) >= promised
        truth = [set(hits.ids) for hits in items.query(queries, exact=True)]
    assert items.query(queries[0], recall=1.0).strategy == "exact"
    assert items.query(queries[0]).strategy != "exact"
    assert "measured for recall 0.95" in items.query(queries[0]).reason


def test_promises_out_of_range_are_refused(db, graphed):
    items, queries = graphed
    for wish in ({"recall": 0}, {"recall": 1.01}, {"recall": "high"}, {"recall": True}, {"recall": 0.9, "ef": 10}):
        with pytest.raises(InvalidArgumentError):
            items.query(queries[0], **wish)
    with pytest.raises(InvalidArgumentError, match="recall"):
        db.create_collection("bad", dimension=2, recall=1.5)
    with pytest.raises(UnknownColumnError, match="nothing"):
        items.query(queries[0], include=["nothing"])
