"""RMSProp: the gradient divided by a running root mean square of itself.

Source: T. Tieleman and G. Hinton, "Lecture 6.5: rmsprop", COURSERA Neural Networks for Machine Learning, 2012.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qstore_db.optimizers.chain import chain
from qstore_db.optimizers.descent import FixedRate
from qstore_db.optimizers.optimizer import Arrays, Transformation, check_gradients
from qstore_db.optimizers.settings import check_decay, check_positive
from qstore_db.optimizers.sgd import Momentum

_SQUARE: Final = "mean_square/"


@dataclass(frozen=True, slots=True)
class ScaleByRms:
    """The gradient over its running root mean square, element by element.

    With the gradient g::

        s ← ρ s + (1 − ρ) g²          u = g / (√s + ε)

    without a correction for the start s = 0, as in the source: the first step is larger by 1/√(1 − ρ). The state holds
    ``mean_square/<name>`` for every parameter.

    Args:
        decay: ρ in [0, 1).
        epsilon: ε > 0, outside the root.

    Raises:
        InvalidArgumentError: A number is outside its range or not finite.
    """

    decay: float = 0.9
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        check_decay("RMSProp", "decay", self.decay)
        check_positive("RMSProp", "epsilon", self.epsilon)

    def init(self, parameters: Mapping[str, NDArray[np.float64]]) -> Arrays:
        """Zero mean squares."""
        return {_SQUARE + name: np.zeros(value.shape) for name, value in parameters.items()}

    def update(
        self,
        updates: Mapping[str, NDArray[np.float64]],
        state: Mapping[str, NDArray[np.float64]],
        parameters: Mapping[str, NDArray[np.float64]],
    ) -> tuple[Arrays, Arrays]:
        """The direction u, and the mean squares after the step.

        Raises:
            InvalidArgumentError: A gradient has no parameter, another shape, or no mean square in the state.
        """
        check_gradients(updates, parameters, state, (_SQUARE,))
        scaled: Arrays = {}
        advanced = dict(state)
        for name, gradient in updates.items():
            square = self.decay * state[_SQUARE + name] + (1.0 - self.decay) * gradient * gradient
            advanced[_SQUARE + name] = square
            scaled[name] = gradient / (np.sqrt(square) + self.epsilon)
        return scaled, advanced


@dataclass(frozen=True, slots=True)
class RmsProp(FixedRate):
    """RMSProp: θ ← θ − α u with the direction u of :class:`ScaleByRms`, and with a momentum of these directions.

    Args:
        learning_rate: α > 0.
        decay: ρ in [0, 1).
        epsilon: ε > 0.
        momentum: μ in [0, 1) of :class:`~qstore_db.optimizers.sgd.Momentum` after the scaling; 0 for none.

    Raises:
        InvalidArgumentError: A number is outside its range or not finite.
    """

    learning_rate: float = 0.01
    decay: float = 0.9
    epsilon: float = 1e-8
    momentum: float = 0.0

    def __post_init__(self) -> None:
        check_positive("RMSProp", "learning_rate", self.learning_rate)
        ScaleByRms(self.decay, self.epsilon)
        Momentum(self.momentum)

    @property
    def direction(self) -> Transformation:
        """:class:`ScaleByRms`, then momentum."""
        return chain(ScaleByRms(self.decay, self.epsilon), Momentum(self.momentum))
