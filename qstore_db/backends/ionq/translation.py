"""Circuits in few kinds of gates, which both SDKs send as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.composite import basic

PLAIN: Final = frozenset(
    {"H", "X", "Y", "Z", "S", "SDG", "T", "TDG", "RX", "RY", "RZ", "CX", "SWAP", "RXX", "RYY", "RZZ"}
)
"""Gates that remain. The translation is gate by gate: it merges and cancels nothing, so that gates which were put in
on purpose, such as folded ones, are sent."""


def plain(circuit: Circuit) -> Circuit:
    """The same unitary up to a global phase, in the gates of :data:`PLAIN`."""
    return Circuit(circuit.n_qubits, (step for one in basic(circuit.operations) for step in _plain(one)))


def _plain(operation: Operation) -> Iterator[Operation]:
    gate, qubits, angles = operation.gate, operation.qubits, operation.angles
    match gate:
        case "P":
            yield Operation("RZ", qubits, angles)
        case "U":
            theta, phi, lam = angles
            yield Operation("RZ", qubits, (lam,))
            yield Operation("RY", qubits, (theta,))
            yield Operation("RZ", qubits, (phi,))
        case "CZ":
            yield from _between_h(qubits[1], [Operation("CX", qubits)])
        case "CRX":
            yield from _between_h(qubits[1], _controlled_rotation("RZ", operation))
        case "CRY" | "CRZ":
            yield from _controlled_rotation(gate[1:], operation)
        case _:
            yield operation


def _controlled_rotation(name: str, operation: Operation) -> list[Operation]:
    """R(θ/2) CX R(-θ/2) CX: X turns the axis round, so the halves add up where the control is 1, and cancel else."""
    control, target = operation.qubits
    half = operation.angles[0] * 0.5
    flip = Operation("CX", (control, target))
    return [Operation(name, (target,), (half,)), flip, Operation(name, (target,), (-half,)), flip]


def _between_h(qubit: int, steps: Iterable[Operation]) -> Iterator[Operation]:
    yield Operation("H", (qubit,))
    yield from steps
    yield Operation("H", (qubit,))
