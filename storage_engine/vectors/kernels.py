"""Compiled distances: float32 for looking around, float64 in fixed order for what is reported; and the fused scan.

Imported only where compiled code pays; :mod:`storage_engine.vectors.distance` is the definition that this file must
match to the last bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from storage_engine.schema import Metric
from storage_engine.vectors.simd import (
    add_d8,
    add_masked_square,
    add_product,
    add_square,
    add_wide_product,
    add_wide_square,
    compiled,
    fold_d8,
    load_f32,
    load_f64,
    load_i64,
    prefetch,
    store_f32,
    store_f64,
    sum_f16,
    zero_d8,
    zero_f16,
)
from storage_engine.vectors.types import StoredVectors, number_bytes, type_of
from storage_engine.vectors.widening import ELEMENTS, widened

L2, COSINE, IP = 0, 1, 2
CODES = {Metric.L2: L2, Metric.COSINE: COSINE, Metric.IP: IP}
_SORTED_UP_TO = 256  # up to so many best bounds are kept sorted while scanning; beyond, they are partitioned after
_SLIGHTLY_ABOVE_ONE = 1.0 + 2.0**-22


class QueryBlock:
    """A query laid out for the kernels; refilled for each search, used by one thread at a time.

    float32: the query, then (at ``tail``) its last 16 numbers with those that full registers already cover set to
    zero, then the mask that says which, then room for one row (:mod:`storage_engine.vectors.widening`). float64: the
    query padded with zeros to whole blocks of 64, then 64 numbers of scratch.

    Args:
        dimension: Length of the queries to come.
    """

    __slots__ = ("dimension", "length", "narrow", "narrow_address", "scratch", "tail", "wide", "wide_address")

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self.tail = -(-dimension // 16) * 16
        self.narrow = np.zeros(2 * self.tail + 32, np.float32)
        self.wide = np.zeros(-(-dimension // 64) * 64, np.float64)
        self.scratch = np.zeros(64, np.float32)
        rest = dimension % 16
        self.narrow[self.tail + 32 - rest : self.tail + 32] = 1.0
        self.narrow_address = self.narrow.ctypes.data
        self.wide_address = self.wide.ctypes.data
        self.length = 0.0

    def fill(self, query: NDArray[np.float32]) -> None:
        """Take over a float32 query of the right length."""
        rest = self.dimension % 16
        self.narrow[: self.dimension] = query
        if rest:
            self.narrow[self.tail + 16 - rest : self.tail + 16] = query[self.dimension - rest :]
        self.wide[: self.dimension] = query


@compiled
def squared_distance(row, query, dimension):  # type: ignore[no-untyped-def]
    """``Σ (x - q)²`` in float32 of the row at an address; ``query`` is the address of ``QueryBlock.narrow``."""
    if dimension < 16:
        short = np.float32(0.0)
        for j in range(dimension):
            step = load_f32(row + 4 * j) - load_f32(query + 4 * j)
            short += step * step
        return short
    a = zero_f16()
    b = zero_f16()
    c = zero_f16()
    e = zero_f16()
    whole = dimension >> 4
    x = row
    q = query
    k = 0
    while k + 3 < whole:
        a = add_square(a, x, q)
        b = add_square(b, x + 64, q + 64)
        c = add_square(c, x + 128, q + 128)
        e = add_square(e, x + 192, q + 192)
        x += 256
        q += 256
        k += 4
    while k < whole:
        a = add_square(a, x, q)
        x += 64
        q += 64
        k += 1
    if dimension & 15:
        tail = query + ((dimension + 15) >> 4) * 64
        b = add_masked_square(b, row + 4 * dimension - 64, tail, tail + 64)
    return sum_f16(a, b) + sum_f16(c, e)


@compiled
def inner_product(row, query, dimension):  # type: ignore[no-untyped-def]
    """``Σ x q`` in float32 of the row at an address; ``query`` is the address of ``QueryBlock.narrow``."""
    if dimension < 16:
        short = np.float32(0.0)
        for j in range(dimension):
            short += load_f32(row + 4 * j) * load_f32(query + 4 * j)
        return short
    a = zero_f16()
    b = zero_f16()
    c = zero_f16()
    e = zero_f16()
    whole = dimension >> 4
    x = row
    q = query
    k = 0
    while k + 3 < whole:
        a = add_product(a, x, q)
        b = add_product(b, x + 64, q + 64)
        c = add_product(c, x + 128, q + 128)
        e = add_product(e, x + 192, q + 192)
        x += 256
        q += 256
        k += 4
    while k < whole:
        a = add_product(a, x, q)
        x += 64
        q += 64
        k += 1
    if dimension & 15:
        tail = query + ((dimension + 15) >> 4) * 64
        b = add_product(b, row + 4 * dimension - 64, tail)
    return sum_f16(a, b) + sum_f16(c, e)


@compiled
def fetch_row(row, dimension):  # type: ignore[no-untyped-def]
    """Ask for all cache lines of the row at an address."""
    for line in range(row, row + 4 * dimension, 64):
        prefetch(line)


@compiled
def wide_sum(row, query, scratch, dimension, square):  # type: ignore[no-untyped-def]
    """The fixed-order float64 sum of :func:`storage_engine.vectors.distance.score_rows`, bit for bit."""
    a0 = zero_d8()
    a1 = zero_d8()
    a2 = zero_d8()
    a3 = zero_d8()
    a4 = zero_d8()
    a5 = zero_d8()
    a6 = zero_d8()
    a7 = zero_d8()
    x = row
    q = query
    blocks = (dimension + 63) >> 6
    rest = dimension & 63
    for block in range(blocks):
        if rest and block == blocks - 1:
            for j in range(64):
                store_f32(scratch + 4 * j, load_f32(x + 4 * j) if j < rest else np.float32(0.0))
            x = scratch
        if square:
            a0 = add_wide_square(a0, x, q)
            a1 = add_wide_square(a1, x + 32, q + 64)
            a2 = add_wide_square(a2, x + 64, q + 128)
            a3 = add_wide_square(a3, x + 96, q + 192)
            a4 = add_wide_square(a4, x + 128, q + 256)
            a5 = add_wide_square(a5, x + 160, q + 320)
            a6 = add_wide_square(a6, x + 192, q + 384)
            a7 = add_wide_square(a7, x + 224, q + 448)
        else:
            a0 = add_wide_product(a0, x, q)
            a1 = add_wide_product(a1, x + 32, q + 64)
            a2 = add_wide_product(a2, x + 64, q + 128)
            a3 = add_wide_product(a3, x + 96, q + 192)
            a4 = add_wide_product(a4, x + 128, q + 256)
            a5 = add_wide_product(a5, x + 160, q + 320)
            a6 = add_wide_product(a6, x + 192, q + 384)
            a7 = add_wide_product(a7, x + 224, q + 448)
        x += 256
        q += 512
    a0 = add_d8(a0, a4)
    a1 = add_d8(a1, a5)
    a2 = add_d8(a2, a6)
    a3 = add_d8(a3, a7)
    return fold_d8(add_d8(add_d8(a0, a2), add_d8(a1, a3)))


@compiled
def final_score(row, norm, query, scratch, dimension, metric, length):  # type: ignore[no-untyped-def]
    """THE score of the row at an address, as :func:`storage_engine.vectors.distance.score_rows` defines it.

    Args: ``norm`` is the address of the row's norm (cosine only), ``query`` that of ``QueryBlock.wide``, ``length`` the
    float64 length of the query (cosine only).
    """
    total = wide_sum(row, query, scratch, dimension, metric == L2)
    if metric == L2:
        return np.sqrt(total)
    if metric == COSINE:
        score = total / (length * np.float64(load_f32(norm)))
        if score > 1.0 and score <= _SLIGHTLY_ABOVE_ONE:
            score = 1.0
        elif score < -1.0 and score >= -_SLIGHTLY_ABOVE_ONE:
            score = -1.0
        return score
    return total


@compiled
def query_length(narrow, wide, scratch, dimension):  # type: ignore[no-untyped-def]
    """The float64 length of the query, summed in the fixed order."""
    return np.sqrt(wide_sum(narrow, wide, scratch, dimension, False))


@compiled
def _scores(  # type: ignore[no-untyped-def]
    base, stride, element, norms, rows, count, narrow, wide, scratch, dimension, metric, out
):
    length = query_length(narrow, wide, scratch, dimension)
    for i in range(count):
        r = load_i64(rows + 8 * i) if rows else i
        row = widened(base + r * stride, narrow, dimension, element)
        score = final_score(row, norms + 4 * r, wide, scratch, dimension, metric, length)
        store_f64(out + 8 * i, score)


@compiled
def _scan(  # type: ignore[no-untyped-def]
    base, stride, element, norms, rows, count, narrow, dimension, metric, length, gamma, tiny, lower, upper, best, top_k
):
    """Bounds of each row's float32 value (smaller is better); the ``top_k`` smallest upper ones sorted at ``best``."""
    for i in range(top_k):
        store_f64(best + 8 * i, np.inf)
    for i in range(count):
        r = load_i64(rows + 8 * i) if rows else i
        if rows and i + 3 < count:
            fetch_row(base + load_i64(rows + 8 * (i + 3)) * stride, dimension)
        row = widened(base + r * stride, narrow, dimension, element)
        if metric == L2:
            value = np.float64(squared_distance(row, narrow, dimension))
            error = gamma * value + tiny
        else:
            value = -np.float64(inner_product(row, narrow, dimension))
            squares = np.float64(inner_product_with_itself(row, narrow, dimension))
            error = gamma * np.sqrt(squares * (1.0 + 2.0 * gamma) + tiny) * length * 1.0001 + tiny
            if metric == COSINE:
                scale = 1.0 / np.float64(load_f32(norms + 4 * r))
                value *= scale
                error *= scale * (1.0 + 1e-12)
        low = value - error
        high = value + error
        if not (np.isfinite(low) and np.isfinite(high)):
            low = -np.inf
            high = np.inf
        store_f64(lower + 8 * i, low)
        if upper:
            store_f64(upper + 8 * i, high)
        elif high < load_f64(best + 8 * (top_k - 1)):
            j = top_k - 1
            while j > 0 and load_f64(best + 8 * (j - 1)) > high:
                store_f64(best + 8 * j, load_f64(best + 8 * (j - 1)))
                j -= 1
            store_f64(best + 8 * j, high)


@compiled
def inner_product_with_itself(row, narrow, dimension):  # type: ignore[no-untyped-def]
    """``Σ x²`` in float32 of the row at an address; ``narrow`` only lends its tail mask."""
    if dimension < 16:
        return inner_product(row, row, dimension)
    a = zero_f16()
    b = zero_f16()
    whole = dimension >> 4
    x = row
    k = 0
    while k + 1 < whole:
        a = add_product(a, x, x)
        b = add_product(b, x + 64, x + 64)
        x += 128
        k += 2
    if k < whole:
        a = add_product(a, x, x)
    rest = dimension & 15
    total = sum_f16(a, b)
    for j in range(dimension - rest, dimension):
        step = load_f32(row + 4 * j)
        total += step * step
    return total


def _address(array: NDArray[np.generic] | None) -> int:
    return 0 if array is None else array.ctypes.data


def score_rows(
    query: NDArray[np.float32],
    vectors: StoredVectors,
    metric: Metric,
    norms: NDArray[np.float32] | None,
    rows: NDArray[np.int64] | None,
) -> NDArray[np.float64]:
    """The compiled twin of :func:`storage_engine.vectors.distance.score_rows`, equal to the last bit."""
    vectors, norms, rows = _laid_out(vectors, norms, rows)
    block = QueryBlock(vectors.shape[1])
    block.fill(query)
    count = vectors.shape[0] if rows is None else rows.shape[0]
    out = np.empty(count, np.float64)
    _scores(
        vectors.ctypes.data,
        vectors.strides[0],
        ELEMENTS[type_of(vectors)],
        _address(norms),
        _address(rows),
        count,
        block.narrow_address,
        block.wide_address,
        block.scratch.ctypes.data,
        block.dimension,
        CODES[metric],
        out.ctypes.data,
    )
    return out


def scan(
    query: NDArray[np.float32],
    vectors: StoredVectors,
    top_k: int,
    metric: Metric,
    norms: NDArray[np.float32] | None,
    rows: NDArray[np.int64] | None,
    gamma: float,
    tiny: float,
) -> NDArray[np.int64]:
    """Positions that may be among the best ``top_k``, by the same bounds as the NumPy scan.

    Args:
        query: float32 of shape (d,), checked.
        vectors: Of shape (n, d), in any type that a collection keeps.
        top_k: At most the number of rows compared.
        metric: See :class:`storage_engine.schema.Metric`.
        norms: float32 of shape (n,) for the cosine metric.
        rows: Positions to compare with; ``None`` means all.
        gamma: Relative error bound of a float32 sum of d products.
        tiny: Its absolute error from underflow.
    """
    vectors, norms, rows = _laid_out(vectors, norms, rows)
    block = QueryBlock(vectors.shape[1])
    block.fill(query)
    count = vectors.shape[0] if rows is None else rows.shape[0]
    kept = top_k if top_k <= _SORTED_UP_TO else 0
    lower, best = np.empty(count, np.float64), np.empty(max(kept, 1), np.float64)
    upper = None if kept else np.empty(count, np.float64)
    _scan(
        vectors.ctypes.data,
        vectors.strides[0],
        ELEMENTS[type_of(vectors)],
        _address(norms),
        _address(rows),
        count,
        block.narrow_address,
        block.dimension,
        CODES[metric],
        float(np.sqrt(np.square(block.wide).sum())),
        gamma,
        tiny,
        lower.ctypes.data,
        _address(upper),
        best.ctypes.data,
        kept,
    )
    bar = best[kept - 1] if upper is None else np.partition(upper, top_k - 1)[top_k - 1]
    chosen = np.flatnonzero(lower <= bar)
    return chosen if rows is None else rows[chosen]


def _laid_out(
    vectors: StoredVectors, norms: NDArray[np.float32] | None, rows: NDArray[np.int64] | None
) -> tuple[StoredVectors, NDArray[np.float32] | None, NDArray[np.int64] | None]:
    """Rows with contiguous numbers, so that addresses can be computed; copies only what is not."""
    if vectors.shape[1] > 1 and vectors.strides[1] != number_bytes(type_of(vectors)):
        vectors = np.ascontiguousarray(vectors)
    norms = None if norms is None else np.ascontiguousarray(norms, np.float32)
    return vectors, norms, None if rows is None else np.ascontiguousarray(rows, np.int64)
