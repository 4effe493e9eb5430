"""The pass that removes gates without effect, and makes simpler gates of those with a simpler one."""

from __future__ import annotations

import math
from collections.abc import Iterator

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.compilation.optimised import Optimised
from qstore_db.compilation.rotations import without_turn
from qstore_db.compilation.symbolic import collected, is_multiple


def drop_identities(circuit: Circuit) -> Optimised:
    """Removes gates that are the identity up to a global phase whatever the weights and data.

    A rotation and P by a multiple of 2π, a controlled rotation by a multiple of 4π; by an odd multiple of 2π a
    controlled rotation is Z on its control, and U(2πk, φ, λ) is P(φ + λ). Multiples are told to 1e-12 rad. Terms that
    cancel within an angle are taken out of it.

    Example:
        >>> turns = [Operation("RX", (0,), (2 * math.pi,)), Operation("CRX", (0, 1), (2 * math.pi,))]
        >>> [(gate.gate, gate.qubits) for gate in drop_identities(Circuit(2, turns)).circuit.operations]
        [('Z', (0,))]
    """
    kept = (simpler for operation in circuit.operations for simpler in _simpler(operation))
    return Optimised.in_place(Circuit(circuit.n_qubits, kept))


def _simpler(operation: Operation) -> Iterator[Operation]:
    gate, qubits = operation.gate, operation.qubits
    angles = tuple(collected(value) for value in operation.angles)
    if gate == "U" and is_multiple(angles[0], 2 * math.pi):
        yield from _simpler(Operation("P", qubits, (angles[1] + angles[2],)))
    elif gate in {"CRX", "CRY", "CRZ"} and is_multiple(angles[0] + 2 * math.pi, 4 * math.pi):
        yield Operation("Z", qubits[:1])
    elif not without_turn(operation):
        yield Operation(gate, qubits, angles)
