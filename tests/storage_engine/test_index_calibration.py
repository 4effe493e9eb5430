"""The calibration: measured on rows that the graph did not know, honest, and the same each time."""

from __future__ import annotations

import hnswlib
import numpy as np
import pytest

from storage_engine.index import recall_measuring as module
from storage_engine.index.builder import build_graph
from storage_engine.index.calibration import EFS, TOPS, Calibration
from storage_engine.index.hnswlib_builder import frozen
from storage_engine.index.recall_measuring import MINIMUM_ROWS, QUERIES, calibrate, held_out
from storage_engine.index.walker import Walker
from storage_engine.schema import GraphOptions, Metric
from storage_engine.vectors.distance import exact_top_k


def rows(n=3000, d=40, seed=0):
    g = np.random.default_rng(seed)
    return (g.normal(size=(30, d))[g.integers(0, 30, n)] + 0.5 * g.normal(size=(n, d))).astype(np.float32)


def test_the_rows_that_wait_are_drawn_by_the_seed():
    last = held_out(5000, 7)
    assert last.tolist() == held_out(5000, 7).tolist() != held_out(5000, 8).tolist()
    assert len(set(last.tolist())) == QUERIES // 2
    assert held_out(200 * 150, 0).size == 150
    assert held_out(10**6, 0).size == QUERIES
    assert (np.diff(last) > 0).all()
    assert held_out(MINIMUM_ROWS, 0).size == MINIMUM_ROWS // 8
    assert held_out(MINIMUM_ROWS - 1, 0).size == 0


def test_a_graph_without_some_rows_never_leads_to_them():
    x = rows()
    last = held_out(3000, 1)
    index = hnswlib.Index(space="l2", dim=40)
    index.init_index(max_elements=3000, M=5, ef_construction=40, random_seed=1)
    known = np.delete(np.arange(3000), last)
    index.add_items(x[known], known, num_threads=4)
    graph = frozen(index.__getstate__()[0], 5, 3000)
    assert graph.rows == 3000
    assert not np.isin(graph.links, last).any()
    assert not np.isin(graph.upper, last).any()
    assert (graph.links[last] == -1).all()
    walker = Walker(graph, x, None, Metric.L2)
    for query in x[last[:20]]:
        found = walker.search(query, 10, 60).ranked.positions
        assert found.tolist() == index.knn_query(query, 10, num_threads=1)[0][0].tolist() or len(found) == 10
        assert not np.isin(found, last).any()


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("d", [20, 40])
def test_the_curves_are_what_walks_really_find(metric, d):
    x = rows(d=d)
    norms = np.linalg.norm(x, axis=1).astype(np.float32)
    known = build_graph(x, norms, metric, GraphOptions(m=6, ef_construction=40)).calibration
    tried = ~np.isnan(known.recall)
    assert tried[0, 0]
    assert (tried == ~np.isnan(known.compared)).all()
    assert (np.diff(known.compared[0, tried[0]]) >= 0).all()
    assert (known.recall[tried] < 1).all()  # a finite sample proves no perfection
    # other rows as queries, the whole graph: the limit is kept, and not far too low
    graph = build_graph(x, norms, metric, GraphOptions(m=6, ef_construction=40))
    walker = Walker(graph, x, norms, metric)
    queries = rows(300, d, seed=0)[:300] + 0.3 * np.random.default_rng(5).normal(size=(300, d)).astype(np.float32)
    for place in np.flatnonzero(tried[0])[:3]:
        shares = []
        for query in queries:
            truth = exact_top_k(query, x, 10, metric, norms).positions
            found = walker.search(query, 10, EFS[place]).ranked.positions
            shares.append(len(set(found) & set(truth)) / 10)
        assert known.recall[0, place] - 0.02 <= np.mean(shares) <= known.recall[0, place] + 0.12


@pytest.mark.parametrize("d", [20, 40])
def test_one_seed_gives_the_same_calibration_whatever_the_threads(d):
    x, options = rows(d=d), GraphOptions(m=5, ef_construction=30)
    one, two = (build_graph(x, None, Metric.L2, options, threads).calibration for threads in (1, 3))
    assert one.recall.tobytes() == two.recall.tobytes()
    assert one.compared.tobytes() == two.compared.tobytes()


def test_zero_rows_ask_for_nothing_under_cosine():
    x = rows()
    x[:] = 0
    graph = build_graph(x, np.ones(3000, np.float32), Metric.COSINE, GraphOptions(m=4, ef_construction=10))
    assert np.isnan(graph.calibration.recall).all()
    assert graph.calibration.ef_for(0.9, 10) is None
    assert graph.calibration.best_ef(10) is None
    assert graph.calibration.rows_compared(50) is None


def test_few_rows_are_not_calibrated():
    assert build_graph(rows(MINIMUM_ROWS - 1), None, Metric.L2, GraphOptions()).calibration is None


def test_a_wider_spread_lowers_the_limit():
    assert module.lower_limit([1.0] * 100, 10) == pytest.approx(1 - 1 / 1000)
    even, uneven = module.lower_limit([0.9] * 100, 10), module.lower_limit([1.0] * 90 + [0.0] * 10, 10)
    assert even == pytest.approx(0.9 - 1 / 1000)
    assert uneven == pytest.approx(0.9 - 1.645 * 0.3 / 10)


@pytest.mark.parametrize("threads", [1, 3])
def test_what_stops_the_build_stops_the_calibration(threads):
    x = rows()
    graph = build_graph(x, None, Metric.L2, GraphOptions(m=5, ef_construction=30))

    class StopError(Exception):
        pass

    def stop():
        raise StopError

    with pytest.raises(StopError):
        calibrate(Walker(graph, x, None, Metric.L2), x, None, held_out(3000, 1), stop, threads)


def test_shapes_must_fit():
    good = np.zeros((len(TOPS), len(EFS)), np.float32)
    with pytest.raises(ValueError, match="calibration"):
        Calibration(good[:1], good)
    with pytest.raises(ValueError, match="calibration"):
        Calibration(good, good.astype(np.float64))
