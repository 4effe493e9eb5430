"""A search worked out once for many queries: everything that depends on the state of the rows, the filter and the wish.

It is kept with the state of the rows, or with the selection, that it was worked out for. What remains for a query is to
check it, to walk or to compare, and to confirm that what was read is undamaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from storage_engine import compiled_code
from storage_engine.candidates import Candidates
from storage_engine.chunks import Chunk
from storage_engine.cores import spread
from storage_engine.index.nearest import Piece, Wish
from storage_engine.index.planner import Strategy
from storage_engine.index.road import Answer, Road
from storage_engine.index.walk_table import ROWS_FOUND, UNBOUNDED, UNUSABLE
from storage_engine.schema import Metric
from storage_engine.vectors.distance import Ranked, check_query, merge

_BLOCK_QUERIES = 16  # a thread takes so many queries at a time: few enough to share evenly, enough to stay compiled
_WALK_SECONDS, _SECONDS_A_NUMBER = 0.003, 1e-9  # of NumPy, about: a walk; comparing a number of a row
_EXACT: tuple[Strategy, ...] = ("exact", "exact_rows")
_FLOAT32 = np.dtype(np.float32)


class Part(NamedTuple):
    """One chunk as it is searched."""

    start: int
    chunk: Chunk
    piece: Piece


class PreparedSearch:
    """How a collection's rows in one state are searched for one wish. Safe to use from several threads.

    Args:
        parts: The chunks that hold matching rows.
        wish: What is wanted.
        metric: The collection's.
        dimension: The collection's.
        unfiltered: Whether no filter was given, for the name of the road where no row matches.
    """

    __slots__ = ("_dimension", "_metric", "_only", "_parts", "_roads", "_shape", "_unfiltered", "_wish")

    def __init__(self, parts: Sequence[Part], wish: Wish, metric: Metric, dimension: int, unfiltered: bool) -> None:
        self._parts, self._wish, self._metric, self._dimension = parts, wish, metric, dimension
        self._unfiltered = unfiltered
        self._shape = (dimension,)
        self._roads = [Road(part.piece, wish, part.chunk.confirmed) for part in parts]
        alone = len(parts) == 1 and not parts[0].start and self._roads[0].walker is not None
        self._only = self._roads[0] if alone else None

    @property
    def outdated(self) -> bool:
        """Whether it would be worked out otherwise now: compiled code has been loaded since."""
        return self._only is None and any(road.outdated for road in self._roads)

    def one(self, query: NDArray[Any]) -> Candidates:
        """Exactly ``min(top_k, matching)`` rows, ordered by score, then by slot.

        Raises:
            InvalidVectorError, DimensionMismatchError: The query is unusable.
        """
        if type(query) is not np.ndarray or query.dtype != _FLOAT32 or query.shape != self._shape:
            query = check_query(query, self._dimension, self._metric)
        only = self._only
        if only is None:
            checked = check_query(query, self._dimension, self._metric)
            return self._joined([road.answer(checked) for road in self._roads])
        walk, walker = only.walk, only.walker
        if walker is None:
            raise TypeError("a road that is taken alone is compiled")
        if walk is not None:
            outcome, positions, scores, met, matched = walker.walk_once(walk, query)
            if outcome == only.top_k:
                return Candidates(positions, scores, only.strategy, only.reason)
            if outcome != UNUSABLE:
                return self._confirmed(only.judged(query, outcome, positions, scores, met, matched))
        elif (scan := only.scan) is not None:
            outcome, positions, scores, read = walker.scan_once(scan, query)
            if outcome >= 0:
                if read is not None:
                    self._parts[0].chunk.confirm(read)
                return Candidates(positions, scores, only.strategy, only.reason)
        checked = check_query(query, self._dimension, self._metric)  # says what is wrong with it, if anything is
        return self._joined([only.answer(checked)])

    def many(self, queries: NDArray[np.float32]) -> list[Candidates]:
        """For each row of ``queries``, shape (m, dimension), what :meth:`one` gives, to the last bit; by all cores."""
        only = self._only
        if only is None or queries.ndim != 2 or queries.shape[1] != self._dimension or queries.dtype != _FLOAT32:
            return self._one_by_one(queries)
        walker, plan = only.walker, only.walk if only.walk is not None else only.scan
        if walker is None or plan is None:
            return self._one_by_one(queries)
        count, plain = queries.shape[0], np.ascontiguousarray(queries)
        positions, scores = np.empty((count, plan.top_k), np.int64), np.empty((count, plan.top_k), np.float32)
        outcomes = np.zeros((count, 4), np.int64)

        def work(start: int, stop: int) -> None:
            walker.run_many(plan, plain, start, stop, positions, scores, outcomes)

        spread(count, _BLOCK_QUERIES, work)
        codes = outcomes[:, 0]
        answers = [
            Candidates(slots, own, only.strategy, only.reason) for slots, own in zip(positions, scores, strict=True)
        ]
        if plan is only.walk:
            odd = np.flatnonzero(codes != only.top_k)
        else:
            odd = np.flatnonzero((codes > ROWS_FOUND) | (codes < 0))
        if odd.size:
            self._settle(plain, odd, outcomes, answers)
        return answers

    def _settle(
        self,
        queries: NDArray[np.float32],
        odd: NDArray[np.int64],
        outcomes: NDArray[np.int64],
        answers: list[Candidates],
    ) -> None:
        """Replace those answers of a batch that need a second look: walks that were given up, unchecked blocks."""
        only = self._only
        for query in queries[odd[outcomes[odd, 0] == UNUSABLE]]:
            check_query(query, self._dimension, self._metric)

        def work(start: int, stop: int) -> None:
            for at in odd[start:stop].tolist():
                outcome, _, met, matched = outcomes[at].tolist()
                one = answers[at]
                if only is None or only.walk is None or outcome in {UNUSABLE, UNBOUNDED}:
                    answers[at] = self.one(queries[at])
                else:
                    answer = only.judged(queries[at], outcome, one.slots, one.scores, met, matched)
                    answers[at] = self._confirmed(answer)

        spread(odd.size, 4, work)

    def _one_by_one(self, queries: NDArray[np.float32]) -> list[Candidates]:
        checked = [check_query(query, self._dimension, self._metric) for query in queries]
        # What follows comes in blocks, each too small to be worth loading compiled code for: decided here for all.
        compiled_code.process.use(len(checked) * self._seconds())
        found: list[list[Candidates]] = [[] for _ in range(-(-len(checked) // _BLOCK_QUERIES))]

        def work(start: int, stop: int) -> None:
            block = np.stack(checked[start:stop])
            by_road = [road.answers(block) for road in self._roads]
            by_query = zip(*by_road, strict=True) if by_road else (() for _ in block)
            found[start // _BLOCK_QUERIES] = [self._joined(answer) for answer in by_query]

        spread(len(checked), _BLOCK_QUERIES, work)
        return [one for block in found for one in block]

    def _seconds(self) -> float:
        """What NumPy would take for a query, about."""
        numbers = 0
        walks = 0
        for road, part in zip(self._roads, self._parts, strict=True):
            if road.strategy in _EXACT:
                numbers += part.piece.matches * self._dimension
            else:
                walks += 1
        return _WALK_SECONDS * walks + _SECONDS_A_NUMBER * numbers

    def _confirmed(self, answer: Answer) -> Candidates:
        """The answer of the only chunk."""
        if answer.read is None or answer.read.size:
            self._parts[0].chunk.confirm(answer.read)
        return Candidates(answer.positions, answer.scores, answer.strategy, answer.reason)

    def _joined(self, answers: Sequence[Answer]) -> Candidates:
        """One answer from those of the chunks; the road is that of the last chunk that was walked, if any."""
        strategy: Strategy = "exact" if self._unfiltered else "exact_rows"
        if not answers:
            return Candidates(np.empty(0, np.int64), np.empty(0, np.float32), strategy, "no row matches")
        reason = answers[0].reason
        for part, answer in zip(self._parts, answers, strict=True):
            if answer.read is None or answer.read.size:
                part.chunk.confirm(answer.read)
            if answer.strategy not in _EXACT:
                strategy, reason = answer.strategy, answer.reason
        pieces = [
            (part.start, Ranked(answer.positions, answer.scores))
            for part, answer in zip(self._parts, answers, strict=True)
        ]
        ranked = merge(pieces, self._wish.top_k, self._metric)
        return Candidates(ranked.positions, ranked.scores.astype(np.float32), strategy, reason)
