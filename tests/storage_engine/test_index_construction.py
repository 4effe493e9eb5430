"""Our own builder: the same graph whatever the threads, as good as hnswlib's, and every row can be reached."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from storage_engine import compiled_code
from storage_engine.errors import InvalidArgumentError
from storage_engine.index import construction, construction_kernel
from storage_engine.index.builder import Builder, build_graph
from storage_engine.index.codes import encode
from storage_engine.index.construction import draw_levels
from storage_engine.index.graph import Graph
from storage_engine.index.walker import Walker
from storage_engine.schema import GraphOptions, Metric
from storage_engine.vectors.distance import exact_top_k

OPTIONS = GraphOptions(m=8, ef_construction=60)


def clustered(n, d, seed=0, spread=0.5, centres=40):
    g = np.random.default_rng(seed)
    return (g.normal(size=(centres, d))[g.integers(0, centres, n)] + spread * g.normal(size=(n, d))).astype(np.float32)


def norms_of(x):
    return np.linalg.norm(x, axis=1).astype(np.float32)


def built(x, metric=Metric.L2, options=OPTIONS, **named):
    return build_graph(x, norms_of(x), metric, options, **named)


def lost(graph: Graph) -> int:
    """How many rows no walk from the entry can reach at level 0."""
    reached = np.zeros(graph.rows, np.bool_)
    construction_kernel.reach(np.ascontiguousarray(graph.links), graph.entry, reached, np.empty(graph.rows, np.int64))
    return int(np.count_nonzero(~reached))


def recall(graph, x, queries, metric, top_k, ef):
    """The share of the best rows found; rows as good as the last of them count."""
    norms = norms_of(x)
    walker, sign = Walker(graph, x, norms, metric), 1 if metric is Metric.L2 else -1
    shares = []
    for query in queries:
        bar = sign * exact_top_k(query, x, top_k, metric, norms).scores[-1]
        shares.append(np.count_nonzero(sign * walker.search(query, top_k, ef).ranked.scores <= bar) / top_k)
    return float(np.mean(shares))


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("d", [6, 40])
def test_the_graph_does_not_depend_on_the_threads(metric, d):
    x = clustered(5000, d)
    one, two, five = (built(x, metric, threads=threads).to_bytes() for threads in (1, 2, 5))
    assert one == two == five
    assert built(x, metric, GraphOptions(m=8, ef_construction=60, seed=1)).to_bytes() != one


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize(("d", "spread"), [(6, 0.5), (48, 0.4), (96, 1.0)])
def test_recall_is_that_of_hnswlib_at_equal_breadth(metric, d, spread):
    whole = clustered(6600, d, spread=spread)
    x, queries = whole[:6000], whole[6000:]
    ours, theirs = (built(x, metric, builder=builder) for builder in (Builder.ROUNDS, Builder.HNSWLIB))
    assert np.isclose((ours.links >= 0).sum(), (theirs.links >= 0).sum(), rtol=0.1)  # no dearer to walk either
    for ef in (20, 40, 80):
        pair = [recall(graph, x, queries, metric, 10, ef) for graph in (ours, theirs)]
        assert pair[0] > pair[1] - 0.006, (ef, pair)


@pytest.mark.parametrize("metric", list(Metric))
def test_every_row_can_be_reached(metric):
    for n, d in ((2, 1), (3, 2), (700, 1), (4000, 12), (4000, 64)):
        assert lost(built(clustered(n, d, centres=3, spread=0.05), metric)) == 0, (n, d)


def test_equal_rows_hang_together():
    g = np.random.default_rng(3)
    same, others = g.normal(size=(1, 40)), g.normal(size=(3000, 40))
    x = np.concatenate([np.repeat(same, 2000, 0), others]).astype(np.float32)[g.permutation(5000)]
    graph = built(x)
    assert lost(graph) == 0
    copies = np.flatnonzero((x == same.astype(np.float32)).all(axis=1))
    found = Walker(graph, x, None, Metric.L2).search(x[copies[0]], 1000, 1000).ranked
    assert np.isin(found.positions, copies).sum() == 1000
    assert recall(graph, x, g.normal(size=(200, 40)).astype(np.float32), Metric.L2, 10, 60) >= 0.9  # hnswlib: 0.7
    outward = np.setdiff1d(graph.links[copies].ravel(), copies)
    assert outward.size >= OPTIONS.m + 1  # -1 is among them: copies did not crowd out all else


@pytest.mark.parametrize("distinct", [1, 2, 50])
@pytest.mark.parametrize("metric", list(Metric))
def test_few_different_rows(metric, distinct):
    x = np.repeat(clustered(distinct, 33), 3000 // distinct, axis=0)
    graph = built(x, metric, GraphOptions(m=4, ef_construction=20))
    assert lost(graph) == 0
    assert len(Walker(graph, x, norms_of(x), metric).search(x[0], 10, 50).ranked.positions) == 10


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize(("n", "d"), [(1, 1), (2, 1), (5, 40), (40, 2048), (300, 1), (1500, 2048)])
def test_tiny_and_wide(metric, n, d):
    x = clustered(n, d, centres=2)
    graph = built(x, metric, GraphOptions(ef_construction=50), threads=3)
    assert Graph.from_buffer(graph.to_bytes()).to_bytes() == graph.to_bytes()
    assert recall(graph, x, x[:20], metric, 1, 50) >= 0.9


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("size", [1e-30, 1e18, 3e38])
def test_numbers_beyond_what_squares_can_hold(metric, size):
    x = np.sign(clustered(600, 40)) * np.float32(size)
    x[::2] = clustered(300, 40)
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        norms = np.maximum(np.sqrt(np.square(x.astype(np.float64)).sum(axis=1)), 1e-30)
        norms = np.minimum(norms, 3e38).astype(np.float32)
        graph = build_graph(x, norms, metric, GraphOptions(m=4, ef_construction=10), threads=2)
    assert graph.rows == 600


def test_wide_ranges_within_a_row_take_a_step_for_each_dimension():
    x = clustered(5000, 64, spread=1.0) * np.geomspace(1, 1e-3, 64, dtype=np.float32)
    x[:, 32:] *= 1000
    codes = encode(x, None, True, OPTIONS.seed)
    assert codes is not None
    ours, theirs = (built(x, builder=builder) for builder in (Builder.ROUNDS, Builder.HNSWLIB))
    queries = x[:400] + np.float32(0.01)
    assert recall(ours, x, queries, Metric.L2, 10, 40) >= recall(theirs, x, queries, Metric.L2, 10, 40) - 0.005


def test_norms_of_their_own_join_two_orders():
    x = clustered(5000, 40)
    ones = np.ones(5000, np.float32)
    steps = []
    graph = build_graph(x, ones, Metric.COSINE, OPTIONS, progress=lambda done, of: steps.append((done, of)))
    assert {of for _, of in steps} == {10_000}
    assert steps[-1] == (10_000, 10_000)
    assert graph.links.shape[1] == 4 * OPTIONS.m
    walker = Walker(graph, x, ones, Metric.COSINE)
    shares = []
    for query in clustered(100, 40, seed=4):
        truth = exact_top_k(query, x, 10, Metric.COSINE, ones).positions
        shares.append(len(set(walker.search(query, 10, 80).ranked.positions) & set(truth)) / 10)
    assert np.mean(shares) >= 0.9


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("dtype", [np.float16, np.int8])
@pytest.mark.parametrize("d", [10, 40])
def test_stored_types_are_built_upon_as_the_float32_numbers_they_stand_for(metric, dtype, d):
    x = (10 * clustered(1500, d)).astype(dtype)
    wide = x.astype(np.float32)
    stored, plain = (build_graph(rows, norms_of(wide), metric, OPTIONS) for rows in (x, wide))
    assert stored.to_bytes() == plain.to_bytes()


def test_levels_are_drawn_geometrically():
    levels = draw_levels(100_000, 16, 3)
    assert (draw_levels(100_000, 16, 3) == levels).all()
    assert (draw_levels(100_000, 16, 4) != levels).any()
    for level in (1, 2, 3):
        assert np.count_nonzero(levels >= level) == pytest.approx(100_000 / 16**level, rel=0.3)


@pytest.mark.parametrize("threads", [1, 3])
def test_what_progress_raises_ends_all_threads_soon(threads):
    class StopBuildError(Exception):
        pass

    x = clustered(20_000, 64)
    seen = []

    def stop(done, of):
        seen.append(done)
        if done > 3000:
            stopped.append(time.perf_counter())
            raise StopBuildError

    stopped: list[float] = []
    with pytest.raises(StopBuildError):
        built(x, threads=threads, progress=stop)
    assert time.perf_counter() - stopped[0] < 1.0
    assert max(seen) < 4000
    assert not [one for one in threading.enumerate() if one.name.startswith("qstore-build")]


@pytest.mark.parametrize("threads", [1, 3])
def test_a_round_that_is_ended_leaves_its_other_blocks(threads, monkeypatch):
    class StopBuildError(Exception):
        pass

    blocks, at_stop = [], []
    connect = construction_kernel.connect

    def counted(*arguments):
        blocks.append(1)
        connect(*arguments)

    def stop(done, of):
        if len(blocks) >= 200 and not at_stop:  # in the middle of a round
            at_stop.append(len(blocks))
            raise StopBuildError

    monkeypatch.setattr(construction_kernel, "connect", counted)
    monkeypatch.setattr(construction, "ROUND_SHARE", 1)  # one round of thousands of rows
    with pytest.raises(StopBuildError):
        built(clustered(20_000, 64), threads=threads, progress=stop)
    assert len(blocks) - at_stop[0] <= 2 * threads


def test_progress_counts_up_to_all_rows():
    steps = []
    built(clustered(3000, 35), progress=lambda done, of: steps.append((done, of)))
    done = [rows for rows, _ in steps]
    assert done == sorted(done)
    assert {of for _, of in steps} == {3000}
    assert done[-1] == 3000
    assert 2872 in done  # 128 rows wait, to be queries
    assert np.diff(done).max() <= 3000 // construction.ROUND_SHARE


def test_a_search_number_that_runs_over_forgets_old_visits(monkeypatch):
    x = clustered(900, 8)
    expected = built(x).to_bytes()
    worker = construction._Worker.__init__

    def nearly_over(self, fixed):
        worker(self, fixed)
        self.table[construction_kernel.EPOCH] = 2**16 - 100

    monkeypatch.setattr(construction._Worker, "__init__", nearly_over)
    assert built(x).to_bytes() == expected


def test_without_compiled_code_hnswlib_builds(monkeypatch):
    x = clustered(2000, 20)
    monkeypatch.setattr(compiled_code.process, "load", lambda: False)
    graph = built(x)
    with pytest.raises(InvalidArgumentError, match="Compiled code"):
        built(x, builder=Builder.ROUNDS)
    monkeypatch.undo()
    assert (graph.links == built(x, builder=Builder.HNSWLIB).links).all()
    assert recall(graph, x, x[:50], Metric.L2, 5, 60) > 0.95
