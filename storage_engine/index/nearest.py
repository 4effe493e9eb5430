"""The nearest rows of one piece of a collection, by whichever road the planner takes; never a row short."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from storage_engine.errors import InvalidArgumentError
from storage_engine.index.codes import stride_of
from storage_engine.index.planner import Choice, Rows, Strategy, breadth, choose, may_walk
from storage_engine.index.walk_rules import PROBE_ROWS
from storage_engine.schema import Metric
from storage_engine.vectors.distance import EMPTY, Ranked, exact_top_k
from storage_engine.vectors.types import StoredVectors

if TYPE_CHECKING:
    from storage_engine.index.filter_graph import FilterGraph
    from storage_engine.index.graph_search import GraphSearch
    from storage_engine.index.walks import Walk


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Rows that are searched together.

    Args:
        vectors: Of shape (n, d), in any type that a collection keeps.
        norms: float32 of shape (n,) for the cosine metric.
        metric: Decides score and order.
        walker: Over exactly these rows; ``None`` where there is no graph yet.
        mask: bool of shape (n,), contiguous: which rows may be returned; ``None`` means all.
        matches: How many that are; counted here if not given.
        filters: Gives the graphs of columns' values over exactly these rows.
    """

    vectors: StoredVectors
    norms: NDArray[np.float32] | None
    metric: Metric
    walker: GraphSearch | None = None
    mask: NDArray[np.bool_] | None = None
    matches: int = -1
    filters: Callable[[], tuple[FilterGraph, ...]] = tuple
    _rows: NDArray[np.int64] | None = field(default=None, init=False)
    _likeness: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        n = self.vectors.shape[0]
        if self.mask is None:
            object.__setattr__(self, "matches", n)
            return
        if self.mask.shape != (n,) or self.mask.dtype != np.bool_:
            raise InvalidArgumentError(
                f"A mask of shape {self.mask.shape} and type {self.mask.dtype} does not fit {n} rows",
                fix="Give one bool per row.",
                value=self.mask.shape,
            )
        if self.matches < 0:
            object.__setattr__(self, "matches", int(np.count_nonzero(self.mask)))
        if self.matches == n:
            object.__setattr__(self, "mask", None)
        elif not self.mask.flags.c_contiguous:
            object.__setattr__(self, "mask", np.ascontiguousarray(self.mask))

    def matching(self) -> NDArray[np.int64] | None:
        """Numbers of the matching rows, int64, ascending; ``None`` for all. Kept once computed."""
        if self.mask is None:
            return None
        if self._rows is None:
            object.__setattr__(self, "_rows", np.flatnonzero(self.mask))
        return self._rows

    def likeness(self) -> float:
        """How the mask lies to the vectors, in hundredths: see :func:`storage_engine.index.likeness.likeness`.

        1 where there is none, or no graph to tell by. Kept once computed.
        """
        if self._likeness is None:
            known = 1.0
            if self.mask is not None and self.walker is not None and self.matches:
                known = round(self.walker.likeness(self.mask, self.matches), 2)
            object.__setattr__(self, "_likeness", known)
            return known
        return self._likeness


@dataclass(frozen=True, slots=True)
class Wish:
    """What a search is to be like.

    Args:
        top_k: At least 1.
        exact: Compare with every matching row whatever the planner thinks.
        ef: Candidates that a walk keeps; ``None`` leaves it to ``recall``.
        recall: Promised on average, above 0, at most 1; ``None`` leaves it to the planner.

    Raises:
        InvalidArgumentError: Out of range, or both ``ef`` and ``recall``.
    """

    top_k: int
    exact: bool = False
    ef: int | None = None
    recall: float | None = None

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise InvalidArgumentError(f"top_k is {self.top_k}", fix="Ask for at least one row.", value=self.top_k)
        if self.ef is not None and self.ef < 1:
            raise InvalidArgumentError(f"ef is {self.ef}", fix="Keep at least one candidate.", value=self.ef)
        if self.recall is not None and not 0 < self.recall <= 1:
            raise InvalidArgumentError(
                f"recall is {self.recall}", fix="Ask for a share above 0, at most 1.", value=self.recall
            )
        if self.ef is not None and self.recall is not None:
            raise InvalidArgumentError(
                f"both ef {self.ef} and recall {self.recall} were given", fix="Give one of them.", value=self.ef
            )


@dataclass(frozen=True, slots=True)
class Nearest:
    """An answer and how it was found.

    Args:
        ranked: Exactly ``min(top_k, matching rows)`` rows in order, scores float64.
        strategy: The road that gave the answer.
        reason: Why that road; also says where a walk was given up.
        read: Rows whose float32 numbers were used; ``None`` means all matching ones.
    """

    ranked: Ranked
    strategy: Strategy
    reason: str
    read: NDArray[np.int64] | None


def nearest(query: NDArray[np.float32], piece: Piece, wish: Wish) -> Nearest:
    """Search one piece.

    Args:
        query: float32 of shape (d,), checked by :func:`storage_engine.vectors.distance.check_query`.
        piece: Where.
        wish: What.

    Returns:
        The same rows and scores on every road, as far as the walk found the true neighbours.
    """
    choice = plan(piece, wish)
    if not choice.budget:
        return compared(query, piece, wish.top_k, choice.reason)
    walk = piece.walker.search(  # type: ignore[union-attr]  # no budget is given without one
        query, wish.top_k, choice.ef, piece.mask, choice.budget, enough=choice.enough, wider=choice.wider
    )
    return answered(query, piece, wish, choice, walk)


def nearest_many(queries: NDArray[np.float32], piece: Piece, wish: Wish) -> list[Nearest]:
    """Search one piece for several queries, float32 of shape (m, d): for each what :func:`nearest` gives.

    Walks run one after the other without returning to Python.
    """
    choice = plan(piece, wish)
    if not choice.budget:
        return [compared(query, piece, wish.top_k, choice.reason) for query in queries]
    walks = piece.walker.search_many(  # type: ignore[union-attr]  # as above
        queries, wish.top_k, choice.ef, piece.mask, choice.budget, enough=choice.enough, wider=choice.wider
    )
    return [answered(query, piece, wish, choice, walk) for query, walk in zip(queries, walks, strict=True)]


def plan(piece: Piece, wish: Wish) -> Choice:
    """The road for a piece."""
    walker = piece.walker
    if wish.exact or wish.recall == 1 or not piece.matches:
        reason = "no row matches" if not piece.matches else "asked for"
        return Choice("exact" if piece.mask is None else "exact_rows", 0, 0, 0, 0, piece.matches, reason)
    wanted = breadth(wish.top_k, wish.ef, wish.recall, None if walker is None else walker.graph.calibration)
    over = rows_of(piece)
    if walker is not None and may_walk(over, wish.top_k, wanted):
        over = replace(over, likeness=piece.likeness())
    return choose(over, wish.top_k, wanted, walker is not None)


def rows_of(piece: Piece) -> Rows:
    """What a road through a piece leads over, as if its filter had nothing to do with the vectors."""
    n, d = piece.vectors.shape
    coded = piece.walker is not None and piece.walker.coded
    return Rows(n, piece.matches, stride_of(d) if coded else d * piece.vectors.itemsize, coded)


def compared(query: NDArray[np.float32], piece: Piece, top_k: int, reason: str) -> Nearest:
    """The answer of the exact road: by codes where there are any, in float32 otherwise."""
    road: Strategy = "exact" if piece.mask is None else "exact_rows"
    if not piece.matches:
        return Nearest(EMPTY, road, reason, EMPTY.positions)
    rows = piece.matching()
    if piece.walker is not None and piece.walker.coded:
        scan = piece.walker.scan(query, top_k, rows)
        if scan is not None:
            return Nearest(scan.ranked, road, reason + scan.note, scan.read)
    return Nearest(exact_top_k(query, piece.vectors, top_k, piece.metric, piece.norms, rows), road, reason, rows)


def answered(query: NDArray[np.float32], piece: Piece, wish: Wish, choice: Choice, walk: Walk) -> Nearest:
    """The walk's answer, or the exact one where it was given up or could not reach enough rows."""
    against = bool(choice.enough) and walk.met >= PROBE_ROWS and walk.matched < choice.enough
    if walk.exhausted or walk.ranked.positions.shape[0] < wish.top_k:
        return compared(query, piece, wish.top_k, gave_up(choice, against, walk.met, walk.matched) + walk.note)
    reason = widened(choice, walk.met, walk.matched) if against else choice.reason
    return Nearest(walk.ranked, choice.strategy, reason + walk.note, walk.ranked.positions)


def gave_up(choice: Choice, against: bool, met: int, matched: int) -> str:
    """Why comparing took over from a walk, which may have been against its filter."""
    return f"the walk gave up: {choice.reason}{_unlike(met, matched) if against else ''}"


def widened(choice: Choice, met: int, matched: int) -> str:
    """Why a walk against its filter went on."""
    return f"{choice.reason}{_unlike(met, matched)}: widened to {choice.wider}"


def _unlike(met: int, matched: int) -> str:
    return f"; only {matched} of the {met} rows around the query match"
