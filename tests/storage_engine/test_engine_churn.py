"""Rows that change all the time: recall does not drift, the old graph serves until a new one is there."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from storage_engine.batch import CreateCollection, DeleteRows, PutRows, WriteBatch
from storage_engine.engine import Engine
from storage_engine.graph_building import DEAD_SHARE, UNCOVERED_SHARE, is_due, too_dead
from storage_engine.schema import CollectionSchema, GraphOptions, Metric

ROWS, DIMENSION, ROUNDS = 10_000, 48, 5  # rows enough for the planner to walk
OPTIONS = GraphOptions(minimum_rows=1_000)


def data(rows, seed=0):
    g = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(60, DIMENSION))
    return (centres[g.integers(0, 60, rows)] + 0.5 * g.normal(size=(rows, DIMENSION))).astype(np.float32)


def ids(first, last):
    return [f"r{row}" for row in range(first, last)]


@pytest.fixture
def engine():
    with Engine.open(None, build_threads=2) as engine:
        schema = CollectionSchema("c", "c" * 32, DIMENSION, Metric.L2, graph=OPTIONS)
        engine.commit(WriteBatch([CreateCollection(schema), PutRows("c", ids(0, ROWS), data(ROWS))]))
        engine.build_graphs()
        yield engine


def recall(view, queries, strategies=("graph", "masked_graph")):
    shares = []
    for query in queries:
        found, truth = view.search(query, 10), view.search(query, 10, exact=True)
        assert found.strategy in strategies
        assert len(found.slots) == 10
        assert view.live()[found.slots].all()
        shares.append(np.isin(found.slots, truth.slots).mean())
    return float(np.mean(shares))


def state(engine):
    return engine.snapshot().states()[0]


def test_recall_stays_after_every_row_was_updated_five_times(engine):
    queries = data(200, 1)
    for turn in range(ROUNDS):
        fresh = data(ROWS, 2 + turn)
        for start in range(0, ROWS, 2_500):
            engine.commit(WriteBatch([PutRows("c", ids(start, start + 2_500), fresh[start : start + 2_500])]))
            if start == 2_500:  # half-way: dead rows in the graph, fresh ones outside
                assert recall(engine.snapshot().collection("c"), queries[:40]) >= 0.99
        engine.wait_for_graphs()
        view = engine.snapshot().collection("c")
        assert view.slot_count <= ROWS * (1 + UNCOVERED_SHARE + DEAD_SHARE)
        assert recall(view, queries) >= 0.99
        at = view.slots_of(ids(0, 20))
        assert view.vectors_at(at).tobytes() == fresh[:20].tobytes()
    assert [finding for finding in engine.verify() if finding.severity != "info"] == []


def test_the_old_graph_serves_while_a_new_one_is_built(engine, monkeypatch):
    from storage_engine.index import builder

    building, go_on = threading.Event(), threading.Event()
    build = builder.build_graph

    def slow(*arguments, **named):
        building.set()
        assert go_on.wait(60)
        return build(*arguments, **named)

    monkeypatch.setattr(builder, "build_graph", slow)
    fresh = data(3_000, 5)
    try:
        engine.commit(WriteBatch([PutRows("c", ids(0, 3_000), fresh)]))
        assert building.wait(60)  # the background found by itself that too much changed
        view = engine.snapshot().collection("c")
        assert recall(view, data(50, 1), ("masked_graph",)) >= 0.99
        assert view.ids_at(view.search(fresh[7], 1).slots) == ["r7"]
        assert view.slot_count == ROWS + 3_000
    finally:
        go_on.set()
    engine.wait_for_graphs()
    after = engine.snapshot().collection("c")
    assert after.slot_count == ROWS
    assert recall(after, data(50, 1), ("graph",)) >= 0.99


def test_deletes_alone_are_churn_too(engine):
    few, many = int(0.5 * DEAD_SHARE * ROWS), int(1.5 * DEAD_SHARE * ROWS)
    engine.commit(WriteBatch([DeleteRows("c", ids(0, few))]))
    assert not is_due(state(engine))
    engine.commit(WriteBatch([DeleteRows("c", ids(few, many))]))
    engine.wait_for_graphs()
    assert not is_due(state(engine))
    view = engine.snapshot().collection("c")
    assert view.slot_count == len(view) == ROWS - many
    assert recall(view, data(50, 1), ("graph",)) >= 0.99


def test_a_collection_that_shrank_below_its_minimum_is_left_alone(engine):
    engine.commit(WriteBatch([DeleteRows("c", ids(0, ROWS - 500))]))
    assert not is_due(state(engine))
    view = engine.snapshot().collection("c")
    assert len(view.search(data(1)[0], 600).slots) == 500


def test_what_is_due_is_what_a_build_would_write_anew():
    for rows in range(1, 2_000):
        for dead in (rows // 5 - 1, rows // 5, rows // 5 + 1):
            assert too_dead(dead, rows) == (5 * dead > rows), (dead, rows)
