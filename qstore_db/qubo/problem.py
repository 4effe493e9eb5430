"""A QUBO as a value: an energy of bits that is at most quadratic in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.errors import InvalidArgumentError


@dataclass(frozen=True, slots=True, eq=False)
class Qubo:
    """Minimise E(x) = Σ_i Q_ii x_i + Σ_{i<j} Q_ij x_i x_j + c over x in {0, 1}^m.

    Args:
        linear: Q_ii, float64 (m,).
        quadratic: Q_ij, float64 (m, m): only entries with i < j count, and all others are 0.
        offset: c.
    """

    linear: NDArray[np.float64]
    quadratic: NDArray[np.float64]
    offset: float = 0.0

    @property
    def variables(self) -> int:
        """How many variables there are, m."""
        return len(self.linear)

    def energy(self, bits: ArrayLike) -> NDArray[np.float64]:
        """E of assignments: shape (…, m) of 0 and 1 gives shape (…)."""
        x = np.asarray(bits, dtype=np.float64)
        energies = x @ self.linear + np.einsum("...i,ij,...j->...", x, self.quadratic, x) + self.offset
        return np.asarray(energies)

    @property
    def scale(self) -> float:
        """The median size of the coefficients that are not 0; 1 where all are."""
        sizes = np.abs(np.concatenate([self.linear, self.quadratic[np.triu_indices(self.variables, 1)]]))
        return float(np.median(sizes[sizes > 0])) if sizes.any() else 1.0

    def descended(self, bits: NDArray[np.int8]) -> NDArray[np.int8]:
        """What is left when the variable whose flip lowers the energy most is flipped until none does, int8 (m,)."""
        both = self.quadratic + self.quadratic.T
        x = bits.astype(np.float64)
        while True:
            change = (1.0 - 2.0 * x) * (self.linear + both @ x)
            best = int(change.argmin())
            # Rounding must not flip one variable for ever.
            if change[best] >= -1e-12 * (1.0 + abs(self.linear[best])):
                return x.astype(np.int8)
            x[best] = 1.0 - x[best]


def qubo(matrix: ArrayLike, offset: float = 0.0) -> Qubo:
    """The problem E(x) = xᵀ M x + c.

    Args:
        matrix: M, (m, m), finite; it need not be symmetric: M_ij and M_ji add up.
        offset: c, finite.

    Raises:
        InvalidArgumentError: It is not square, empty, or not finite.
    """
    values = np.array(matrix, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] != values.shape[1] or not values.size:
        raise InvalidArgumentError(f"A matrix of shape {values.shape} is no QUBO", fix="Give a square matrix.")
    if not np.isfinite(values).all() or not np.isfinite(offset):
        raise InvalidArgumentError("The QUBO holds a number that is not finite", fix="Give finite numbers.")
    return Qubo(np.diagonal(values).copy(), np.triu(values, 1) + np.tril(values, -1).T, float(offset))
