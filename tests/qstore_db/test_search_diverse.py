"""Maximal marginal relevance against its definition, term by term."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.database import QuantumDatabase
from qstore_db.errors import InvalidArgumentError, UnknownColumnError


def similarity(metric, x, y):
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if metric == "l2":
        return -math.dist(x, y)
    product = math.fsum((x * y).tolist())
    return product / math.hypot(*x) / math.hypot(*y) if metric == "cosine" else product


def follows(ids, metric, query, candidates, weight):
    """Whether each choice has the greatest value of Carbonell and Goldstein's formula, the first of equal rows."""
    chosen, left = [], dict(candidates)
    for name in ids:
        values = {
            other: weight * similarity(metric, query, x)
            - (1 - weight) * max((similarity(metric, x, y) for y in chosen), default=0.0)
            for other, x in left.items()
        }
        assert values[name] >= max(values.values()) - 1e-9 * (1 + abs(values[name]))
        assert name == next(other for other, x in left.items() if np.array_equal(x, left[name]))
        chosen.append(left.pop(name))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    metric=st.sampled_from(["l2", "cosine", "ip"]),
    rows=st.integers(1, 25),
    top_k=st.integers(1, 12),
    more=st.integers(0, 15),
    weight=st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.0]),
    seed=st.integers(0, 2**32),
)
def test_the_choice_is_that_of_the_formula(metric, rows, top_k, more, weight, seed):
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-3, 4, size=(rows, 3)).astype(np.float32)
    vectors[~vectors.any(axis=1)] = 1
    query = np.array([1, 2, -1], np.float32)
    with QuantumDatabase.open(":memory:") as db:
        items = db.create_collection("items", dimension=3, metric=metric)
        items.insert([f"r{n}" for n in range(rows)], vectors, metadata={"n": list(range(rows))})
        nearest = items.query(query, top_k + more, exact=True)
        candidates = [(name, vectors[int(name[1:])]) for name in nearest.ids]
        hits = items.search.diverse(query, top_k, fetch_k=top_k + more, relevance=weight)
        assert len(hits) == min(top_k, rows)
        follows(hits.ids, metric, query, candidates, weight)
        scores = dict(zip(nearest.ids, nearest.scores.tolist(), strict=True))
        assert hits.scores.tolist() == [scores[name] for name in hits.ids]
        assert hits.metadata.column("n").to_pylist() == [int(name[1:]) for name in hits.ids]
        assert hits.ids[0] == nearest.ids[0]
        if weight == 1.0:
            assert hits.ids == nearest.ids[:top_k]


def test_copies_of_the_nearest_are_passed_over():
    with QuantumDatabase.open(":memory:") as db:
        items = db.create_collection("items", dimension=2, metric="cosine")
        items.insert(["a", "a again", "a still", "b", "c"], [[1, 0.1], [1, 0.1], [2, 0.2], [1, 0.5], [0.2, 1.0]])
        query = [1.0, 0.0]
        assert items.query(query, 3).ids == ["a", "a again", "a still"]
        assert items.search.diverse(query, 3, fetch_k=5, relevance=0.3).ids == ["a", "c", "b"]
        assert items.search.diverse(query, 3, fetch_k=3, relevance=0.3).ids == ["a", "a again", "a still"]
        assert items.search.diverse(query, 2, fetch_k=5, relevance=0.0).ids == ["a", "c"]


def test_filters_and_refusals():
    with QuantumDatabase.open(":memory:") as db:
        items = db.create_collection("items", dimension=2, metric="l2")
        items.insert([f"r{n}" for n in range(9)], np.arange(18.0).reshape(9, 2), metadata={"n": list(range(9))})
        assert set(items.search.diverse([0.0, 0.0], 5, where="n > 6").ids) == {"r7", "r8"}
        assert items.search.diverse([0.0, 0.0], 5, filter={"n": 3}, include=[]).arrow().column_names == ["id", "score"]
        for wrong in (
            {"relevance": -0.1},
            {"relevance": 1.1},
            {"relevance": float("nan")},
            {"relevance": True},
            {"relevance": "all"},
            {"top_k": 0},
            {"top_k": 60},
            {"fetch_k": 9, "top_k": 10},
            {"fetch_k": 10_001},
            {"ef": 0},
            {"recall": 2.0},
        ):
            with pytest.raises(InvalidArgumentError):
                items.search.diverse([0.0, 0.0], **wrong)
        with pytest.raises(UnknownColumnError):
            items.search.diverse([0.0, 0.0], include=["absent"])
