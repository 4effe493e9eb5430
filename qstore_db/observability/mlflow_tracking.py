"""Training runs in an MLflow tracking store: while they train, or afterwards.

The only file that imports MLflow (about three seconds). An MLflow run has

- parameters: ``model.*`` from the specification, ``training.*`` from the options;
- metrics ``epoch/…`` with the epoch as their step and ``step/…`` with the step, as the table ``metrics`` has them;
- artefacts: ``circuits/epoch_00005.txt``, the circuit with the weights after that epoch; ``model/checkpoint.zip`` and
  ``model/specification.json``;
- tags: what was trained on what by which packages, and ``qstore.run``, by which a run is found again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from qstore_db.errors import AlreadyExistsError, InvalidArgumentError, MissingDependencyError, TrackingError
from qstore_db.observability.trained_drawing import trained_drawing
from qstore_db.training import checkpoints
from qstore_db.training.metrics import EPOCH_STEP, MetricRow, read_metrics
from qstore_db.training.progress import StepReport
from qstore_db.training.registry import Run, RunStatus, find_run, find_version
from storage_engine.engine import Engine

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from qstore_db.database import QuantumDatabase

RUN_TAG: Final = "qstore.run"
_ENDS: Final = {
    RunStatus.FINISHED: "FINISHED",
    RunStatus.FAILED: "FAILED",
    RunStatus.INTERRUPTED: "KILLED",
    RunStatus.OVER_BUDGET: "KILLED",
}
_NOT_METRICS: Final = frozenset({"run_id", "epoch", "step", "time", "target"})
_MOST_METRICS: Final = 1_000  # MLflow takes no more at once
_MOST_PARAMETERS: Final = 100

_Given = TypeVar("_Given")


class MlflowTracking:
    """A callback that writes each run it watches to MLflow as it trains.

        db.train("clothes", dataset="fashion", callbacks=[MlflowTracking(db, "sqlite:///mlflow.db", drawing_every=5)])

    Rows of epochs appear when an epoch ends, those of steps when the run does. A resumed run goes on in the MLflow run
    that it had, and gets the rows that are missing there. If MLflow fails, the run fails as after any error of a
    callback: it can be resumed.

    Args:
        database: Where the runs are.
        uri: Of the tracking store, such as ``sqlite:///mlflow.db``; MLflow has given up plain folders.
        experiment: Its name, made if it is missing; ``None`` is the model's name.
        artifacts: Where a new experiment keeps its artefacts, as a URI; ``None`` leaves that to MLflow.
        drawing_every: Draw the circuit every so many epochs, and at the end. Drawn are checkpoints, so it shows those
            epochs after which one was written (``checkpoint_every``). 0 draws nothing.

    Raises:
        MissingDependencyError: The extra ``mlflow`` is not installed.
        InvalidArgumentError: ``drawing_every`` is negative.
    """

    def __init__(
        self,
        database: QuantumDatabase,
        uri: str,
        *,
        experiment: str | None = None,
        artifacts: str | None = None,
        drawing_every: int = 1,
    ) -> None:
        if drawing_every < 0:
            raise InvalidArgumentError(
                f"drawing_every is {drawing_every}", fix="Give epochs, or 0 for no drawings.", value=drawing_every
            )
        self._engine = database._engine
        self._store = _Store(uri, artifacts)
        self._experiment = experiment
        self._drawing_every = drawing_every
        self._run_id = 0
        self._mlflow_run = ""
        self._drawn: set[int] = set()

    def started(self, run: Run, total_steps: int) -> None:
        """Find the MLflow run of a resumed run, or make one."""
        del total_steps
        self._run_id, self._drawn = run.id, set()
        found = self._store.find(run, self._experiment or run.model)
        self._mlflow_run = found or self._store.begin(self._engine, run, self._experiment or run.model)

    def stepped(self, report: StepReport) -> None:
        """Nothing: rows of steps are written at the end, as the table ``metrics`` has them."""

    def epoch_finished(self, row: MetricRow) -> None:
        """Write the epoch's row, and draw the newest checkpoint if it is its turn."""
        values = {name: getattr(row, name) for name in MetricRow.__dataclass_fields__ if name not in _NOT_METRICS}
        self._store.metrics(self._mlflow_run, _metrics(values, "epoch", row.time, row.epoch))
        self._draw(last=False)

    def finished(self, run: Run) -> None:
        """Write the rows of the steps, the last drawing and the model, and end the MLflow run."""
        self._draw(last=True)
        self._store.end(self._engine, run, self._mlflow_run)

    def _draw(self, *, last: bool) -> None:
        run = find_run(self._engine.snapshot(), self._run_id)
        epoch = run.epochs_done
        if not self._drawing_every or run.checkpoint is None or epoch in self._drawn:
            return
        if last or epoch % self._drawing_every == 0:
            self._drawn.add(epoch)
            self._store.draw(self._engine, run, self._mlflow_run)


def export_run(
    engine: Engine, run: Run, uri: str, *, experiment: str | None = None, artifacts: str | None = None
) -> str:
    """Write a run that has ended to MLflow; returns the id of the MLflow run.

    Args:
        engine: Where the run is.
        run: It.
        uri: As for :class:`MlflowTracking`.
        experiment: As there.
        artifacts: As there.

    Raises:
        MissingDependencyError: The extra ``mlflow`` is not installed.
        InvalidArgumentError: The run is still being trained.
        AlreadyExistsError: The experiment has it.
        TrackingError: MLflow failed.
    """
    if run.status is RunStatus.RUNNING:
        raise InvalidArgumentError(
            f"run {run.id} has not ended", fix="Wait, or train it with MlflowTracking as a callback.", value=run.id
        )
    store, name = _Store(uri, artifacts), experiment or run.model
    found = store.find(run, name)
    if found is not None:
        raise AlreadyExistsError(
            f"experiment {name!r} has run {run.id} already", fix=f"It is {found!r} there; delete it first.", value=found
        )
    made = store.begin(engine, run, name)
    store.draw(engine, run, made)
    store.end(engine, run, made)
    return made


class _Store:
    """A tracking store, with MLflow's errors as ours."""

    def __init__(self, uri: str, artifacts: str | None) -> None:
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            raise MissingDependencyError("mlflow is not installed", fix="pip install 'qstore-db[mlflow]'") from error
        self._artifacts = artifacts
        self._client: MlflowClient = _translated(lambda: MlflowClient(uri))

    def find(self, run: Run, experiment: str) -> str | None:
        """The MLflow run of a run, if there is one."""
        known = _translated(lambda: self._client.get_experiment_by_name(experiment))
        if known is None:
            return None
        condition = f"tags.`{RUN_TAG}` = '{_tag(run)}'"
        found = _translated(lambda: self._client.search_runs([known.experiment_id], condition, max_results=1))
        return str(found[0].info.run_id) if found else None

    def begin(self, engine: Engine, run: Run, experiment: str) -> str:
        """Make an MLflow run with parameters and tags."""
        from mlflow.entities import Param

        known = _translated(lambda: self._client.get_experiment_by_name(experiment))
        number = (
            _translated(lambda: self._client.create_experiment(experiment, self._artifacts))
            if known is None
            else known.experiment_id
        )
        tags = {RUN_TAG: _tag(run), "qstore.dataset_digest": run.dataset_digest, "qstore.host": run.host}
        tags |= {f"package.{name}": version for name, version in run.packages.items()}
        made = _translated(
            lambda: self._client.create_run(number, round(run.started_at * 1_000), tags, f"{run.model}, run {run.id}")
        )
        name = str(made.info.run_id)
        given = {
            "dataset": run.dataset,
            "dataset_version": run.dataset_version,
            **{f"training.{key}": value for key, value in run.options.to_json().items()},
            **{f"model.{key}": value for key, value in _specification(engine, run).items()},
        }
        parameters = [Param(key, _text(value)) for key, value in given.items() if value is not None]
        for part in _cut(parameters, _MOST_PARAMETERS):
            _translated(lambda part=part: self._client.log_batch(name, params=part))  # type: ignore[misc]
        return name

    def metrics(self, name: str, values: Sequence[tuple[str, float, int, int]]) -> None:
        """Write numbers: key, value, milliseconds since the epoch, step."""
        from mlflow.entities import Metric

        for part in _cut([Metric(*value) for value in values], _MOST_METRICS):
            _translated(lambda part=part: self._client.log_batch(name, metrics=part))  # type: ignore[misc]

    def draw(self, engine: Engine, run: Run, name: str) -> None:
        """Write the drawing of a run's newest checkpoint."""
        if run.checkpoint is None:
            return
        checkpoint = checkpoints.load(engine, run.checkpoint)
        text = trained_drawing(checkpoint.spec, checkpoint.state.parameters["circuit"])
        _translated(lambda: self._client.log_text(name, text + "\n", f"circuits/epoch_{run.epochs_done:05d}.txt"))

    def end(self, engine: Engine, run: Run, name: str) -> None:
        """Write the rows that MLflow does not have, the newest checkpoint, tags of the end; end the MLflow run."""
        epochs, steps = self._written(name, "epoch/train_loss"), self._written(name, "step/train_loss")
        values: list[tuple[str, float, int, int]] = []
        for row in read_metrics(engine, engine.snapshot(), run.id).to_pylist():
            prefix, place = ("epoch", row["epoch"]) if row["step"] == EPOCH_STEP else ("step", row["step"])
            if place not in (epochs if prefix == "epoch" else steps):
                values += _metrics(row, prefix, row["time"].timestamp(), place)
        self.metrics(name, values)
        if run.checkpoint is not None:
            content = engine.read_file(run.checkpoint.kind, run.checkpoint.name)
            self._file(name, "model/checkpoint.zip", content)
            specification = json.dumps(_specification(engine, run), indent=2).encode()
            self._file(name, "model/specification.json", specification)
        said = {"qstore.status": run.status.value, "qstore.version": run.version, "qstore.error": run.error}
        for key, value in said.items():
            if value is not None:
                _translated(lambda key=key, value=value: self._client.set_tag(name, key, str(value)))  # type: ignore[misc]
        ended = None if run.finished_at is None else round(run.finished_at * 1_000)
        _translated(lambda: self._client.set_terminated(name, _ENDS.get(run.status, "FAILED"), ended))

    def _written(self, name: str, key: str) -> set[int]:
        """Steps, in MLflow's sense, at which a metric was written."""
        return {one.step for one in _translated(lambda: self._client.get_metric_history(name, key))}

    def _file(self, name: str, path: str, content: bytes) -> None:
        import tempfile
        from pathlib import Path

        folder, _, file = path.rpartition("/")
        with tempfile.TemporaryDirectory() as place:
            local = Path(place) / file
            local.write_bytes(content)
            _translated(lambda: self._client.log_artifact(name, str(local), folder))


def _translated(call: Callable[[], _Given]) -> _Given:
    from mlflow.exceptions import MlflowException

    try:
        return call()
    except (MlflowException, OSError) as error:  # of files, MLflow passes on what the system says
        raise TrackingError(
            f"MLflow failed: {error}", fix="Check the tracking store; the run can be resumed."
        ) from error


def _tag(run: Run) -> str:
    """Tells a run from those of other databases with the same number."""
    return f"{run.model_uuid}/{run.id}"


def _specification(engine: Engine, run: Run) -> dict[str, Any]:
    return dict(find_version(engine.snapshot(), run.model, run.parent_version).spec.to_json())


def _metrics(row: Mapping[str, Any], prefix: str, seconds: float, step: int) -> list[tuple[str, float, int, int]]:
    when = round(seconds * 1_000)
    found: list[tuple[str, float, int, int]] = []
    for name, value in row.items():
        if name in _NOT_METRICS or value is None:
            continue
        if isinstance(value, list | tuple):
            found += [(f"{prefix}/{name}/{place}", float(one), when, step) for place, one in enumerate(value)]
        else:
            found.append((f"{prefix}/{name}", float(value), when, step))
    return found


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _cut(values: list[_Given], most: int) -> Iterator[list[_Given]]:
    for start in range(0, len(values), most):
        yield values[start : start + most]
