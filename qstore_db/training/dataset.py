"""Data sets: training rows with a split and a label each, kept as collections.

A data set *is* a collection with ``Role.DATASET``, by default of the metric l2. Row ``n`` of a split, counted from 0 in
the order in which rows were stored, has the id ``"<split>/<n>"``. Two metadata columns are always there: ``split``
(text) and ``label`` (int64, null where a row has none). The column ``target`` holds what a regressor learns, numbers
(float64) or lists of them; a data set without targets has none. Further columns are the caller's.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from qstore_db.errors import (
    AlreadyExistsError,
    DimensionMismatchError,
    EmptyDatasetError,
    InvalidArgumentError,
    InvalidLabelError,
    InvalidMetadataError,
    InvalidVectorError,
    UnknownDatasetError,
)
from qstore_db.row_input import MetadataInput, parse_metadata, to_float32
from qstore_db.training.targets import TARGET, target_array
from storage_engine.batch import CreateCollection, Operation, PutRows, WriteBatch
from storage_engine.engine import Engine
from storage_engine.schema import CollectionSchema, Metric, Role
from storage_engine.snapshot import CollectionView, Snapshot

SPLIT = "split"
LABEL = "label"
_SPLIT_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """A data set at one version.

    Args:
        name: Of the data set, and of its collection.
        rows: In all splits.
        dimension: Length of each row.
        splits: Rows of each split, in the order in which the splits were first stored.
        classes: One more than the largest label, or ``None`` where no row has a label.
        version: The database's version at which it was read: all of the above holds at that LSN.
    """

    name: str
    rows: int
    dimension: int
    splits: Mapping[str, int]
    classes: int | None
    version: int


@dataclass(frozen=True, slots=True, eq=False)
class SplitRows:
    """The rows of one split in a snapshot, in the order in which they were stored. 16 bytes a row.

    Args:
        view: The data set.
        split: The split's name.
        slots: Where each row lies in the view, int64 (n,).
        labels: int64 (n,), or ``None`` where a row of the split has no label.
        unlabelled: Position of the first row without a label, or ``None``.
        targets: float64 (n, outputs), or ``None`` where they were not asked for.
    """

    view: CollectionView = field(repr=False)
    split: str
    slots: NDArray[np.int64]
    labels: NDArray[np.int64] | None
    unlabelled: int | None = None
    targets: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.slots)

    def take(self, positions: NDArray[np.int64]) -> SplitRows:
        """The rows at ``positions``, in that order."""
        labels = None if self.labels is None else self.labels[positions]
        targets = None if self.targets is None else self.targets[positions]
        return SplitRows(self.view, self.split, self.slots[positions], labels, self.unlabelled, targets)


def store_training_data(
    engine: Engine,
    name: str,
    data: ArrayLike,
    labels: ArrayLike | Sequence[int | None] | pa.Array | None = None,
    *,
    split: str = "train",
    metadata: MetadataInput = None,
    append: bool = False,
    targets: ArrayLike | None = None,
    metric: str = "l2",
) -> DatasetInfo:
    """Store rows as a split of a data set, in one commit; the data set is created if it is missing.

    Args:
        engine: The database.
        name: Of the data set: a letter or ``_``, then up to 127 letters, digits, ``_``, ``.`` or ``-``.
        data: Finite real numbers, (n, d), n ≥ 1; kept as float32.
        labels: One integer from 0 on for each row; ``None`` for a row, or for all, without one.
        split: 1 to 64 letters, digits, ``_``, ``.`` or ``-``.
        metadata: Further columns, one row each.
        append: Whether rows may be added to a split that is there.
        targets: What a regressor learns: finite numbers (n,) or (n, outputs), kept as float64 in the column ``target``.
        metric: How a new data set compares vectors: ``l2``, ``ip``, or ``cosine``, which also holds superposed records,
            inserted with the columns ``split`` and ``label``. A stored data set keeps its own.

    Returns:
        The data set afterwards.

    Raises:
        AlreadyExistsError: The split is there and ``append`` is not set, or the name is that of an ordinary collection.
        EmptyDatasetError: There are no rows.
        InvalidVectorError: ``data`` is no matrix of finite real numbers.
        DimensionMismatchError: The data set has rows of another length.
        InvalidLabelError: A label is no integer or below 0, or their number is not that of the rows.
        InvalidTargetError: A target is no finite number, or their number is not that of the rows.
        InvalidMetadataError: A column has a reserved name, a wrong length, or a type that conflicts.
        InvalidArgumentError: ``name`` or ``split`` is malformed, or there is no such metric.
    """
    operations = storing(
        engine.snapshot(),
        name,
        data,
        labels,
        split=split,
        metadata=metadata,
        append=append,
        targets=targets,
        created_at=engine.clock(),
        metric=metric,
    )
    engine.commit(WriteBatch(operations))
    return dataset_info(engine.snapshot(), name)


def storing(
    snapshot: Snapshot,
    name: str,
    data: ArrayLike,
    labels: ArrayLike | Sequence[int | None] | pa.Array | None,
    *,
    split: str,
    created_at: float,
    metadata: MetadataInput = None,
    append: bool = False,
    targets: ArrayLike | None = None,
    metric: str = "l2",
) -> list[Operation]:
    """The operations of :func:`store_training_data`, so that a caller can put more into the same commit."""
    rows = _checked_data(data)
    measure = _checked_metric(metric)
    further = _further_columns(parse_metadata(metadata, single=False, rows=len(rows)))
    table = pa.table({SPLIT: pa.repeat(_checked_split(split), len(rows)), LABEL: label_array(labels, len(rows))})
    if targets is not None:
        if TARGET in further:
            raise InvalidMetadataError(
                f"The metadata has a column {TARGET!r}, and targets are given beside it",
                fix="Give one of them.",
                value=TARGET,
            )
        table = table.append_column(TARGET, target_array(targets, len(rows)))
    for column, values in further.items():
        table = table.append_column(column, values)
    operations: list[Operation] = []
    first = 0
    if snapshot.has_collection(name):
        view = _dataset_view(snapshot, name)
        first = _check_fits(view, rows, split, append=append)
    else:
        schema = CollectionSchema(
            name=name,
            uuid=uuid.uuid4().hex,
            dimension=rows.shape[1],
            metric=measure,
            role=Role.DATASET,
            created_at=created_at,
        )
        operations.append(CreateCollection(schema))
    ids = [f"{split}/{number}" for number in range(first, first + len(rows))]
    operations.append(PutRows(name, ids, rows, metadata=table, mode="insert"))
    return operations


def _checked_metric(name: str) -> Metric:
    try:
        return Metric(name)
    except ValueError:
        raise InvalidArgumentError(
            f"there is no metric {name!r}", fix=f"Use one of {', '.join(Metric)}.", value=name
        ) from None


def dataset_info(snapshot: Snapshot, name: str) -> DatasetInfo:
    """The data set of that name. Cost: one pass over the columns ``split`` and ``label``.

    Raises:
        UnknownDatasetError: There is none.
    """
    import pyarrow.compute as pc

    view = find_dataset(snapshot, name)
    table = view.arrow([SPLIT, LABEL])
    counts = pc.value_counts(table.column(SPLIT)).to_pylist()
    largest = pc.max(table.column(LABEL)).as_py()
    return DatasetInfo(
        name=name,
        rows=len(view),
        dimension=view.schema.dimension,
        splits={str(entry["values"]): int(entry["counts"]) for entry in counts},
        classes=None if largest is None else int(largest) + 1,
        version=view.version,
    )


def find_dataset(snapshot: Snapshot, name: str) -> CollectionView:
    """The collection of a data set.

    Raises:
        UnknownDatasetError: There is no data set of that name; the message names those there are.
    """
    if snapshot.has_collection(name):
        view = snapshot.collection(name)
        if view.schema.role is Role.DATASET:
            return view
    known = ", ".join(schema.name for schema in snapshot.collections() if schema.role is Role.DATASET)
    raise UnknownDatasetError(
        f"There is no data set {name!r}",
        fix=f"The data sets are: {known}." if known else "Store one with db.store_training_data.",
        value=name,
    )


def split_rows(view: CollectionView, split: str) -> SplitRows:
    """The rows of a split. Cost: one pass over the columns ``split`` and ``label``; no vector is read.

    Raises:
        EmptyDatasetError: The split has no rows; the message names the splits there are.
    """
    import pyarrow.compute as pc

    name = view.schema.name
    live = view.live()
    splits = view.column(SPLIT)
    inside = pc.fill_null(pc.equal(splits, split), False).to_numpy() & live
    slots = np.flatnonzero(inside).astype(np.int64)
    if not len(slots):
        known = ", ".join(str(value) for value in pc.unique(splits.filter(pa.array(live))).to_pylist())
        raise EmptyDatasetError(
            f"The split {split!r} of data set {name!r} has no rows",
            fix=f"Its splits are: {known}." if known else "Store rows with db.store_training_data.",
            value=split,
        )
    labels = view.column(LABEL).take(pa.array(slots))
    if labels.null_count:
        missing = int(np.flatnonzero(pc.is_null(labels).to_numpy())[0])
        return SplitRows(view, split, slots, None, missing)
    return SplitRows(view, split, slots, labels.to_numpy().astype(np.int64, copy=False))


def fingerprint(rows: SplitRows) -> str:
    """SHA-256 of vectors, labels and targets, hexadecimal: equal exactly where training would see the same rows.

    Cost: one pass over the vectors in blocks, about a second a gigabyte.
    """
    digest = hashlib.sha256(f"{len(rows)} rows of {rows.view.schema.dimension}".encode())
    for block in vector_blocks(rows):
        digest.update(block.data)
    if rows.labels is not None:
        digest.update(rows.labels.data)
    if rows.targets is not None:
        digest.update(np.ascontiguousarray(rows.targets).data)
    return digest.hexdigest()


def vector_blocks(rows: SplitRows, block_rows: int = 4096) -> Iterator[NDArray[np.float32]]:
    """The vectors of rows in order, float32 (at most ``block_rows``, d) at a time."""
    for start in range(0, len(rows), block_rows):
        yield rows.view.vectors_at(rows.slots[start : start + block_rows])


def labels_below(rows: SplitRows, classes: int) -> NDArray[np.int64]:
    """The labels of rows, all there and all in 0 … ``classes - 1``.

    Raises:
        InvalidLabelError: A row has no label, or one out of range; the message names the row's id.
    """
    name = rows.view.schema.name
    labels = require_labels(rows)
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        label = int(labels[wrong[0]])
        where = rows.view.ids_at(rows.slots[wrong[:1]])[0]
        raise InvalidLabelError(
            f"Row {where!r} of data set {name!r} has the label {label}, but the model has {classes} classes,"
            f" 0 to {classes - 1}",
            fix=f"Number the classes from 0, or make a model with classes = {int(labels.max()) + 1}.",
            value=label,
        )
    return labels


def require_labels(rows: SplitRows) -> NDArray[np.int64]:
    """The labels of rows, all there.

    Raises:
        InvalidLabelError: A row has no label; the message names its id.
    """
    if rows.labels is None:
        where = rows.view.ids_at(rows.slots[[rows.unlabelled or 0]])[0]
        raise InvalidLabelError(
            f"Row {where!r} of data set {rows.view.schema.name!r} has no label",
            fix="Store the split with labels.",
            value=where,
        )
    return rows.labels


def label_array(labels: ArrayLike | Sequence[int | None] | pa.Array | None, rows: int) -> pa.Array:
    """Labels as an int64 array with nulls where there is none.

    Raises:
        InvalidLabelError: Their number differs from that of the rows, or one is no integer or below 0.
    """
    if labels is None:
        return pa.nulls(rows, pa.int64())
    if isinstance(labels, pa.Array | pa.ChunkedArray):
        given = np.array(labels.to_pylist(), dtype=None if not labels.null_count else object)
    else:
        given = np.asarray(labels)
    if given.shape != (rows,):
        raise InvalidLabelError(
            f"The labels have shape {given.shape}, but there are {rows} rows",
            fix="Give one label for each row.",
            value=given.shape,
        )
    if given.dtype.kind in "iu":
        wrong = np.flatnonzero((given < 0) | (given > np.iinfo(np.int64).max))
        array = None if len(wrong) else pa.array(given.astype(np.int64))
    else:
        wrong = np.array([row for row, label in enumerate(given.tolist()) if not _is_label(label)], dtype=np.int64)
        array = None if len(wrong) else pa.array(given.tolist(), pa.int64())
    if array is None:
        row = int(wrong[0])
        label = given[row].item() if isinstance(given[row], np.generic) else given[row]
        raise InvalidLabelError(
            f"The label of row {row} is {label!r}",
            fix="Number the classes from 0 and give integers (None for a row without a label).",
            value=label,
        )
    return array


def _is_label(label: object) -> bool:
    if label is None:
        return True
    return isinstance(label, int | np.integer) and not isinstance(label, bool) and 0 <= int(label) < 2**63


def _checked_data(data: ArrayLike) -> NDArray[np.float32]:
    rows = to_float32(data)
    if rows.ndim != 2 or (len(rows) and not rows.shape[1]):
        raise InvalidVectorError(
            f"The data has shape {rows.shape}",
            fix="Give an array of shape (rows, features), for images data.reshape(len(data), -1).",
            value=rows.shape,
        )
    if not len(rows):
        raise EmptyDatasetError("There are no rows to store", fix="Give at least one row.", value=0)
    return np.ascontiguousarray(rows)


def _checked_split(split: object) -> str:
    if not isinstance(split, str) or not _SPLIT_NAME.fullmatch(split):
        raise InvalidArgumentError(
            f"{split!r} is no name for a split",
            fix="Use 1 to 64 letters, digits, _, . or -, such as 'train'.",
            value=split,
        )
    return split


def _further_columns(metadata: pa.Table | None) -> dict[str, pa.ChunkedArray]:
    if metadata is None:
        return {}
    for column in (SPLIT, LABEL):
        if column in metadata.column_names:
            raise InvalidMetadataError(
                f"The metadata has a column {column!r}, which every data set has by itself",
                fix=f"Rename the column; {column}s are given by the argument of that name.",
                value=column,
            )
    return dict(zip(metadata.column_names, metadata.columns, strict=True))


def _dataset_view(snapshot: Snapshot, name: str) -> CollectionView:
    view = snapshot.collection(name)
    if view.schema.role is not Role.DATASET:
        raise AlreadyExistsError(
            f"{name!r} is an ordinary collection, not a data set", fix="Choose another name.", value=name
        )
    return view


def _check_fits(view: CollectionView, rows: NDArray[np.float32], split: str, *, append: bool) -> int:
    # Returns the number of the first new row of the split.
    name, dimension = view.schema.name, view.schema.dimension
    if rows.shape[1] != dimension:
        raise DimensionMismatchError(
            f"The data has rows of {rows.shape[1]} numbers, but data set {name!r} has rows of {dimension}",
            fix=f"Give rows of {dimension} numbers, or choose another name.",
            value=rows.shape[1],
        )
    try:
        slots = split_rows(view, split).slots
    except EmptyDatasetError:
        return 0
    if not append:
        raise AlreadyExistsError(
            f"Data set {name!r} has a split {split!r} of {len(slots)} rows",
            fix="Use another split or name, or append=True to add the rows to it.",
            value=split,
        )
    numbers = (row_id.rpartition("/")[2] for row_id in view.ids_at(slots))
    return 1 + max((int(number) for number in numbers if number.isdecimal()), default=len(slots) - 1)
