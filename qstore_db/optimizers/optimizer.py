"""What the trainer asks of an optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Arrays: TypeAlias = dict[str, NDArray[np.float64]]
"""Float64 arrays by name: parameters, gradients, or the state of an optimizer."""


class Optimizer(Protocol):
    """Pure functions from gradients and a state to new parameters and a new state.

    The state is arrays by name and nothing else, so that a checkpoint holds all of it: after ``init``, a run that is
    stopped and continued from stored parameters and state takes bit for bit the steps it would have taken.
    """

    def init(self, parameters: Mapping[str, NDArray[np.float64]]) -> Arrays:
        """The state before the first step."""
        ...

    def update(
        self,
        gradients: Mapping[str, NDArray[np.float64]],
        state: Mapping[str, NDArray[np.float64]],
        parameters: Mapping[str, NDArray[np.float64]],
    ) -> tuple[Arrays, Arrays]:
        """Parameters and state after one step, as new arrays; a parameter without a gradient stays as it is."""
        ...
