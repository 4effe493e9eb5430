"""The loop of a run: batches → loss and gradient → step → metrics → checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from qstore_db.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    QStoreError,
    TrainingInterruptedError,
    UnknownModelError,
)
from qstore_db.models.classifier import Classifier
from qstore_db.models.losses import cross_entropy
from qstore_db.simulation.workers import spare_threads, two_threads
from qstore_db.training import checkpoints
from qstore_db.training.active_runs import in_training
from qstore_db.training.checkpoints import Checkpoint
from qstore_db.training.interruption import deferred_interrupt
from qstore_db.training.material import Features, Material, batches
from qstore_db.training.metrics import EPOCH_STEP, MetricRow, MetricsWriter, compaction, parts_of
from qstore_db.training.progress import StepReport, TrainingProgress
from qstore_db.training.recipe import executor_for, recipe_for
from qstore_db.training.registry import (
    ModelVersion,
    Run,
    RunStatus,
    Scores,
    find_model,
    find_version,
)
from qstore_db.training.step import StepResult, TrainState, advance, next_epoch, timed
from storage_engine.batch import AttachFile, DetachFile, FileReference, Operation, WriteBatch
from storage_engine.engine import Engine

_VALIDATION_ROWS = 1024
_REGISTRATION_ATTEMPTS = 16


@dataclass(frozen=True, slots=True)
class Validation:
    """Loss and accuracy on rows that are not trained on, and how many circuits it took to know."""

    loss: float | None = None
    accuracy: float | None = None
    circuits: int = 0


class TrainingLoop:
    """A run while it is being trained.

    Args:
        engine: The database.
        run: Its row, already committed with a checkpoint of ``state``.
        classifier: The model.
        material: The rows.
        features: Of the training rows.
        validation: Features of the validation rows, or ``None``.
        state: Where the run stands.
        progress: Called between steps.
        timer: A clock in seconds.
    """

    def __init__(
        self,
        engine: Engine,
        run: Run,
        classifier: Classifier,
        material: Material,
        features: Features,
        validation: Features | None,
        state: TrainState,
        progress: TrainingProgress,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._engine = engine
        self._run = run
        self._classifier = classifier
        self._recipe = recipe_for(run.options, classifier, len(material.rows))
        self._material = material
        self._features = features
        self._validation_features = validation
        self._state = state
        self._progress = progress
        self._timer = timer
        self._steps_per_epoch = -(-len(material.rows) // run.options.batch_size)

    def train(self) -> Run:
        """Train to the end; commit the new model version.

        Returns:
            The finished run.

        Raises:
            TrainingInterruptedError: Ctrl-C was pressed; the run is checkpointed where it stood.
            InvalidArgumentError: The loss is no longer a number.
        """
        parts = parts_of(self._engine.snapshot(), self._run.id)
        first_part = parts[-1].number + 1 if parts else 1
        with (
            in_training(self._engine, self._run.id),
            executor_for(self._run.options) as executor,
            deferred_interrupt() as interrupted,
            MetricsWriter(self._engine, self._run.id, first_part=first_part) as metrics,
            two_threads(self._run.options.threads or spare_threads()),
        ):
            self._recipe = replace(self._recipe, executor=executor)
            try:
                self._progress.started(self._run, self._run.options.epochs * self._steps_per_epoch)
                self._epochs(metrics, interrupted)
                metrics.flush()
                if interrupted():
                    raise KeyboardInterrupt
                self._finish()
            except KeyboardInterrupt:
                metrics.flush()
                self._checkpoint(RunStatus.INTERRUPTED)
                raise self._interruption() from None
            except Exception as error:
                self._record_failure(metrics, error)
                raise
            finally:
                self._progress.finished(self._run)
            if interrupted():
                raise KeyboardInterrupt  # pressed during the last commit: the run is finished, the caller is not
        return self._run

    def _epochs(self, metrics: MetricsWriter, interrupted: Callable[[], bool]) -> None:
        options = self._run.options
        while self._state.epoch <= options.epochs:
            epoch = self._state.epoch
            self._steps(metrics, interrupted)
            self._end_epoch(metrics, interrupted)
            if epoch % options.checkpoint_every == 0 and epoch < options.epochs:
                metrics.flush()
                self._checkpoint(RunStatus.RUNNING)

    def _steps(self, metrics: MetricsWriter, interrupted: Callable[[], bool]) -> None:
        done = self._state.sums.steps
        for positions in batches(len(self._features), self._run.options, epoch=self._state.epoch, done=done):
            if interrupted():
                raise KeyboardInterrupt
            began = self._timer()
            labels = self._material.labels[positions]
            moved, found = advance(self._classifier, self._recipe, self._state, self._features.at(positions), labels)
            if not found.is_finite:
                raise self._divergence(found)
            seconds = self._timer() - began
            # The row first: should anything stop us in between, resuming drops the row and takes the step again.
            metrics.append(self._step_row(found, len(labels), seconds))
            self._state = timed(moved, seconds)
            self._progress.stepped(self._report())

    def _end_epoch(self, metrics: MetricsWriter, interrupted: Callable[[], bool]) -> None:
        began = self._timer()
        validation = self._validate(interrupted)
        state, sums, optimizer = self._state, self._state.sums, self._recipe.optimizer
        seconds = sums.seconds + self._timer() - began
        row = MetricRow(
            run_id=self._run.id,
            epoch=state.epoch,
            step=EPOCH_STEP,
            time=self._engine.clock(),
            train_loss=sums.loss / sums.rows,
            train_accuracy=sums.correct / sums.rows,
            validation_loss=validation.loss,
            validation_accuracy=validation.accuracy,
            learning_rate=optimizer.rate(state.optimizer_state, taken=1),
            rows=sums.rows,
            circuits=sums.circuits + validation.circuits,
            shots=self._shots(sums.circuits + validation.circuits),
            samples_per_second=_rate(sums.rows, sums.seconds),
            seconds=seconds,
        )
        metrics.append(row)
        watched = row.train_loss if row.validation_loss is None else row.validation_loss
        seen = optimizer.observe(watched, state.optimizer_state)
        self._state = next_epoch(state, optimizer_state=seen, circuits=validation.circuits, seconds=seconds)
        self._run = replace(self._run, scores=_scores(row))
        self._progress.epoch_finished(row)

    def _validate(self, interrupted: Callable[[], bool]) -> Validation:
        features, labels = self._validation_features, self._material.validation_labels
        if features is None or labels is None:
            return Validation()
        loss, correct = 0.0, 0
        source = self._recipe.validation_source(self._state.epoch)
        for start in range(0, len(labels), _VALIDATION_ROWS):
            if interrupted():
                raise KeyboardInterrupt
            positions = np.arange(start, min(start + _VALIDATION_ROWS, len(labels)))
            logits = self._classifier.logits_of_features(self._state.parameters, features.at(positions), source)
            loss += float(cross_entropy(logits, labels[positions]).sum())
            correct += int(np.count_nonzero(logits.argmax(axis=1) == labels[positions]))
        circuits = len(labels) if source is None else source.circuits
        return Validation(loss / len(labels), correct / len(labels), circuits)

    def _step_row(self, found: StepResult, rows: int, seconds: float) -> MetricRow:
        return MetricRow(
            run_id=self._run.id,
            epoch=self._state.epoch,
            step=self._state.steps + 1,
            time=self._engine.clock(),
            train_loss=found.loss,
            train_accuracy=found.correct / rows,
            gradient_norm=found.gradient_norm,
            learning_rate=self._recipe.optimizer.rate(self._state.optimizer_state),
            rows=rows,
            circuits=found.circuits,
            shots=self._shots(found.circuits),
            samples_per_second=_rate(rows, seconds),
            batch_seconds=seconds,
        )

    def _shots(self, circuits: int) -> int | None:
        shots = self._run.options.shots
        return None if shots is None else shots * circuits

    def _report(self) -> StepReport:
        state, sums, epochs = self._state, self._state.sums, self._run.options.epochs
        rate = _rate(sums.rows, sums.seconds) or 0.0
        rows_left = (epochs - state.epoch + 1) * len(self._features) - sums.rows
        return StepReport(
            epoch=state.epoch,
            epochs=epochs,
            steps=state.steps,
            total_steps=epochs * self._steps_per_epoch,
            loss=sums.loss / sums.rows,
            accuracy=sums.correct / sums.rows,
            circuits=state.circuits,
            samples_per_second=rate,
            seconds_left=rows_left / rate if rate else 0.0,
        )

    # -- what is committed -----------------------------------------------------------------------------------------

    def _saved(self) -> FileReference:
        return checkpoints.save(
            self._engine,
            Checkpoint(
                model=self._run.model,
                run_id=self._run.id,
                spec=self._classifier.spec,
                options=self._run.options,
                reduction=self._classifier.reduction,
                state=self._state,
                saved_at=self._engine.clock(),
            ),
        )

    def _progressed(self, status: RunStatus, file: FileReference) -> tuple[Run, list[Operation]]:
        # The run at its present state with a new checkpoint, and the operations that exchange the files.
        state, now = self._state, self._engine.clock()
        run = replace(
            self._run,
            status=status,
            epochs_done=state.epoch - 1,
            steps_done=state.steps,
            circuits=state.circuits,
            seconds=state.seconds + state.sums.seconds,
            gradient_log=tuple(state.gradient_log.spelled()),
            checkpoint=file,
            heartbeat_at=now,
            finished_at=None if status is RunStatus.RUNNING else now,
        )
        operations: list[Operation] = [AttachFile(file)]
        if self._run.checkpoint is not None:
            operations.append(DetachFile(self._run.checkpoint.kind, self._run.checkpoint.name))
        return run, operations

    def _checkpoint(self, status: RunStatus) -> None:
        run, operations = self._progressed(status, self._saved())
        self._engine.commit(WriteBatch([*operations, run.put()]))
        self._run = run

    def _finish(self) -> None:
        # Model version, run, last checkpoint and compacted metrics appear together.
        run, operations = self._progressed(RunStatus.FINISHED, self._saved())
        operations += compaction(self._engine, run.id, steps_done=run.steps_done, epochs_done=run.epochs_done)
        for _ in range(_REGISTRATION_ATTEMPTS):
            version, registering = self._registration(run)
            finished = replace(run, version=version.version)
            try:
                self._engine.commit(WriteBatch([*operations, *registering, finished.put()]))
            except AlreadyExistsError:
                continue  # another run took the number; the next one is free
            self._run = finished
            return
        raise AlreadyExistsError(
            f"No version number of model {run.model!r} was free in {_REGISTRATION_ATTEMPTS} attempts",
            fix=f"Continue with CALL resume(run_id => {run.id}).",
            value=run.model,
        )

    def _registration(self, run: Run) -> tuple[ModelVersion, list[Operation]]:
        snapshot = self._engine.snapshot()
        model = find_model(snapshot, run.model)
        if model.uuid != run.model_uuid:
            raise UnknownModelError(
                f"Model {run.model!r} was dropped while run {run.id} trained it",
                fix="Train the new one.",
                value=run.model,
            )
        now = self._engine.clock()
        version = replace(
            find_version(snapshot, run.model, run.parent_version),
            version=model.latest_version + 1,
            parent_version=run.parent_version,
            run_id=run.id,
            dataset=run.dataset,
            dataset_version=run.dataset_version,
            seed=run.options.seed,
            backend=run.options.backend,
            checkpoint=run.checkpoint,
            scores=run.scores,
            packages=run.packages,
            created_at=now,
        )
        return version, [version.put(), replace(model, latest_version=version.version, updated_at=now).put()]

    def _record_failure(self, metrics: MetricsWriter, error: Exception) -> None:
        # The run keeps the checkpoint it has: what came after it is not to be trusted.
        now = self._engine.clock()
        failed = replace(
            self._run,
            status=RunStatus.FAILED,
            error=f"{type(error).__name__}: {error}",
            heartbeat_at=now,
            finished_at=now,
        )
        try:
            metrics.flush()
            self._engine.commit(WriteBatch([failed.put()]))
        except QStoreError as second:
            error.add_note(f"Run {self._run.id} could not be marked as failed either: {second}")
        else:
            self._run = failed

    def _interruption(self) -> TrainingInterruptedError:
        run = self._run
        return TrainingInterruptedError(
            f"Run {run.id} was stopped after {run.epochs_done} of {run.options.epochs} epochs, {run.steps_done} steps",
            fix=f"Continue with CALL resume(run_id => {run.id}) or db.resume({run.id}).",
            value=run.id,
        )

    def _divergence(self, found: StepResult) -> InvalidArgumentError:
        rate = self._run.options.learning_rate
        return InvalidArgumentError(
            f"The loss is {found.loss} and the gradient's norm {found.gradient_norm} at step {self._state.steps + 1}"
            f" with learning_rate = {rate}",
            fix="Use a smaller learning rate.",
            value=rate,
        )


def _rate(rows: int, seconds: float) -> float | None:
    return rows / seconds if seconds > 0 else None


def _scores(row: MetricRow) -> Scores:
    return Scores(
        train_loss=row.train_loss,
        train_accuracy=row.train_accuracy,
        validation_loss=row.validation_loss,
        validation_accuracy=row.validation_accuracy,
    )
