"""Steps along a direction: θ ← θ − rate · direction(gradient)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qstore_db.optimizers.optimizer import Arrays, Transformation
from qstore_db.optimizers.plateau import Plateau
from qstore_db.optimizers.schedules import Constant, Schedule

_STEP: Final = "rate/step"


def stepped(
    parameters: Mapping[str, NDArray[np.float64]], updates: Mapping[str, NDArray[np.float64]], rate: float
) -> Arrays:
    """θ − rate · u for every parameter with an update u, the others as they are."""
    moved = dict(parameters)
    for name, update in updates.items():
        moved[name] = parameters[name] - rate * update
    return moved


@dataclass(frozen=True, slots=True)
class Descent:
    """An optimizer from a direction, a schedule of rates, and a watch over the loss.

    The state is that of the direction, and with a schedule that is not constant ``rate/step`` of shape (1,), the
    number of steps taken, and with a plateau what :class:`Plateau` keeps.

    Args:
        direction: What gradients are turned into; ``chain(…)`` for several transformations.
        schedule: The rate of each step.
        plateau: Lowers the rate when the loss of an epoch no longer falls.

    Example:
        >>> from qstore_db.optimizers.sgd import Momentum
        >>> from qstore_db.optimizers.schedules import StepDecay
        >>> halving = Descent(Momentum(0.0), StepDecay(0.5, every=1, factor=0.5))
        >>> point, state = {"w": np.array([1.0])}, halving.init({"w": np.array([1.0])})
        >>> for _ in range(2):
        ...     point, state = halving.update({"w": np.array([1.0])}, state, point)
        >>> point["w"].tolist(), halving.rate(state)
        ([0.25], 0.125)
    """

    direction: Transformation
    schedule: Schedule
    plateau: Plateau | None = None

    def init(self, parameters: Mapping[str, NDArray[np.float64]]) -> Arrays:
        """The state before the first step."""
        state = self.direction.init(parameters)
        if not isinstance(self.schedule, Constant):
            state[_STEP] = np.zeros(1)
        return state if self.plateau is None else state | self.plateau.init()

    def rate(self, state: Mapping[str, NDArray[np.float64]], *, taken: int = 0) -> float:
        """The rate of the next step.

        Args:
            state: Before that step.
            taken: 1 for the rate of the step that led to the state, if no epoch ended since.
        """
        step = round(float(state[_STEP][0])) if _STEP in state else taken
        rate = self.schedule.rate(max(0, step - taken))
        return rate if self.plateau is None else rate * self.plateau.factor_in(state)

    def update(
        self,
        gradients: Mapping[str, NDArray[np.float64]],
        state: Mapping[str, NDArray[np.float64]],
        parameters: Mapping[str, NDArray[np.float64]],
    ) -> tuple[Arrays, Arrays]:
        """Parameters and state after one step, as new arrays.

        Raises:
            InvalidArgumentError: Gradients, parameters and state do not belong to one another.
        """
        updates, advanced = self.direction.update(gradients, state, parameters)
        moved = stepped(parameters, updates, self.rate(state))
        if _STEP in advanced:
            advanced[_STEP] = advanced[_STEP] + 1.0
        return moved, advanced

    def observe(self, loss: float, state: Mapping[str, NDArray[np.float64]]) -> Arrays:
        """The state after an epoch that ended with this loss; the same where there is no plateau."""
        return dict(state) if self.plateau is None else self.plateau.observe(loss, state)


class FixedRate(ABC):
    """An optimizer with one rate for all steps: a direction and a number."""

    __slots__ = ()

    learning_rate: float

    @property
    @abstractmethod
    def direction(self) -> Transformation:
        """What gradients are turned into."""

    def init(self, parameters: Mapping[str, NDArray[np.float64]]) -> Arrays:
        """The state before the first step."""
        return self.direction.init(parameters)

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
            New parameters and the new state. Nothing is changed in place; a parameter without a gradient stays.

        Raises:
            InvalidArgumentError: A gradient has no parameter, another shape, or no moments in the state.
        """
        updates, advanced = self.direction.update(gradients, state, parameters)
        return stepped(parameters, updates, self.learning_rate), advanced
