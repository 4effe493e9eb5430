"""Checks that the analyses share."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.circuits.circuit import Circuit
from qstore_db.errors import InvalidArgumentError


def whole_number(value: int, least: int, what: str, *, most: int | None = None) -> int:
    """The value, an integer from ``least`` on and, when given, up to ``most``.

    Raises:
        InvalidArgumentError: It is none; the sentence names ``what``.
    """
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):
        bounds = f"from {least} on" if most is None else f"from {least} to {most}"
        raise InvalidArgumentError(
            f"{what} = {value!r} is not an integer {bounds}", fix=f"Give one {bounds}.", value=value
        )
    return int(value)


def checked_span(span: float) -> float:
    """The width of the interval from which weights are drawn, in radians.

    Raises:
        InvalidArgumentError: It is not positive and finite.
    """
    if not math.isfinite(span) or span <= 0:
        raise InvalidArgumentError(
            f"span = {span!r} is not a positive finite angle", fix="Give radians, usually 2π.", value=span
        )
    return float(span)


def one_sample(circuit: Circuit, data: ArrayLike | None) -> NDArray[np.float64]:
    """One row of data for the circuit, shape (number of data columns,).

    Raises:
        InvalidArgumentError: Another shape than the circuit asks for, or not finite.
    """
    row = np.zeros(0) if data is None else np.asarray(data, np.float64)
    if row.shape != (circuit.number_of_data,) or not np.isfinite(row).all():
        raise InvalidArgumentError(
            f"data of shape {row.shape} are not one finite sample of {circuit.number_of_data} column(s)",
            fix=f"Give {circuit.number_of_data} finite number(s).",
            value=row.shape,
        )
    return row
