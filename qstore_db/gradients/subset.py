"""Parts of a gradient: only the weights that are wanted, and only the circuits that these need."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import InvalidArgumentError
from qstore_db.gradients.gradient import CircuitGradient


def of_weights(
    gradient: CircuitGradient, factors: NDArray[np.float64] | None = None, *, data: bool = False
) -> CircuitGradient:
    """The gradient of some weights; circuits that nothing needs any more are left out.

    Args:
        gradient: Of all symbols.
        factors: What the derivative by each weight is multiplied by, shape (weights,); 0 leaves it out, and it
            becomes 0. 1 for every weight, if left out.
        data: Whether derivatives by data columns are wanted too; otherwise they become 0.

    Raises:
        InvalidArgumentError: There is not one factor for each weight.
    """
    chosen = np.ones(len(gradient.weights)) if factors is None else np.asarray(factors, np.float64)
    if chosen.shape != (len(gradient.weights),):
        raise InvalidArgumentError(
            f"factors of shape {chosen.shape} do not fit {len(gradient.weights)} weight(s)",
            fix="Give one factor for each weight.",
            value=chosen.shape,
        )
    weights = gradient.weights * chosen[:, None]
    columns = gradient.data if data else np.zeros_like(gradient.data)
    needed = np.flatnonzero(weights.any(axis=0) | columns.any(axis=0))
    circuits = tuple(gradient.circuits[number] for number in needed)
    return CircuitGradient(circuits, weights[:, needed], columns[:, needed])


def random_subset(
    gradient: CircuitGradient, size: int, *, rng: np.random.Generator, data: bool = False
) -> CircuitGradient:
    """The derivatives by m of the N weights, drawn without repetition and multiplied by N/m; 0 for the others.

    The mean over all subsets is the whole gradient, so the estimate has no bias. It saves circuits where each circuit
    serves few weights: with shifts and differences, not with SPSA.

    Args:
        gradient: Of all weights.
        size: m, from 1 to N.
        rng: Draws the subset.
        data: Whether derivatives by data columns are wanted too, unscaled.

    Raises:
        InvalidArgumentError: m is not an integer from 1 to N.
    """
    number = len(gradient.weights)
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= number:
        raise InvalidArgumentError(
            f"a subset of {size!r} of {number} weight(s) cannot be drawn", fix=f"Use 1 to {number}.", value=size
        )
    factors = np.zeros(number)
    factors[rng.choice(number, size, replace=False)] = number / size
    return of_weights(gradient, factors, data=data)
