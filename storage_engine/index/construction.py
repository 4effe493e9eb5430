"""Building the graph in rounds: every row of a round searches the same graph, then all of them join it.

So rows are independent of each other within a round, threads share them freely, and the same seed gives the same graph
however many threads there are (the idea of ParlayANN: Manohar and others, "Scalable and deterministic parallel
graph-based approximate nearest neighbor search algorithms", 2024). A round is at most a fiftieth of the rows that are
in, drawn at random, so that hardly any row misses a neighbour that joins with it. Rows of a round that are near each
other follow one another, so that a search finds in the cache what the one before it has read.

Of rows that are equal only one is connected. The others hang below it as a tree: they are found with it, and do not
crowd out its links to other rows.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage_engine.index import construction_kernel as kernel
from storage_engine.index import pair_kernel
from storage_engine.index.codes import Codes, terms_at
from storage_engine.index.graph import Graph
from storage_engine.schema import GraphOptions

ROUND_SHARE = 50
"""A round is at most one in so many of the rows that are in."""

_BLOCK = 32  # rows that a thread takes at once: a few milliseconds of work, so that a build can be ended at any time
_TARGETS = 256  # lists that a thread takes at once
_CHILDREN = 8  # copies that hang below a row or below another copy
_ATTEMPTS = 3  # a link that was given up may have been the only way to its row
_NEAREST = 16  # rows that may lead to one that nothing leads to
_SPARED = 3  # links to a row with fewer arriving ones are not given up
_MOST_LEVELS = 30
_TAIL = 32

Task = Callable[[NDArray[np.int64], int, int], object]
"""A kernel with its arguments: parameters of the thread, first and last of its share."""


class Nearness(enum.Enum):
    """Which rows a graph connects."""

    DISTANCE = "distance"
    ANGLE = "angle"
    """Rows have length one: searches compare by product, choices by distance, and both orders are the same."""
    PRODUCT = "product"


class Construction:
    """A graph that grows.

    Args:
        rows: Float32 of shape (n, d), contiguous: as they are compared. Read only where there are no codes, and given
            as ``None`` where there are.
        codes: Of the same rows; by distance for :attr:`Nearness.DISTANCE`, by product for the others.
        numbers: The float32 numbers, as they are compared, of some row numbers; used where there are codes.
        nearness: Which rows are connected.
        options: M, ef_construction, seed.
        levels: uint8 of shape (n,): see :func:`draw_levels`.
        threads: At least 1; the graph does not depend on it.
    """

    def __init__(
        self,
        rows: NDArray[np.float32] | None,
        codes: Codes | None,
        numbers: Callable[[NDArray[np.int64]], NDArray[np.float32]],
        nearness: Nearness,
        options: GraphOptions,
        levels: NDArray[np.uint8],
        threads: int,
    ) -> None:
        n, m = levels.shape[0], options.m
        heights = levels.astype(np.int64)
        self._levels = levels
        self._links = np.full((n, 2 * m), -1, np.int32)
        self._upper = np.full((int(heights.sum()), m), -1, np.int32)
        self._first_upper = np.cumsum(heights) - heights
        self._originals = np.full(n, -1, np.int64)
        self._nearness = nearness
        self._numbers = numbers
        self._coded = codes is not None
        self._threads = threads
        self._added = 0
        table = self._table = np.zeros(kernel.PARAMETERS, np.int64)
        self._held: list[object] = [rows, codes]  # what the table refers to only by address
        if codes is not None:
            self._held += _describe_codes(table, codes, nearness)
        elif rows is not None:
            _describe_rows(table, rows, nearness)
        table[kernel.COUNT] = n
        table[kernel.LINKS] = self._links.ctypes.data
        table[kernel.WIDTH] = 2 * m
        table[kernel.UPPER] = self._upper.ctypes.data
        table[kernel.UPPER_WIDTH] = m
        table[kernel.FIRST_UPPER] = self._first_upper.ctypes.data
        table[kernel.HEIGHTS] = self._levels.ctypes.data
        table[kernel.ENTRY] = -1
        table[kernel.EF] = max(options.ef_construction, m)
        table[kernel.ROOM] = -(-max(options.ef_construction, 4 * m) // 8) * 8
        self._idle: list[_Worker] = []

    def insert(self, order: NDArray[np.int64], report: Callable[[int], None]) -> None:
        """Connect more rows.

        Args:
            order: Row numbers that are not in yet, in the order of joining.
            report: Called in this thread, every few milliseconds, with the number of rows that are in; what it raises
                ends the work, and the graph is of no use then.
        """
        with ThreadPoolExecutor(max(1, self._threads - 1), "qstore-build") as pool:
            at = 0
            while at < order.size:
                size = min(max(1, self._added // ROUND_SHARE), order.size - at)
                self._round(np.ascontiguousarray(order[at : at + size]), pool, report)
                at += size

    def graph(self) -> Graph:
        """What is connected so far, as a copy; rows that are not in have no links, and none lead to them."""
        copies = np.flatnonzero(self._originals >= 0)
        links, levels = self._links.copy(), self._levels.copy()
        levels[copies] = 0
        owners = np.repeat(np.arange(levels.size), self._levels)
        if copies.size:
            self._hang(copies, links)
        if self._nearness is not Nearness.PRODUCT:  # there most rows are nobody's nearest, and links by distance help
            self._reach_all(links)
        return Graph(links, levels, self._upper[self._originals[owners] < 0], int(self._table[kernel.ENTRY]))

    def _round(self, members: NDArray[np.int64], pool: ThreadPoolExecutor, report: Callable[[int], None]) -> None:
        if self._table[kernel.ENTRY] < 0:
            self._table[kernel.ENTRY] = members[0]
            self._added += 1
            members = members[1:]
        if not members.size:
            return
        size = members.size
        numbers = self._numbers(members) if self._coded else np.empty((size, 0), np.float32)
        starts, cells, originals = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.int64)

        def locate(own: NDArray[np.int64], first: int, last: int) -> None:
            kernel.locate(own, members, numbers, starts, cells, first, last)

        def connect(own: NDArray[np.int64], first: int, last: int) -> None:
            kernel.connect(own, members, numbers, starts, order, originals, first, last)

        self._share(locate, size, 4 * _BLOCK, pool, report)
        order = np.argsort(cells, kind="stable")
        self._share(connect, size, _BLOCK, pool, report)
        self._originals[members] = originals
        joining = members[originals < 0]
        if joining.size:
            self._link_back(joining, pool, report)
        self._added += size
        report(self._added)

    def _link_back(self, joining: NDArray[np.int64], pool: ThreadPoolExecutor, report: Callable[[int], None]) -> None:
        heights = self._levels[joining].astype(np.int64)
        entry = int(self._table[kernel.ENTRY])
        for level in range(min(int(heights.max()), int(self._levels[entry])) + 1):
            own = joining[heights >= level]
            lists = self._links[own] if level == 0 else self._upper[self._first_upper[own] + level - 1]
            edges, bounds = _edges(lists, own)

            def link_back(
                table: NDArray[np.int64],
                first: int,
                last: int,
                level: int = level,
                edges: NDArray[np.int64] = edges,
                bounds: NDArray[np.int64] = bounds,
            ) -> None:
                kernel.link_back(table, level, edges, bounds, first, last)

            self._share(link_back, bounds.size - 1, _TARGETS, pool, report)
        highest = int(np.argmax(heights))
        if heights[highest] > self._levels[entry]:
            self._table[kernel.ENTRY] = joining[highest]

    def _share(self, task: Task, size: int, step: int, pool: ThreadPoolExecutor, report: Callable[[int], None]) -> None:
        """Run a task over ``size`` things in blocks, this thread and those of the pool taking the next block each."""
        starts = itertools.count(0, step)  # one thread at a time gets the next number
        ended = False

        def work(between: Callable[[], None]) -> None:
            worker = self._worker()
            while not ended and (first := next(starts)) < size:
                task(worker.table, first, min(first + step, size))
                between()
            self._idle.append(worker)

        more = min(self._threads, -(-size // step)) - 1
        running = [pool.submit(work, lambda: None) for _ in range(more)]
        try:
            work(lambda: report(self._added))
        finally:
            ended = True
            wait(running)
        for future in running:
            future.result()

    def _worker(self) -> _Worker:
        try:
            worker = self._idle.pop()
        except IndexError:
            worker = _Worker(self._table)
        worker.table[kernel.ENTRY] = self._table[kernel.ENTRY]
        return worker

    def _hang(self, copies: NDArray[np.int64], links: NDArray[np.int32]) -> None:
        """Write the links of copies, and those that lead to them, to ``links``: below each row a tree of its copies."""
        originals = self._originals[copies]
        order = np.argsort(originals, kind="stable")
        copies, originals = copies[order], originals[order]
        first = np.flatnonzero(np.diff(originals, prepend=-1))
        start = np.repeat(first, np.diff(np.append(first, copies.size)))
        rank = np.arange(copies.size) - start
        children = min(_CHILDREN, links.shape[1] // 2)
        above = rank // children
        deeper = above > 0
        parents = np.where(deeper, copies[start + above - 1], originals)
        links[copies, 0] = parents
        links[parents[deeper], 1 + rank[deeper] % children] = copies[deeper]
        edges, bounds = _edges(parents[~deeper, None], copies[~deeper])
        worker = self._worker()
        worker.table[kernel.LINKS] = links.ctypes.data
        kernel.link_back(worker.table, 0, edges, bounds, 0, bounds.size - 1)

    def _reach_all(self, links: NDArray[np.int32]) -> None:
        """Link rows that no walk could reach from the nearest row that one does reach.

        Where a full list turned a row down everywhere, nothing leads to it: HNSW leaves about one row in a thousand so.
        """
        entry = int(self._table[kernel.ENTRY])
        waiting = np.empty(links.shape[0], np.int64)
        joined = (links[:, 0] >= 0) & (self._originals < 0)
        for _ in range(_ATTEMPTS):
            reached = np.zeros(links.shape[0], np.bool_)
            kernel.reach(links, entry, reached, waiting)
            lost = np.flatnonzero(joined & ~reached)
            if not lost.size:
                return
            numbers = self._numbers(lost) if self._coded else np.empty((lost.size, 0), np.float32)
            near = np.empty((lost.size, _NEAREST), np.int32)
            worker = self._worker()
            worker.table[kernel.LINKS] = links.ctypes.data
            kernel.nearest_rows(worker.table, lost, numbers, near)
            arriving = np.bincount(links[links >= 0], minlength=links.shape[0])
            for row, rows in zip(lost.tolist(), near, strict=True):
                if not reached[row]:
                    _link_from_one(links, rows[rows >= 0], row, arriving, self._originals)
                    kernel.reach(links, row, reached, waiting)


def _link_from_one(
    links: NDArray[np.int32],
    rows: NDArray[np.int32],
    row: int,
    arriving: NDArray[np.int64],
    originals: NDArray[np.int64],
) -> None:
    """Link a row from the first of some rows that has room, else from one with a link to a row that many lead to."""
    with_room = rows[links[rows, -1] < 0]
    if with_room.size:
        own = links[with_room[0]]
        own[np.flatnonzero(own < 0)[0]] = row
        arriving[row] += 1
        return
    for near in rows:
        own = links[near]
        given_up = np.where(originals[own] < 0, arriving[own], 0)
        place = int(np.argmax(given_up))
        if given_up[place] >= _SPARED:
            arriving[own[place]] -= 1
            own[place] = row
            arriving[row] += 1
            return


class _Worker:
    """The buffers of one thread, and the table that names them."""

    __slots__ = ("_buffers", "table")

    def __init__(self, fixed: NDArray[np.int64]) -> None:
        own = self.table = fixed.copy()
        width = int(own[kernel.WIDTH])
        self._buffers: dict[int, NDArray[Any]] = {
            kernel.SEEN: np.zeros(own[kernel.COUNT], np.uint16),
            kernel.UNSEEN: np.empty(width + 1, np.int32),
            kernel.FRESH: np.empty(width + 1, np.int64),
            kernel.CHOSEN: np.empty(width, np.int64),
        }
        for place, buffer in self._buffers.items():
            own[place] = buffer.ctypes.data
        keys, query = np.empty(own[kernel.ROOM] + 24, np.int64), np.zeros(32 + own[kernel.STRIDE], np.int16)
        own[kernel.KEYS] = keys.ctypes.data + 64  # before the first key stands the smallest
        own[kernel.QUERY] = query.ctypes.data + 64  # and before a rounded query its factor
        self._buffers |= {kernel.KEYS: keys, kernel.QUERY: query}


def draw_levels(rows: int, m: int, seed: int) -> NDArray[np.uint8]:
    """The highest level of each row, drawn by the seed: one in m rows is on each next level.

    Args:
        rows: How many.
        m: HNSW's M; at least 2 is assumed.
        seed: Of the draw.

    Returns:
        uint8 of shape (rows,).
    """
    drawn = np.random.default_rng([seed, rows]).random(rows)
    levels: NDArray[np.uint8] = np.minimum(-np.log1p(-drawn) / np.log(max(2, m)), _MOST_LEVELS).astype(np.uint8)
    return levels


def _edges(lists: NDArray[np.int32], rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Links of rows as target << 32 | row, ascending; where each target begins, and the end."""
    both = (lists.astype(np.int64) << 32) | rows[:, None]
    edges = np.sort(both[lists >= 0])
    return edges, np.append(np.flatnonzero(np.diff(edges >> 32, prepend=-1)), edges.size)


def _describe_rows(table: NDArray[np.int64], rows: NDArray[np.float32], nearness: Nearness) -> None:
    by_product = nearness is Nearness.PRODUCT
    table[kernel.ROWS] = rows.ctypes.data
    table[kernel.STRIDE] = rows.strides[0]
    table[kernel.BYTES] = 4 * rows.shape[1]
    table[kernel.DIMENSION] = rows.shape[1]
    table[kernel.ASKED] = pair_kernel.BY_PRODUCT if by_product else pair_kernel.BY_DISTANCE
    table[kernel.PAIRED] = pair_kernel.PRODUCTS if by_product else pair_kernel.DISTANCES


def _describe_codes(table: NDArray[np.int64], codes: Codes, nearness: Nearness) -> list[object]:
    """Fill the table in; returns the arrays that it then refers to."""
    d = codes.dimension
    equal = bool((codes.step == codes.step[0]).all())
    by_distance = pair_kernel.EQUAL_STEPS if equal else pair_kernel.STEPS
    padded = np.zeros((2, -(-d // 16) * 16), np.float32)
    padded[0, :d], padded[1, :d] = codes.step, codes.low
    tail = np.zeros(_TAIL, np.uint8)
    tail[: d % _TAIL] = 255
    table[kernel.ROWS] = codes.rows.ctypes.data
    table[kernel.STRIDE] = table[kernel.BYTES] = codes.rows.strides[0]
    table[kernel.DIMENSION] = d
    table[kernel.TERMS] = terms_at(d)
    table[kernel.LOW], table[kernel.STEP] = codes.low.ctypes.data, codes.step.ctypes.data
    table[kernel.EUCLIDEAN] = nearness is Nearness.DISTANCE
    table[kernel.ASKED] = pair_kernel.BY_CODES
    table[kernel.PAIRED] = pair_kernel.CODED_PRODUCTS if nearness is Nearness.PRODUCT else by_distance
    table[kernel.PADDED_STEP], table[kernel.PADDED_LOW] = padded[0].ctypes.data, padded[1].ctypes.data
    table[kernel.TAIL] = tail.ctypes.data
    return [padded, tail]
