"""Gradient descent with momentum.

Source: I. Sutskever, J. Martens, G. Dahl and G. Hinton, "On the importance of initialization and momentum in deep
learning", ICML 2013, with the rate outside the velocity, so that a schedule acts at once on the whole step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import InvalidArgumentError
from qstore_db.optimizers.descent import FixedRate
from qstore_db.optimizers.optimizer import Arrays, Transformation, check_gradients
from qstore_db.optimizers.settings import check_decay, check_positive

_VELOCITY: Final = "velocity/"


@dataclass(frozen=True, slots=True)
class Momentum:
    """A velocity of gradients.

    With the gradient g::

        v ← μ v + g          u = v, or with Nesterov's look ahead u = g + μ v

    The state holds ``velocity/<name>`` for every parameter; none where μ is 0, and u = g.

    Args:
        momentum: μ in [0, 1).
        nesterov: Whether to look ahead.

    Raises:
        InvalidArgumentError: μ is out of range, or there is nothing to look ahead with because it is 0.
    """

    momentum: float = 0.9
    nesterov: bool = False

    def __post_init__(self) -> None:
        check_decay("SGD", "momentum", self.momentum)
        if self.nesterov and not self.momentum:
            raise InvalidArgumentError(
                "nesterov looks ahead along the momentum, which is 0",
                fix="Give momentum, for example 0.9, or leave nesterov out.",
                value=self.nesterov,
            )

    def init(self, parameters: Mapping[str, NDArray[np.float64]]) -> Arrays:
        """Zero velocities."""
        if not self.momentum:
            return {}
        return {_VELOCITY + name: np.zeros(value.shape) for name, value in parameters.items()}

    def update(
        self,
        updates: Mapping[str, NDArray[np.float64]],
        state: Mapping[str, NDArray[np.float64]],
        parameters: Mapping[str, NDArray[np.float64]],
    ) -> tuple[Arrays, Arrays]:
        """The direction u, and the velocities after the step.

        Raises:
            InvalidArgumentError: A gradient has no parameter, another shape, or no velocity in the state.
        """
        check_gradients(updates, parameters, state, (_VELOCITY,) if self.momentum else ())
        if not self.momentum:
            return dict(updates), dict(state)
        directed: Arrays = {}
        advanced = dict(state)
        for name, gradient in updates.items():
            velocity = self.momentum * state[_VELOCITY + name] + gradient
            advanced[_VELOCITY + name] = velocity
            directed[name] = gradient + self.momentum * velocity if self.nesterov else velocity
        return directed, advanced


@dataclass(frozen=True, slots=True)
class Sgd(FixedRate):
    """Gradient descent: θ ← θ − α u with the direction u of :class:`Momentum`, whose state it keeps.

    Args:
        learning_rate: α > 0.
        momentum: μ in [0, 1); 0 is plain gradient descent.
        nesterov: Whether to look ahead.

    Raises:
        InvalidArgumentError: A setting is out of range.

    Example:
        >>> Sgd(0.5).update({"w": np.ones(1)}, {}, {"w": np.zeros(1)})[0]["w"].tolist()
        [-0.5]
    """

    learning_rate: float = 0.01
    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        check_positive("SGD", "learning_rate", self.learning_rate)
        Momentum(self.momentum, self.nesterov)

    @property
    def direction(self) -> Transformation:
        """:class:`Momentum`."""
        return Momentum(self.momentum, self.nesterov)
