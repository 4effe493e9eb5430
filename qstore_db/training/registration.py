"""Adding models to the registry and taking them out of it."""

from __future__ import annotations

import dataclasses
import re
import uuid

from qstore_db.errors import AlreadyExistsError, InvalidArgumentError, InvalidModelError, UnknownModelError
from qstore_db.models.specification import ModelSpec
from qstore_db.training.active_runs import is_in_training
from qstore_db.training.aliases import aliases_of
from qstore_db.training.registry import (
    MODEL_VERSIONS,
    MODELS,
    ModelRecord,
    ModelVersion,
    Run,
    all_runs,
    all_versions,
    find_model,
    find_version,
    package_versions,
    version_key,
)
from storage_engine.batch import DeleteRecord, DetachFile, Operation, WriteBatch
from storage_engine.engine import Engine
from storage_engine.snapshot import Snapshot

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")


def create_model(
    engine: Engine, name: str, spec: ModelSpec, *, or_replace: bool = False, if_not_exists: bool = False
) -> ModelVersion:
    """Register a model, untrained.

    Args:
        engine: The database.
        name: A letter or ``_``, then up to 127 letters, digits, ``_``, ``.`` or ``-``.
        spec: What the model is.
        or_replace: If the name is taken, add a version with the new specification; earlier versions stay.
        if_not_exists: If the name is taken, change nothing.

    Returns:
        The version that was added, or the newest one where ``if_not_exists`` left all as it was.

    Raises:
        AlreadyExistsError: The name is taken and neither flag is set.
        InvalidModelError: The name is malformed.
        InvalidArgumentError: Both flags are set.
    """
    snapshot = engine.snapshot()
    operations, version = creation(
        snapshot, name, spec, at=engine.clock(), or_replace=or_replace, if_not_exists=if_not_exists
    )
    if operations:
        engine.commit(WriteBatch(operations))
    return version


def creation(
    snapshot: Snapshot, name: str, spec: ModelSpec, *, at: float, or_replace: bool, if_not_exists: bool
) -> tuple[list[Operation], ModelVersion]:
    """The operations of :func:`create_model`, so that a caller can put more into the same commit."""
    check_model_name(name)
    if or_replace and if_not_exists:
        raise InvalidArgumentError(
            "OR REPLACE and IF NOT EXISTS contradict each other", fix="Use one of them.", value=name
        )
    if name not in snapshot.table(MODELS):
        model = ModelRecord(name=name, uuid=uuid.uuid4().hex, latest_version=1, created_at=at, updated_at=at)
        version = ModelVersion(
            model=name, uuid=model.uuid, version=1, spec=spec, created_at=at, packages=package_versions()
        )
        return [model.put(new=True), version.put()], version
    if if_not_exists:
        return [], find_version(snapshot, name)
    if not or_replace:
        raise AlreadyExistsError(
            f"There is a model {name!r}",
            fix="Choose another name, or use OR REPLACE to add a version with another specification.",
            value=name,
        )
    known = find_model(snapshot, name)
    number = known.latest_version + 1
    model = dataclasses.replace(known, latest_version=number, updated_at=at)
    version = ModelVersion(
        model=name, uuid=known.uuid, version=number, spec=spec, created_at=at, packages=package_versions()
    )
    return [version.put(), model.put()], version


def trained_version(engine: Engine, run: Run) -> tuple[ModelVersion, list[Operation]]:
    """The version that a run makes, numbered as the next of its model, and the operations that register it.

    Raises:
        UnknownModelError: The model was dropped meanwhile.
    """
    snapshot = engine.snapshot()
    model = find_model(snapshot, run.model)
    if model.uuid != run.model_uuid:
        raise UnknownModelError(
            f"Model {run.model!r} was dropped while run {run.id} trained it", fix="Train the new one.", value=run.model
        )
    now = engine.clock()
    version = dataclasses.replace(
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
    return version, [
        version.put(),
        dataclasses.replace(model, latest_version=version.version, updated_at=now).put(),
    ]


def drop_model(engine: Engine, name: str, *, if_exists: bool = False) -> int:
    """Take a model out of the registry, with all its versions and checkpoints.

    Its runs and their metrics stay as history; they cannot be resumed.

    Returns:
        How many versions were removed; 0 where ``if_exists`` met no model.

    Raises:
        UnknownModelError: There is none of that name and ``if_exists`` is not set.
        InvalidModelError: It is being trained.
    """
    snapshot = engine.snapshot()
    if if_exists and name not in snapshot.table(MODELS):
        return 0
    model = find_model(snapshot, name)
    versions = all_versions(snapshot, name)
    runs = [run for run in all_runs(snapshot) if run.model_uuid == model.uuid and run.checkpoint is not None]
    for run in runs:
        if is_in_training(engine, run.id):
            raise InvalidModelError(
                f"Model {name!r} is being trained by run {run.id}", fix="Wait until it ends, or stop it.", value=name
            )
    files = {version.checkpoint.name: version.checkpoint for version in versions if version.checkpoint is not None}
    files |= {run.checkpoint.name: run.checkpoint for run in runs if run.checkpoint is not None}
    batch = WriteBatch([DeleteRecord(MODELS, name)])
    batch.add(*(alias.remove() for alias in aliases_of(snapshot, name)))
    batch.add(*(DeleteRecord(MODEL_VERSIONS, version_key(name, version.version)) for version in versions))
    batch.add(*(dataclasses.replace(run, checkpoint=None).put() for run in runs))
    batch.add(*(DetachFile(file.kind, file.name) for file in files.values()))
    engine.commit(batch)
    return len(versions)


def check_model_name(name: object) -> None:
    """Check that a model may be called so.

    Raises:
        InvalidModelError: It is no text of the allowed form.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidModelError(
            f"{name!r} is no name for a model",
            fix="Use a letter or _, then up to 127 letters, digits, _, . or -.",
            value=name,
        )
