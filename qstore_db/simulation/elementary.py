"""Every gate as Clifford gates and the rotations RX, RY, RZ and RZZ, up to a global phase."""

from __future__ import annotations

import math

from qstore_db.circuits.circuit import Operation
from qstore_db.circuits.composite import COMPOSITE, parts
from qstore_db.circuits.gates import GATES
from qstore_db.circuits.parameters import Angle
from qstore_db.circuits.pauli_rotations import turned_from_z, turned_to_z


def elementary(operation: Operation) -> tuple[Operation, ...]:
    """The gate in time order, exact up to a global phase for all angles.

    P, T and TDG are RZ; U(θ, φ, λ) = RZ(φ) RY(θ) RZ(λ); RXX and RYY are RZZ between changes of basis; a controlled
    rotation is half the rotation of its target and minus half of the rotation about Z⊗P; for the gates that are made of
    others see :mod:`qstore_db.circuits.composite`.

    Example:
        >>> [step.gate for step in elementary(Operation("RXX", (0, 1), (0.3,)))]
        ['H', 'H', 'RZZ', 'H', 'H']
    """
    gate, qubits, angles = operation.gate, operation.qubits, operation.angles
    if gate in COMPOSITE:
        return tuple(step for part in parts(operation) for step in elementary(part))
    if GATES[gate].clifford or gate in ("RX", "RY", "RZ", "RZZ"):
        return (operation,)
    if gate in ("T", "TDG"):
        return (Operation("RZ", qubits, (math.pi / 4 if gate == "T" else -math.pi / 4,)),)
    if gate == "P":
        return (Operation("RZ", qubits, angles),)
    if gate == "U":
        theta, phi, lam = angles
        return tuple(Operation(f"R{axis}", qubits, (value,)) for axis, value in (("Z", lam), ("Y", theta), ("Z", phi)))
    if gate.startswith("CR"):
        alone = Operation(f"R{gate[2]}", qubits[1:], (angles[0] * 0.5,))
        return (alone, *_about("Z" + gate[2], qubits, angles[0] * -0.5))
    return _about(gate[1:], qubits, angles[0])


def _about(letters: str, qubits: tuple[int, ...], theta: Angle) -> tuple[Operation, ...]:
    """exp(-i θ/2 P⊗Q)."""
    sites = tuple(zip(qubits, letters, strict=True))
    return (*turned_to_z(sites), Operation("RZZ", qubits, (theta,)), *turned_from_z(sites))
