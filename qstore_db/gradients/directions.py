"""Random directions of ±1, and checks of what they are used with."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import InvalidArgumentError


def check_directions(step: float, directions: int) -> None:
    """Refuse a step that is no positive number and a number of directions below 1.

    Raises:
        InvalidArgumentError: One of them is.
    """
    if isinstance(step, bool) or not isinstance(step, int | float) or not (math.isfinite(step) and step > 0):
        raise InvalidArgumentError(f"the step {step!r} is not a positive number", fix="Use 0.1.", value=step)
    if isinstance(directions, bool) or not isinstance(directions, int) or directions < 1:
        raise InvalidArgumentError(
            f"{directions!r} directions are not an integer from 1 on", fix="Use 1 or more.", value=directions
        )


def random_signs(seed: int, number: int, directions: int, size: int) -> NDArray[np.float64]:
    """Elements ±1, shape (directions, size), from a seed and the number of a step: repeatable at any step."""
    bits = np.random.default_rng((seed, number)).integers(0, 2, (directions, size))
    return bits.astype(np.float64) * 2.0 - 1.0
