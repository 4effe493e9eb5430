"""What the trainer asks of an optimizer, and the parts that an optimizer is composed of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import InvalidArgumentError

Arrays: TypeAlias = dict[str, NDArray[np.float64]]
"""Float64 arrays by name: parameters, gradients, or the state of an optimizer."""


class Transformation(Protocol):
    """A pure function from gradients to other arrays of the same names and shapes, with a state of its own.

    Transformations compose: :func:`qstore_db.optimizers.chain.chain` feeds what one returns to the next, and
    :class:`qstore_db.optimizers.descent.Descent` subtracts what the last one returns, times a rate, from the
    parameters. Arrays that come in are never changed in place. The state is arrays by name and nothing else.
    """

    def init(self, parameters: Mapping[str, NDArray[np.float64]]) -> Arrays:
        """The state before the first step."""
        ...

    def update(
        self,
        updates: Mapping[str, NDArray[np.float64]],
        state: Mapping[str, NDArray[np.float64]],
        parameters: Mapping[str, NDArray[np.float64]],
    ) -> tuple[Arrays, Arrays]:
        """Transformed updates and the new state; a name without an update gets none."""
        ...


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


def check_gradients(
    gradients: Mapping[str, NDArray[np.float64]],
    parameters: Mapping[str, NDArray[np.float64]],
    state: Mapping[str, NDArray[np.float64]],
    kept: Sequence[str] = (),
) -> None:
    """Check that gradients, parameters and moments belong to one another.

    Args:
        gradients: By parameter.
        parameters: By name.
        state: Of a transformation.
        kept: Prefixes under which the state keeps an array for each parameter.

    Raises:
        InvalidArgumentError: A gradient has no parameter, another shape, or no moments in the state.
    """
    for name, gradient in gradients.items():
        if name not in parameters or any(prefix + name not in state for prefix in kept):
            raise InvalidArgumentError(
                f"There is a gradient for {name!r}, but the parameters or the state do not know that name",
                fix="Make the state with init(parameters) from the parameters that are being trained.",
                value=name,
            )
        shapes = [state[prefix + name].shape for prefix in kept]
        if any(gradient.shape != shape for shape in (parameters[name].shape, *shapes)):
            raise InvalidArgumentError(
                f"The gradient of {name!r} has shape {gradient.shape}, its parameter {parameters[name].shape}"
                + (f" and its moments {shapes[0]}" if shapes else ""),
                fix="Give gradients, parameters and state of the same model.",
                value=gradient.shape,
            )
