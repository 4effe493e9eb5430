"""The loop of a run: batches → loss and gradient → step → metrics → checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from qstore_db.analysis.size import circuit_size
from qstore_db.circuits.observables import terms_of
from qstore_db.errors import (
    AlreadyExistsError,
    BudgetExceededError,
    InvalidArgumentError,
    QStoreError,
    TrainingInterruptedError,
)
from qstore_db.models.losses import Loss, checked_values
from qstore_db.models.model import Model
from qstore_db.models.named import scaling_of
from qstore_db.simulation.measurement_bases import measurement_bases
from qstore_db.simulation.workers import spare_threads, two_threads
from qstore_db.training import checkpoints
from qstore_db.training.active_runs import in_training
from qstore_db.training.best_epoch import after_epoch, is_over
from qstore_db.training.callback_errors import CallbackFailedError, told
from qstore_db.training.checkpoints import Checkpoint
from qstore_db.training.circuit_tracking import CircuitTracking
from qstore_db.training.decision_log import decided
from qstore_db.training.interruption import deferred_interrupt
from qstore_db.training.material import Features, Material, batches
from qstore_db.training.metrics import EPOCH_STEP, MetricRow, MetricsWriter, compaction, parts_of
from qstore_db.training.progress import StepReport, TrainingProgress
from qstore_db.training.recipe import Recipe, executor_for, recipe_for
from qstore_db.training.registration import trained_version
from qstore_db.training.registry import (
    Run,
    RunStatus,
    Scores,
)
from qstore_db.training.run_jobs import CHECKPOINT_SECONDS, RunJobs, Work, jobs_for, work_of_step
from qstore_db.training.spreading import workers_for
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
        model: The model.
        material: The rows.
        features: Of the training rows.
        validation: Features of the validation rows, or ``None``.
        state: Where the run stands.
        progress: Called between steps.
        timer: A clock in seconds.
        loss: A callable of the caller's, where the run's options say ``loss = "custom"``.
    """

    def __init__(
        self,
        engine: Engine,
        run: Run,
        model: Model,
        material: Material,
        features: Features,
        validation: Features | None,
        state: TrainState,
        progress: TrainingProgress,
        timer: Callable[[], float] = time.perf_counter,
        loss: Loss | None = None,
    ) -> None:
        self._engine = engine
        self._run = run
        self._model = model
        self._recipe = recipe_for(run.options, model, len(material.rows), loss)
        self._material = material
        self._features = features
        self._validation_features = validation
        self._state = state
        self._progress = progress
        self._timer = timer
        self._steps_per_epoch = -(-len(material.rows) // run.options.batch_size)
        self._size = circuit_size(model.plan.circuit)
        self._bases = None if run.options.shots is None else _bases(model)
        self._tracking = CircuitTracking(model, features, run.options)
        self._jobs: RunJobs | None = None
        self._saved_at = timer()

    def train(self) -> Run:
        """Train to the end; commit the new model version.

        Returns:
            The finished run.

        Raises:
            TrainingInterruptedError: Ctrl-C was pressed; the run is checkpointed where it stood.
            BudgetExceededError: What comes next would exceed the ceiling; the run is checkpointed where it stood.
            InvalidArgumentError: The loss is no longer a number.
        """
        parts = parts_of(self._engine.snapshot(), self._run.id)
        first_part = parts[-1].number + 1 if parts else 1
        with (
            in_training(self._engine, self._run.id),
            jobs_for(self._engine, self._run) as jobs,
            executor_for(self._run.options, None if jobs is None else jobs.backend) as executor,
            workers_for(self._run.options, self._model) as workers,
            deferred_interrupt() as interrupted,
            MetricsWriter(self._engine, self._run.id, first_part=first_part) as metrics,
            two_threads(self._run.options.threads or spare_threads()),
        ):
            self._recipe, self._jobs = replace(self._recipe, executor=executor, workers=workers), jobs
            self._run = replace(self._run, target=None if jobs is None else jobs.target)
            try:
                with told():
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
            except BudgetExceededError as error:
                metrics.flush()
                self._checkpoint(RunStatus.OVER_BUDGET, error=_spelled(error))
                raise self._over_budget(error) from None
            except CallbackFailedError as failure:
                # The run itself is sound, and goes on from here when it is resumed.
                metrics.flush()
                self._checkpoint(RunStatus.FAILED, error=_spelled(failure.cause))
                raise failure.cause from None
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
        while not self._is_over():
            epoch = self._state.epoch
            self._steps(metrics, interrupted)
            self._end_epoch(metrics, interrupted)
            if epoch % options.checkpoint_every == 0 and not self._is_over():
                metrics.flush()
                self._checkpoint(RunStatus.RUNNING)

    def _is_over(self) -> bool:
        return is_over(self._state.best, self._run.options, epochs_done=self._state.epoch - 1)

    def _steps(self, metrics: MetricsWriter, interrupted: Callable[[], bool]) -> None:
        state, targets = self._state, self._material.targets
        labels = self._material.rows.labels
        for positions in batches(
            len(self._features), self._run.options, epoch=state.epoch, done=state.sums.steps, labels=labels
        ):
            if interrupted():
                raise KeyboardInterrupt
            began = self._timer()
            wanted, seen = None if targets is None else targets[positions], self._features.at(positions)
            if self._jobs is not None:
                work = work_of_step(self._model, self._recipe, self._state, seen, wanted)
                self._jobs.check(f"step {self._state.steps + 1}", work)
            moved, found = advance(self._model, self._recipe, self._state, seen, wanted)
            if not found.is_finite:
                raise self._divergence(found)
            seconds = self._timer() - began
            # The row first: should anything stop us in between, resuming drops the row and takes the step again.
            dollars = None if self._jobs is None else self._jobs.accept()
            metrics.append(self._step_row(found, len(positions), seconds, dollars))
            self._state = timed(moved, seconds, dollars)
            with told():
                self._progress.stepped(self._report())
            if self._jobs is not None and self._timer() - self._saved_at >= CHECKPOINT_SECONDS:
                metrics.flush()
                self._checkpoint(RunStatus.RUNNING)

    def _end_epoch(self, metrics: MetricsWriter, interrupted: Callable[[], bool]) -> None:
        began = self._timer()
        if self._jobs is not None:
            self._jobs.check(f"the validation of epoch {self._state.epoch}", self._validation_work(interrupted))
        validation = self._validate(interrupted, self._recipe)
        dollars = None if self._jobs is None else self._state.sums.dollars + self._jobs.accept()
        state, sums, optimizer = self._state, self._state.sums, self._recipe.optimizer
        seconds = sums.seconds + self._timer() - began
        row = MetricRow(
            run_id=self._run.id,
            epoch=state.epoch,
            step=EPOCH_STEP,
            time=self._engine.clock(),
            train_loss=sums.loss / sums.rows,
            train_accuracy=_share(sums.correct, sums.rows),
            validation_loss=validation.loss,
            validation_accuracy=validation.accuracy,
            learning_rate=optimizer.rate(state.optimizer_state, taken=1),
            rows=sums.rows,
            circuits=sums.circuits + validation.circuits,
            shots=self._shots(sums.circuits + validation.circuits),
            samples_per_second=_rate(sums.rows, sums.seconds),
            seconds=seconds,
            qubits=self._model.spec.qubits,
            depth=self._size.depth,
            two_qubit_gates=self._size.two_qubit_gates,
            bases=self._bases,
            cost_usd=dollars,
            target=self._run.target,
            **self._tracking.measured(state.parameters),
        )
        metrics.append(row)
        watched = row.train_loss if row.validation_loss is None else row.validation_loss
        seen = optimizer.observe(watched, state.optimizer_state)
        scores = _scores(row)
        best = after_epoch(state.best, self._run.options, epoch=state.epoch, parameters=state.parameters, scores=scores)
        decisions = decided(
            self._run.options,
            self._model.spec.layers,
            epoch=state.epoch,
            before=state.optimizer_state,
            after=seen,
            plateau=optimizer.plateau,
            best=best,
        )
        self._state = next_epoch(
            state,
            optimizer_state=seen,
            circuits=validation.circuits,
            seconds=seconds,
            best=best,
            decisions=decisions,
        )
        self._run = replace(self._run, scores=scores)
        with told():
            self._progress.epoch_finished(row)

    def _validation_work(self, interrupted: Callable[[], bool]) -> Work:
        return lambda source: self._validate(interrupted, replace(self._recipe, source=source))

    def _validate(self, interrupted: Callable[[], bool], recipe: Recipe) -> Validation:
        features, targets = self._validation_features, self._material.validation_targets
        if features is None:
            return Validation()
        rows, loss = len(features), 0.0
        correct: int | None = 0
        source = recipe.validation_source(self._state.epoch)
        for start in range(0, rows, _VALIDATION_ROWS):
            if interrupted():
                raise KeyboardInterrupt
            positions = np.arange(start, min(start + _VALIDATION_ROWS, rows))
            seen = features.at(positions)
            wanted = self._model.checked_targets(None if targets is None else targets[positions], seen)
            outputs = self._model.outputs_of_features(self._state.parameters, seen, source)
            losses, _ = checked_values(self._recipe.loss(outputs, wanted), *outputs.shape)
            loss += float(losses.sum())
            right = self._model.count_correct(outputs, wanted)
            correct = None if right is None or correct is None else correct + right
        circuits = rows if source is None else source.circuits
        return Validation(loss / rows, _share(correct, rows), circuits)

    def _step_row(self, found: StepResult, rows: int, seconds: float, dollars: float | None) -> MetricRow:
        return MetricRow(
            run_id=self._run.id,
            epoch=self._state.epoch,
            step=self._state.steps + 1,
            time=self._engine.clock(),
            train_loss=found.loss,
            train_accuracy=_share(found.correct, rows),
            gradient_norm=found.gradient.norm,
            learning_rate=self._recipe.optimizer.rate(self._state.optimizer_state),
            rows=rows,
            circuits=found.circuits,
            shots=self._shots(found.circuits),
            samples_per_second=_rate(rows, seconds),
            batch_seconds=seconds,
            gradient_max=found.gradient.largest,
            gradient_min=found.gradient.smallest,
            gradient_variance=found.gradient.variance,
            gradient_snr=found.gradient.signal_to_noise,
            layer_gradient_norms=found.gradient.layers,
            head_gradient_norm=found.gradient.head,
            qubits=self._model.spec.qubits,
            depth=self._size.depth,
            two_qubit_gates=self._size.two_qubit_gates,
            bases=self._bases,
            cost_usd=dollars,
            target=self._run.target,
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
            accuracy=_share(sums.correct, sums.rows),
            circuits=state.circuits,
            samples_per_second=rate,
            seconds_left=rows_left / rate if rate else 0.0,
            cost_usd=None if self._jobs is None else self._jobs.dollars,
        )

    # -- what is committed -----------------------------------------------------------------------------------------

    def _saved(self) -> FileReference:
        return checkpoints.save(
            self._engine,
            Checkpoint(
                model=self._run.model,
                run_id=self._run.id,
                spec=self._model.spec,
                options=self._run.options,
                reduction=self._model.reduction,
                state=self._state,
                saved_at=self._engine.clock(),
                scaling=scaling_of(self._model),
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
            cost_usd=None if self._jobs is None else self._jobs.dollars,
            seconds=state.seconds + state.sums.seconds,
            gradient_log=tuple(state.gradient_log.spelled()),
            decisions=tuple(one.to_json() for one in state.decisions),
            checkpoint=file,
            heartbeat_at=now,
            finished_at=None if status is RunStatus.RUNNING else now,
        )
        operations: list[Operation] = [AttachFile(file)]
        if self._run.checkpoint is not None:
            operations.append(DetachFile(self._run.checkpoint.kind, self._run.checkpoint.name))
        return run, operations

    def _checkpoint(self, status: RunStatus, *, error: str | None = None) -> None:
        run, operations = self._progressed(status, self._saved())
        run = replace(run, error=error)
        self._commit([*operations, run.put()])
        self._run, self._saved_at = run, self._timer()

    def _commit(self, operations: Sequence[Operation]) -> None:
        # With a checkpoint, what remote jobs found before it is used for good.
        if self._jobs is None:
            self._engine.commit(WriteBatch(list(operations)))
        else:
            self._jobs.settle(lambda more: self._engine.commit(WriteBatch([*operations, *more])))

    def _finish(self) -> None:
        # Model version, run, last checkpoint and compacted metrics appear together.
        best = self._state.best
        if best is not None:
            self._state = replace(self._state, parameters=best.parameters)
            self._run = replace(self._run, scores=best.scores, best_epoch=best.epoch)
        run, operations = self._progressed(RunStatus.FINISHED, self._saved())
        operations += compaction(self._engine, run.id, steps_done=run.steps_done, epochs_done=run.epochs_done)
        for _ in range(_REGISTRATION_ATTEMPTS):
            version, registering = trained_version(self._engine, run)
            finished = replace(run, version=version.version)
            try:
                self._commit([*operations, *registering, finished.put()])
            except AlreadyExistsError:
                continue  # another run took the number; the next one is free
            self._run = finished
            return
        raise AlreadyExistsError(
            f"No version number of model {run.model!r} was free in {_REGISTRATION_ATTEMPTS} attempts",
            fix=f"Continue with CALL resume(run_id => {run.id}).",
            value=run.model,
        )

    def _record_failure(self, metrics: MetricsWriter, error: Exception) -> None:
        # The run keeps the checkpoint it has: what came after it is not to be trusted.
        now = self._engine.clock()
        failed = replace(
            self._run,
            status=RunStatus.FAILED,
            error=_spelled(error),
            cost_usd=None if self._jobs is None else self._jobs.dollars,
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

    def _over_budget(self, error: BudgetExceededError) -> BudgetExceededError:
        run = self._run
        return BudgetExceededError(
            f"run {run.id}: {error.work}",
            estimate=error.estimate,
            spent=error.spent,
            ceiling=error.ceiling,
            fix=f"Continue with db.resume({run.id}, max_cost_usd=…) or CALL resume(run_id => {run.id},"
            " max_cost_usd => …).",
        )

    def _divergence(self, found: StepResult) -> InvalidArgumentError:
        rate = self._run.options.learning_rate
        return InvalidArgumentError(
            f"The loss is {found.loss} and the gradient's norm {found.gradient.norm} at step {self._state.steps + 1}"
            f" with learning_rate = {rate}",
            fix="Use a smaller learning rate.",
            value=rate,
        )


def _bases(model: Model) -> int:
    strings = (string for observable in model.plan.observables for _, string in terms_of(observable))
    return len(measurement_bases(strings))


def _spelled(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _share(correct: int | None, rows: int) -> float | None:
    return None if correct is None else correct / rows


def _rate(rows: int, seconds: float) -> float | None:
    return rows / seconds if seconds > 0 else None


def _scores(row: MetricRow) -> Scores:
    return Scores(
        train_loss=row.train_loss,
        train_accuracy=row.train_accuracy,
        validation_loss=row.validation_loss,
        validation_accuracy=row.validation_accuracy,
    )
