"""The best epoch of a run so far: its parameters, and whether it was long enough ago to stop."""

from __future__ import annotations

from dataclasses import dataclass

from qstore_db.optimizers.optimizer import Arrays
from qstore_db.training.options import TrainingOptions
from qstore_db.training.registry import Scores


@dataclass(frozen=True, slots=True, eq=False)
class BestEpoch:
    """What is kept of the best epoch; part of a run's state, so that a resumed run stops and ends the same.

    Args:
        epoch: Its number, from 1.
        value: Of what was monitored.
        parameters: At its end.
        scores: Of its row of metrics.
    """

    epoch: int
    value: float
    parameters: Arrays
    scores: Scores


def after_epoch(
    best: BestEpoch | None, options: TrainingOptions, *, epoch: int, parameters: Arrays, scores: Scores
) -> BestEpoch | None:
    """The best epoch once another one has ended; the earlier of equals. ``None`` where the options keep none.

    An accuracy improves when it rises by more than ``min_improvement``, a loss when it falls by more.
    """
    if not options.keeps_best:
        return None
    value = getattr(scores, options.monitored)
    if value is None:
        return best
    sign = 1.0 if options.monitored.endswith("accuracy") else -1.0
    if best is not None and not sign * (value - best.value) > (options.min_improvement or 0.0):
        return best
    return BestEpoch(epoch, value, parameters, scores)


def is_over(best: BestEpoch | None, options: TrainingOptions, *, epochs_done: int) -> bool:
    """Whether a run with these options ends after so many epochs."""
    if epochs_done >= options.epochs:
        return True
    if options.early_stopping is None or best is None:
        return False
    return epochs_done - best.epoch >= options.early_stopping
