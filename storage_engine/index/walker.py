"""Searching a frozen graph: read-only, without the GIL, any number of threads at once.

Where the graph has codes the walk reads those, and float32 rows only for the best ``2·top_k`` or, if that is more,
``top_k + 10``.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from storage_engine.errors import InvalidArgumentError
from storage_engine.index import scan_kernel
from storage_engine.index import walk_kernel as kernel
from storage_engine.index.code_kernel import BOUNDS
from storage_engine.index.codes import MIN_DIMENSION, encode, terms_at
from storage_engine.index.graph import Graph
from storage_engine.index.planner import PROBE_ROWS
from storage_engine.schema import Metric
from storage_engine.vectors.distance import EMPTY, Ranked, exact_top_k
from storage_engine.vectors.kernels import CODES, QueryBlock

_IDLE_SCRATCH = 64  # buffers kept for the next searches; more threads at once than this allocate anew
_EPOCHS = 2**16 - 1
_NO_BUDGET = 2**62
_OUTCOME = np.array([kernel.EXHAUSTED, kernel.COMPARED, kernel.MET, kernel.MATCHED])


class Walk(NamedTuple):
    """What a walk found.

    Attributes:
        ranked: At most ``top_k`` rows in order, with final scores.
        exhausted: The budget ended the walk; the rows are no answer.
        compared: With how many rows the query was compared.
        met: Under a mask with ``enough``, how many rows the walk had met when it looked back; otherwise meaningless.
        matched: How many of those matched.
    """

    ranked: Ranked
    exhausted: bool
    compared: int
    met: int = 0
    matched: int = 0


class Scan(NamedTuple):
    """What a comparison with given rows found: exact.

    Attributes:
        ranked: The best rows in order, with final scores.
        read: int64, all rows whose float32 numbers were read.
    """

    ranked: Ranked
    read: NDArray[np.int64]


class _Scratch:
    """The buffers of one search, used by one thread at a time and then by another."""

    __slots__ = (
        "block",
        "bounds",
        "capacity",
        "ends",
        "epoch",
        "fresh",
        "heap",
        "kept",
        "keys",
        "near",
        "parameters",
        "positions",
        "rounded",
        "scores",
        "seen",
        "unseen",
    )

    def __init__(self, fixed: NDArray[np.int64], rows: int, width: int, dimension: int) -> None:
        self.parameters = fixed.copy()
        self.block = QueryBlock(dimension)
        self.seen = np.zeros(rows, np.uint16)
        self.epoch = 0
        self.unseen = np.empty(width + 1, np.int32)
        self.fresh = np.empty(width + 1, np.int64)
        self.heap = np.empty(0, np.int64)
        self.capacity = 0
        self.bounds = np.empty(BOUNDS, np.float64)
        self.ends = np.empty(0, np.float64)
        self.kept, self.near = np.empty(0, np.int64), np.empty(0, np.float64)
        own = self.parameters
        self.rounded = np.zeros(0, np.int16)
        if own[kernel.CODE_ROWS]:
            self.rounded = np.zeros(32 + int(own[kernel.CODE_STRIDE]), np.int16)  # 64 bytes in front hold the factor
            own[kernel.CODE_QUERY] = self.rounded.ctypes.data + 64
        own[kernel.NARROW] = self.block.narrow_address
        own[kernel.WIDE] = self.block.wide_address
        own[kernel.SCRATCH] = self.block.scratch.ctypes.data
        own[kernel.SEEN] = self.seen.ctypes.data
        own[kernel.UNSEEN] = self.unseen.ctypes.data
        own[kernel.FRESH] = self.fresh.ctypes.data

    def make_room(self, ef: int, waiting: int) -> None:
        """Buffers for ``ef`` results, and under a mask for the rows that wait to be expanded."""
        own = self.parameters
        if ef > self.capacity:
            self.capacity = ef
            self.keys = np.empty((-(-ef // 8) + 2) * 8, np.int64)
            self.positions, self.scores = np.empty(ef, np.int64), np.empty(ef, np.float64)
            own[kernel.KEYS] = self.keys.ctypes.data + 64
            own[kernel.POSITIONS] = self.positions.ctypes.data
            own[kernel.SCORES] = self.scores.ctypes.data
        if waiting > self.heap.shape[0]:
            self.heap = np.empty(waiting, np.int64)
            own[kernel.HEAP] = self.heap.ctypes.data

    def next_epoch(self, searches: int) -> None:
        """Numbers for the visits of so many searches, the last of them :attr:`epoch`; old visits are forgotten."""
        if self.epoch + searches > _EPOCHS:
            self.seen[:] = 0
            self.epoch = 0
        self.epoch += searches

    def make_room_for_rows(self, count: int, top_k: int) -> None:
        """Buffers for comparing with ``count`` rows."""
        if count > self.kept.shape[0]:
            self.kept, self.near = np.empty(count, np.int64), np.empty(count, np.float64)
        if top_k > self.ends.shape[0]:
            self.ends = np.empty(top_k, np.float64)


class Walker:
    """Approximate search over one graph and the rows it was built on.

    Args:
        graph: Checked when it was made.
        vectors: float32 of shape (graph.rows, d), rows contiguous; may be a memory map. Never copied.
        norms: float32 of shape (graph.rows,), positive; required by the cosine metric.
        metric: As the graph was built.

    Raises:
        InvalidArgumentError: Shapes or types do not fit together.
    """

    def __init__(
        self, graph: Graph, vectors: NDArray[np.float32], norms: NDArray[np.float32] | None, metric: Metric
    ) -> None:
        if vectors.ndim != 2 or vectors.shape[0] != graph.rows or vectors.dtype != np.float32:
            raise InvalidArgumentError(
                f"{vectors.dtype} vectors of shape {vectors.shape} do not belong to a graph of {graph.rows} rows",
                fix="Give the float32 rows that the graph was built on.",
            )
        if vectors.shape[1] > 1 and vectors.strides[1] != 4:
            raise InvalidArgumentError("The numbers of a row are not contiguous", fix="Give a row-major array.")
        if graph.codes is not None and graph.codes.dimension != vectors.shape[1]:
            raise InvalidArgumentError(
                f"The graph has codes of {graph.codes.dimension} dimensions, the rows have {vectors.shape[1]}",
                fix="Give the rows that the graph was built on.",
            )
        if metric is Metric.COSINE and (norms is None or norms.shape != (graph.rows,)):
            raise InvalidArgumentError("The cosine metric needs one norm for each row", fix="Pass norms.")
        self.graph, self.metric, self.dimension = graph, metric, int(vectors.shape[1])
        self._links = np.ascontiguousarray(graph.links)
        self._upper = np.ascontiguousarray(graph.upper)
        self._norms = None if norms is None else np.ascontiguousarray(norms, np.float32)
        self._vectors = vectors
        self._idle: deque[_Scratch] = deque(maxlen=_IDLE_SCRATCH)
        fixed = np.zeros(kernel.PARAMETERS, np.int64)
        fixed[kernel.BASE] = vectors.ctypes.data
        fixed[kernel.STRIDE] = vectors.strides[0]
        fixed[kernel.NORMS] = 0 if self._norms is None else self._norms.ctypes.data
        fixed[kernel.DIMENSION] = self.dimension
        fixed[kernel.METRIC] = CODES[metric]
        fixed[kernel.LINKS] = self._links.ctypes.data
        fixed[kernel.WIDTH] = graph.links.shape[1]
        fixed[kernel.UPPER] = self._upper.ctypes.data
        fixed[kernel.UPPER_WIDTH] = graph.upper.shape[1]
        fixed[kernel.FIRST_UPPER] = graph.first_upper.ctypes.data
        fixed[kernel.ENTRY] = graph.entry
        fixed[kernel.LEVELS] = graph.max_level
        codes = graph.codes
        if codes is not None:
            fixed[kernel.CODE_ROWS] = codes.rows.ctypes.data
            fixed[kernel.CODE_STRIDE] = codes.rows.strides[0]
            fixed[kernel.CODE_TERMS] = terms_at(self.dimension)
            fixed[kernel.CODE_LOW] = codes.low.ctypes.data
            fixed[kernel.CODE_STEP] = codes.step.ctypes.data
        self._coded = codes is not None
        self._fixed = fixed

    def search(
        self,
        query: NDArray[np.float32],
        top_k: int,
        ef: int,
        mask: NDArray[np.bool_] | None = None,
        budget: int | None = None,
        *,
        enough: int = 0,
        wider: int = 0,
    ) -> Walk:
        """Walk the graph towards a query.

        Args:
            query: float32 of shape (d,), finite, contiguous; see :func:`storage_engine.vectors.distance.check_query`.
            top_k: How many rows, at least 1.
            ef: How many candidates are kept on the way; raised to ``top_k`` (with codes to as many as are
                scored), lowered to the number of rows.
            mask: bool of shape (n,), contiguous: which rows may be returned. The walk passes through all of them.
            budget: Under a mask, give up after comparing with so many rows; ``None`` means never.
            enough: Under a mask, how many of the first ``PROBE_ROWS`` rows must match for the walk to go on as it is.
            wider: Where fewer match, how many candidates to keep from then on; 0 gives the walk up.

        Returns:
            At most ``top_k`` rows, scored in float64 like every other road, equal scores by row. Fewer than asked for
            if the walk reached no more: the caller then compares exactly.
        """
        if query.shape != (self.dimension,) or query.dtype != np.float32 or top_k < 1:
            raise InvalidArgumentError(
                f"A query of shape {query.shape} and type {query.dtype} for {top_k} rows cannot be walked",
                fix=f"Give {self.dimension} float32 numbers and ask for at least one row.",
            )
        scratch = self._readied(top_k, ef, mask, budget, enough, wider)
        own = scratch.parameters
        scratch.next_epoch(1)
        own[kernel.EPOCH] = scratch.epoch
        found = kernel.walk(own, np.ascontiguousarray(query))
        ranked = Ranked(scratch.positions[:found].copy(), scratch.scores[:found].copy())
        exhausted, compared, met, matched = own[_OUTCOME].tolist()
        self._idle.append(scratch)
        return Walk(ranked, bool(exhausted), compared, met, matched)

    def search_many(
        self,
        queries: NDArray[np.float32],
        top_k: int,
        ef: int,
        mask: NDArray[np.bool_] | None = None,
        budget: int | None = None,
        *,
        enough: int = 0,
        wider: int = 0,
    ) -> list[Walk]:
        """Walks for several queries, float32 of shape (m, d), contiguous: each what :meth:`search` returns for it."""
        if queries.ndim != 2 or queries.shape[1] != self.dimension or queries.dtype != np.float32 or top_k < 1:
            raise InvalidArgumentError(
                f"Queries of shape {queries.shape} and type {queries.dtype} for {top_k} rows cannot be walked",
                fix=f"Give rows of {self.dimension} float32 numbers and ask for at least one row.",
            )
        many = queries.shape[0]
        width = min(top_k, self.graph.rows)
        positions, scores = np.empty((many, width), np.int64), np.empty((many, width), np.float64)
        outcomes = np.empty((many, 5), np.int64)
        scratch = self._readied(top_k, ef, mask, budget, enough, wider)
        own, plain = scratch.parameters, np.ascontiguousarray(queries)
        for first in range(0, many, _EPOCHS):
            last = min(many, first + _EPOCHS)
            scratch.next_epoch(last - first)
            own[kernel.EPOCH] = scratch.epoch - (last - first)
            kernel.walk_many(own, plain, first, last, positions, scores, outcomes)
        self._idle.append(scratch)
        walks = []
        for i, (found, exhausted, compared, met, matched) in enumerate(outcomes.tolist()):
            ranked = Ranked(positions[i, :found], scores[i, :found])
            walks.append(Walk(ranked, bool(exhausted), compared, met, matched))
        return walks

    def _readied(
        self, top_k: int, ef: int, mask: NDArray[np.bool_] | None, budget: int | None, enough: int, wider: int
    ) -> _Scratch:
        """Buffers and parameters for a walk, all but the epoch."""
        rows = self.graph.rows
        # float32 may swap rows that are nearly as near, codes more: more are kept and scored than are wanted
        scored = top_k + (max(10, top_k) if self._coded else max(6, top_k // 4))
        kept = min(max(ef, scored if self._coded else top_k), rows)
        wider = min(wider, rows) if wider > kept else wider and kept
        waiting = 0 if mask is None else 1 + (rows if budget is None else min(budget, rows))
        scratch = self._scratch()
        scratch.make_room(max(kept, wider), waiting)
        own = scratch.parameters
        own[kernel.EF] = kept
        own[kernel.TOP_K] = top_k
        own[kernel.RESCORED] = scored
        own[kernel.BUDGET] = _NO_BUDGET if budget is None else budget
        own[kernel.MASK] = 0 if mask is None else self._address(mask)
        own[kernel.PROBE] = PROBE_ROWS if enough else _NO_BUDGET
        own[kernel.ENOUGH] = enough
        own[kernel.WIDER] = wider
        return scratch

    @property
    def coded(self) -> bool:
        """Whether there are codes, so that :meth:`scan` can be used."""
        return self._coded

    def scan(self, query: NDArray[np.float32], top_k: int, rows: NDArray[np.int64] | None = None) -> Scan | None:
        """The best among all rows, or among some, by comparing codes with each of them: exact, ties included.

        Args:
            query: As for :meth:`search`.
            top_k: How many, at least 1.
            rows: int64, contiguous: distinct row numbers; ``None`` means all rows.

        Returns:
            ``min(top_k, rows)`` rows, the same to the last bit as
            :func:`storage_engine.vectors.distance.exact_top_k` gives; ``None`` where numbers are so large that codes
            prove nothing. Cost: O(rows · d) bytes, and float32 rows only for those that codes leave open.

        Raises:
            InvalidArgumentError: The graph has no codes, or an argument does not fit.
        """
        if not self._coded or query.shape != (self.dimension,) or query.dtype != np.float32 or top_k < 1:
            raise InvalidArgumentError(
                f"A query of shape {query.shape} and type {query.dtype} for {top_k} rows cannot be compared by codes",
                fix=f"Give {self.dimension} float32 numbers, ask for at least one row, and build with codes.",
            )
        count = self.graph.rows
        if rows is not None:
            count = rows.shape[0]
            if rows.dtype != np.int64 or not rows.flags.c_contiguous or not _within(rows, self.graph.rows):
                raise InvalidArgumentError(
                    f"Rows of type {rows.dtype} are no row numbers below {self.graph.rows}",
                    fix="Give contiguous int64 row numbers.",
                )
        wanted = min(top_k, count)
        if not wanted:
            return Scan(EMPTY, EMPTY.positions)
        scratch = self._scratch()
        scratch.make_room_for_rows(count, wanted)
        found = scan_kernel.scan(
            scratch.parameters,
            np.ascontiguousarray(query),
            0 if rows is None else rows.ctypes.data,
            count,
            wanted,
            scratch.bounds.ctypes.data,
            scratch.ends.ctypes.data,
            scratch.kept.ctypes.data,
            scratch.near.ctypes.data,
        )
        result = None
        if found != scan_kernel.UNBOUNDED:
            read = scratch.kept[:found].copy()
            result = Scan(Ranked(read[:wanted], scratch.near[:wanted].copy()), read)
        self._idle.append(scratch)
        return result

    def _scratch(self) -> _Scratch:
        try:
            return self._idle.pop()
        except IndexError:
            return _Scratch(self._fixed, self.graph.rows, self.graph.links.shape[1], self.dimension)

    def _address(self, mask: NDArray[np.bool_]) -> int:
        if mask.shape != (self.graph.rows,) or mask.dtype != np.bool_ or not mask.flags.c_contiguous:
            raise InvalidArgumentError(
                f"A mask of shape {mask.shape} and type {mask.dtype} does not fit {self.graph.rows} rows",
                fix="Give one contiguous bool per row.",
                value=mask.shape,
            )
        return int(mask.ctypes.data)


def _within(rows: NDArray[np.int64], count: int) -> bool:
    return rows.shape[0] == 0 or (int(rows.min()) >= 0 and int(rows.max()) < count)


def prepare() -> None:
    """Have all compiled code of a search ready, so that no query waits for it: seconds once a machine, then 0.3 s."""
    rows = np.eye(2, MIN_DIMENSION, dtype=np.float32)
    graph = Graph(
        links=np.array([[1], [0]], np.int32),
        levels=np.zeros(2, np.uint8),
        upper=np.empty((0, 1), np.int32),
        entry=0,
        codes=encode(rows, None, True, 0),
    )
    walker = Walker(graph, rows, None, Metric.L2)
    walker.search(rows[0], 1, 1, np.ones(2, np.bool_))
    walker.search_many(rows, 1, 1)
    walker.scan(rows[0], 1)
    exact_top_k(rows[0], rows, 1, Metric.L2)
