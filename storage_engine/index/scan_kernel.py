"""Comparing a query with given rows by their codes, and with as few float32 rows as that leaves open: exact.

Every row gets an interval that its final score must lie in: the value of its codes, give or take the rounding of the
query and the row's own distance from its codes (triangle inequality for distances, Cauchy and Schwarz for inner
products; :func:`storage_engine.index.code_kernel.code_bounds`). A row whose near end is beyond the ``top_k``-th
smallest far end cannot be among the best; all others are scored in float64 from the float32 rows, like on any road.

One pass: the ``top_k`` smallest far ends so far are a heap, and a row that cannot beat their largest is dropped at
once, for the heap only ever gets smaller.
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
from storage_engine.index.walk_kernel import all_confirmed, fill_query
from storage_engine.index.walk_table import UNBOUNDED, UNCONFIRMED, UNUSABLE
from storage_engine.vectors.kernels import COSINE, L2, fetch_row, final_score, query_length
from storage_engine.vectors.simd import compiled, load_f32, load_f64, load_i64, store_f64, store_i64
from storage_engine.vectors.widening import widened

AHEAD = 8  # rows of codes that are asked for before they are compared, where they do not follow one another
_ABOVE = 1.0 + 1e-11  # more than the relative rounding of a final distance and of the comparison itself


@compiled
def replace_largest(heap, size, value):  # type: ignore[no-untyped-def]
    """Put a value in place of the largest of a max-heap of ``size`` float64 at an address."""
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        below = load_f64(heap + 8 * child)
        if child + 1 < size and load_f64(heap + 8 * (child + 1)) > below:
            child += 1
            below = load_f64(heap + 8 * child)
        if below <= value:
            break
        store_f64(heap + 8 * place, below)
        place = child
    store_f64(heap + 8 * place, value)


@compiled
def collect(table, rows, count, bounds, heap, top_k, kept, near):  # type: ignore[no-untyped-def]
    """Write the rows that may be among the best, and their near ends, to two addresses; returns how many.

    Args: ``rows`` is the address of int64 row numbers, or 0 for the first ``count`` rows; ``heap`` has room for
    ``top_k`` float64, ``kept`` and ``near`` for ``count`` numbers each.
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
    for i in range(top_k):
        store_f64(heap + 8 * i, np.inf)
    limit = np.inf
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
        value = constant + term + factor * np.float64(code_product(at, stride, query))
        wide = error + relative * term
        low = value - wide
        high = value + wide
        if euclidean:
            reached = limit + lost
            if low > reached * reached * _ABOVE:
                continue
            low = np.sqrt(max(low, 0.0)) - lost
            high = (np.sqrt(max(high, 0.0)) + lost) * _ABOVE
            low = low / _ABOVE if low > 0.0 else low
        else:
            low -= lost
            high += lost
        if low > limit:
            continue
        store_i64(kept + 8 * found, row)
        store_f64(near + 8 * found, low)
        found += 1
        if high < limit:
            replace_largest(heap, top_k, high)
            limit = load_f64(heap)
    count = 0
    for i in range(found):
        if load_f64(near + 8 * i) <= limit:
            store_i64(kept + 8 * count, load_i64(kept + 8 * i))
            count += 1
    return count


@compiled
def score_kept(table, kept, count, scores):  # type: ignore[no-untyped-def]
    """Write final scores, negated unless they are distances, of the kept rows to ``scores``."""
    element = load_i64(table + 8 * field.ELEMENT)
    narrow = load_i64(table + 8 * field.NARROW)
    base = load_i64(table + 8 * field.BASE)
    stride = load_i64(table + 8 * field.STRIDE)
    norms = load_i64(table + 8 * field.NORMS)
    wide = load_i64(table + 8 * field.WIDE)
    scratch = load_i64(table + 8 * field.SCRATCH)
    dimension = load_i64(table + 8 * field.DIMENSION)
    metric = load_i64(table + 8 * field.METRIC)
    length = query_length(narrow, wide, scratch, dimension) if metric == COSINE else 1.0
    sign = 1.0 if metric == L2 else -1.0
    for i in range(count):
        if i + 2 < count:
            fetch_row(base + load_i64(kept + 8 * (i + 2)) * stride, dimension)
        row = load_i64(kept + 8 * i)
        at = widened(base + row * stride, narrow, dimension, element)
        score = final_score(at, norms + 4 * row, wide, scratch, dimension, metric, length)
        store_f64(scores + 8 * i, sign * score)


@compiled
def order_scored(scores, rows, count):  # type: ignore[no-untyped-def]
    """Sort ``count`` rows by (score, row), in place; Shell's sort with gaps that grow by 9/4."""
    gap = 1
    while gap < count:
        gap = (9 * gap + 4) // 4
    while gap > 1:
        gap = (4 * gap) // 9
        gap = max(gap, 1)
        for i in range(gap, count):
            score = load_f64(scores + 8 * i)
            row = load_i64(rows + 8 * i)
            j = i - gap
            while j >= 0:
                before = load_f64(scores + 8 * j)
                if before < score or (before == score and load_i64(rows + 8 * j) < row):
                    break
                store_f64(scores + 8 * (j + gap), before)
                store_i64(rows + 8 * (j + gap), load_i64(rows + 8 * j))
                j -= gap
            store_f64(scores + 8 * (j + gap), score)
            store_i64(rows + 8 * (j + gap), row)


@compiled
def scan(table, plan, query):  # type: ignore[no-untyped-def]
    """The best ``TOP_K`` of the plan's rows for the query at an address, first among all that were scored.

    They stand at ``KEPT``, their scores at ``NEAR``. Returns how many were scored; ``UNUSABLE``, or ``UNBOUNDED`` where
    the numbers are too large for intervals; nothing was compared then.
    """
    narrow = load_i64(table + 8 * field.NARROW)
    dimension = load_i64(table + 8 * field.DIMENSION)
    metric = load_i64(table + 8 * field.METRIC)
    low = load_i64(table + 8 * field.CODE_LOW)
    step = load_i64(table + 8 * field.CODE_STEP)
    rounded = load_i64(table + 8 * field.CODE_QUERY)
    bounds = load_i64(table + 8 * field.BOUNDS_AT)
    kept = load_i64(table + 8 * field.KEPT)
    scores = load_i64(table + 8 * field.NEAR)
    usable = fill_query(query, narrow, load_i64(table + 8 * field.WIDE), dimension)
    if usable == 0 or (usable == 1 and metric == COSINE):
        return UNUSABLE
    round_query(narrow, low, step, dimension, metric == L2, rounded)
    if not code_bounds(narrow, low, step, dimension, metric == L2, metric == COSINE, rounded, bounds):
        return UNBOUNDED
    rows = load_i64(plan + 8 * field.OF_CHOSEN)
    count = load_i64(plan + 8 * field.OF_COUNT)
    top_k = load_i64(plan + 8 * field.OF_TOP_K)
    found = collect(table, rows, count, bounds, load_i64(table + 8 * field.ENDS), top_k, kept, scores)
    score_kept(table, kept, found, scores)
    order_scored(scores, kept, found)
    if metric != L2:
        for i in range(found):
            store_f64(scores + 8 * i, -load_f64(scores + 8 * i))
    return found


@compiled
def scan_one(table, plan, query, positions, scores):  # type: ignore[no-untyped-def]
    """One comparison by a plan; writes the best rows to two arrays of at least ``TOP_K``.

    Args: ``table``, ``plan`` and ``query`` are addresses. Returns how many rows were scored, perhaps with
    ``UNCONFIRMED``, or what :func:`scan` does.
    """
    found = scan(table, plan, query)
    if found < 0:
        return found
    rows = load_i64(table + 8 * field.KEPT)
    values = load_i64(table + 8 * field.NEAR)
    for i in range(load_i64(plan + 8 * field.OF_TOP_K)):
        positions[i] = load_i64(rows + 8 * i)
        scores[i] = load_f64(values + 8 * i)
    if not all_confirmed(load_i64(plan + 8 * field.OF_CONFIRMED), rows, found):
        return found | UNCONFIRMED
    return found


@compiled
def scan_many(table, plan, queries, first, last, positions, scores, outcomes):  # type: ignore[no-untyped-def]
    """The comparisons of queries ``first`` … ``last - 1``, one after the other; ``outcomes`` (m, 4) as for walks."""
    dimension = load_i64(table + 8 * field.DIMENSION)
    for i in range(first, last):
        outcomes[i, 0] = scan_one(table, plan, queries + 4 * dimension * i, positions[i], scores[i])
