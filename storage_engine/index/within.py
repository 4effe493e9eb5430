"""All rows of one piece whose score is at least as good as a bound: exact, by codes where there are any."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from storage_engine.index.nearest import Piece
from storage_engine.schema import Metric
from storage_engine.vectors.distance import EMPTY, Ranked, score_all


class Within(NamedTuple):
    """An answer and what was read for it.

    Attributes:
        ranked: The rows in order, scores float64.
        read: Rows whose float32 numbers were used; ``None`` means all of the piece.
    """

    ranked: Ranked
    read: NDArray[np.int64] | None


def meets(scores: NDArray[np.float64], bound: float, metric: Metric) -> NDArray[np.bool_]:
    """THE rule: whether scores are at least as good as a bound, both rounded to float32, as scores are reported.

    Rounding is monotone, so a row whose unrounded score meets the bound always does, and so does every row of a search
    whose last reported score is the bound.
    """
    with np.errstate(over="ignore"):
        narrow, limit = scores.astype(np.float32), np.float32(bound)
    return np.asarray(narrow <= limit if metric is Metric.L2 else narrow >= limit)


def within(query: NDArray[np.float32], piece: Piece, bound: float) -> Within:
    """The matching rows of a piece whose score meets a bound (:func:`meets`).

    Args:
        query: float32 of shape (d,), checked by :func:`storage_engine.vectors.distance.check_query`.
        piece: Where.
        bound: A distance under l2, at most; a similarity otherwise, at least. Not NaN.

    Returns:
        Rows ordered by score, equal scores by row. Cost: O(rows · d) bytes of codes, and float32 rows for those that
        codes leave open; without codes float32 rows for all.
    """
    if not piece.matches or (piece.metric is Metric.L2 and bound < 0):
        return Within(EMPTY, EMPTY.positions)
    rows = read = piece.matching()
    scored = None
    if piece.walker is not None and piece.walker.coded:
        scored = piece.walker.scan_within(query, _limit(bound, piece.metric), rows)
    if scored is not None:
        read = scored.positions
    else:
        everything = np.arange(piece.vectors.shape[0], dtype=np.int64) if rows is None else rows
        scored = Ranked(everything, score_all(query, piece.vectors, piece.metric, piece.norms, everything))
    return Within(_kept(scored, bound, piece.metric), read)


def _limit(bound: float, metric: Metric) -> float:
    """The bound as a distance or a negated similarity, one float32 up: what rounds to the bound is not beyond it."""
    with np.errstate(over="ignore"):
        narrow = np.float32(bound)
        return float(np.nextafter(narrow if metric is Metric.L2 else -narrow, np.float32(np.inf)))


def _kept(scored: Ranked, bound: float, metric: Metric) -> Ranked:
    good = meets(scored.scores, bound, metric)
    positions, scores = scored.positions[good], scored.scores[good]
    order = np.lexsort((positions, scores if metric is Metric.L2 else -scores))
    return Ranked(positions[order], scores[order])
