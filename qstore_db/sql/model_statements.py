"""``CREATE MODEL`` and ``DROP MODEL``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from qstore_db.errors import (
    EmptyDatasetError,
    InvalidArgumentError,
    InvalidLabelError,
    InvalidModelError,
    InvalidTargetError,
    InvalidVectorError,
)
from qstore_db.models.losses import checked_targets
from qstore_db.models.named import model_of
from qstore_db.models.reduction import fit_reduction
from qstore_db.models.specification import ALIASES, ModelSpec
from qstore_db.models.target_scaling import TargetScaling
from qstore_db.sql.training_procedures import RUN_SCHEMA, ProgressFactory, run_table
from qstore_db.training.dataset import LABEL, label_array, storing
from qstore_db.training.loader import hold_out
from qstore_db.training.material import check_hold_out
from qstore_db.training.options import TrainingOptions, option_name, option_names
from qstore_db.training.recipe import recipe_for
from qstore_db.training.registration import creation, drop_model
from qstore_db.training.registry import ModelVersion
from qstore_db.training.targets import TARGET, target_array
from qstore_db.training.trainer import train
from storage_engine.batch import WriteBatch
from storage_engine.engine import Engine
from storage_engine.snapshot import Snapshot

VECTOR = "vector"
DROP_SCHEMA = pa.schema([("model", pa.string()), ("versions", pa.int64())])


@dataclass(frozen=True, slots=True)
class RegistryStatements:
    """What the two statements do, for :class:`query.session.Session`.

    Args:
        engine: The database.
        progress: Makes what watches the training of ``AS SELECT``, or ``None``.
    """

    engine: Engine
    progress: ProgressFactory | None = None

    def create_model(
        self,
        name: str,
        options: Mapping[str, object],
        *,
        or_replace: bool,
        if_not_exists: bool,
        training_rows: pa.Table | None,
    ) -> pa.Table:
        """Register a model; train it too when ``AS SELECT`` gave rows.

        The rows are stored as the data set ``<name>_training`` (``<name>_training_2``, … where that name is taken),
        split ``train``, in the commit that registers the model, and are trained on from there like any other.

        Args:
            name: Of the model.
            options: Fields of :class:`ModelSpec`; with rows also those of :class:`TrainingOptions`, and a classifier's
                ``classes`` may be left out: then it is one more than the largest label, at least 2; a regressor's
                ``outputs`` too: then it is the numbers in a target.
            or_replace: If the name is taken, add a version with the new specification.
            if_not_exists: If the name is taken, change nothing.
            training_rows: Columns ``vector`` and, for a classifier, ``label``, for a regressor ``target``.

        Returns:
            One row as ``CALL train`` shows it. Where nothing was trained, ``status`` is ``created`` or ``exists`` and
            the columns of the run are null.

        Raises:
            AlreadyExistsError: The name is taken and neither flag is set.
            InvalidModelError: An option is unknown or invalid, or the rows do not fit.
            InvalidArgumentError: A training option without rows, or one that is invalid; or a column is missing.
            EmptyDatasetError: The SELECT gave no rows.
            InvalidLabelError: A label is no integer or out of range.
            InvalidTargetError: A target is missing, no finite number, or of another length than the first.
            InvalidVectorError: A vector is missing, not finite, or of another length than the first.
        """
        spec_options, training_options = _divided(options)
        snapshot = self.engine.snapshot()
        if training_rows is None:
            return self._register(
                snapshot, name, spec_options, training_options, or_replace=or_replace, if_not_exists=if_not_exists
            )
        named = {ALIASES.get(key.lower(), key.lower()): value for key, value in spec_options.items()}
        kind = named.get("kind", "classifier")
        vectors, labels, targets = _rows(training_rows, kind)
        if labels is not None and "classes" not in named:
            spec_options["classes"] = max(2, int(labels.max()) + 1)
        if targets is not None and "outputs" not in named:
            spec_options["outputs"] = targets.shape[1]
        spec = ModelSpec.from_options(spec_options)
        training = TrainingOptions.from_options(training_options)
        _check_rows(spec, training, vectors, labels, targets)
        now = self.engine.clock()
        operations, version = creation(snapshot, name, spec, at=now, or_replace=or_replace, if_not_exists=if_not_exists)
        if not operations:
            return _version_table(version, "exists")
        dataset = _free_name(snapshot, f"{name}_training")
        operations += storing(
            snapshot, dataset, vectors, labels, split=training.split, created_at=now, targets=_single(targets)
        )
        self.engine.commit(WriteBatch(operations))
        progress = None if self.progress is None else self.progress()
        return run_table(train(self.engine, name, dataset, training, progress=progress))

    def drop_model(self, name: str, *, if_exists: bool) -> pa.Table:
        """Take a model with all its versions and checkpoints out of the registry; runs and metrics stay as history.

        Returns:
            One row: the name and how many versions were removed.

        Raises:
            UnknownModelError: There is none of that name and ``if_exists`` is not set.
            InvalidModelError: It is being trained.
        """
        removed = drop_model(self.engine, name, if_exists=if_exists)
        return pa.Table.from_pylist([{"model": name, "versions": removed}], schema=DROP_SCHEMA)

    def _register(
        self,
        snapshot: Snapshot,
        name: str,
        spec_options: Mapping[str, object],
        training_options: Mapping[str, object],
        *,
        or_replace: bool,
        if_not_exists: bool,
    ) -> pa.Table:
        if training_options:
            option = next(iter(training_options))
            raise InvalidArgumentError(
                f"{option} says how to train, but there is nothing to train on",
                fix=f"Give rows by AS SELECT, or give {option} to CALL train.",
                value=option,
            )
        operations, version = creation(
            snapshot,
            name,
            ModelSpec.from_options(spec_options),
            at=self.engine.clock(),
            or_replace=or_replace,
            if_not_exists=if_not_exists,
        )
        if operations:
            self.engine.commit(WriteBatch(operations))
        return _version_table(version, "created" if operations else "exists")


def _divided(options: Mapping[str, object]) -> tuple[dict[str, object], dict[str, object]]:
    # Options of the model and options of its training.
    fields = [field.name for field in dataclasses.fields(ModelSpec)]
    spec: dict[str, object] = {}
    training: dict[str, object] = {}
    for name, value in options.items():
        if ALIASES.get(name.lower(), name.lower()) in fields:
            spec[name] = value
        elif option_name(name) is not None:
            training[name] = value
        else:
            raise InvalidModelError(
                f"CREATE MODEL has no option {name!r}",
                fix=f"Of the model: {', '.join(fields)}. Of its training: {', '.join(option_names())}.",
                value=name,
            )
    return spec, training


def _rows(
    table: pa.Table, kind: object
) -> tuple[NDArray[np.float32], NDArray[np.int64] | None, NDArray[np.float64] | None]:
    # Vectors, and labels or targets as the kind of model learns from them; an unknown kind is refused later.
    learned = {"classifier": LABEL, "regressor": TARGET}.get(str(kind))
    wanted = (VECTOR,) if learned is None else (VECTOR, learned)
    for column in wanted:
        if column not in table.column_names:
            raise InvalidArgumentError(
                f"AS SELECT gives no column {column!r}, only {', '.join(table.column_names)}",
                fix=f"Select the columns {', '.join(wanted)}, renaming with AS where needed.",
                value=column,
            )
    if not table.num_rows:
        raise EmptyDatasetError("AS SELECT gives no rows to train on", fix="Check its WHERE.", value=0)
    vectors = _vectors(table.column(VECTOR))
    if learned == TARGET:
        return vectors, None, _targets(table.column(TARGET))
    return vectors, None if learned is None else _labels(table), None


def _targets(column: pa.ChunkedArray) -> NDArray[np.float64]:
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise InvalidTargetError(
            f"Row {row} of AS SELECT has no target", fix="Add WHERE target IS NOT NULL.", value=row
        )
    array = target_array(np.asarray(_numbers(column)), len(column))
    values = array.flatten() if pa.types.is_list(array.type) else array
    return np.asarray(values.to_numpy(zero_copy_only=False)).reshape(len(column), -1)


def _numbers(column: pa.ChunkedArray) -> object:
    # Lists of several lengths become an array of objects, which is refused as no numbers; decimals become floats.
    values = column.to_pylist()
    if pa.types.is_decimal(column.type):
        return [float(value) for value in values]
    same = not values or not isinstance(values[0], list) or len({len(value) for value in values}) == 1
    return values if same else np.array([None, *values], dtype=object)[1:]


def _single(targets: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
    # One number a row is stored as a number, not as a list of one.
    return targets[:, 0] if targets is not None and targets.shape[1] == 1 else targets


def _labels(table: pa.Table) -> NDArray[np.int64]:
    labels = label_array(table.column(LABEL), table.num_rows)
    if labels.null_count:
        row = labels.is_null().index(True).as_py()
        raise InvalidLabelError(f"Row {row} of AS SELECT has no label", fix="Add WHERE label IS NOT NULL.", value=row)
    return np.asarray(labels.to_numpy())


def _vectors(column: pa.ChunkedArray) -> NDArray[np.float32]:
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise InvalidVectorError(
            f"The column 'vector' of AS SELECT is of type {kind}", fix="Select a column of vectors.", value=str(kind)
        )
    if column.null_count:
        raise InvalidVectorError(
            "The column 'vector' of AS SELECT has rows without a vector", fix="Add WHERE vector IS NOT NULL."
        )
    array = column.combine_chunks()
    flat = np.asarray(array.flatten().to_numpy(zero_copy_only=False), dtype=np.float32)
    rows = len(array)
    if not pa.types.is_fixed_size_list(kind):
        lengths = array.value_lengths().to_numpy(zero_copy_only=False)
        wrong = np.flatnonzero(lengths != lengths[0])
        if len(wrong):
            raise InvalidVectorError(
                f"Row {int(wrong[0])} of AS SELECT has {int(lengths[wrong[0]])} numbers, row 0 has {int(lengths[0])}",
                fix="Select vectors of one length.",
                value=int(lengths[wrong[0]]),
            )
    if not len(flat):
        raise InvalidVectorError("The vectors of AS SELECT are empty", fix="Select vectors with numbers in them.")
    return flat.reshape(rows, -1)


def _check_rows(
    spec: ModelSpec,
    training: TrainingOptions,
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64] | None,
    targets: NDArray[np.float64] | None,
) -> None:
    # Everything that training would refuse, before anything is written.
    if training.validation_split is not None:
        raise InvalidArgumentError(
            f"validation_split = {training.validation_split!r}, but the rows of AS SELECT are one split",
            fix="Use validation_fraction.",
            value=training.validation_split,
        )
    if labels is not None and int(labels.max()) >= spec.width:
        row = int(np.flatnonzero(labels >= spec.width)[0])
        raise InvalidLabelError(
            f"Row {row} of AS SELECT has the label {int(labels[row])}, but the model has {spec.classes} classes",
            fix=f"Use classes = {int(labels.max()) + 1}, or leave classes out.",
            value=int(labels[row]),
        )
    if targets is not None:
        checked_targets(targets, len(vectors), spec.width)
    count = len(vectors)
    if training.validation_fraction:
        strata = np.zeros(len(vectors), np.int64) if labels is None else labels
        rows, held = hold_out(strata, training.validation_fraction, seed=training.seed)
        check_hold_out(len(rows), len(held), training)
        count = len(rows)
    scaling = None if targets is None else TargetScaling.fitted(targets)
    model = model_of(spec, fit_reduction(spec, vectors, seed=training.seed), scaling)
    recipe_for(training, model, count)
    model.features(vectors)


def _free_name(snapshot: Snapshot, name: str) -> str:
    taken = {schema.name.casefold() for schema in snapshot.collections()}
    number, free = 1, name
    while free.casefold() in taken:
        number += 1
        free = f"{name}_{number}"
    return free


def _version_table(version: ModelVersion, status: str) -> pa.Table:
    row = {"model": version.model, "version": version.version, "status": status}
    return pa.Table.from_pylist([row], schema=RUN_SCHEMA)
