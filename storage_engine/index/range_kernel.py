"""All rows within a bound, by their codes and as few float32 rows as those leave open: exact.

The intervals are those of :mod:`storage_engine.index.scan_kernel`. There the limit that a row's near end has to beat
falls as rows are found; here it is given. Rows that the codes leave open are scored like on any road, and the caller
drops those whose score is beyond the bound after all.
"""

from __future__ import annotations

import numpy as np

from storage_engine.index import walk_table as field
from storage_engine.index.code_kernel import (
    BLUR,
    CONSTANT,
    ERROR,
    LENGTH,
    RELATIVE,
    code_bounds,
    code_product,
    round_query,
)
from storage_engine.index.scan_kernel import AHEAD, score_kept
from storage_engine.index.walk_kernel import fill_query
from storage_engine.index.walk_table import UNBOUNDED
from storage_engine.vectors.kernels import COSINE, L2, fetch_row
from storage_engine.vectors.simd import compiled, load_f32, load_f64, load_i64, store_i64

_ABOVE = 1.0 + 1e-9  # more than the relative rounding of a limit, of a final score and of comparing them
_TINY = 2.0**-120  # far above what sums below float32's normal numbers can lose


@compiled
def collect_within(table, rows, count, bounds, limit, kept):  # type: ignore[no-untyped-def]
    """Write the rows whose near end is within ``limit`` to an address; returns how many.

    Args: ``rows`` is the address of int64 row numbers, or 0 for the first ``count`` rows; ``limit`` is a distance, or
    minus an inner product; ``kept`` has room for ``count`` numbers.
    """
    codes = load_i64(table + 8 * field.CODE_ROWS)
    stride = load_i64(table + 8 * field.CODE_STRIDE)
    terms = load_i64(table + 8 * field.CODE_TERMS)
    query = load_i64(table + 8 * field.CODE_QUERY)
    euclidean = load_i64(table + 8 * field.METRIC) == L2
    factor = np.float64(load_f32(query - 4))
    constant = load_f64(bounds + 8 * CONSTANT)
    error = load_f64(bounds + 8 * ERROR)
    relative = load_f64(bounds + 8 * RELATIVE)
    length = load_f64(bounds + 8 * LENGTH)
    blur = load_f64(bounds + 8 * BLUR)
    found = 0
    for i in range(count):
        row = i
        if rows:
            row = load_i64(rows + 8 * i)
            if i + AHEAD < count:
                fetch_row(codes + load_i64(rows + 8 * (i + AHEAD)) * stride, stride >> 2)
        at = codes + row * stride
        term = np.float64(load_f32(at + terms))
        lost = np.float64(load_f32(at + terms + 4)) * length + blur
        low = constant + term + factor * np.float64(code_product(at, stride, query)) - (error + relative * term)
        reached = limit + lost
        if euclidean:
            reached = reached * reached * _ABOVE
        if low <= reached:
            store_i64(kept + 8 * found, row)
            found += 1
    return found


@compiled
def scan_within(parameters, query, rows, count, limit, bounds, kept, scores):  # type: ignore[no-untyped-def]
    """Rows that may be within a limit, with their final scores (negated unless distances); returns how many.

    ``UNBOUNDED`` where the numbers are too large for intervals, and nothing was compared.
    Args: ``limit`` is a distance, minus a cosine, or minus an inner product; the others as in
    :func:`storage_engine.index.scan_kernel.scan`.
    """
    table = parameters.ctypes.data
    narrow = load_i64(table + 8 * field.NARROW)
    dimension = load_i64(table + 8 * field.DIMENSION)
    metric = load_i64(table + 8 * field.METRIC)
    low = load_i64(table + 8 * field.CODE_LOW)
    step = load_i64(table + 8 * field.CODE_STEP)
    rounded = load_i64(table + 8 * field.CODE_QUERY)
    fill_query(query.ctypes.data, narrow, load_i64(table + 8 * field.WIDE), dimension)
    round_query(narrow, low, step, dimension, metric == L2, rounded)
    if not code_bounds(narrow, low, step, dimension, metric == L2, metric == COSINE, rounded, bounds):
        return UNBOUNDED
    if metric == COSINE:  # codes give inner products with the query as it is, cosines with one of length 1
        limit = limit * load_f64(bounds + 8 * LENGTH)
    limit += abs(limit) * (_ABOVE - 1.0) + _TINY
    found = collect_within(table, rows, count, bounds, limit, kept)
    score_kept(table, kept, found, scores)
    return found
