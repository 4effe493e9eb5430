"""Large batches: their rows are written as segment files before the commit, and the log record only names them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import numpy as np

from storage_engine.batch import DeleteRows, Operation, PutRows
from storage_engine.errors import WriteFailedError
from storage_engine.files import Disk, DiskError
from storage_engine.resolved import whole
from storage_engine.segment.reference import AttachSegment, SegmentReference
from storage_engine.segment.writer import RowChunk, SegmentRows, write_segment
from storage_engine.wal.entry import LoggedOperation

BATCH_BYTES = 8 << 20
"""A batch with more than this goes to segment files."""

_MAX_SEGMENTS = 64
_RESERVE_BYTES = 64 << 20
_CHUNK_ROWS = 16_384


def rough_size(operations: Sequence[Operation]) -> int:
    """About how many bytes the rows of a batch have that nobody has validated yet."""
    return sum(
        size
        for operation in operations
        if isinstance(operation, PutRows)
        for part in (operation.vectors, operation.metadata)
        if isinstance(size := getattr(part, "nbytes", 0), int)
    )


def size_of(operations: Sequence[LoggedOperation]) -> int:
    """About how many bytes resolved operations take in the log."""
    return sum(map(_size, operations))


def _size(operation: LoggedOperation) -> int:
    if isinstance(operation, PutRows):
        return 40 * len(operation.ids) + rough_size([operation])
    if isinstance(operation, DeleteRows):
        return 40 * len(operation.ids)
    return 256


def staged(disk: Disk, operations: list[LoggedOperation], lsn: int) -> list[LoggedOperation]:
    """Write the largest rows of a batch as segments, until the rest fits into a log record or there are 64 of them.

    Args:
        disk: Where.
        operations: Resolved.
        lsn: The commit's, written beside each row.

    Returns:
        The operations with those rows replaced by references; the files are durable.

    Raises:
        WriteFailedError: The disk is full or failed; nothing was stored.
    """
    rest = size_of(operations)
    need = 2 * rest + _RESERVE_BYTES
    result = list(operations)
    puts = [(index, one) for index, one in enumerate(operations) if isinstance(one, PutRows)]
    largest = sorted(puts, key=lambda entry: -_size(entry[1]))
    done: list[SegmentReference] = []
    try:
        if disk.free_space() < need:
            raise WriteFailedError(
                f"a batch of {rest} bytes needs {need} bytes of free disk space",
                fix="Nothing was stored. Free some space and try again.",
                value=rest,
            )
        for index, put in largest[:_MAX_SEGMENTS]:
            if rest <= BATCH_BYTES:
                break
            reference = _write(disk, put, lsn)
            done.append(reference)
            result[index] = AttachSegment(put.collection, reference)
            rest -= _size(put)
    except DiskError as error:
        discard(disk, done)
        raise WriteFailedError(
            f"the disk did not take a batch of {size_of(operations)} bytes: {error.what}",
            fix="Nothing was stored. Free some space and try again.",
            value=error.name,
        ) from error
    except BaseException:
        discard(disk, done)
        raise
    return result


def discard(disk: Disk, references: Sequence[SegmentReference]) -> None:
    """Remove segments that nothing names; what cannot be removed is swept at the next open."""
    for reference in references:
        for file in reference.files:
            try:
                disk.unlink(file.name)
            except DiskError:
                continue


def _write(disk: Disk, put: PutRows, lsn: int) -> SegmentReference:
    (vectors, norms), metadata = whole(put), put.metadata
    ids = list(put.ids)
    chunks = (
        RowChunk(
            ids[start : start + _CHUNK_ROWS],
            vectors[start : start + _CHUNK_ROWS],
            norms[start : start + _CHUNK_ROWS],
            np.full(len(ids[start : start + _CHUNK_ROWS]), lsn, np.uint64),
            None if metadata is None else metadata.slice(start, _CHUNK_ROWS),
        )
        for start in range(0, len(ids), _CHUNK_ROWS)
    )
    schema = None if metadata is None else metadata.schema
    return write_segment(disk, put.collection, SegmentRows(vectors.shape[1], chunks, schema), uuid=uuid.uuid4().hex)
