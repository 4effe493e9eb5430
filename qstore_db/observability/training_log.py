"""Training runs as records of the logger ``qstore_db.training``."""

from __future__ import annotations

import logging
from typing import Final

from qstore_db.training.metrics import MetricRow
from qstore_db.training.progress import StepReport
from qstore_db.training.registry import Run, RunStatus

_LOGGER: Final = logging.getLogger("qstore_db.training")


class TrainingLog:
    """A callback that logs the begin, every epoch and the end of a run.

        db.train("clothes", dataset="fashion", callbacks=[TrainingLog()])

    The level is INFO; ERROR for a run that failed, WARNING for one that was stopped.
    """

    def started(self, run: Run, total_steps: int) -> None:
        """Log what begins."""
        _LOGGER.info(
            "run %d of model %s started", run.id, run.model,
            extra={"run_id": run.id, "model": run.model, "dataset": run.dataset, "backend": run.options.backend,
                   "steps_done": run.steps_done, "total_steps": total_steps},
        )  # fmt: skip

    def stepped(self, report: StepReport) -> None:
        """Nothing: the table ``metrics`` has every step."""

    def epoch_finished(self, row: MetricRow) -> None:
        """Log the epoch's numbers."""
        numbers = {
            name: getattr(row, name)
            for name in (
                "train_loss",
                "train_accuracy",
                "validation_loss",
                "validation_accuracy",
                "seconds",
                "circuits",
            )
        }
        found = {name: value for name, value in numbers.items() if value is not None}
        _LOGGER.info(
            "epoch %d of run %d finished", row.epoch, row.run_id,
            extra={"run_id": row.run_id, "epoch": row.epoch, **found},
        )  # fmt: skip

    def finished(self, run: Run) -> None:
        """Log how it ended."""
        level = {RunStatus.FINISHED: logging.INFO, RunStatus.FAILED: logging.ERROR}.get(run.status, logging.WARNING)
        _LOGGER.log(
            level, "run %d of model %s: %s", run.id, run.model, run.status.value,
            extra={"run_id": run.id, "model": run.model, "status": run.status.value, "version": run.version,
                   "epochs_done": run.epochs_done, "seconds": run.seconds, "cause": run.error},
        )  # fmt: skip
