"""The pass that adds up neighbouring rotations."""

from __future__ import annotations

from qstore_db.circuits.circuit import Circuit
from qstore_db.compilation.neighbours import rewrite_neighbours
from qstore_db.compilation.optimised import Optimised
from qstore_db.compilation.rotations import merged


def merge_rotations(circuit: Circuit) -> Optimised:
    """Makes one gate of neighbours about the same axis on the same qubits; symbolic angles are added as symbols.

    S, T, Z, P and RZ turn about one axis, X and RX about one, Y and RY about one. The global phase may change.

    Example:
        >>> from qstore_db.circuits.circuit import Operation
        >>> from qstore_db.circuits.parameters import Weight
        >>> turns = (Operation("RZ", (0,), (Weight(0),)), Operation("S", (0,)), Operation("RZ", (0,), (Weight(0),)))
        >>> [str(gate.angles[0]) for gate in merge_rotations(Circuit(1, turns)).circuit.operations]
        ['2·w0 + 1.571']
    """
    return Optimised.in_place(rewrite_neighbours(circuit, merged))
