"""Weights, data and start states of a noisy run, checked as those of a plan are."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.circuits.circuit import Circuit
from qstore_db.errors import InvalidVectorError
from qstore_db.simulation.inputs import checked_data, checked_weights

Checked: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.generic] | None]


def checked(
    circuit: Circuit, weights: ArrayLike | None, data: ArrayLike | None, amplitudes: ArrayLike | None
) -> Checked:
    """The inputs of one batch.

    Returns:
        weights float64 (weights,), data float64 (samples, columns), and the amplitudes as they came, or None.

    Raises:
        InvalidArgumentError: A shape does not fit, or a weight is not finite.
        InvalidVectorError: Data are not finite, or the amplitudes are not one vector a sample.
    """
    start = None if amplitudes is None else np.asarray(amplitudes)
    if start is not None and (start.ndim != 2 or not len(start)):
        raise InvalidVectorError(
            f"amplitudes of shape {start.shape} are not one vector a sample",
            fix="Give an array of shape (samples, width).",
            value=start.shape,
        )
    samples = None if start is None else len(start)
    return checked_weights(circuit, weights, copy=True), checked_data(circuit, data, samples, copy=True), start
