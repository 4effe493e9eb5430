"""How a filter lies to the vectors: the same by compiled code and in NumPy, and nothing that ends a search."""

from __future__ import annotations

import numpy as np
import pytest

from storage_engine.errors import DamagedError
from storage_engine.index.builder import build_graph
from storage_engine.index.likeness import likeness, sampled_rows
from storage_engine.index.mapped_graph import MappedGraph
from storage_engine.index.nearest import Piece
from storage_engine.index.portable_walk import PortableWalker
from storage_engine.index.walker import Walker
from storage_engine.schema import GraphOptions, Metric

N, D = 5_000, 32


@pytest.fixture(scope="module")
def made():
    g = np.random.default_rng(3)
    label = g.integers(0, 10, N)
    x = (4 * g.normal(size=(10, D))[label] + g.normal(size=(N, D))).astype(np.float32)
    return x, label, build_graph(x, None, Metric.L2, GraphOptions(ef_construction=60))


@pytest.mark.parametrize("n", [1, 7, 31, 32, 100, 255, 256, 257, 5_000, 1_000_003])
def test_a_sample_is_of_distinct_rows_from_everywhere(n):
    rows = sampled_rows(n)
    assert (np.diff(rows) > 0).all()
    assert 0 == rows[0] <= rows[-1] < n
    assert rows.size == min(n, 256) if n <= 32 or n >= 257 else rows.size >= 32
    if n > 1000:
        assert rows[-1] > 0.9 * n


def test_chance_is_one_and_clusters_of_their_own_are_zero(made):
    x, label, graph = made
    walker = Walker(graph, x, None, Metric.L2)
    g = np.random.default_rng(0)
    for share in (0.1, 0.5, 0.9):
        mask = g.random(N) < share
        assert 0.75 < Piece(x, None, Metric.L2, walker, mask).likeness() < 1.25
    for labels in ([1], [1, 2, 3, 4, 5], list(range(9))):
        assert Piece(x, None, Metric.L2, walker, np.isin(label, labels)).likeness() < 0.2
    assert Piece(x, None, Metric.L2, walker, None).likeness() == 1
    assert Piece(x, None, Metric.L2, walker, np.zeros(N, np.bool_)).likeness() == 1
    assert Piece(x, None, Metric.L2, None, label == 1).likeness() == 1


def test_links_that_lead_nowhere_say_nothing():
    none = np.full((3, 4), -1, np.int32)
    assert likeness(np.array([True, False, False, True]), 2, np.array([0, 1, 2]), none) == 1
    some = np.array([[1, 2], [0, -1], [0, 3]], np.int32)  # of rows 1 and 2, which do not match: 0, 0 and 3
    assert likeness(np.array([True, False, False, True]), 2, np.array([0, 1, 2]), some) == 2


def test_numpy_and_compiled_code_say_the_same_and_damage_is_noticed(made):
    x, label, graph = made
    data = graph.to_bytes()
    portable = PortableWalker(MappedGraph(data, "graph"), x, None, Metric.L2)
    compiled = Walker(graph, x, None, Metric.L2)
    for labels in ([0], [2, 3, 4], [0, 1, 2, 3, 4, 5, 6, 7]):
        mask = np.isin(label, labels)
        assert portable.likeness(mask, int(mask.sum())) == compiled.likeness(mask, int(mask.sum()))
    broken = bytearray(data)
    broken[data.index(graph.links[2_500].tobytes())] ^= 1
    damaged = PortableWalker(MappedGraph(bytes(broken), "graph"), x, None, Metric.L2)
    with pytest.raises(DamagedError):
        damaged.likeness(label == 0, 1)
