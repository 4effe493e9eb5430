"""Rows as callers give them, checked before anything is computed from them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.errors import DimensionMismatchError, InvalidVectorError


def row_matrix(rows: ArrayLike, dimension: int | None) -> NDArray[np.number | np.bool]:
    """Rows as a matrix of real numbers, not copied where they are one.

    Raises:
        InvalidVectorError: They are no matrix of real numbers.
        DimensionMismatchError: ``dimension`` is given and the rows have another.
    """
    try:
        given = np.asarray(rows)
    except (TypeError, ValueError) as error:
        raise InvalidVectorError(
            "The rows are not a matrix of numbers", fix="Give an array of shape (rows, features).", value=None
        ) from error
    if given.dtype.kind not in "biuf":
        raise InvalidVectorError(
            f"The rows are not a matrix of numbers but of type {given.dtype}",
            fix="Give an array of real numbers of shape (rows, features).",
            value=str(given.dtype),
        )
    if given.ndim != 2 or not given.shape[1]:
        raise InvalidVectorError(
            f"The rows have shape {given.shape}", fix="Give an array of shape (rows, features).", value=given.shape
        )
    if dimension is not None and given.shape[1] != dimension:
        raise DimensionMismatchError(
            f"The rows have {given.shape[1]} features, but the model was trained on {dimension}",
            fix=f"Give rows of {dimension} features.",
            value=given.shape[1],
        )
    return given


def finite_rows(rows: NDArray[np.number | np.bool], *, first: int) -> NDArray[np.float64]:
    """Rows of a matrix as contiguous float64.

    Args:
        rows: Some rows of what the caller gave.
        first: Position of the first of them there, for the message.

    Raises:
        InvalidVectorError: A number is NaN or infinite; the message names its row and position.
    """
    values = np.ascontiguousarray(rows, dtype=np.float64)
    if not np.isfinite(values).all():
        row, column = (int(i) for i in np.argwhere(~np.isfinite(values))[0])
        raise InvalidVectorError(
            f"Row {first + row} holds {values[row, column]} at position {column}",
            fix="Remove or replace values that are not finite.",
            value=float(values[row, column]),
        )
    return values
