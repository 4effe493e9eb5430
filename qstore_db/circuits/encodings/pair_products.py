"""Data columns that are products of two inputs, for encodings whose angles are not linear in the data.

An angle of a circuit is a sum of scaled data columns. An encoding that needs (c - x_i)(c - x_j) therefore reads one
more column for each pair, computed here before the run; the gradient comes back through them by the chain rule.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.circuits.entanglement import Entanglement, HardwareMap, entangled_pairs
from qstore_db.errors import InvalidVectorError


def append_products(
    inputs: ArrayLike, entanglement: Entanglement | HardwareMap, centre: float = 0.0
) -> NDArray[np.float64]:
    """The inputs followed by (centre - x_i)(centre - x_j) of every pair.

    Args:
        inputs: Shape (samples, n).
        entanglement: Which columns i and j are multiplied, in the order of ``entangled_pairs``.
        centre: Subtracted from the inputs inside the products; the signs cancel.

    Returns:
        Shape (samples, n + number of pairs), float64.

    Raises:
        InvalidVectorError: The inputs have no two axes.
        InvalidCircuitError: Unknown entanglement, or a pair names a column that is not there.
    """
    rows = _rows(inputs)
    pairs = entangled_pairs(rows.shape[1], entanglement)
    first, second = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return np.concatenate([rows, (centre - rows[:, first]) * (centre - rows[:, second])], axis=1)


def append_products_vjp(
    inputs: ArrayLike, entanglement: Entanglement | HardwareMap, cotangent: ArrayLike, centre: float = 0.0
) -> NDArray[np.float64]:
    """The gradient by the inputs of Σ cotangent · append_products(inputs, entanglement, centre).

    Args:
        inputs: Shape (samples, n), as given to :func:`append_products`.
        entanglement: As given there.
        cotangent: Shape (samples, n + number of pairs): the gradient by the columns, such as ``Gradients.data``.
        centre: As given there.

    Returns:
        Shape (samples, n), float64.

    Raises:
        InvalidVectorError: The shapes do not fit each other.
        InvalidCircuitError: As in :func:`append_products`.
    """
    rows = _rows(inputs)
    n = rows.shape[1]
    pairs = entangled_pairs(n, entanglement)
    given = np.asarray(cotangent, np.float64)
    if given.shape != (len(rows), n + len(pairs)):
        raise InvalidVectorError(
            f"a cotangent of shape {given.shape} does not fit {len(rows)} sample(s) of {n + len(pairs)} columns",
            fix=f"Give shape {(len(rows), n + len(pairs))}.",
            value=given.shape,
        )
    gradient = given[:, :n].copy()
    for column, (first, second) in enumerate(pairs, start=n):
        gradient[:, first] -= given[:, column] * (centre - rows[:, second])
        gradient[:, second] -= given[:, column] * (centre - rows[:, first])
    return gradient


def _rows(inputs: ArrayLike) -> NDArray[np.float64]:
    rows = np.asarray(inputs, np.float64)
    if rows.ndim != 2 or rows.shape[1] < 1:
        raise InvalidVectorError(
            f"inputs of shape {rows.shape} are not rows", fix="Give shape (samples, n).", value=rows.shape
        )
    return rows
