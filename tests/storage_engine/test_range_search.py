"""Range search: every row whose score meets the bound and no other, by codes, in float32, fresh and sealed."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage_engine.batch import CreateCollection, DeleteRows, PutRows, WriteBatch
from storage_engine.engine import Engine
from storage_engine.errors import DimensionMismatchError, InvalidArgumentError, InvalidVectorError
from storage_engine.index import code_kernel
from storage_engine.index.codes import Codes, stride_of, terms_at
from storage_engine.index.graph import Graph
from storage_engine.index.nearest import Piece
from storage_engine.index.walker import Walker
from storage_engine.index.within import meets, within
from storage_engine.schema import CollectionSchema, GraphOptions, Metric
from storage_engine.vectors.distance import score_rows

METRICS = list(Metric)


def walker_over(x, norms, metric):
    """A walker without links, whose codes are of the coarsest kind: one range for all dimensions."""
    n, d = x.shape
    divided = x / norms[:, None] if metric is Metric.COSINE else x
    low, high = float(divided.min()), float(divided.max())
    bottom = np.full(d, low, np.float32)
    step = np.full(d, (high - low) / 255 if high > low else 1, np.float32)
    rows = np.zeros((n, stride_of(d)), np.uint8)
    divisors = norms if metric is Metric.COSINE else np.empty(0, np.float32)
    code_kernel.encode_rows(x, divisors, bottom, step, metric is Metric.L2, terms_at(d), rows)
    no_links, no_levels = np.full((n, 1), -1, np.int32), np.zeros(n, np.uint8)
    graph = Graph(no_links, no_levels, np.empty((0, 1), np.int32), 0, codes=Codes(bottom, step, rows))
    return Walker(graph, x, norms, metric)


def brute_force(q, x, norms, metric, bound, mask=None):
    """The definition: scores of all rows, rounded to float32, compared with the rounded bound; order and ties."""
    scores = score_rows(q, x, metric, norms)
    narrow = scores.astype(np.float32)
    inside = narrow <= np.float32(bound) if metric is Metric.L2 else narrow >= np.float32(bound)
    rows = np.flatnonzero(inside if mask is None else inside & mask)
    keys = scores[rows] if metric is Metric.L2 else -scores[rows]
    order = np.argsort(keys, kind="stable")
    return rows[order].tolist(), narrow[rows[order]].tolist()


def bounds_around(scores):
    """Bounds where it is close: each score, and its neighbours in float32."""
    some = np.unique(scores.astype(np.float32))[:: max(1, len(scores) // 6)]
    return [*some, *np.nextafter(some, np.float32(np.inf)), *np.nextafter(some, np.float32(-np.inf)), np.inf, -np.inf]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", ["normal", "far from zero", "nearly equal distances"])
def test_codes_give_what_all_rows_give(kind, metric):
    g = np.random.default_rng(3)
    x = g.normal(size=(900, 40)).astype(np.float32)
    if kind == "far from zero":
        x += np.float32(1e4)
    if kind == "nearly equal distances":
        x = x / np.linalg.norm(x, axis=1, keepdims=True) * (1 + 1e-6 * g.normal(size=(900, 1))).astype(np.float32)
    norms = np.maximum(np.linalg.norm(x, axis=1), 0.5).astype(np.float32)
    mask = g.random(900) < 0.4
    walker = walker_over(x, norms, metric)
    for q in (x[5], g.normal(size=40).astype(np.float32), np.full(40, 1e-3, np.float32)):
        for bound in bounds_around(score_rows(q, x, metric, norms)):
            for chosen in (None, mask):
                piece = Piece(x, norms, metric, walker, chosen)
                ranked = within(q, piece, float(bound)).ranked
                found = ranked.positions.tolist(), ranked.scores.astype(np.float32).tolist()
                assert found == brute_force(q, x, norms, metric, bound, chosen)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    seed=st.integers(0, 2**32),
    d=st.integers(32, 70),
    n=st.integers(1, 60),
    metric=st.sampled_from(METRICS),
    values=st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=4),
)
def test_any_rows_with_many_ties(seed, d, n, metric, values):
    g = np.random.default_rng(seed)
    pool = np.array([*values, 1.0], np.float32)
    x, q = g.choice(pool, size=(n, d)), g.choice(pool, size=d)
    q[0] = 1
    norms = g.choice(np.array([0.5, 1, 3], np.float32), size=n)
    coded, plain = Piece(x, norms, metric, walker_over(x, norms, metric)), Piece(x, norms, metric)
    for bound in bounds_around(score_rows(q, x, metric, norms)):
        expected = brute_force(q, x, norms, metric, bound)
        for piece in (coded, plain):
            ranked = within(q, piece, float(bound)).ranked
            assert (ranked.positions.tolist(), ranked.scores.astype(np.float32).tolist()) == expected


@pytest.mark.parametrize("metric", METRICS)
def test_codes_leave_few_rows_open(metric):
    g = np.random.default_rng(0)
    x = g.integers(0, 256, size=(3000, 64)).astype(np.float32)
    norms = np.linalg.norm(x, axis=1).astype(np.float32)
    q = x[7] + np.float32(0.25)
    bound = float(np.sort(score_rows(q, x, metric, norms))[40 if metric is Metric.L2 else -41])
    answer = within(q, Piece(x, norms, metric, walker_over(x, norms, metric)), bound)
    assert len(answer.ranked.positions) == 41
    assert len(answer.read) <= 150


def test_numbers_beyond_intervals_are_compared_in_float32():
    g = np.random.default_rng(0)
    x = (g.normal(size=(50, 40)) * 1e14).astype(np.float32)
    q = np.full(40, 3e38, np.float32)
    piece = Piece(x, None, Metric.L2, walker_over(x, np.ones(50, np.float32), Metric.L2))
    assert piece.walker.scan_within(q, 1e39, None) is None
    assert len(within(q, piece, np.inf).ranked.positions) == 50


def test_more_rows_than_numpy_answers_for_give_the_same_bits():
    g = np.random.default_rng(0)
    x = g.normal(size=(6000, 7)).astype(np.float32)
    q = g.normal(size=7).astype(np.float32)
    ranked = within(q, Piece(x, None, Metric.L2), 2.0).ranked
    assert (ranked.positions.tolist(), ranked.scores.astype(np.float32).tolist()) == brute_force(
        q, x, None, Metric.L2, 2.0
    )


def test_what_meets_a_bound_is_decided_in_float32():
    assert meets(np.array([0.1]), 0.1, Metric.L2).all()
    assert meets(np.array([0.1 + 1e-10]), 0.1, Metric.L2).all()  # reported as 0.1
    assert not meets(np.array([0.1 + 1e-8]), 0.1, Metric.L2).any()
    assert meets(np.array([1e300]), 1e300, Metric.IP).all()


@pytest.fixture(scope="module", params=METRICS)
def mixed(request):
    """Sealed rows with codes, sealed rows without, fresh rows, and dead ones among all of them."""
    g = np.random.default_rng(5)
    pool = g.normal(size=(700, 36)).astype(np.float32)
    x = pool[g.integers(0, 700, 1500)]  # many ties
    options = GraphOptions(m=8, ef_construction=40, minimum_rows=500)
    with Engine.open(None, build_threads=1) as engine:
        schema = CollectionSchema("c", "c" * 32, 36, request.param, graph=options)
        engine.commit(WriteBatch([CreateCollection(schema)]))
        for start, stop in ((0, 1000), (1000, 1300), (1300, 1500)):
            ids = [f"r{n}" for n in range(start, stop)]
            metadata = pa.table({"n": list(range(start, stop))})
            engine.commit(WriteBatch([PutRows("c", ids, x[start:stop], metadata=metadata)]))
            if start == 0:
                engine.build_graphs()
            if start == 1000:
                engine.seal()
        engine.commit(WriteBatch([DeleteRows("c", [f"r{n}" for n in range(0, 1500, 7)])]))
        yield engine, x, g


def test_all_kinds_of_rows_together(mixed):
    engine, x, g = mixed
    view = engine.snapshot().collection("c")
    metric = view.schema.metric
    assert view.slot_count == 1500
    norms = view.norms_at(np.arange(1500))
    mask = g.random(1500) < 0.3
    for q in (x[3], g.normal(size=36).astype(np.float32)):
        scores = np.sort(score_rows(q, x, metric, norms))
        for place in (0, 5, 300, -1):
            bound = float(scores[place if metric is Metric.L2 else -1 - place])
            for chosen in (None, mask):
                allowed = view.live() if chosen is None else view.live() & chosen
                slots, reported = brute_force(q, x, norms, metric, bound, allowed)
                for limit in (None, 1, 20, 20_000):
                    found = view.search_within(q, bound, mask=chosen, limit=limit)
                    assert found.slots.tolist() == slots[:limit]
                    assert found.scores.tolist() == reported[:limit]
        best = view.search(q, 25, exact=True)
        again = view.search_within(q, float(best.scores[-1]))
        assert again.slots[:25].tolist() == best.slots.tolist()


def test_what_is_no_bound_is_refused(mixed):
    engine, x, _ = mixed
    view = engine.snapshot().collection("c")
    for bound in (float("nan"), "1", None, True):
        with pytest.raises(InvalidArgumentError):
            view.search_within(x[0], bound)
    for limit in (0, -1, 1.5, True):
        with pytest.raises(InvalidArgumentError):
            view.search_within(x[0], 1.0, limit=limit)
    with pytest.raises(DimensionMismatchError):
        view.search_within(x[0][:-1], 1.0)
    with pytest.raises(InvalidVectorError):
        view.search_within(np.full(36, np.nan, np.float32), 1.0)
    with pytest.raises(InvalidArgumentError):
        view.search_within(x[0], 1.0, mask=np.ones(3, bool))


def test_an_empty_collection_has_no_row_within_anything():
    with Engine.open(None) as engine:
        engine.commit(WriteBatch([CreateCollection(CollectionSchema("c", "c" * 32, 3, Metric.L2))]))
        found = engine.snapshot().collection("c").search_within(np.zeros(3, np.float32), np.inf)
        assert len(found.slots) == 0
        assert len(found.scores) == 0
