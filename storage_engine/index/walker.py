"""Searching a frozen graph: read-only, without the GIL, any number of threads at once.

Where the graph has codes the walk reads those, and float32 rows only for the best ``2·top_k`` or, if that is more,
``top_k + 10``.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage_engine.errors import InvalidArgumentError, InvalidVectorError
from storage_engine.index import range_kernel, scan_kernel
from storage_engine.index import walk_kernel as kernel
from storage_engine.index import walk_table as field
from storage_engine.index.codes import MIN_DIMENSION, Codes, CodeScale, terms_at
from storage_engine.index.filter_graph import Passage
from storage_engine.index.graph import Graph
from storage_engine.index.likeness import likeness, sampled_rows
from storage_engine.index.portable_codes import encode_rows
from storage_engine.index.scratch import Plan, Scratch
from storage_engine.index.walk_rules import PROBE_ROWS, least_width, rows_scored
from storage_engine.index.walks import Scan, Walk
from storage_engine.metadata import texts
from storage_engine.schema import Metric
from storage_engine.vectors import kernels
from storage_engine.vectors.distance import EMPTY, Ranked, error_factor, tiny
from storage_engine.vectors.kernels import CODES
from storage_engine.vectors.types import StoredVectors, is_stored_type, type_of
from storage_engine.vectors.widening import ELEMENTS

_IDLE_SCRATCH = 64  # buffers kept for the next searches; more threads at once than this allocate anew
_NO_BUDGET = 2**62
_OUTCOME = np.array([field.COMPARED, field.MET, field.MATCHED])


class Walker:
    """Approximate search over one graph and the rows it was built on.

    Args:
        graph: Checked when it was made.
        vectors: Of shape (graph.rows, d), in any type that a collection keeps, rows contiguous; may be a memory map.
            Never copied.
        norms: float32 of shape (graph.rows,), positive; required by the cosine metric.
        metric: As the graph was built.

    Raises:
        InvalidArgumentError: Shapes or types do not fit together.
    """

    def __init__(self, graph: Graph, vectors: StoredVectors, norms: NDArray[np.float32] | None, metric: Metric) -> None:
        if vectors.ndim != 2 or vectors.shape[0] != graph.rows or not is_stored_type(vectors):
            raise InvalidArgumentError(
                f"{vectors.dtype} vectors of shape {vectors.shape} do not belong to a graph of {graph.rows} rows",
                fix="Give the rows that the graph was built on, as a collection keeps them.",
            )
        if vectors.shape[1] > 1 and vectors.strides[1] != vectors.itemsize:
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
        self._idle: deque[Scratch] = deque(maxlen=_IDLE_SCRATCH)
        fixed = np.zeros(field.PARAMETERS, np.int64)
        fixed[field.BASE] = vectors.ctypes.data
        fixed[field.STRIDE] = vectors.strides[0]
        fixed[field.ELEMENT] = ELEMENTS[type_of(vectors)]
        fixed[field.NORMS] = 0 if self._norms is None else self._norms.ctypes.data
        fixed[field.DIMENSION] = self.dimension
        fixed[field.METRIC] = CODES[metric]
        self._starts = np.array([1, graph.entry, graph.max_level], np.int64)
        plan = np.zeros(field.PLAN, np.int64)
        plan[field.OF_LINKS] = self._links.ctypes.data
        plan[field.OF_WIDTH] = graph.links.shape[1]
        plan[field.OF_UPPER] = self._upper.ctypes.data
        plan[field.OF_UPPER_WIDTH] = graph.upper.shape[1]
        plan[field.OF_FIRST_UPPER] = graph.first_upper.ctypes.data
        plan[field.OF_STARTS] = self._starts.ctypes.data
        self._plan = plan
        codes = graph.codes
        if codes is not None:
            fixed[field.CODE_ROWS] = codes.rows.ctypes.data
            fixed[field.CODE_STRIDE] = codes.rows.strides[0]
            fixed[field.CODE_TERMS] = terms_at(self.dimension)
            fixed[field.CODE_LOW] = codes.low.ctypes.data
            fixed[field.CODE_STEP] = codes.step.ctypes.data
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
        return self.walk(self.walk_plan(top_k, ef, mask, budget, enough=enough, wider=wider), query)

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
        plan = self.walk_plan(top_k, ef, mask, budget, enough=enough, wider=wider)
        return [self.walk(plan, query) for query in queries]

    def walk(self, plan: Plan, query: NDArray[np.float32]) -> Walk:
        """A walk by a plan of :meth:`walk_plan`; the query as for :meth:`search`."""
        scratch = self.scratch(plan)
        scratch.query[:] = query
        positions, scores = np.empty(plan.top_k, np.int64), np.empty(plan.top_k, np.float32)
        outcome = kernel.walk_one(scratch.address, plan.address, scratch.query_address, positions, scores)
        found = self.found(outcome)
        ranked = Ranked(positions[:found], scratch.scores[:found].copy())
        compared, met, matched = scratch.parameters[_OUTCOME].tolist()
        self.give_back(scratch)
        return Walk(ranked, bool(outcome & field.GAVE_UP), compared, met, matched)

    def walk_plan(
        self,
        top_k: int,
        ef: int,
        mask: NDArray[np.bool_] | None = None,
        budget: int | None = None,
        *,
        enough: int = 0,
        wider: int = 0,
        confirmed: NDArray[np.bool_] | None = None,
        through: Passage | None = None,
    ) -> Plan:
        """How a walk goes, for :meth:`walk_once`.

        Args:
            top_k: As for :meth:`search`.
            ef: As for :meth:`search`.
            mask: As for :meth:`search`.
            budget: As for :meth:`search`.
            enough: As for :meth:`search`.
            wider: As for :meth:`search`.
            confirmed: bool of shape (n,): answers with rows that are not flagged carry ``UNCONFIRMED``.
            through: Walk through the graphs of these values instead of the one of all rows.
        """
        rows = self.graph.rows
        kept = min(max(ef, least_width(top_k, self._coded)), rows)
        numbers = self._plan.copy()
        if through is not None:
            graph = through.graph.graph
            numbers[field.OF_MORE] = numbers[field.OF_LINKS]
            numbers[field.OF_MORE_WIDTH] = numbers[field.OF_WIDTH]
            numbers[field.OF_COVER] = self._address(through.cover)
            numbers[field.OF_LINKS] = graph.links.ctypes.data
            numbers[field.OF_WIDTH] = graph.links.shape[1]
            numbers[field.OF_UPPER] = graph.upper.ctypes.data
            numbers[field.OF_UPPER_WIDTH] = graph.upper.shape[1]
            numbers[field.OF_FIRST_UPPER] = graph.first_upper.ctypes.data
            numbers[field.OF_STARTS] = through.starts.ctypes.data
        numbers[field.OF_EF] = kept
        numbers[field.OF_TOP_K] = min(top_k, rows)
        numbers[field.OF_RESCORED] = rows_scored(top_k, self._coded)
        numbers[field.OF_MASK] = 0 if mask is None else self._address(mask)
        numbers[field.OF_BUDGET] = _NO_BUDGET if budget is None else budget
        numbers[field.OF_PROBE] = PROBE_ROWS if enough else _NO_BUDGET
        numbers[field.OF_ENOUGH] = enough
        numbers[field.OF_WIDER] = min(wider, rows) if wider > kept else wider and kept
        numbers[field.OF_CONFIRMED] = 0 if confirmed is None else self._address(confirmed)
        waiting = 0 if mask is None else 1 + (rows if budget is None else min(budget, rows))
        return Plan(numbers, waiting, (mask, confirmed, through))

    def scan_plan(
        self, top_k: int, rows: NDArray[np.int64] | None = None, confirmed: NDArray[np.bool_] | None = None
    ) -> Plan:
        """How a comparison goes, for :meth:`scan_once`; arguments as for :meth:`scan` and :meth:`walk_plan`."""
        numbers = np.zeros(field.PLAN, np.int64)
        count = self.graph.rows if rows is None else rows.shape[0]
        if rows is not None and (
            rows.dtype != np.int64 or not rows.flags.c_contiguous or not _within(rows, self.graph.rows)
        ):
            raise InvalidArgumentError(
                f"Rows of type {rows.dtype} are no row numbers below {self.graph.rows}",
                fix="Give contiguous int64 row numbers.",
            )
        numbers[field.OF_TOP_K] = min(top_k, count)
        numbers[field.OF_CHOSEN] = 0 if rows is None else rows.ctypes.data
        numbers[field.OF_COUNT] = count
        numbers[field.OF_CONFIRMED] = 0 if confirmed is None else self._address(confirmed)
        return Plan(numbers, 0, (rows, confirmed))

    def walk_once(
        self, plan: Plan, query: NDArray[np.float32], wide: bool = False
    ) -> tuple[int, NDArray[np.int64], NDArray[Any], int, int]:
        """A walk by a plan.

        Args:
            plan: Of :meth:`walk_plan`.
            query: Real numbers of shape (d,), not yet checked.
            wide: Whether scores are to be float64 instead of float32.

        Returns:
            What :func:`storage_engine.index.walk_kernel.walk_one` says, positions and scores of shape (plan.top_k,);
            where it says more than a number of rows, how many were met before it looked back, and how many matched.
        """
        scratch = self.scratch(plan)
        scratch.query[:] = query
        positions = np.empty(plan.top_k, np.int64)
        scores: NDArray[Any] = np.empty(plan.top_k, np.float32)
        outcome = kernel.walk_one(scratch.address, plan.address, scratch.query_address, positions, scores)
        met = matched = 0
        if wide:
            scores = scratch.scores[: plan.top_k].copy()
        if outcome > field.ROWS_FOUND:
            met, matched = int(scratch.parameters[field.MET]), int(scratch.parameters[field.MATCHED])
        self._idle.append(scratch)
        return outcome, positions, scores, met, matched

    def scan_once(
        self, plan: Plan, query: NDArray[np.float32], wide: bool = False
    ) -> tuple[int, NDArray[np.int64], NDArray[Any], NDArray[np.int64] | None]:
        """A comparison by a plan of :meth:`scan_plan`; otherwise as :meth:`walk_once`.

        Returns:
            What :func:`storage_engine.index.scan_kernel.scan_one` says, positions, scores, and the rows that have to be
            confirmed, if any.
        """
        scratch = self.scratch(plan)
        scratch.query[:] = query
        positions = np.empty(plan.top_k, np.int64)
        scores: NDArray[Any] = np.empty(plan.top_k, np.float32)
        outcome = scan_kernel.scan_one(scratch.address, plan.address, scratch.query_address, positions, scores)
        if wide:
            scores = scratch.near[: plan.top_k].copy()
        read = scratch.kept[: outcome & field.ROWS_FOUND].copy() if outcome > field.ROWS_FOUND else None
        self._idle.append(scratch)
        return outcome, positions, scores, read

    def run_many(
        self,
        plan: Plan,
        queries: NDArray[np.float32],
        first: int,
        last: int,
        positions: NDArray[np.int64],
        scores: NDArray[np.float32],
        outcomes: NDArray[np.int64],
    ) -> None:
        """Walks or comparisons by a plan for the queries ``first`` … ``last - 1``, without Python in between.

        Args:
            plan: Of :meth:`walk_plan` or of :meth:`scan_plan`.
            queries: float32 of shape (m, d), contiguous, not yet checked.
            first: The first query.
            last: One after the last one.
            positions: int64 of shape (m, plan.top_k); rows are written here,
            scores: and their scores here.
            outcomes: int64 of shape (m, 4): see :func:`storage_engine.index.walk_kernel.walk_many`.
        """
        scratch = self.scratch(plan)
        run = scan_kernel.scan_many if plan.count else kernel.walk_many
        address = int(queries.ctypes.data)
        run(scratch.address, plan.address, address, first, last, positions, scores, outcomes)
        self._idle.append(scratch)

    def scratch(self, plan: Plan) -> Scratch:
        """Buffers for a plan, the caller's alone until they are given back; if they never are, nothing is lost."""
        scratch = self._scratch()
        if plan.candidates > scratch.capacity or plan.waiting > scratch.waiting or plan.width > scratch.width:
            scratch.make_room_to_walk(plan.candidates, plan.waiting, plan.width)
        if plan.count > scratch.room or (plan.count and plan.top_k > scratch.best):
            scratch.make_room_for_rows(plan.count, plan.top_k)
        return scratch

    def give_back(self, scratch: Scratch) -> None:
        """Let the next search use the buffers."""
        self._idle.append(scratch)

    def found(self, outcome: int) -> int:
        """How many rows a kernel's outcome says.

        Raises:
            InvalidVectorError: The query was unusable; callers check it before.
        """
        if outcome < 0:
            raise InvalidVectorError(
                "The query holds NaN or infinity, or is zero under the cosine metric", fix="Check it before searching."
            )
        return outcome & field.ROWS_FOUND

    @property
    def compiled(self) -> Walker:
        """This one; see :class:`storage_engine.index.graph_search.GraphSearch`."""
        return self

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
        plan = self.scan_plan(top_k, rows)
        if not plan.count:
            return Scan(EMPTY, EMPTY.positions)
        scratch = self.scratch(plan)
        scratch.query[:] = query
        positions, scores = np.empty(plan.top_k, np.int64), np.empty(plan.top_k, np.float32)
        outcome = scan_kernel.scan_one(scratch.address, plan.address, scratch.query_address, positions, scores)
        result = None
        if outcome != field.UNBOUNDED:
            best = Ranked(positions, scratch.near[: plan.top_k].copy())
            result = Scan(best, scratch.kept[: self.found(outcome)].copy())
        self.give_back(scratch)
        return result

    def scan_within(
        self, query: NDArray[np.float32], limit: float, rows: NDArray[np.int64] | None = None
    ) -> Ranked | None:
        """All rows, or those among some, that may be within a limit, in order of number, with their final scores.

        Args:
            query: As for :meth:`search`.
            limit: A distance, minus a cosine, or minus an inner product.
            rows: As for :meth:`scan`, ascending.

        Returns:
            Every row within the limit and some that are not; ``None`` where codes prove nothing.
        """
        count = self.graph.rows if rows is None else rows.shape[0]
        scratch = self._scratch()
        scratch.make_room_for_rows(count, 1)
        found = range_kernel.scan_within(
            scratch.parameters,
            np.ascontiguousarray(query),
            0 if rows is None else rows.ctypes.data,
            count,
            limit,
            scratch.bounds.ctypes.data,
            scratch.kept.ctypes.data,
            scratch.near.ctypes.data,
        )
        result = None
        if found != field.UNBOUNDED:
            sign = 1.0 if self.metric is Metric.L2 else -1.0
            result = Ranked(scratch.kept[:found].copy(), sign * scratch.near[:found])
        self._idle.append(scratch)
        return result

    def likeness(self, mask: NDArray[np.bool_], matches: int) -> float:
        """How a filter lies to the vectors, see :func:`storage_engine.index.likeness.likeness`.

        Args:
            mask: bool of shape (n,).
            matches: How many rows match, at least 1.
        """
        rows = sampled_rows(self.graph.rows)
        return likeness(mask, matches, rows, self.graph.links[rows])

    def _scratch(self) -> Scratch:
        try:
            return self._idle.pop()
        except IndexError:
            return Scratch(self._fixed, self.graph.rows, self.dimension)

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
    low, step = np.zeros(MIN_DIMENSION, np.float32), np.full(MIN_DIMENSION, 1 / 255, np.float32)
    # In NumPy: whoever asks whether compiled code is there, such as `encode`, would wait for this very function.
    coded = encode_rows(rows, None, CodeScale(low, step), True)
    graph = Graph(
        links=np.array([[1], [0]], np.int32),
        levels=np.zeros(2, np.uint8),
        upper=np.empty((0, 1), np.int32),
        entry=0,
        codes=Codes(low, step, coded),
    )
    walker = Walker(graph, rows, None, Metric.L2)
    walker.search(rows[0], 1, 1, np.ones(2, np.bool_))
    plan, positions, scores = walker.walk_plan(1, 1), np.empty((2, 1), np.int64), np.empty((2, 1), np.float32)
    for way in (plan, walker.scan_plan(1)):
        walker.run_many(way, rows, 0, 2, positions, scores, np.empty((2, 4), np.int64))
    walker.scan(rows[0], 1)
    walker.scan_within(rows[0], 1.0)
    kept = kernels.scan(rows[0], rows, 1, Metric.L2, None, None, error_factor(MIN_DIMENSION), tiny(MIN_DIMENSION))
    kernels.score_rows(rows[0], rows, Metric.L2, None, kept)
    texts.prepare()
