"""The nearest rows of a collection at one version, chunk by chunk, by whatever road the planner chooses for each.

Every road ends in the same scores (:func:`storage_engine.vectors.distance.score_rows`), so the roads can be mixed: the
graph answers for the segment that it covers, the exact scan for the others and for fresh rows, and one merge puts the
answers in order. Vectors of mapped files are checked after they were compared and before a result is given.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from storage_engine.catalog import CollectionState
from storage_engine.chunks import Chunk
from storage_engine.errors import InvalidArgumentError
from storage_engine.filters.selection import Selection, Selections
from storage_engine.index.nearest import Nearest, Piece, Wish, nearest, nearest_many
from storage_engine.index.planner import Strategy
from storage_engine.schema import MAX_TOP_K
from storage_engine.vectors.distance import check_query, merge

_BLOCK_QUERIES = 16  # a thread takes so many queries at a time: few enough to share evenly, enough to stay compiled
_EXACT: tuple[Strategy, ...] = ("exact", "exact_rows")


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Rows found by a search, best first.

    Args:
        slots: int64, shape (m,).
        scores: float32, shape (m,), as :class:`storage_engine.schema.Metric` defines them.
        strategy: How they were found: ``exact``, ``graph``, ``masked_graph`` or ``exact_rows``.
        reason: Why in that way, for people.
    """

    slots: NDArray[np.int64]
    scores: NDArray[np.float32]
    strategy: Strategy
    reason: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class SearchRequest:
    """What is asked; see :meth:`storage_engine.snapshot.CollectionView.search`."""

    top_k: int
    mask: NDArray[np.bool_] | Selection | None = None
    exact: bool = False
    ef: int | None = None
    recall: float | None = None


class _Part(NamedTuple):
    """One chunk as it is searched."""

    start: int
    chunk: Chunk
    piece: Piece


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


def search(state: CollectionState, query: NDArray[np.float32], request: SearchRequest) -> Candidates:
    """Exactly ``min(top_k, live & mask)`` rows, ordered by score, then by slot."""
    checked = check_query(query, state.schema.dimension, state.schema.metric)
    wish = _wish(request.top_k, request.exact, request.ef, request.recall)
    parts = _parts(state, request.mask)
    return _joined(state, wish, parts, [nearest(checked, part.piece, wish) for part in parts], request.mask is None)


def search_many(state: CollectionState, queries: NDArray[np.float32], request: SearchRequest) -> list[Candidates]:
    """For each row of ``queries`` what :func:`search` gives, to the last bit; by all cores."""
    schema = state.schema
    checked = [check_query(query, schema.dimension, schema.metric) for query in queries]
    wish = _wish(request.top_k, request.exact, request.ef, request.recall)
    parts = _parts(state, request.mask)
    blocks = [np.stack(checked[at : at + _BLOCK_QUERIES]) for at in range(0, len(checked), _BLOCK_QUERIES)]

    def answers(block: NDArray[np.float32]) -> list[Candidates]:
        found = [nearest_many(block, part.piece, wish) for part in parts]
        by_query = zip(*found, strict=True) if found else (() for _ in block)
        return [_joined(state, wish, parts, answer, request.mask is None) for answer in by_query]

    threads = min(len(blocks), _cores())
    if threads <= 1:
        return list(itertools.chain.from_iterable(map(answers, blocks)))
    with ThreadPoolExecutor(threads, thread_name_prefix="qstore-search") as pool:
        return list(itertools.chain.from_iterable(pool.map(answers, blocks)))


def _parts(state: CollectionState, mask: NDArray[np.bool_] | Selection | None) -> list[_Part]:
    """The chunks that hold rows to be searched; what is worked out is kept with the state or the selection."""
    if mask is None:
        kept = state.cache.get("parts")
        if kept is None:
            live = live_mask(state)
            kept = state.cache["parts"] = _split(state, None if live is None else Selection(live))
        return cast("list[_Part]", kept)
    if isinstance(mask, Selection) and mask.prepared is not None and mask.prepared[0] is state.cache:
        return cast("list[_Part]", mask.prepared[1])
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
    selection.prepared = (state.cache, parts)
    return parts


def _split(state: CollectionState, selection: Selection | None) -> list[_Part]:
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
        )
        parts.append(_Part(chunk.start, chunk, piece))
    return parts


def _joined(
    state: CollectionState, wish: Wish, parts: Sequence[_Part], found: Sequence[Nearest], unfiltered: bool
) -> Candidates:
    """One answer from those of the chunks; strategy and reason are those of the last chunk that was walked, if any."""
    strategy: Strategy = "exact" if unfiltered else "exact_rows"
    if not parts:
        return Candidates(np.empty(0, np.int64), np.empty(0, np.float32), strategy, "no row matches")
    reason = found[0].reason
    for part, answer in zip(parts, found, strict=True):
        part.chunk.confirm(answer.read)
        if answer.strategy not in _EXACT:
            strategy, reason = answer.strategy, answer.reason
    if len(parts) == 1 and not parts[0].start:
        ranked = found[0].ranked
    else:
        pieces = [(part.start, answer.ranked) for part, answer in zip(parts, found, strict=True)]
        ranked = merge(pieces, wish.top_k, state.schema.metric)
    return Candidates(ranked.positions, ranked.scores.astype(np.float32), strategy, reason)


def _cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


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
