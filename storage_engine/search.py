"""The nearest rows of a collection at one version, chunk by chunk, by whatever road the planner chooses for each.

Every road ends in the same scores (:func:`storage_engine.vectors.distance.score_rows`), so the roads can be mixed: the
graph answers for the segment that it covers, the exact scan for the others and for fresh rows, and one merge puts the
answers in order. Vectors of mapped files are checked after they were compared and before a result is given.
"""

from __future__ import annotations

import functools
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from storage_engine.candidates import Candidates
from storage_engine.catalog import CollectionState
from storage_engine.errors import InvalidArgumentError
from storage_engine.filters.selection import Selection, Selections
from storage_engine.index.nearest import Piece, Wish
from storage_engine.index.planner import Strategy
from storage_engine.index.within import meets, within
from storage_engine.prepared_search import Part, PreparedSearch
from storage_engine.schema import MAX_TOP_K
from storage_engine.vectors.distance import check_query, merge

_KEPT_SEARCHES = 32  # different wishes for the same rows


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


def selections(state: CollectionState) -> Selections:
    """The selections kept with a state."""
    kept = state.cache.get("selections")
    if not isinstance(kept, Selections):
        kept = state.cache.setdefault("selections", Selections())
    return cast(Selections, kept)


def filter_columns(state: CollectionState) -> tuple[str, ...]:
    """Columns for whose values there are graphs."""
    chunks = state.rows.layout.chunks
    return tuple(one.column for chunk in chunks for one in chunk.filter_graphs())


def prepare(
    state: CollectionState,
    mask: NDArray[np.bool_] | Selection | None,
    top_k: int,
    exact: bool,
    ef: int | None,
    recall: float | None,
) -> PreparedSearch:
    """A search for these arguments, kept with the state, or with the selection, for the next time."""
    plain = type(top_k) is int and type(exact) is bool and (ef is None or type(ef) is int)
    wish = None
    if not plain or not (recall is None or type(recall) is float):
        wish = _wish(top_k, exact, ef, recall)
        top_k, exact, ef, recall = wish.top_k, wish.exact, wish.ef, wish.recall
    key = (top_k, exact, ef, recall)
    kept = _kept(state, mask)
    found = kept.get(key)
    if found is None or found.outdated:
        wish = wish or _wish(*key)
        found = PreparedSearch(_parts(state, mask), wish, state.schema.metric, state.schema.dimension, mask is None)
        if len(kept) >= _KEPT_SEARCHES:
            kept.clear()
        kept[key] = found
    return found


_Key: TypeAlias = tuple[int, bool, "int | None", "float | None"]


def _kept(state: CollectionState, mask: NDArray[np.bool_] | Selection | None) -> dict[_Key, PreparedSearch]:
    """Where searches of a state, or of a selection of it, are kept; nowhere for a bare mask."""
    if mask is None:
        kept = state.cache.get("searches")
        if kept is None:
            kept = state.cache["searches"] = {}
        return cast("dict[_Key, PreparedSearch]", kept)
    if isinstance(mask, Selection):
        if mask.prepared is None or mask.prepared[0] is not state.cache:
            _parts(state, mask)
        if mask.prepared is not None and mask.prepared[0] is state.cache:
            return cast("dict[_Key, PreparedSearch]", mask.prepared[2])
    return {}


def search_within(
    state: CollectionState,
    query: NDArray[np.float32],
    bound: float,
    mask: NDArray[np.bool_] | Selection | None,
    limit: int | None,
) -> Candidates:
    """All rows (or the best ``limit``) whose score meets a bound, ordered by score, then by slot; always exact."""
    if isinstance(bound, bool) or not isinstance(bound, int | float | np.number) or np.isnan(bound):
        raise InvalidArgumentError(f"the bound is {bound!r}", fix="Give a number.", value=bound)
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int | np.integer) or limit < 1):
        raise InvalidArgumentError(f"limit is {limit!r}", fix="Give a whole number of at least 1.", value=limit)
    metric = state.schema.metric
    if limit is not None and limit <= MAX_TOP_K:  # the best rows are found sooner than all rows within the bound
        best = prepare(state, mask, limit, True, None, None).one(query)
        inside = int(np.count_nonzero(meets(best.scores.astype(np.float64), bound, metric)))
        return Candidates(best.slots[:inside], best.scores[:inside], best.strategy, best.reason)
    checked = check_query(query, state.schema.dimension, metric)
    pieces = []
    for part in _parts(state, mask):
        answer = within(checked, part.piece, float(bound))
        part.chunk.confirm(answer.read)
        pieces.append((part.start, answer.ranked))
    count = sum(ranked.positions.shape[0] for _, ranked in pieces)
    ranked = merge(pieces, count if limit is None else min(limit, count), metric)
    road: Strategy = "exact" if mask is None else "exact_rows"
    return Candidates(ranked.positions, ranked.scores.astype(np.float32), road, "all rows within a bound are wanted")


def _parts(state: CollectionState, mask: NDArray[np.bool_] | Selection | None) -> list[Part]:
    """The chunks that hold rows to be searched; what is worked out is kept with the state or the selection."""
    if mask is None:
        kept = state.cache.get("parts")
        if kept is None:
            live = live_mask(state)
            kept = state.cache["parts"] = _split(state, None if live is None else Selection(live))
        return cast("list[Part]", kept)
    if isinstance(mask, Selection) and mask.prepared is not None and mask.prepared[0] is state.cache:
        return cast("list[Part]", mask.prepared[1])
    live = live_mask(state)
    selection = mask if isinstance(mask, Selection) else Selection(_checked(mask, state), live)
    if selection.mask.shape != (state.slot_count,):
        raise InvalidArgumentError(
            f"the selection is of {selection.mask.shape[0]} slots, the collection has {state.slot_count}",
            fix="Use selections of this snapshot only.",
        )
    if selection is mask and live is not None and (selection.mask & ~live).any():
        selection = Selection(selection.mask, live)  # it was made before these rows died
    parts = _split(state, selection)
    selection.prepared = (state.cache, parts, {})
    return parts


def _split(state: CollectionState, selection: Selection | None) -> list[Part]:
    parts = []
    for chunk, rows in state.rows.parts(state.slot_count):
        mask, matches = (None, rows) if selection is None else selection.within(chunk.start, rows)
        if not matches:
            continue
        piece = Piece(
            chunk.unchecked[:rows],
            chunk.norms[:rows],
            state.schema.metric,
            chunk.walker(),
            mask,
            matches,
            chunk.filter_graphs,
        )
        parts.append(Part(chunk.start, chunk, piece))
    return parts


@functools.lru_cache(maxsize=256, typed=True)  # typed: True is no number of rows
def _wish(top_k: int, exact: bool, ef: int | None, recall: float | None) -> Wish:
    if isinstance(top_k, bool) or not isinstance(top_k, int | np.integer) or not 1 <= top_k <= MAX_TOP_K:
        raise InvalidArgumentError(
            f"top_k is {top_k!r}", fix=f"Give a whole number from 1 to {MAX_TOP_K}.", value=top_k
        )
    if ef is not None and (isinstance(ef, bool) or not isinstance(ef, int | np.integer) or ef < 1):
        raise InvalidArgumentError(f"ef is {ef!r}", fix="Give a whole number of at least 1.", value=ef)
    if recall is not None and (isinstance(recall, bool) or not isinstance(recall, int | float | np.number)):
        raise InvalidArgumentError(f"recall is {recall!r}", fix="Give a number above 0, at most 1.", value=recall)
    return Wish(int(top_k), exact, None if ef is None else int(ef), None if recall is None else float(recall))


def _checked(mask: object, state: CollectionState) -> NDArray[np.bool_]:
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (state.slot_count,):
        raise InvalidArgumentError(
            f"the mask has shape {getattr(mask, 'shape', None)} and type {getattr(mask, 'dtype', type(mask))}",
            fix=f"Give a boolean array of shape ({state.slot_count},), from this snapshot.",
        )
    return mask
