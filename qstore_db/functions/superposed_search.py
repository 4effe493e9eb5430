"""Search of a collection that may hold states: without a context, in one context, and in a superposed context.

The query is used as the unit vector q; s is the inner product of unit vectors.

- ``context=None``: expected similarity Σ_c p_c·s(q, v_c) = ⟨q, Σ_c p_c v_c⟩, one inner product with the stored row.
- ``context="a"``: post-selected on the context, ranks s(q, v_a); records without it do not appear.
- ``context={"a": q_a, "b": q_b}``: the coherent overlap |Σ_c √(p_c q_c) e^{iφ_c}⟨q|v_c⟩|², dephased with age.

Only the last one changes with time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import DimensionMismatchError, InvalidArgumentError, InvalidVectorError
from qstore_db.functions.group_operations import coherence_factors
from qstore_db.functions.state_reading import ContextBranches, all_branches, branches_of, require_cosine
from qstore_db.states.coherence import coherent_weights, dephased_overlaps
from qstore_db.states.contexts import ContextsInput, ContextSuperposition, check_context_name, parse_superposed_context
from storage_engine.schema import MAX_TOP_K
from storage_engine.snapshot import Snapshot

# float64 values in one block of branch vectors: 4 MiB, small beside a processor's cache and large beside a call.
_BLOCK_VALUES = 1 << 19


@dataclass(frozen=True, slots=True, eq=False)
class StateHits:
    """The answer to one query, best first.

    Args:
        ids: Record ids.
        slots: int64 (rows,): slots of the visible collection at the snapshot searched.
        scores: float64 (rows,), descending. From a graph or an exact scan they are float32 values, widened.
        strategy: ``states`` for a superposed context, otherwise as the storage floor reports it.
    """

    ids: list[str]
    slots: NDArray[np.int64]
    scores: NDArray[np.float64]
    strategy: str


def search(
    snapshot: Snapshot,
    collection: str,
    query: NDArray[np.float32],
    top_k: int,
    *,
    now: float,
    context: ContextsInput | None = None,
    phases: Mapping[str, float] | None = None,
    mask: NDArray[np.bool_] | None = None,
    coherent_only: bool = False,
    exact: bool = False,
    ef: int | None = None,
) -> StateHits:
    """The ``top_k`` best records, exactly min(top_k, matching) of them.

    Args:
        snapshot: What is searched.
        collection: Its name.
        query: float32 (dimension,), not zero; its length does not matter.
        top_k: 1 to ``MAX_TOP_K``.
        now: Seconds since the epoch: what ages are counted to.
        context: ``None``, one name, or a superposed context as ``{name: weight}`` or pairs; its weights are normalised.
        phases: Radians by name, only with a superposed context. The amplitude of a record is
            Σ_c √(p_c q_c) e^{+iφ_c}⟨q|v_c⟩. Overlaps and branch vectors are real, so turning all signs changes nothing.
        mask: bool over the slots of the visible collection; only rows with True may appear.
        coherent_only: Leave out states whose age has reached their coherence time. Ordinary rows have none and stay.
        exact: Do not use a graph. A superposed context is always computed exactly.
        ef: Breadth of a graph search; not with a superposed context.

    Returns:
        Ties: by slot of the record; in one context, by slot of the branch. In a superposed context a record appears if
        it has at least one of the contexts, whatever its score. Cost there: O(branches named · dimension).

    Raises:
        UnknownContextError: No state of the collection has a context named.
        InvalidStateError: The context or a phase is out of its range, or the collection is not a cosine one.
        InvalidArgumentError: ``top_k``, ``phases`` or ``ef`` where they have no meaning.
        InvalidVectorError: The query is not finite, zero, or of the wrong shape or length.
    """
    if phases is not None and (context is None or isinstance(context, str)):
        raise InvalidArgumentError(
            "phases need a superposed context", fix="give context={'technical': 0.7, 'legal': 0.3}", value=phases
        )
    view = snapshot.collection(collection)
    if mask is not None and mask.shape != (view.slot_count,):
        raise InvalidArgumentError(
            f"a mask of shape {mask.shape} for {view.slot_count} slots", fix="take the mask from the same snapshot"
        )
    if context is None:
        if coherent_only:
            coherent = coherent_rows(snapshot, collection, now)
            mask = coherent if mask is None else mask & coherent
        found = view.search(query, top_k, mask=mask, exact=exact, ef=ef)
        return StateHits(view.ids_at(found.slots), found.slots, found.scores.astype(np.float64), found.strategy)
    require_cosine(view.schema)
    if isinstance(context, str):
        branches = _matching(snapshot, collection, (check_context_name(context),), mask, coherent_only, now)
        return _search_one_context(snapshot, collection, branches, query, top_k, exact=exact, ef=ef)
    if ef is not None:
        raise InvalidArgumentError("ef has no meaning in a superposed context", fix="leave ef out", value=ef)
    superposed = parse_superposed_context(context, phases)
    unit = _unit_query(query, view.schema.dimension)
    if isinstance(top_k, bool) or not isinstance(top_k, int | np.integer) or not 1 <= top_k <= MAX_TOP_K:
        raise InvalidArgumentError(f"top_k {top_k!r} is out of range", fix=f"give 1 to {MAX_TOP_K}", value=top_k)
    branches = _matching(snapshot, collection, superposed.contexts, mask, coherent_only, now)
    factors = _entanglement_factors(snapshot, collection)
    slots, scores = _superposed_scores(branches, superposed, unit, now, factors)
    best = np.lexsort((slots, -scores))[:top_k]
    return StateHits(view.ids_at(slots[best]), slots[best], scores[best], "states")


def coherent_rows(snapshot: Snapshot, collection: str, now: float) -> NDArray[np.bool_]:
    """Which slots of the collection hold an ordinary row or a state of age below its coherence time, bool (slots,)."""
    keep = np.ones(snapshot.collection(collection).slot_count, np.bool_)
    branches = all_branches(snapshot, collection)
    if branches is not None:
        keep[branches.records[~_coherent(branches, now)]] = False
    return keep


def _matching(
    snapshot: Snapshot,
    collection: str,
    contexts: tuple[str, ...],
    mask: NDArray[np.bool_] | None,
    coherent_only: bool,
    now: float,
) -> ContextBranches:
    branches = branches_of(snapshot, collection, contexts)
    if mask is not None:
        branches = branches.where(mask[branches.records])
    return branches.where(_coherent(branches, now)) if coherent_only else branches


def _coherent(branches: ContextBranches, now: float) -> NDArray[np.bool_]:
    ages = np.maximum(0.0, now - branches.numbers("written_at"))
    return np.asarray(ages < branches.numbers("coherence_time"), dtype=np.bool_)


def _search_one_context(
    snapshot: Snapshot,
    collection: str,
    branches: ContextBranches,
    query: NDArray[np.float32],
    top_k: int,
    *,
    exact: bool,
    ef: int | None,
) -> StateHits:
    wanted = np.zeros(branches.view.slot_count, np.bool_)
    wanted[branches.slots] = True
    found = branches.view.search(query, top_k, mask=wanted, exact=exact, ef=ef)
    records = branches.records[np.searchsorted(branches.slots, found.slots)]
    ids = snapshot.collection(collection).ids_at(records)
    return StateHits(ids, records, found.scores.astype(np.float64), found.strategy)


def _superposed_scores(
    branches: ContextBranches,
    context: ContextSuperposition,
    unit: NDArray[np.float64],
    now: float,
    factors: NDArray[np.float64] | None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Visible slots of the records, ascending, and their scores."""
    if not len(branches.slots):
        return np.empty(0, np.int64), np.empty(0)
    # In the query's order of contexts, so that equal states get equal sums wherever their branches were written.
    order = np.lexsort((branches.contexts, branches.records))
    branches = ContextBranches(branches.view, branches.slots[order], branches.contexts[order], branches.records[order])
    slots, first, records = np.unique(branches.records, return_index=True, return_inverse=True)
    weights = np.asarray(context.weights)[branches.contexts]
    amplitudes = np.sqrt(branches.numbers("probability") * weights) * _similarities(branches, unit)
    heads = ContextBranches(branches.view, branches.slots[first], branches.contexts[first], slots)
    coherence = coherent_weights(
        now, heads.numbers("written_at"), heads.numbers("coherence_time"), heads.numbers("initial_coherence")
    )
    if factors is not None:
        coherence = coherence * factors[slots]
    phases = np.asarray(context.phases)[branches.contexts]
    return slots, dephased_overlaps(records, amplitudes, phases, coherence)


def _entanglement_factors(snapshot: Snapshot, collection: str) -> NDArray[np.float64] | None:
    """Share of its interference that each slot's record keeps, float64 (slots,); ``None`` where none is entangled."""
    factors = coherence_factors(snapshot, collection)
    if not factors:
        return None
    view = snapshot.collection(collection)
    shares = np.ones(view.slot_count)
    shares[view.slots_of(list(factors))] = list(factors.values())
    return shares


def _similarities(branches: ContextBranches, unit: NDArray[np.float64]) -> NDArray[np.float64]:
    """⟨q|v_c⟩ of unit vectors, float64 (branches,), in blocks of bounded memory."""
    result = np.empty(len(branches.slots))
    step = max(1, _BLOCK_VALUES // len(unit))
    for start in range(0, len(result), step):
        block = branches.view.vectors_at(branches.slots[start : start + step]).astype(np.float64)
        # einsum sums each row alone, so equal vectors get equal bits; a matrix product may not grant that.
        norms = np.sqrt(np.einsum("ij,ij->i", block, block))
        result[start : start + step] = np.einsum("ij,j->i", block, unit) / norms
    return result


def _unit_query(query: NDArray[np.float32], dimension: int) -> NDArray[np.float64]:
    wide = np.asarray(query, dtype=np.float64)
    if wide.ndim != 1:
        raise InvalidVectorError(f"a query of shape {wide.shape} is no vector", fix="give shape (dimension,)")
    if len(wide) != dimension:
        raise DimensionMismatchError(
            f"the query has length {len(wide)}, the collection's vectors {dimension}",
            fix=f"give {dimension} numbers",
            value=len(wide),
        )
    norm = float(np.linalg.norm(wide))
    if not np.isfinite(wide).all() or norm == 0:
        raise InvalidVectorError("the query is zero or not finite", fix="give finite numbers, not all 0")
    return np.asarray(wide / norm, dtype=np.float64)
