"""The quantum Fourier transform."""

from __future__ import annotations

import math

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.controlled import controlled_phase


def fourier(n_qubits: int, *, swaps: bool = True) -> Circuit:
    """|k⟩ → 2^{-n/2} Σ_j e^{2πi jk / 2^n} |j⟩, with qubit 0 the highest bit of j and k.

    Source: Nielsen and Chuang, section 5.1. n H, n(n-1)/2 controlled phases of P and CRZ each, and ⌊n/2⌋ SWAP. The
    inverse is :func:`qstore_db.circuits.inverse.inverse` of it.

    Args:
        n_qubits: 1 … 24.
        swaps: Whether the bits are put back in order; without them the result's bits are reversed.

    Raises:
        InvalidCircuitError: ``n_qubits`` is out of range.

    Example:
        >>> [operation.gate for operation in fourier(2).operations]
        ['H', 'CP', 'H', 'SWAP']
    """
    operations: list[Operation] = []
    for qubit in range(n_qubits):
        operations.append(Operation("H", (qubit,)))
        for lower in range(qubit + 1, n_qubits):
            operations += controlled_phase(math.pi / (1 << (lower - qubit)), lower, qubit)
    if swaps:
        operations += [Operation("SWAP", (qubit, n_qubits - 1 - qubit)) for qubit in range(n_qubits // 2)]
    return Circuit(n_qubits, operations)
