"""The nearest rows of one piece of a collection, by whichever road the planner takes; never a row short."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from storage_engine.errors import InvalidArgumentError
from storage_engine.index.planner import Choice, Strategy, choose
from storage_engine.schema import Metric
from storage_engine.vectors.distance import EMPTY, Ranked, check_query, exact_top_k

if TYPE_CHECKING:
    from storage_engine.index.walker import Walker


@dataclass(frozen=True, slots=True)
class Nearest:
    """An answer and how it was found.

    Args:
        ranked: Exactly ``min(top_k, matching rows)`` rows in order, scores float64.
        strategy: The road that gave the answer.
        reason: Why that road; also says where a walk was given up.
    """

    ranked: Ranked
    strategy: Strategy
    reason: str


def nearest(
    query: NDArray[np.float32],
    vectors: NDArray[np.float32],
    norms: NDArray[np.float32] | None,
    metric: Metric,
    top_k: int,
    *,
    walker: Walker | None = None,
    mask: NDArray[np.bool_] | None = None,
    exact: bool = False,
    ef: int | None = None,
) -> Nearest:
    """Search one piece.

    Args:
        query: float32 of shape (d,).
        vectors: float32 of shape (n, d).
        norms: float32 of shape (n,) for the cosine metric.
        metric: Decides score and order.
        top_k: At least 1.
        walker: Over exactly these rows; ``None`` where there is no graph yet.
        mask: bool of shape (n,): which rows may be returned; ``None`` means all.
        exact: Compare with every matching row whatever the planner thinks.
        ef: Candidates that a walk keeps; ``None`` for the default.

    Returns:
        The same rows and scores on every road, as far as the walk found the true neighbours.

    Raises:
        InvalidArgumentError: ``top_k`` or ``ef`` below 1, or a mask of the wrong shape.
        InvalidVectorError: The query is unusable.
    """
    n, dimension = vectors.shape
    if top_k < 1:
        raise InvalidArgumentError(f"top_k is {top_k}", fix="Ask for at least one row.", value=top_k)
    if ef is not None and ef < 1:
        raise InvalidArgumentError(f"ef is {ef}", fix="Keep at least one candidate.", value=ef)
    if mask is not None and (mask.shape != (n,) or mask.dtype != np.bool_):
        raise InvalidArgumentError(
            f"A mask of shape {mask.shape} and type {mask.dtype} does not fit {n} rows",
            fix="Give one bool per row.",
            value=mask.shape,
        )
    q = check_query(query, dimension, metric)
    matches = n if mask is None else int(np.count_nonzero(mask))
    if matches == 0:
        return Nearest(EMPTY, "exact" if mask is None else "exact_rows", "no row matches")
    flags = None if mask is None or matches == n else np.ascontiguousarray(mask)
    reason = "asked for"
    if not exact:
        choice = choose(n, matches, top_k, ef, walker is not None)
        reason = choice.reason
        if walker is not None and choice.budget:
            answer = _walked(walker, q, top_k, flags, choice)
            if answer is not None:
                return Nearest(answer, choice.strategy, reason)
            reason = f"the walk gave up: {reason}"
    road: Strategy = "exact" if flags is None else "exact_rows"
    return Nearest(exact_top_k(q, vectors, top_k, metric, norms, flags), road, reason)


def _walked(
    walker: Walker, q: NDArray[np.float32], top_k: int, flags: NDArray[np.bool_] | None, choice: Choice
) -> Ranked | None:
    """The walk's answer, or ``None`` where it ran out of budget or could not reach enough rows."""
    walk = walker.search(q, top_k, choice.ef, flags, choice.budget)
    return None if walk.exhausted or walk.ranked.positions.shape[0] < top_k else walk.ranked
