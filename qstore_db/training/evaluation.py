"""How well a trained model does on a split of a data set."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qstore_db.models.losses import cross_entropy
from qstore_db.training.dataset import find_dataset, labels_below, split_rows, vector_blocks
from qstore_db.training.trained_models import TrainedModels
from storage_engine.engine import Engine

_BLOCK_ROWS = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """A model version measured on labelled rows.

    Args:
        model: Name of the model.
        version: Its number.
        dataset: Name of the data set.
        dataset_version: The LSN at which it was read.
        split: The split.
        rows: How many rows were classified.
        loss: Mean cross-entropy in nats.
        accuracy: Share of rows that were classified rightly.
        confusion: int64 (classes, classes): how many rows of class i were taken for class j.
    """

    model: str
    version: int
    dataset: str
    dataset_version: int
    split: str
    rows: int
    loss: float
    accuracy: float
    confusion: NDArray[np.int64] = field(repr=False)


def evaluate(
    engine: Engine,
    models: TrainedModels,
    model: str,
    dataset: str,
    *,
    split: str = "test",
    version: int | None = None,
) -> Evaluation:
    """Classify every row of a split and compare with its labels. Writes nothing.

    Args:
        engine: The database.
        models: Its trained versions.
        model: Name of the model.
        dataset: Name of the data set.
        split: Which rows.
        version: Of the model; the newest if ``None``.

    Raises:
        UnknownModelError: There is no such model or version.
        InvalidModelError: The version is not trained.
        UnknownDatasetError: There is no such data set.
        EmptyDatasetError: The split has no rows.
        InvalidLabelError: A row has no label, or one that the model does not know.
        DimensionMismatchError: The rows have another length than the training rows.
        InvalidVectorError: A row cannot be encoded.
    """
    trained = models.load(model, version)
    view = find_dataset(engine.snapshot(), dataset)
    rows = split_rows(view, split)
    classes = trained.classifier.spec.classes
    labels = labels_below(rows, classes)
    loss, done = 0.0, 0
    confusion = np.zeros((classes, classes), dtype=np.int64)
    for block in vector_blocks(rows, _BLOCK_ROWS):
        logits = trained.classifier.logits(trained.parameters, block)
        right = labels[done : done + len(block)]
        loss += float(cross_entropy(logits, right).sum())
        np.add.at(confusion, (right, logits.argmax(axis=1)), 1)
        done += len(block)
    return Evaluation(
        model=trained.version.model,
        version=trained.version.version,
        dataset=dataset,
        dataset_version=view.version,
        split=split,
        rows=done,
        loss=loss / done,
        accuracy=int(np.trace(confusion)) / done,
        confusion=confusion,
    )
