"""The pass that removes a gate together with the gate that undoes it."""

from __future__ import annotations

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.inverse import adjoint
from qstore_db.compilation.neighbours import rewrite_neighbours
from qstore_db.compilation.optimised import Optimised
from qstore_db.compilation.rotations import sites
from qstore_db.compilation.symbolic import is_zero


def cancel_inverses(circuit: Circuit) -> Optimised:
    """Removes neighbours that undo each other, and what becomes a neighbour by that: H·H, CX·CX, U·U†, RX(w)·RX(-w).

    The unitary stays exactly the same, global phase included.

    Example:
        >>> from qstore_db.circuits.circuit import Operation
        >>> gates = [Operation("H", (0,)), Operation("S", (0,)), Operation("SDG", (0,)), Operation("H", (0,))]
        >>> cancel_inverses(Circuit(1, gates)).circuit.operations
        ()
    """
    return Optimised.in_place(rewrite_neighbours(circuit, lambda one, other: () if undoes(one, other) else None))


def undoes(first: Operation, second: Operation) -> bool:
    """Whether the second gate is the adjoint of the first for all weights and data."""
    inverse = adjoint(first)
    return (
        inverse.gate == second.gate
        and sites(inverse) == sites(second)
        and all(is_zero(mine - other) for mine, other in zip(inverse.angles, second.angles, strict=True))
    )
