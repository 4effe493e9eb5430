"""Adam: steps scaled by running moments of the gradient.

Source: D. P. Kingma and J. Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import InvalidArgumentError
from qstore_db.optimizers.optimizer import Arrays

_STEP: Final = "step"
_FIRST: Final = "first_moment/"
_SECOND: Final = "second_moment/"


@dataclass(frozen=True, slots=True)
class Adam:
    """Adam as Algorithm 1 of Kingma and Ba (2015) states it.

    With the gradient g of step t = 1, 2, …, element by element::

        m ← β₁ m + (1 − β₁) g          v ← β₂ v + (1 − β₂) g²
        θ ← θ − α · m / (1 − β₁ᵗ) / (√(v / (1 − β₂ᵗ)) + ε)

    The state holds ``step`` of shape (1,), and ``first_moment/<name>`` and ``second_moment/<name>`` for every
    parameter. Cost: some twelve passes over the parameters.

    Args:
        learning_rate: α > 0; about the largest change of a parameter in one step.
        beta1: Decay of the first moment, in [0, 1).
        beta2: Decay of the second moment, in [0, 1).
        epsilon: ε > 0; outside the root, as in the source.

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
        for name in ("learning_rate", "epsilon"):
            value = getattr(self, name)
            if not _is_number(value) or not 0.0 < value < np.inf:
                raise InvalidArgumentError(
                    f"Adam's {name} is {value!r}", fix=f"Give {name} as a finite number above 0.", value=value
                )
        for name in ("beta1", "beta2"):
            value = getattr(self, name)
            if not _is_number(value) or not 0.0 <= value < 1.0:
                raise InvalidArgumentError(
                    f"Adam's {name} is {value!r}", fix=f"Give {name} from 0 to below 1.", value=value
                )

    def init(self, parameters: Mapping[str, NDArray[np.float64]]) -> Arrays:
        """Zero moments for each parameter and zero steps taken."""
        state: Arrays = {_STEP: np.zeros(1)}
        for name, value in parameters.items():
            state[_FIRST + name] = np.zeros(value.shape)
            state[_SECOND + name] = np.zeros(value.shape)
        return state

    def update(
        self,
        gradients: Mapping[str, NDArray[np.float64]],
        state: Mapping[str, NDArray[np.float64]],
        parameters: Mapping[str, NDArray[np.float64]],
    ) -> tuple[Arrays, Arrays]:
        """One step.

        Args:
            gradients: Derivative of the loss by each parameter that is to move.
            state: What :meth:`init` or the step before returned.
            parameters: The parameters at which the gradients were taken.

        Returns:
            New parameters and the new state. Nothing is changed in place.

        Raises:
            InvalidArgumentError: A gradient has no parameter, another shape, or no moments in the state.
        """
        _check_gradients(gradients, state, parameters)
        step = state[_STEP] + 1.0
        unbias1 = 1.0 - self.beta1 ** float(step[0])
        unbias2 = 1.0 - self.beta2 ** float(step[0])
        moved, advanced = dict(parameters), dict(state)
        advanced[_STEP] = step
        for name, gradient in gradients.items():
            first = self.beta1 * state[_FIRST + name] + (1.0 - self.beta1) * gradient
            second = self.beta2 * state[_SECOND + name] + (1.0 - self.beta2) * gradient * gradient
            advanced[_FIRST + name], advanced[_SECOND + name] = first, second
            denominator = np.sqrt(second / unbias2) + self.epsilon
            moved[name] = parameters[name] - self.learning_rate * (first / unbias1) / denominator
        return moved, advanced


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_gradients(
    gradients: Mapping[str, NDArray[np.float64]],
    state: Mapping[str, NDArray[np.float64]],
    parameters: Mapping[str, NDArray[np.float64]],
) -> None:
    for name, gradient in gradients.items():
        if name not in parameters or _FIRST + name not in state or _SECOND + name not in state:
            raise InvalidArgumentError(
                f"There is a gradient for {name!r}, but the parameters or the state do not know that name",
                fix="Make the state with init(parameters) from the parameters that are being trained.",
                value=name,
            )
        if gradient.shape != parameters[name].shape or gradient.shape != state[_FIRST + name].shape:
            raise InvalidArgumentError(
                f"The gradient of {name!r} has shape {gradient.shape}, its parameter {parameters[name].shape} "
                f"and its moments {state[_FIRST + name].shape}",
                fix="Give gradients, parameters and state of the same model.",
                value=gradient.shape,
            )
