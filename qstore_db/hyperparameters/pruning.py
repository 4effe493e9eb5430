"""Stopping trials that fall behind, by their costs after each epoch and those of the trials before them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from qstore_db.errors import InvalidArgumentError
from qstore_db.hyperparameters.observation import Observation, Outcome


class Pruner(Protocol):
    """Says whether a trial should stop."""

    def stops(self, costs: Sequence[float], seen: Sequence[Observation]) -> bool:
        """Whether to stop.

        Args:
            costs: Of the trial after each of its epochs so far, at least one.
            seen: The trials before it.
        """
        ...


@dataclass(frozen=True, slots=True)
class Median:
    """Stops a trial whose best cost so far is above the median of the mean costs of the others up to that epoch.

    The rule is section 3.2.2 of Golovin et al. 2017 (doi 10.1145/3097983.3098043). It waits for a number of finished
    trials.

    Args:
        trials: How many.
    """

    trials: int = 5

    def stops(self, costs: Sequence[float], seen: Sequence[Observation]) -> bool:
        """See :class:`Pruner`."""
        epoch = len(costs)
        means = [
            sum(one.epoch_costs[:epoch]) / epoch
            for one in seen
            if one.outcome is Outcome.FINISHED and len(one.epoch_costs) >= epoch
        ]
        return len(means) >= self.trials and min(costs) > median(means)


@dataclass(frozen=True, slots=True)
class SuccessiveHalving:
    """After epochs 1, 3, 9, … only a trial among the best third of those that came so far goes on.

    Asynchronous successive halving (Li et al. 2020, arXiv:1810.05934), where a trial is not taken up again once it was
    stopped. The first trials go on until three have reached the epoch.

    Args:
        factor: Of the epochs, and of the share that goes on.
    """

    factor: int = 3

    def stops(self, costs: Sequence[float], seen: Sequence[Observation]) -> bool:
        """See :class:`Pruner`."""
        epoch = len(costs)
        rung = 1
        while rung < epoch:
            rung *= self.factor
        if rung != epoch:
            return False
        reached = [one.epoch_costs[epoch - 1] for one in seen if len(one.epoch_costs) >= epoch]
        if len(reached) + 1 < self.factor:
            return False
        better = sum(cost < costs[-1] for cost in reached)
        return better >= (len(reached) + 1) // self.factor


PRUNERS: Mapping[str, Callable[[], Pruner]] = {"median": Median, "halving": SuccessiveHalving}
"""All pruners by name."""


def pruner_named(name: object) -> Pruner | None:
    """The pruner of that name; ``None`` for ``None``.

    Raises:
        InvalidArgumentError: There is none.
    """
    if name is None:
        return None
    if not isinstance(name, str) or name not in PRUNERS:
        raise InvalidArgumentError(f"There is no pruner {name!r}", fix=f"Use one of {', '.join(PRUNERS)}.", value=name)
    return PRUNERS[name]()
