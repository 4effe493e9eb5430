"""Samplers of Optuna, asked anew for each trial with a study in memory that is filled with what was seen.

The tree-structured Parzen estimator models where good and bad trials lie, name by name (Bergstra et al. 2011,
papers.nips.cc/paper/4443); the Gaussian process models the cost and suggests where the expected improvement is largest.
Both draw their first trials at random.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from qstore_db.errors import MissingDependencyError
from qstore_db.hyperparameters.observation import Observation, Outcome
from qstore_db.hyperparameters.space import Choice, Dimension, Space, Value, seed_for


@dataclass(frozen=True, slots=True)
class ParzenEstimator:
    """Optuna's ``TPESampler``. Trials that failed are not learned from; those that were pruned are.

    Args:
        random_trials: How many are drawn at random first.
    """

    random_trials: int = 10

    def check(self, space: Space) -> None:
        """See :class:`~qstore_db.hyperparameters.sampling.Sampler`."""
        _require("optuna")

    def suggest(self, space: Space, seen: Sequence[Observation], number: int, seed: int) -> dict[str, Value]:
        """See :class:`~qstore_db.hyperparameters.sampling.Sampler`."""
        import optuna

        sampler = optuna.samplers.TPESampler(n_startup_trials=self.random_trials, seed=seed_for(seed, number))
        return _asked(sampler, space, seen)


@dataclass(frozen=True, slots=True)
class GaussianProcess:
    """Optuna's ``GPSampler``; it needs PyTorch and SciPy beside Optuna. Only finished trials are learned from.

    Args:
        random_trials: How many are drawn at random first.
    """

    random_trials: int = 10

    def check(self, space: Space) -> None:
        """See :class:`~qstore_db.hyperparameters.sampling.Sampler`."""
        for package in ("optuna", "torch", "scipy"):
            _require(package)

    def suggest(self, space: Space, seen: Sequence[Observation], number: int, seed: int) -> dict[str, Value]:
        """See :class:`~qstore_db.hyperparameters.sampling.Sampler`."""
        import optuna

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # it says so itself on its page
            sampler = optuna.samplers.GPSampler(
                n_startup_trials=self.random_trials, seed=seed_for(seed, number), deterministic_objective=True
            )
        return _asked(sampler, space, seen)


def _require(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        named = "'qstore-db[search]'" if package == "optuna" else f"{package} (beside 'qstore-db[search]')"
        raise MissingDependencyError(
            f"{package} is not installed", fix=f"pip install {named}, or use the sampler 'random'.", value=package
        )


def _asked(sampler: Any, space: Space, seen: Sequence[Observation]) -> dict[str, Value]:
    import optuna

    with _without_announcement():
        study = optuna.create_study(sampler=sampler)
    distributions = {dimension.name: _distribution(dimension) for dimension in space.dimensions}
    states = {
        Outcome.FINISHED: optuna.trial.TrialState.COMPLETE,
        Outcome.PRUNED: optuna.trial.TrialState.PRUNED,
        Outcome.FAILED: optuna.trial.TrialState.FAIL,
    }
    for one in seen:
        if one.outcome in states:  # trials that are running are unknown to it
            study.add_trial(
                optuna.trial.create_trial(
                    state=states[one.outcome],
                    params=dict(one.settings),
                    distributions=distributions,
                    value=one.cost if one.outcome is Outcome.FINISHED else None,
                    intermediate_values=dict(enumerate(one.epoch_costs, start=1)),
                )
            )
    suggested = study.ask(distributions).params
    return {name: suggested[name] for name in space.names}


def _distribution(dimension: Dimension) -> Any:
    import optuna

    if isinstance(dimension, Choice):
        return optuna.distributions.CategoricalDistribution(dimension.values)
    make: Callable[..., Any] = optuna.distributions.FloatDistribution
    if dimension.whole:
        step = 1 if dimension.step is None else int(dimension.step)
        # Optuna counts whole steps from low; a range that ends between two is cut to the last one.
        high = int(dimension.low) + (int(dimension.high) - int(dimension.low)) // step * step
        return optuna.distributions.IntDistribution(int(dimension.low), high, log=dimension.log, step=step)
    if dimension.step is not None:
        last = dimension.levels(dimension.count or 1)[-1]
        return make(dimension.low, last, step=dimension.step)
    return make(dimension.low, dimension.high, log=dimension.log)


@contextlib.contextmanager
def _without_announcement() -> Iterator[None]:
    # A study in memory is announced as if somebody had asked for one.
    logger = logging.getLogger("optuna.storages._in_memory")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
