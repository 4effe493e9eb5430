"""What a run trains on: rows and targets, checked before anything is written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import EmptyDatasetError, InvalidArgumentError, InvalidVectorError
from qstore_db.models.model import Model
from qstore_db.models.named import AnyModel, model_of
from qstore_db.models.reduction import Reduction, fit_reduction_on_chunks
from qstore_db.models.specification import ModelSpec
from qstore_db.models.target_scaling import TargetScaling
from qstore_db.training.dataset import (
    SplitRows,
    find_dataset,
    fingerprint,
    labels_below,
    split_rows,
    vector_blocks,
)
from qstore_db.training.loader import balanced_order, epoch_order, hold_out
from qstore_db.training.options import TrainingOptions
from qstore_db.training.targets import with_targets
from storage_engine.snapshot import Snapshot

KEPT_FEATURE_BYTES = 256 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """The rows of a run.

    Args:
        dataset: Name of the data set.
        version: The LSN at which it was read.
        rows: To train on.
        targets: Of those rows, as the model takes them: classes int64 (n,), numbers float64 (n, outputs), ``None`` for
            a model that needs none.
        validation: To validate on, or ``None``.
        validation_targets: Of those rows.
    """

    dataset: str
    version: int
    rows: SplitRows
    targets: NDArray[Any] | None
    validation: SplitRows | None
    validation_targets: NDArray[Any] | None

    def digest(self) -> str:
        """SHA-256 of all rows with labels and targets, hexadecimal. Cost: one pass over the vectors."""
        parts = [fingerprint(self.rows)]
        if self.validation is not None:
            parts.append(fingerprint(self.validation))
        return hashlib.sha256("/".join(parts).encode()).hexdigest()

    def fit_reduction(self, spec: ModelSpec, seed: int) -> Reduction:
        """The reduction of a model, fitted on the training rows alone.

        Raises:
            InvalidModelError: The length of the rows does not fit the specification.
        """
        dimension = self.rows.view.schema.dimension
        return fit_reduction_on_chunks(spec, dimension, lambda: vector_blocks(self.rows), seed=seed)

    def model(self, spec: ModelSpec, seed: int) -> AnyModel:
        """The model of a specification, with all that is fitted on the training rows.

        Raises:
            InvalidModelError: The length of the rows does not fit the specification.
        """
        scaling = TargetScaling.fitted(self.targets) if spec.kind == "regressor" and self.targets is not None else None
        return model_of(spec, self.fit_reduction(spec, seed), scaling)


def gather(snapshot: Snapshot, dataset: str, spec: ModelSpec, options: TrainingOptions) -> Material:
    """The rows that a run with these options trains and validates on.

    Raises:
        UnknownDatasetError: There is no such data set.
        EmptyDatasetError: A split has no rows, or none are left to train on.
        InvalidLabelError: A row has no label or one that the model does not know.
        InvalidTargetError: A row has no target, or one that does not fit the model.
        InvalidArgumentError: ``validation_fraction`` holds out no row.
    """
    view = find_dataset(snapshot, dataset)
    rows = rows_for(spec, split_rows(view, options.split))
    validation = None
    if options.validation_split is not None:
        validation = rows_for(spec, split_rows(view, options.validation_split))
    elif options.validation_fraction:
        training, held = hold_out(strata(spec, rows), options.validation_fraction, seed=options.seed)
        check_hold_out(len(training), len(held), options)
        rows, validation = rows.take(training), rows.take(held)
    held_targets = None if validation is None else targets_for(spec, validation)
    return Material(dataset, view.version, rows, targets_for(spec, rows), validation, held_targets)


def rows_for(spec: ModelSpec, rows: SplitRows) -> SplitRows:
    """Rows of a split with what the model learns from them, checked.

    Raises:
        InvalidLabelError: The model is a classifier, and a row has no label or one that the model does not know.
        InvalidTargetError: It is a regressor, and a row has no target or one that does not fit.
    """
    if spec.kind == "regressor":
        return with_targets(rows, spec.width)
    if spec.kind == "classifier":
        labels_below(rows, spec.width)
    return rows


def targets_for(spec: ModelSpec, rows: SplitRows) -> NDArray[Any] | None:
    """What a model of this specification learns from checked rows; ``None`` for an autoencoder."""
    return {"classifier": rows.labels, "regressor": rows.targets}.get(spec.kind)


def strata(spec: ModelSpec, rows: SplitRows) -> NDArray[np.int64]:
    """Groups of rows that a held-out share is drawn from alike, int64 (n,): classes, or all rows as one group."""
    if spec.kind == "classifier" and rows.labels is not None:
        return rows.labels
    return np.zeros(len(rows), np.int64)


def check_hold_out(training: int, held: int, options: TrainingOptions) -> None:
    """Check that there are rows to validate on and rows to train on.

    Raises:
        InvalidArgumentError: No row is held out.
        EmptyDatasetError: All are.
    """
    if not held:
        raise InvalidArgumentError(
            f"validation_fraction = {options.validation_fraction} of {training} rows holds out no row of any class",
            fix="Use a larger fraction, or validation_split.",
            value=options.validation_fraction,
        )
    if not training:
        raise EmptyDatasetError(
            f"validation_fraction = {options.validation_fraction} leaves no row to train on",
            fix="Use a smaller fraction.",
            value=options.validation_fraction,
        )


class Features:
    """What the circuit encodes, for rows of a split: kept in memory where all fit, made anew from the rows otherwise.

    Both ways give the same bits. Every row is checked when the object is made.

    Args:
        model: Makes features of rows.
        rows: Of a split.
        kept_bytes: Room for features; where they need more, none are kept.

    Raises:
        InvalidVectorError: A row cannot be encoded; the message names its id.
    """

    def __init__(self, model: Model, rows: SplitRows, *, kept_bytes: int = KEPT_FEATURE_BYTES) -> None:
        self._model = model
        self._rows = rows
        shape = (len(rows), model.reduction.width)
        fits = shape[0] * shape[1] * 8 <= kept_bytes
        self._kept = np.empty(shape) if fits else None
        done = 0
        for block in vector_blocks(rows):
            features = self._features(block, done)
            if self._kept is not None:
                self._kept[done : done + len(features)] = features
            done += len(features)

    def __len__(self) -> int:
        return len(self._rows)

    def at(self, positions: NDArray[np.int64]) -> NDArray[np.float64]:
        """Features of the rows at ``positions``, (len(positions), width)."""
        if self._kept is not None:
            return self._kept[positions]
        return self._model.features(self._rows.view.vectors_at(self._rows.slots[positions]))

    def _features(self, block: NDArray[np.float32], done: int) -> NDArray[np.float64]:
        try:
            return self._model.features(block)
        except InvalidVectorError as error:
            if not isinstance(error.value, int):
                raise
            slots = self._rows.slots[[done + error.value]]
            where = self._rows.view.ids_at(slots)[0]
            raise InvalidVectorError(
                f"Row {where!r} of data set {self._rows.view.schema.name!r} cannot be encoded: {error.what}",
                fix=error.fix,
                value=where,
            ) from error


def batches(
    rows: int, options: TrainingOptions, *, epoch: int, done: int = 0, labels: NDArray[np.int64] | None = None
) -> Iterator[NDArray[np.int64]]:
    """Positions of the rows of each minibatch of an epoch, without the first ``done`` minibatches.

    Args:
        rows: How many there are.
        options: Of the run; ``balanced`` needs the labels.
        epoch: From 1.
        done: Minibatches to leave out.
        labels: Class of each row.

    The order is that of :class:`~qstore_db.training.loader.Loader` with the same seed.
    """
    if options.balanced and labels is not None:
        order = balanced_order(labels, seed=options.seed, epoch=epoch)
    else:
        order = epoch_order(rows, seed=options.seed, epoch=epoch) if options.shuffle else np.arange(rows)
    for start in range(done * options.batch_size, rows, options.batch_size):
        yield order[start : start + options.batch_size]
