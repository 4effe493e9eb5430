"""Angle encoding: one rotation a qubit, turned by one number of the input."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.parameters import Data
from qstore_db.errors import InvalidCircuitError

Axis: TypeAlias = Literal["X", "Y", "Z"]


def angle_encoding(n_qubits: int, *, axis: Axis = "Y", scale: float = 1.0, first_column: int = 0) -> Circuit:
    """The circuit ⊗_q R_axis(scale · x_q), one data column a qubit.

    A rotation has period 4π (2π up to the sign of the state), so inputs should be scaled to at most one period. RZ on
    |0⟩ only adds a phase: put other gates before it.

    Args:
        n_qubits: Qubits, and data columns used.
        axis: The axis of the rotation.
        scale: Radians per unit of the input.
        first_column: Data column of qubit 0; qubit q reads column ``first_column + q``.

    Raises:
        InvalidCircuitError: Unknown axis, or a scale that is not finite.

    Example:
        >>> angle_encoding(2).number_of_data
        2
    """
    if axis not in get_args(Axis):
        raise InvalidCircuitError(f"unknown axis {axis!r}", fix="Use X, Y or Z.", value=axis)
    return Circuit(
        n_qubits,
        (Operation(f"R{axis}", (qubit,), (Data(first_column + qubit, scale),)) for qubit in range(n_qubits)),
    )
