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
    from storage_engine.engine import Engine


class TrainingRun:
    """One run. ``record`` holds everything the registry knows of it."""

    def __init__(self, record: Run, session: Session, engine: Engine) -> None:
        self.record = record
        self._session = session
        self._engine = engine

    @property
    def id(self) -> int:
        """Its number, from 1."""
        return self.record.id

    @property
    def status(self) -> str:
        """``running``, ``finished``, ``interrupted``, ``failed`` or ``over_budget``."""
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

    def to_mlflow(self, uri: str, *, experiment: str | None = None, artifacts: str | None = None) -> str:
        """Write this run to an MLflow tracking store: parameters, metrics, drawing, checkpoint; docs/observability.md.

        Args:
            uri: Of the store, such as ``sqlite:///mlflow.db``.
            experiment: Its name, made if it is missing; ``None`` is the model's name.
            artifacts: Where a new experiment keeps its files, as a URI; ``None`` leaves that to MLflow.

        Returns:
            The id of the MLflow run.

        Raises:
            MissingDependencyError: The extra ``mlflow`` is not installed.
            InvalidArgumentError: The run is still being trained.
            AlreadyExistsError: The experiment has it.
            TrackingError: MLflow failed.
        """
        from qstore_db.observability.mlflow_tracking import export_run

        return export_run(self._engine, self.record, uri, experiment=experiment, artifacts=artifacts)

    def plot(self, path: str | os.PathLike[str]) -> Path:
        """Draw loss, and accuracy where there are classes, per epoch into a picture file; the suffix says which kind.

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
        counts = any(value is not None for value in rows.column("train_accuracy").to_pylist())
        names = ("loss", "accuracy") if counts else ("loss",)
        figure = Figure(figsize=(4.5 * len(names), 3.6), layout="constrained")
        drawn = figure.subplots(1, len(names), squeeze=False)[0]
        for axes, name in zip(drawn, names, strict=True):
            for part, style in (("train", "-"), ("validation", "--")):
                values = rows.column(f"{part}_{name}").to_pylist()
                if any(value is not None for value in values):
                    axes.plot(epochs, values, style, marker="." if len(epochs) < 30 else "", label=part)
            axes.set(xlabel="epoch", title=name)
            axes.grid(alpha=0.3)
            axes.legend()
        drawn[0].set_ylabel(_loss_label(self.record.options.loss, has_classes=counts))
        figure.suptitle(f"{self.record.model}, run {self.id}: {self.record.dataset}, {self.record.rows:,} rows")
        figure.savefig(path, dpi=120)
        return Path(path)


def _loss_label(name: str | None, *, has_classes: bool) -> str:
    if has_classes and name in {None, "cross_entropy"}:
        return "cross-entropy, nats"
    return "loss" if name is None else f"loss: {name}"
