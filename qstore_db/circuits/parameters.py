"""What an angle of a gate may be: a constant plus scaled weights and scaled data columns.

An angle is always the value ``constant + Σ scale · weight[index] + Σ scale · data[sample, index]`` in radians. Weights
are shared by all samples of a batch, data columns differ from sample to sample. The numbers themselves are arguments
of a run, never part of a circuit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import InvalidCircuitError


@dataclass(frozen=True, slots=True)
class Symbol:
    """One scaled number that is known only when the circuit runs; use :class:`Weight` or :class:`Data`."""

    index: int
    scale: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.index, bool) or not isinstance(self.index, int | np.integer) or self.index < 0:
            raise InvalidCircuitError(
                f"the index {self.index!r} of a {type(self).__name__.lower()} is not an integer from 0 on",
                fix="Number weights and data columns from 0.",
                value=self.index,
            )
        object.__setattr__(self, "index", int(self.index))
        object.__setattr__(self, "scale", _finite(self.scale))

    def __mul__(self, factor: float) -> Self:
        return type(self)(self.index, self.scale * factor)

    __rmul__ = __mul__

    def __neg__(self) -> Self:
        return self * -1.0

    def __add__(self, other: AngleLike) -> Angle:
        return angle(self) + other

    def __radd__(self, other: AngleLike) -> Angle:
        return angle(other) + self

    def __sub__(self, other: AngleLike) -> Angle:
        return angle(self) + angle(other) * -1.0

    def __rsub__(self, other: AngleLike) -> Angle:
        return angle(other) + self * -1.0


@dataclass(frozen=True, slots=True)
class Weight(Symbol):
    """The trainable number ``weights[index]`` times ``scale``, in radians.

    Args:
        index: Place in the vector of weights, from 0. The same index may stand in many gates (a shared weight).
        scale: Factor, finite.

    Raises:
        InvalidCircuitError: The index is negative or no integer, or the scale is not finite.
    """


@dataclass(frozen=True, slots=True)
class Data(Symbol):
    """The input ``data[sample, index]`` times ``scale``, in radians.

    Args:
        index: Column of the data, from 0. The same column may stand in many gates (re-uploading).
        scale: Factor, finite.

    Raises:
        InvalidCircuitError: The index is negative or no integer, or the scale is not finite.
    """


@dataclass(frozen=True, slots=True)
class Angle:
    """A sum of weights, data columns and a constant, in radians.

    Written ``Weight(0) + 2.0 * Data(1) + math.pi``.

    Args:
        terms: The symbols, in the order written.
        constant: What is added to them, finite.

    Raises:
        InvalidCircuitError: The constant is not finite.
    """

    terms: tuple[Symbol, ...] = ()
    constant: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "constant", _finite(self.constant))

    def __add__(self, other: AngleLike) -> Angle:
        more = angle(other)
        return Angle(self.terms + more.terms, self.constant + more.constant)

    __radd__ = __add__

    def __sub__(self, other: AngleLike) -> Angle:
        return self + angle(other) * -1.0

    def __rsub__(self, other: AngleLike) -> Angle:
        return angle(other) + self * -1.0

    def __mul__(self, factor: float) -> Angle:
        return Angle(tuple(term * factor for term in self.terms), self.constant * factor)

    __rmul__ = __mul__

    def __neg__(self) -> Angle:
        return self * -1.0

    def shifted(self, weights: int, data: int) -> Angle:
        """The same angle with ``weights`` added to every weight's index and ``data`` to every data column."""
        return Angle(
            tuple(
                type(term)(term.index + (weights if isinstance(term, Weight) else data), term.scale)
                for term in self.terms
            ),
            self.constant,
        )

    def value(self, weights: NDArray[np.float64], data: NDArray[np.float64]) -> NDArray[np.float64]:
        """The angle in radians.

        Args:
            weights: Shape (number of weights,).
            data: Shape (samples, number of data columns).

        Returns:
            Shape (samples,).
        """
        total = np.full(data.shape[0], self.constant)
        for term in self.terms:
            total += term.scale * (weights[term.index] if isinstance(term, Weight) else data[:, term.index])
        return total

    def __str__(self) -> str:
        parts = [
            ("" if term.scale == 1.0 else f"{term.scale:.4g}·")
            + ("w" if isinstance(term, Weight) else "x")
            + str(term.index)
            for term in self.terms
        ]
        if self.constant or not parts:
            parts.append(f"{self.constant:.4g}")
        return " + ".join(parts)


AngleLike: TypeAlias = Symbol | Angle | float


def angle(value: AngleLike) -> Angle:
    """The value as an :class:`Angle`.

    Raises:
        InvalidCircuitError: The value is neither a symbol, an angle, nor a finite number.
    """
    if isinstance(value, Angle):
        return value
    if isinstance(value, Symbol):
        return Angle((value,))
    return Angle((), _finite(value))


def angles(values: Sequence[AngleLike]) -> tuple[Angle, ...]:
    """All values as :class:`Angle`, in order."""
    return tuple(angle(value) for value in values)


def _finite(value: float) -> float:
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not number or not math.isfinite(value):
        raise InvalidCircuitError(
            f"the angle {value!r} is not a finite number",
            fix="Give radians as a finite number, a Weight or a Data.",
            value=value,
        )
    return float(value)
