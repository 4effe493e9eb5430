"""The planner's choices, and the promise that no answer is short whatever it chooses."""

from __future__ import annotations

from dataclasses import replace

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
from storage_engine.index.planner import Breadth, Rows, breadth, choose, default_ef, may_walk
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
    x = g.normal(size=(16_000, 20)).astype(np.float32)
    x[6400:] += 100  # what matches is far from the query: the walk passes all others first
    walker = Walker(build_graph(x, None, Metric.L2, GraphOptions(ef_construction=60)), x, None, Metric.L2)
    mask = np.arange(16_000) >= 6400
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
    row_bytes=st.sampled_from([16, 64, 192, 832, 16_384]),
    likeness=st.sampled_from([0.0, 0.2, 0.5, 1.0, 1.7]),
)
def test_choices_make_sense(n, share, k, ef, coded, row_bytes, likeness):
    over = Rows(n, max(1, int(n * share)), row_bytes, coded, likeness)
    matches = over.matches
    wanted = breadth(k, ef, None, None)
    assert wanted.ef >= max(k, ef or default_ef(k))
    without = choose(over, k, wanted, False)
    assert (without.strategy, without.budget) == ("exact" if matches == n else "exact_rows", 0)
    assert choose(over, k, None, True).budget == 0  # a promise that nobody can keep
    choice = choose(over, k, wanted, True)
    if not may_walk(over, k, wanted):
        assert choice.strategy != "masked_graph"  # whatever the likeness, which is then not asked for
    assert choice.reason
    if choice.strategy in {"graph", "masked_graph"}:
        assert (choice.strategy == "graph") == (matches == n)
        assert choice.ef >= wanted.ef
        assert k < choice.budget <= max(n, k + 1)
        assert choice.cost < matches
        assert choice.ef == wanted.ef or likeness < 0.5
        assert (choice.wider, choice.enough) == (0, 0) or ef is None
        # more matching rows never turn the graph away
        assert choose(replace(over, matches=n), k, wanted, True).strategy == "graph"
    else:
        assert (choice.ef, choice.wider, choice.cost) == (0, 0, matches)


def test_the_crossover_lies_where_it_was_measured():
    # recall and rows compared on Fashion-MNIST (784), and on 60,000 rows of 100 clusters (128): see docs/search.md
    images = calibration({16: 352, 24: 381, 32: 438, 48: 547, 64: 647, 96: 827}, {128: 1286})
    clusters = calibration({16: 493, 24: 523, 32: 578, 48: 670, 64: 749}, {128: 1473})

    def roads(known, row_bytes, coded=True, likeness=1.0, **wish):
        wanted = breadth(10, wish.get("ef"), wish.get("recall"), known)
        shares = (0.01, 0.1, 0.15, 0.2, 0.5, 1)
        found = (choose(Rows(60_000, int(60_000 * s), row_bytes, coded, likeness), 10, wanted, True) for s in shares)
        return "".join(choice.strategy[0] for choice in found)

    # e: exact, m: a masked walk, g: a walk. Measured: comparing wins up to 12 %, up to 15 % on clusters
    assert roads(images, 832) == "eemmmg"
    assert roads(images, 832, recall=0.99) == "eemmmg"
    assert roads(images, 832, ef=64) == "eeemmg"
    # a filter on labels: most queries are against it, pay for looking, and are compared all the same
    assert roads(images, 832, likeness=0.25) == "eeeemg"
    images = calibration({16: 352, 24: 381, 32: 438, 48: 547, 64: 647, 96: 827}, {128: 998, 192: 1260})
    assert roads(images, 3136, coded=False) == "emmmmg"  # 730 µs against 358 at 10 %
    assert roads(clusters, 192)[:2] == "ee"
    assert roads(clusters, 192)[3:] == "mmg"


def test_where_matching_rows_lie_together_walks_look_wider():
    known = calibration({16: 352, 24: 381, 32: 438, 48: 547, 64: 647, 96: 827}, {128: 1286})
    wanted, asked = breadth(10, None, 0.99, known), breadth(10, 32, None, known)
    kept = [choose(Rows(60_000, 30_000, 832, True, like), 10, wanted, True).ef for like in (1.3, 0.5, 0.25, 0.0)]
    assert kept == [32, 32, 64, 96]
    nearly_all = choose(Rows(60_000, 57_000, 832, True, 0.0), 10, wanted, True)
    assert 32 < nearly_all.ef < 45
    assert choose(Rows(60_000, 30_000, 832, True, 0.0), 10, asked, True).ef == 32  # a width of your own is kept
    dear = choose(Rows(60_000, 30_000, 832, True, 0.0), 10, wanted, True).cost
    assert dear > 2 * choose(Rows(60_000, 30_000, 832, True, 1.0), 10, wanted, True).cost


def test_few_rows_are_walked_to_because_comparing_takes_a_call():
    known = calibration({16: 352, 24: 381, 32: 438}, {})
    wanted, unmeasured = breadth(10, 32, None, known), breadth(10, 32, None, None)
    over = Rows(900, 900, 64, False)
    assert choose(over, 10, wanted, True).strategy == "graph"  # 7 µs against 33
    assert choose(over, 10, unmeasured, True).strategy == "exact"
    coded = Rows(2_000, 1_900, 256, True)  # 8 µs against 17
    assert choose(coded, 10, breadth(10, 16, None, known), True).strategy == "masked_graph"
    assert (
        choose(replace(coded, rows=900, matches=850), 10, breadth(10, 16, None, known), True).strategy == "exact_rows"
    )
    assert choose(replace(over, matches=50), 10, wanted, True).strategy == "exact_rows"  # a wide walk


def test_rows_of_many_bytes_are_dearer_to_walk_to_over_codes_and_cheaper_in_float32():
    steps = [Rows(9, 9, size, True).step for size in (64, 192, 832)]
    assert steps == sorted(steps)
    assert 3 < steps[0] < steps[2] < 5
    steps = [Rows(9, 9, size, False).step for size in (32, 512, 3136)]
    assert steps == sorted(steps, reverse=True)
    assert 1.4 < steps[2] < steps[0] < 2.6


def calibration(few, many):
    """Rows compared at each width for 10 and for 100 rows; recall 0.99 from width 32 on."""
    recall = np.full((len(TOPS), len(EFS)), np.nan, np.float32)
    compared = recall.copy()
    for series, curve in enumerate((few, many)):
        for ef, rows in curve.items():
            compared[series, EFS.index(ef)] = rows
            recall[series, EFS.index(ef)] = 0.992 if ef >= 32 else 0.985
    return Calibration(recall, compared)


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
    assert [known.rows_compared(width) for width in (8, 32, 40, 1024, 2048)] == [160, 320, 400, 10_240, 20_480]
    assert breadth(10, None, 0.99, known) == Breadth(128, "compare", "measured for recall 0.99", known)
    assert breadth(10, None, None, known).ef == 128
    assert breadth(10, None, 0.995, known) is None
    assert breadth(10, None, 0.9, None) is None
    assert breadth(60, None, None, known).ef == 128  # 0.99 is out of reach: no wider than improves
    assert breadth(10, 7, None, known) == Breadth(10, "go on", "asked for", known)


def test_rows_beyond_the_widths_that_were_measured_follow_the_last_of_them():
    # walks for 100 rows over codes keep 200 at least: what was tried at 128 was 200 wide
    known = calibration({32: 438, 64: 647, 96: 827}, {128: 1286, 192: 1286})
    assert known.rows_compared(200, 200) == pytest.approx(1286)
    assert known.rows_compared(148, 200) == pytest.approx((827 + 1286) / 2)
    assert known.rows_compared(400, 200) == pytest.approx(1286 * 2**0.6, rel=0.01)
    steep = calibration({16: 100, 24: 200}, {})
    assert steep.rows_compared(48) == 400  # no steeper than the width itself
    assert calibration({16: 100}, {}).rows_compared(32) == 200
    assert calibration({}, {}).rows_compared(32) is None
    assert breadth(10, None, None, calibration({}, {})).rows(64, True) == 648


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
