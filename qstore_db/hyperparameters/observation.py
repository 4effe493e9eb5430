"""What a search has seen: settings, and what came of them."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from qstore_db.hyperparameters.space import Settings


class Outcome(enum.StrEnum):
    """What became of a trial.

    ``PRUNED``: stopped, because it fell behind. ``FAILED``: its settings cannot be trained.
    """

    RUNNING = "running"
    FINISHED = "finished"
    PRUNED = "pruned"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Observation:
    """One trial, as samplers and pruners see it.

    Args:
        settings: What was tried.
        outcome: What became of it.
        cost: What is made small; ``None`` where it has none.
        epoch_costs: The same after each epoch, as far as it came.
    """

    settings: Settings
    outcome: Outcome
    cost: float | None = None
    epoch_costs: tuple[float, ...] = ()
