"""A gradient as circuits to run and a linear combination of their values.

Every method here turns one circuit into some circuits of the same symbols; each derivative is a fixed linear
combination of their expectation values. Whoever can run circuits, a simulator or a device, can so have the gradient.
A loss that is not linear in the expectation values enters by the chain rule on these derivatives, never by shifting
the loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.parameters import Symbol, Weight
from qstore_db.errors import InvalidArgumentError


@dataclass(frozen=True, slots=True)
class Jacobian:
    """Derivatives of every value of every sample.

    Args:
        weights: Shape (samples, readouts, weights), per radian.
        data: Shape (samples, readouts, data columns), per unit of the column: of the sample's own row.
    """

    weights: NDArray[np.float64]
    data: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CircuitGradient:
    """Circuits to run, and how their values combine.

    Args:
        circuits: To be run with the same weights and data.
        weights: Shape (weights, circuits): coefficients of the derivative by each weight.
        data: Shape (data columns, circuits).
    """

    circuits: tuple[Circuit, ...]
    weights: NDArray[np.float64]
    data: NDArray[np.float64]

    def combine(self, values: Sequence[ArrayLike]) -> Jacobian:
        """The derivatives.

        Args:
            values: For each circuit in order, shape (samples, readouts).

        Raises:
            InvalidArgumentError: Not one array a circuit.
        """
        if len(values) != len(self.circuits):
            raise InvalidArgumentError(
                f"{len(values)} results do not fit {len(self.circuits)} circuits",
                fix="Give the values of every circuit, in order.",
                value=len(values),
            )
        if not values:  # nothing depends on anything
            empty = np.zeros((0, 0, 0))
            return Jacobian(empty, empty)
        stacked = np.stack([np.asarray(one, np.float64) for one in values], axis=-1)
        return Jacobian(stacked @ self.weights.T, stacked @ self.data.T)


@dataclass(slots=True)
class GradientBuilder:
    """Collects shifted circuits and their coefficients."""

    circuit: Circuit
    circuits: list[Circuit]
    entries: list[tuple[Symbol, int, float]]

    @classmethod
    def of(cls, circuit: Circuit) -> GradientBuilder:
        """An empty one for a circuit."""
        return cls(circuit, [], [])

    def add(self, circuit: Circuit) -> int:
        """Adds a circuit and returns its number."""
        self.circuits.append(circuit)
        return len(self.circuits) - 1

    def depend(self, symbol: Symbol, circuit: int, coefficient: float) -> None:
        """The derivative by ``symbol`` takes ``coefficient`` times the values of circuit number ``circuit``."""
        self.entries.append((symbol, circuit, coefficient))

    def build(self) -> CircuitGradient:
        """The finished value."""
        weights = np.zeros((self.circuit.number_of_weights, len(self.circuits)))
        data = np.zeros((self.circuit.number_of_data, len(self.circuits)))
        for symbol, circuit, coefficient in self.entries:
            table = weights if isinstance(symbol, Weight) else data
            table[symbol.index, circuit] += coefficient
        return CircuitGradient(tuple(self.circuits), weights, data)


def shifted(circuit: Circuit, shifts: Sequence[tuple[int, int, float]]) -> Circuit:
    """The circuit with constants added to angles.

    Args:
        circuit: The original.
        shifts: (number of the operation, number of its angle, radians), each pair of numbers at most once.
    """
    operations = list(circuit.operations)
    for place, number, amount in shifts:
        old = operations[place]
        changed = list(old.angles)
        changed[number] = changed[number] + amount
        operations[place] = Operation(old.gate, old.qubits, changed)
    return Circuit(circuit.n_qubits, operations)
