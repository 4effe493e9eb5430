"""Searches without gradients: which points to evaluate, and where to go from their values.

A search never calls the objective. ``ask`` names points, whoever can run circuits evaluates them in one batch, and
``tell`` turns the values into the next state. The state is arrays by name, and every random number is drawn from the
search's seed and the number of the round, so that a search that is continued from a stored state takes bit for bit
the way it would have taken.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.errors import InvalidArgumentError
from qstore_db.optimizers.optimizer import Arrays
from qstore_db.optimizers.settings import check_count

POINT: Final = "point"
ROUND: Final = "round"


class Search(Protocol):
    """Pure functions from a state to points, and from their values to a state. The objective is made small."""

    def init(self, point: ArrayLike) -> Arrays:
        """The state at a start point of shape (n,)."""
        ...

    def ask(self, state: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """The points whose values the round needs, shape (m, n); equal states give equal points."""
        ...

    def tell(self, state: Mapping[str, NDArray[np.float64]], values: ArrayLike) -> Arrays:
        """The next state, from the values (m,) of what :meth:`ask` returned for ``state``."""
        ...

    def is_done(self, state: Mapping[str, NDArray[np.float64]]) -> bool:
        """Whether the search has come to its own end."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Where a search ended.

    Args:
        point: Shape (n,).
        state: Continues the search.
        evaluations: Points whose value was asked for.
    """

    point: NDArray[np.float64]
    state: Arrays
    evaluations: int


def minimize(
    search: Search,
    objective: Callable[[NDArray[np.float64]], ArrayLike],
    start: ArrayLike | None = None,
    *,
    rounds: int,
    state: Mapping[str, NDArray[np.float64]] | None = None,
) -> Found:
    """Run a search for some rounds, or until it ends by itself.

    Args:
        search: How.
        objective: Points (m, n) to values (m,).
        start: Shape (n,), unless ``state`` is given.
        rounds: At most so many.
        state: Of an earlier call, to continue from.

    Returns:
        The point where the search stands, and its state.

    Raises:
        InvalidArgumentError: Neither or both of ``start`` and ``state`` are given, ``rounds`` is not an integer from
            1 on, or the objective gave a value that is not finite or another number of values.

    Example:
        >>> from qstore_db.optimizers.spsa import Spsa
        >>> found = minimize(Spsa(gain=0.2), lambda points: (points**2).sum(axis=1), [1.0, -1.0], rounds=100)
        >>> bool(np.abs(found.point).max() < 0.05), found.evaluations
        (True, 200)
    """
    check_count("The search", "rounds", rounds)
    if (start is None) == (state is None):
        raise InvalidArgumentError(
            "A search begins at a point or continues from a state", fix="Give either start or state.", value=None
        )
    current: Arrays = dict(state) if state is not None else search.init(np.asarray(start, np.float64))
    evaluations = 0
    for _ in range(rounds):
        if search.is_done(current):
            break
        points = search.ask(current)
        current = search.tell(current, objective(points))
        evaluations += len(points)
    return Found(current[POINT].copy(), current, evaluations)


def checked_point(point: ArrayLike) -> NDArray[np.float64]:
    """A start point as float64 (n,).

    Raises:
        InvalidArgumentError: It is not a vector of at least one finite number.
    """
    given = np.array(point, np.float64)
    if given.ndim != 1 or not given.size or not np.isfinite(given).all():
        raise InvalidArgumentError(
            f"A start point of shape {given.shape} is no vector of finite numbers",
            fix="Give an array of shape (n,) of finite numbers.",
            value=given.shape,
        )
    return given


def checked_values(values: ArrayLike, count: int) -> NDArray[np.float64]:
    """The values of an objective as float64 (count,).

    Raises:
        InvalidArgumentError: There are more or fewer, or one is not finite.
    """
    given = np.asarray(values, np.float64)
    if given.shape != (count,) or not np.isfinite(given).all():
        raise InvalidArgumentError(
            f"The objective gave values of shape {given.shape} for {count} point(s), or one that is not finite",
            fix=f"Return {count} finite numbers.",
            value=given.shape,
        )
    return given


def round_of(state: Mapping[str, NDArray[np.float64]]) -> int:
    """How many rounds led to the state."""
    return round(float(state[ROUND][0]))
