"""Searches that end in a QUBO or in measured overlaps, against every subset and the closed form."""

import itertools

import numpy as np
import pytest

from qstore_db import QuantumDatabase
from qstore_db.errors import InvalidArgumentError, InvalidVectorError, UnknownBackendError


@pytest.fixture(scope="module", params=["cosine", "l2", "ip"])
def items(request):
    rng = np.random.default_rng(5)
    with QuantumDatabase.open(":memory:") as db:
        items = db.create_collection("items", dimension=5, metric=request.param)
        vectors = rng.normal(size=(60, 5)).astype(np.float32)
        items.insert([f"r{n}" for n in range(60)], vectors, metadata=[{"part": n % 2} for n in range(60)])
        yield items, vectors.astype(np.float64), rng.normal(size=5)


def measure(metric, left, right):
    if metric == "l2":
        return -np.linalg.norm(left - right)
    product = float(left @ right)
    return product / (np.linalg.norm(left) * np.linalg.norm(right)) if metric == "cosine" else product


def test_an_annealed_answer_is_the_best_set_of_the_candidates(items):
    items, vectors, query = items
    metric = str(items.metric)
    near = items.query(query, top_k=10, exact=True)
    rows = [int(name[1:]) for name in near.ids]
    relevance = np.array([measure(metric, query, vectors[row]) for row in rows])
    alike = np.array([[measure(metric, vectors[i], vectors[j]) for j in rows] for i in rows])
    r = (relevance - relevance.min()) / np.ptp(relevance)
    outside = alike[~np.eye(10, dtype=bool)]
    s = (alike - outside.min()) / np.ptp(outside)

    def gain(chosen):
        return 0.6 * r[list(chosen)].sum() - 0.4 * 2 / 3 * sum(s[i, j] for i, j in itertools.combinations(chosen, 2))

    best = max(itertools.combinations(range(10), 4), key=gain)
    found = items.search.annealed(query, 4, fetch_k=10, diversity=0.4, exact=True)
    assert found.ids == [near.ids[place] for place in best]
    assert "QUBO by brute_force" in found.reason
    assert f"gain {gain(best):.4g}" in found.reason
    assert items.search.annealed(query, 4, fetch_k=10, diversity=0.0, exact=True).ids == near.ids[:4]
    only = items.search.annealed(query, 50, fetch_k=50, where="part = 1", exact=True, tunneling_strength=0.1)
    assert len(only.ids) == 30
    assert {int(name[1:]) % 2 for name in only.ids} == {1}


def test_many_candidates_are_annealed(items):
    pytest.importorskip("dwave.samplers", reason="dwave-samplers is optional")
    items, _, query = items
    found = items.search.annealed(query, 5, fetch_k=24, seed=4)
    assert len(set(found.ids)) == 5
    assert "by path_integral" in found.reason
    assert items.search.annealed(query, 5, fetch_k=24, seed=4).ids == found.ids


def test_reranked_rows_stand_in_the_order_of_the_squared_cosine(items):
    items, vectors, query = items
    near = items.query(query, top_k=12, exact=True)
    rows = [int(name[1:]) for name in near.ids]
    overlap = np.array([measure("cosine", query, vectors[row]) ** 2 for row in rows])
    found = items.search.reranked(query, 5, fetch_k=12, exact=True)
    order = np.argsort(-overlap)[:5]
    assert found.hits.ids == [near.ids[place] for place in order]
    assert np.allclose(found.hits.scores, overlap[order], atol=1e-6)
    assert (found.backend, found.circuits, found.standard_errors.tolist()) == ("local", 12, [0.0] * 5)
    assert found.hits[0].metadata["part"] == int(found.hits.ids[0][1:]) % 2
    measured = items.search.reranked(query, 5, fetch_k=5, shots=2000, seed=3, exact=True)
    by_id = dict(zip(near.ids, overlap, strict=True))
    errors = [abs(score - by_id[name]) for name, score in zip(measured.hits.ids, measured.hits.scores, strict=True)]
    assert all(error < 5 * deviation + 1e-6 for error, deviation in zip(errors, measured.standard_errors, strict=True))
    again = items.search.reranked(query, 5, fetch_k=5, shots=2000, seed=3, exact=True)
    assert again.hits.scores.tolist() == measured.hits.scores.tolist()


def test_what_makes_no_sense_is_refused(items):
    items, _, query = items
    with pytest.raises(InvalidArgumentError, match="fetch_k"):
        items.search.annealed(query, 10, fetch_k=5)
    with pytest.raises(InvalidArgumentError, match="diversity"):
        items.search.annealed(query, 3, diversity=2)
    with pytest.raises(UnknownBackendError, match="nowhere"):
        items.search.reranked(query, 3, backend="nowhere")
    with pytest.raises(InvalidVectorError):
        items.search.reranked(np.zeros(5), 3)


def test_a_zero_row_is_no_state():
    with QuantumDatabase.open(":memory:") as db:
        flat = db.create_collection("flat", dimension=2, metric="l2")
        flat.insert(["zero", "one"], [[0.0, 0.0], [1.0, 0.0]])
        with pytest.raises(InvalidVectorError, match="'zero' is zero"):
            flat.search.reranked([1.0, 1.0], 1)


def test_nothing_found_is_an_empty_answer(items):
    items, _, query = items
    assert items.search.annealed(query, 3, where="part = 7").ids == []
    assert items.search.reranked(query, 3, where="part = 7").hits.ids == []
