"""The adjoint of a circuit: what undoes it."""

from __future__ import annotations

import math
from typing import Final

from qstore_db.circuits.circuit import Circuit, Operation

_PARTNER: Final = {"S": "SDG", "SDG": "S", "T": "TDG", "TDG": "T", "ISWAP": "ISWAPDG", "ISWAPDG": "ISWAP"}


def inverse(circuit: Circuit) -> Circuit:
    """The circuit of U†: every gate's adjoint, in the opposite order.

    Exact, global phase included, for all gates, and for symbolic angles too: rotations and phases turn back by the same
    angle, U(θ, φ, λ)† = U(-θ, -λ, -φ), GPI2(φ)† = GPI2(φ + π), MS(φ₀, φ₁, θ)† = MS(φ₀, φ₁, -θ), S, T and ISWAP change
    places with their adjoints, and the other gates undo themselves.

    Example:
        >>> inverse(Circuit(1, (Operation("H", (0,)), Operation("S", (0,))))).operations[0].gate
        'SDG'
    """
    return Circuit(circuit.n_qubits, (adjoint(operation) for operation in reversed(circuit.operations)))


def adjoint(operation: Operation) -> Operation:
    """The gate that undoes a gate."""
    qubits, angles = operation.qubits, operation.angles
    match operation.gate:
        case "U":
            theta, phi, lam = angles
            return Operation("U", qubits, (-theta, -lam, -phi))
        case "GPI":
            return operation
        case "GPI2":
            return Operation("GPI2", qubits, (angles[0] + math.pi,))
        case "MS":
            return Operation("MS", qubits, (*angles[:2], -angles[2]))
        case gate:
            return Operation(_PARTNER.get(gate, gate), qubits, tuple(-value for value in angles))
