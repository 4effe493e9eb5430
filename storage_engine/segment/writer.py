"""Write one sealed segment: all its files under temporary names, synced and verified, then named together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage_engine.files import Disk
from storage_engine.schema import VectorType
from storage_engine.segment.ids import IdsWriter
from storage_engine.segment.metadata import MetadataWriter
from storage_engine.segment.reference import SegmentReference, pack_columns
from storage_engine.segment.vectors import VectorsWriter
from storage_engine.staged_file import StoredFile, discard, publish
from storage_engine.vectors.types import StoredVectors


@dataclass(frozen=True, slots=True)
class RowChunk:
    """Some rows on their way into a segment.

    Args:
        ids: One per row.
        vectors: (m, dimension) in the segment's type, or float32 numbers that it holds exactly; stored bit by bit.
        norms: float32 (m,): what a cosine score divides by.
        born: u64 (m,), LSN of the commit that wrote each row.
        metadata: One Arrow row per id, or ``None``.
    """

    ids: list[str]
    vectors: StoredVectors
    norms: NDArray[np.float32]
    born: NDArray[np.uint64]
    metadata: pa.Table | None = None


@dataclass(frozen=True, slots=True)
class SegmentRows:
    """The rows of a segment, in slot order, streamed: only one chunk's vectors need to be in memory.

    Args:
        dimension: Length of each vector.
        chunks: At least one row in all. Ids may repeat: of several rows the last is found by id.
        metadata_schema: Columns of all rows; chunks may lack some of them (null) but have no others, and are cast to
            these types. ``None`` or no field: the segment has no metadata.
        dtype: Type of the vectors in their file.
    """

    dimension: int
    chunks: Iterable[RowChunk]
    metadata_schema: pa.Schema | None = None
    dtype: VectorType = VectorType.FLOAT32


def write_segment(disk: Disk, collection_uuid: str, rows: SegmentRows, *, uuid: str) -> SegmentReference:
    """Write, sync, read back, name. The segment is part of the database once a manifest or log record names it.

    Args:
        disk: Where; the directory ``seg`` exists.
        collection_uuid: 32 hexadecimal digits.
        rows: What to write.
        uuid: A fresh one for the segment, 32 hexadecimal digits.

    Returns:
        The reference; all its files are durable under their names.

    Raises:
        DiskError: The disk failed; temporary files are gone or will be swept at the next open.
        DamagedError: What was read back differs from what was written.
        InvalidMetadataError: Metadata does not fit ``rows.metadata_schema`` or cannot be stored.
        ValueError: There is no row, or shapes do not fit together.
    """
    schema = rows.metadata_schema
    vectors = VectorsWriter(disk, f"seg/{uuid}.vec", uuid, rows.dimension, rows.dtype)
    metadata: MetadataWriter | None = None
    files: list[StoredFile] = []
    try:
        if schema is not None and len(schema):
            metadata = MetadataWriter(disk, f"seg/{uuid}.meta", schema)
        ids = IdsWriter()
        for chunk in rows.chunks:
            if len(chunk.ids) != len(chunk.vectors):
                raise ValueError(f"{len(chunk.ids)} ids given for {len(chunk.vectors)} vectors")
            vectors.add(chunk.vectors, chunk.norms, chunk.born)
            ids.add(chunk.ids)
            if metadata is not None:
                metadata.add(chunk.metadata, len(chunk.ids))
        if vectors.rows == 0:
            raise ValueError("a segment of no rows cannot be written")
        first_lsn, last_lsn = vectors.born_range()
        files.append(vectors.seal())
        files.append(ids.seal(disk, f"seg/{uuid}.ids", uuid))
        if metadata is not None:
            files.append(metadata.seal())
        publish(disk, files)
    except BaseException:
        vectors.abandon()
        if metadata is not None:
            metadata.abandon()
        discard(disk, files)
        raise
    return SegmentReference(
        uuid=uuid,
        collection=collection_uuid,
        rows=vectors.rows,
        dimension=rows.dimension,
        first_lsn=first_lsn,
        last_lsn=last_lsn,
        vectors=files[0],
        ids=files[1],
        metadata=files[2] if metadata is not None else None,
        columns=pack_columns(schema.remove_metadata()) if metadata is not None and schema is not None else "",
        dtype=rows.dtype,
        metadata_sums=metadata.sums() if metadata is not None else "",
    )
