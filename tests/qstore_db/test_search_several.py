"""One search over several collections, rank fusion by its definition, and answers as Arrow tables."""

from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.database import QuantumDatabase
from qstore_db.errors import (
    DimensionMismatchError,
    InvalidArgumentError,
    UnknownCollectionError,
    UnknownColumnError,
)
from qstore_db.hits import arrow_of
from qstore_db.search.fusion import reciprocal_rank_fusion
from storage_engine.segment.segment import Segment


@pytest.fixture
def db():
    with QuantumDatabase.open(":memory:") as database:
        yield database


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    rankings=st.lists(st.lists(st.integers(0, 9), max_size=8, unique=True), max_size=4),
    k=st.sampled_from([0, 1, 60]),
    weighted=st.booleans(),
)
def test_fused_ranks_are_those_of_the_formula(rankings, k, weighted):
    weights = [n % 3 for n in range(1, len(rankings) + 1)] if weighted else None
    scores: dict[int, Fraction] = {}
    for number, ranking in enumerate(rankings):
        for rank, item in enumerate(ranking, 1):
            weight = weights[number] if weights else 1
            scores[item] = scores.get(item, Fraction(0)) + Fraction(weight, k + rank)
    items, fused = reciprocal_rank_fusion(
        [np.array(one, np.int64) for one in rankings], rank_constant=k, weights=weights
    )
    assert sorted(items.tolist()) == sorted(scores)
    for item, score in zip(items.tolist(), fused.tolist(), strict=True):
        assert score == pytest.approx(float(scores[item]), rel=1e-12)
    appeared = list(scores)
    for (one, first), (two, second) in zip(
        list(zip(items.tolist(), fused, strict=True))[:-1],
        list(zip(items.tolist(), fused, strict=True))[1:],
        strict=True,
    ):
        assert first > second or (first == second and appeared.index(one) < appeared.index(two))


def test_fusion_refuses_what_makes_no_sense():
    ranking = np.arange(3)
    for k in (-1, float("nan"), float("inf"), True, "60"):
        with pytest.raises(InvalidArgumentError):
            reciprocal_rank_fusion([ranking], rank_constant=k)
    for weights in ([1.0, 2.0], [-1.0], [float("nan")]):
        with pytest.raises(InvalidArgumentError):
            reciprocal_rank_fusion([ranking], weights=weights)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    metric=st.sampled_from(["l2", "cosine", "ip"]),
    sizes=st.lists(st.integers(0, 12), min_size=1, max_size=4),
    top_k=st.integers(1, 30),
    seed=st.integers(0, 2**32),
)
def test_merged_by_score_is_one_search_over_all_rows(metric, sizes, top_k, seed):
    rng = np.random.default_rng(seed)
    with QuantumDatabase.open(":memory:") as db:
        union = db.create_collection("everything", dimension=3, metric=metric)
        for number, size in enumerate(sizes):
            part = db.create_collection(f"c{number}", dimension=3, metric=metric)
            vectors = rng.integers(1, 4, size=(size, 3)).astype(np.float32)
            if size:
                part.insert([f"r{n}" for n in range(size)], vectors, metadata={"n": list(range(size))})
                union.insert([f"c{number} r{n}" for n in range(size)], vectors, metadata={"n": list(range(size))})
        names = [f"c{number}" for number in range(len(sizes))]
        query = [1.0, 2.0, -1.0]
        hits = db.search_collections(names, query, top_k, exact=True)
        one = union.query(query, top_k, exact=True)
        assert [f"{hit.collection} {hit.id}" for hit in hits] == one.ids
        assert hits.scores.tolist() == one.scores.tolist()
        assert hits.scores.dtype == np.float32
        assert len(hits) == min(top_k, sum(sizes))
        if len(hits):
            assert hits.metadata.column("n").to_pylist() == one.metadata.column("n").to_pylist()


def test_merged_by_rank_takes_from_each_in_turn(db):
    far = db.create_collection("far", dimension=2, metric="l2")
    near = db.create_collection("near", dimension=3, metric="ip")
    far.insert(["f1", "f2", "f3"], [[1.0, 0.0], [2.0, 0.0], [9.0, 0.0]], metadata=[{"price": n} for n in range(3)])
    near.insert(["n1", "f2"], [[1.0, 0.0, 0.0], [0.5, 0.0, 0.0]], metadata=[{"colour": "red"}, {"colour": "blue"}])
    query = {"far": [0.0, 0.0], "near": [1.0, 0.0, 0.0]}
    hits = db.search_collections(["far", "near"], query, 4, merge="rank")
    assert list(zip(hits.collections, hits.ids, strict=True)) == [
        ("far", "f1"),
        ("near", "n1"),
        ("far", "f2"),
        ("near", "f2"),
    ]
    assert hits.scores.tolist() == [1 / 61, 1 / 61, 1 / 62, 1 / 62]
    assert hits.arrow().to_pydict() == {
        "id": ["f1", "n1", "f2", "f2"],
        "score": [1 / 61, 1 / 61, 1 / 62, 1 / 62],
        "collection": ["far", "near", "far", "near"],
        "price": [0, None, 1, None],
        "colour": [None, "red", None, "blue"],
    }
    assert hits[1].metadata == {"price": None, "colour": "red"}
    only = db.search_collections(["near", "far"], query, 3, merge="rank", rank_constant=0, include=["price"])
    assert only.arrow().column_names == ["id", "score", "collection", "price"]
    assert only.scores.tolist() == [1.0, 1.0, 0.5]
    assert only.collections == ["near", "far", "near"]
    assert db.search_collections(["near", "far"], query, 3, merge="rank", include=[]).arrow().num_columns == 3


def test_collections_that_compare_differently_are_not_merged_by_score(db):
    db.create_collection("a", dimension=2, metric="l2")
    db.create_collection("b", dimension=2, metric="cosine")
    db.create_collection("c", dimension=3, metric="l2")
    with pytest.raises(InvalidArgumentError, match="metric l2 and 'b' cosine"):
        db.search_collections(["a", "b"], [1.0, 0.0])
    with pytest.raises(InvalidArgumentError, match="dimension 2 and 'c' 3"):
        db.search_collections(["a", "c"], {"a": [1.0, 0.0], "c": [1.0, 0.0, 0.0]})
    assert len(db.search_collections(["a", "b"], [1.0, 0.0], merge="rank")) == 0
    with pytest.raises(DimensionMismatchError):
        db.search_collections(["a", "c"], [1.0, 0.0], merge="rank")
    for wrong in ([], ["a", "a"]):
        with pytest.raises(InvalidArgumentError):
            db.search_collections(wrong, [1.0, 0.0])
    with pytest.raises(UnknownCollectionError):
        db.search_collections(["a", "absent"], [1.0, 0.0])
    with pytest.raises(InvalidArgumentError):
        db.search_collections(["a"], [1.0, 0.0], merge="luck")
    with pytest.raises(InvalidArgumentError):
        db.search_collections(["a"], {"b": [1.0, 0.0]})
    with pytest.raises(InvalidArgumentError):
        db.search_collections(["a"], [1.0, 0.0], 0)


def test_columns_of_several_collections(db):
    for name, value in (("a", 1), ("b", "one"), ("c", 1.5)):
        items = db.create_collection(name, dimension=1, metric="l2")
        items.insert([name], [[0.0]], metadata=[{"x": value, "score": 7, "collection": name}])
    together = db.search_collections(["a", "c"], [0.0])
    assert together.arrow().column_names == ["id", "_score", "_collection", "x", "score", "collection"]
    assert together.arrow().column("x").to_pylist() == [1.0, 1.5]
    with pytest.raises(InvalidArgumentError, match="fit together"):
        db.search_collections(["a", "b"], [0.0]).arrow()
    assert db.search_collections(["a", "b"], [0.0], include=["score"]).arrow().num_rows == 2
    with pytest.raises(UnknownColumnError):
        db.search_collections(["a", "b"], [0.0], include=["absent"])
    with pytest.raises(UnknownColumnError):
        db.search_collections(["a", "b"], [0.0], filter={"absent": 1})


def test_hits_are_arrow_for_whoever_reads_arrow(db):
    items = db.create_collection("items", dimension=2, metric="l2")
    items.insert(["a", "b"], [[0.0, 0.0], [1.0, 0.0]], metadata={"price": [1.5, None], "tag": ["x", "y"]})
    hits = items.query([0.0, 0.0], 2, include=["tag"])
    expected = pa.table({"id": ["a", "b"], "score": pa.array([0.0, 1.0], pa.float32()), "tag": ["x", "y"]})
    assert hits.arrow().equals(expected)
    assert pa.table(hits).equals(expected)
    assert pl.DataFrame(hits).to_dicts() == expected.to_pylist()
    assert pd.DataFrame(hits.df()).to_dict("list") == expected.to_pydict()
    assert hits.to_pydict() == expected.to_pydict()
    several = items.query(np.array([[0.0, 0.0], [1.0, 0.0]]), 1, include=["price"])
    assert arrow_of(several).to_pydict() == {
        "query": [0, 1],
        "id": ["a", "b"],
        "score": [0.0, 0.0],
        "price": [1.5, None],
    }
    for wrong in ([], [several[0], hits], [several[0], db.create_collection("z", 2).query([1.0, 0.0])]):
        with pytest.raises(InvalidArgumentError):
            arrow_of(wrong)


def test_a_metadata_column_called_score_hides_nothing(db):
    items = db.create_collection("items", dimension=1, metric="l2")
    items.insert(["a"], [[2.0]], metadata=[{"score": "high", "query": "who"}])
    hits = items.query([0.0])
    expected = {"id": ["a"], "_score": [2.0], "score": ["high"], "query": ["who"]}
    assert hits.to_pydict() == expected
    assert hits.arrow().to_pydict() == expected
    assert hits.pl().to_dict(as_series=False) == expected
    assert hits[0].score == 2.0
    assert arrow_of(items.query([[0.0]])).column_names == ["_query", "id", "_score", "score", "query"]


def test_ids_alone_read_no_metadata(tmp_path, monkeypatch):
    with QuantumDatabase.open(tmp_path / "db") as db:
        items = db.create_collection("items", dimension=2, metric="l2")
        items.insert([f"r{n}" for n in range(50)], np.arange(100.0).reshape(50, 2), metadata={"n": list(range(50))})
        db._engine.seal()
    reads = []
    real = Segment.metadata
    monkeypatch.setattr(Segment, "metadata", lambda self: reads.append(1) or real(self))
    with QuantumDatabase.open(tmp_path / "db") as db:
        items = db.collection("items")
        hits = items.query([0.0, 1.0], 3)
        assert hits.ids == ["r0", "r1", "r2"]
        assert items.query([0.0, 1.0], 3, include=[]).arrow().num_rows == 3
        assert [hit.id for hit in items.query([0.0, 1.0], 3, include=[])] == hits.ids
        assert items.search.within([0.0, 1.0], 3.0, include=[]).arrow().column_names == ["id", "score"]
        assert items.search.page([0.0, 1.0], 3, include=[]).hits.to_pydict()["id"] == hits.ids
        assert items.search.diverse([0.0, 1.0], 3, include=[]).arrow().num_rows == 3
        assert db.search_collections(["items"], [0.0, 1.0], 3, include=[]).arrow().num_rows == 3
        assert reads == []
        assert hits.arrow().column("n").to_pylist() == [0, 1, 2]
        assert reads
