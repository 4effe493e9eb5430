"""Rows from files into a collection, a batch at a time, so that a file may be larger than memory."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa

from qstore_db.cli.array_files import map_rows, read_arrays
from qstore_db.errors import InvalidArgumentError, InvalidVectorError, UnknownCollectionError, UnknownColumnError
from storage_engine.batch import DeleteRecord, PutRecord, WriteBatch
from storage_engine.snapshot import Snapshot

if TYPE_CHECKING:
    from qstore_db.database import QuantumDatabase

BATCH_ROWS = 10_000
BATCH_NUMBERS = 1 << 24  # of an .npy file at once: 64 MiB of float32, however wide its rows
IMPORTS = "imports"
ARRAYS = ("x_train", "y_train", "x_test", "y_test")


def import_file(
    db: QuantumDatabase,
    collection: str,
    file: Path,
    *,
    metric: str = "l2",
    dtype: str = "float32",
    id_column: str = "id",
    vector_column: str = "vector",
    dataset: bool = False,
    resume: bool = False,
    max_bytes: int | None = None,
) -> int:
    """Upsert the rows of a file; each batch of at most 10,000 is one commit. Returns the number of rows of the file.

    With each batch goes a record of how far the import has come; after an interruption ``resume`` goes on there.

    Parquet and CSV need a vector column (lists of numbers; in CSV the text ``[1, 2, 3]``); an ``.npy`` file is one
    vector a row. Rows without an id column get their row number as id. With ``dataset`` an ``.npz`` file of
    ``x_train, y_train, x_test, y_test`` becomes training data; that one is unpacked as a whole, and refused where its
    arrays announce more than ``max_bytes``, by default half of the free memory.

    Raises:
        InvalidArgumentError: The file is missing or of a type that is not read, or it has changed since the import that
            is to be resumed was interrupted; ``max_bytes`` was given for a file that is read a batch at a time.
        InvalidVectorError: An ``.npy`` file is damaged, or holds no vectors.
        NotEnoughMemoryError: A data set announces more than may be unpacked. Nothing was read or stored.
        UnknownColumnError: The vector column is missing.
    """
    if not file.is_file():
        raise InvalidArgumentError(f"there is no file {str(file)!r}", fix="check the path", value=str(file))
    if dataset:
        return import_dataset(db, collection, file, max_bytes)
    if max_bytes is not None:
        raise InvalidArgumentError(
            f"max_bytes is {max_bytes}, and {file.name} is read a batch at a time",
            fix="leave it out, or give dataset=True",
            value=max_bytes,
        )
    from rich.console import Console
    from rich.progress import Progress

    engine = db._engine
    mark = _Mark.of(collection, file)
    rows = mark.rows_done(engine.snapshot()) if resume else 0
    with Progress(disable=not sys.stderr.isatty(), console=Console(stderr=True)) as progress:
        task = progress.add_task(f"importing {file.name}", total=_row_count(file), completed=rows)
        for table in _after(_batches(file), rows):
            ids, vectors, metadata = _split(table, rows, id_column, vector_column)
            with db.transaction():
                try:
                    target = db.collection(collection)
                except UnknownCollectionError:
                    target = db.create_collection(collection, dimension=vectors.shape[1], metric=metric, dtype=dtype)
                target.upsert(ids, vectors, metadata=metadata)
                rows += len(ids)
                engine.commit(WriteBatch([mark.put(rows)]))
            progress.advance(task, len(ids))
    if mark.key in engine.snapshot().table(IMPORTS):
        engine.commit(WriteBatch([DeleteRecord(IMPORTS, mark.key)]))
    return rows


@dataclass(frozen=True, slots=True)
class _Mark:
    """How far the import of one file into one collection has come: a record of the keyed table ``imports``."""

    key: str
    length: int
    modified: int

    @classmethod
    def of(cls, collection: str, file: Path) -> _Mark:
        found = file.stat()
        # The path may be longer than a key.
        where = hashlib.sha256(str(file.resolve()).encode(errors="surrogateescape")).hexdigest()
        return cls(f"{collection} {where}", found.st_size, found.st_mtime_ns)

    def put(self, rows: int) -> PutRecord:
        return PutRecord(IMPORTS, self.key, {"rows": rows, "length": self.length, "modified": self.modified})

    def rows_done(self, snapshot: Snapshot) -> int:
        record = snapshot.table(IMPORTS).get(self.key)
        if record is None:
            return 0
        if (record["length"], record["modified"]) != (self.length, self.modified):
            raise InvalidArgumentError(
                f"the file has changed since {record['rows']} of its rows were imported",
                fix="import it without --resume",
                value=record["rows"],
            )
        return int(cast(int, record["rows"]))


def _after(tables: Iterator[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The tables without their first rows."""
    for table in tables:
        skipped = min(rows, table.num_rows)
        rows -= skipped
        if skipped < table.num_rows:
            yield table.slice(skipped)


def read_dataset(file: Path, max_bytes: int | None = None) -> dict[str, np.ndarray[Any, Any]]:
    """The four arrays of a data set file, images flattened to rows.

    Args:
        file: An ``.npz`` file.
        max_bytes: How many bytes the arrays may take; by default half of the free memory.

    Raises:
        InvalidArgumentError: The file is missing, is no ``.npz`` file, or lacks an array.
        NotEnoughMemoryError: The arrays would take more; nothing was unpacked.
    """
    if not file.is_file() or file.suffix != ".npz":
        raise InvalidArgumentError(f"{str(file)!r} is no .npz file", fix=f"give a file with {', '.join(ARRAYS)}")
    found = read_arrays(file, ARRAYS, max_bytes)
    return {name: array.reshape(len(array), -1) if name.startswith("x") else array for name, array in found.items()}


def import_dataset(db: QuantumDatabase, name: str, file: Path, max_bytes: int | None = None) -> int:
    """Store both splits of a data set file, see :func:`read_dataset`; returns the number of rows."""
    arrays = read_dataset(file, max_bytes)
    for split in ("train", "test"):
        db.store_training_data(name, data=arrays[f"x_{split}"], labels=arrays[f"y_{split}"], split=split)
    return len(arrays["x_train"]) + len(arrays["x_test"])


def _row_count(file: Path) -> int | None:
    if file.suffix == ".parquet":
        import pyarrow.parquet

        return int(pyarrow.parquet.ParquetFile(file).metadata.num_rows)
    if file.suffix == ".npy":
        return len(map_rows(file))
    return None


def _batches(file: Path) -> Iterator[pa.Table]:
    if file.suffix == ".parquet":
        import pyarrow.parquet

        for batch in pyarrow.parquet.ParquetFile(file).iter_batches(BATCH_ROWS):
            yield pa.Table.from_batches([batch])
    elif file.suffix == ".csv":
        import pyarrow.csv

        for batch in pyarrow.csv.open_csv(file):
            yield pa.Table.from_batches([batch])
    elif file.suffix == ".npy":
        array = map_rows(file)
        many = max(1, min(BATCH_ROWS, BATCH_NUMBERS // max(1, array.shape[1])))
        for start in range(0, len(array), many):
            rows = np.ascontiguousarray(array[start : start + many], dtype=np.float32)
            yield pa.table({"vector": pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])})
    else:
        raise InvalidArgumentError(
            f"files of type {file.suffix!r} are not read", fix="use .parquet, .csv, .npy, or .npz with --dataset"
        )


def _split(
    table: pa.Table, first_row: int, id_column: str, vector_column: str
) -> tuple[list[str], np.ndarray[Any, np.dtype[np.float32]], pa.Table]:
    if vector_column not in table.column_names:
        raise UnknownColumnError(
            f"there is no column {vector_column!r} in {', '.join(table.column_names)}", fix="name it by --vector-column"
        )
    if id_column in table.column_names:
        ids = [str(value) for value in table.column(id_column).to_pylist()]
    else:
        ids = [str(first_row + row) for row in range(table.num_rows)]
    vectors = _vectors(table.column(vector_column).combine_chunks(), vector_column)
    metadata = table.drop_columns([name for name in (id_column, vector_column) if name in table.column_names])
    return ids, vectors, metadata


def _vectors(column: pa.Array, name: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    if pa.types.is_string(column.type):
        import json

        try:
            return np.array([json.loads(text) for text in column.to_pylist()], dtype=np.float32)
        except (ValueError, TypeError) as error:
            raise InvalidVectorError(f"column {name!r} holds no vectors: {error}", fix="write [1, 2, 3]") from error
    values = column.flatten()
    if len(column) == 0 or column.null_count or len(values) % len(column):
        raise InvalidVectorError(f"column {name!r} holds lists of different lengths", fix="give each row one vector")
    lengths = column.type.list_size if pa.types.is_fixed_size_list(column.type) else None
    if lengths is None and len(set(np.diff(column.offsets.to_numpy()).tolist())) > 1:
        raise InvalidVectorError(f"column {name!r} holds lists of different lengths", fix="give each row one vector")
    wide = np.asarray(values.to_numpy(zero_copy_only=False))
    return wide.astype(np.float32).reshape(len(column), -1)
