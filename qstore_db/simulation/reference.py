"""A slow, plain state vector: one matrix product a gate, in complex128.

It shares no code with the fast engine beyond the circuit itself and so can check it; it also gives what the fast
engine does not: the state and its probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.gates import GATES
from qstore_db.circuits.observables import Observable, PauliString, terms_of


def state_vector(
    circuit: Circuit,
    weights: NDArray[np.float64] | None = None,
    data: NDArray[np.float64] | None = None,
    amplitudes: NDArray[np.float64] | NDArray[np.complex128] | None = None,
) -> NDArray[np.complex128]:
    """The states after the circuit.

    Args:
        circuit: On n qubits.
        weights: Shape (number of weights,), radians; may be left out for a circuit without weights.
        data: Shape (samples, number of data columns), radians; left out, there is one sample.
        amplitudes: Start states, shape (samples, 2^n), normalised by the caller; left out, |0…0⟩.

    Returns:
        Shape (samples, 2^n), complex128, qubit 0 the highest bit of the index.
    """
    n = circuit.n_qubits
    samples = len(data) if data is not None else len(amplitudes) if amplitudes is not None else 1
    angles_data = np.zeros((samples, 0)) if data is None else np.asarray(data, np.float64)
    angles_weights = np.zeros(0) if weights is None else np.asarray(weights, np.float64)
    state = np.zeros((samples, 1 << n), np.complex128)
    if amplitudes is None:
        state[:, 0] = 1.0
    else:
        state[:] = amplitudes
    for operation in circuit.operations:
        values = [value.value(angles_weights, angles_data) for value in operation.angles]
        matrices = GATES[operation.gate].matrices(*values)
        state = _apply(state, n, operation.qubits, matrices)
    return state


def probabilities(state: NDArray[np.complex128]) -> NDArray[np.float64]:
    """|ψ_k|² of every basis state, same shape."""
    out: NDArray[np.float64] = state.real**2 + state.imag**2
    return out


def expectations(state: NDArray[np.complex128], observables: Sequence[Observable]) -> NDArray[np.float64]:
    """⟨ψ|O|ψ⟩ of every state and observable.

    Args:
        state: Shape (samples, 2^n).
        observables: On n qubits.

    Returns:
        Shape (samples, number of observables), float64.
    """
    columns = [
        sum(coefficient * _expectation(state, string) for coefficient, string in terms_of(observable))
        for observable in observables
    ]
    return np.stack([np.broadcast_to(column, len(state)) for column in columns], axis=1)


def _expectation(state: NDArray[np.complex128], string: PauliString) -> NDArray[np.float64]:
    turned = state
    for qubit, letter in string.on_qubits.items():
        turned = _apply(turned, string.n_qubits, (qubit,), GATES[letter].matrices())
    out: NDArray[np.float64] = (state.conj() * turned).sum(axis=1).real
    return out


def _apply(
    state: NDArray[np.complex128], n: int, qubits: tuple[int, ...], matrices: NDArray[np.complex128]
) -> NDArray[np.complex128]:
    samples, width = len(state), len(qubits)
    axes = tuple(1 + qubit for qubit in qubits)
    front = tuple(range(1, 1 + width))
    spread = np.moveaxis(state.reshape((samples,) + (2,) * n), axes, front).reshape(samples, 1 << width, -1)
    turned = (matrices @ spread).reshape((samples,) + (2,) * n)
    return np.moveaxis(turned, front, axes).reshape(samples, 1 << n)
