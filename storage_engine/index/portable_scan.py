"""Comparing a query with given rows by their codes in NumPy: exact, like :mod:`storage_engine.index.scan_kernel`.

The intervals are those of the compiled scan, taken block by block: what is kept is a few numbers for each row that the
codes have not ruled out so far, so that memory does not grow with the rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from storage_engine.index.portable_codes import Bounds, CodesOf, RoundedQuery, row_terms

ABOVE = 1.0 + 1e-11
WITHIN_ABOVE = 1.0 + 1e-9
TINY = 2.0**-120
"""As ``scan_kernel`` and ``range_kernel`` have and explain them."""

_BLOCK_NUMBERS = 1 << 17  # codes of a block: a megabyte as float64


def may_be_best(
    codes_of: CodesOf, rows: NDArray[np.int64], top_k: int, query: RoundedQuery, bounds: Bounds, euclidean: bool
) -> NDArray[np.int64]:
    """Those of the rows that codes do not rule out from the best ``top_k``, in the order given."""
    kept, near = np.empty(0, np.int64), np.empty(0, np.float64)
    far = np.empty(0, np.float64)
    limit = np.inf
    step = max(top_k, _BLOCK_NUMBERS // query.weights.shape[0], 1)
    for start in range(0, rows.shape[0], step):
        part = rows[start : start + step]
        low, high = _interval(codes_of(part), query, bounds, euclidean)
        far = np.concatenate([far, high[high < limit]])
        if far.shape[0] > top_k:
            far = np.partition(far, top_k - 1)[:top_k]
        if far.shape[0] == top_k:
            limit = min(limit, float(far.max()))
        chosen = low <= limit
        still = near <= limit
        kept = np.concatenate([kept[still], part[chosen]])
        near = np.concatenate([near[still], low[chosen]])
    return kept


def may_be_within(
    codes_of: CodesOf,
    rows: NDArray[np.int64],
    limit: float,
    query: RoundedQuery,
    bounds: Bounds,
    euclidean: bool,
    cosine: bool,
) -> NDArray[np.int64]:
    """Those rows that codes do not put beyond a limit (a distance, or minus a similarity), in the order given."""
    if cosine:
        limit *= bounds.length
    limit += abs(limit) * (WITHIN_ABOVE - 1.0) + TINY
    kept = []
    step = max(_BLOCK_NUMBERS // query.weights.shape[0], 1)
    for start in range(0, rows.shape[0], step):
        part = rows[start : start + step]
        value, wide, lost = _value(codes_of(part), query, bounds)
        reached = limit + lost
        if euclidean:
            reached = reached * reached * WITHIN_ABOVE
        kept.append(part[value - wide <= reached])
    return np.concatenate(kept) if kept else np.empty(0, np.int64)


def _value(
    codes: NDArray[np.uint8], query: RoundedQuery, bounds: Bounds
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The value of each row's codes, how far rounding can have moved it, and how far the row is from its codes."""
    terms = row_terms(codes, query.terms).astype(np.float64)
    value = bounds.constant + terms[:, 0] + float(query.factor) * query.products(codes)
    return value, bounds.error + bounds.relative * terms[:, 0], terms[:, 1] * bounds.length + bounds.blur


def _interval(
    codes: NDArray[np.uint8], query: RoundedQuery, bounds: Bounds, euclidean: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Near and far end of each row's final score, the smaller the nearer."""
    value, wide, lost = _value(codes, query, bounds)
    low, high = value - wide, value + wide
    if not euclidean:
        return low - lost, high + lost
    near = np.sqrt(np.maximum(low, 0.0)) - lost
    far = (np.sqrt(np.maximum(high, 0.0)) + lost) * ABOVE
    return np.where(near > 0.0, near / ABOVE, near), far
