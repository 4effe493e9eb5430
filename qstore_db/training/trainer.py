"""Training a model on a data set, and continuing a run that was stopped."""

from __future__ import annotations

import os
import platform
from dataclasses import replace

from qstore_db.errors import AlreadyExistsError, InvalidArgumentError, InvalidModelError, UnknownModelError
from qstore_db.models.classifier import Classifier
from qstore_db.training import checkpoints
from qstore_db.training.active_runs import is_in_training
from qstore_db.training.checkpoints import Checkpoint
from qstore_db.training.material import Features, Material, gather
from qstore_db.training.metrics import compaction
from qstore_db.training.options import TrainingOptions
from qstore_db.training.progress import Silence, TrainingProgress
from qstore_db.training.recipe import recipe_for
from qstore_db.training.registry import (
    ModelVersion,
    Run,
    RunStatus,
    find_model,
    find_run,
    find_version,
    next_run_id,
    package_versions,
)
from qstore_db.training.step import TrainState, start
from qstore_db.training.training_loop import TrainingLoop
from storage_engine.batch import AttachFile, FileReference, Operation, WriteBatch
from storage_engine.engine import Engine
from storage_engine.history.pins import put_pin
from storage_engine.snapshot import Snapshot

_RUN_ATTEMPTS = 16


def train(
    engine: Engine,
    model: str,
    dataset: str,
    options: TrainingOptions | None = None,
    *,
    progress: TrainingProgress | None = None,
) -> Run:
    """Train the newest specification of a model from fresh parameters; the result is a new version of the model.

    All checks come first: until the run's own row is committed nothing is written. The same rows, options and machine
    give the same parameters to the last bit.

    Args:
        engine: The database.
        model: A registered model.
        dataset: A stored data set with labels.
        options: How to train.
        progress: Called between steps.

    Returns:
        The finished run; ``run.version`` is the new version.

    Raises:
        UnknownModelError: There is no such model.
        UnknownDatasetError: There is no such data set.
        EmptyDatasetError: A split has no rows.
        InvalidLabelError: A row has no label, or one that the model does not know.
        InvalidModelError: The rows do not fit the model.
        InvalidVectorError: A row cannot be encoded.
        TrainingInterruptedError: Ctrl-C was pressed; the run can be resumed.
        InvalidArgumentError: Weights to be frozen are not there, or the warm-up is longer than the run; or the loss is
            no longer a number, and the run is marked as failed.
    """
    return _trained(engine, model, dataset, options, progress, learned=False)


def fine_tune(
    engine: Engine,
    model: str,
    dataset: str,
    options: TrainingOptions | None = None,
    *,
    progress: TrainingProgress | None = None,
) -> Run:
    """Train a version on from the parameters that it has; the result is a new version of the model.

    The reduction of the rows that the version was trained with is kept as well. ``freeze`` of the options says which
    weights stay as they are. All else is as in :func:`train`.

    Args:
        engine: The database.
        model: Name of the model, or a reference such as ``clothes@champion`` or ``clothes@3``.
        dataset: A stored data set with labels.
        options: How to train.
        progress: Called between steps.

    Raises:
        InvalidModelError: The version is not trained, or the rows do not fit it.
        QStoreError: As in :func:`train`.
    """
    return _trained(engine, model, dataset, options, progress, learned=True)


def _trained(
    engine: Engine,
    model: str,
    dataset: str,
    options: TrainingOptions | None,
    progress: TrainingProgress | None,
    *,
    learned: bool,
) -> Run:
    engine.refuse_transaction("training")
    options = options or TrainingOptions()
    # The run pins the version that it learns from; sealed, that version needs no log to be read later.
    engine.seal()
    snapshot = engine.snapshot()
    version = find_version(snapshot, model)
    known = _parameters_of(engine, version) if learned else None
    material = gather(snapshot, dataset, version.spec, options)
    reduction = material.fit_reduction(version.spec, options.seed) if known is None else known.reduction
    classifier = Classifier(version.spec, reduction)
    features, validation = _features(classifier, material)
    recipe = recipe_for(options, classifier, len(material.rows))
    state = start(classifier, recipe.optimizer, options.seed, None if known is None else known.state.parameters)
    run = _registered(engine, version, material, options, classifier, state, learned=learned)
    return TrainingLoop(engine, run, classifier, material, features, validation, state, progress or Silence()).train()


def resume(engine: Engine, run_id: int, *, progress: TrainingProgress | None = None) -> Run:
    """Continue a run from its newest checkpoint: bit for bit what it would have become without the interruption.

    A run that was interrupted continues after its last step; one that failed, or whose process died, after its last
    checkpoint.

    Args:
        engine: The database.
        run_id: The run.
        progress: Called between steps.

    Returns:
        The finished run; one that was finished before comes back as it is.

    Raises:
        UnknownRunError: There is no such run.
        UnknownModelError: Its model was dropped.
        InvalidArgumentError: The run is being trained, or its data set has changed.
        DamagedError: Its checkpoint is damaged.
        TrainingInterruptedError: Ctrl-C was pressed again.
    """
    engine.refuse_transaction("training")
    snapshot = engine.snapshot()
    known = find_run(snapshot, run_id)
    if known.status is RunStatus.FINISHED:
        return known
    run, version = _resumable(engine, snapshot, run_id)
    checkpoint = checkpoints.load(engine, run.checkpoint) if run.checkpoint is not None else None
    if checkpoint is None:
        raise UnknownModelError(
            f"Run {run_id} has no checkpoint: its model was dropped", fix="Train a new run.", value=run_id
        )
    material = gather(snapshot, run.dataset, version.spec, run.options)
    if material.digest() != run.dataset_digest:
        raise InvalidArgumentError(
            f"Data set {run.dataset!r} has changed since run {run_id} read it at version {run.dataset_version}",
            fix="Train a new run.",
            value=run.dataset,
        )
    classifier = Classifier(version.spec, checkpoint.reduction)
    features, validation = _features(classifier, material)
    state = checkpoint.state
    taken_up = replace(
        run,
        status=RunStatus.RUNNING,
        finished_at=None,
        error=None,
        heartbeat_at=engine.clock(),
        host=platform.node(),
        process_id=os.getpid(),
    )
    trimming = compaction(engine, run_id, steps_done=state.steps, epochs_done=state.epoch - 1)
    engine.commit(WriteBatch([taken_up.put(), *trimming]))
    return TrainingLoop(
        engine, taken_up, classifier, material, features, validation, state, progress or Silence()
    ).train()


def _features(classifier: Classifier, material: Material) -> tuple[Features, Features | None]:
    validation = None if material.validation is None else Features(classifier, material.validation)
    return Features(classifier, material.rows), validation


def _registered(
    engine: Engine,
    version: ModelVersion,
    material: Material,
    options: TrainingOptions,
    classifier: Classifier,
    state: TrainState,
    *,
    learned: bool,
) -> Run:
    # Commits the run with a checkpoint of its start; two threads that want the same number try again.
    now, digest = engine.clock(), material.digest()
    for _ in range(_RUN_ATTEMPTS):
        run_id = next_run_id(engine.snapshot())
        file = _first_checkpoint(engine, version, run_id, options, classifier, state, now)
        run = Run(
            id=run_id,
            model=version.model,
            model_uuid=version.uuid,
            parent_version=version.version,
            starts_from=version.version if learned else None,
            dataset=material.dataset,
            dataset_version=material.version,
            dataset_digest=digest,
            options=options,
            rows=len(material.rows),
            validation_rows=0 if material.validation is None else len(material.validation),
            started_at=now,
            heartbeat_at=now,
            host=platform.node(),
            process_id=os.getpid(),
            packages=package_versions(),
            checkpoint=file,
        )
        # The rows that it learns from stay readable at their version, whatever is deleted or vacuumed later.
        pin = put_pin(f"run {run_id}", material.version)
        operations: list[Operation] = [AttachFile(file), run.put(new=True), pin]
        try:
            engine.commit(WriteBatch(operations))
        except AlreadyExistsError:
            continue
        return run
    raise AlreadyExistsError(
        f"No run number was free in {_RUN_ATTEMPTS} attempts", fix="Start fewer runs at once.", value=version.model
    )


def _parameters_of(engine: Engine, version: ModelVersion) -> Checkpoint:
    if version.checkpoint is None:
        raise InvalidModelError(
            f"Version {version.version} of model {version.model!r} has no parameters to start from",
            fix="Train it first: CALL train or db.train.",
            value=version.version,
        )
    return checkpoints.load(engine, version.checkpoint)


def _first_checkpoint(
    engine: Engine,
    version: ModelVersion,
    run_id: int,
    options: TrainingOptions,
    classifier: Classifier,
    state: TrainState,
    now: float,
) -> FileReference:
    return checkpoints.save(
        engine,
        Checkpoint(
            model=version.model,
            run_id=run_id,
            spec=version.spec,
            options=options,
            reduction=classifier.reduction,
            state=state,
            saved_at=now,
        ),
    )


def _resumable(engine: Engine, snapshot: Snapshot, run_id: int) -> tuple[Run, ModelVersion]:
    run = find_run(snapshot, run_id)
    if is_in_training(engine, run_id):
        raise InvalidArgumentError(f"Run {run_id} is being trained right now", fix="Wait until it ends.", value=run_id)
    model = find_model(snapshot, run.model)
    if model.uuid != run.model_uuid:
        raise UnknownModelError(
            f"The model {run.model!r} that run {run_id} trained was dropped", fix="Train a new run.", value=run.model
        )
    return run, find_version(snapshot, run.model, run.parent_version)
