"""What a search in compiled code works with: a plan that many searches share, and the buffers of one at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from storage_engine.index import walk_table as field
from storage_engine.index.code_kernel import BOUNDS
from storage_engine.index.walk_rules import TOGETHER
from storage_engine.vectors.kernels import QueryBlock


class Plan:
    """How a walk or a comparison goes: everything but the query, worked out once for many of them. Immutable.

    Args:
        numbers: int64 of shape (``PLAN``,), see :mod:`storage_engine.index.walk_table`.
        holds: What the addresses among the numbers point into, kept alive.

    Attributes:
        address: Of the numbers.
        top_k: How many rows an answer has at most.
        candidates: How many a walk keeps at most.
        waiting: How many rows may wait to be expanded under a mask.
        width: How many neighbours a row may have.
        count: With how many rows a comparison compares.
    """

    __slots__ = ("address", "candidates", "count", "holds", "numbers", "top_k", "waiting", "width")

    def __init__(self, numbers: NDArray[np.int64], waiting: int, holds: tuple[object, ...]) -> None:
        numbers.flags.writeable = False
        self.numbers = numbers
        self.holds = holds
        self.address = int(numbers.ctypes.data)
        self.top_k = int(numbers[field.OF_TOP_K])
        self.candidates = int(max(numbers[field.OF_EF], numbers[field.OF_WIDER]))
        self.waiting = waiting
        self.width = int(numbers[field.OF_WIDTH] + numbers[field.OF_MORE_WIDTH])
        self.count = int(numbers[field.OF_COUNT])


class Scratch:
    """The buffers of one search, used by one thread at a time and then by another.

    Args:
        fixed: int64 of shape (``PARAMETERS``,): what does not depend on the search.
        rows: Of the graph.
        dimension: Of the queries.
    """

    __slots__ = (
        "_holds",
        "address",
        "best",
        "block",
        "bounds",
        "capacity",
        "ends",
        "kept",
        "near",
        "parameters",
        "query",
        "query_address",
        "room",
        "scores",
        "seen",
        "waiting",
        "width",
    )

    def __init__(self, fixed: NDArray[np.int64], rows: int, dimension: int) -> None:
        own = self.parameters = fixed.copy()
        self.address = int(own.ctypes.data)
        self.query = np.zeros(dimension, np.float32)
        self.query_address = int(self.query.ctypes.data)
        self.block = QueryBlock(dimension)
        self.seen = np.zeros(rows, np.uint16)
        self.bounds = np.empty(BOUNDS, np.float64)
        self._holds: dict[str, object] = {}
        self.width = -1
        self.capacity = self.waiting = self.room = self.best = 0
        self.scores = np.empty(0, np.float64)
        self.kept, self.near, self.ends = np.empty(0, np.int64), np.empty(0, np.float64), np.empty(0, np.float64)
        if own[field.CODE_ROWS]:
            rounded = np.zeros(32 + int(own[field.CODE_STRIDE]), np.int16)  # 64 bytes in front hold the factor
            own[field.CODE_QUERY] = rounded.ctypes.data + 64
            self._holds["rounded"] = rounded
        own[field.ROWS] = rows
        own[field.NARROW] = self.block.narrow_address
        own[field.WIDE] = self.block.wide_address
        own[field.SCRATCH] = self.block.scratch.ctypes.data
        own[field.SEEN] = self.seen.ctypes.data
        own[field.BOUNDS_AT] = self.bounds.ctypes.data

    @property
    def epoch(self) -> int:
        """By what number the rows of the last search are marked as seen."""
        return int(self.parameters[field.EPOCH])

    def make_room_to_walk(self, candidates: int, waiting: int, width: int) -> None:
        """Buffers for so many candidates, for the rows that wait to be expanded under a mask, and for neighbours."""
        own = self.parameters
        if width > self.width:
            unseen, fresh = np.empty(TOGETHER * width + 1, np.int32), np.empty(TOGETHER * width + 1, np.int64)
            own[field.UNSEEN] = unseen.ctypes.data
            own[field.FRESH] = fresh.ctypes.data
            self._holds["neighbours"] = (unseen, fresh)
            self.width = width
        if candidates > self.capacity:
            keys = np.empty((-(-candidates // 8) + 2) * 8, np.int64)
            positions, self.scores = np.empty(candidates, np.int64), np.empty(candidates, np.float64)
            own[field.KEYS] = keys.ctypes.data + 64
            own[field.POSITIONS] = positions.ctypes.data
            own[field.SCORES] = self.scores.ctypes.data
            self._holds["candidates"] = (keys, positions)
            self.capacity = candidates
        if waiting > self.waiting:
            heap = np.empty(waiting, np.int64)
            own[field.HEAP] = heap.ctypes.data
            self._holds["heap"] = heap
            self.waiting = waiting

    def make_room_for_rows(self, count: int, top_k: int) -> None:
        """Buffers for comparing with ``count`` rows."""
        own = self.parameters
        if count > self.room:
            self.kept, self.near = np.empty(count, np.int64), np.empty(count, np.float64)
            own[field.KEPT] = self.kept.ctypes.data
            own[field.NEAR] = self.near.ctypes.data
            self.room = count
        if top_k > self.best:
            self.best = top_k
            self.ends = np.empty(top_k, np.float64)
            own[field.ENDS] = self.ends.ctypes.data
