"""Reciprocal rank fusion: one ranking from several whose scores cannot be compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import InvalidArgumentError

RANK_CONSTANT = 60.0


def reciprocal_rank_fusion(
    rankings: Sequence[NDArray[np.int64]],
    *,
    rank_constant: float = RANK_CONSTANT,
    weights: Sequence[float] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Items ordered by Σ w_r / (k + rank_r), over the rankings r that hold them; ranks count from 1.

    Cormack, Clarke and Büttcher, "Reciprocal rank fusion outperforms Condorcet and individual rank learning methods",
    SIGIR 2009, with their k = 60 by default and w = 1.

    Args:
        rankings: Each a ranking, best first: distinct items as int64.
        rank_constant: k, at least 0: how little the first places count more than the next ones.
        weights: One for each ranking, at least 0; ``None`` means 1 for all.

    Returns:
        Items, int64, and their scores, float64, descending; equal scores in the order of the first ranking that holds
        one of them, then of the second, and so on.

    Raises:
        InvalidArgumentError: ``rank_constant`` is negative or not finite, or weights do not fit.
    """
    number = isinstance(rank_constant, int | float) and not isinstance(rank_constant, bool)
    if not number or not 0 <= rank_constant < float("inf"):
        raise InvalidArgumentError(
            f"rank_constant is {rank_constant!r}", fix="give a number of at least 0, such as 60", value=rank_constant
        )
    factors = np.ones(len(rankings)) if weights is None else np.asarray(weights, np.float64)
    if factors.shape != (len(rankings),) or not (np.isfinite(factors).all() and (factors >= 0).all()):
        raise InvalidArgumentError(
            f"weights are {weights!r} for {len(rankings)} rankings",
            fix="give one number of at least 0 for each",
            value=weights,
        )
    if not rankings:
        return np.empty(0, np.int64), np.empty(0)
    parts = [factor / (rank_constant + 1 + np.arange(len(one))) for one, factor in zip(rankings, factors, strict=True)]
    items, first, inverse = np.unique(np.concatenate(rankings), return_index=True, return_inverse=True)
    scores: NDArray[np.float64] = np.bincount(inverse, np.concatenate(parts), minlength=len(items)).astype(np.float64)
    order = np.lexsort((first, -scores))
    return items[order].astype(np.int64, copy=False), scores[order]
