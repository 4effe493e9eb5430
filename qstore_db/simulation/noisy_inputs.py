"""Weights, data and start states of a noisy run, checked as those of a plan are."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.circuits.circuit import Circuit
from qstore_db.errors import InvalidArgumentError, InvalidCircuitError, InvalidVectorError

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
    values = np.zeros(0) if weights is None else np.array(weights, np.float64)
    if values.shape != (circuit.number_of_weights,) or not np.isfinite(values).all():
        raise InvalidArgumentError(
            f"weights of shape {values.shape} do not fit a circuit of {circuit.number_of_weights} weight(s)"
            if values.shape != (circuit.number_of_weights,)
            else "a weight is not finite",
            fix=f"Give a finite array of shape ({circuit.number_of_weights},).",
            value=values.shape,
        )
    start = None if amplitudes is None else np.asarray(amplitudes)
    if start is not None and (start.ndim != 2 or not len(start)):
        raise InvalidVectorError(
            f"amplitudes of shape {start.shape} are not one vector a sample",
            fix="Give an array of shape (samples, width).",
            value=start.shape,
        )
    samples = None if start is None else len(start)
    return values, _columns(circuit, data, samples), start


def _columns(circuit: Circuit, data: ArrayLike | None, samples: int | None) -> NDArray[np.float64]:
    if data is None and not circuit.number_of_data:
        return np.zeros((1 if samples is None else samples, 0))
    columns = np.zeros(0) if data is None else np.array(data, np.float64)
    fits = columns.ndim == 2 and columns.shape[1] == circuit.number_of_data
    if not fits or samples not in (None, len(columns)):
        raise InvalidArgumentError(
            f"data of shape {columns.shape} do not fit the circuit",
            fix=f"Give an array of shape ({'samples' if samples is None else samples}, {circuit.number_of_data}).",
            value=columns.shape,
        )
    if not np.isfinite(columns).all():
        row = int(np.flatnonzero(~np.isfinite(columns).all(axis=1))[0])
        raise InvalidVectorError(f"data row {row} is not finite", fix="Give finite numbers.", value=row)
    return columns


def check_observables(circuit: Circuit, lengths: list[int]) -> None:
    """Checks that there are observables and that they are written for the circuit's qubits.

    Raises:
        InvalidCircuitError: None, or one for another number of qubits.
    """
    if not lengths:
        raise InvalidCircuitError("a run without observables reads nothing", fix="Give at least one.", value=0)
    for length in lengths:
        if length != circuit.n_qubits:
            raise InvalidCircuitError(
                f"an observable is for {length} qubit(s), the circuit has {circuit.n_qubits}",
                fix="Write one letter for every qubit of the circuit.",
                value=length,
            )
