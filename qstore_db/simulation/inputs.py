"""What a run is given, checked and laid out for the kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.circuits.circuit import Circuit
from qstore_db.errors import InvalidArgumentError, InvalidVectorError


class SymbolCounts(Protocol):
    """What weights and data must fit; a circuit, or a :class:`~qstore_db.simulation.plan.Plan`."""

    @property
    def number_of_weights(self) -> int:
        """Weights of the circuit."""
        ...

    @property
    def number_of_data(self) -> int:
        """Its data columns."""
        ...


class Shape(SymbolCounts, Protocol):
    """What all inputs must fit; a :class:`~qstore_db.simulation.plan.Plan`."""

    circuit: Circuit
    amplitude_input: bool
    number_of_readouts: int


def checked_weights(shape: SymbolCounts, weights: ArrayLike | None, *, copy: bool = False) -> NDArray[np.float64]:
    """Weights as float64 (weights,).

    Raises:
        InvalidArgumentError: Another shape, or one is not finite.
    """
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


def checked_data(
    shape: SymbolCounts, data: ArrayLike | None, samples: int | None, *, copy: bool = False
) -> NDArray[np.float64]:
    """Data as float64 (samples, columns).

    Args:
        shape: What they must fit.
        data: As given.
        samples: How many samples the amplitudes have; None without amplitudes.
        copy: Whether the result must not share memory with ``data``.

    Raises:
        InvalidArgumentError: Another shape.
        InvalidVectorError: A row is not finite.
    """
    if data is None and not shape.number_of_data:
        return np.zeros((1 if samples is None else samples, 0))
    given = np.zeros((0,)) if data is None else np.array(data, np.float64, order="C", copy=True if copy else None)
    wanted = f"({'samples' if samples is None else samples}, {shape.number_of_data})"
    fits = given.ndim == 2 and given.shape[1] == shape.number_of_data
    if not fits or (samples is not None and len(given) != samples):
        raise InvalidArgumentError(
            f"data of shape {None if data is None else given.shape} do not fit the circuit",
            fix=f"Give an array of shape {wanted}.",
            value=given.shape,
        )
    if not np.isfinite(given).all():
        row = int(np.flatnonzero(~np.isfinite(given).all(axis=1))[0])
        raise InvalidVectorError(f"data row {row} is not finite", fix="Give finite numbers.", value=row)
    return given


def check_start(amplitudes: ArrayLike | None, *, wanted: bool) -> None:
    """Whether start vectors come exactly where a plan takes them.

    Raises:
        InvalidArgumentError: They are missing, or not wanted.
    """
    if (amplitudes is not None) != wanted:
        raise InvalidArgumentError(
            "the plan starts from amplitudes and got none"
            if wanted
            else "the plan starts from |0…0⟩ and got amplitudes",
            fix="Compile with amplitude_input=True exactly when amplitudes are given.",
            value=None if amplitudes is None else np.shape(amplitudes),
        )


def checked_amplitudes(shape: Shape, amplitudes: ArrayLike | None) -> NDArray[np.generic] | None:
    """Start vectors (samples, width) as they came; their norms are not looked at.

    Raises:
        InvalidArgumentError: They are missing, or not wanted.
        InvalidVectorError: Another shape or type.
    """
    check_start(amplitudes, wanted=shape.amplitude_input)
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


def checked_cotangent(cotangent: ArrayLike, wanted: tuple[int, ...]) -> NDArray[np.float64]:
    """A cotangent as float64 of the shape of the values.

    Raises:
        InvalidArgumentError: Another shape, or not finite.
    """
    given = np.ascontiguousarray(cotangent, np.float64)
    if given.shape != wanted or not np.isfinite(given).all():
        raise InvalidArgumentError(
            f"a cotangent of shape {given.shape} does not fit values of shape {wanted}"
            if given.shape != wanted
            else "the cotangent is not finite",
            fix="Give the finite derivative of the loss by every value.",
            value=given.shape,
        )
    return given


def check_labels(labels: NDArray[np.int64], samples: int, classes: int) -> None:
    """Looks at the labels of a head.

    Raises:
        InvalidArgumentError: Their number is not that of the samples, or one is no class.
    """
    if labels.shape != (samples,):
        raise InvalidArgumentError(
            f"{len(labels)} label(s) do not fit {samples} sample(s)", fix="Give one for each.", value=len(labels)
        )
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if wrong.size:
        first = int(wrong[0])
        raise InvalidArgumentError(
            f"label {int(labels[first])} of sample {first} is outside 0 to {classes - 1}",
            fix="Number the classes from 0.",
            value=int(labels[first]),
        )


def largest_parts(given: NDArray[np.generic]) -> NDArray[np.float64]:
    """The largest magnitude of each start vector, by which those of extreme length are divided first.

    Raises:
        InvalidVectorError: A vector is zero or not finite.
    """
    largest: NDArray[np.float64] = np.abs(given).max(axis=1, initial=0.0).astype(np.float64)
    for row, size in enumerate(largest):
        if not (np.isfinite(size) and size > 0):
            raise InvalidVectorError(
                f"amplitude vector {row} is {'zero' if size == 0 else 'not finite'} and so is no state",
                fix="Remove it or give finite values that are not all zero.",
                value=row,
            )
    return largest


@dataclass(frozen=True, slots=True)
class Inputs:
    """Checked inputs of one batch.

    Args:
        weights: float64 (weights,).
        data: float64 (samples, columns).
        amplitudes: (samples, width, parts), 2 parts for complex ones; (0, 0, 1) for |0…0⟩. Norms are not looked at.
        samples: B.
    """

    weights: NDArray[np.float64]
    data: NDArray[np.float64]
    amplitudes: NDArray[np.floating]
    samples: int


def checked_inputs(
    shape: Shape,
    data: ArrayLike | None,
    weights: ArrayLike | None,
    amplitudes: ArrayLike | None,
    dtype: np.dtype[np.floating],
) -> Inputs:
    """The inputs of one batch, amplitudes in the given dtype.

    Raises:
        InvalidArgumentError: A shape does not fit, or a weight is not finite.
        InvalidVectorError: Data are not finite, or amplitudes have the wrong shape.
    """
    start = checked_amplitudes(shape, amplitudes)
    points = checked_data(shape, data, None if start is None else len(start))
    parts = np.empty((0, 0, 1), dtype) if start is None else _parts(start, dtype)
    return Inputs(checked_weights(shape, weights), points, parts, len(points))


def _parts(given: NDArray[np.generic], dtype: np.dtype[np.floating]) -> NDArray[np.floating]:
    with np.errstate(over="ignore"):  # seen by its norm
        if given.dtype.kind != "c":
            return given.astype(dtype)[:, :, None]
        flat = np.ascontiguousarray(given, np.complex64 if dtype == np.float32 else np.complex128)
    return flat.view(dtype).reshape(*given.shape, 2)
