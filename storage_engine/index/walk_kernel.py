"""The walk itself, compiled: HNSW's search (Malkov and Yashunin 2018, algorithms 2 and 5) over frozen arrays.

Candidates and results are one ascending array of packed keys, ordered value << 32 | row << 1 | expanded, in place of
two heaps; inserting is a pass of vector minima and maxima without a branch. The unseen neighbours of a row are
collected first, and their numbers fetched ahead of use. Under a mask non-matching rows are walked through but not
kept, so the results are an array of their own beside a heap of what remains to be expanded.

The same loops run over float32 rows or over codes (:mod:`storage_engine.index.codes`); the best rows are scored in
float64 from the float32 rows either way.

A kernel takes one array of addresses and sizes, filled by :class:`storage_engine.index.walker.Walker`; the positions
in it are the constants below, and ``table`` is its address.
"""

from __future__ import annotations

import numpy as np

from storage_engine.index.code_kernel import code_value, round_query
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
    insert_key_in_block,
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

# fmt: off
(BASE, STRIDE, NORMS, DIMENSION, METRIC, LINKS, WIDTH, UPPER, UPPER_WIDTH, FIRST_UPPER, ENTRY, LEVELS,
 NARROW, WIDE, SCRATCH, SEEN, EPOCH, KEYS, UNSEEN, FRESH, HEAP,
 EF, TOP_K, RESCORED, MASK, BUDGET, POSITIONS, SCORES, COMPARED, EXHAUSTED,
 CODE_ROWS, CODE_STRIDE, CODE_TERMS, CODE_LOW, CODE_STEP, CODE_QUERY,
 PROBE, ENOUGH, WIDER, MET, MATCHED, PARAMETERS) = range(42)
# fmt: on

NONE = np.int64(2**63 - 1)  # an empty place among the keys; odd, so it reads as a row already expanded
LEAST = np.int64(-(2**63))
ROW_BITS = np.int64(0xFFFFFFFF)
CODED = 3  # the metric of a walk over codes: they know which one they stand for
AHEAD = 8  # rows whose numbers are asked for before they are compared


@compiled
def row_value(row, base, stride, norms, narrow, dimension, metric):  # type: ignore[no-untyped-def]
    """What the walk orders by, smaller is nearer: squared distance, or minus the (scaled) inner product; float32."""
    at = base + row * stride
    if metric == CODED:
        return code_value(at, stride, norms, narrow)
    if metric == L2:
        return squared_distance(at, narrow, dimension)
    product = -inner_product(at, narrow, dimension)
    if metric == COSINE:
        return product / load_f32(norms + 4 * row)
    return product


@compiled
def key_of(value, row):  # type: ignore[no-untyped-def]
    """The packed key: its order as int64 is that of (value, row)."""
    bits = bits_of(value)
    if bits < 0:
        bits ^= np.int32(0x7FFFFFFF)
    return (np.int64(bits) << 32) | (np.int64(row) << 1)


@compiled
def insert(keys, blocks, key):  # type: ignore[no-untyped-def]
    """Insert a key into the ascending 8·blocks keys at an address; the largest falls off."""
    for block in range(blocks - 1, -1, -1):
        insert_key_in_block(keys + 64 * block, key)


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
def descend(table, base, stride, norms, narrow, dimension, metric):  # type: ignore[no-untyped-def]
    """From the entry down the upper levels, each time to the nearest neighbour: (row, value, rows compared)."""
    width = load_i64(table + 8 * UPPER_WIDTH)
    upper = load_i64(table + 8 * UPPER)
    first = load_i64(table + 8 * FIRST_UPPER)
    current = load_i64(table + 8 * ENTRY)
    value = row_value(current, base, stride, norms, narrow, dimension, metric)
    compared = 1
    for level in range(load_i64(table + 8 * LEVELS), 0, -1):
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
def walk_all(table, start, value, compared, base, stride, norms, narrow, dimension, metric):  # type: ignore[no-untyped-def]
    """Level 0 without a mask; leaves the best rows in the keys and returns the rows compared."""
    # long: the loop shares a dozen addresses, and passing them on would cost more than it shows
    links = load_i64(table + 8 * LINKS)
    width = load_i64(table + 8 * WIDTH)
    seen = load_i64(table + 8 * SEEN)
    epoch = np.uint16(load_i64(table + 8 * EPOCH))
    unseen = load_i64(table + 8 * UNSEEN)
    fresh = load_i64(table + 8 * FRESH)
    keys = load_i64(table + 8 * KEYS)
    ef = load_i64(table + 8 * EF)
    blocks = (ef + 7) >> 3
    store_u16(seen + 2 * start, epoch)
    store_i64(keys, key_of(value, start))
    now = 0
    while True:
        while now < ef and load_i64(keys + 8 * now) & 1:
            now += 1
        if now >= ef:
            return compared
        key = load_i64(keys + 8 * now)
        store_i64(keys + 8 * now, key | 1)
        now += 1
        count = collect_unseen(links + 4 * width * ((key & ROW_BITS) >> 1), width, seen, epoch, unseen)
        following = load_i64(keys + 8 * now)  # expanded next if nothing better comes
        if not following & 1:
            neighbours = links + 4 * width * ((following & ROW_BITS) >> 1)
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
def push(heap, size, key):  # type: ignore[no-untyped-def]
    """Add a key to the binary min-heap of ``size`` keys at an address."""
    place = size
    while place > 0:
        parent = (place - 1) >> 1
        above = load_i64(heap + 8 * parent)
        if above <= key:
            break
        store_i64(heap + 8 * place, above)
        place = parent
    store_i64(heap + 8 * place, key)


@compiled
def pop(heap, size):  # type: ignore[no-untyped-def]
    """Remove the least key of the heap and return it."""
    least = load_i64(heap)
    last = load_i64(heap + 8 * (size - 1))
    size -= 1
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        key = load_i64(heap + 8 * child)
        if child + 1 < size and load_i64(heap + 8 * (child + 1)) < key:
            child += 1
            key = load_i64(heap + 8 * child)
        if key >= last:
            break
        store_i64(heap + 8 * place, key)
        place = child
    store_i64(heap + 8 * place, last)
    return least


@compiled
def walk_masked(  # type: ignore[no-untyped-def]  # noqa: PLR0915 - as above
    table, start, value, compared, base, stride, norms, narrow, dimension, metric
):
    """Level 0 through all rows, keeping those of the mask; returns the rows compared, more than the budget if given up.

    The walk ends where the nearest row still to be expanded is farther than the worst kept one, so it always looks at
    least as far as a walk without a mask. After ``PROBE`` rows it looks back once: where fewer than ``ENOUGH`` of them
    matched, it keeps ``WIDER`` candidates from then on, or is given up if that is 0. ``MET`` and ``MATCHED`` are set to
    the rows met until then (all, if the walk was shorter) and the matching ones among them.
    """
    # long: as above
    links = load_i64(table + 8 * LINKS)
    width = load_i64(table + 8 * WIDTH)
    seen = load_i64(table + 8 * SEEN)
    epoch = np.uint16(load_i64(table + 8 * EPOCH))
    unseen = load_i64(table + 8 * UNSEEN)
    fresh = load_i64(table + 8 * FRESH)
    keys = load_i64(table + 8 * KEYS)
    heap = load_i64(table + 8 * HEAP)
    mask = load_i64(table + 8 * MASK)
    budget = load_i64(table + 8 * BUDGET)
    ef = load_i64(table + 8 * EF)
    blocks = (ef + 7) >> 3
    probe = load_i64(table + 8 * PROBE)
    met = 0
    matched = 0
    store_u16(seen + 2 * start, epoch)
    key = key_of(value, start)
    if load_u8(mask + start):
        store_i64(keys, key)
    push(heap, 0, key)
    size = 1
    while size > 0:
        if met >= probe:
            probe = NONE
            store_i64(table + 8 * MET, met)
            store_i64(table + 8 * MATCHED, matched)
            if matched < load_i64(table + 8 * ENOUGH):
                if load_i64(table + 8 * WIDER) == 0:
                    return budget + 1
                ef = max(ef, load_i64(table + 8 * WIDER))
                blocks = (ef + 7) >> 3
                store_i64(table + 8 * EF, ef)
        worst = load_i64(keys + 8 * (ef - 1))
        key = pop(heap, size)
        size -= 1
        if key > worst:
            break
        row = (key & ROW_BITS) >> 1
        met += 1
        matched += load_u8(mask + row)
        count = collect_unseen(links + 4 * width * row, width, seen, epoch, unseen)
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
        store_i64(table + 8 * MET, met)
        store_i64(table + 8 * MATCHED, matched)
    return compared


@compiled
def report(table, found, base, stride, norms, dimension, metric):  # type: ignore[no-untyped-def]
    """Score the best ``found`` keys in float64, order them by (score, row), write them out."""
    keys = load_i64(table + 8 * KEYS)
    wide = load_i64(table + 8 * WIDE)
    scratch = load_i64(table + 8 * SCRATCH)
    positions = load_i64(table + 8 * POSITIONS)
    scores = load_i64(table + 8 * SCORES)
    length = query_length(load_i64(table + 8 * NARROW), wide, scratch, dimension) if metric == COSINE else 1.0
    sign = 1.0 if metric == L2 else -1.0
    for i in range(found):
        if i + 2 < found:
            fetch_row(base + ((load_i64(keys + 8 * (i + 2)) & ROW_BITS) >> 1) * stride, dimension)
        row = (load_i64(keys + 8 * i) & ROW_BITS) >> 1
        score = sign * final_score(base + row * stride, norms + 4 * row, wide, scratch, dimension, metric, length)
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
    """Lay out the query at an address as :class:`storage_engine.vectors.kernels.QueryBlock` describes."""
    for j in range(dimension):
        number = load_f32(query + 4 * j)
        store_f32(narrow + 4 * j, number)
        store_f64(wide + 8 * j, np.float64(number))
    rest = dimension & 15
    tail = narrow + ((dimension + 15) >> 4) * 64 + 4 * (16 - rest)
    for j in range(rest):
        store_f32(tail + 4 * j, load_f32(query + 4 * (dimension - rest + j)))


@compiled
def walk(parameters, query):  # type: ignore[no-untyped-def]
    """One search: returns how many rows were written to the outputs; sets ``COMPARED`` and ``EXHAUSTED``."""
    table = parameters.ctypes.data
    base = load_i64(table + 8 * BASE)
    stride = load_i64(table + 8 * STRIDE)
    norms = load_i64(table + 8 * NORMS)
    narrow = load_i64(table + 8 * NARROW)
    dimension = load_i64(table + 8 * DIMENSION)
    metric = load_i64(table + 8 * METRIC)
    keys = load_i64(table + 8 * KEYS)
    ef = load_i64(table + 8 * EF)
    fill_query(query.ctypes.data, narrow, load_i64(table + 8 * WIDE), dimension)
    store_i64(keys - 8, LEAST)
    for j in range(((max(ef, load_i64(table + 8 * WIDER)) + 7) >> 3) * 8 + 8):
        store_i64(keys + 8 * j, NONE)
    exhausted = False
    rows = base
    width = stride
    terms = norms
    asked = narrow
    numbers = dimension
    order = metric
    if load_i64(table + 8 * CODE_ROWS):  # walk over codes instead: the same loops with other addresses
        rows = load_i64(table + 8 * CODE_ROWS)
        width = load_i64(table + 8 * CODE_STRIDE)
        terms = load_i64(table + 8 * CODE_TERMS)
        asked = load_i64(table + 8 * CODE_QUERY)
        numbers = width >> 2
        order = CODED
        low = load_i64(table + 8 * CODE_LOW)
        round_query(narrow, low, load_i64(table + 8 * CODE_STEP), dimension, metric == L2, asked)
    row, value, compared = descend(table, rows, width, terms, asked, numbers, order)
    if load_i64(table + 8 * MASK):
        compared = walk_masked(table, row, value, compared, rows, width, terms, asked, numbers, order)
        exhausted = compared > load_i64(table + 8 * BUDGET)
    else:
        compared = walk_all(table, row, value, compared, rows, width, terms, asked, numbers, order)
    ef = load_i64(table + 8 * EF)  # a masked walk may have raised it
    found = 0
    while found < ef and load_i64(keys + 8 * found) != NONE:
        found += 1
    found = min(found, load_i64(table + 8 * RESCORED))
    report(table, found, base, stride, norms, dimension, metric)
    parameters[COMPARED] = compared
    parameters[EXHAUSTED] = exhausted
    return min(found, load_i64(table + 8 * TOP_K))


@compiled
def walk_many(parameters, queries, first, last, positions, scores, outcomes):  # type: ignore[no-untyped-def]
    """The searches of queries ``first`` … ``last - 1``, one after the other.

    Args: ``queries`` float32 (m, d); ``positions`` int64 and ``scores`` float64 (m, k), k at least ``TOP_K``;
    ``outcomes`` int64 (m, 5): rows found, ``EXHAUSTED``, ``COMPARED``, ``MET``, ``MATCHED``. ``EPOCH`` is raised before
    each search and must not run over.
    """
    ef = parameters[EF]
    from_positions = parameters[POSITIONS]
    from_scores = parameters[SCORES]
    for i in range(first, last):
        parameters[EPOCH] += 1
        parameters[EF] = ef
        found = walk(parameters, queries[i])
        for j in range(found):
            positions[i, j] = load_i64(from_positions + 8 * j)
            scores[i, j] = load_f64(from_scores + 8 * j)
        outcomes[i, 0] = found
        outcomes[i, 1] = parameters[EXHAUSTED]
        outcomes[i, 2] = parameters[COMPARED]
        outcomes[i, 3] = parameters[MET]
        outcomes[i, 4] = parameters[MATCHED]
