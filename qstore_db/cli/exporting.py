"""Rows of a collection into a file, a batch at a time, so that a collection may be larger than memory."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa

from qstore_db.errors import AlreadyExistsError, InvalidArgumentError
from storage_engine.snapshot import CollectionView

if TYPE_CHECKING:
    from qstore_db.database import QuantumDatabase

BATCH_ROWS = 10_000


class _Sink(Protocol):
    """A file that is being written."""

    def add(self, rows: pa.Table) -> None:
        """Append rows."""

    def close(self) -> None:
        """Finish the file."""


def export_file(
    db: QuantumDatabase, collection: str, file: Path, *, overwrite: bool = False, version: int | str | None = None
) -> int:
    """Write the rows of a collection, in the order of their writing; returns how many.

    A ``.parquet`` file gets every column with its type. A ``.csv`` file gets vectors and nested values as JSON text. A
    ``.npy`` file gets the vectors alone. :func:`qstore_db.cli.importing.import_file` reads each of them back. The file
    appears under its name when it is complete.

    Args:
        db: The database.
        collection: Its name, or that of a data set.
        file: Where to; the suffix says what kind.
        overwrite: Whether a file that is there is replaced.
        version: Of which version; ``None`` is the newest.

    Raises:
        InvalidArgumentError: The suffix is none of these, or the folder is not there.
        AlreadyExistsError: The file is there and ``overwrite`` is not set.
        UnknownCollectionError, UnknownVersionError: There is no such collection or version.
    """
    from rich.console import Console
    from rich.progress import Progress

    kinds: dict[str, Callable[[Path, CollectionView], _Sink]] = {".parquet": _Parquet, ".csv": _Csv, ".npy": _Vectors}
    if file.suffix not in kinds or not file.parent.is_dir():
        raise InvalidArgumentError(
            f"{str(file)!r} cannot be written",
            fix="use .parquet, .csv or .npy in a folder that exists",
            value=str(file),
        )
    if file.exists() and not overwrite:
        raise AlreadyExistsError(f"{str(file)!r} exists already", fix="give --overwrite", value=str(file))
    if version is not None:
        with db.at(version) as past:
            return export_file(past, collection, file, overwrite=overwrite)
    db.collection(collection)  # hidden ones are refused
    view = db._engine.snapshot().collection(collection)
    partial = file.with_name(f"{file.name}.part")
    sink = kinds[file.suffix](partial, view)
    try:
        with Progress(disable=not sys.stderr.isatty(), console=Console(stderr=True)) as progress:
            task = progress.add_task(f"exporting {collection}", total=len(view))
            for rows in batches(view):
                sink.add(rows)
                progress.advance(task, rows.num_rows)
    except BaseException:
        sink.close()
        partial.unlink(missing_ok=True)
        raise
    sink.close()
    partial.replace(file)
    return len(view)


def batches(view: CollectionView) -> Iterator[pa.Table]:
    """The live rows in slot order, 10,000 at a time: ``id``, ``vector`` and metadata."""
    slots = np.flatnonzero(view.live())
    for start in range(0, len(slots), BATCH_ROWS):
        some = slots[start : start + BATCH_ROWS]
        vectors = pa.array(view.vectors_at(some).reshape(-1), pa.float32())
        metadata = view.metadata_at(some)
        columns = {
            "id": pa.array(view.ids_at(some), pa.string()),
            "vector": pa.FixedSizeListArray.from_arrays(vectors, view.schema.dimension),
            **{name: metadata.column(name) for name in metadata.column_names},
        }
        yield pa.table(columns)


class _Parquet:
    def __init__(self, file: Path, view: CollectionView) -> None:
        import pyarrow.parquet as pq

        vector = pa.list_(pa.float32(), view.schema.dimension)
        schema = pa.schema([("id", pa.string()), ("vector", vector), *view.columns.items()])
        self._writer = pq.ParquetWriter(file, schema, compression="zstd")

    def add(self, rows: pa.Table) -> None:
        """Append rows."""
        self._writer.write_table(rows)

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()


class _Csv:
    def __init__(self, file: Path, view: CollectionView) -> None:
        import pyarrow.csv

        fields = [("id", pa.string()), ("vector", pa.string()), *((n, _csv_type(k)) for n, k in view.columns.items())]
        self._schema = pa.schema(fields)
        self._writer = pyarrow.csv.CSVWriter(str(file), self._schema)

    def add(self, rows: pa.Table) -> None:
        """Append rows, nested values as JSON."""
        columns = []
        for field in self._schema:
            column = rows.column(field.name)
            if pa.types.is_nested(column.type):
                texts = [None if value is None else _json(value) for value in column.to_pylist()]
                columns.append(pa.chunked_array([pa.array(texts, pa.string())]))
            else:
                columns.append(column.cast(field.type))
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()


def _csv_type(kind: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_nested(kind) else kind


def _json(value: object) -> str:
    """JSON in which every float32 of a vector comes back bit for bit; what JSON has no word for stands as text."""
    return json.dumps(value, default=str, ensure_ascii=False)


class _Vectors:
    """A ``.npy`` file whose header is written first: the number of rows is known."""

    def __init__(self, file: Path, view: CollectionView) -> None:
        shape = (len(view), view.schema.dimension)
        self._array: np.memmap[Any, np.dtype[np.float32]] | None = None
        if len(view):
            self._array = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape)
        else:
            with file.open("wb") as stream:
                np.save(stream, np.empty(shape, np.float32), allow_pickle=False)
        self._done = 0

    def add(self, rows: pa.Table) -> None:
        """Append vectors."""
        if self._array is not None:
            vectors = rows.column("vector").combine_chunks().flatten().to_numpy(zero_copy_only=False)
            self._array[self._done : self._done + rows.num_rows] = vectors.reshape(rows.num_rows, -1)
            self._done += rows.num_rows

    def close(self) -> None:
        """Finish the file."""
        if self._array is not None:
            self._array.flush()
            self._array = None
