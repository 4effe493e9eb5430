"""Gates that are made of others, written out: what treats a handful of basic gates so treats all.

    CP(θ)             P(θ/2) on the control, CRZ(θ)
    ISWAP             S S, H on the first, CX, CX back, H on the second; ISWAPDG the same backwards
    GPI(φ)            X, RZ(2φ)
    GPI2(φ)           RZ(-φ), RX(π/2), RZ(φ)
    MS(φ₀, φ₁, θ)     RZ(-φ₀) RZ(-φ₁), RXX(θ), RZ(φ₀) RZ(φ₁)
    CCX               a phase π where all three bits are 1, between two H on the target
    CSWAP             CX, CCX, CX

In the order in which they act, exact with the global phase.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Final

from qstore_db.circuits.circuit import Operation

COMPOSITE: Final = frozenset({"CP", "ISWAP", "ISWAPDG", "GPI", "GPI2", "MS", "CCX", "CSWAP"})
"""Names of the gates that are made of others."""


def parts(operation: Operation) -> tuple[Operation, ...]:
    """The gate in basic gates; a basic gate is itself.

    Example:
        >>> [step.gate for step in parts(Operation("GPI", (0,), (0.3,)))]
        ['X', 'RZ']
    """
    qubits, angles = operation.qubits, operation.angles
    match operation.gate:
        case "CP":
            return (Operation("P", qubits[:1], (angles[0] * 0.5,)), Operation("CRZ", qubits, angles))
        case "ISWAP":
            one, other = qubits
            return (
                Operation("S", (one,)),
                Operation("S", (other,)),
                Operation("H", (one,)),
                Operation("CX", (one, other)),
                Operation("CX", (other, one)),
                Operation("H", (other,)),
            )
        case "ISWAPDG":
            one, other = qubits
            return (
                Operation("H", (other,)),
                Operation("CX", (other, one)),
                Operation("CX", (one, other)),
                Operation("H", (one,)),
                Operation("SDG", (one,)),
                Operation("SDG", (other,)),
            )
        case "GPI":
            return (Operation("X", qubits), Operation("RZ", qubits, (angles[0] * 2.0,)))
        case "GPI2":
            return (
                Operation("RZ", qubits, (-angles[0],)),
                Operation("RX", qubits, (math.pi / 2,)),
                Operation("RZ", qubits, angles),
            )
        case "MS":
            frames = list(zip(qubits, angles[:2], strict=True))
            return (
                *(Operation("RZ", (qubit,), (-phase,)) for qubit, phase in frames),
                Operation("RXX", qubits, angles[2:]),
                *(Operation("RZ", (qubit,), (phase,)) for qubit, phase in frames),
            )
        case "CCX":
            return _doubly_controlled_x(*qubits)
        case "CSWAP":
            control, one, other = qubits
            outer = Operation("CX", (other, one))
            return (outer, *_doubly_controlled_x(control, one, other), outer)
        case _:
            return (operation,)


def basic(operations: Iterable[Operation]) -> Iterator[Operation]:
    """All operations in basic gates."""
    for operation in operations:
        if operation.gate in COMPOSITE:
            yield from parts(operation)
        else:
            yield operation


def _doubly_controlled_x(one: int, other: int, target: int) -> tuple[Operation, ...]:
    # The seven parities of three bits, each with a phase of ±π/4 (Barenco et al., Physical Review A 52, 3457, 1995).
    return (
        Operation("H", (target,)),
        Operation("CX", (other, target)),
        Operation("TDG", (target,)),
        Operation("CX", (one, target)),
        Operation("T", (target,)),
        Operation("CX", (other, target)),
        Operation("TDG", (target,)),
        Operation("CX", (one, target)),
        Operation("T", (other,)),
        Operation("T", (target,)),
        Operation("H", (target,)),
        Operation("CX", (one, other)),
        Operation("T", (one,)),
        Operation("TDG", (other,)),
        Operation("CX", (one, other)),
    )
