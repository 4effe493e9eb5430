"""Feature maps: rows of numbers to states of qubits.

- ``angle``: one RY(x_q) a qubit;
- ``zz``: the ZZ feature map (Havlíček et al. 2019), one qubit a feature;
- ``amplitude``: x / |x| as amplitudes, padded to 2^n.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.encodings.amplitude import amplitudes, qubits_for, state_preparation
from qstore_db.circuits.encodings.angle import angle_encoding
from qstore_db.circuits.encodings.zz_feature_map import zz_columns, zz_feature_map
from qstore_db.circuits.observables import PauliString
from qstore_db.circuits.placement import bind
from qstore_db.errors import InvalidArgumentError, InvalidVectorError
from qstore_db.simulation.plan import compile_circuit
from qstore_db.simulation.state_vector import states

FeatureMap = Literal["angle", "zz", "amplitude"]

_MAX_FEATURES = 24

Amplitudes = NDArray[np.float64] | NDArray[np.complex128]


@dataclass(frozen=True, slots=True)
class Encoder:
    """A feature map for rows of one width.

    Args:
        name: See the module.
        features: Width of the rows; ``angle`` and ``zz`` take one qubit each, up to 24.
        repetitions: Of the ZZ feature map.

    Raises:
        InvalidArgumentError: There is no such feature map.
        InvalidVectorError: More features than there may be qubits.
    """

    name: FeatureMap
    features: int
    repetitions: int = 2

    def __post_init__(self) -> None:
        if self.name not in get_args(FeatureMap):
            known = ", ".join(get_args(FeatureMap))
            raise InvalidArgumentError(
                f"There is no feature map {self.name!r}", fix=f"There are {known}.", value=self.name
            )
        if self.name != "amplitude" and self.features > _MAX_FEATURES:
            raise InvalidVectorError(
                f"{self.features} features need as many qubits",
                fix=f"Reduce them to {_MAX_FEATURES}, or use amplitude.",
                value=self.features,
            )

    @property
    def n_qubits(self) -> int:
        """Qubits of its states."""
        return qubits_for(self.features) if self.name == "amplitude" else self.features

    def states(self, rows: NDArray[np.float64]) -> Amplitudes:
        """The states of rows, (rows, 2^n); real for ``amplitude``.

        Raises:
            InvalidVectorError: A row is zero for ``amplitude``.
        """
        if self.name == "amplitude":
            return amplitudes(rows, self.n_qubits)
        return np.asarray(states(self._circuit(), data=self._columns(rows)), dtype=np.complex128)

    def preparation(self, row: NDArray[np.float64]) -> Circuit:
        """The circuit that prepares one row's state, all angles numbers."""
        if self.name == "amplitude":
            return state_preparation(row)
        return bind(self._circuit(), data=self._columns(row[None])[0])

    def single_qubits(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """⟨X⟩, ⟨Y⟩ and ⟨Z⟩ of each qubit, exactly: (rows, 3n), X Y Z of qubit 0 first."""
        amplitude = self.name == "amplitude"
        circuit = Circuit(self.n_qubits) if amplitude else self._circuit()
        plan = compile_circuit(circuit, pauli_letters(self.n_qubits), amplitude_input=amplitude)
        data, start = (None, rows) if amplitude else (self._columns(rows), None)
        return np.asarray(plan.expectations(data, None, start, dtype="float64"), dtype=np.float64)

    def _circuit(self) -> Circuit:
        if self.name == "angle":
            return angle_encoding(self.features)
        return zz_feature_map(self.features, self.repetitions)

    def _columns(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        return zz_columns(rows) if self.name == "zz" else rows


def pauli_letters(n_qubits: int) -> tuple[PauliString, ...]:
    """X, Y and Z of each qubit alone, in that order."""
    return tuple(PauliString.on(n_qubits, {qubit: letter}) for qubit in range(n_qubits) for letter in "XYZ")


def feature_rows(rows: ArrayLike, like: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Rows as finite float64 (rows, features), at least one of each.

    Args:
        rows: What was given.
        like: Rows of which these must have the width.

    Raises:
        InvalidVectorError: They are not.
    """
    values = np.asarray(rows, dtype=np.float64)
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        raise InvalidVectorError(
            f"rows of shape {values.shape} are no finite matrix", fix="Give finite numbers of shape (rows, features)."
        )
    if like is not None and values.shape[1] != like.shape[1]:
        raise InvalidVectorError("Rows and columns differ in features", fix="Give the same features.")
    return values
