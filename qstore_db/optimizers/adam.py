"""Adam and AdamW: steps scaled by running moments of the gradient.

Sources: D. P. Kingma and J. Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, Algorithm 1; I. Loshchilov
and F. Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, Algorithm 2.
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
from qstore_db.optimizers.weight_decay import AddDecayedWeights

_STEP: Final = "step"
_FIRST: Final = "first_moment/"
_SECOND: Final = "second_moment/"


@dataclass(frozen=True, slots=True)
class ScaleByAdam:
    """The direction of Algorithm 1 of Kingma and Ba (2015).

    With the gradient g of step t = 1, 2, …, element by element::

        m ← β₁ m + (1 − β₁) g          v ← β₂ v + (1 − β₂) g²
        u = m / (1 − β₁ᵗ) / (√(v / (1 − β₂ᵗ)) + ε)

    The state holds ``step`` of shape (1,), and ``first_moment/<name>`` and ``second_moment/<name>`` for every
    parameter. Cost: some ten passes over the parameters.

    Args:
        beta1: Decay of the first moment, in [0, 1).
        beta2: Decay of the second moment, in [0, 1).
        epsilon: ε > 0; outside the root, as in the source.

    Raises:
        InvalidArgumentError: A number is outside its range or not finite.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        check_decay("Adam", "beta1", self.beta1)
        check_decay("Adam", "beta2", self.beta2)
        check_positive("Adam", "epsilon", self.epsilon)

    def init(self, parameters: Mapping[str, NDArray[np.float64]]) -> Arrays:
        """Zero moments for each parameter and zero steps taken."""
        state: Arrays = {_STEP: np.zeros(1)}
        for name, value in parameters.items():
            state[_FIRST + name] = np.zeros(value.shape)
            state[_SECOND + name] = np.zeros(value.shape)
        return state

    def update(
        self,
        updates: Mapping[str, NDArray[np.float64]],
        state: Mapping[str, NDArray[np.float64]],
        parameters: Mapping[str, NDArray[np.float64]],
    ) -> tuple[Arrays, Arrays]:
        """The direction u, and the moments after the step.

        Raises:
            InvalidArgumentError: A gradient has no parameter, another shape, or no moments in the state.
        """
        check_gradients(updates, parameters, state, (_FIRST, _SECOND))
        step = state[_STEP] + 1.0
        unbias1 = 1.0 - self.beta1 ** float(step[0])
        unbias2 = 1.0 - self.beta2 ** float(step[0])
        scaled: Arrays = {}
        advanced = dict(state)
        advanced[_STEP] = step
        for name, gradient in updates.items():
            first = self.beta1 * state[_FIRST + name] + (1.0 - self.beta1) * gradient
            second = self.beta2 * state[_SECOND + name] + (1.0 - self.beta2) * gradient * gradient
            advanced[_FIRST + name], advanced[_SECOND + name] = first, second
            scaled[name] = first / unbias1 / (np.sqrt(second / unbias2) + self.epsilon)
        return scaled, advanced


@dataclass(frozen=True, slots=True)
class Adam(FixedRate):
    """Adam: θ ← θ − α u with the direction u of :class:`ScaleByAdam`, whose state it keeps.

    Args:
        learning_rate: α > 0; about the largest change of a parameter in one step.
        beta1: As :class:`ScaleByAdam`.
        beta2: As :class:`ScaleByAdam`.
        epsilon: As :class:`ScaleByAdam`.

    Raises:
        InvalidArgumentError: A number is outside its range or not finite.

    Example:
        >>> adam = Adam(learning_rate=0.1)
        >>> state = adam.init({"w": np.zeros(1)})
        >>> parameters, state = adam.update({"w": np.array([4.0])}, state, {"w": np.zeros(1)})
        >>> float(parameters["w"][0].round(6))
        -0.1
    """

    learning_rate: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        check_positive("Adam", "learning_rate", self.learning_rate)
        ScaleByAdam(self.beta1, self.beta2, self.epsilon)

    @property
    def direction(self) -> Transformation:
        """:class:`ScaleByAdam`."""
        return ScaleByAdam(self.beta1, self.beta2, self.epsilon)


@dataclass(frozen=True, slots=True)
class AdamW(FixedRate):
    """Adam with decoupled weight decay: θ ← θ − α (u + λ θ), where λ θ enters no moment.

    Args:
        learning_rate: α > 0.
        weight_decay: λ ≥ 0; a parameter without gradient shrinks by the factor 1 − α λ a step.
        beta1: As :class:`ScaleByAdam`.
        beta2: As :class:`ScaleByAdam`.
        epsilon: As :class:`ScaleByAdam`.

    Raises:
        InvalidArgumentError: A number is outside its range or not finite.
    """

    learning_rate: float = 0.01
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        check_positive("AdamW", "learning_rate", self.learning_rate)
        AddDecayedWeights(self.weight_decay)
        ScaleByAdam(self.beta1, self.beta2, self.epsilon)

    @property
    def direction(self) -> Transformation:
        """:class:`ScaleByAdam`, then :class:`~qstore_db.optimizers.weight_decay.AddDecayedWeights`."""
        return chain(ScaleByAdam(self.beta1, self.beta2, self.epsilon), AddDecayedWeights(self.weight_decay))
