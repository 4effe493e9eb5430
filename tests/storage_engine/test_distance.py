"""Exact search and scores: against plain float64, at ties, at the ends of float32, on both roads."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage_engine.errors import DimensionMismatchError, InvalidArgumentError, InvalidVectorError
from storage_engine.schema import Metric
from storage_engine.vectors import distance, kernels
from storage_engine.vectors.distance import (
    EMPTY,
    Ranked,
    check_query,
    error_factor,
    exact_top_k,
    merge,
    rank,
    score_rows,
    tiny,
)

METRICS = list(Metric)
DIMENSIONS = [1, 2, 15, 16, 17, 31, 48, 63, 64, 65, 100, 127, 129, 784]


def rows_and_query(seed, n, d, spread=1.0):
    g = np.random.default_rng(seed)
    x = (g.normal(size=(n, d)) * spread).astype(np.float32)
    return x, g.normal(size=d).astype(np.float32), np.linalg.norm(x, axis=1).astype(np.float32)


def fsum_scores(q, x, norms, metric):
    """The definition, summed without error."""
    q, x = q.astype(float), x.astype(float)
    out = []
    for row, norm in zip(x, norms.astype(float), strict=True):
        if metric is Metric.L2:
            out.append(math.sqrt(math.fsum((row - q) ** 2)))
        else:
            product = math.fsum(row * q)
            out.append(product if metric is Metric.IP else product / (math.sqrt(math.fsum(q * q)) * norm))
    return np.array(out)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("d", DIMENSIONS)
def test_scores_are_the_definition(metric, d):
    x, q, norms = rows_and_query(d, 40, d)
    expected = fsum_scores(q, x, norms, metric)
    got = score_rows(q, x, metric, norms)
    assert np.allclose(got, expected, rtol=1e-12, atol=1e-13)
    if metric is Metric.COSINE:
        assert (np.abs(got) <= 1).all()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("d", DIMENSIONS)
def test_both_roads_give_the_same_bits(metric, d):
    x, q, norms = rows_and_query(d, 130, d, spread=30.0)
    some = np.random.default_rng(1).permutation(130)[:50]
    plain = score_rows(q, x, metric, norms)
    assert kernels.score_rows(q, x, metric, norms, None).tobytes() == plain.tobytes()
    assert kernels.score_rows(q, x, metric, norms, some).tobytes() == plain[some].tobytes()
    assert (
        np.concatenate([score_rows(q, x, metric, norms, np.array([i])) for i in range(130)]).tobytes()
        == plain.tobytes()
    )


def both_roads(q, x, k, metric, norms, chosen, monkeypatch):
    """The answer with compiled code loaded, and without."""
    answers = []
    for compiled in (True, False):
        with monkeypatch.context() as patch:
            patch.setattr(distance, "_by_compiled_code", lambda numbers, compiled=compiled: compiled)
            answers.append(exact_top_k(q, x, k, metric, norms, chosen))
    return answers


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("d", [1, 3, 16, 17, 100])
@pytest.mark.parametrize("k", [1, 10, 300, 700, 2000])
def test_the_answer_is_that_of_sorting_everything(metric, d, k, monkeypatch):
    x, q, norms = rows_and_query(k, 900, d)
    x[100:200] = x[0]  # ties
    x[500:] = np.round(x[500:])
    norms = np.maximum(np.linalg.norm(x, axis=1), np.float32(0.5)).astype(np.float32)
    everything = score_rows(q, x, metric, norms)
    mask = np.random.default_rng(d).random(900) < 0.7
    for chosen, within in ((None, np.arange(900)), (mask, np.flatnonzero(mask)), (np.flatnonzero(mask)[::-1], None)):
        expected = rank(
            np.flatnonzero(mask) if within is None else within,
            everything[within if within is not None else mask],
            k,
            metric,
        )
        for got in both_roads(q, x, k, metric, norms, chosen, monkeypatch):
            assert got.positions.tolist() == expected.positions.tolist()
            assert got.scores.tobytes() == expected.scores.tobytes()
            assert got.positions.dtype == np.int64


def test_ties_come_in_order_of_position(monkeypatch):
    x = np.tile(np.float32([1, 2, 3]), (6000, 1))
    for metric in METRICS:
        for got in both_roads(np.float32([1, 0, 0]), x, 7, metric, np.ones(6000, np.float32), None, monkeypatch):
            assert got.positions.tolist() == list(range(7))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale", [1e-44, 1e-30, 1e-22, 1e18, 1e25, 3e38])
def test_numbers_whose_squares_leave_float32(metric, scale, monkeypatch):
    g = np.random.default_rng(7)
    x = (g.uniform(-1, 1, size=(400, 20)) * scale).astype(np.float32)
    q = (g.uniform(-1, 1, size=20) * scale).astype(np.float32)
    q[0] = scale
    norms = np.clip(np.linalg.norm(x.astype(float), axis=1), 1e-45, 3e38).astype(np.float32)
    expected = rank(np.arange(400), score_rows(q, x, metric, norms), 10, metric)
    for got in both_roads(q, x, 10, metric, norms, None, monkeypatch):
        assert got.positions.tolist() == expected.positions.tolist()


@pytest.mark.parametrize("d", [37, 200])
@pytest.mark.parametrize("metric", METRICS)
def test_differences_below_float32_decide(metric, d, monkeypatch):
    g = np.random.default_rng(1)
    x = (1000 * g.normal(size=d) + 1e-4 * g.normal(size=(6000, d))).astype(np.float32)  # equal to the eighth digit
    norms = np.full(6000, 1e5, np.float32)
    query = np.zeros(d, np.float32) if metric is Metric.L2 else np.ones(d, np.float32)
    everything = score_rows(query, x, metric, norms)
    for n in (5000, 6000):
        expected = rank(np.arange(n), everything[:n], 40, metric)
        for got in both_roads(query, x[:n], 40, metric, norms[:n], None, monkeypatch):
            assert got.positions.tolist() == expected.positions.tolist()


@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    data=st.data(), metric=st.sampled_from(METRICS), d=st.integers(1, 40), n=st.integers(1, 60), k=st.integers(1, 12)
)
def test_small_integers_give_exact_scores_and_many_ties(data, metric, d, n, k):
    g = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    x = g.integers(-2, 3, size=(n, d)).astype(np.float32)
    q = g.integers(-2, 3, size=d).astype(np.float32)
    q[0] = 1
    norms = np.ones(n, np.float32)
    products = x.astype(int) @ q.astype(int)
    keys = ((x - q).astype(int) ** 2).sum(1) if metric is Metric.L2 else -products
    expected = np.lexsort((np.arange(n), keys))[:k]
    got = exact_top_k(q, x, k, metric, norms)
    assert got.positions.tolist() == expected.tolist()
    if metric is Metric.L2:
        assert got.scores.tolist() == [math.sqrt(v) for v in keys[expected]]
    if metric is Metric.IP:
        assert got.scores.tolist() == products[expected].tolist()


@settings(derandomize=True, deadline=None, max_examples=100)
@given(
    st.integers(1, 300),
    st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=4),
    st.integers(0, 2**32),
)
def test_the_bounds_of_the_scan_hold(d, values, seed):
    g = np.random.default_rng(seed)
    x = g.choice(np.array([*values, 1e-3, -1.0], np.float32), size=(20, d))
    q = g.choice(np.array([*values, 1.0], np.float32), size=d)
    true = ((x.astype(float) - q) ** 2).sum(1)
    difference = x - q
    value = np.einsum("ij,ij->i", difference, difference).astype(float)
    assert (np.abs(value - true) <= error_factor(d) * value + tiny(d)).all()


def test_merging_pieces_is_searching_the_whole():
    x, q, norms = rows_and_query(3, 500, 12)
    x[250:300] = x[:50]
    for metric in METRICS:
        norms = np.linalg.norm(x, axis=1).astype(np.float32)
        whole = exact_top_k(q, x, 40, metric, norms)
        pieces = [(at, exact_top_k(q, x[at : at + 125], 40, metric, norms[at : at + 125])) for at in (250, 0, 375, 125)]
        joined = merge(pieces, 40, metric)
        assert joined.positions.tolist() == whole.positions.tolist()
        assert joined.scores.tobytes() == whole.scores.tobytes()
    assert merge([], 3, Metric.L2) == EMPTY
    single = merge([(5, Ranked(np.array([1]), np.array([2.0])))], 3, Metric.L2)
    assert single.positions.tolist() == [6]


def test_rows_that_are_not_adjacent_in_memory(monkeypatch):
    x, q, norms = rows_and_query(11, 300, 20)
    wide = np.zeros((300, 33), np.float32)
    wide[:, :20] = x
    for strided in (wide[:, :20], np.asfortranarray(x), wide[::-1, :20][::-1]):
        for got in both_roads(q, strided, 5, Metric.COSINE, norms, None, monkeypatch):
            assert got.positions.tolist() == exact_top_k(q, x, 5, Metric.COSINE, norms).positions.tolist()


def test_a_mask_without_rows_and_no_rows_at_all():
    x, q, _ = rows_and_query(0, 10, 4)
    assert exact_top_k(q, x, 3, Metric.L2, None, np.zeros(10, np.bool_)).positions.size == 0
    assert exact_top_k(q, x[:0], 3, Metric.L2).positions.size == 0


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"query": np.float32([1, np.nan, 0])}, InvalidVectorError),
        ({"query": np.float64([1, 1e300, 0])}, InvalidVectorError),
        ({"query": np.float32([[1, 2, 3]])}, InvalidVectorError),
        ({"query": np.array(["a", "b", "c"])}, InvalidVectorError),
        ({"query": np.float32([1, 2])}, DimensionMismatchError),
        ({"query": np.zeros(3, np.float32), "metric": Metric.COSINE}, InvalidVectorError),
        ({"top_k": 0}, InvalidArgumentError),
        ({"metric": Metric.COSINE, "norms": None}, InvalidArgumentError),
        ({"rows": np.ones(3, np.bool_)}, InvalidArgumentError),
        ({"rows": np.array([0, 4])}, InvalidArgumentError),
        ({"rows": np.array([-1])}, InvalidArgumentError),
        ({"vectors": np.zeros((4, 3))}, InvalidArgumentError),
    ],
)
def test_bad_input_is_refused(change, error):
    good = {
        "query": np.float32([1, 2, 3]),
        "vectors": np.ones((4, 3), np.float32),
        "top_k": 2,
        "metric": Metric.L2,
        "norms": np.ones(4, np.float32),
    }
    with pytest.raises(error):
        exact_top_k(**(good | change))


def test_a_query_of_any_number_type_is_taken():
    assert check_query(np.array([1, 2]), 2, Metric.L2).dtype == np.float32
    largest = np.full(3, np.finfo(np.float32).max)
    assert check_query(largest, 3, Metric.COSINE).tolist() == largest.tolist()
    assert check_query(np.float32([1e-45, 0]), 2, Metric.COSINE)[0] > 0  # its square is zero in float32, it is not


def test_a_small_search_loads_no_compiler():
    program = (
        "import sys, numpy as np\n"
        "from storage_engine.vectors.distance import exact_top_k\n"
        "from storage_engine.schema import Metric\n"
        "exact_top_k(np.ones(8, np.float32), np.ones((5000, 8), np.float32), 10, Metric.L2)\n"
        "sys.exit('numba' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
