"""A circuit taken apart into its gates and their numbers: circuits that differ only in numbers run as one batch.

Every angle of a circuit is constant + Σ scale · weight + Σ scale · data. The skeleton has the same gates with angle k
replaced by data column k; the angle map turns weights and data into those columns. A parameter-shifted circuit, or the
same circuit under other weights, has the skeleton of the original and is only another row.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qstore_db.circuits.angle_rows import AngleRows
from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.parameters import Data


@dataclass(frozen=True, slots=True)
class AngleMap:
    """From the weights and data of one circuit to the angles of its skeleton.

    Args:
        skeleton: Key of the skeleton: equal for circuits with equal gates on equal qubits.
        angles: How they follow from weights and data.
    """

    skeleton: str
    angles: AngleRows

    @classmethod
    def of(cls, circuit: Circuit) -> AngleMap:
        """The map of a circuit. Cost: one walk over its gates."""
        gates = ";".join(f"{operation.gate}{operation.qubits}" for operation in circuit.operations)
        key = hashlib.sha256(f"{circuit.n_qubits};{gates}".encode()).hexdigest()
        return cls(key, AngleRows.of(circuit))

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        return self.angles.nbytes

    def rows(self, weights: NDArray[np.float64], data: NDArray[np.float64]) -> NDArray[np.float64]:
        """The angles of every sample, (samples, angles); see :meth:`AngleRows.rows`."""
        return self.angles.rows(weights, data)


def skeleton(circuit: Circuit) -> Circuit:
    """The circuit with data column k as its k-th angle, counted from the first gate."""
    operations = []
    angles = 0
    for operation in circuit.operations:
        columns = [Data(angles + number) for number in range(len(operation.angles))]
        operations.append(Operation(operation.gate, operation.qubits, columns))
        angles += len(columns)
    return Circuit(circuit.n_qubits, operations)
