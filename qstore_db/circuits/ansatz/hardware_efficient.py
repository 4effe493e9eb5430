"""Hardware-efficient ansatz: layers of single-qubit rotations followed by CNOTs.

Source: Kandala et al., Nature 549, 242 (2017), with fixed CNOTs as entanglers. RY·RZ has two angles a qubit and so is
not a general rotation; RX·RY·RZ has three. No claim is made that the family can be trained at any depth: gradients of
wide and deep random circuits vanish exponentially (McClean et al., Nature Communications 9, 4812 (2018)).
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.entanglement import Entanglement, HardwareMap, entangled_pairs
from qstore_db.circuits.parameters import Weight
from qstore_db.errors import InvalidCircuitError

__all__ = ["Entanglement", "Rotations", "entangled_pairs", "hardware_efficient", "number_of_weights"]

Rotations: TypeAlias = Literal["ry_rz", "rx_ry_rz"]

_GATES: Final[dict[str, tuple[str, ...]]] = {"ry_rz": ("RY", "RZ"), "rx_ry_rz": ("RX", "RY", "RZ")}


def number_of_weights(n_qubits: int, layers: int, rotations: Rotations = "ry_rz") -> int:
    """Angles of the ansatz: ``layers · n_qubits · 2`` for ``ry_rz``, ``layers · n_qubits · 3`` for ``rx_ry_rz``.

    Raises:
        InvalidCircuitError: Unknown rotations.
    """
    return layers * n_qubits * len(_gates(rotations))


def hardware_efficient(
    n_qubits: int,
    layers: int,
    *,
    rotations: Rotations = "ry_rz",
    entanglement: Entanglement | HardwareMap = "linear",
    first_weight: int = 0,
) -> Circuit:
    """The circuit: in each layer the rotations on every qubit, then the CNOTs of ``entangled_pairs``.

    Weights are numbered by layer, then qubit, then rotation: ``first_weight + (layer · n_qubits + qubit) · k +
    rotation`` with k = 2 or 3 rotations.

    Args:
        n_qubits: 1 … 24.
        layers: 0 or more.
        rotations: ``ry_rz`` or ``rx_ry_rz``, acting in this order.
        entanglement: Which pairs the CNOTs join; see :func:`qstore_db.circuits.entanglement.entangled_pairs`.
        first_weight: Index of the first weight.

    Raises:
        InvalidCircuitError: An unknown word, a negative number of layers, or qubits out of range.

    Example:
        >>> hardware_efficient(3, 2).number_of_weights
        12
    """
    gates = _gates(rotations)
    pairs = entangled_pairs(n_qubits, entanglement)
    if isinstance(layers, bool) or not isinstance(layers, int) or layers < 0:
        raise InvalidCircuitError(
            f"{layers!r} layers are not a number from 0 on", fix="Give 0 or more layers.", value=layers
        )
    operations: list[Operation] = []
    weight = first_weight
    for _ in range(layers):
        for qubit in range(n_qubits):
            for gate in gates:
                operations.append(Operation(gate, (qubit,), (Weight(weight),)))
                weight += 1
        operations.extend(Operation("CX", pair) for pair in pairs)
    return Circuit(n_qubits, operations)


def _gates(rotations: Rotations) -> tuple[str, ...]:
    if rotations not in _GATES:
        raise InvalidCircuitError(
            f"unknown rotations {rotations!r}", fix=f"Use one of {', '.join(_GATES)}.", value=rotations
        )
    return _GATES[rotations]
