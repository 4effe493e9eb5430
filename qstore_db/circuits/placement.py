"""A circuit on other qubits, and a circuit with its symbols replaced by numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.errors import InvalidArgumentError, InvalidCircuitError


def on_qubits(circuit: Circuit, qubits: Sequence[int], n_qubits: int) -> Circuit:
    """The same gates inside a wider register.

    Args:
        circuit: What to place.
        qubits: Where each of its qubits goes, in order; all different.
        n_qubits: Qubits of the result.

    Raises:
        InvalidCircuitError: Another number of places than qubits, a place twice, or one outside the register.

    Example:
        >>> on_qubits(Circuit(2, (Operation("CX", (0, 1)),)), [2, 0], 3).operations[0].qubits
        (2, 0)
    """
    places = tuple(qubits)
    if len(places) != circuit.n_qubits or len(set(places)) != len(places):
        raise InvalidCircuitError(
            f"the places {places} do not name {circuit.n_qubits} different qubit(s)",
            fix="Give one place for each qubit of the circuit.",
            value=places,
        )
    return Circuit(
        n_qubits,
        (
            Operation(operation.gate, tuple(places[qubit] for qubit in operation.qubits), operation.angles)
            for operation in circuit.operations
        ),
    )


def bind(circuit: Circuit, weights: ArrayLike | None = None, data: ArrayLike | None = None) -> Circuit:
    """The circuit of one sample, all angles numbers: what a device or another library can run.

    Args:
        circuit: Any circuit.
        weights: Shape (number of weights,), radians; may be left out for a circuit without weights.
        data: One sample, shape (number of data columns,); may be left out for a circuit without data.

    Raises:
        InvalidArgumentError: Another shape than the circuit asks for.
        InvalidCircuitError: An angle becomes infinite or not a number.

    Example:
        >>> from qstore_db.circuits.parameters import Weight
        >>> bind(Circuit(1, (Operation("RX", (0,), (Weight(0) * 2.0,)),)), [0.25]).operations[0].angles[0].constant
        0.5
    """
    known_weights = _vector(weights, circuit.number_of_weights, "weight(s)")
    known_data = _vector(data, circuit.number_of_data, "data column(s)")[None]
    return Circuit(
        circuit.n_qubits,
        (
            Operation(
                operation.gate,
                operation.qubits,
                tuple(float(value.value(known_weights, known_data)[0]) for value in operation.angles),
            )
            for operation in circuit.operations
        ),
    )


def _vector(given: ArrayLike | None, size: int, what: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    values = np.zeros(0) if given is None else np.asarray(given, np.float64)
    if values.shape != (size,):
        raise InvalidArgumentError(
            f"the circuit has {size} {what}, not an array of shape {values.shape}",
            fix=f"Give {size} number(s).",
            value=values.shape,
        )
    return values
