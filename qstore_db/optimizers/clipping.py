"""Gradients kept within bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qstore_db.optimizers.optimizer import Arrays
from qstore_db.optimizers.settings import check_positive


def global_norm(arrays: Mapping[str, NDArray[np.float64]]) -> float:
    """Euclidean norm over all arrays, added up by name in ascending order."""
    return math.sqrt(sum(float(np.vdot(arrays[name], arrays[name])) for name in sorted(arrays)))


@dataclass(frozen=True, slots=True)
class ClipByValue:
    """Each element is brought into [−c, c]; this changes the direction. Without a state.

    Args:
        largest: c > 0, in the unit of the gradient.

    Raises:
        InvalidArgumentError: c is not a finite number above 0.
    """

    largest: float

    def __post_init__(self) -> None:
        check_positive("Clipping", "largest value", self.largest)

    def init(self, parameters: Mapping[str, NDArray[np.float64]]) -> Arrays:
        """No state."""
        return {}

    def update(
        self,
        updates: Mapping[str, NDArray[np.float64]],
        state: Mapping[str, NDArray[np.float64]],
        parameters: Mapping[str, NDArray[np.float64]],
    ) -> tuple[Arrays, Arrays]:
        """The clipped updates; not a number stays not a number."""
        return {name: np.clip(update, -self.largest, self.largest) for name, update in updates.items()}, dict(state)


@dataclass(frozen=True, slots=True)
class ClipByGlobalNorm:
    """All arrays are multiplied by min(1, c / norm), norm being the Euclidean norm over all of them together.

    The direction is kept; what is short enough keeps its bits. Without a state. Source: Pascanu, Mikolov and Bengio,
    "On the difficulty of training recurrent neural networks", ICML 2013, Algorithm 1.

    Args:
        largest: c > 0, in the unit of the gradient.

    Raises:
        InvalidArgumentError: c is not a finite number above 0.
    """

    largest: float

    def __post_init__(self) -> None:
        check_positive("Clipping", "largest norm", self.largest)

    def init(self, parameters: Mapping[str, NDArray[np.float64]]) -> Arrays:
        """No state."""
        return {}

    def update(
        self,
        updates: Mapping[str, NDArray[np.float64]],
        state: Mapping[str, NDArray[np.float64]],
        parameters: Mapping[str, NDArray[np.float64]],
    ) -> tuple[Arrays, Arrays]:
        """The updates, shortened where they are too long together; a norm that is no number shortens nothing."""
        norm = global_norm(updates)
        if not norm > self.largest:
            return dict(updates), dict(state)
        factor = self.largest / norm
        return {name: update * factor for name, update in updates.items()}, dict(state)
