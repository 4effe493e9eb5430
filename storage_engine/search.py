"""The nearest rows of a collection at one version, chunk by chunk, by whatever road the planner chooses for each.

Every road ends in the same scores (:func:`storage_engine.vectors.distance.score_rows`), so the roads can be mixed: the
graph answers for the segment that it covers, the exact scan for the others and for fresh rows, and one merge puts the
answers in order. Vectors of mapped files are checked after they were compared and before a result is given.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from storage_engine.catalog import CollectionState
from storage_engine.errors import InvalidArgumentError
from storage_engine.index.nearest import nearest
from storage_engine.index.planner import Strategy
from storage_engine.schema import MAX_TOP_K
from storage_engine.vectors.distance import Ranked, check_query, merge


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Rows found by a search, best first.

    Args:
        slots: int64, shape (m,).
        scores: float32, shape (m,), as :class:`storage_engine.schema.Metric` defines them.
        strategy: How they were found: ``exact``, ``graph``, ``masked_graph`` or ``exact_rows``.
    """

    slots: NDArray[np.int64]
    scores: NDArray[np.float32]
    strategy: Strategy


@dataclass(frozen=True, slots=True, eq=False)
class SearchRequest:
    """What is asked; see :meth:`storage_engine.snapshot.CollectionView.search`."""

    query: NDArray[np.float32]
    top_k: int
    mask: NDArray[np.bool_] | None = None
    exact: bool = False
    ef: int | None = None


def live_mask(state: CollectionState) -> NDArray[np.bool_] | None:
    """Which slots are live, read-only and kept in the state's cache; ``None`` if all are."""
    if state.live_count == state.slot_count:
        return None
    cached = state.cache.get("live")
    if not isinstance(cached, np.ndarray):
        cached = state.rows.live(state.slot_count, state.lsn)
        cached.flags.writeable = False
        state.cache["live"] = cached
    return cached


def search(state: CollectionState, request: SearchRequest) -> Candidates:
    """Exactly ``min(top_k, live & mask)`` rows, ordered by score, then by slot."""
    query = check_query(request.query, state.schema.dimension, state.schema.metric)
    _check(request, state.slot_count)
    allowed = live_mask(state)
    if request.mask is not None:
        allowed = request.mask if allowed is None else allowed & request.mask
    metric = state.schema.metric
    found: list[tuple[int, Ranked]] = []
    strategy: Strategy = "exact" if request.mask is None else "exact_rows"
    for chunk, rows in state.rows.parts(state.slot_count):
        mask = None if allowed is None else allowed[chunk.start : chunk.start + rows]
        if mask is not None and not mask.any():
            continue
        walker = None if request.exact else chunk.walker()
        answer = nearest(
            query,
            chunk.unchecked[:rows],
            chunk.norms[:rows],
            metric,
            int(request.top_k),
            walker=walker,
            mask=mask,
            exact=request.exact,
            ef=request.ef,
        )
        if answer.strategy in ("graph", "masked_graph"):
            strategy = answer.strategy
            chunk.confirm(answer.ranked.positions)
        else:
            chunk.confirm(None if mask is None else np.flatnonzero(mask))
        found.append((chunk.start, answer.ranked))
    ranked = merge(found, int(request.top_k), metric)
    return Candidates(ranked.positions, ranked.scores.astype(np.float32), strategy)


def _check(request: SearchRequest, slot_count: int) -> None:
    top_k = request.top_k
    if isinstance(top_k, bool) or not isinstance(top_k, int | np.integer) or not 1 <= top_k <= MAX_TOP_K:
        raise InvalidArgumentError(
            f"top_k is {top_k!r}", fix=f"Give a whole number from 1 to {MAX_TOP_K}.", value=top_k
        )
    ef = request.ef
    if ef is not None and (isinstance(ef, bool) or not isinstance(ef, int | np.integer) or ef < 1):
        raise InvalidArgumentError(f"ef is {ef!r}", fix="Give a whole number of at least 1.", value=ef)
    mask = request.mask
    if mask is not None and (not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (slot_count,)):
        raise InvalidArgumentError(
            f"the mask has shape {getattr(mask, 'shape', None)} and type {getattr(mask, 'dtype', type(mask))}",
            fix=f"Give a boolean array of shape ({slot_count},), from this snapshot.",
        )
