"""The pass that swaps names and not contents."""

from __future__ import annotations

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.compilation.optimised import Optimised


def remove_swaps(circuit: Circuit) -> Optimised:
    """Leaves every SWAP gate out and lets the gates after it act where its qubits' contents have stayed.

    Only the gate SWAP itself: a SWAP under a control, or one spelled as three CX, moves contents that other gates
    decide about and stays. Cost linear in the gates.

    Example:
        >>> found = remove_swaps(Circuit(2, (Operation("SWAP", (0, 1)), Operation("X", (0,)))))
        >>> found.circuit.operations[0].qubits, found.output_permutation
        ((1,), (1, 0))
    """
    place = list(range(circuit.n_qubits))
    kept: list[Operation] = []
    for operation in circuit.operations:
        if operation.gate == "SWAP":
            one, other = operation.qubits
            place[one], place[other] = place[other], place[one]
        else:
            kept.append(Operation(operation.gate, (place[qubit] for qubit in operation.qubits), operation.angles))
    return Optimised(Circuit(circuit.n_qubits, kept), tuple(place))
