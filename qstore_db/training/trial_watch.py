"""What watches the run of a trial: it passes on what happens, and stops what has fallen behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from qstore_db.hyperparameters.observation import Observation
from qstore_db.hyperparameters.pruning import Pruner
from qstore_db.training.metrics import MetricRow
from qstore_db.training.progress import Silence, StepReport, TrainingProgress
from qstore_db.training.registry import Run
from qstore_db.training.studies import Study

MakeProgress = Callable[[], TrainingProgress | None]
"""Makes what else watches one run; ``None`` where nothing does."""


class TrialWatch:
    """Passes on what happens to a run, and stops it where it has fallen behind or the search is to stop.

    Args:
        study: Of the trial.
        pruner: Says when it has fallen behind.
        seen: The trials that are over.
        progress: Makes what else watches it.
        stop: Set when the search is to stop.
        values: Of the objective, for the epochs before.

    Attributes:
        fell_behind: Whether the pruner has stopped it.
    """

    def __init__(
        self,
        study: Study,
        pruner: Pruner | None,
        seen: Sequence[Observation],
        progress: MakeProgress | None,
        stop: threading.Event,
        values: Sequence[float],
    ) -> None:
        self.fell_behind = False
        self._study = study
        self._pruner = pruner
        self._seen = seen
        self._shown: TrainingProgress = (progress() if progress else None) or Silence()
        self._stop = stop
        self._epochs = 0
        self._costs = [study.cost(value) for value in values]

    def has_fallen_behind(self, epochs: int) -> bool:
        """Whether the pruner stops it after the epochs so far, of ``epochs``."""
        if self._pruner is not None and 0 < len(self._costs) < epochs:
            self.fell_behind = self._pruner.stops(self._costs, self._seen)
        return self.fell_behind

    def started(self, run: Run, total_steps: int) -> None:
        """See :class:`~qstore_db.training.progress.TrainingProgress`."""
        self._epochs = run.options.epochs
        self._shown.started(run, total_steps)

    def stepped(self, report: StepReport) -> None:
        """The same; stops the run where the search is to stop."""
        self._shown.stepped(report)
        if self._stop.is_set():
            raise KeyboardInterrupt

    def epoch_finished(self, row: MetricRow) -> None:
        """The same; stops the run where it has fallen behind."""
        self._shown.epoch_finished(row)
        value = getattr(row, self._study.objective)
        if value is not None:
            self._costs.append(self._study.cost(value))
        if self.has_fallen_behind(self._epochs):
            raise KeyboardInterrupt

    def finished(self, run: Run) -> None:
        """See :class:`~qstore_db.training.progress.TrainingProgress`."""
        self._shown.finished(run)
