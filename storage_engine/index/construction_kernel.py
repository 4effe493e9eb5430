"""Connecting rows, compiled: search, choice of neighbours, links back; each for a block of rows or of targets.

The search is HNSW's (Malkov and Yashunin 2018, algorithm 2) over a graph that does not change meanwhile, the choice is
its heuristic (algorithm 4): a candidate is linked unless it is nearer to a row already chosen than to the one that
chooses. A row that equals one in the graph is not connected but named as its copy.

Kernels take one array of addresses and sizes, filled by :mod:`storage_engine.index.construction`; the positions in it
are the constants below, and ``table`` is its address. One such array belongs to one thread.
"""

from __future__ import annotations

import numpy as np

from storage_engine.index.code_kernel import round_query
from storage_engine.index.key_kernel import insert, key_of
from storage_engine.index.pair_kernel import BY_CODES, DISTANCES, EQUAL_STEPS, STEPS, asked_value, fetch, pair_value
from storage_engine.index.walk_kernel import collect_unseen
from storage_engine.index.walk_table import LEAST, NONE, ROW_BITS
from storage_engine.vectors.simd import (
    compiled,
    load_i32,
    load_i64,
    load_u8,
    prefetch,
    store_i32,
    store_i64,
    store_u16,
)

# fmt: off
(ROWS, STRIDE, BYTES, TERMS, ASKED, PAIRED, DIMENSION, COUNT, LOW, STEP, EUCLIDEAN, PADDED_STEP, PADDED_LOW, TAIL,
 LINKS, WIDTH, UPPER, UPPER_WIDTH, FIRST_UPPER, HEIGHTS, ENTRY, EF, ROOM,
 QUERY, SEEN, EPOCH, KEYS, UNSEEN, FRESH, CHOSEN, PARAMETERS) = range(31)
# fmt: on

_AHEAD = 8  # rows whose numbers are asked for before they are compared
_EPOCHS = 2**16 - 1
_NEAREST = 8  # among so many nearest equal rows are looked for: rounding may let others come before them
_COPIES = 4  # so many equal rows are connected like any others
_NO_ROW = np.int64(-1)


@compiled
def list_at(table, row, level):  # type: ignore[no-untyped-def]
    """The address of a row's neighbours on a level."""
    if level == 0:
        return load_i64(table + 8 * LINKS) + 4 * load_i64(table + 8 * WIDTH) * row
    place = load_i64(load_i64(table + 8 * FIRST_UPPER) + 8 * row) + level - 1
    return load_i64(table + 8 * UPPER) + 4 * load_i64(table + 8 * UPPER_WIDTH) * place


@compiled
def next_epoch(table):  # type: ignore[no-untyped-def]
    """A number for the visits of one more search; old visits are forgotten before numbers come again."""
    epoch = load_i64(table + 8 * EPOCH) + 1
    if epoch > _EPOCHS:
        seen = load_i64(table + 8 * SEEN)
        for row in range(load_i64(table + 8 * COUNT)):
            store_u16(seen + 2 * row, np.uint16(0))
        epoch = 1
    store_i64(table + 8 * EPOCH, epoch)
    return np.uint16(epoch)


@compiled
def ask(table, numbers, row):  # type: ignore[no-untyped-def]
    """Make a row, whose float32 numbers are at an address, the one that asks; returns what searches compare with."""
    if load_i64(table + 8 * ASKED) != BY_CODES:
        return load_i64(table + 8 * ROWS) + row * load_i64(table + 8 * STRIDE)
    query = load_i64(table + 8 * QUERY)
    euclidean = load_i64(table + 8 * EUCLIDEAN) != 0
    low = load_i64(table + 8 * LOW)
    round_query(numbers, low, load_i64(table + 8 * STEP), load_i64(table + 8 * DIMENSION), euclidean, query)
    return query


@compiled
def value_of(table, row, query):  # type: ignore[no-untyped-def]
    """How far a row is from the one that asks."""
    stride = load_i64(table + 8 * STRIDE)
    at = load_i64(table + 8 * ROWS) + row * stride
    terms = load_i64(table + 8 * TERMS)
    return asked_value(at, stride, terms, query, load_i64(table + 8 * DIMENSION), load_i64(table + 8 * ASKED))


@compiled
def nearest_from(table, query, level, current):  # type: ignore[no-untyped-def]
    """From a row on a level to the nearest neighbour, until none is nearer."""
    rows = load_i64(table + 8 * ROWS)
    stride = load_i64(table + 8 * STRIDE)
    size = load_i64(table + 8 * BYTES)
    width = load_i64(table + 8 * UPPER_WIDTH)
    value = value_of(table, current, query)
    moved = True
    while moved:
        moved = False
        neighbours = list_at(table, current, level)
        for j in range(width):
            row = np.int64(load_i32(neighbours + 4 * j))
            if row < 0:
                break
            fetch(rows + row * stride, size)
        for j in range(width):
            row = np.int64(load_i32(neighbours + 4 * j))
            if row < 0:
                break
            near = value_of(table, row, query)
            if near < value:
                value = near
                current = row
                moved = True
    return current


@compiled
def nearest_on(table, query, level, start):  # type: ignore[no-untyped-def]  # noqa: PLR0912, PLR0915 - see below
    """The best rows on a level, as ascending keys; returns how many."""
    # long: the loop shares a dozen addresses, and passing them on would cost more than it shows
    rows = load_i64(table + 8 * ROWS)
    stride = load_i64(table + 8 * STRIDE)
    size = load_i64(table + 8 * BYTES)
    terms = load_i64(table + 8 * TERMS)
    dimension = load_i64(table + 8 * DIMENSION)
    asked = load_i64(table + 8 * ASKED)
    width = load_i64(table + 8 * WIDTH) if level == 0 else load_i64(table + 8 * UPPER_WIDTH)
    seen = load_i64(table + 8 * SEEN)
    unseen = load_i64(table + 8 * UNSEEN)
    fresh = load_i64(table + 8 * FRESH)
    keys = load_i64(table + 8 * KEYS)
    ef = load_i64(table + 8 * EF)
    epoch = next_epoch(table)
    blocks = (ef + 7) >> 3
    for j in range(8 * blocks + 1):  # one more: behind the last candidate there is none to follow
        store_i64(keys + 8 * j, NONE)
    store_u16(seen + 2 * start, epoch)
    store_i64(keys, key_of(value_of(table, start, query), start))
    now = 0
    while True:
        while now < ef and load_i64(keys + 8 * now) & 1:
            now += 1
        if now >= ef:
            break
        key = load_i64(keys + 8 * now)
        store_i64(keys + 8 * now, key | 1)
        now += 1
        count = collect_unseen(list_at(table, (key & ROW_BITS) >> 1, level), width, seen, epoch, unseen)
        following = load_i64(keys + 8 * now)  # expanded next if nothing better comes
        if not following & 1:
            neighbours = list_at(table, (following & ROW_BITS) >> 1, level)
            prefetch(neighbours)
            prefetch(neighbours + 64)
        for j in range(min(_AHEAD, count)):
            fetch(rows + np.int64(load_i32(unseen + 4 * j)) * stride, size)
        for j in range(count):
            if j + _AHEAD < count:
                fetch(rows + np.int64(load_i32(unseen + 4 * (j + _AHEAD))) * stride, size)
            row = np.int64(load_i32(unseen + 4 * j))
            near = asked_value(rows + row * stride, stride, terms, query, dimension, asked)
            store_i64(fresh + 8 * j, key_of(near, row))
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
    found = 0
    while found < ef and load_i64(keys + 8 * found) != NONE:
        found += 1
    return found


@compiled
def between(table, row, other):  # type: ignore[no-untyped-def]
    """How far two rows are from each other."""
    rows = load_i64(table + 8 * ROWS)
    stride = load_i64(table + 8 * STRIDE)
    return pair_value(
        rows + row * stride,
        rows + other * stride,
        load_i64(table + 8 * DIMENSION),
        load_i64(table + 8 * PAIRED),
        load_i64(table + 8 * TAIL),
        load_i64(table + 8 * PADDED_STEP),
        load_i64(table + 8 * PADDED_LOW),
    )


@compiled
def original_of(table, row, found):  # type: ignore[no-untyped-def]
    """Of several rows equal to the given one among the nearest found the nearest key's; -1 if there are too few."""
    paired = load_i64(table + 8 * PAIRED)
    original = _NO_ROW
    equal = 0
    if paired in (EQUAL_STEPS, STEPS, DISTANCES):
        keys = load_i64(table + 8 * KEYS)
        for i in range(min(found, _NEAREST)):
            other = (load_i64(keys + 8 * i) & ROW_BITS) >> 1
            if between(table, row, other) == 0:
                equal += 1
                if original < 0:
                    original = other
    return original if equal >= _COPIES else _NO_ROW


@compiled
def choose(table, owner, found, most, out):  # type: ignore[no-untyped-def]
    """Write at most ``most`` of the ``found`` ascending keys as neighbours of a row to ``out``; returns how many."""
    rows = load_i64(table + 8 * ROWS)
    stride = load_i64(table + 8 * STRIDE)
    size = load_i64(table + 8 * BYTES)
    keys = load_i64(table + 8 * KEYS)
    chosen = load_i64(table + 8 * CHOSEN)
    count = 0
    for i in range(found):
        if i + 2 < found:
            fetch(rows + ((load_i64(keys + 8 * (i + 2)) & ROW_BITS) >> 1) * stride, size)
        row = (load_i64(keys + 8 * i) & ROW_BITS) >> 1
        good = True
        if found >= most:  # fewer are all taken
            bar = between(table, owner, row)
            for j in range(count):
                other = load_i64(chosen + 8 * j)
                if between(table, other, row) < bar:
                    good = False
                    if j > 0:  # what hid this one may well hide the next: it is asked earlier from now on
                        store_i64(chosen + 8 * j, load_i64(chosen + 8 * (j - 1)))
                        store_i64(chosen + 8 * (j - 1), other)
                    break
        if good:
            store_i64(chosen + 8 * count, row)
            store_i32(out + 4 * count, np.int32(row))
            count += 1
            if count == most:
                break
    return count


@compiled
def locate(parameters, members, numbers, starts, cells, first, last):  # type: ignore[no-untyped-def]
    """Descend to each of the rows ``members[first:last]``, which nothing leads to yet.

    Args: ``numbers`` float32 (m, d), their numbers, in the same order, where rows are compared by codes; ``starts``
    gets the row found above each one's own highest level, ``cells`` the rows found on the levels 2 and 1 in one number:
    rows with the same or a like number are near each other.
    """
    table = parameters.ctypes.data
    heights = load_i64(table + 8 * HEIGHTS)
    entry = load_i64(table + 8 * ENTRY)
    top = np.int64(load_u8(heights + entry))
    for i in range(first, last):
        query = ask(table, numbers.ctypes.data + 4 * i * numbers.shape[1], members[i])
        height = np.int64(load_u8(heights + members[i]))
        current = entry
        starts[i] = current
        cell = np.int64(0)
        for level in range(top, 0, -1):
            current = nearest_from(table, query, level, current)
            if level > height:
                starts[i] = current
            if level <= 2:
                cell = (cell << 32) | current
        cells[i] = cell


@compiled
def connect(parameters, members, numbers, starts, order, originals, first, last):  # type: ignore[no-untyped-def]
    """Find the neighbours of rows ``members[order[first:last]]`` and write their own links.

    Args: ``originals`` int64 (m,) gets -1, or the equal row in the graph: such a row gets no links; others see
    :func:`locate`.
    """
    table = parameters.ctypes.data
    heights = load_i64(table + 8 * HEIGHTS)
    top = np.int64(load_u8(heights + load_i64(table + 8 * ENTRY)))
    most = load_i64(table + 8 * UPPER_WIDTH)
    keys = load_i64(table + 8 * KEYS)
    store_i64(keys - 8, LEAST)
    for k in range(first, last):
        i = order[k]
        row = members[i]
        query = ask(table, numbers.ctypes.data + 4 * i * numbers.shape[1], row)
        highest = min(top, np.int64(load_u8(heights + row)))
        start = starts[i]
        original = _NO_ROW
        for level in range(highest, -1, -1):
            found = nearest_on(table, query, level, start)
            original = original_of(table, row, found)
            if original >= 0:
                break
            start = (load_i64(keys) & ROW_BITS) >> 1
            choose(table, row, found, most, list_at(table, row, level))
        originals[i] = original
        if original >= 0:
            for level in range(1, highest + 1):
                own = list_at(table, row, level)
                for j in range(most):
                    store_i32(own + 4 * j, np.int32(-1))


@compiled
def nearest_rows(parameters, members, numbers, out):  # type: ignore[no-untyped-def]
    """The nearest rows that searches at level 0 find, themselves left out, nearest first, padded with -1.

    Args: ``out`` int32 (m, k); others see :func:`locate`.
    """
    table = parameters.ctypes.data
    entry = load_i64(table + 8 * ENTRY)
    keys = load_i64(table + 8 * KEYS)
    store_i64(keys - 8, LEAST)
    for i in range(members.shape[0]):
        query = ask(table, numbers.ctypes.data + 4 * i * numbers.shape[1], members[i])
        found = nearest_on(table, query, 0, entry)
        count = 0
        for j in range(found):
            row = (load_i64(keys + 8 * j) & ROW_BITS) >> 1
            if row != members[i] and count < out.shape[1]:
                out[i, count] = row
                count += 1
        out[i, count:] = -1


@compiled
def reach(links, start, reached, waiting):  # type: ignore[no-untyped-def]
    """Set ``reached`` for every row that links lead to from a row; ``waiting`` int64 (n,) is scratch."""
    waiting[0] = start
    reached[start] = True
    size = 1
    while size:
        size -= 1
        row = waiting[size]
        for j in range(links.shape[1]):
            other = links[row, j]
            if other < 0:
                break
            if not reached[other]:
                reached[other] = True
                waiting[size] = other
                size += 1


@compiled
def link_back(parameters, level, edges, bounds, first, last):  # type: ignore[no-untyped-def]
    """Link targets ``first`` … ``last - 1`` on a level back to the rows that chose them.

    Args: ``edges`` int64, ascending: target << 32 | row; ``bounds`` int64: where each target's edges begin, and the
    end. A list with room takes all; a full one is chosen anew from what it had and what comes.
    """
    table = parameters.ctypes.data
    rows = load_i64(table + 8 * ROWS)
    stride = load_i64(table + 8 * STRIDE)
    size = load_i64(table + 8 * BYTES)
    most = load_i64(table + 8 * WIDTH) if level == 0 else load_i64(table + 8 * UPPER_WIDTH)
    keys = load_i64(table + 8 * KEYS)
    room = load_i64(table + 8 * ROOM)
    store_i64(keys - 8, LEAST)
    for i in range(first, last):
        begin = bounds[i]
        target = edges[begin] >> 32
        own = list_at(table, target, level)
        count = 0
        while count < most and load_i32(own + 4 * count) >= 0:
            count += 1
        total = count + bounds[i + 1] - begin
        if total <= most:
            for j in range(count, total):
                store_i32(own + 4 * j, np.int32(edges[begin + j - count] & ROW_BITS))
            continue
        for j in range(room):
            store_i64(keys + 8 * j, NONE)
        for j in range(count):
            fetch(rows + np.int64(load_i32(own + 4 * j)) * stride, size)
        for j in range(total):
            row = np.int64(load_i32(own + 4 * j)) if j < count else edges[begin + j - count] & ROW_BITS
            insert(keys, room >> 3, key_of(between(table, target, row), row))
        kept = choose(table, target, min(room, total), most, own)
        for j in range(kept, most):
            store_i32(own + 4 * j, np.int32(-1))
