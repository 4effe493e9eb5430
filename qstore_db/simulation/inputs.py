"""What a run is given, checked and laid out for the kernel."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.circuits.circuit import Circuit
from qstore_db.errors import InvalidArgumentError, InvalidVectorError


class Shape(Protocol):
    """What the inputs must fit; a :class:`~qstore_db.simulation.plan.Plan`."""

    circuit: Circuit
    amplitude_input: bool
    number_of_weights: int
    number_of_data: int
    number_of_readouts: int


class Inputs:
    """Weights, data and start states of one batch.

    Args:
        weights: float64 (weights,).
        data: float64 (samples, columns).
        given: The amplitudes as they came, or None.
        dtype: Of the kernel.
        readouts: Number of readouts.
        copy: Whether arrays must not share memory with the caller's.
    """

    __slots__ = ("_factor", "_given", "amplitudes", "data", "norms", "readouts", "samples", "weights")

    def __init__(
        self,
        weights: NDArray[np.float64],
        data: NDArray[np.float64],
        given: NDArray[np.generic] | None,
        dtype: np.dtype[np.floating],
        readouts: int,
        copy: bool,
    ) -> None:
        self.weights, self.data, self.readouts = weights, data, readouts
        self.samples = len(data)
        self._given = given
        self._factor: NDArray[np.float64] | None = None
        self.amplitudes = np.empty((0, 0, 1), dtype) if given is None else _parts(given, dtype, copy)
        self.norms = np.ones(0 if given is None else self.samples)

    def check_norms(self) -> bool:
        """Looks at the norms after a run.

        Returns:
            Whether the amplitudes had to be rescaled, because squares over- or underflowed, and the run must be
            repeated.

        Raises:
            InvalidVectorError: A vector is zero or not finite.
        """
        if self._given is None or self._factor is not None:
            return False
        limit = 1e15 if self.amplitudes.dtype == np.float32 else 1e60
        if ((self.norms > 1 / limit) & (self.norms < limit)).all():
            return False
        largest = np.abs(self._given).max(axis=1, initial=0.0).astype(np.float64)
        for row, size in enumerate(largest):
            if not (np.isfinite(size) and size > 0):
                raise InvalidVectorError(
                    f"amplitude vector {row} is {'zero' if size == 0 else 'not finite'} and so is no state",
                    fix="Remove it or give finite values that are not all zero.",
                    value=row,
                )
        self._factor = largest
        self.amplitudes = _parts(self._given / largest[:, None], self.amplitudes.dtype, False)
        return True

    def like_given(self, parts: NDArray[np.floating]) -> NDArray[np.floating] | NDArray[np.complexfloating]:
        """A gradient of the kernel's amplitudes as one of the amplitudes that came."""
        out: NDArray[np.floating] | NDArray[np.complexfloating] = parts[:, :, 0]
        if parts.shape[2] == 2:
            out = (parts[:, :, 0] + 1j * parts[:, :, 1]).astype(f"c{2 * parts.dtype.itemsize}", copy=False)
        return out if self._factor is None else (out / self._factor[:, None]).astype(out.dtype)


def checked_inputs(
    shape: Shape,
    data: ArrayLike | None,
    weights: ArrayLike | None,
    amplitudes: ArrayLike | None,
    dtype: np.dtype[np.floating],
    *,
    copy: bool = False,
) -> Inputs:
    """The inputs of one batch.

    Raises:
        InvalidArgumentError: A shape does not fit, or a weight is not finite.
        InvalidVectorError: Data are not finite, or amplitudes have the wrong shape.
    """
    start = _amplitudes(shape, amplitudes)
    samples = 1 if start is None else len(start)
    return Inputs(
        _weights(shape, weights, copy),
        _data(shape, data, samples, start is not None, copy),
        start,
        dtype,
        shape.number_of_readouts,
        copy,
    )


def _parts(given: NDArray[np.generic], dtype: np.dtype[np.floating], copy: bool) -> NDArray[np.floating]:
    """(samples, width, 1) of real vectors, (samples, width, 2) of complex ones."""
    if not np.iscomplexobj(given):
        with np.errstate(over="ignore"):  # seen by its norm
            return np.array(given, dtype, order="C", copy=True if copy else None)[:, :, None]
    complex_dtype = np.complex64 if dtype == np.float32 else np.complex128
    with np.errstate(over="ignore"):
        flat = np.array(given, complex_dtype, order="C", copy=True if copy else None)
    return flat.view(dtype).reshape(*given.shape, 2)


def _weights(shape: Shape, weights: ArrayLike | None, copy: bool) -> NDArray[np.float64]:
    given = np.zeros(0) if weights is None else np.array(weights, np.float64, order="C", copy=True if copy else None)
    if given.shape != (shape.number_of_weights,):
        raise InvalidArgumentError(
            f"weights of shape {given.shape} do not fit a circuit of {shape.number_of_weights} weight(s)",
            fix=f"Give an array of shape ({shape.number_of_weights},).",
            value=given.shape,
        )
    if not np.isfinite(given).all():
        place = int(np.flatnonzero(~np.isfinite(given))[0])
        raise InvalidArgumentError(
            f"weight {place} is {given[place]}", fix="Give finite weights.", value=float(given[place])
        )
    return given


def _data(shape: Shape, data: ArrayLike | None, samples: int, samples_fixed: bool, copy: bool) -> NDArray[np.float64]:
    if data is None and not shape.number_of_data:
        return np.zeros((samples, 0))
    given = np.zeros((0,)) if data is None else np.array(data, np.float64, order="C", copy=True if copy else None)
    wanted = f"({samples if samples_fixed else 'samples'}, {shape.number_of_data})"
    fits = given.ndim == 2 and given.shape[1] == shape.number_of_data
    if not fits or (samples_fixed and len(given) != samples):
        raise InvalidArgumentError(
            f"data of shape {None if data is None else given.shape} do not fit the circuit",
            fix=f"Give an array of shape {wanted}.",
            value=given.shape,
        )
    if not np.isfinite(given).all():
        row = int(np.flatnonzero(~np.isfinite(given).all(axis=1))[0])
        raise InvalidVectorError(f"data row {row} is not finite", fix="Give finite numbers.", value=row)
    return given


def _amplitudes(shape: Shape, amplitudes: ArrayLike | None) -> NDArray[np.generic] | None:
    if (amplitudes is not None) != shape.amplitude_input:
        raise InvalidArgumentError(
            "the plan starts from amplitudes and got none"
            if shape.amplitude_input
            else "the plan starts from |0…0⟩ and got amplitudes",
            fix="Compile with amplitude_input=True exactly when amplitudes are given.",
            value=None if amplitudes is None else np.shape(amplitudes),
        )
    if amplitudes is None:
        return None
    given = np.asarray(amplitudes)
    size = 1 << shape.circuit.n_qubits
    if given.ndim != 2 or not 1 <= given.shape[1] <= size or given.dtype.kind not in "fciub":
        raise InvalidVectorError(
            f"amplitudes of shape {given.shape} and type {given.dtype} do not fit the {size} amplitudes of the circuit",
            fix=f"Give an array of numbers of shape (samples, width) with width from 1 to {size}.",
            value=given.shape,
        )
    return given
