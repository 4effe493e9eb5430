"""A data set as a trained circuit sees it, written as a data set of its own."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import numpy as np

from qstore_db.errors import AlreadyExistsError, InvalidArgumentError
from qstore_db.training.dataset import DatasetInfo, dataset_info, find_dataset
from qstore_db.training.trained_models import TrainedModels
from query.system.reserved_names import RESERVED_TABLE_NAMES
from storage_engine.batch import CreateCollection, JsonValue, PutRecord, PutRows, WriteBatch
from storage_engine.engine import Engine
from storage_engine.schema import CollectionSchema, Metric, Role

EXTRACTIONS = "feature_extractions"
"""The keyed table that says, by name of the data set written, what it was computed from."""

_BLOCK_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Extraction:
    """What was written.

    Args:
        info: The new data set.
        model: Name of the model.
        version: Which version of it.
        source: The data set that was read.
        source_version: The LSN at which it was read.
    """

    info: DatasetInfo
    model: str
    version: int
    source: str
    source_version: int


def extract_features(
    engine: Engine,
    models: TrainedModels,
    dataset: str,
    model: str,
    *,
    name: str | None = None,
    version: int | None = None,
) -> Extraction:
    """Write what a trained model's circuit makes of every row of a data set, in one commit.

    The new data set has the ids, splits, labels, targets and all other columns of the one that was read; its vectors
    are :func:`qstore_db.training.trained_models.features`, rounded to float32: readouts, or codes of an autoencoder. So
    any classifier can be trained on them, and they can be searched like every collection. Its record in the keyed
    table ``feature_extractions`` says what it was computed from.

    Args:
        engine: The database.
        models: Its trained versions.
        dataset: What to read, in all its splits.
        model: Name of the model, or a reference such as ``clothes@champion``.
        name: Of the new data set; ``None``: ``<dataset>_<model>_features``.
        version: Of the model; the newest if ``None``.

    Returns:
        The new data set and its origin. Memory: 4 bytes a number of it.

    Raises:
        UnknownModelError: There is no such model or version.
        InvalidModelError: The version is not trained.
        UnknownDatasetError: There is no such data set.
        AlreadyExistsError: The name is taken.
        InvalidArgumentError: It is malformed, or that of a system table.
        DimensionMismatchError: The rows have another length than the model's training rows.
        InvalidVectorError: A row cannot be encoded.
    """
    trained = models.load(model, version)
    snapshot = engine.snapshot()
    view = find_dataset(snapshot, dataset)
    chosen = name or f"{dataset}_{trained.version.model}_features"
    if chosen.lower() in RESERVED_TABLE_NAMES:
        raise InvalidArgumentError(f"{chosen!r} is the name of a system table", fix="Give another name.", value=chosen)
    if snapshot.has_collection(chosen):
        raise AlreadyExistsError(
            f"There is a collection {chosen!r}", fix="Give another name, or drop it first.", value=chosen
        )
    slots = np.flatnonzero(view.live()).astype(np.int64)
    blocks = [
        trained.features(view.vectors_at(slots[start : start + _BLOCK_ROWS])).astype(np.float32)
        for start in range(0, len(slots), _BLOCK_ROWS)
    ]
    rows = np.concatenate(blocks)
    schema = CollectionSchema(
        name=chosen,
        uuid=uuid.uuid4().hex,
        dimension=rows.shape[1],
        metric=Metric.L2,
        role=Role.DATASET,
        created_at=engine.clock(),
    )
    origin: dict[str, JsonValue] = {
        "model": trained.version.model,
        "version": trained.version.version,
        "source": dataset,
        "source_version": view.version,
    }
    engine.commit(
        WriteBatch(
            [
                CreateCollection(schema),
                PutRows(chosen, view.ids_at(slots), rows, metadata=view.metadata_at(slots), mode="insert"),
                PutRecord(EXTRACTIONS, chosen, origin),
            ]
        )
    )
    return Extraction(
        dataset_info(engine.snapshot(), chosen), trained.version.model, trained.version.version, dataset, view.version
    )
