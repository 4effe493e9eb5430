"""The adjoint of a circuit: what undoes it."""

from __future__ import annotations

from typing import Final

from qstore_db.circuits.circuit import Circuit, Operation

_PARTNER: Final = {"S": "SDG", "SDG": "S", "T": "TDG", "TDG": "T"}


def inverse(circuit: Circuit) -> Circuit:
    """The circuit of U†: every gate's adjoint, in the opposite order.

    Exact, global phase included, for all gates, and for symbolic angles too: rotations and phases turn back by the same
    angle, U(θ, φ, λ)† = U(-θ, -λ, -φ), S and T change places with their adjoints, and the other gates undo themselves.

    Example:
        >>> inverse(Circuit(1, (Operation("H", (0,)), Operation("S", (0,))))).operations[0].gate
        'SDG'
    """
    return Circuit(circuit.n_qubits, (_adjoint(operation) for operation in reversed(circuit.operations)))


def _adjoint(operation: Operation) -> Operation:
    if operation.gate == "U":
        theta, phi, lam = operation.angles
        return Operation("U", operation.qubits, (-theta, -lam, -phi))
    gate = _PARTNER.get(operation.gate, operation.gate)
    return Operation(gate, operation.qubits, tuple(-value for value in operation.angles))
