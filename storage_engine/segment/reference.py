"""How manifests and log records name a sealed segment."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from storage_engine.files import check_name
from storage_engine.schema import VectorType
from storage_engine.staged_file import StoredFile


@dataclass(frozen=True, slots=True)
class SegmentReference:
    """One sealed segment: immutable rows of one collection.

    Args:
        uuid: 32 hexadecimal digits; the files are ``seg/<uuid>.vec``, ``.ids`` and ``.meta``.
        collection: UUID of the collection.
        rows: Number of rows, at least 1.
        dimension: Length of each vector.
        first_lsn: Smallest born LSN of its rows.
        last_lsn: Largest born LSN of its rows.
        vectors: The file of vectors, norms and born LSNs.
        ids: The file of ids with its hash index.
        metadata: The Parquet file, or ``None`` if the rows have no metadata column.
        columns: Names and types of the metadata columns, as :func:`pack_columns` writes them; empty where there are
            none, or where a version before format 1.1 wrote the segment.
        dtype: Type of the vectors in their file.
        metadata_sums: CRC-32 of each 64 KiB of the metadata file, as base64 of one u32 each: what a repair goes by.
            Empty where there is no such file, or where a version before format 1.2 wrote it.
    """

    uuid: str
    collection: str
    rows: int
    dimension: int
    first_lsn: int
    last_lsn: int
    vectors: StoredFile
    ids: StoredFile
    metadata: StoredFile | None
    columns: str = ""
    dtype: VectorType = VectorType.FLOAT32
    metadata_sums: str = ""

    @property
    def files(self) -> tuple[StoredFile, ...]:
        """All files of the segment, without deletions."""
        both = (self.vectors, self.ids)
        return both if self.metadata is None else (*both, self.metadata)


@dataclass(frozen=True, slots=True)
class AttachSegment:
    """Operation in a log record: a bulk load whose rows were staged as a segment before the commit.

    Applying it is like ``PutRows`` in mode ``upsert`` with the segment's rows: a stored row of the same id dies and the
    segment's row takes its place.

    Args:
        collection: UUID of the collection.
        segment: The staged segment; its files are durable before the record is written.
        deleted_ids: Further ids that die with this commit.
        new_ids: Whether it is known that no row of its ids was stored. Not written down: recovery looks.
    """

    collection: str
    segment: SegmentReference
    deleted_ids: tuple[str, ...] = ()
    new_ids: bool = False


def pack_columns(schema: pa.Schema) -> str:
    """An Arrow schema as text: its IPC message in base64."""
    return base64.b64encode(schema.serialize()).decode()


def unpack_columns(columns: str) -> pa.Schema:
    """Inverse of :func:`pack_columns`.

    Raises:
        ValueError: The text is something else.
    """
    try:
        return pa.ipc.read_schema(pa.BufferReader(base64.b64decode(columns, validate=True)))
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"not a schema: {error}") from error


def file_to_json(file: StoredFile | None) -> list[Any] | None:
    """``[name, length, sha256]``, or ``None``."""
    return None if file is None else [file.name, file.length, file.sha256]


def file_from_json(value: Any) -> StoredFile:
    """Inverse of :func:`file_to_json` for a present file.

    Raises:
        ValueError: The value has another shape, or a name that no file of ours has.
    """
    match value:
        case [str(name), int(length), str(sha256)] if length >= 0:
            return StoredFile(check_name(name), length, sha256)
    raise ValueError(f"not a file reference: {value!r}")


def reference_to_json(reference: SegmentReference) -> dict[str, Any]:
    """A JSON object of plain values; ``dtype`` is left out where it is float32, as before format 1.2."""
    more = {} if reference.dtype is VectorType.FLOAT32 else {"dtype": reference.dtype.value}
    if reference.metadata_sums:
        more["metadata_sums"] = reference.metadata_sums
    return {
        "uuid": reference.uuid,
        "collection": reference.collection,
        "rows": reference.rows,
        "dimension": reference.dimension,
        "first_lsn": reference.first_lsn,
        "last_lsn": reference.last_lsn,
        "vectors": file_to_json(reference.vectors),
        "ids": file_to_json(reference.ids),
        "metadata": file_to_json(reference.metadata),
        "columns": reference.columns,
        **more,
    }


def reference_from_json(value: Mapping[str, Any]) -> SegmentReference:
    """Inverse of :func:`reference_to_json`.

    Raises:
        ValueError, TypeError, KeyError: The value has another shape.
    """
    return SegmentReference(
        uuid=str(value["uuid"]),
        collection=str(value["collection"]),
        rows=int(value["rows"]),
        dimension=int(value["dimension"]),
        first_lsn=int(value["first_lsn"]),
        last_lsn=int(value["last_lsn"]),
        vectors=file_from_json(value["vectors"]),
        ids=file_from_json(value["ids"]),
        metadata=None if value["metadata"] is None else file_from_json(value["metadata"]),
        columns=_checked_columns(str(value.get("columns", ""))),
        dtype=VectorType(value.get("dtype", "float32")),
        metadata_sums=_checked_sums(str(value.get("metadata_sums", ""))),
    )


def _checked_columns(columns: str) -> str:
    if columns:
        unpack_columns(columns)
    return columns


def _checked_sums(sums: str) -> str:
    if len(base64.b64decode(sums, validate=True)) % 4:
        raise ValueError("block checksums that are no list of u32")
    return sums
