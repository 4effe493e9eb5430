"""The walk itself, compiled: HNSW's search (Malkov and Yashunin 2018, algorithms 2 and 5) over frozen arrays.

Candidates and results are one ascending array of packed keys, ordered value << 32 | row << 1 | expanded, in place of
two heaps; inserting is a pass of vector minima and maxima without a branch. A few rows are expanded at once: their
unseen neighbours are collected first, and their numbers fetched ahead of use. Under a mask non-matching rows are walked
through but not kept, so the results are an array of their own beside a heap of what remains to be expanded.

A walk through the graphs of a column's values (:mod:`storage_engine.index.filter_graph`) begins in each of them, and
follows beside their links those of the graph of all rows, as far as they lead to rows of the same values.

The same loops run over float32 rows or over codes (:mod:`storage_engine.index.codes`); the best rows are scored in
float64 from the float32 rows either way.

``table`` is the address of the array that :mod:`storage_engine.index.walk_table` describes.
"""

from __future__ import annotations

import numpy as np

from storage_engine.index import walk_table as field
from storage_engine.index.code_kernel import code_value, round_query
from storage_engine.index.key_kernel import insert, key_of, pop, push
from storage_engine.index.walk_rules import TOGETHER
from storage_engine.index.walk_table import (
    AGAINST,
    AHEAD,
    CODED,
    EPOCHS,
    GAVE_UP,
    LEAST,
    NONE,
    ROW_BITS,
    UNCONFIRMED,
    UNUSABLE,
)
from storage_engine.vectors.kernels import (
    COSINE,
    L2,
    fetch_row,
    final_score,
    inner_product,
    query_length,
    squared_distance,
)
from storage_engine.vectors.simd import (
    bits_of,
    compiled,
    load_f32,
    load_f64,
    load_i32,
    load_i64,
    load_u8,
    load_u16,
    prefetch,
    store_f32,
    store_f64,
    store_i32,
    store_i64,
    store_u16,
)
from storage_engine.vectors.widening import widened


@compiled
def row_value(row, base, stride, norms, narrow, dimension, metric):  # type: ignore[no-untyped-def]
    """What the walk orders by, smaller is nearer: squared distance, or minus the (scaled) inner product; float32."""
    at = base + row * stride
    if metric == CODED:
        return code_value(at, stride, norms, narrow)
    if metric > CODED:  # the type of the numbers stands beside the metric
        at = widened(at, narrow, dimension, metric & ~3)
        metric &= 3
    if metric == L2:
        return squared_distance(at, narrow, dimension)
    product = -inner_product(at, narrow, dimension)
    if metric == COSINE:
        return product / load_f32(norms + 4 * row)
    return product


@compiled
def collect_unseen(neighbours, width, seen, epoch, unseen):  # type: ignore[no-untyped-def]
    """Write the neighbours not met in this walk to ``unseen``, mark them as met, return how many."""
    count = 0
    for j in range(width):
        row = np.int64(load_i32(neighbours + 4 * j))
        if row < 0:
            break
        store_i32(unseen + 4 * count, np.int32(row))
        mark = load_u16(seen + 2 * row)
        count += mark != epoch
        store_u16(seen + 2 * row, epoch)
    return count


@compiled
def collect_covered(neighbours, width, cover, seen, epoch, unseen):  # type: ignore[no-untyped-def]
    """As :func:`collect_unseen`, of those neighbours only whose flag at ``cover`` is set."""
    count = 0
    for j in range(width):
        row = np.int64(load_i32(neighbours + 4 * j))
        if row < 0:
            break
        if load_u8(cover + row):
            store_i32(unseen + 4 * count, np.int32(row))
            mark = load_u16(seen + 2 * row)
            count += mark != epoch
            store_u16(seen + 2 * row, epoch)
    return count


@compiled
def value_all(count, unseen, fresh, base, stride, norms, narrow, dimension, metric):  # type: ignore[no-untyped-def]
    """Write the keys of the collected rows to ``fresh``, their numbers fetched a few rows ahead."""
    for j in range(min(AHEAD, count)):
        fetch_row(base + np.int64(load_i32(unseen + 4 * j)) * stride, dimension)
    for j in range(count):
        if j + AHEAD < count:
            fetch_row(base + np.int64(load_i32(unseen + 4 * (j + AHEAD))) * stride, dimension)
        row = np.int64(load_i32(unseen + 4 * j))
        store_i64(fresh + 8 * j, key_of(row_value(row, base, stride, norms, narrow, dimension, metric), row))


@compiled
def descend(table, start, base, stride, norms, narrow, dimension, metric):  # type: ignore[no-untyped-def]
    """From a start down the upper levels, each time to the nearest neighbour: (row, value, rows compared).

    Args: ``start`` is the address of two int64, a row and its level.
    """
    width = load_i64(table + 8 * field.UPPER_WIDTH)
    upper = load_i64(table + 8 * field.UPPER)
    first = load_i64(table + 8 * field.FIRST_UPPER)
    current = load_i64(start)
    value = row_value(current, base, stride, norms, narrow, dimension, metric)
    compared = 1
    for level in range(load_i64(start + 8), 0, -1):
        moved = True
        while moved:
            moved = False
            neighbours = upper + 4 * width * (load_i64(first + 8 * current) + level - 1)
            for j in range(width):
                row = np.int64(load_i32(neighbours + 4 * j))
                if row < 0:
                    break
                fetch_row(base + row * stride, dimension)
            for j in range(width):
                row = np.int64(load_i32(neighbours + 4 * j))
                if row < 0:
                    break
                near = row_value(row, base, stride, norms, narrow, dimension, metric)
                compared += 1
                if near < value:
                    value = near
                    current = row
                    moved = True
    return current, value, compared


@compiled
def walk_all(  # type: ignore[no-untyped-def]  # noqa: PLR0912, PLR0915 - a loop, see below
    table, base, stride, norms, narrow, dimension, metric
):
    """Level 0 without a mask; leaves the best rows in the keys and returns the rows compared."""
    # long: the loop shares a dozen addresses, and passing them on would cost more than it shows
    links = load_i64(table + 8 * field.LINKS)
    width = load_i64(table + 8 * field.WIDTH)
    seen = load_i64(table + 8 * field.SEEN)
    epoch = np.uint16(load_i64(table + 8 * field.EPOCH))
    unseen = load_i64(table + 8 * field.UNSEEN)
    fresh = load_i64(table + 8 * field.FRESH)
    keys = load_i64(table + 8 * field.KEYS)
    ef = load_i64(table + 8 * field.EF)
    blocks = (ef + 7) >> 3
    starts = load_i64(table + 8 * field.STARTS)
    more = load_i64(table + 8 * field.MORE)
    more_width = load_i64(table + 8 * field.MORE_WIDTH)
    cover = load_i64(table + 8 * field.COVER)
    compared = 0
    for i in range(load_i64(starts)):
        row, value, met = descend(table, starts + 8 + 16 * i, base, stride, norms, narrow, dimension, metric)
        compared += met
        store_u16(seen + 2 * row, epoch)
        insert(keys, blocks, key_of(value, row))
    now = 0
    while True:
        count = 0
        taken = 0
        while taken < TOGETHER and now < ef:
            key = load_i64(keys + 8 * now)
            if not key & 1:
                store_i64(keys + 8 * now, key | 1)
                neighbours = links + 4 * width * ((key & ROW_BITS) >> 1)
                count += collect_unseen(neighbours, width, seen, epoch, unseen + 4 * count)
                if more:
                    neighbours = more + 4 * more_width * ((key & ROW_BITS) >> 1)
                    count += collect_covered(neighbours, more_width, cover, seen, epoch, unseen + 4 * count)
                taken += 1
            now += 1
        if not taken:
            return compared
        for place in range(now, now + TOGETHER):
            following = load_i64(keys + 8 * place)  # expanded next if nothing better comes
            if not following & 1:
                neighbours = links + 4 * width * ((following & ROW_BITS) >> 1)
                prefetch(neighbours)
                prefetch(neighbours + 64)
                if more:
                    neighbours = more + 4 * more_width * ((following & ROW_BITS) >> 1)
                    prefetch(neighbours)
                    prefetch(neighbours + 64)
        value_all(count, unseen, fresh, base, stride, norms, narrow, dimension, metric)
        compared += count
        least = NONE
        worst = load_i64(keys + 8 * (ef - 1))
        for j in range(count):
            key = load_i64(fresh + 8 * j)
            if key < worst:
                insert(keys, blocks, key)
                worst = load_i64(keys + 8 * (ef - 1))
                least = min(least, key)
        if least != NONE:
            place = 0
            for j in range(ef):
                place += load_i64(keys + 8 * j) < least
            now = min(now, place)


@compiled
def walk_masked(  # type: ignore[no-untyped-def]  # noqa: PLR0912, PLR0915 - as above
    table, base, stride, norms, narrow, dimension, metric
):
    """Level 0 through all rows, keeping those of the mask; returns the rows compared, more than the budget if given up.

    The walk ends where the nearest row still to be expanded is farther than the worst kept one, so it always looks at
    least as far as a walk without a mask. After ``PROBE`` rows it looks back once: where fewer than ``ENOUGH`` of them
    matched, it keeps ``WIDER`` candidates from then on, or is given up if that is 0. ``MET`` and ``MATCHED`` are set to
    the rows met until then (all, if the walk was shorter) and the matching ones among them.
    """
    # long: as above
    links = load_i64(table + 8 * field.LINKS)
    width = load_i64(table + 8 * field.WIDTH)
    seen = load_i64(table + 8 * field.SEEN)
    epoch = np.uint16(load_i64(table + 8 * field.EPOCH))
    unseen = load_i64(table + 8 * field.UNSEEN)
    fresh = load_i64(table + 8 * field.FRESH)
    keys = load_i64(table + 8 * field.KEYS)
    heap = load_i64(table + 8 * field.HEAP)
    mask = load_i64(table + 8 * field.MASK)
    budget = load_i64(table + 8 * field.BUDGET)
    ef = load_i64(table + 8 * field.EF)
    blocks = (ef + 7) >> 3
    probe = load_i64(table + 8 * field.PROBE)
    met = 0
    matched = 0
    compared = 0
    size = 0
    starts = load_i64(table + 8 * field.STARTS)
    more = load_i64(table + 8 * field.MORE)
    more_width = load_i64(table + 8 * field.MORE_WIDTH)
    cover = load_i64(table + 8 * field.COVER)
    for i in range(load_i64(starts)):
        row, value, reached = descend(table, starts + 8 + 16 * i, base, stride, norms, narrow, dimension, metric)
        compared += reached
        store_u16(seen + 2 * row, epoch)
        key = key_of(value, row)
        push(heap, size, key)
        size += 1
        if load_u8(mask + row):
            insert(keys, blocks, key)
    while size > 0:
        if met >= probe:
            probe = NONE
            store_i64(table + 8 * field.MET, met)
            store_i64(table + 8 * field.MATCHED, matched)
            if matched < load_i64(table + 8 * field.ENOUGH):
                if load_i64(table + 8 * field.WIDER) == 0:
                    return budget + 1
                ef = max(ef, load_i64(table + 8 * field.WIDER))
                blocks = (ef + 7) >> 3
                store_i64(table + 8 * field.EF, ef)
        worst = load_i64(keys + 8 * (ef - 1))
        count = 0
        taken = 0
        while taken < TOGETHER and size > 0 and met < probe and load_i64(heap) <= worst:
            row = (pop(heap, size) & ROW_BITS) >> 1
            size -= 1
            taken += 1
            met += 1
            matched += load_u8(mask + row)
            count += collect_unseen(links + 4 * width * row, width, seen, epoch, unseen + 4 * count)
            if more:
                neighbours = more + 4 * more_width * row
                count += collect_covered(neighbours, more_width, cover, seen, epoch, unseen + 4 * count)
        if not taken:
            break
        for place in range(min(size, TOGETHER)):
            neighbours = links + 4 * width * ((load_i64(heap + 8 * place) & ROW_BITS) >> 1)
            prefetch(neighbours)
            prefetch(neighbours + 64)
        compared += count
        if compared > budget:
            break
        value_all(count, unseen, fresh, base, stride, norms, narrow, dimension, metric)
        for j in range(count):
            key = load_i64(fresh + 8 * j)
            if key < worst:
                push(heap, size, key)
                size += 1
                if load_u8(mask + ((key & ROW_BITS) >> 1)):
                    insert(keys, blocks, key)
                    worst = load_i64(keys + 8 * (ef - 1))
    if probe != NONE:
        store_i64(table + 8 * field.MET, met)
        store_i64(table + 8 * field.MATCHED, matched)
    return compared


@compiled
def report(table, found, base, stride, norms, dimension, metric):  # type: ignore[no-untyped-def]
    """Score the best ``found`` keys in float64, order them by (score, row), write them out."""
    keys = load_i64(table + 8 * field.KEYS)
    wide = load_i64(table + 8 * field.WIDE)
    scratch = load_i64(table + 8 * field.SCRATCH)
    narrow = load_i64(table + 8 * field.NARROW)
    element = load_i64(table + 8 * field.ELEMENT)
    positions = load_i64(table + 8 * field.POSITIONS)
    scores = load_i64(table + 8 * field.SCORES)
    length = query_length(narrow, wide, scratch, dimension) if metric == COSINE else 1.0
    sign = 1.0 if metric == L2 else -1.0
    for i in range(found):
        if i + 2 < found:
            fetch_row(base + ((load_i64(keys + 8 * (i + 2)) & ROW_BITS) >> 1) * stride, dimension)
        row = (load_i64(keys + 8 * i) & ROW_BITS) >> 1
        at = widened(base + row * stride, narrow, dimension, element)
        score = sign * final_score(at, norms + 4 * row, wide, scratch, dimension, metric, length)
        j = i  # nearly in order already: insertion is the quickest sort
        while j > 0:
            before = load_f64(scores + 8 * (j - 1))
            if before < score or (before == score and load_i64(positions + 8 * (j - 1)) < row):
                break
            store_f64(scores + 8 * j, before)
            store_i64(positions + 8 * j, load_i64(positions + 8 * (j - 1)))
            j -= 1
        store_f64(scores + 8 * j, score)
        store_i64(positions + 8 * j, row)
    if metric != L2:
        for i in range(found):
            store_f64(scores + 8 * i, -load_f64(scores + 8 * i))


@compiled
def fill_query(query, narrow, wide, dimension):  # type: ignore[no-untyped-def]
    """Lay out the query at an address as :class:`storage_engine.vectors.kernels.QueryBlock` describes.

    Returns 0 for a query with NaN or infinity, 1 for the zero vector, 2 for any other.
    """
    beyond = np.int32(0)
    some = np.int32(0)
    for j in range(dimension):
        number = load_f32(query + 4 * j)
        bits = bits_of(number) & np.int32(0x7FFFFFFF)
        some |= bits
        beyond |= np.int32(bits >= np.int32(0x7F800000))
        store_f32(narrow + 4 * j, number)
    for j in range(dimension):
        store_f64(wide + 8 * j, np.float64(load_f32(query + 4 * j)))
    rest = dimension & 15
    tail = narrow + ((dimension + 15) >> 4) * 64 + 4 * (16 - rest)
    for j in range(rest):
        store_f32(tail + 4 * j, load_f32(query + 4 * (dimension - rest + j)))
    return 0 if beyond else 2 if some else 1


@compiled
def next_epoch(table):  # type: ignore[no-untyped-def]
    """A number for the visits of one more search; where all have been used, old visits are forgotten."""
    epoch = load_i64(table + 8 * field.EPOCH) + 1
    if epoch > EPOCHS:
        seen = load_i64(table + 8 * field.SEEN)
        for row in range(load_i64(table + 8 * field.ROWS)):
            store_u16(seen + 2 * row, np.uint16(0))
        epoch = 1
    store_i64(table + 8 * field.EPOCH, epoch)


@compiled
def adopt(table, plan):  # type: ignore[no-untyped-def]
    """Copy a plan into the table, from address to address."""
    store_i64(table + 8 * field.LINKS, load_i64(plan + 8 * field.OF_LINKS))
    store_i64(table + 8 * field.WIDTH, load_i64(plan + 8 * field.OF_WIDTH))
    store_i64(table + 8 * field.UPPER, load_i64(plan + 8 * field.OF_UPPER))
    store_i64(table + 8 * field.UPPER_WIDTH, load_i64(plan + 8 * field.OF_UPPER_WIDTH))
    store_i64(table + 8 * field.FIRST_UPPER, load_i64(plan + 8 * field.OF_FIRST_UPPER))
    store_i64(table + 8 * field.STARTS, load_i64(plan + 8 * field.OF_STARTS))
    store_i64(table + 8 * field.EF, load_i64(plan + 8 * field.OF_EF))
    store_i64(table + 8 * field.TOP_K, load_i64(plan + 8 * field.OF_TOP_K))
    store_i64(table + 8 * field.RESCORED, load_i64(plan + 8 * field.OF_RESCORED))
    store_i64(table + 8 * field.MASK, load_i64(plan + 8 * field.OF_MASK))
    store_i64(table + 8 * field.BUDGET, load_i64(plan + 8 * field.OF_BUDGET))
    store_i64(table + 8 * field.PROBE, load_i64(plan + 8 * field.OF_PROBE))
    store_i64(table + 8 * field.ENOUGH, load_i64(plan + 8 * field.OF_ENOUGH))
    store_i64(table + 8 * field.WIDER, load_i64(plan + 8 * field.OF_WIDER))
    store_i64(table + 8 * field.MORE, load_i64(plan + 8 * field.OF_MORE))
    store_i64(table + 8 * field.MORE_WIDTH, load_i64(plan + 8 * field.OF_MORE_WIDTH))
    store_i64(table + 8 * field.COVER, load_i64(plan + 8 * field.OF_COVER))


@compiled
def walk(table, query):  # type: ignore[no-untyped-def]
    """One search by the plan in the table for the query at an address; the outcome is left in the table.

    Returns how many rows were scored, at most ``RESCORED``, perhaps with ``GAVE_UP`` and ``AGAINST``; or ``UNUSABLE``.
    """
    base = load_i64(table + 8 * field.BASE)
    stride = load_i64(table + 8 * field.STRIDE)
    norms = load_i64(table + 8 * field.NORMS)
    narrow = load_i64(table + 8 * field.NARROW)
    dimension = load_i64(table + 8 * field.DIMENSION)
    metric = load_i64(table + 8 * field.METRIC)
    keys = load_i64(table + 8 * field.KEYS)
    ef = load_i64(table + 8 * field.EF)
    usable = fill_query(query, narrow, load_i64(table + 8 * field.WIDE), dimension)
    if usable == 0 or (usable == 1 and metric == COSINE):
        return UNUSABLE
    next_epoch(table)
    store_i64(keys - 8, LEAST)
    for j in range(((max(ef, load_i64(table + 8 * field.WIDER)) + 7) >> 3) * 8 + 8):
        store_i64(keys + 8 * j, NONE)
    rows = base
    width = stride
    terms = norms
    asked = narrow
    numbers = dimension
    order = metric | load_i64(table + 8 * field.ELEMENT)
    if load_i64(table + 8 * field.CODE_ROWS):  # walk over codes instead: the same loops with other addresses
        rows = load_i64(table + 8 * field.CODE_ROWS)
        width = load_i64(table + 8 * field.CODE_STRIDE)
        terms = load_i64(table + 8 * field.CODE_TERMS)
        asked = load_i64(table + 8 * field.CODE_QUERY)
        numbers = width >> 2
        order = CODED
        low = load_i64(table + 8 * field.CODE_LOW)
        round_query(narrow, low, load_i64(table + 8 * field.CODE_STEP), dimension, metric == L2, asked)
    flags = 0
    if load_i64(table + 8 * field.MASK):
        compared = walk_masked(table, rows, width, terms, asked, numbers, order)
        if compared > load_i64(table + 8 * field.BUDGET):
            flags |= GAVE_UP
        if load_i64(table + 8 * field.MET) >= load_i64(table + 8 * field.PROBE):
            flags |= AGAINST if load_i64(table + 8 * field.MATCHED) < load_i64(table + 8 * field.ENOUGH) else 0
    else:
        compared = walk_all(table, rows, width, terms, asked, numbers, order)
    ef = load_i64(table + 8 * field.EF)  # a masked walk may have raised it
    found = 0
    while found < ef and load_i64(keys + 8 * found) != NONE:
        found += 1
    found = min(found, load_i64(table + 8 * field.RESCORED))
    report(table, found, base, stride, norms, dimension, metric)
    store_i64(table + 8 * field.COMPARED, compared)
    return found | flags


@compiled
def all_confirmed(confirmed, rows, count):  # type: ignore[no-untyped-def]
    """Whether the flag (a byte a row, at an address; 0: all rows are) of each of some rows is set."""
    if confirmed:
        for i in range(count):
            if not load_u8(confirmed + load_i64(rows + 8 * i)):
                return False
    return True


@compiled
def walk_one(table, plan, query, positions, scores):  # type: ignore[no-untyped-def]
    """One search by a plan; writes the best rows to two arrays of at least ``TOP_K``.

    Args: ``table``, ``plan`` and ``query`` are addresses. Returns how many rows were written, with flags, or
    ``UNUSABLE``.
    """
    adopt(table, plan)
    outcome = walk(table, query)
    if outcome < 0:
        return outcome
    found = min(outcome & 0xFFFFFFFF, load_i64(plan + 8 * field.OF_TOP_K))
    rows = load_i64(table + 8 * field.POSITIONS)
    values = load_i64(table + 8 * field.SCORES)
    for i in range(found):
        positions[i] = load_i64(rows + 8 * i)
        scores[i] = load_f64(values + 8 * i)
    flags = outcome & (GAVE_UP | AGAINST)
    if not all_confirmed(load_i64(plan + 8 * field.OF_CONFIRMED), rows, found):
        flags |= UNCONFIRMED
    return found | flags


@compiled
def walk_many(table, plan, queries, first, last, positions, scores, outcomes):  # type: ignore[no-untyped-def]
    """The searches of queries ``first`` … ``last - 1``, one after the other.

    Args: ``queries`` is the address of float32 (m, d); ``positions`` int64 and ``scores`` (m, k), k at least ``TOP_K``;
    ``outcomes`` int64 (m, 4): what :func:`walk_one` returns, ``COMPARED``, ``MET``, ``MATCHED``.
    """
    dimension = load_i64(table + 8 * field.DIMENSION)
    for i in range(first, last):
        outcomes[i, 0] = walk_one(table, plan, queries + 4 * dimension * i, positions[i], scores[i])
        outcomes[i, 1] = load_i64(table + 8 * field.COMPARED)
        outcomes[i, 2] = load_i64(table + 8 * field.MET)
        outcomes[i, 3] = load_i64(table + 8 * field.MATCHED)
