"""The dense unitary of a circuit: the plainest definition of what it does, for small circuits."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from qstore_db.circuits.circuit import Circuit
from qstore_db.errors import InvalidCircuitError
from qstore_db.simulation.reference import state_vector

MAX_DENSE_QUBITS: Final = 12
"""A dense unitary takes 16 · 4^n bytes: 256 MiB for 12 qubits."""


def unitary(
    circuit: Circuit, weights: NDArray[np.float64] | None = None, data: NDArray[np.float64] | None = None
) -> NDArray[np.complex128]:
    """The matrix U with ψ_out = U ψ_in, global phase as the gates define it.

    Column k is the circuit's action on basis state k; qubit 0 is the highest bit of an index. Cost 4^n per gate.

    Args:
        circuit: On at most 12 qubits.
        weights: Shape (number of weights,), radians.
        data: One sample, shape (number of data columns,), radians.

    Returns:
        Shape (2^n, 2^n), complex128.

    Raises:
        InvalidCircuitError: More than 12 qubits.

    Example:
        >>> from qstore_db.circuits.circuit import Operation
        >>> unitary(Circuit(1, (Operation("X", (0,)),))).real.tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    if circuit.n_qubits > MAX_DENSE_QUBITS:
        raise InvalidCircuitError(
            f"a dense unitary of {circuit.n_qubits} qubits is too large",
            fix=f"Use at most {MAX_DENSE_QUBITS} qubits, or run the circuit on states.",
            value=circuit.n_qubits,
        )
    basis = np.eye(1 << circuit.n_qubits, dtype=np.complex128)
    rows = None if data is None else np.broadcast_to(data, (len(basis), np.size(data)))
    return np.ascontiguousarray(state_vector(circuit, weights, rows, basis).T)


def distance_up_to_phase(first: NDArray[np.complex128], second: NDArray[np.complex128]) -> float:
    """The largest |first - e^{iφ} second|, with φ the phase of the overlap tr(second† first).

    Args:
        first: Any shape.
        second: The same shape.

    Returns:
        0 for unitaries, or states, that no experiment tells apart; of the order of 1 for unrelated ones.
    """
    overlap = np.vdot(second, first)
    phase = overlap / abs(overlap) if abs(overlap) > 0 else 1.0
    return float(np.abs(first - phase * second).max())
