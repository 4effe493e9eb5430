"""Search whose last step is a quantum routine, or the simulation of one: a QUBO, or overlaps measured by circuits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.hits import Hits, hits_of
from qstore_db.search.diversity import similarities
from qstore_db.search.target import Target, check_columns, check_count, one_vector, part_of
from storage_engine.schema import MAX_TOP_K, Metric

if TYPE_CHECKING:
    from qstore_db.kernels.overlap import OverlapMethod
    from storage_engine.snapshot import Candidates, CollectionView


@dataclass(frozen=True, slots=True, eq=False)
class Reranked:
    """Candidates in the order of their measured overlap with the query.

    Args:
        hits: Their scores are the overlaps |⟨q|v⟩|², largest first; equal ones in the order of the search.
        standard_errors: float64 (hits,); 0 where probabilities are exact.
        backend: Where the circuits ran.
        circuits: How many, one a candidate.
    """

    hits: Hits
    standard_errors: NDArray[np.float64]
    backend: str
    circuits: int


class QuantumVerbs:
    """Two of the verbs of :class:`qstore_db.search.verbs.Search`."""

    _target: Target

    def annealed(
        self,
        vector: ArrayLike,
        top_k: int = 10,
        *,
        fetch_k: int = 20,
        diversity: float = 0.5,
        tunneling_strength: float = 1.0,
        seed: int = 0,
        where: str | None = None,
        filter: Mapping[str, object] | None = None,  # noqa: A002 - the word users know
        exact: bool = False,
        include: Sequence[str] | None = None,
    ) -> Hits:
        """Rows that are near and unlike each other, chosen together as a QUBO among the nearest ones.

        Where :meth:`diverse` chooses one by one, this maximises one gain over all sets of ``top_k`` candidates:
        :mod:`qstore_db.qubo.selection` defines it. Up to 20 candidates every set is compared, which is the best there
        is; beyond that the QUBO is annealed by path-integral Monte Carlo, a classical algorithm (extra ``anneal``).

        Args:
            vector: Shape (dimension,).
            top_k: How many to choose.
            fetch_k: Among how many nearest rows, at least ``top_k``.
            diversity: 0 to 1: 0 keeps the nearest, 1 only keeps apart.
            tunneling_strength: The transverse field at the start of the annealing, at least 0; without meaning up to 20
                candidates.
            seed: Of the annealing.
            where: See :class:`qstore_db.search.verbs.Search`.
            filter: The same.
            exact: Find the candidates by looking at every row.
            include: The same.

        Returns:
            Best first by the search's own scores. ``reason`` says how the set was chosen and what it gains.

        Raises:
            InvalidArgumentError: An argument is out of its range.
            InvalidVectorError, DimensionMismatchError: The vector is unusable.
            UnknownColumnError: A condition or ``include`` names a column that no row has.
            MissingDependencyError: More than 20 candidates without dwave-samplers.
        """
        from qstore_db.qubo.selection import select_diverse

        view, query, found = self._candidates(vector, top_k, fetch_k, where, filter, include, exact)
        if not len(found.slots):
            return hits_of(view, [found], include)[0]
        metric, norms = view.schema.metric, view.norms_at(found.slots)
        vectors = view.vectors_at(found.slots)
        wide = query.astype(np.float64)
        near = similarities(wide / np.sqrt(wide @ wide) if metric is Metric.COSINE else wide, vectors, metric, norms)
        rows = vectors.astype(np.float64)
        if metric is Metric.COSINE:
            rows = rows / norms.astype(np.float64)[:, None]
        alike = np.stack([similarities(row, vectors, metric, norms) for row in rows])
        chosen = select_diverse(
            near,
            (alike + alike.T) / 2.0,
            min(top_k, len(near)),
            diversity=diversity,
            tunneling_strength=tunneling_strength,
            seed=seed,
        )
        hits = hits_of(view, [part_of(found, chosen.chosen)], include)[0]
        mended = ", its count mended" if chosen.repaired else ""
        hits.reason = f"chosen among {len(near)} as a QUBO by {chosen.method}{mended}: gain {chosen.gain:.4g}"
        return hits

    def reranked(
        self,
        vector: ArrayLike,
        top_k: int = 10,
        *,
        fetch_k: int = 20,
        backend: str = "local",
        method: OverlapMethod = "compute_uncompute",
        shots: int | None = None,
        seed: int | None = None,
        where: str | None = None,
        filter: Mapping[str, object] | None = None,  # noqa: A002 - the word users know
        exact: bool = False,
        include: Sequence[str] | None = None,
    ) -> Reranked:
        """The nearest rows in the order of |⟨q|v⟩|², estimated for each by a circuit on a backend.

        Query and rows are taken as amplitudes (divided by their norms, padded to 2^n). The sign of ⟨q|v⟩ is lost: an
        opposite row is as good as an equal one. :mod:`qstore_db.kernels.overlap` defines circuits and errors. Without
        shots on ``local`` this is the squared cosine to 1e-9, which a processor computes in microseconds.

        Args:
            vector: Shape (dimension,), not zero.
            top_k: How many to return.
            fetch_k: How many nearest rows are measured, at least ``top_k``.
            backend: Where: one of ``SELECT name FROM backends``.
            method: ``compute_uncompute`` or ``swap_test``.
            shots: Of each circuit; ``None`` reads exact probabilities.
            seed: Of the shots; ``None`` measures anew.
            where: See :class:`qstore_db.search.verbs.Search`.
            filter: The same.
            exact: Find the candidates by looking at every row.
            include: The same.

        Raises:
            InvalidArgumentError: An argument is out of its range.
            InvalidVectorError: The vector or a candidate is zero or not finite.
            UnknownBackendError: There is no such backend.
            ExecutionError: A circuit has no result.
        """
        from qstore_db.circuits.encodings.amplitude import state_preparation
        from qstore_db.executor.executor import Executor
        from qstore_db.kernels.overlap import estimate_overlaps

        view, query, found = self._candidates(vector, top_k, fetch_k, where, filter, include, exact)
        if not len(found.slots):
            return Reranked(hits_of(view, [found], include)[0], np.zeros(0), backend, 0)
        asked = state_preparation(query)
        pairs = [(asked, state_preparation(row)) for row in view.vectors_at(found.slots)]
        with Executor.named(backend) as executor:
            overlaps = estimate_overlaps(executor, pairs, method=method, shots=shots, seed=seed)
        order = np.argsort(-overlaps.values, kind="stable")[:top_k]
        hits = hits_of(view, [part_of(found, order)], include)[0]
        hits.scores = overlaps.values[order].astype(np.float32)
        read = "exact probabilities" if shots is None else f"{shots} shots each"
        hits.reason = f"the nearest {len(pairs)} by |⟨q|v⟩|², {method} on {overlaps.backend}, {read}"
        return Reranked(hits, overlaps.standard_errors[order], overlaps.backend, overlaps.circuits)

    def _candidates(
        self,
        vector: ArrayLike,
        top_k: int,
        fetch_k: int,
        where: str | None,
        filter: Mapping[str, object] | None,  # noqa: A002 - as above
        include: Sequence[str] | None,
        exact: bool,
    ) -> tuple[CollectionView, NDArray[np.float32], Candidates]:
        check_count("top_k", top_k, 1, MAX_TOP_K)
        check_count("fetch_k", fetch_k, top_k, MAX_TOP_K)
        view = self._target.view()
        selection = self._target.selection(view, where, filter)
        check_columns(view, include)
        query = one_vector(vector)
        return view, query, view.search(query, fetch_k, mask=selection, exact=exact)
