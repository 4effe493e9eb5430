"""The planner's choices, and the promise that no answer is short whatever it chooses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage_engine.errors import InvalidArgumentError, InvalidVectorError
from storage_engine.index.builder import build_graph
from storage_engine.index.graph import Graph
from storage_engine.index.nearest import nearest
from storage_engine.index.planner import choose, default_ef, walk_cost
from storage_engine.index.walker import Walker
from storage_engine.schema import GraphOptions, Metric
from storage_engine.vectors.distance import exact_top_k

N, D = 8000, 32


@pytest.fixture(scope="module", params=list(Metric))
def made(request):
    g = np.random.default_rng(2)
    labels = g.integers(0, 10, N)
    x = (3 * g.normal(size=(10, D))[labels] + g.normal(size=(N, D))).astype(np.float32)
    norms = np.linalg.norm(x, axis=1).astype(np.float32)
    graph = build_graph(x, norms, request.param, GraphOptions(ef_construction=80))
    return request.param, x, norms, Walker(graph, x, norms, request.param), labels


@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.01, 0.1, 0.3, 0.6, 0.9, 0.999, 1.0])
@pytest.mark.parametrize("k", [1, 10, 100])
def test_never_a_row_short(made, fraction, k):
    metric, x, norms, walker, _ = made
    g = np.random.default_rng(int(1000 * fraction) + k)
    recalls, roads = [], set()
    for _ in range(20):
        mask = g.random(N) < fraction
        query = x[g.integers(N)] + 0.1 * g.normal(size=D).astype(np.float32)
        answer = nearest(query, x, norms, metric, k, walker=walker, mask=mask)
        found = answer.ranked.positions
        assert found.size == min(k, mask.sum()) == len(set(found.tolist()))
        assert mask[found].all()
        truth = exact_top_k(query, x, k, metric, norms, mask)
        if truth.positions.size:
            recalls.append(len(set(found) & set(truth.positions)) / truth.positions.size)
        roads.add(answer.strategy)
    assert not recalls or np.mean(recalls) >= 0.97
    if fraction == 1.0 and k < 100:
        assert roads == {"graph"}
    if fraction <= 0.01:
        assert roads == {"exact_rows"}


def test_a_mask_that_follows_the_clusters_is_never_short(made):
    metric, x, norms, walker, labels = made
    recalls = []
    for label in range(10):
        mask = (labels != label) & (labels != (label + 3) % 10)
        for query in x[np.flatnonzero(labels == label)[:5]]:  # asks for a cluster that it may not have
            answer = nearest(query, x, norms, metric, 10, walker=walker, mask=mask)
            truth = exact_top_k(query, x, 10, metric, norms, mask)
            assert answer.ranked.positions.size == 10
            assert mask[answer.ranked.positions].all()
            recalls.append(len(set(answer.ranked.positions) & set(truth.positions)) / 10)
    assert np.mean(recalls) >= 0.92  # hnswlib with the same ef and a callable: the same


def test_a_walk_that_gives_up_is_answered_exactly():
    g = np.random.default_rng(0)
    x = g.normal(size=(3000, D)).astype(np.float32)
    x[1500:] += 100  # the matching half is far from the query: the walk passes the other half first
    walker = Walker(build_graph(x, None, Metric.L2, GraphOptions()), x, None, Metric.L2)
    mask = np.arange(3000) >= 1500
    answer = nearest(x[0], x, None, Metric.L2, 10, walker=walker, mask=mask, ef=10)
    assert answer.strategy == "exact_rows"
    assert answer.reason.startswith("the walk gave up")
    assert answer.ranked.positions.tolist() == exact_top_k(x[0], x, 10, Metric.L2, None, mask).positions.tolist()


def test_rows_that_no_link_reaches_are_found_by_the_exact_road():
    x = np.random.default_rng(0).normal(size=(1000, D)).astype(np.float32)
    alone = Graph(
        links=np.full((1000, 4), -1, np.int32),
        levels=np.zeros(1000, np.uint8),
        upper=np.empty((0, 2), np.int32),
        entry=0,
    )
    answer = nearest(x[5], x, None, Metric.L2, 10, walker=Walker(alone, x, None, Metric.L2), ef=10)
    assert answer.strategy == "exact"
    assert answer.ranked.positions.tolist() == exact_top_k(x[5], x, 10, Metric.L2).positions.tolist()


@settings(derandomize=True, deadline=None, max_examples=200)
@given(n=st.integers(1, 10**7), share=st.floats(0, 1), k=st.integers(1, 10_000), ef=st.none() | st.integers(1, 5000))
def test_choices_make_sense(n, share, k, ef):
    matches = max(1, int(n * share))
    without = choose(n, matches, k, ef, has_graph=False)
    assert (without.strategy, without.budget) == ("exact" if matches == n else "exact_rows", 0)
    choice = choose(n, matches, k, ef, has_graph=True)
    assert choice.reason
    if choice.strategy in {"graph", "masked_graph"}:
        assert (choice.strategy == "graph") == (matches == n)
        assert choice.ef >= k
        assert choice.ef >= (ef or default_ef(k))
        assert choice.budget == matches > k
        assert walk_cost(choice.ef) * n <= matches * (matches + 1)
        # more matching rows never turn the graph away
        assert choose(n, n, k, ef, has_graph=True).strategy == "graph"


def test_the_crossover_lies_where_it_was_measured():
    # 60,000 rows, ef 40: exact wins at 1 % and 10 %, the masked walk at 50 %
    roads = [choose(60_000, matches, 10, 40, has_graph=True).strategy for matches in (600, 6_000, 30_000, 60_000)]
    assert roads == ["exact_rows", "exact_rows", "masked_graph", "graph"]


def test_exact_is_exact_and_bad_input_is_refused(made):
    metric, x, norms, walker, _ = made
    answer = nearest(x[3], x, norms, metric, 10, walker=walker, exact=True)
    assert answer.strategy == "exact"
    assert answer.ranked.positions.tolist() == exact_top_k(x[3], x, 10, metric, norms).positions.tolist()
    for change in ({"top_k": 0}, {"ef": 0}, {"mask": np.ones(3, np.bool_)}):
        arguments = {"top_k": 5, "walker": walker} | change
        top_k = arguments.pop("top_k")
        with pytest.raises(InvalidArgumentError):
            nearest(x[3], x, norms, metric, top_k, **arguments)
    with pytest.raises(InvalidVectorError):
        nearest(np.full(D, np.nan, np.float32), x, norms, metric, 5, walker=walker)
