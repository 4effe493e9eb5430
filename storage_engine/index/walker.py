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
from storage_engine.index import walk_kernel as kernel
from storage_engine.index.codes import terms_at
from storage_engine.index.graph import Graph
from storage_engine.schema import Metric
from storage_engine.vectors.distance import Ranked, exact_top_k
from storage_engine.vectors.kernels import CODES, QueryBlock

_IDLE_SCRATCH = 64  # buffers kept for the next searches; more threads at once than this allocate anew
_EPOCHS = 2**16 - 1
_NO_BUDGET = 2**62


class Walk(NamedTuple):
    """What a walk found.

    Attributes:
        ranked: At most ``top_k`` rows in order, with final scores.
        exhausted: The budget ended the walk; the rows are no answer.
        compared: With how many rows the query was compared.
    """

    ranked: Ranked
    exhausted: bool
    compared: int


class _Scratch:
    """The buffers of one search, used by one thread at a time and then by another."""

    __slots__ = (
        "block",
        "capacity",
        "epoch",
        "fresh",
        "heap",
        "keys",
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
        if self.epoch == _EPOCHS:
            self.seen[:] = 0
            self.epoch = 0
        self.epoch += 1
        own[kernel.EPOCH] = self.epoch


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
    ) -> Walk:
        """Walk the graph towards a query.

        Args:
            query: float32 of shape (d,), finite, contiguous; see :func:`storage_engine.vectors.distance.check_query`.
            top_k: How many rows, at least 1.
            ef: How many candidates are kept on the way; raised to ``top_k`` (with codes to as many as are
                scored), lowered to the number of rows.
            mask: bool of shape (n,), contiguous: which rows may be returned. The walk passes through all of them.
            budget: Under a mask, give up after comparing with so many rows; ``None`` means never.

        Returns:
            At most ``top_k`` rows, scored in float64 like every other road, equal scores by row. Fewer than asked for
            if the walk reached no more: the caller then compares exactly.
        """
        if query.shape != (self.dimension,) or query.dtype != np.float32 or top_k < 1:
            raise InvalidArgumentError(
                f"A query of shape {query.shape} and type {query.dtype} for {top_k} rows cannot be walked",
                fix=f"Give {self.dimension} float32 numbers and ask for at least one row.",
            )
        rows = self.graph.rows
        # float32 may swap rows that are nearly as near, codes more: more are kept and scored than are wanted
        scored = top_k + (max(10, top_k) if self._coded else max(6, top_k // 4))
        kept = min(max(ef, scored if self._coded else top_k), rows)
        waiting = 0 if mask is None else 1 + (rows if budget is None else min(budget, rows))
        try:
            scratch = self._idle.pop()
        except IndexError:
            scratch = _Scratch(self._fixed, rows, self.graph.links.shape[1], self.dimension)
        scratch.make_room(kept, waiting)
        own = scratch.parameters
        own[kernel.EF] = kept
        own[kernel.TOP_K] = top_k
        own[kernel.RESCORED] = scored
        own[kernel.BUDGET] = _NO_BUDGET if budget is None else budget
        own[kernel.MASK] = 0 if mask is None else self._address(mask)
        found = kernel.walk(own, np.ascontiguousarray(query))
        ranked = Ranked(scratch.positions[:found].copy(), scratch.scores[:found].copy())
        walk = Walk(ranked, bool(own[kernel.EXHAUSTED]), int(own[kernel.COMPARED]))
        self._idle.append(scratch)
        return walk

    def _address(self, mask: NDArray[np.bool_]) -> int:
        if mask.shape != (self.graph.rows,) or mask.dtype != np.bool_ or not mask.flags.c_contiguous:
            raise InvalidArgumentError(
                f"A mask of shape {mask.shape} and type {mask.dtype} does not fit {self.graph.rows} rows",
                fix="Give one contiguous bool per row.",
                value=mask.shape,
            )
        return int(mask.ctypes.data)


def prepare() -> None:
    """Have all compiled code of a search ready, so that no query waits for it: seconds once a machine, then 0.3 s."""
    rows = np.eye(2, 3, dtype=np.float32)
    graph = Graph(
        links=np.array([[1], [0]], np.int32),
        levels=np.zeros(2, np.uint8),
        upper=np.empty((0, 1), np.int32),
        entry=0,
    )
    Walker(graph, rows, None, Metric.L2).search(rows[0], 1, 1, np.ones(2, np.bool_))
    exact_top_k(rows[0], rows, 1, Metric.L2)
