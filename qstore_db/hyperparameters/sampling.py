"""What to try next.

A suggestion is a function of the space, what was seen before, the trial's number and the seed, and of nothing else: no
sampler keeps a state between two calls. A search that goes on after a crash therefore suggests what it would have
suggested without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from qstore_db.errors import InvalidArgumentError
from qstore_db.hyperparameters.observation import Observation
from qstore_db.hyperparameters.optuna_sampling import GaussianProcess, ParzenEstimator
from qstore_db.hyperparameters.space import Choice, Space, Value, generator_for
from qstore_db.hyperparameters.surrogate import AnnealedSurrogate


class Sampler(Protocol):
    """Suggests settings."""

    def check(self, space: Space) -> None:
        """Refuse a space that it cannot search, before anything runs.

        Raises:
            InvalidArgumentError: It cannot.
            MissingDependencyError: A package that it needs is not installed.
        """
        ...

    def suggest(self, space: Space, seen: Sequence[Observation], number: int, seed: int) -> dict[str, Value]:
        """Settings of a trial.

        Args:
            space: What may be varied.
            seen: The trials before it, in order.
            number: Of the trial, from 1.
            seed: Of the search.
        """
        ...


@dataclass(frozen=True, slots=True)
class Random:
    """Draws independently of what was seen (Bergstra and Bengio 2012, jmlr.org/papers/v13/bergstra12a.html)."""

    def check(self, space: Space) -> None:
        """Any space will do."""

    def suggest(self, space: Space, seen: Sequence[Observation], number: int, seed: int) -> dict[str, Value]:
        """See :class:`Sampler`."""
        return space.drawn(generator_for(seed, number))


@dataclass(frozen=True, slots=True)
class Grid:
    """Goes through all settings, the last name of the space fastest. A search ends when all were tried."""

    def check(self, space: Space) -> None:
        """See :class:`Sampler`.

        Raises:
            InvalidArgumentError: A range is a continuum.
        """
        for dimension in space.dimensions:
            if not isinstance(dimension, Choice) and dimension.count is None:
                raise InvalidArgumentError(
                    f"A grid cannot go through every {dimension.name} from {dimension.low} to {dimension.high}",
                    fix=f"Give choices for {dimension.name}, or a step.",
                    value=dimension.name,
                )

    def suggest(self, space: Space, seen: Sequence[Observation], number: int, seed: int) -> dict[str, Value]:
        """See :class:`Sampler`; ``number`` is at most ``space.points``."""
        position = number - 1
        settings: dict[str, Value] = {}
        for dimension in reversed(space.dimensions):
            values = dimension.values if isinstance(dimension, Choice) else dimension.levels(dimension.count or 1)
            position, place = divmod(position, len(values))
            settings[dimension.name] = values[place]
        return {name: settings[name] for name in space.names}


SAMPLERS: Mapping[str, Callable[[], Sampler]] = {
    "tpe": ParzenEstimator,
    "random": Random,
    "grid": Grid,
    "gp": GaussianProcess,
    "annealing": AnnealedSurrogate,
}
"""All samplers by name."""


def sampler_named(name: object) -> Sampler:
    """The sampler of that name.

    Raises:
        InvalidArgumentError: There is none.
    """
    if not isinstance(name, str) or name not in SAMPLERS:
        raise InvalidArgumentError(
            f"There is no sampler {name!r}", fix=f"Use one of {', '.join(SAMPLERS)}.", value=name
        )
    return SAMPLERS[name]()
