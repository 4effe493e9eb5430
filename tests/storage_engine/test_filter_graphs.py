"""Graphs of a column's values: what walks through them find, what is stored, and how long it lasts."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pyarrow as pa
import pytest

from storage_engine import compiled_code
from storage_engine.batch import CreateCollection, DeleteRows, PutRows, WriteBatch
from storage_engine.engine import Engine
from storage_engine.errors import DamagedError, InvalidArgumentError, UnknownColumnError
from storage_engine.index.filter_graph import MAX_VALUES, FilterGraph, join_graphs
from storage_engine.index.graph import Graph
from storage_engine.schema import CollectionSchema, GraphOptions, Metric
from storage_engine.vectors.distance import exact_top_k

N, D, VALUES = 30_000, 32, 4
OPTIONS = GraphOptions(m=12, ef_construction=80)


@pytest.fixture(scope="module")
def rows():
    """Rows whose label is the region they lie in: a filter on labels hides neighbourhoods. And queries like them."""
    g = np.random.default_rng(0)
    latent = g.normal(size=(N + 60, 8))
    points = (latent @ g.normal(size=(8, D)) + 0.2 * g.normal(size=(N + 60, D))).astype(np.float32)
    return points[:N], np.argmax(latent[:N, :VALUES], axis=1), points[N:]


def table(labels):
    return pa.table({"label": labels, "place": np.arange(len(labels)) % 100})


@pytest.fixture(scope="module")
def directory(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("filter_graphs") / "db"
    x, labels, _ = rows
    with Engine.open(path) as engine:
        engine.commit(WriteBatch([CreateCollection(CollectionSchema("c", "c" * 32, D, Metric.L2, graph=OPTIONS))]))
        engine.commit(WriteBatch([PutRows("c", [f"r{n}" for n in range(N)], x, metadata=table(labels))]))
        engine.build_filter_graph("c", "label")
    return path


@pytest.fixture(scope="module")
def view(directory):
    assert compiled_code.process.load()
    with Engine.open(directory, read_only=True) as engine:
        yield engine.snapshot().collection("c")


def recall(view, queries, mask, x, **wish):
    found = [view.search(query, 10, mask=mask, **wish) for query in queries]
    truth = [exact_top_k(query, x, 10, Metric.L2, None, mask).positions for query in queries]
    assert all(len(one.slots) == 10 and mask[one.slots].all() for one in found)
    share = float(np.mean([len(set(a.slots) & set(b)) / 10 for a, b in zip(found, truth, strict=True)]))
    return share, {one.strategy for one in found}


@pytest.mark.parametrize("chosen", [(3,), (1, 2)], ids=str)
def test_walks_through_values_find_the_neighbours(view, rows, chosen):
    x, labels, queries = rows
    mask = np.isin(labels, chosen)
    share, strategies = recall(view, queries, mask, x)
    assert strategies == {"filter_graph"} and share >= 0.99


def test_a_second_condition_is_a_mask_inside_the_values(view, rows):
    x, labels, queries = rows
    mask = (labels < 2) & (np.arange(N) % 100 < 60)
    share, strategies = recall(view, queries, mask, x)
    assert strategies == {"filter_graph"} and share >= 0.99


def test_a_promise_is_kept_by_what_was_measured_for_such_walks(view, rows):
    x, labels, queries = rows
    for promise in (0.9, 0.99):
        share, strategies = recall(view, queries, labels == 2, x, recall=promise)
        assert share >= promise and strategies <= {"filter_graph", "exact_rows"}


def test_filters_that_let_every_value_through_use_the_one_graph(view, rows):
    mask = np.arange(N) % 100 < 70
    found = view.search(rows[2][0], 10, mask=mask, ef=32)
    assert found.strategy == "masked_graph"


def test_many_at_once_give_what_one_gives(view, rows):
    _, labels, queries = rows
    mask = labels == 2
    alone = [view.search(query, 10, mask=mask, ef=48) for query in queries]
    together = view.search_many(queries, 10, mask=mask, ef=48)
    for one, other in zip(alone, together, strict=True):
        assert one.slots.tolist() == other.slots.tolist() and one.scores.tobytes() == other.scores.tobytes()
        assert (one.strategy, one.reason) == (other.strategy, other.reason)


def test_dead_rows_are_never_found(directory, rows, tmp_path):
    x, labels, queries = rows
    shutil.copytree(directory, tmp_path / "db")
    with Engine.open(tmp_path / "db") as engine:
        gone = np.flatnonzero(labels == 1)[::3]
        engine.commit(WriteBatch([DeleteRows("c", [f"r{n}" for n in gone])]))
        view = engine.snapshot().collection("c")
        mask = (labels == 1) & view.live()
        share, strategies = recall(view, queries, mask, x)
        assert share >= 0.99 and strategies == {"filter_graph"}


def test_where_walks_between_clusters_get_lost_the_measurement_says_so(tmp_path):
    g = np.random.default_rng(1)
    cluster = g.integers(0, 60, 6_060)
    points = (g.normal(size=(60, D))[cluster] + 0.4 * g.normal(size=(6_060, D))).astype(np.float32)
    x, labels = points[:6_000], (cluster % 2)[:6_000]
    with Engine.open(tmp_path / "db") as engine:
        engine.commit(WriteBatch([CreateCollection(CollectionSchema("c", "c" * 32, D, Metric.L2, graph=OPTIONS))]))
        engine.commit(WriteBatch([PutRows("c", [str(n) for n in range(6_000)], x, metadata=table(labels))]))
        engine.build_filter_graph("c", "label")
        view = engine.snapshot().collection("c")
        narrow, _ = recall(view, points[6_000:], labels == 1, x, ef=16)
        share, _ = recall(view, points[6_000:], labels == 1, x)
        assert narrow < 0.95 and share >= 0.99


def test_they_live_with_the_graph_and_can_be_given_up(rows, tmp_path):
    x, labels, queries = (part[:3_000] for part in rows)
    with Engine.open(tmp_path / "db") as engine:
        engine.commit(WriteBatch([CreateCollection(CollectionSchema("c", "c" * 32, D, Metric.L2, graph=OPTIONS))]))
        engine.commit(WriteBatch([PutRows("c", [f"r{n}" for n in range(3_000)], x, metadata=table(labels))]))
        engine.build_filter_graph("c", "label")
        engine.commit(WriteBatch([PutRows("c", [f"s{n}" for n in range(3_000)], x, metadata=table(labels))]))
        engine.build_graphs("c")  # over all 6,000
        assert engine.snapshot().collection("c").filter_graphs == ("label",)
        assert not engine.verify()
    with Engine.open(tmp_path / "db") as engine:
        [(_, file)] = engine.snapshot().states()[0].rows.layout.chunks[0].graph.file.filters
        assert (tmp_path / "db" / file.name).exists()
        view = engine.snapshot().collection("c")
        mask = np.isin(np.concatenate([labels, labels]), [1, 2])
        assert compiled_code.process.load()
        assert view.search(queries[0], 5, mask=mask, ef=12).strategy == "filter_graph"
        assert engine.drop_filter_graph("c", "label") and not engine.drop_filter_graph("c", "label")
        assert engine.snapshot().collection("c").filter_graphs == ()
        engine.vacuum()
        assert not (tmp_path / "db" / file.name).exists()


def test_a_damaged_file_is_named_and_done_without(directory, rows, tmp_path):
    shutil.copytree(directory, tmp_path / "db")
    [file] = (tmp_path / "db" / "idx").glob("*.filter")
    stored = bytearray(file.read_bytes())
    stored[len(stored) // 2] ^= 1
    file.write_bytes(bytes(stored))
    with Engine.open(tmp_path / "db", read_only=True) as engine:
        view = engine.snapshot().collection("c")
        share, strategies = recall(view, rows[2][:5], rows[1] == 3, rows[0], ef=64)
        assert "filter_graph" not in strategies and share >= 0.9
        assert [one.file for one in engine.verify()] == [f"idx/{file.name}"]


def test_what_cannot_be_connected_is_refused(tmp_path):
    with Engine.open(tmp_path / "db") as engine:
        engine.commit(WriteBatch([CreateCollection(CollectionSchema("c", "c" * 32, 2, Metric.L2, graph=OPTIONS))]))
        with pytest.raises(UnknownColumnError, match="'label'"):
            engine.build_filter_graph("c", "label")
        count = MAX_VALUES + 1
        vectors = np.random.default_rng(0).normal(size=(count, 2)).astype(np.float32)
        columns = pa.table({"each": np.arange(count), "some": [[1]] * count, "none": pa.nulls(count)})
        engine.commit(WriteBatch([PutRows("c", [str(n) for n in range(count)], vectors, metadata=columns)]))
        with pytest.raises(InvalidArgumentError, match=str(count)):
            engine.build_filter_graph("c", "each")
        with pytest.raises(InvalidArgumentError, match="'some'"):
            engine.build_filter_graph("c", "some")
        assert engine.snapshot().collection("c").filter_graphs == ()
        engine.build_filter_graph("c", "none")  # null is a value
        assert engine.snapshot().collection("c").filter_graphs == ("none",)


def small():
    def ring(rows):
        links = np.array([[(n + 1) % len(rows)] for n in range(len(rows))], np.int32)
        return Graph(links=links, levels=np.zeros(len(rows), np.uint8), upper=np.empty((0, 1), np.int32), entry=0)

    return join_graphs("k", np.array([0, 1, 0, 1, 1], np.int32), ring)


def test_links_stay_within_a_value():
    graph = small()
    assert graph.graph.links.tolist() == [[2], [3], [0], [4], [1]]
    assert graph.entries.tolist() == [0, 1] and graph.counts.tolist() == [2, 3]
    passage = graph.passage(np.array([False, False, False, True, False]))
    assert passage.rows == 3 and passage.values == 1 and passage.starts.tolist() == [1, 1, 0]
    assert passage.cover.tolist() == [False, True, False, True, True]


def test_any_changed_byte_is_noticed():
    stored = small().to_bytes()
    again = FilterGraph.from_buffer(stored)
    assert again.to_bytes() == stored and again.column == "k"
    for at in range(0, len(stored), 7):
        broken = bytearray(stored)
        broken[at] ^= 4
        with pytest.raises(DamagedError):
            FilterGraph.from_buffer(bytes(broken))
    with pytest.raises(DamagedError):
        FilterGraph.from_buffer(stored[:50])


def test_an_entry_of_another_value_is_refused():
    graph = small()
    with pytest.raises(ValueError, match="entry"):
        dataclasses.replace(graph, entries=np.array([1, 0]))
