"""Where expectation values come from when it is not the exact simulator: a port that gradients and metrics ask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.observables import Observable


class ValueSource(Protocol):
    """Runs circuits somewhere and gives expectation values, exact or estimated from shots."""

    @property
    def circuits(self) -> int:
        """Circuits that were run for it so far: one a point, sample and, with shots, measured basis."""
        ...

    @property
    def shots(self) -> int | None:
        """Shots of each of them; ``None`` where values are exact."""
        ...

    def expectations(
        self,
        circuit: Circuit,
        observables: Sequence[Observable],
        points: NDArray[np.float64],
        data: NDArray[np.float64] | None,
        amplitudes: NDArray[np.float64] | None,
    ) -> NDArray[np.float64]:
        """The values of all observables at every point.

        Args:
            circuit: The circuit.
            observables: The readouts.
            points: Weights of the circuit, shape (points, weights), radians.
            data: Shape (samples, data columns), radians; None for a circuit without data.
            amplitudes: Start states, shape (samples, width ≤ 2^n); None to start from |0…0⟩.

        Returns:
            Shape (points, samples, readouts).
        """
        ...
