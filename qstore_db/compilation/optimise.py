"""All passes in their fixed order, repeated until nothing gets smaller."""

from __future__ import annotations

from typing import Final

from qstore_db.circuits.circuit import Circuit
from qstore_db.compilation.cancel_inverses import cancel_inverses
from qstore_db.compilation.drop_identities import drop_identities
from qstore_db.compilation.gather_partners import gather_partners
from qstore_db.compilation.merge_rotations import merge_rotations
from qstore_db.compilation.optimised import Optimised, Pass
from qstore_db.compilation.remove_swaps import remove_swaps

__all__ = ["PASSES", "Optimised", "Pass", "optimise"]

PASSES: Final[tuple[Pass, ...]] = (
    remove_swaps,
    gather_partners,
    merge_rotations,
    cancel_inverses,
    drop_identities,
)
"""SWAPs first, so that gates stand on the qubits they truly share; partners are gathered before they are merged."""


def optimise(circuit: Circuit) -> Optimised:
    """The circuit after all :data:`PASSES`, repeated as long as one round leaves fewer or smaller gates.

    The unitary stays the same up to a global phase and the recorded relabelling of the output qubits, for all values of
    weights and data; neither the number of gates nor that of two-qubit gates grows. Equal circuits give equal results,
    and an optimised circuit is left as it is. The result is not claimed to be the smallest circuit there is.

    Args:
        circuit: Any circuit.

    Returns:
        The circuit, and the place of each original qubit in its output; see :class:`Optimised`.

    Example:
        >>> from qstore_db.circuits.circuit import Operation
        >>> gates = [Operation("SWAP", (0, 1)), Operation("H", (0,)), Operation("H", (0,)), Operation("X", (1,))]
        >>> found = optimise(Circuit(2, gates))
        >>> [(gate.gate, gate.qubits) for gate in found.circuit.operations], found.output_permutation
        ([('X', (0,))], (1, 0))
    """
    best = Optimised.in_place(circuit)
    while True:
        found = best
        for rewrite in PASSES:
            found = found.followed_by(rewrite)
        if _size(found.circuit) >= _size(best.circuit):
            return found
        best = found


def _size(circuit: Circuit) -> tuple[int, int, int]:
    """Gates, two-qubit gates, angles: no pass makes it larger in this order of importance, so the rounds end."""
    operations = circuit.operations
    return (
        len(operations),
        sum(len(operation.qubits) > 1 for operation in operations),
        sum(len(operation.angles) for operation in operations),
    )
