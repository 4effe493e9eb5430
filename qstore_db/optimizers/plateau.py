"""A rate that falls when the loss no longer does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qstore_db.optimizers.optimizer import Arrays
from qstore_db.optimizers.settings import check_count, check_decay, check_factor

_FACTOR: Final = "plateau/factor"
_BEST: Final = "plateau/best"
_WAITED: Final = "plateau/waited"


@dataclass(frozen=True, slots=True)
class Plateau:
    """After ``patience`` epochs in a row without improvement the rate is multiplied by ``factor``.

    Waiting then begins anew.     An epoch improves when its loss is below best − threshold · |best|; the first one
    does, and a loss that is no number never does. The state holds ``plateau/factor``, ``plateau/best`` and
    ``plateau/waited``, each of shape (1,).

    Args:
        factor: In (0, 1].
        patience: Epochs, at least 1.
        threshold: Relative improvement that counts, in [0, 1).

    Raises:
        InvalidArgumentError: A number is out of range.

    Example:
        >>> watch = Plateau(factor=0.5, patience=2)
        >>> state = watch.init()
        >>> for loss in (1.0, 1.0, 1.0):
        ...     state = watch.observe(loss, state)
        >>> watch.factor_in(state)
        0.5
    """

    factor: float = 0.5
    patience: int = 3
    threshold: float = 1e-4

    def __post_init__(self) -> None:
        check_factor("The plateau", "factor", self.factor)
        check_count("The plateau", "patience", self.patience)
        check_decay("The plateau", "threshold", self.threshold)

    def init(self) -> Arrays:
        """The state before the first epoch."""
        return {_FACTOR: np.ones(1), _BEST: np.full(1, np.inf), _WAITED: np.zeros(1)}

    def factor_in(self, state: Mapping[str, NDArray[np.float64]]) -> float:
        """What rates are multiplied by at that state."""
        return float(state[_FACTOR][0])

    def observe(self, loss: float, state: Mapping[str, NDArray[np.float64]]) -> Arrays:
        """The state after an epoch of that loss; all else in it is kept."""
        best, waited = float(state[_BEST][0]), float(state[_WAITED][0])
        seen = dict(state)
        bound = best - self.threshold * abs(best) if np.isfinite(best) else best
        if loss < bound:
            return seen | {_BEST: np.full(1, loss), _WAITED: np.zeros(1)}
        if waited + 1 < self.patience:
            return seen | {_WAITED: np.full(1, waited + 1)}
        return seen | {_FACTOR: state[_FACTOR] * self.factor, _WAITED: np.zeros(1)}
