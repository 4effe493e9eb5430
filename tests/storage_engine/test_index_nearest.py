"""The planner's choices, and the promise that no answer is short whatever it chooses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage_engine.errors import InvalidArgumentError
from storage_engine.index.builder import build_graph
from storage_engine.index.calibration import EFS, TOPS, Calibration
from storage_engine.index.graph import Graph
from storage_engine.index.nearest import Piece, Wish, nearest_many
from storage_engine.index.nearest import nearest as nearest_of
from storage_engine.index.planner import Breadth, breadth, choose, default_ef
from storage_engine.index.walker import Walker
from storage_engine.schema import GraphOptions, Metric
from storage_engine.vectors.distance import exact_top_k

N, D = 8000, 32


def nearest(query, x, norms, metric, k, *, walker=None, mask=None, **wish):
    return nearest_of(query, Piece(x, norms, metric, walker, mask), Wish(k, **wish))


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
    x = g.normal(size=(8000, 20)).astype(np.float32)
    x[4000:] += 100  # the matching half is far from the query: the walk passes the other half first
    walker = Walker(build_graph(x, None, Metric.L2, GraphOptions(ef_construction=60)), x, None, Metric.L2)
    mask = np.arange(8000) >= 4000
    truth = exact_top_k(x[0], x, 10, Metric.L2, None, mask).positions.tolist()
    for wish, budget in (({"ef": 10}, "asked for"), ({"recall": 0.9}, "only 0 of the 32 rows around the query match")):
        answer = nearest(x[0], x, None, Metric.L2, 10, walker=walker, mask=mask, **wish)
        assert answer.strategy == "exact_rows"
        assert answer.reason.startswith("the walk gave up")
        assert budget in answer.reason
        assert answer.ranked.positions.tolist() == truth


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
@given(
    n=st.integers(1, 10**7),
    share=st.floats(0, 1),
    k=st.integers(1, 10_000),
    ef=st.none() | st.integers(1, 5000),
    coded=st.booleans(),
)
def test_choices_make_sense(n, share, k, ef, coded):
    matches = max(1, int(n * share))
    wanted = breadth(k, ef, None, None)
    assert wanted.ef >= max(k, ef or default_ef(k))
    without = choose(n, matches, k, wanted, False, coded)
    assert (without.strategy, without.budget) == ("exact" if matches == n else "exact_rows", 0)
    assert choose(n, matches, k, None, True, coded).budget == 0  # a promise that nobody can keep
    choice = choose(n, matches, k, wanted, True, coded)
    assert choice.reason
    if choice.strategy in {"graph", "masked_graph"}:
        assert (choice.strategy == "graph") == (matches == n)
        assert choice.ef >= wanted.ef
        assert k < choice.budget <= max(matches, k + 1)
        assert choice.cost < matches
        assert (choice.wider, choice.enough) == (0, 0) or ef is None
        # more matching rows never turn the graph away
        assert choose(n, n, k, wanted, True, coded).strategy == "graph"
    else:
        assert (choice.ef, choice.wider, choice.cost) == (0, 0, matches)


def test_the_crossover_lies_where_it_was_measured():
    def roads(n, coded, ef=None):
        wanted = breadth(10, ef, None, None)
        shares = (0.001, 0.01, 0.1, 0.2, 0.5, 1)
        return "".join(choose(n, int(n * share), 10, wanted, True, coded).strategy[0] for share in shares)

    # e: exact, m: a masked walk, g: a walk. 60,000 × 784 by codes at ef 64: comparing wins up to 20 %
    assert roads(60_000, True) == "eeeemg"
    assert roads(60_000, True, 40) == "eeemmg"
    assert roads(60_000, False) == "eeemmg"  # float32 rows are dearer to compare than to walk past
    assert roads(1_000_000, True) == "eemmmg"


class Curve:
    """A calibration: recall 0.9 at 32, 0.99 at 128, never more."""

    def __init__(self):
        recall = np.full((len(TOPS), len(EFS)), np.nan, np.float32)
        recall[0] = np.interp(EFS, [16, 32, 128, 1024], [0.8, 0.9, 0.9901, 0.9901])
        recall[1, 5:] = recall[0, 5:] - 0.1
        self.known = Calibration(recall, np.where(np.isnan(recall), np.nan, np.array(EFS) * 10).astype(np.float32))


def test_a_promise_takes_the_least_width_that_was_measured_to_keep_it():
    known = Curve().known
    assert (known.ef_for(0.85, 10), known.ef_for(0.99, 10), known.ef_for(0.995, 10)) == (24, 128, None)
    assert (known.ef_for(0.88, 100), known.ef_for(0.88, 250), known.ef_for(0.95, 50)) == (128, 320, None)
    assert known.best_ef(10) == 128
    assert (known.rows_compared(32), known.rows_compared(40), known.rows_compared(2048)) == (320, 400, 20_480)
    assert breadth(10, None, 0.99, known) == Breadth(128, 1280, "compare", "measured for recall 0.99")
    assert breadth(10, None, None, known).ef == 128
    assert breadth(10, None, 0.995, known) is None
    assert breadth(10, None, 0.9, None) is None
    assert breadth(60, None, None, known).ef == 128  # 0.99 is out of reach: no wider than improves
    assert breadth(10, 7, None, known) == Breadth(10, 160, "go on", "asked for")


def test_many_queries_are_each_answered_as_if_alone(made):
    metric, x, norms, walker, labels = made
    g = np.random.default_rng(8)
    queries = (x[g.integers(0, N, 40)] + 0.2 * g.normal(size=(40, D))).astype(np.float32)
    for mask in (None, labels < 6, g.random(N) < 0.01, np.zeros(N, np.bool_), np.ones(N, np.bool_)):
        for wish in (Wish(10), Wish(10, ef=33), Wish(5, exact=True), Wish(20, recall=0.95)):
            piece = Piece(x, norms, metric, walker, mask)
            for query, many in zip(queries, nearest_many(queries, piece, wish), strict=True):
                alone = nearest_of(query, piece, wish)
                assert many.ranked.positions.tolist() == alone.ranked.positions.tolist()
                assert many.ranked.scores.tobytes() == alone.ranked.scores.tobytes()
                assert (many.strategy, many.reason) == (alone.strategy, alone.reason)


def test_a_promised_recall_is_kept_on_rows_that_nobody_saw(made):
    metric, x, norms, walker, _ = made
    g = np.random.default_rng(5)
    centres = np.array([x[made[4] == label].mean(axis=0) for label in range(10)])
    queries = (centres[g.integers(0, 10, 300)] + g.normal(size=(300, D))).astype(np.float32)
    mask = g.random(N) < 0.7
    for recall in (0.9, 0.95, 0.99):
        for k in (1, 10, 50):
            for chosen in (None, mask):
                shares = []
                for query in queries[:: 1 if k < 50 else 5]:
                    answer = nearest(query, x, norms, metric, k, walker=walker, mask=chosen, recall=recall)
                    truth = exact_top_k(query, x, k, metric, norms, chosen).positions
                    shares.append(len(set(answer.ranked.positions) & set(truth)) / k)
                assert np.mean(shares) >= recall, (recall, k)
    exact = nearest(queries[0], x, norms, metric, 10, walker=walker, recall=1.0)
    assert exact.strategy == "exact"


def test_a_promise_that_codes_and_links_cannot_keep_is_kept_by_comparing():
    g = np.random.default_rng(0)
    x = g.normal(size=(3000, 64)).astype(np.float32)
    graph = build_graph(x, None, Metric.L2, GraphOptions(m=2, ef_construction=4))
    walker = Walker(graph, x, None, Metric.L2)
    assert graph.calibration.ef_for(0.99, 10) is None
    answer = nearest(x[1] + 0.1, x, None, Metric.L2, 10, walker=walker, recall=0.99)
    assert (answer.strategy, answer.reason) == ("exact", "no walk is known to keep the promised recall")


def test_exact_is_exact_and_bad_input_is_refused(made):
    metric, x, norms, walker, _ = made
    answer = nearest(x[3], x, norms, metric, 10, walker=walker, exact=True)
    assert answer.strategy == "exact"
    assert answer.ranked.positions.tolist() == exact_top_k(x[3], x, 10, metric, norms).positions.tolist()
    for change in (
        {"top_k": 0},
        {"ef": 0},
        {"mask": np.ones(3, np.bool_)},
        {"recall": 0.0},
        {"recall": 1.1},
        {"recall": 0.9, "ef": 50},
    ):
        arguments = {"top_k": 5, "walker": walker} | change
        top_k = arguments.pop("top_k")
        with pytest.raises(InvalidArgumentError):
            nearest(x[3], x, norms, metric, top_k, **arguments)
