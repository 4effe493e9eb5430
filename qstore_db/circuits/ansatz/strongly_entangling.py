"""Strongly entangling layers: general rotations, then a ring of CNOTs whose reach grows from layer to layer.

Source: Schuld, Bocharov, Svore and Wiebe, Physical Review A 101, 032308 (2020), in the form of PennyLane's
``StronglyEntanglingLayers``.
"""

from __future__ import annotations

from collections.abc import Sequence

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.parameters import Weight
from qstore_db.errors import InvalidCircuitError


def strongly_entangling(
    n_qubits: int, layers: int, *, ranges: Sequence[int] | None = None, first_weight: int = 0
) -> Circuit:
    """In layer l: RZ·RY·RZ on every qubit, then CX(i, (i + r_l) mod n) for i = 0 … n-1.

    The three angles make a general rotation (up to a phase). The default reach is r_l = 1 + (l mod (n-1)). Two qubits
    have both CX(0,1) and CX(1,0), as in the source; one qubit has no CX. Weights are numbered by layer, then qubit,
    then rotation in the order in which they act: ``first_weight + (layer · n + qubit) · 3 + rotation``, 3·n·layers in
    all.

    Args:
        n_qubits: 1 … 24.
        layers: 0 or more.
        ranges: The reach of each layer, each in 1 … n-1; one qubit has none.
        first_weight: Index of the first weight.

    Raises:
        InvalidCircuitError: A negative number of layers, or ranges of another number or out of range.

    Example:
        >>> strongly_entangling(3, 2).number_of_weights
        18
    """
    if isinstance(layers, bool) or not isinstance(layers, int) or layers < 0:
        raise InvalidCircuitError(
            f"{layers!r} layers are not a number from 0 on", fix="Give 0 or more layers.", value=layers
        )
    reaches = _reaches(n_qubits, layers, ranges)
    operations: list[Operation] = []
    weight = first_weight
    for reach in reaches:
        for qubit in range(n_qubits):
            for gate in ("RZ", "RY", "RZ"):
                operations.append(Operation(gate, (qubit,), (Weight(weight),)))
                weight += 1
        if n_qubits > 1:
            operations.extend(Operation("CX", (qubit, (qubit + reach) % n_qubits)) for qubit in range(n_qubits))
    return Circuit(n_qubits, operations)


def _reaches(n_qubits: int, layers: int, ranges: Sequence[int] | None) -> tuple[int, ...]:
    if ranges is None:
        return tuple(1 + layer % max(1, n_qubits - 1) for layer in range(layers))
    chosen = tuple(ranges)
    if n_qubits == 1 or len(chosen) != layers or any(reach not in range(1, n_qubits) for reach in chosen):
        raise InvalidCircuitError(
            f"the ranges {chosen} do not fit {layers} layer(s) of {n_qubits} qubit(s)",
            fix=f"Give {layers} number(s) from 1 to {n_qubits - 1}, or leave ranges out for one qubit.",
            value=chosen,
        )
    return chosen
