"""Decoupled weight decay: a pull towards zero that is added to the direction, not to the gradient.

Source: I. Loshchilov and F. Hutter, "Decoupled Weight Decay Regularization", ICLR 2019. For gradient descent without
momentum it equals an L2 penalty λ/2 · ‖θ‖² in the loss; for methods that scale gradients it does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qstore_db.optimizers.optimizer import Arrays, check_gradients
from qstore_db.optimizers.settings import check_not_negative


@dataclass(frozen=True, slots=True)
class AddDecayedWeights:
    """u ← u + λ θ for every parameter that has an update. Without a state.

    Args:
        weight_decay: λ ≥ 0, per unit of the rate.

    Raises:
        InvalidArgumentError: λ is negative or not finite.
    """

    weight_decay: float

    def __post_init__(self) -> None:
        check_not_negative("The decay", "weight_decay", self.weight_decay)

    def init(self, parameters: Mapping[str, NDArray[np.float64]]) -> Arrays:
        """No state."""
        return {}

    def update(
        self,
        updates: Mapping[str, NDArray[np.float64]],
        state: Mapping[str, NDArray[np.float64]],
        parameters: Mapping[str, NDArray[np.float64]],
    ) -> tuple[Arrays, Arrays]:
        """Updates with the pull added.

        Raises:
            InvalidArgumentError: An update has no parameter or another shape.
        """
        check_gradients(updates, parameters, state)
        return {name: update + self.weight_decay * parameters[name] for name, update in updates.items()}, dict(state)
