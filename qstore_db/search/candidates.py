"""The nearest rows among which a second step chooses, with or without a context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.functions.state_reading import read_states
from qstore_db.functions.superposed_search import search
from qstore_db.hits import Hits
from qstore_db.promise import promised_recall
from qstore_db.search.target import Target, check_columns, check_count, one_vector
from storage_engine.index.nearest import Wish
from storage_engine.schema import MAX_TOP_K

if TYPE_CHECKING:
    from qstore_db.states.contexts import ContextsInput
    from storage_engine.snapshot import CollectionView, Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On what terms candidates are searched; each as in :meth:`qstore_db.Collection.query`."""

    where: str | None = None
    filter: Mapping[str, object] | None = None
    context: ContextsInput | None = None
    phases: Mapping[str, float] | None = None
    coherent_only: bool = False
    exact: bool = False
    ef: int | None = None
    recall: float | None = None
    include: Sequence[str] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class CandidateRows:
    """Rows that were found, best first.

    Args:
        snapshot: What was searched.
        view: The collection in it.
        query: float32 (dimension,).
        now: Seconds since the epoch, to which states were aged.
        slots: int64 (rows,), of the view.
        scores: float32 (rows,), by the search.
        strategy: How they were found.
    """

    snapshot: Snapshot
    view: CollectionView
    query: NDArray[np.float32]
    now: float
    slots: NDArray[np.int64]
    scores: NDArray[np.float32]
    strategy: str

    def __len__(self) -> int:
        return len(self.slots)

    @property
    def ids(self) -> list[str]:
        """Their ids."""
        return self.view.ids_at(self.slots)

    def hits(
        self,
        places: NDArray[np.int64] | slice,
        include: Sequence[str] | None,
        scores: NDArray[np.float64] | None = None,
    ) -> Hits:
        """Some of them as an answer, in the order of ``places``, by other scores where such are given."""
        shown = self.scores[places] if scores is None else scores.astype(np.float32)
        return Hits(None, shown, self.strategy, self.view, self.slots[places], include)

    def vectors(self, context: str | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What the rows are compared by, with the norms that cosines divide by: float32 (rows, dimension) and (rows,).

        In a context these are the branches' vectors; all candidates have it.
        """
        if context is None:
            return self.view.vectors_at(self.slots), self.view.norms_at(self.slots)
        states = read_states(self.snapshot, self.view.schema.name, self.ids)
        branches = np.stack([state.superposition.branches()[context] for state in states.values()])
        return branches, np.linalg.norm(branches.astype(np.float64), axis=1).astype(np.float32)


def candidates(target: Target, vector: ArrayLike, top_k: int, fetch_k: int, terms: Terms) -> CandidateRows:
    """The ``fetch_k`` nearest rows, at least ``top_k`` of them wanted.

    Raises:
        InvalidArgumentError: An argument is out of its range.
        InvalidVectorError, DimensionMismatchError: The vector is unusable.
        UnknownColumnError: A condition or ``include`` names a column that no row has.
        UnknownContextError, InvalidStateError: The context is unusable.
    """
    check_count("top_k", top_k, 1, MAX_TOP_K)
    check_count("fetch_k", fetch_k, top_k, MAX_TOP_K)
    snapshot = target.engine.snapshot()
    view = snapshot.collection(target.name)
    selection = target.selection(view, terms.where, terms.filter)
    check_columns(view, terms.include)
    query, now = one_vector(vector), target.engine.clock()
    recall = terms.recall
    if recall is None and terms.ef is None and not terms.exact:
        recall = promised_recall(view.schema)
    if terms.context is None and terms.phases is None and not terms.coherent_only:
        found = view.search(query, fetch_k, mask=selection, exact=terms.exact, ef=terms.ef, recall=recall)
        return CandidateRows(snapshot, view, query, now, found.slots, found.scores, found.strategy)
    # Promises are about rows, not contexts.
    exact = terms.exact or Wish(1, terms.exact, terms.ef, recall).recall is not None
    states = search(
        snapshot,
        target.name,
        query,
        fetch_k,
        now=now,
        context=terms.context,
        phases=terms.phases,
        mask=None if selection is None else selection.mask,
        coherent_only=terms.coherent_only,
        exact=exact,
        ef=terms.ef,
    )
    return CandidateRows(snapshot, view, query, now, states.slots, states.scores.astype(np.float32), states.strategy)
