"""Searching a frozen graph in NumPy: the walk of :mod:`storage_engine.index.walk_kernel`, step for step.

It answers where compiled code is not loaded yet or cannot be, see :mod:`storage_engine.compiled_code`. Over codes the
order of all rows is the same to the last bit, so are the rows expanded and the answer; over float32 rows sums are
rounded in another order, which can matter only between rows that are equally near to seven digits. Scores are computed
by the one function for all roads.

A few rows are expanded at a time: their unseen neighbours are valued in one call. Numbers of the graph are read where
the walk comes along, and checked then; see :class:`storage_engine.index.mapped_graph.MappedGraph`.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from storage_engine.errors import InvalidArgumentError
from storage_engine.index.codes import CodeScale
from storage_engine.index.graph_search import GraphFacts
from storage_engine.index.likeness import likeness, sampled_rows
from storage_engine.index.portable_codes import CodesOf, code_bounds, encode_rows, rounded_query
from storage_engine.index.portable_scan import may_be_best, may_be_within
from storage_engine.index.walk_rules import PROBE_ROWS, TOGETHER, least_width, rows_scored
from storage_engine.index.walks import Scan, Walk
from storage_engine.schema import Metric
from storage_engine.vectors.distance import EMPTY, Ranked, rank, score_rows
from storage_engine.vectors.types import StoredVectors, as_float32

NOTE = "; in NumPy"

_NONE = 2**63 - 1
_ROW_BITS = 0xFFFFFFFF
_NO_BUDGET = 2**62

_ValuesOf = Callable[[Sequence[int]], NDArray[np.float32]]


class GraphSource(GraphFacts, Protocol):
    """The numbers of a graph, as a walk asks for them."""

    @property
    def entry(self) -> int:
        """Where walks start."""

    @property
    def max_level(self) -> int:
        """The level of the entry."""

    @property
    def code_scale(self) -> CodeScale | None:
        """What codes stand for; ``None`` where there are none."""

    def neighbours(self, row: int, level: int) -> list[int]:
        """The rows that a row is linked to on a level that it is on."""

    def links_of(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        """The neighbours of rows at level 0, padded with -1: int32 of shape (m, width)."""

    def stored_codes(self) -> CodesOf | None:
        """Gives rows of codes; ``None`` where they are not stored."""


class PortableWalker:
    """See :class:`storage_engine.index.walker.Walker`, whose every method this has, with the same answers.

    Args:
        graph: Whose numbers are safe to use once they were given.
        vectors: Of shape (graph.rows, d), in any type that a collection keeps; may be a memory map. Never copied.
        norms: float32 of shape (graph.rows,), positive; required by the cosine metric.
        metric: As the graph was built.
    """

    def __init__(
        self, graph: GraphSource, vectors: StoredVectors, norms: NDArray[np.float32] | None, metric: Metric
    ) -> None:
        if vectors.ndim != 2 or vectors.shape[0] != graph.rows:
            raise InvalidArgumentError(
                f"vectors of shape {vectors.shape} do not belong to a graph of {graph.rows} rows",
                fix="Give the rows that the graph was built on.",
            )
        if metric is Metric.COSINE and (norms is None or norms.shape != (graph.rows,)):
            raise InvalidArgumentError("The cosine metric needs one norm for each row", fix="Pass norms.")
        scale = graph.code_scale
        if scale is not None and scale.dimension != vectors.shape[1]:
            raise InvalidArgumentError(
                f"The graph has codes of {scale.dimension} dimensions, the rows have {vectors.shape[1]}",
                fix="Give the rows that the graph was built on.",
            )
        self.graph, self.metric, self.dimension = graph, metric, int(vectors.shape[1])
        self._vectors, self._norms, self._scale = vectors, norms, scale
        self._codes_of: CodesOf | None = None
        self._computing = False
        if scale is not None:
            stored = graph.stored_codes()
            self._computing = stored is None
            self._codes_of = stored or self._computed_codes

    @property
    def compiled(self) -> None:
        """None: see :class:`storage_engine.index.graph_search.GraphSearch`."""
        return

    @property
    def coded(self) -> bool:
        """Whether there are codes, so that :meth:`scan` can be used."""
        return self._scale is not None

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
        """See :meth:`storage_engine.index.walker.Walker.search`."""
        self._check(query, top_k)
        rows = self.graph.rows
        if mask is not None and (mask.shape != (rows,) or mask.dtype != np.bool_):
            raise InvalidArgumentError(
                f"A mask of shape {mask.shape} and type {mask.dtype} does not fit {rows} rows",
                fix="Give one bool per row.",
                value=mask.shape,
            )
        scored = rows_scored(top_k, self.coded)
        kept = min(max(ef, least_width(top_k, self.coded)), rows)
        wider = min(wider, rows) if wider > kept else wider and kept
        steps = _Steps(self.graph, self._values_for(query))
        exhausted = False
        if mask is None:
            keys = steps.through_all(kept)
        else:
            limit = _NO_BUDGET if budget is None else budget
            keys, kept = steps.through_mask(kept, mask, limit, PROBE_ROWS if enough else _NO_BUDGET, enough, wider)
            exhausted = steps.compared > limit
        if exhausted:
            return Walk(EMPTY, True, steps.compared, steps.met, steps.matched, NOTE)
        best = np.array([(key & _ROW_BITS) >> 1 for key in keys[: min(kept, scored)]], np.int64)
        ranked = self._ranked(query, best, top_k)
        return Walk(ranked, False, steps.compared, steps.met, steps.matched, NOTE)

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
        """See :meth:`storage_engine.index.walker.Walker.search_many`."""
        return [self.search(query, top_k, ef, mask, budget, enough=enough, wider=wider) for query in queries]

    def scan(self, query: NDArray[np.float32], top_k: int, rows: NDArray[np.int64] | None = None) -> Scan | None:
        """See :meth:`storage_engine.index.walker.Walker.scan`."""
        self._check(query, top_k)
        if self._scale is None or self._codes_of is None:
            raise InvalidArgumentError("There are no codes to compare by", fix="Build with codes.")
        if self._computing:
            return None  # comparing the rows themselves takes a tenth of the time of computing their codes
        chosen = np.arange(self.graph.rows, dtype=np.int64) if rows is None else rows
        euclidean = self.metric is Metric.L2
        rounded = rounded_query(query, self._scale, euclidean)
        bounds = code_bounds(query, self._scale, rounded, euclidean, self.metric is Metric.COSINE)
        if bounds is None:
            return None
        wanted = min(top_k, chosen.shape[0])
        if not wanted:
            return Scan(EMPTY, EMPTY.positions, NOTE)
        read = may_be_best(self._codes_of, chosen, wanted, rounded, bounds, euclidean)
        return Scan(self._ranked(query, read, wanted), read, NOTE)

    def scan_within(
        self, query: NDArray[np.float32], limit: float, rows: NDArray[np.int64] | None = None
    ) -> Ranked | None:
        """See :meth:`storage_engine.index.walker.Walker.scan_within`."""
        self._check(query, 1)
        if self._scale is None or self._codes_of is None:
            raise InvalidArgumentError("There are no codes to compare by", fix="Build with codes.")
        if self._computing:
            return None  # comparing the rows themselves takes a tenth of the time of computing their codes
        chosen = np.arange(self.graph.rows, dtype=np.int64) if rows is None else rows
        euclidean, cosine = self.metric is Metric.L2, self.metric is Metric.COSINE
        rounded = rounded_query(query, self._scale, euclidean)
        bounds = code_bounds(query, self._scale, rounded, euclidean, cosine)
        if bounds is None:
            return None
        read = may_be_within(self._codes_of, chosen, limit, rounded, bounds, euclidean, cosine)
        return Ranked(read, score_rows(query, self._vectors, self.metric, self._norms, read))

    def likeness(self, mask: NDArray[np.bool_], matches: int) -> float:
        """See :meth:`storage_engine.index.walker.Walker.likeness`."""
        rows = sampled_rows(self.graph.rows)
        return likeness(mask, matches, rows, self.graph.links_of(rows))

    def _check(self, query: NDArray[np.float32], top_k: int) -> None:
        if query.shape != (self.dimension,) or query.dtype != np.float32 or top_k < 1:
            raise InvalidArgumentError(
                f"A query of shape {query.shape} and type {query.dtype} for {top_k} rows cannot be walked",
                fix=f"Give {self.dimension} float32 numbers and ask for at least one row.",
            )

    def _ranked(self, query: NDArray[np.float32], rows: NDArray[np.int64], top_k: int) -> Ranked:
        return rank(rows, score_rows(query, self._vectors, self.metric, self._norms, rows), top_k, self.metric)

    def _values_for(self, query: NDArray[np.float32]) -> _ValuesOf:
        """What a walk orders by, for rows: squared distances or negated products, by codes where there are any."""
        if self._scale is not None and self._codes_of is not None:
            rounded, codes_of = rounded_query(query, self._scale, self.metric is Metric.L2), self._codes_of
            return lambda rows: rounded.values(codes_of(np.array(rows, np.int64)))
        vectors, norms, metric = self._vectors, self._norms, self.metric

        def values(rows: Sequence[int]) -> NDArray[np.float32]:
            at = np.array(rows, np.int64)
            block = as_float32(vectors[at])
            with np.errstate(over="ignore", invalid="ignore"):
                if metric is Metric.L2:
                    difference = block - query
                    return np.asarray(np.einsum("ij,ij->i", difference, difference), np.float32)
                products = -(block @ query)
                if metric is Metric.COSINE and norms is not None:
                    products /= norms[at]
            return np.asarray(products, np.float32)

        return values

    def _computed_codes(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        if self._scale is None:
            raise TypeError("there are no codes")
        norms = self._norms[rows] if self.metric is Metric.COSINE and self._norms is not None else None
        return encode_rows(as_float32(self._vectors[rows]), norms, self._scale, self.metric is Metric.L2)


class _Steps:
    """One walk. Keys are value << 32 | row << 1 | expanded, so that their order is that of (value, row)."""

    def __init__(self, graph: GraphSource, values_of: _ValuesOf) -> None:
        self._graph = graph
        self._values_of = values_of
        self._seen: set[int] = set()
        self.compared = 1
        self.met = self.matched = 0

    def through_all(self, ef: int) -> list[int]:
        """Level 0 without a mask: the best ``ef`` keys, ascending."""
        keys = [self._descend()]
        now = 0
        while True:
            taken = 0
            fresh: list[int] = []
            while taken < TOGETHER and now < len(keys):
                key = keys[now]
                if not key & 1:
                    keys[now] = key | 1
                    fresh += self._expand((key & _ROW_BITS) >> 1)
                    taken += 1
                now += 1
            if not taken:
                return keys
            self.compared += len(fresh)
            least = _NONE
            worst = keys[ef - 1] if len(keys) >= ef else _NONE
            for key in self._keys_of(fresh):
                if key < worst:
                    insort(keys, key)
                    del keys[ef:]
                    worst = keys[ef - 1] if len(keys) >= ef else _NONE
                    least = min(least, key)
            if least != _NONE:
                now = min(now, bisect_left(keys, least))

    def through_mask(
        self, ef: int, mask: NDArray[np.bool_], budget: int, probe: int, enough: int, wider: int
    ) -> tuple[list[int], int]:
        """Level 0 through all rows, keeping those of the mask: their best keys, and how many are kept in the end.

        Where ``compared`` is above the budget afterwards, the walk was given up.
        """
        start = self._descend()
        heap = [start]
        keys = [start] if mask[(start & _ROW_BITS) >> 1] else []
        met = matched = 0
        while heap:
            if met >= probe:
                probe = _NONE
                self.met, self.matched = met, matched
                if matched < enough:
                    if not wider:
                        self.compared = budget + 1
                        return keys, ef
                    ef = max(ef, wider)
            worst = keys[ef - 1] if len(keys) >= ef else _NONE
            taken, fresh = 0, list[int]()
            while taken < TOGETHER and heap and met < probe and heap[0] <= worst:
                row = (heappop(heap) & _ROW_BITS) >> 1
                taken += 1
                met += 1
                matched += bool(mask[row])
                fresh += self._expand(row)
            if not taken:
                break
            self.compared += len(fresh)
            if self.compared > budget:
                break
            for key in self._keys_of(fresh):
                if key < worst:
                    heappush(heap, key)
                    if mask[(key & _ROW_BITS) >> 1]:
                        insort(keys, key)
                        del keys[-(-ef // 8) * 8 :]  # as many as the compiled walk has room for, should it widen
                        worst = keys[ef - 1] if len(keys) >= ef else _NONE
        if probe != _NONE:
            self.met, self.matched = met, matched
        return keys, ef

    def _descend(self) -> int:
        """From the entry down the upper levels, each time to the nearest neighbour; its key."""
        current = self._graph.entry
        value = self._values_of([current])[0]
        for level in range(self._graph.max_level, 0, -1):
            moved = True
            while moved:
                moved = False
                rows = self._graph.neighbours(current, level)
                if not rows:
                    break
                self.compared += len(rows)
                near = self._values_of(rows)
                least = int(np.argmin(np.where(np.isnan(near), np.float32(np.inf), near)))
                if near[least] < value:
                    value, current, moved = near[least], rows[least], True
        self._seen.add(current)
        return _packed(np.array([value], np.float32), [current])[0]

    def _expand(self, row: int) -> list[int]:
        """The neighbours not met before."""
        seen = self._seen
        fresh = []
        for other in self._graph.neighbours(row, 0):
            if other not in seen:
                seen.add(other)
                fresh.append(other)
        return fresh

    def _keys_of(self, rows: Sequence[int]) -> list[int]:
        return _packed(self._values_of(rows), rows) if rows else []


def _packed(values: NDArray[np.float32], rows: Sequence[int]) -> list[int]:
    bits = np.ascontiguousarray(values).view(np.int32)
    ordered = np.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits)
    return [(value << 32) | (row << 1) for value, row in zip(ordered.tolist(), rows, strict=True)]
