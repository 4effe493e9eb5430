"""The pass that moves gates past gates they commute with, to where they can be merged or cancelled."""

from __future__ import annotations

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.compilation.cancel_inverses import undoes
from qstore_db.compilation.commutation import commute
from qstore_db.compilation.optimised import Optimised
from qstore_db.compilation.rotations import axis


def gather_partners(circuit: Circuit) -> Optimised:
    """Moves each gate back to the nearest gate that it can be merged or cancelled with, if all in between commute.

    Gates without such a partner stay where they are. The unitary stays exactly the same, and so does the multiset of
    gates; the other passes do the merging. Cost at worst quadratic in the gates, linear where few of them commute.

    Example:
        >>> gates = [Operation("CX", (0, 1)), Operation("RX", (1,), (0.5,)), Operation("CX", (0, 1))]
        >>> [gate.gate for gate in gather_partners(Circuit(2, gates)).circuit.operations]
        ['CX', 'CX', 'RX']
    """
    placed: list[Operation] = []
    for operation in circuit.operations:
        placed.insert(_beside_partner(placed, operation), operation)
    return Optimised.in_place(Circuit(circuit.n_qubits, placed))


def _beside_partner(placed: list[Operation], operation: Operation) -> int:
    for place in range(len(placed) - 1, -1, -1):
        if _partners(placed[place], operation):
            return place + 1
        if not commute(placed[place], operation):
            break
    return len(placed)


def _partners(first: Operation, second: Operation) -> bool:
    if set(first.qubits) != set(second.qubits):
        return False
    turned = axis(second)
    return (turned is not None and turned == axis(first)) or undoes(first, second)
