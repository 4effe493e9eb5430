"""Training a model on a data set, and continuing a run that was stopped."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from qstore_db.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    InvalidModelError,
    UnknownModelError,
    UnknownVersionError,
)
from qstore_db.models.losses import CUSTOM, Loss
from qstore_db.models.model import Model
from qstore_db.models.named import scaling_of
from qstore_db.training import checkpoints
from qstore_db.training.active_runs import is_in_training
from qstore_db.training.checkpoints import Checkpoint
from qstore_db.training.material import Features, Material, batches, gather
from qstore_db.training.metrics import compaction
from qstore_db.training.options import TrainingOptions
from qstore_db.training.progress import Several, Silence, TrainingProgress
from qstore_db.training.recipe import Recipe, recipe_for
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
from qstore_db.training.run_jobs import check_connection, work_of_step
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
    dataset_version: int | None = None,
    progress: TrainingProgress | None = None,
    callbacks: Sequence[TrainingProgress] = (),
    loss: Loss | None = None,
) -> Run:
    """Train the newest specification of a model from fresh parameters; the result is a new version of the model.

    All checks come first: until the run's own row is committed nothing is written. The same rows, options and machine
    give the same parameters to the last bit.

    Args:
        engine: The database.
        model: A registered model, or a reference to a version whose specification is trained.
        dataset: A stored data set with what the kind of model learns: labels, targets, or neither.
        options: How to train.
        dataset_version: Read the data set as it was at this version of the database; ``None`` is the newest.
        progress: Called between steps.
        callbacks: Called after it, in order.
        loss: A function of the caller's instead of a named loss; it is not stored: ``options.loss`` becomes
            ``"custom"``, and :func:`resume` needs it again.

    Returns:
        The finished run; ``run.version`` is the new version.

    Raises:
        UnknownModelError: There is no such model.
        UnknownVersionError: ``dataset_version`` is not kept any more.
        UnknownDatasetError: There is no such data set.
        EmptyDatasetError: A split has no rows.
        InvalidLabelError: A row has no label, or one that the model does not know.
        InvalidTargetError: A row has no target, or one that does not fit the model.
        InvalidModelError: The rows do not fit the model.
        InvalidVectorError: A row cannot be encoded.
        TrainingInterruptedError: Ctrl-C was pressed; the run can be resumed.
        BudgetExceededError: The first step alone would cost more than ``max_cost_usd``, and nothing was written or
            sent; or a later one would exceed it, and the run can be resumed with more.
        InvalidArgumentError: Weights to be frozen are not there, or the warm-up is longer than the run; or the loss is
            no longer a number, and the run is marked as failed.
    """
    watcher = Several((progress or Silence(), *callbacks))
    options = with_loss(options, loss)
    return _trained(engine, model, dataset, options, watcher, loss, learned=False, dataset_version=dataset_version)


def fine_tune(
    engine: Engine,
    model: str,
    dataset: str,
    options: TrainingOptions | None = None,
    *,
    progress: TrainingProgress | None = None,
    callbacks: Sequence[TrainingProgress] = (),
    loss: Loss | None = None,
) -> Run:
    """Train a version on from the parameters that it has; the result is a new version of the model.

    The reduction of the rows that the version was trained with is kept as well, and so are the units of its targets.
    ``freeze`` of the options says which weights stay as they are. All else is as in :func:`train`.

    Args:
        engine: The database.
        model: Name of the model, or a reference such as ``clothes@champion`` or ``clothes@3``.
        dataset: As in :func:`train`, like all that follow.
        options: How to train.
        progress: Called between steps.
        callbacks: Called after it, in order.
        loss: A function of the caller's.

    Raises:
        InvalidModelError: The version is not trained, or the rows do not fit it.
        QStoreError: As in :func:`train`.
    """
    watcher = Several((progress or Silence(), *callbacks))
    return _trained(engine, model, dataset, with_loss(options, loss), watcher, loss, learned=True)


def with_loss(options: TrainingOptions | None, loss: Loss | None) -> TrainingOptions:
    """The options of a run, which say so where its loss is a function.

    Raises:
        InvalidArgumentError: The options name another loss.
    """
    options = options or TrainingOptions()
    if loss is not None and options.loss not in {None, CUSTOM}:
        raise InvalidArgumentError(
            f"A Python function was given as loss, and loss = {options.loss!r} beside it",
            fix="Give one of them.",
            value=options.loss,
        )
    return options if loss is None else replace(options, loss=CUSTOM)


def _trained(
    engine: Engine,
    model: str,
    dataset: str,
    options: TrainingOptions,
    progress: TrainingProgress,
    loss: Loss | None,
    *,
    learned: bool,
    dataset_version: int | None = None,
) -> Run:
    engine.refuse_transaction("training")
    # The run pins the version that it learns from; sealed, that version needs no log to be read later.
    engine.seal()
    snapshot = engine.snapshot()
    version = find_version(snapshot, model)
    known = _parameters_of(engine, version) if learned else None
    if dataset_version is None:
        return _trained_on(engine, snapshot, version, dataset, options, progress, loss, known)
    with engine.at(dataset_version) as past:
        return _trained_on(engine, past.snapshot(), version, dataset, options, progress, loss, known)


def _trained_on(
    engine: Engine,
    rows: Snapshot,
    version: ModelVersion,
    dataset: str,
    options: TrainingOptions,
    progress: TrainingProgress,
    loss: Loss | None,
    known: Checkpoint | None,
) -> Run:
    material = gather(rows, dataset, version.spec, options)
    model = material.model(version.spec, options.seed) if known is None else known.model_itself()
    features, validation = _features(model, material)
    recipe = recipe_for(options, model, len(material.rows), loss)
    if known is not None and options.layerwise is not None:
        raise InvalidArgumentError(
            f"layerwise = {options.layerwise} begins layers at 0, but the version's are to be kept",
            fix="Leave layerwise out; freeze = 'layer[0]' and the like hold layers still.",
            value=options.layerwise,
        )
    state = start(model, recipe, None if known is None else known.state.parameters)
    if options.is_remote:
        _check_remote(options, model, recipe, state, features, material)
    run = registered(engine, version, material, options, model, state, learned=known is not None)
    return TrainingLoop(engine, run, model, material, features, validation, state, progress, loss=loss).train()


def resume(
    engine: Engine,
    run_id: int,
    *,
    progress: TrainingProgress | None = None,
    callbacks: Sequence[TrainingProgress] = (),
    loss: Loss | None = None,
    max_cost_usd: float | None = None,
) -> Run:
    """Continue a run from its newest checkpoint: bit for bit what it would have become without the interruption.

    A run that was interrupted continues after its last step; one that failed, or whose process died, after its last
    checkpoint. It reads its rows at the version that it began with, which it has pinned, whatever became of the data
    set since; where somebody has unpinned that version and it was given up, the newest rows serve if they are the same.

    Args:
        engine: The database.
        run_id: The run.
        progress: Called between steps.
        callbacks: Called after it, in order.
        loss: The function that the run was begun with, if it was one.
        max_cost_usd: What the whole run may cost from now on, what was spent before included; ``None`` leaves it.

    Returns:
        The finished run; one that was finished before comes back as it is.

    Raises:
        UnknownRunError: There is no such run.
        UnknownModelError: Its model was dropped.
        InvalidArgumentError: The run is being trained; or the version that it reads is not kept any more, and its
            data set has changed; or its loss is a function and is not given.
        DamagedError: Its checkpoint is damaged.
        TrainingInterruptedError: Ctrl-C was pressed again.
        BudgetExceededError: The next step would exceed ``max_cost_usd``; the run can be resumed with more.
    """
    engine.refuse_transaction("training")
    snapshot = engine.snapshot()
    known = find_run(snapshot, run_id)
    if known.status is RunStatus.FINISHED:
        return known
    run, version = _resumable(engine, snapshot, run_id)
    if max_cost_usd is not None:
        run = replace(run, options=replace(run.options, max_cost_usd=max_cost_usd))
    checkpoint = checkpoints.load(engine, run.checkpoint) if run.checkpoint is not None else None
    if checkpoint is None:
        raise UnknownModelError(
            f"Run {run_id} has no checkpoint: its model was dropped", fix="Train a new run.", value=run_id
        )
    with as_it_was(engine, run) as past:
        material = gather(past.snapshot(), run.dataset, version.spec, run.options)
        if material.digest() != run.dataset_digest:
            raise InvalidArgumentError(
                f"Data set {run.dataset!r} has changed since run {run_id} read it at version {run.dataset_version},"
                " which is not kept any more",
                fix="Train a new run.",
                value=run.dataset,
            )
        model = checkpoint.model_itself()
        recipe_for(run.options, model, len(material.rows), loss)  # refuses before anything is written
        if run.options.is_remote:
            check_connection(run.options, model.spec.qubits)
        features, validation = _features(model, material)
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
        watcher = Several((progress or Silence(), *callbacks))
        return TrainingLoop(engine, taken_up, model, material, features, validation, state, watcher, loss=loss).train()


def as_it_was(engine: Engine, run: Run) -> AbstractContextManager[Engine]:
    """The database at the version whose rows a run reads; as it is now where that version is not kept any more."""
    try:
        return engine.at(run.dataset_version)
    except UnknownVersionError:
        return nullcontext(engine)


def _check_remote(
    options: TrainingOptions, model: Model, recipe: Recipe, state: TrainState, features: Features, material: Material
) -> None:
    positions = next(batches(len(features), options, epoch=1, labels=material.rows.labels))
    targets = None if material.targets is None else material.targets[positions]
    first = work_of_step(model, recipe, state, features.at(positions), targets)
    check_connection(options, model.spec.qubits, first)


def _features(model: Model, material: Material) -> tuple[Features, Features | None]:
    validation = None if material.validation is None else Features(model, material.validation)
    return Features(model, material.rows), validation


def registered(
    engine: Engine,
    version: ModelVersion,
    material: Material,
    options: TrainingOptions,
    model: Model,
    state: TrainState,
    *,
    learned: bool,
) -> Run:
    """Commit a run with a checkpoint of its start; two threads that want the same number try again.

    Args:
        engine: The database.
        version: Whose specification is trained.
        material: The rows.
        options: How.
        model: What is trained.
        state: Where it starts.
        learned: Whether it starts from the version's parameters.
    """
    now, digest = engine.clock(), material.digest()
    for _ in range(_RUN_ATTEMPTS):
        run_id = next_run_id(engine.snapshot())
        file = _first_checkpoint(engine, version, run_id, options, model, state, now)
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
    model: Model,
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
            reduction=model.reduction,
            state=state,
            saved_at=now,
            scaling=scaling_of(model),
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
