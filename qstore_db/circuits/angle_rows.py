"""All angles of a circuit for many samples at once: a table of rows, one column an angle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.parameters import Angle, Data, Symbol, Weight


@dataclass(frozen=True, slots=True)
class _Terms:
    # Layer t holds the t-th symbol of every angle; angles with fewer symbols have scale 0 there.
    index: NDArray[np.intp]
    scale: NDArray[np.float64]

    @classmethod
    def of(cls, angles: list[Angle], kind: type[Symbol]) -> _Terms:
        chosen = [[term for term in one.terms if isinstance(term, kind)] for one in angles]
        layers = max(map(len, chosen), default=0)
        out = cls(np.zeros((layers, len(angles)), np.intp), np.zeros((layers, len(angles))))
        for place, terms in enumerate(chosen):
            for layer, term in enumerate(terms):
                out.index[layer, place] = term.index
                out.scale[layer, place] = term.scale
        return out


@dataclass(frozen=True, slots=True)
class AngleRows:
    """From the weights and data of one circuit to its angles, in the order of its gates.

    Args:
        constant: float64, shape (angles,).
        weights: Symbols that are weights.
        data: Symbols that are data columns.
    """

    constant: NDArray[np.float64]
    weights: _Terms
    data: _Terms

    @classmethod
    def of(cls, circuit: Circuit) -> AngleRows:
        """Those of a circuit. Cost: one walk over its gates."""
        angles = [value for operation in circuit.operations for value in operation.angles]
        return cls(
            np.array([value.constant for value in angles], np.float64),
            _Terms.of(angles, Weight),
            _Terms.of(angles, Data),
        )

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        both = (self.weights.index, self.weights.scale, self.data.index, self.data.scale)
        return self.constant.nbytes + sum(array.nbytes for array in both)

    def rows(self, weights: NDArray[np.float64], data: NDArray[np.float64]) -> NDArray[np.float64]:
        """The angles of every sample, radians.

        Only element-wise operations in a fixed order: a row does not depend on the rows beside it.

        Args:
            weights: Shape (number of weights,).
            data: Shape (samples, number of data columns).

        Returns:
            Shape (samples, angles).
        """
        shared = self.constant.copy()
        for index, scale in zip(self.weights.index, self.weights.scale, strict=True):
            shared += scale * weights[index]
        out = np.repeat(shared[None], len(data), axis=0)
        for index, scale in zip(self.data.index, self.data.scale, strict=True):
            out += scale * data[:, index]
        return out
