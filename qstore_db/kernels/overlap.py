"""|⟨a|b⟩|² of pairs of states, by circuits that an executor runs.

Compute–uncompute: prepare b, undo the preparation of a; the chance of 0…0 is |⟨0|U_a† U_b|0⟩|² = |⟨a|b⟩|². It takes the
qubits of one state. Swap test (Buhrman et al. 2001, doi 10.1103/PhysRevLett.87.167902): both states and one more
qubit, which is 0 with p₀ = (1 + |⟨a|b⟩|²)/2, so the overlap is 2p₀ − 1. The sign, or phase, of ⟨a|b⟩ is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from qstore_db.backends.request import ExecutionRequest
from qstore_db.backends.result import ExecutionResult
from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.composite import parts
from qstore_db.circuits.inverse import inverse
from qstore_db.circuits.placement import on_qubits
from qstore_db.errors import InvalidArgumentError
from qstore_db.executor.executor import Executor

OverlapMethod = Literal["compute_uncompute", "swap_test"]

_SEED_BELOW = 1 << 63


@dataclass(frozen=True, slots=True, eq=False)
class OverlapReading:
    """A circuit, and which of its chances tells an overlap.

    Args:
        circuit: All angles are numbers.
        zeros: What is read is the chance p that all these qubits are 0.
        from_swap: Whether the overlap is 2p − 1, as after a swap test, in place of p.
    """

    circuit: Circuit
    zeros: tuple[int, ...]
    from_swap: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Overlaps:
    """Estimates of overlaps, |⟨a_i|b_i⟩|² of pairs or what :mod:`qstore_db.kernels.state_overlap` defines.

    Args:
        values: float64 (overlaps,). From the swap test with shots they may be negative.
        standard_errors: float64 (overlaps,); 0 where probabilities are exact. With N shots: √(p(1 − p)/N) of the
            chance p that was measured, twice that for the swap test. At p = 0 and 1 it is 0 as well, which is no
            certainty.
        method: How they were estimated.
        backend: Where.
        shots: Of each circuit; ``None`` where probabilities are exact.
        circuits: How many ran or were asked for.
    """

    values: NDArray[np.float64]
    standard_errors: NDArray[np.float64]
    method: str
    backend: str
    shots: int | None
    circuits: int


def overlap_circuit(left: Circuit, right: Circuit, method: OverlapMethod = "compute_uncompute") -> Circuit:
    """The circuit whose measurement tells the overlap of two prepared states.

    Args:
        left: Takes |0…0⟩ to a; all angles are numbers.
        right: Takes |0…0⟩ to b, on as many qubits.
        method: ``compute_uncompute``: read the chance of 0…0. ``swap_test``: qubit 0 is the one to read, the states are
            on qubits 1 … n and n + 1 … 2n.

    Raises:
        InvalidArgumentError: The circuits differ in qubits, or there is no such method.
    """
    n = left.n_qubits
    if method not in get_args(OverlapMethod):
        known = ", ".join(get_args(OverlapMethod))
        raise InvalidArgumentError(f"There is no method {method!r}", fix=f"Methods are {known}.", value=method)
    if right.n_qubits != n:
        raise InvalidArgumentError(
            f"states of {n} and {right.n_qubits} qubits have no overlap", fix="Prepare both on as many qubits."
        )
    if method == "compute_uncompute":
        return right.compose(inverse(left))
    whole = 2 * n + 1
    # In gates of one and two qubits: devices, and noise models with their error rates, know no others.
    swaps = Circuit(
        whole, [part for qubit in range(1, n + 1) for part in parts(Operation("CSWAP", (0, qubit, n + qubit)))]
    )
    hadamard = Circuit(whole, [Operation("H", (0,))])
    return (
        on_qubits(left, range(1, n + 1), whole)
        .compose(on_qubits(right, range(n + 1, whole), whole))
        .compose(hadamard)
        .compose(swaps)
        .compose(hadamard)
    )


def overlap_reading(left: Circuit, right: Circuit, method: OverlapMethod = "compute_uncompute") -> OverlapReading:
    """:func:`overlap_circuit` with what is read of it."""
    circuit = overlap_circuit(left, right, method)
    if method == "swap_test":
        return OverlapReading(circuit, (0,), from_swap=True)
    return OverlapReading(circuit, tuple(range(circuit.n_qubits)))


def estimate_overlaps(
    executor: Executor,
    pairs: Sequence[tuple[Circuit, Circuit]],
    *,
    backend: str | None = None,
    method: OverlapMethod = "compute_uncompute",
    shots: int | None = None,
    seed: int | None = None,
) -> Overlaps:
    """Estimate the overlap of each pair of prepared states, as one batch.

    Args:
        executor: What runs the circuits.
        pairs: Circuits that prepare a_i and b_i, all angles numbers.
        backend: One of the executor's; ``None`` is its first.
        method: As in :func:`overlap_circuit`.
        shots: Of each circuit; ``None`` reads exact probabilities, where the backend has them.
        seed: 0 ≤ seed < 2⁶³; with shots: pair i is measured with a seed drawn from it and i. ``None`` measures anew.

    Raises:
        InvalidArgumentError: There are no pairs, or an argument is out of its range.
        ExecutionError: A circuit has no result.
    """
    readings = [overlap_reading(left, right, method) for left, right in pairs]
    return read_overlaps(executor, readings, backend=backend, method=method, shots=shots, seed=seed)


def read_overlaps(
    executor: Executor,
    readings: Sequence[OverlapReading],
    *,
    backend: str | None = None,
    method: str = "compute_uncompute",
    shots: int | None = None,
    seed: int | None = None,
) -> Overlaps:
    """Run circuits as one batch and read their overlaps; arguments and errors as :func:`estimate_overlaps`.

    Args:
        executor: What runs the circuits.
        readings: At least one.
        backend: As there.
        method: What the result calls it.
        shots: As there.
        seed: As there.
    """
    if not readings:
        raise InvalidArgumentError("There are no pairs", fix="Give at least one pair of circuits.")
    if seed is not None and (shots is None or not 0 <= seed < _SEED_BELOW):
        raise InvalidArgumentError(
            f"seed {seed!r} beside shots {shots!r}", fix="Give 0 to 2**63 - 1, and only with shots.", value=seed
        )
    seeds: list[int | None] = [None] * len(readings)
    if seed is not None:
        drawn = np.random.SeedSequence(seed).generate_state(len(readings), np.uint64) >> np.uint64(1)
        seeds = [int(one) for one in drawn]
    requests = [
        ExecutionRequest(reading.circuit, shots=shots, seed=one) for reading, one in zip(readings, seeds, strict=True)
    ]
    results = executor.run_batch(requests, backend=backend)
    chances = np.array([_chance(*both) for both in zip(results, readings, strict=True)])
    errors = np.zeros(len(readings)) if shots is None else np.sqrt(chances * (1.0 - chances) / shots)
    from_swap = np.array([reading.from_swap for reading in readings])
    values = np.where(from_swap, 2.0 * chances - 1.0, chances)
    return Overlaps(values, np.where(from_swap, 2.0, 1.0) * errors, method, results[0].backend, shots, len(readings))


def _chance(result: ExecutionResult, reading: OverlapReading) -> float:
    """That all qubits to be read are 0."""
    n = reading.circuit.n_qubits
    if result.counts is None:
        # What a request without shots and observables reads.
        probabilities = cast("NDArray[np.float64]", result.probabilities)[0].reshape((2,) * n)
        share = probabilities[tuple(0 if qubit in reading.zeros else slice(None) for qubit in range(n))].sum()
        return float(min(1.0, share))
    counts = result.counts[0]
    bits = sum(1 << (n - 1 - qubit) for qubit in reading.zeros)
    return float(counts.numbers[counts.outcomes & bits == 0].sum()) / counts.shots
