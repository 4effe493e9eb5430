"""One piece of a collection searched in one way, worked out once for many queries.

Where compiled code is loaded a query is one call of it, by a plan that holds every address and number it needs; beside
the walk itself that leaves a few microseconds. Answers are those of :func:`storage_engine.index.nearest.nearest`, which
does the same for anything that can search a graph.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from storage_engine.index.nearest import Piece, Wish, gave_up, nearest, nearest_many, plan, rows_of, widened
from storage_engine.index.planner import Choice, Strategy, breadth, choose_through, least_cost
from storage_engine.index.walk_table import AGAINST, GAVE_UP, ROWS_FOUND, UNBOUNDED, UNCONFIRMED

if TYPE_CHECKING:
    from storage_engine.index.filter_graph import Passage
    from storage_engine.index.nearest import Nearest
    from storage_engine.index.scratch import Plan


class Answer(NamedTuple):
    """What a piece gave for a query.

    Attributes:
        positions: int64, best first.
        scores: In the type that was asked for.
        strategy: The road that gave it.
        reason: Why that one.
        read: Rows whose stored numbers were used and must be confirmed; ``None``: possibly all that match.
    """

    positions: NDArray[np.int64]
    scores: NDArray[Any]
    strategy: Strategy
    reason: str
    read: NDArray[np.int64] | None


class Road:
    """How a piece is searched for a wish. Safe to use from several threads.

    Args:
        piece: Where.
        wish: What.
        confirmed: bool of shape (n,), contiguous: rows that are known to be undamaged; ``None`` where all are.

    Attributes:
        walker: ``None`` where compiled code cannot answer.
        walk: The plan of a walk, where there is to be one.
        top_k: How many rows an answer has.
        strategy: The road that is taken, unless a walk is given up.
        reason: Why that one.
    """

    __slots__ = (
        "_choice",
        "_compiled",
        "_confirmed",
        "_piece",
        "_scan",
        "_wish",
        "reason",
        "strategy",
        "top_k",
        "walk",
        "walker",
    )

    def __init__(self, piece: Piece, wish: Wish, confirmed: NDArray[np.bool_] | None = None) -> None:
        choice, through = plan(piece, wish), None
        if piece.mask is not None and piece.walker is not None and piece.walker.compiled is not None:
            choice, through = _by_values(piece, wish, choice)
        self._piece, self._wish, self._confirmed, self._choice = piece, wish, confirmed, choice
        self.strategy, self.reason = choice.strategy, choice.reason
        self.top_k = min(wish.top_k, piece.matches)
        self.walk: Plan | None = None
        self._scan: Plan | None = None
        walker = None if piece.walker is None else piece.walker.compiled
        self._compiled = walker is not None
        self.walker = walker if walker is not None and (walker.coded or choice.budget) and self.top_k else None
        if self.walker is not None and choice.budget:
            self.walk = self.walker.walk_plan(
                wish.top_k,
                choice.ef,
                None if through is not None and through.rows == piece.matches else piece.mask,
                choice.budget,
                enough=choice.enough,
                wider=choice.wider,
                confirmed=confirmed,
                through=through,
            )

    @property
    def outdated(self) -> bool:
        """Whether compiled code could answer by now, and could not when this was worked out."""
        return not self._compiled and self._piece.walker is not None and self._piece.walker.compiled is not None

    def answer(self, query: NDArray[np.float32], wide: bool = True) -> Answer:
        """The best rows for a query, float32 of shape (d,), checked; scores in float64 if ``wide``, else in float32."""
        if self.walker is None:
            return _answer(nearest(query, self._piece, self._wish), wide)
        if self.walk is None:
            return self.compared(query, wide, self.reason)
        outcome, positions, scores, met, matched = self.walker.walk_once(self.walk, query, wide)
        return self.judged(query, outcome, positions, scores, met, matched)

    def judged(
        self,
        query: NDArray[np.float32],
        outcome: int,
        positions: NDArray[np.int64],
        scores: NDArray[Any],
        met: int,
        matched: int,
    ) -> Answer:
        """The answer after a walk, whatever came of it; arguments as :meth:`Walker.walk_once` returned them."""
        against = bool(outcome & AGAINST)
        if outcome & GAVE_UP or outcome & ROWS_FOUND < self.top_k:
            return self.compared(query, scores.itemsize == 8, gave_up(self._choice, against, met, matched))
        reason = widened(self._choice, met, matched) if against else self.reason
        read = positions if outcome & UNCONFIRMED else positions[:0]
        return Answer(positions, scores, self.strategy, reason, read)

    def compared(self, query: NDArray[np.float32], wide: bool, reason: str) -> Answer:
        """The answer of the exact road."""
        walker, scan = self.walker, self.scan
        road: Strategy = "exact" if self._piece.mask is None else "exact_rows"
        if walker is not None and scan is not None:
            outcome, positions, scores, read = walker.scan_once(scan, query, wide)
            if outcome != UNBOUNDED:
                return Answer(positions, scores, road, reason, positions[:0] if read is None else read)
        exact = Wish(self._wish.top_k, exact=True)
        return _answer(nearest(query, self._piece, exact), wide)._replace(reason=reason)

    @property
    def scan(self) -> Plan | None:
        """The plan for comparing with all matching rows by codes; ``None`` where there are none."""
        walker = self.walker
        if self._scan is None and walker is not None and walker.coded:
            self._scan = walker.scan_plan(self._wish.top_k, self._piece.matching(), self._confirmed)
        return self._scan

    def answers(self, queries: NDArray[np.float32]) -> list[Answer]:
        """For each row of ``queries``, float32 of shape (m, d), checked, what :meth:`answer` gives, in float64."""
        if self.walker is None:
            return [_answer(one, True) for one in nearest_many(queries, self._piece, self._wish)]
        return [self.answer(query) for query in queries]


def _by_values(piece: Piece, wish: Wish, choice: Choice) -> tuple[Choice, Passage | None]:
    """The cheaper of a choice and of walks through the values of a column that the mask lets through."""
    walker = None if piece.walker is None else piece.walker.compiled
    if walker is None or piece.mask is None or wish.exact or wish.recall == 1:
        return choice, None
    best, through, cost, over = choice, None, choice.cost, rows_of(piece)
    for graphs in piece.filters():
        wanted = breadth(wish.top_k, wish.ef, wish.recall, graphs.graph.calibration)
        if wanted is None or least_cost(over, wanted) >= cost:
            continue  # no promise can be kept by such walks, or none can be cheaper
        passage = graphs.passage(piece.mask)
        if passage.rows == graphs.graph.rows:
            continue  # every value is let through
        passed = replace(over, rows=passage.rows)
        other = choose_through(graphs.column, passage.values, passed, wish.top_k, wanted)
        if other.budget and other.cost < cost:
            best, through, cost = other, passage, other.cost
    return best, through


def _answer(one: Nearest, wide: bool) -> Answer:
    scores = one.ranked.scores if wide else one.ranked.scores.astype(np.float32)
    return Answer(one.ranked.positions, scores, one.strategy, one.reason, one.read)
