"""A training run as its owner holds it: its facts, its metrics, its picture."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from qstore_db.errors import InvalidArgumentError, MissingDependencyError

if TYPE_CHECKING:
    from qstore_db.training.registry import Run
    from query.result import QueryResult
    from query.session import Session


class TrainingRun:
    """One run. ``record`` holds everything the registry knows of it."""

    def __init__(self, record: Run, session: Session) -> None:
        self.record = record
        self._session = session

    @property
    def id(self) -> int:
        """Its number, from 1."""
        return self.record.id

    @property
    def status(self) -> str:
        """``running``, ``finished``, ``interrupted`` or ``failed``."""
        return self.record.status.value

    def __repr__(self) -> str:
        scores = self.record.scores
        shown = f", train accuracy {scores.train_accuracy:.4f}" if scores.train_accuracy is not None else ""
        return f"TrainingRun({self.id}, model {self.record.model!r}, {self.status}{shown})"

    def metrics(self, *, steps: bool = False) -> QueryResult:
        """One row per epoch, in order; with ``steps`` one row per step as well."""
        condition = "" if steps else " AND step = -1"
        return self._session.execute(
            f"SELECT * FROM metrics WHERE run_id = $run{condition} ORDER BY epoch, step = -1, step",  # noqa: S608 - ours
            {"run": self.id},
        )

    def plot(self, path: str | os.PathLike[str]) -> Path:
        """Draw loss and accuracy per epoch into a picture file; the suffix says which kind.

        Raises:
            MissingDependencyError: matplotlib is not installed.
            InvalidArgumentError: No epoch has finished yet.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingDependencyError("matplotlib is not installed", fix="pip install 'qstore-db[demo]'") from error
        rows = self.metrics().arrow()
        if not rows.num_rows:
            raise InvalidArgumentError(
                f"run {self.id} has finished no epoch yet", fix="train it further", value=self.id
            )
        epochs = rows.column("epoch").to_pylist()
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        loss, accuracy = figure.subplots(1, 2)
        for axes, name in ((loss, "loss"), (accuracy, "accuracy")):
            for part, style in (("train", "-"), ("validation", "--")):
                values = rows.column(f"{part}_{name}").to_pylist()
                if any(value is not None for value in values):
                    axes.plot(epochs, values, style, marker="." if len(epochs) < 30 else "", label=part)
            axes.set(xlabel="epoch", title=name)
            axes.grid(alpha=0.3)
            axes.legend()
        loss.set_ylabel("cross-entropy, nats")
        figure.suptitle(f"{self.record.model}, run {self.id}: {self.record.dataset}, {self.record.rows:,} rows")
        figure.savefig(path, dpi=120)
        return Path(path)
