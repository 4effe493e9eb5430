"""What every drawing of a circuit has in common: which gates stand side by side, and what marks each of their wires."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.parameters import Angle

Kind: TypeAlias = Literal["box", "control", "target", "cross"]


@dataclass(frozen=True, slots=True)
class Mark:
    """What one wire of a gate shows.

    Args:
        kind: A box with a name, a dot of a control, ⊕ of X under a control, or × of an exchange.
        gate: The name in the box, a key of ``GATES``; empty for other kinds.
        angles: What stands behind the name.
    """

    kind: Kind
    gate: str = ""
    angles: tuple[Angle, ...] = ()


_ENDS: Final[Mapping[str, tuple[Kind, ...]]] = MappingProxyType(
    {
        "CX": ("control", "target"),
        "CZ": ("control", "control"),
        "SWAP": ("cross", "cross"),
        "CCX": ("control", "control", "target"),
        "CSWAP": ("control", "cross", "cross"),
    }
)


def marks(operation: Operation) -> tuple[Mark, ...]:
    """One mark for each qubit of the gate, in its order; boxes on two qubits show their angles at the first.

    Example:
        >>> [mark.kind for mark in marks(Operation("CRX", (1, 0), (0.5,)))]
        ['control', 'box']
    """
    gate = operation.gate
    if gate in _ENDS:
        return tuple(Mark(kind) for kind in _ENDS[gate])
    if gate.startswith("CR") or gate == "CP":
        return (Mark("control"), Mark("box", gate[1:], operation.angles))
    first = Mark("box", gate, operation.angles)
    return (first,) + (Mark("box", gate),) * (len(operation.qubits) - 1)


def time_steps(circuit: Circuit) -> list[list[Operation]]:
    """The gates by column: each as far left as its wires, and those that its link crosses, are free."""
    free = [0] * circuit.n_qubits
    steps: list[list[Operation]] = []
    for operation in circuit.operations:
        crossed = range(min(operation.qubits), max(operation.qubits) + 1)
        step = max(free[qubit] for qubit in crossed)
        if step == len(steps):
            steps.append([])
        steps[step].append(operation)
        for qubit in crossed:
            free[qubit] = step + 1
    return steps
