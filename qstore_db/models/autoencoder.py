"""A quantum autoencoder: a circuit that moves what rows have in common onto a few of its qubits.

The row x, reduced, is encoded as the amplitudes x/‖x‖ of n qubits. The circuit U(θ) is trained so that the last n − l
qubits, the *trash*, end in |0…0⟩ (Romero, Olson and Aspuru-Guzik, Quantum Science and Technology 2, 045001 (2017)).
What is read is the trash fidelity

    F = ⟨0…0| ρ_trash |0…0⟩ = 2^−(n−l) Σ_{S ⊆ trash} ⟨Z_S⟩,

a sum of commuting strings, so that one measured basis gives it on a device. With Π = 1 ⊗ |0…0⟩⟨0…0|:

- code(x) = ‖x‖ · the 2^l complex amplitudes of ΠU x/‖x‖, as real parts, then imaginary parts: 2^(l+1) numbers;
- decode: the real part of U†(code ⊗ |0…0⟩), cut to the width of the row.

Code and decode are linear in x, and ‖x − U†ΠU x‖² = ‖x‖²(1 − F): maximising F is minimising the relative square error,
and the loss ``mse`` is that error over the width. The real part alone is never further from x.

Not claimed: that it beats a classical method. It is a linear map of rank 2^l over the complex numbers that a circuit
of few gates can make, so that the truncated singular value decomposition of as many numbers is at least as good on
the training rows. The simulator computes codes from states; a device would hold them and not tell them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.circuits.inverse import inverse
from qstore_db.circuits.observables import Observable, PauliString, PauliSum
from qstore_db.errors import DimensionMismatchError
from qstore_db.models.circuit_model import PREDICTION_ROWS, CircuitModel
from qstore_db.models.model import Parameters
from qstore_db.models.rows import finite_rows, row_matrix
from qstore_db.simulation.state_vector import states


@dataclass(frozen=True, slots=True)
class Autoencoder(CircuitModel):
    """A model of kind ``"autoencoder"``; its one parameter is ``circuit``. The output of a row is its trash fidelity.

    Args:
        spec: What the model is.
        reduction: How its rows are shortened, fitted on training rows for the same specification. What is given back
            are the reduced rows.

    Raises:
        InvalidModelError: The reduction does not fit the specification.
    """

    @property
    def code_width(self) -> int:
        """Numbers in a code: 2^(latent + 1)."""
        return 2 << (self.spec.latent or 0)

    def _observables(self) -> tuple[Observable, ...]:
        return (trash_projector(self.spec.qubits, self.spec.latent or 0),)

    def _head_shapes(self, readouts: int) -> Mapping[str, tuple[int, ...]]:
        return {}

    def _head(
        self, parameters: Mapping[str, NDArray[np.float64]], values: NDArray[np.float64], *, training: bool
    ) -> NDArray[np.float64]:
        return values

    def _head_gradients(
        self,
        parameters: Mapping[str, NDArray[np.float64]],
        values: NDArray[np.float64],
        outer: NDArray[np.float64],
    ) -> tuple[Parameters, NDArray[np.float64]]:
        return {}, outer

    def checked_targets(self, targets: ArrayLike | None, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean squares ‖x‖²/width of the reduced rows, (B, 1): rows are their own targets, others are not looked at."""
        squares: NDArray[np.float64] = np.square(features).mean(axis=1, keepdims=True)
        return squares

    def fidelities(self, parameters: Mapping[str, NDArray[np.float64]], rows: ArrayLike) -> NDArray[np.float64]:
        """The trash fidelity of each row, (B,), in [0, 1] up to rounding. Errors as for :meth:`encode`."""
        fidelities: NDArray[np.float64] = self.outputs_of_features(parameters, self.features(rows))[:, 0]
        return fidelities

    def encode(self, parameters: Mapping[str, NDArray[np.float64]], rows: ArrayLike) -> NDArray[np.float64]:
        """The code of each row; its bits do not depend on the other rows.

        Args:
            parameters: As :meth:`initial_parameters`.
            rows: (B, reduction.dimension); B may be 0.

        Returns:
            float64 (B, 2^(latent + 1)): real parts, then imaginary parts.

        Raises:
            InvalidModelError: A parameter is missing or of another shape.
            DimensionMismatchError: The rows have another length.
            InvalidVectorError: A row is not finite, or zero.
            MissingDependencyError: Numba is missing: states need it.
        """
        self._check(parameters)
        features = self.features(rows)
        norms = _norms(features)
        codes = np.empty((len(features), self.code_width))
        trash = 1 << (self.spec.qubits - (self.spec.latent or 0))
        for start in range(0, len(features), PREDICTION_ROWS):
            part = slice(start, start + PREDICTION_ROWS)
            found = states(self.plan.circuit, parameters["circuit"], amplitudes=features[part])
            kept = found[:, ::trash] * norms[part, None]
            codes[part] = np.concatenate((kept.real, kept.imag), axis=1)
        return codes

    def decode(self, parameters: Mapping[str, NDArray[np.float64]], codes: ArrayLike) -> NDArray[np.float64]:
        """The reduced rows that codes stand for.

        Args:
            parameters: As :meth:`initial_parameters`.
            codes: Finite, (B, 2^(latent + 1)), as :meth:`encode` gives them; a code of zeros gives a row of zeros.

        Returns:
            float64 (B, reduction.width); a row's bits do not depend on the other rows.

        Raises:
            InvalidModelError: A parameter is missing or of another shape.
            DimensionMismatchError: The codes have another length.
            InvalidVectorError: They are no matrix of finite numbers.
            MissingDependencyError: Numba is missing: states need it.
        """
        self._check(parameters)
        given = row_matrix(codes, None)
        if given.shape[1] != self.code_width:
            raise DimensionMismatchError(
                f"The codes have {given.shape[1]} numbers, but the model's have {self.code_width}",
                fix=f"Give codes of {self.code_width} numbers, as encode returns them.",
                value=given.shape[1],
            )
        values = finite_rows(given, first=0)
        half = self.code_width // 2
        kept = values[:, :half] + 1j * values[:, half:]
        norms = _norms(values)
        rows = np.zeros((len(values), self.reduction.width))
        trash = 1 << (self.spec.qubits - (self.spec.latent or 0))
        undo = inverse(self.plan.circuit)
        there = np.flatnonzero(norms)
        for start in range(0, len(there), PREDICTION_ROWS):
            part = there[start : start + PREDICTION_ROWS]
            amplitudes = np.zeros((len(part), 1 << self.spec.qubits), np.complex128)
            amplitudes[:, ::trash] = kept[part] / norms[part, None]
            found = states(undo, parameters["circuit"], amplitudes=amplitudes)
            rows[part] = found.real[:, : self.reduction.width] * norms[part, None]
        return rows

    def reconstruct(self, parameters: Mapping[str, NDArray[np.float64]], rows: ArrayLike) -> NDArray[np.float64]:
        """The reduced rows after their way through the code, (B, reduction.width). Errors as for :meth:`encode`."""
        return self.decode(parameters, self.encode(parameters, rows))


def trash_projector(qubits: int, latent: int) -> PauliSum:
    """|0…0⟩⟨0…0| on all qubits but the first ``latent``: 2^−t Σ_{S ⊆ trash} Z_S, 2^t strings for t trash qubits."""
    trash = range(latent, qubits)
    subsets = [chosen for size in range(len(trash) + 1) for chosen in combinations(trash, size)]
    weight = 1.0 / len(subsets)
    return PauliSum(tuple((weight, PauliString.on(qubits, dict.fromkeys(chosen, "Z"))) for chosen in subsets))


def _norms(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    norms: NDArray[np.float64] = np.sqrt(np.square(rows).sum(axis=1))
    return norms
