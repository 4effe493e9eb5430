"""Optimizers by the names that users give them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from qstore_db.errors import InvalidArgumentError
from qstore_db.optimizers.adam import Adam
from qstore_db.optimizers.optimizer import Optimizer

OPTIMIZERS: Mapping[str, Callable[[float], Optimizer]] = {"adam": Adam}
"""Name to a function from the learning rate to an optimizer."""


def optimizer_named(name: str, *, learning_rate: float) -> Optimizer:
    """The optimizer of that name, its other settings at their defaults.

    Raises:
        InvalidArgumentError: There is none of that name, or the learning rate is out of range.

    Example:
        >>> optimizer_named("adam", learning_rate=0.01)
        Adam(learning_rate=0.01, beta1=0.9, beta2=0.999, epsilon=1e-08)
    """
    make = OPTIMIZERS.get(name)
    if make is None:
        raise InvalidArgumentError(
            f"There is no optimizer {name!r}", fix=f"Use one of {', '.join(sorted(OPTIMIZERS))}.", value=name
        )
    return make(learning_rate)
