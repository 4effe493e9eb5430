"""Hits read ids and metadata when they are asked for: of the version that was searched, whatever happened since."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from qstore_db.database import QuantumDatabase

X = np.random.default_rng(0).normal(size=(3_000, 32)).astype(np.float32)
IDS = [f"r{n}" for n in range(3_000)]


@pytest.fixture
def items():
    with QuantumDatabase.open(":memory:", progress=False) as db:
        items = db.create_collection("items", dimension=32, metric="l2")
        items.insert(IDS, X, metadata={"n": np.arange(3_000)})
        items.build_graph()
        yield items


def test_what_is_read_later_is_what_was_found(items):
    one, many = items.query(X[7], 5, ef=64), items.query(X[:20], 5, ef=64)
    items.update(IDS, metadata={"n": -np.arange(3_000)})
    items.delete(IDS[:100])
    items.build_graph()
    assert one.ids[0] == "r7" and one.to_pydict()["n"][0] == 7
    assert [hits.ids[0] for hits in many] == IDS[:20] and [next(iter(hits)).metadata["n"] for hits in many] == [
        *range(20)
    ]
    assert len(one) == 5 and one.ids is one.ids
    assert repr(one).startswith("Hits(ids=['r7'")


def test_answers_of_a_batch_are_read_by_many_threads(items):
    many = items.query(X[:200], 10, ef=32, include=[])
    expected = [items.query(query, 10, ef=32).ids for query in X[:200]]
    seen = []

    def read():
        seen.append([hits.ids for hits in many])

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [expected] * 4


def test_an_empty_batch_and_no_match(items):
    assert items.query(np.empty((0, 32), np.float32)) == []
    none = items.query(X[0], 5, where="n < 0")
    assert none.ids == [] and len(none) == 0 and list(none) == [] and none.to_pydict()["id"] == []
    assert [hits.ids for hits in items.query(X[:3], 5, where="n < 0")] == [[], [], []]
