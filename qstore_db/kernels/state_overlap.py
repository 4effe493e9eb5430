"""Overlaps of a query with superposed records, by circuits on a register of contexts and a register of vectors.

A record denotes |ψ⟩ = Σ_c √p_c |c⟩⊗|v_c⟩, dephased to ρ = λ|ψ⟩⟨ψ| + (1 − λ)·Σ_c p_c |c⟩⟨c|⊗|v_c⟩⟨v_c|. With k contexts
the circuits have a = ⌈log₂ k⌉ qubits for them (none for one), then n for the vectors.

- no context: Tr[(1⊗|q⟩⟨q|)ρ] = Σ_c p_c |⟨q|v_c⟩|²: prepare ψ, undo q, read the chance of 0…0 on the vectors' qubits;
- a named context: |⟨q|v_c⟩|², post-selected: compute–uncompute of the branch alone;
- a superposed context |χ⟩ = Σ_c √q_c e^{−iφ_c}|c⟩: ⟨χ,q|ρ|χ,q⟩, which is
  λ·|Σ_c √(p_c q_c) e^{iφ_c}⟨q|v_c⟩|² + (1 − λ)·Σ_c p_c q_c |⟨q|v_c⟩|². The first term: prepare ψ, undo χ and q, read
  the chance of 0…0. The second: the same with each context qubit copied by a CX to a fresh one in between, which is
  what dephasing is. The two estimates are added with their weights.

Overlaps are blind to the sign of ⟨q|v_c⟩.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.encodings.amplitude import qubits_for, state_preparation
from qstore_db.circuits.inverse import inverse
from qstore_db.circuits.placement import on_qubits
from qstore_db.errors import DimensionMismatchError, InvalidArgumentError, InvalidStateError
from qstore_db.executor.executor import Executor
from qstore_db.kernels.overlap import OverlapReading, Overlaps, overlap_reading, read_overlaps
from qstore_db.states.contexts import ContextSuperposition
from qstore_db.states.superposition import Superposition

Asked = str | ContextSuperposition | None
"""The context of a question: none, a name, or a superposed one."""


@dataclass(frozen=True, slots=True, eq=False)
class StateReadings:
    """The circuits of some records, and how their overlaps add up to one number a record.

    Args:
        readings: One or two circuits a record.
        records: int64 (readings,): which record.
        weights: float64 (readings,): λ, 1 − λ, or 1.
        count: How many records.
    """

    readings: tuple[OverlapReading, ...]
    records: NDArray[np.int64]
    weights: NDArray[np.float64]
    count: int

    def combined(self, read: Overlaps) -> Overlaps:
        """One overlap a record from those of the circuits; variances of independent estimates add."""
        values = np.zeros(self.count)
        variances = np.zeros(self.count)
        np.add.at(values, self.records, self.weights * read.values)
        np.add.at(variances, self.records, (self.weights * read.standard_errors) ** 2)
        return replace(read, values=values, standard_errors=np.sqrt(variances))


def state_readings(
    query: ArrayLike,
    states: Sequence[Superposition],
    context: Asked = None,
    coherent_weights: Sequence[float] | NDArray[np.float64] | None = None,
) -> StateReadings:
    """The circuits that tell the overlap of each record with a query.

    Args:
        query: Shape (dimension,), finite and not zero; its length does not matter.
        states: What is compared, branches of the same dimension.
        context: See the module.
        coherent_weights: λ of each record, in [0, 1]; ``None`` is 1. Only a superposed context depends on it. Where λ
            is 0 or 1, or the record has but one of the contexts, one circuit is enough.

    Raises:
        InvalidVectorError: The query is zero or not finite.
        DimensionMismatchError: Branches and query differ in length.
        InvalidStateError: A record lacks the named context.
        InvalidArgumentError: λ out of its range or for another number of records.
    """
    unit = np.asarray(query, dtype=np.float64)
    asking = state_preparation(unit)
    weights = _checked_weights(coherent_weights, len(states))
    found: list[tuple[int, float, OverlapReading]] = []
    for number, state in enumerate(states):
        if state.vectors.shape[1] != unit.size:
            raise DimensionMismatchError(
                f"the query has length {unit.size}, a record's branches {state.vectors.shape[1]}",
                fix=f"give {state.vectors.shape[1]} numbers",
                value=unit.size,
            )
        if isinstance(context, ContextSuperposition):
            found += [
                (number, weight, _superposed(asking, state, context, copied=copied))
                for weight, copied in _parts(state, context, float(weights[number]))
            ]
        else:
            found.append((number, 1.0, _expected(asking, _branches_asked(state, context))))
    return StateReadings(
        tuple(reading for _, _, reading in found),
        np.array([number for number, _, _ in found], dtype=np.int64),
        np.array([weight for _, weight, _ in found]),
        len(states),
    )


def estimate_state_overlaps(
    executor: Executor,
    query: ArrayLike,
    states: Sequence[Superposition],
    *,
    context: Asked = None,
    coherent_weights: Sequence[float] | NDArray[np.float64] | None = None,
    backend: str | None = None,
    shots: int | None = None,
    seed: int | None = None,
) -> Overlaps:
    """Estimate the overlap of each record with a query, as one batch.

    Args:
        executor: What runs the circuits.
        query: As in :func:`state_readings`.
        states: At least one.
        context: As there.
        coherent_weights: As there.
        backend: One of the executor's; ``None`` is its first.
        shots: Of each circuit; ``None`` reads exact probabilities.
        seed: As in :func:`~qstore_db.kernels.overlap.estimate_overlaps`.

    Raises:
        ExecutionError: A circuit has no result.
        InvalidArgumentError, InvalidVectorError, InvalidStateError, DimensionMismatchError: As there.
    """
    wanted = state_readings(query, states, context, coherent_weights)
    return wanted.combined(read_overlaps(executor, wanted.readings, backend=backend, shots=shots, seed=seed))


def _checked_weights(given: Sequence[float] | NDArray[np.float64] | None, count: int) -> NDArray[np.float64]:
    weights = np.ones(count) if given is None else np.asarray(given, dtype=np.float64)
    if weights.shape != (count,) or not ((weights >= 0) & (weights <= 1)).all():
        raise InvalidArgumentError(
            f"coherent weights of shape {weights.shape} for {count} records, or one outside [0, 1]",
            fix="Give one number from 0 to 1 for each record.",
            value=weights.shape,
        )
    return weights


def _branches_asked(state: Superposition, context: str | None) -> Superposition:
    if context is None:
        return state
    if context not in state.contexts:
        raise InvalidStateError(
            f"a record without the context {context!r} has no overlap in it",
            fix=f"leave it out; it has {', '.join(state.contexts)}",
            value=context,
        )
    place = state.contexts.index(context)
    return replace(state, contexts=(context,), probabilities=(1.0,), vectors=state.vectors[place : place + 1])


def _expected(asking: Circuit, state: Superposition) -> OverlapReading:
    """Σ_c p_c |⟨q|v_c⟩|²."""
    if len(state.contexts) == 1:
        return overlap_reading(asking, state_preparation(state.unit_vectors[0]))
    prepared, a = _prepared(state, state.contexts)
    whole = prepared.n_qubits
    return OverlapReading(prepared.compose(inverse(on_qubits(asking, range(a, whole), whole))), tuple(range(a, whole)))


def _parts(state: Superposition, context: ContextSuperposition, weight: float) -> list[tuple[float, bool]]:
    """Weight of each circuit, and whether the contexts are copied in it."""
    if len(set(state.contexts) & set(context.contexts)) < 2:
        return [(1.0, False)]  # nothing interferes
    return [part for part in ((weight, False), (1.0 - weight, True)) if part[0] > 0]


def _superposed(
    asking: Circuit, state: Superposition, context: ContextSuperposition, *, copied: bool
) -> OverlapReading:
    """|Σ_c √(p_c q_c) e^{iφ_c}⟨q|v_c⟩|², or Σ_c p_c q_c |⟨q|v_c⟩|² where contexts are copied."""
    names = (*state.contexts, *(name for name in context.contexts if name not in state.contexts))
    prepared, a = _prepared(state, names)
    n = prepared.n_qubits - a
    if a == 0:  # the only context there is, so χ is that one
        return overlap_reading(asking, prepared)
    amplitudes = np.zeros(1 << a, dtype=np.complex128)
    for name, weight, phase in zip(context.contexts, context.weights, context.phases, strict=True):
        amplitudes[names.index(name)] = np.sqrt(weight) * np.exp(-1j * phase)
    whole = a + n + (a if copied else 0)
    circuit = on_qubits(prepared, range(a + n), whole)
    if copied:
        circuit = circuit.compose(Circuit(whole, [Operation("CX", (qubit, a + n + qubit)) for qubit in range(a)]))
    circuit = circuit.compose(inverse(on_qubits(state_preparation(amplitudes, a), range(a), whole)))
    circuit = circuit.compose(inverse(on_qubits(asking, range(a, a + n), whole)))
    return OverlapReading(circuit, tuple(range(a + n)))


def _prepared(state: Superposition, names: Sequence[str]) -> tuple[Circuit, int]:
    """The circuit of Σ_c √p_c |c⟩⊗|v_c⟩, c numbered as in ``names``, and how many qubits the contexts have."""
    a = qubits_for(len(names)) if len(names) > 1 else 0
    n = qubits_for(state.vectors.shape[1])
    joint = np.zeros((1 << a, 1 << n))
    for name, probability, vector in zip(state.contexts, state.probabilities, state.unit_vectors, strict=True):
        joint[names.index(name), : vector.size] = np.sqrt(probability) * vector
    return state_preparation(joint.reshape(-1), a + n), a
