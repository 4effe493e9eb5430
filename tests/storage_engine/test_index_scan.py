"""Comparing by codes: the same bits as comparing in float32, whatever the data, and intervals that hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage_engine.errors import InvalidArgumentError
from storage_engine.index import code_kernel
from storage_engine.index.codes import Codes, encode, stride_of, terms_at
from storage_engine.index.graph import Graph
from storage_engine.index.walker import Walker
from storage_engine.schema import Metric
from storage_engine.vectors.distance import exact_top_k, score_rows
from storage_engine.vectors.simd import compiled

METRICS = list(Metric)


def walker_over(x, norms, metric, codes=None):
    """A walker whose graph has no links: only its codes matter."""
    n = len(x)
    if codes is None:
        codes = coded(x, norms, metric)
    graph = Graph(
        links=np.full((n, 1), -1, np.int32),
        levels=np.zeros(n, np.uint8),
        upper=np.empty((0, 1), np.int32),
        entry=0,
        codes=codes,
    )
    return Walker(graph, x, norms, metric)


def coded(x, norms, metric, span=None):
    """Codes by the coarsest of rules, good or bad: one range for all dimensions, or the given one."""
    divided = x / norms[:, None] if metric is Metric.COSINE else x
    low, high = (divided.min(), divided.max()) if span is None else span
    d = x.shape[1]
    bottom = np.full(d, low, np.float32)
    step = np.full(d, (high - low) / 255 if high > low else 1, np.float32)
    rows = np.zeros((len(x), stride_of(d)), np.uint8)
    divisors = norms if metric is Metric.COSINE else np.empty(0, np.float32)
    code_kernel.encode_rows(x, divisors, bottom, step, metric is Metric.L2, terms_at(d), rows)
    return Codes(bottom, step, rows)


def assert_same(walker, q, x, norms, metric, k, rows=None):
    scan = walker.scan(q, k, rows)
    expected = exact_top_k(q, x, k, metric, norms, rows)
    assert scan.ranked.positions.tolist() == expected.positions.tolist()
    assert scan.ranked.scores.tobytes() == expected.scores.tobytes()
    assert set(scan.read.tolist()) >= set(expected.positions.tolist())
    return scan


def made(kind, n, d, seed=0):
    g = np.random.default_rng(seed)
    if kind == "bytes":
        x = g.integers(0, 256, size=(n, d)).astype(np.float32)
    elif kind == "nearly equal distances":  # differences far below what a code resolves decide
        direction = g.normal(size=(n, d))
        x = (10 * direction / np.linalg.norm(direction, axis=1, keepdims=True)).astype(np.float32)
        x *= 1 + 1e-5 * g.normal(size=(n, 1)).astype(np.float32)
    elif kind == "far from zero":
        x = (1e4 + g.normal(size=(n, d))).astype(np.float32)
    elif kind == "one wild dimension":
        x = g.normal(size=(n, d)).astype(np.float32)
        x[:, 3] *= 1e5
    elif kind == "clusters with copies":
        x = g.normal(size=(20, d))[g.integers(0, 20, n)].astype(np.float32)
        x[n // 2 :] += 1e-3 * g.normal(size=(n - n // 2, d)).astype(np.float32)
    else:
        x = g.normal(size=(n, d)).astype(np.float32)
    queries = [
        np.zeros(d, np.float32) + np.float32(1e-3),
        x[1].copy(),
        x[2] + 0.1 * g.normal(size=d).astype(np.float32),
    ]
    queries += list(g.normal(size=(3, d)).astype(np.float32) * x.std())
    norms = np.maximum(np.linalg.norm(x, axis=1), 0.5).astype(np.float32)
    return x, norms, queries


KINDS = ["bytes", "nearly equal distances", "far from zero", "one wild dimension", "clusters with copies", "normal"]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("d", [33, 64, 200])
def test_the_answer_is_that_of_the_float_scan_to_the_last_bit(kind, metric, d):
    x, norms, queries = made(kind, 1500, d)
    walker = walker_over(x, norms, metric)
    g = np.random.default_rng(1)
    some = np.sort(g.choice(1500, 400, replace=False))
    for q in queries:
        for k in (1, 10, 300):
            assert_same(walker, q, x, norms, metric, k)
            assert_same(walker, q, x, norms, metric, k, some)
        assert_same(walker, q, x, norms, metric, 5000, g.permutation(some))


@pytest.mark.parametrize("metric", METRICS)
def test_codes_that_clip_nearly_everything_are_still_exact(metric):
    x, norms, queries = made("normal", 800, 40)
    walker = walker_over(x, norms, metric, coded(x, norms, metric, (0.0, 1e-3)))
    for q in queries:
        assert_same(walker, q, x, norms, metric, 10)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale", [1e-25, 1e-12, 1e12, 1e16])
def test_small_and_large_numbers(metric, scale):
    x, norms, queries = made("normal", 500, 40)
    x, norms = (x * scale).astype(np.float32), (norms * scale).astype(np.float32)
    codes = coded(x, norms, metric)
    for q in queries:
        assert_same(walker_over(x, norms, metric, codes), (q * scale).astype(np.float32), x, norms, metric, 10)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("side", [1, -1])
def test_what_rounding_lost_may_all_point_to_the_query(metric, side):
    # the worst case of the triangle inequality: x - x̂ is parallel to the query, for some rows this way, for some that;
    # by codes the last three are behind all others by 1.7 of what rounding lost, and yet they are the nearest
    d = 48
    integers = np.full((60, d), 100, np.float32)
    integers[57:, :41] -= side
    x = integers + np.where(np.arange(60) < 57, -0.45 * side, 0.45 * side)[:, None].astype(np.float32)
    norms = np.ones(60, np.float32)
    codes = coded(x, norms, metric, (0.0, 255.0))
    assert np.allclose(codes.lost, 0.45 * np.sqrt(d), rtol=1e-4)
    q = np.full(d, 3000 * side, np.float32)
    for k in (1, 3, 10):
        scan = assert_same(walker_over(x, norms, metric, codes), q, x, norms, metric, k)
        assert scan.ranked.positions[:3].tolist() == [57, 58, 59][:k]


def test_a_query_beyond_all_intervals_is_left_to_the_other_road():
    x, norms, _ = made("normal", 100, 40)
    walker = walker_over(x * np.float32(1e14), norms, Metric.L2)
    assert walker.scan(np.full(40, 3e38, np.float32), 5) is None
    assert walker.scan(np.full(40, 1e14, np.float32), 5) is not None


def test_few_rows_are_read_where_codes_lose_little():
    x, norms, _ = made("bytes", 3000, 64)
    q = x[7] + np.float32(0.25)
    assert len(walker_over(x, norms, Metric.L2).scan(q, 10).read) <= 15
    x, norms, queries = made("normal", 3000, 64)
    codes = encode(x, None, True, 0)
    assert np.median([len(walker_over(x, norms, Metric.L2, codes).scan(q, 10).read) for q in queries]) <= 100


@settings(derandomize=True, deadline=None, max_examples=120)
@given(
    seed=st.integers(0, 2**32),
    d=st.integers(32, 90),
    n=st.integers(1, 80),
    k=st.integers(1, 15),
    metric=st.sampled_from(METRICS),
    values=st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=4),
)
def test_any_rows_with_many_ties(seed, d, n, k, metric, values):
    g = np.random.default_rng(seed)
    pool = np.array([*values, 1.0], np.float32)
    x = g.choice(pool, size=(n, d))
    q = g.choice(pool, size=d)
    q[0] = 1
    norms = g.choice(np.array([0.5, 1, 3], np.float32), size=n)
    walker = walker_over(x, norms, metric)
    assert_same(walker, q, x, norms, metric, k)
    rows = np.flatnonzero(g.random(n) < 0.5)
    assert_same(walker, q, x, norms, metric, k, rows)


@compiled
def bounds_and_products(codes, low, step, terms, query, rounded, euclidean, cosine, bounds, products):
    asked = rounded.ctypes.data + 64
    code_kernel.round_query(query.ctypes.data, low.ctypes.data, step.ctypes.data, query.size, euclidean, asked)
    code_kernel.code_bounds(
        query.ctypes.data, low.ctypes.data, step.ctypes.data, query.size, euclidean, cosine, asked, bounds.ctypes.data
    )
    for row in range(products.size):
        products[row] = code_kernel.code_product(
            codes.ctypes.data + row * codes.shape[1], codes.shape[1], asked
        ) * np.float64(rounded.view(np.float32)[15])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_interval_holds_its_score(kind, metric):
    d = 70
    x, norms, queries = made(kind, 400, d)
    codes = coded(x, norms, metric)
    terms = codes.rows[:, terms_at(d) : terms_at(d) + 4].copy().view(np.float32)[:, 0].astype(float)
    for q in queries:
        rounded = np.zeros(32 + codes.rows.shape[1], np.int16)
        bounds, products = np.empty(code_kernel.BOUNDS), np.empty(400)
        bounds_and_products(
            codes.rows, codes.low, codes.step, terms_at(d), q, rounded,
            metric is Metric.L2, metric is Metric.COSINE, bounds, products,
        )  # fmt: skip
        constant, error, relative, length, blur = bounds
        value, wide = constant + terms + products, error + relative * terms
        lost = codes.lost * length + blur
        scores = score_rows(q, x, metric, norms)
        if metric is Metric.L2:
            read_back = codes.low.astype(float) + codes.rows[:, :d].astype(float) * codes.step
            assert (np.abs(value - ((read_back - q) ** 2).sum(1)) <= wide).all()
            assert (scores >= np.sqrt(np.maximum(value - wide, 0)) - lost).all()
            assert (scores <= np.sqrt(value + wide) + lost).all()
        else:
            true = scores * (np.linalg.norm(q.astype(float)) if metric is Metric.COSINE else 1)
            assert (np.abs(value + true) <= wide + lost).all()


def test_what_does_not_fit_is_refused():
    x, norms, queries = made("normal", 50, 40)
    walker = walker_over(x, norms, Metric.L2)
    for bad in (
        (queries[0][:-1], 5, None),
        (queries[0].astype(np.float64), 5, None),
        (queries[0], 0, None),
        (queries[0], 5, np.array([0, 50])),
        (queries[0], 5, np.array([-1])),
        (queries[0], 5, np.array([1], np.int32)),
        (queries[0], 5, np.arange(40)[::2]),
    ):
        with pytest.raises(InvalidArgumentError):
            walker.scan(*bad)
    plain = Graph(
        links=np.full((50, 1), -1, np.int32),
        levels=np.zeros(50, np.uint8),
        upper=np.empty((0, 1), np.int32),
        entry=0,
    )
    with pytest.raises(InvalidArgumentError):
        Walker(plain, x, norms, Metric.L2).scan(queries[0], 5)
    assert walker.scan(queries[0], 5, np.empty(0, np.int64)).ranked.positions.size == 0
