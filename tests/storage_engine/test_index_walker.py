"""The walk: as good as hnswlib's own on the same data, the same scores as the exact road, safe in many threads."""

from __future__ import annotations

import threading

import hnswlib
import numpy as np
import pytest

from storage_engine.errors import InvalidArgumentError
from storage_engine.index import walk_table
from storage_engine.index.builder import Builder, build_graph
from storage_engine.index.graph import Graph
from storage_engine.index.recall_measuring import held_out
from storage_engine.index.walk_rules import TOGETHER
from storage_engine.index.walker import Walker, prepare
from storage_engine.schema import GraphOptions, Metric
from storage_engine.vectors.distance import exact_top_k

OPTIONS = GraphOptions(ef_construction=100)
N, D = 6000, 40


def clustered(seed=0, n=N, d=D, queries=150):
    g = np.random.default_rng(seed)
    centres = g.normal(size=(60, d))
    whole = centres[g.integers(0, 60, n + queries)] + 0.35 * g.normal(size=(n + queries, d))
    return whole[:n].astype(np.float32), whole[n:].astype(np.float32)


class Made:
    """One metric's data, graph, walker and truth."""

    def __init__(self, metric, codes):
        self.metric = metric
        self.x, self.queries = clustered()
        self.norms = np.linalg.norm(self.x, axis=1).astype(np.float32)
        self.graph = build_graph(self.x, self.norms, metric, OPTIONS, codes=codes)
        assert (self.graph.codes is not None) == codes
        self.walker = Walker(self.graph, self.x, self.norms, metric)

    def exact(self, query, k, mask=None):
        return exact_top_k(query, self.x, k, self.metric, self.norms, mask)


@pytest.fixture(scope="module", params=[(metric, codes) for metric in Metric for codes in (False, True)], ids=str)
def made(request):
    return Made(*request.param)


def share(found, truth):
    return len(set(found) & set(truth)) / len(truth)


def test_recall_is_that_of_hnswlib_at_equal_ef(made):
    theirs = hnswlib.Index(space={"l2": "l2", "cosine": "cosine", "ip": "ip"}[made.metric], dim=D)
    theirs.init_index(N, M=OPTIONS.m, ef_construction=OPTIONS.ef_construction, random_seed=OPTIONS.seed)
    last = held_out(N, OPTIONS.seed)
    order = np.concatenate([np.delete(np.arange(N), last), last])  # the order in which ours was built
    theirs.add_items(made.x[order], order, num_threads=1)
    coded = made.graph.codes is not None
    graph = build_graph(made.x, made.norms, made.metric, OPTIONS, codes=coded, builder=Builder.HNSWLIB)
    walker = Walker(graph, made.x, made.norms, made.metric)
    for ef in (10, 20, 50):
        theirs.set_ef(ef)
        ours, peer = [], []
        for query in made.queries:
            truth = made.exact(query, 10).positions
            ours.append(share(walker.search(query, 10, ef).ranked.positions, truth))
            peer.append(share(theirs.knn_query(query, 10, num_threads=1)[0][0], truth))
        # the same graph: float32 may round differently, codes do
        assert np.mean(ours) >= np.mean(peer) - (0.005 if coded else 0.002), ef
        assert np.mean(ours) > 0.9


def test_scores_are_those_of_the_exact_road_to_the_bit(made):
    for query in made.queries[:50]:
        walk = made.walker.search(query, 10, 200)
        truth = made.exact(query, N)
        expected = dict(zip(truth.positions.tolist(), truth.scores.tolist(), strict=True))
        found = walk.ranked
        assert found.positions.dtype == np.int64
        assert found.scores.tolist() == [expected[row] for row in found.positions.tolist()]
        if set(found.positions) == set(truth.positions[:10]):
            assert found.positions.tolist() == truth.positions[:10].tolist()


@pytest.mark.parametrize("fraction", [0.001, 0.02, 0.3, 0.99])
def test_a_mask_is_kept_inside_the_walk(made, fraction):
    mask = np.random.default_rng(3).random(N) < fraction
    recalls = []
    for query in made.queries[:40]:
        walk = made.walker.search(query, 10, 60, mask)
        assert not walk.exhausted
        assert mask[walk.ranked.positions].all()
        truth = made.exact(query, 10, mask).positions
        recalls.append(share(walk.ranked.positions, truth))
    assert np.mean(recalls) > 0.97


def test_a_mask_of_everything_is_no_mask(made):
    for query in made.queries[:30]:
        plain = made.walker.search(query, 10, 80)
        masked = made.walker.search(query, 10, 80, np.ones(N, np.bool_))
        assert plain.ranked.positions.tolist() == masked.ranked.positions.tolist()


def test_the_budget_ends_a_walk(made):
    mask = np.zeros(N, np.bool_)
    mask[:20] = True
    walk = made.walker.search(made.queries[0], 10, 60, mask, 300)
    assert walk.exhausted
    assert 300 < walk.compared <= 300 + TOGETHER * 2 * OPTIONS.m
    assert not made.walker.search(made.queries[0], 10, 60, mask, 10**9).exhausted


def test_empty_masks_and_large_ef(made):
    none = made.walker.search(made.queries[0], 10, 60, np.zeros(N, np.bool_))
    assert none.ranked.positions.size == 0
    everything = made.walker.search(made.queries[0], N + 5, 1)
    assert everything.ranked.positions.size >= 0.99 * N
    assert len(set(everything.ranked.positions.tolist())) == everything.ranked.positions.size
    small = made.walker.search(made.queries[0], 3, 3)  # after a large one: old keys must not show
    assert small.ranked.positions.size == 3


def test_many_threads_give_what_one_gives(made):
    mask = np.random.default_rng(9).random(N) < 0.5
    alone = [(made.walker.search(q, 10, 40).ranked, made.walker.search(q, 5, 30, mask).ranked) for q in made.queries]
    wrong = []

    def run():
        for _ in range(3):
            for query, (plain, masked) in zip(made.queries, alone, strict=True):
                again = made.walker.search(query, 10, 40).ranked
                other = made.walker.search(query, 5, 30, mask).ranked
                if not (
                    np.array_equal(again.positions, plain.positions) and np.array_equal(other.scores, masked.scores)
                ):
                    wrong.append(query)

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_visits_are_forgotten_when_their_number_wraps_round(made):
    first = made.walker.search(made.queries[0], 10, 40).ranked.positions.tolist()
    scratch = made.walker._idle[-1]
    scratch.seen[:] = 1  # as if the first search of the last round had met every row
    scratch.parameters[walk_table.EPOCH] = 2**16 - 1
    assert made.walker.search(made.queries[0], 10, 40).ranked.positions.tolist() == first
    assert scratch.epoch == 1


@pytest.mark.parametrize("d", [1, 2, 15, 16, 17, 33, 64, 100])
@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("codes", [False, True])
def test_any_dimension_without_reading_past_the_end(d, metric, codes):
    g = np.random.default_rng(d)
    x = g.normal(size=(400, d)).astype(np.float32)
    fenced = np.full(400 * d + 64, np.nan, np.float32)  # NaN behind the last row would spoil what reads it
    fenced[: 400 * d] = x.ravel()
    view = fenced[: 400 * d].reshape(400, d)
    norms = np.linalg.norm(x, axis=1).astype(np.float32)
    walker = Walker(build_graph(x, norms, metric, OPTIONS, codes=codes), view, norms, metric)
    for query in g.normal(size=(10, d)).astype(np.float32):
        walk = walker.search(query, 5, 400)
        truth = exact_top_k(query, x, 5, metric, norms)
        assert np.isfinite(walk.ranked.scores).all()
        assert walk.ranked.scores.tolist() == truth.scores.tolist()


def test_rows_shorter_than_their_norm_are_reached():
    g = np.random.default_rng(4)
    units = g.normal(size=(8000, 24)) + 2 * g.normal(size=(20, 24))[g.integers(0, 20, 8000)]
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    x = (units[:4000] * g.uniform(0.1, 1, size=(4000, 1))).astype(np.float32)  # sums of branches look like this
    ones = np.ones(4000, np.float32)
    steps = []
    graph = build_graph(x, ones, Metric.COSINE, OPTIONS, progress=lambda done, of: steps.append((done, of)))
    assert steps[-1] == (8000, 8000)
    assert graph.links.shape[1] == 4 * OPTIONS.m
    walker = Walker(graph, x, ones, Metric.COSINE)
    queries = units[4000:4050].astype(np.float32)
    recalls = []
    for query in queries:
        truth = exact_top_k(query, x, 100, Metric.COSINE, ones).positions
        recalls.append(share(walker.search(query, 100, 200).ranked.positions, truth))
    assert np.mean(recalls) > 0.97


def test_ties_come_in_order_of_row():
    x = np.repeat(np.eye(4, 8, dtype=np.float32), 5, axis=0)
    walker = Walker(build_graph(x, None, Metric.L2, OPTIONS), x, None, Metric.L2)
    assert walker.search(x[7], 5, 20).ranked.positions.tolist() == [5, 6, 7, 8, 9]


def test_scores_that_become_equal_only_in_float64_come_in_order_of_row():
    g = np.random.default_rng(0)
    direction = g.normal(size=40)
    x = (direction * g.uniform(0.5, 2, size=(60, 1))).astype(np.float32)  # cosines of 1, give or take a rounding
    norms = np.linalg.norm(x, axis=1).astype(np.float32)
    query = direction.astype(np.float32)
    walker = Walker(build_graph(x, norms, Metric.COSINE, OPTIONS, codes=False), x, norms, Metric.COSINE)
    truth = exact_top_k(query, x, 60, Metric.COSINE, norms)
    assert len(set(truth.scores.tolist())) < 60
    walk = walker.search(query, 60, 60).ranked
    assert walk.positions.tolist() == truth.positions.tolist()


def test_a_graph_read_back_from_bytes_answers_the_same(made):
    again = Walker(Graph.from_buffer(made.graph.to_bytes()), made.x, made.norms, made.metric)
    for query in made.queries[:20]:
        one, two = made.walker.search(query, 10, 30), again.search(query, 10, 30)
        assert one.ranked.positions.tolist() == two.ranked.positions.tolist()
        assert one.compared == two.compared


def test_what_does_not_fit_is_refused(made):
    with pytest.raises(InvalidArgumentError):
        Walker(made.graph, made.x[:-1], made.norms, made.metric)
    with pytest.raises(InvalidArgumentError):
        Walker(made.graph, made.x.astype(np.float64), made.norms, made.metric)
    with pytest.raises(InvalidArgumentError):
        Walker(made.graph, np.asfortranarray(made.x), made.norms, made.metric)
    with pytest.raises(InvalidArgumentError):
        Walker(made.graph, made.x, None, Metric.COSINE)
    if made.graph.codes is not None:
        with pytest.raises(InvalidArgumentError, match="codes of 40 dimensions"):
            Walker(made.graph, np.zeros((N, D + 1), np.float32), np.ones(N, np.float32), made.metric)
    query = made.queries[0]
    for bad in ((query[:-1], 5, 10), (query.astype(np.float64), 5, 10), (query, 0, 10)):
        with pytest.raises(InvalidArgumentError):
            made.walker.search(*bad)
    for mask in (np.ones(N - 1, np.bool_), np.ones(N, np.uint8), np.ones(2 * N, np.bool_)[::2]):
        with pytest.raises(InvalidArgumentError):
            made.walker.search(query, 5, 10, mask)


def test_preparing_compiles_without_data():
    prepare()
