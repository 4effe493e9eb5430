"""Search whose last step is a quantum routine, or the simulation of one: a QUBO, or overlaps measured by circuits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.errors import InvalidArgumentError, InvalidVectorError
from qstore_db.functions.group_operations import coherence_factors
from qstore_db.functions.state_reading import read_states
from qstore_db.hits import Hits
from qstore_db.search.candidates import CandidateRows, Terms, candidates
from qstore_db.search.diversity import similarities
from qstore_db.search.target import Target, check_count
from qstore_db.states.contexts import ContextsInput, ContextSuperposition, parse_superposed_context
from qstore_db.states.likeness import asked_overlaps, asked_parts, operator_likeness
from qstore_db.states.superposition import Superposition
from storage_engine.schema import Metric

if TYPE_CHECKING:
    from qstore_db.executor.executor import Executor
    from qstore_db.kernels.overlap import OverlapMethod, OverlapReading, Overlaps
    from qstore_db.kernels.state_overlap import Asked
    from qstore_db.qubo.solving import Method

MAX_ANNEALED = 1_000
"""Candidates of a QUBO, at most: it has a number for each pair of them."""


@dataclass(frozen=True, slots=True, eq=False)
class Reranked:
    """Candidates in the order of their measured overlap with the query.

    Args:
        hits: Their scores are the overlaps, largest first; equal ones in the order of the search.
        standard_errors: float64 (hits,); 0 where probabilities are exact. The hits carry them too.
        backend: Where the circuits ran.
        circuits: How many: one a candidate, two where a candidate has partly dephased.
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
        method: Method | None = None,
        tunneling_strength: float | None = None,
        backend: str | None = None,
        shots: int | None = None,
        seed: int = 0,
        context: ContextsInput | None = None,
        phases: Mapping[str, float] | None = None,
        coherent_only: bool = False,
        where: str | None = None,
        filter: Mapping[str, object] | None = None,  # noqa: A002 - the word users know
        exact: bool = False,
        ef: int | None = None,
        recall: float | None = None,
        include: Sequence[str] | None = None,
    ) -> Hits:
        """Rows that are near and unlike each other, chosen together as a QUBO among the nearest ones.

        Where :meth:`diverse` chooses one by one, this maximises one gain over all sets of ``top_k`` candidates:
        :mod:`qstore_db.qubo.selection` defines it, :func:`qstore_db.qubo.solving.solve_qubo` the methods. Annealing by
        path-integral Monte Carlo is a classical algorithm (extra ``anneal``); no speed-up is claimed.

        Args:
            vector: Shape (dimension,).
            top_k: How many to choose.
            fetch_k: Among how many nearest rows: ``top_k`` to 1,000.
            diversity: 0 to 1: 0 keeps the nearest, 1 only keeps apart.
            method: ``path_integral``, ``qaoa`` (up to 24 candidates) or ``brute_force`` (up to 20). ``None``: what the
                other arguments ask for; without any, brute force up to 20 candidates, which is the best there is, and
                annealing beyond.
            tunneling_strength: Γ, the transverse field at the start of the annealing, at least 0; asks for annealing.
            backend: Where QAOA's circuits run, ``local`` if not given; asks for QAOA.
            shots: Of each of QAOA's circuits.
            seed: Of the solver.
            context: As in :meth:`Collection.query`. One name: near and unlike by the vectors that states have in it. A
                superposed one: near by the coherent overlap, unlike by :mod:`qstore_db.states.likeness`.
            phases: As in :meth:`Collection.query`.
            coherent_only: Leave out states older than their coherence time.
            where: See :class:`qstore_db.search.verbs.Search`.
            filter: The same.
            exact: Find the candidates by looking at every row.
            ef: As in :meth:`Collection.query`, for the candidates.
            recall: As in :meth:`Collection.query`, for the candidates.
            include: The same.

        Returns:
            Best first by the search's own scores. ``energy`` is that of the QUBO, the gain with a minus sign;
            ``reason`` says how the set was chosen.

        Raises:
            InvalidArgumentError: An argument is out of its range or of another method.
            InvalidVectorError, DimensionMismatchError: The vector is unusable.
            UnknownColumnError: A condition or ``include`` names a column that no row has.
            UnknownContextError: No state has the context.
            UnknownBackendError: There is no such backend.
            MissingDependencyError: Annealing without dwave-samplers.
        """
        terms = Terms(
            where=where,
            filter=filter,
            context=context,
            phases=phases,
            coherent_only=coherent_only,
            exact=exact,
            ef=ef,
            recall=recall,
            include=include,
        )
        return annealed_hits(
            self._target,
            vector,
            top_k,
            terms,
            fetch_k=fetch_k,
            diversity=diversity,
            method=method,
            tunneling_strength=tunneling_strength,
            backend=backend,
            shots=shots,
            seed=seed,
        )

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
        context: ContextsInput | None = None,
        phases: Mapping[str, float] | None = None,
        coherent_only: bool = False,
        where: str | None = None,
        filter: Mapping[str, object] | None = None,  # noqa: A002 - the word users know
        exact: bool = False,
        ef: int | None = None,
        recall: float | None = None,
        include: Sequence[str] | None = None,
    ) -> Reranked:
        """The nearest rows in the order of their overlap with the query, estimated for each by circuits on a backend.

        Query and vectors are taken as amplitudes (divided by their norms, padded to 2^n). An ordinary row has
        |⟨q|v⟩|², a state Σ_c p_c |⟨q|v_c⟩|²; in one context it is |⟨q|v_c⟩|², in a superposed one the coherent overlap
        of ``query``, dephased with age. The sign of ⟨q|v⟩ is lost: an opposite row is as good as an equal one.
        :mod:`qstore_db.kernels.overlap` and :mod:`qstore_db.kernels.state_overlap` define circuits and errors. Without
        shots on ``local`` these are the closed forms to 1e-6, which a processor computes in microseconds. All circuits
        of the question are one job where the backend takes as many.

        Args:
            vector: Shape (dimension,), not zero.
            top_k: How many to return.
            fetch_k: How many nearest rows are measured, at least ``top_k``.
            backend: Where: one of ``SELECT name FROM backends``.
            method: ``compute_uncompute``, or ``swap_test``, whose estimates may be negative; that one compares two
                vectors, so it takes no superposed context and no rows of several branches.
            shots: Of each circuit; ``None`` reads exact probabilities.
            seed: Of the shots; ``None`` measures anew.
            context: As in :meth:`Collection.query`.
            phases: As in :meth:`Collection.query`.
            coherent_only: Leave out states older than their coherence time.
            where: See :class:`qstore_db.search.verbs.Search`.
            filter: The same.
            exact: Find the candidates by looking at every row.
            ef: As in :meth:`Collection.query`, for the candidates.
            recall: As in :meth:`Collection.query`, for the candidates.
            include: The same.

        Raises:
            InvalidArgumentError: An argument is out of its range, or a swap test of what is no single vector.
            InvalidVectorError: The vector or a candidate is zero or not finite.
            UnknownContextError: No state has the context.
            UnknownBackendError: There is no such backend.
            ExecutionError: A circuit has no result.
        """
        terms = Terms(
            where=where,
            filter=filter,
            context=context,
            phases=phases,
            coherent_only=coherent_only,
            exact=exact,
            ef=ef,
            recall=recall,
            include=include,
        )
        return reranked_rows(
            self._target, vector, top_k, terms, fetch_k=fetch_k, backend=backend, method=method, shots=shots, seed=seed
        )


def annealed_hits(
    target: Target,
    vector: ArrayLike,
    top_k: int,
    terms: Terms,
    *,
    fetch_k: int,
    diversity: float = 0.5,
    method: Method | None = None,
    tunneling_strength: float | None = None,
    backend: str | None = None,
    shots: int | None = None,
    seed: int = 0,
) -> Hits:
    """What :meth:`QuantumVerbs.annealed` gives, on ``terms``."""
    from qstore_db.qubo.selection import select_diverse

    if method is None and backend is not None:
        method = "qaoa"
    check_count("fetch_k", fetch_k, 1, MAX_ANNEALED)
    found = candidates(target, vector, top_k, fetch_k, terms)
    if not len(found):
        return found.hits(slice(0), terms.include)
    near, alike = _likeness(found, _asked(terms))
    with _executor(backend or "local") if method == "qaoa" else nullcontext() as executor:
        chosen = select_diverse(
            near,
            alike,
            min(top_k, len(near)),
            diversity=diversity,
            method=method,
            tunneling_strength=tunneling_strength,
            executor=executor,
            backend=backend,
            shots=shots,
            seed=seed,
        )
    hits = found.hits(chosen.chosen, terms.include)
    mended = ", its count mended" if chosen.repaired else ""
    hits.energy = chosen.energy
    hits.reason = f"chosen among {len(near)} as a QUBO by {chosen.method}{mended}: gain {chosen.gain:.4g}"
    return hits


def reranked_rows(
    target: Target,
    vector: ArrayLike,
    top_k: int,
    terms: Terms,
    *,
    fetch_k: int,
    backend: str = "local",
    method: OverlapMethod = "compute_uncompute",
    shots: int | None = None,
    seed: int | None = None,
) -> Reranked:
    """What :meth:`QuantumVerbs.reranked` gives, on ``terms``."""
    found = candidates(target, vector, top_k, fetch_k, terms)
    if not len(found):
        nothing = found.hits(slice(0), terms.include)
        nothing.standard_errors = np.zeros(0)
        return Reranked(nothing, nothing.standard_errors, backend, 0)
    overlaps = _measured(found, _asked(terms), backend, method, shots, seed)
    order = np.argsort(-overlaps.values, kind="stable")[:top_k]
    hits = found.hits(order, terms.include, overlaps.values[order])
    hits.standard_errors = overlaps.standard_errors[order]
    read = "exact probabilities" if shots is None else f"{shots} shots each"
    hits.reason = f"the nearest {len(found)} by measured overlap, {method} on {overlaps.backend}, {read}"
    return Reranked(hits, hits.standard_errors, overlaps.backend, overlaps.circuits)


def _asked(terms: Terms) -> Asked:
    if terms.context is None or isinstance(terms.context, str):
        return terms.context
    return parse_superposed_context(terms.context, terms.phases)


def _likeness(found: CandidateRows, asked: Asked) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How alike candidates are to the query, (m,), and to each other, (m, m).

    By the collection's own measure; in a superposed context by the operators that the candidates leave.
    """
    if isinstance(asked, ContextSuperposition):
        wide = found.query.astype(np.float64)
        parts = [asked_parts(record, asked, float(weight)) for record, weight in zip(*_records(found), strict=True)]
        return asked_overlaps(parts, wide / np.sqrt(wide @ wide)), operator_likeness(parts)
    metric = found.view.schema.metric
    vectors, norms = found.vectors(asked)
    wide, rows = found.query.astype(np.float64), vectors.astype(np.float64)
    if metric is Metric.COSINE:
        wide, rows = wide / np.sqrt(wide @ wide), rows / norms.astype(np.float64)[:, None]
    alike = np.stack([similarities(row, vectors, metric, norms) for row in rows])
    return similarities(wide, vectors, metric, norms), (alike + alike.T) / 2.0


def _measured(
    found: CandidateRows, asked: Asked, backend: str, method: OverlapMethod, shots: int | None, seed: int | None
) -> Overlaps:
    """The overlap of each candidate."""
    from qstore_db.circuits.encodings.amplitude import state_preparation
    from qstore_db.kernels.overlap import overlap_reading, read_overlaps
    from qstore_db.kernels.state_overlap import state_readings

    records, weights = _records(found)
    if method == "compute_uncompute":
        wanted = state_readings(found.query, records, asked, weights)
        with _executor(backend, wanted.readings) as executor:
            return wanted.combined(read_overlaps(executor, wanted.readings, shots=shots, seed=seed))
    single = _single_vectors(records, asked)
    query = state_preparation(found.query)
    readings = [overlap_reading(query, state_preparation(vector), method) for vector in single]
    with _executor(backend, readings) as executor:
        return read_overlaps(executor, readings, method=method, shots=shots, seed=seed)


def _records(found: CandidateRows) -> tuple[list[Superposition], NDArray[np.float64]]:
    """The candidates as superpositions, an ordinary row as one of a single branch, and their coherent weights."""
    name = found.view.schema.name
    stored = read_states(found.snapshot, name, found.ids)
    factors = coherence_factors(found.snapshot, name)
    records: list[Superposition] = []
    weights = np.ones(len(found))
    for place, (record_id, row) in enumerate(zip(found.ids, found.view.vectors_at(found.slots), strict=True)):
        state = stored.get(record_id)
        if state is None:
            if not row.any():
                raise InvalidVectorError(
                    f"the vector of {record_id!r} is zero and so is no state",
                    fix="leave it out: where=…",
                    value=record_id,
                )
            records.append(Superposition(("",), (1.0,), row[None], shared=True))
            continue
        records.append(state.superposition)
        weights[place] = factors.get(record_id, 1.0) * state.coherent_weight(found.now)
    return records, weights


def _single_vectors(records: Sequence[Superposition], asked: Asked) -> list[NDArray[np.float32]]:
    if isinstance(asked, str):
        return [record.branches()[asked] for record in records]
    if asked is not None or any(len(record.contexts) > 1 for record in records):
        raise InvalidArgumentError(
            "a swap test compares two vectors, and these states have several",
            fix="use method='compute_uncompute', or name one context",
            value="swap_test",
        )
    return [record.vectors[0] for record in records]


def _executor(backend: str, readings: Sequence[OverlapReading] = ()) -> Executor:
    """An executor over one backend, that sends all circuits of a question in one job."""
    from qstore_db.executor.batching import BatchOptions
    from qstore_db.executor.executor import Executor
    from qstore_db.executor.options import ExecutorOptions

    together = max(1, len(readings))
    batch = BatchOptions(minimum=together, maximum=max(together, BatchOptions().maximum))
    return Executor.named(backend, options=ExecutorOptions(batch=batch))
