"""One compiled plan for circuits that differ in the constants of their angles only, as shifted circuits do.

Constants that differ become weights. So a gradient of a hundred circuits is compiled once and not a hundred times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.observables import Observable
from qstore_db.circuits.parameters import Angle, Weight
from qstore_db.errors import InvalidCircuitError
from qstore_db.simulation.plan import Precision, compile_circuit


class SharedPlan:
    """A plan and the constants of each circuit.

    Args:
        circuits: At least one, all with the same gates on the same qubits and the same terms in each angle.
        observables: The readouts of all.
        amplitude_input: Whether each sample brings its start state.

    Raises:
        InvalidCircuitError: No circuits, or they differ in more than constants.
    """

    __slots__ = ("_constants", "_plan", "_weights", "circuit")

    def __init__(
        self, circuits: Sequence[Circuit], observables: Sequence[Observable], *, amplitude_input: bool
    ) -> None:
        if not circuits:
            raise InvalidCircuitError("a shared plan of no circuits", fix="Give at least one.", value=0)
        first = circuits[0]
        self._weights = first.number_of_weights
        constants = np.array([_constants(first, circuit) for circuit in circuits]).reshape(len(circuits), -1)
        differing = np.flatnonzero((constants != constants[0]).any(axis=0))
        self._constants = np.ascontiguousarray(constants[:, differing])
        self.circuit = _lifted(first, differing.tolist(), self._weights)
        self._plan = compile_circuit(self.circuit, observables, amplitude_input=amplitude_input)

    def __len__(self) -> int:
        return len(self._constants)

    def points(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weights of :attr:`circuit` under which it is each of the circuits, (circuits, its weights).

        Args:
            weights: Of the circuits, shape (weights,), radians.
        """
        return np.concatenate((np.broadcast_to(weights, (len(self), self._weights)), self._constants), axis=1)

    def values(
        self,
        data: ArrayLike | None,
        weights: NDArray[np.float64],
        amplitudes: ArrayLike | None = None,
        *,
        dtype: Precision = "float32",
    ) -> Iterator[NDArray[np.float64]]:
        """For each circuit in order what ``Plan.expectations`` gives, (samples, readouts).

        Args:
            data: As there.
            weights: As there, of the circuits.
            amplitudes: As there.
            dtype: As there.

        Raises:
            InvalidArgumentError: As there.
            InvalidVectorError: As there.
            NotEnoughMemoryError: As there.
        """
        for point in self.points(weights):
            yield self._plan.expectations(data, point, amplitudes, dtype=dtype)


def _constants(first: Circuit, circuit: Circuit) -> list[float]:
    same = circuit.n_qubits == first.n_qubits and len(circuit.operations) == len(first.operations)
    if not same or any(_differ(one, other) for one, other in zip(first.operations, circuit.operations, strict=True)):
        raise InvalidCircuitError(
            "two circuits of one plan differ in more than constants",
            fix="Share a plan among circuits with the same gates, qubits, weights and data.",
            value=circuit.digest,
        )
    return [angle.constant for operation in circuit.operations for angle in operation.angles]


def _differ(one: Operation, other: Operation) -> bool:
    if one is other:
        return False
    return (one.gate, one.qubits) != (other.gate, other.qubits) or any(
        left.terms != right.terms for left, right in zip(one.angles, other.angles, strict=True)
    )


def _lifted(circuit: Circuit, differing: list[int], first_weight: int) -> Circuit:
    weight_of = {number: first_weight + place for place, number in enumerate(differing)}
    operations = []
    number = 0
    for operation in circuit.operations:
        angles = []
        for angle in operation.angles:
            if number in weight_of:
                angles.append(Angle((*angle.terms, Weight(weight_of[number]))))
            else:
                angles.append(angle)
            number += 1
        operations.append(Operation(operation.gate, operation.qubits, angles))
    return Circuit(circuit.n_qubits, operations)
