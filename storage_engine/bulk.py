"""Large batches: their rows are written as segment files before the commit, and the log record only names them.

That takes long, so it is done before the batch's turn comes, while others commit. When it is its turn, the batch is
resolved anew; what was written stays good unless the collection is another one by then.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from storage_engine.batch import CreateCollection, DeleteRows, DropCollection, Operation, PutRows
from storage_engine.catalog import NO_COLUMNS, Catalog
from storage_engine.errors import WriteFailedError
from storage_engine.files import Disk, DiskError
from storage_engine.metadata.types import grown
from storage_engine.resolved import whole
from storage_engine.segment.reference import AttachSegment, SegmentReference
from storage_engine.segment.writer import RowChunk, SegmentRows, write_segment
from storage_engine.vectors.types import type_of
from storage_engine.wal.entry import LoggedOperation

BATCH_BYTES = 8 << 20
"""A batch with more than this goes to segment files."""

_RESERVE_BYTES = 64 << 20
_CHUNK_ROWS = 16_384
_FEW_ROWS = 64


def rough_size(operations: Sequence[Operation]) -> int:
    """About how many bytes the rows of a batch have that nobody has validated yet."""
    return sum(
        size
        for operation in operations
        if isinstance(operation, PutRows)
        for part in (operation.vectors, operation.metadata)
        if isinstance(size := getattr(part, "nbytes", 0), int)
    )


def may_be_large(operations: Sequence[Operation]) -> bool:
    """Whether a batch that nobody has validated yet will probably go to segment files."""
    rows = sum(getattr(one.metadata, "num_rows", 0) for one in operations if isinstance(one, PutRows))
    # Asking a table for its bytes takes longer than the rest of a small batch's way to here.
    return (rows > _FEW_ROWS or vector_bytes(operations) > BATCH_BYTES) and rough_size(operations) > BATCH_BYTES


def vector_bytes(operations: Sequence[LoggedOperation]) -> int:
    """How many bytes the vectors of operations have."""
    return sum(getattr(one.vectors, "nbytes", 0) for one in operations if isinstance(one, PutRows))


def size_of(operations: Sequence[LoggedOperation]) -> int:
    """About how many bytes resolved operations take in the log."""
    return sum(map(_size, operations))


def _size(operation: LoggedOperation) -> int:
    if isinstance(operation, PutRows):
        return 40 * len(operation.ids) + rough_size([operation])
    if isinstance(operation, DeleteRows):
        return 40 * len(operation.ids)
    return 256


@dataclass(slots=True)
class _Load:
    """Operations of one batch that put rows into one collection and can be taken together.

    Args:
        places: Their places in the batch.
        puts: The operations.
        ids: All of their ids.
    """

    places: list[int] = field(default_factory=list)
    puts: list[PutRows] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)

    def takes(self, put: PutRows) -> bool:
        """Whether a later operation may be done with these: it writes none of their rows again."""
        return self.ids.isdisjoint(put.ids)

    def add(self, place: int, put: PutRows) -> None:
        self.places.append(place)
        self.puts.append(put)
        self.ids.update(put.ids)


@dataclass(frozen=True, slots=True)
class _Part:
    load: _Load
    reference: SegmentReference


@dataclass(frozen=True, slots=True)
class Staged:
    """Rows of a batch that lie in segment files already; the files are durable and nothing names them yet.

    Args:
        operations: The batch, resolved.
        parts: Which of its rows are written, and where.
        catalog: The state that it was resolved against: resolved against the same one again, it would be the same.
    """

    operations: list[LoggedOperation]
    parts: tuple[_Part, ...]
    catalog: Catalog

    def fits(self, operations: Sequence[LoggedOperation]) -> bool:
        """Whether these operations, resolved again, put the same rows into the same collections."""
        for part in self.parts:
            for place, put in zip(part.load.places, part.load.puts, strict=True):
                now = operations[place] if place < len(operations) else None
                if not isinstance(now, PutRows) or now.collection != put.collection or now.ids != put.ids:
                    return False
        return True

    def attached(self, operations: Sequence[LoggedOperation], lsn: int) -> list[LoggedOperation]:
        """The operations with references in place of the rows that were written, as commit ``lsn``."""
        result: list[LoggedOperation | None] = list(operations)
        for part in self.parts:
            modes = {now.mode for place in part.load.places if isinstance(now := operations[place], PutRows)}
            for place in part.load.places:
                result[place] = None
            reference = dataclasses.replace(part.reference, first_lsn=lsn, last_lsn=lsn)
            result[part.load.places[0]] = AttachSegment(reference.collection, reference, new_ids=modes == {"insert"})
        return [one for one in result if one is not None]

    def discard(self, disk: Disk) -> None:
        """Remove the files; what cannot be removed is swept at the next open."""
        for part in self.parts:
            for file in part.reference.files:
                try:
                    disk.unlink(file.name)
                except DiskError:
                    continue


def stage(disk: Disk, operations: list[LoggedOperation], catalog: Catalog, lsn: int) -> Staged:
    """Write the largest rows of a batch as segments, until the rest fits into a log record.

    Args:
        disk: Where.
        operations: Resolved.
        catalog: Against this.
        lsn: The commit's, as far as it is known, written beside each row; the reference says it for certain.

    Raises:
        WriteFailedError: The disk is full or failed; nothing was stored.
    """
    rest = whole_size = size_of(operations)
    need = 2 * rest + _RESERVE_BYTES
    parts: list[_Part] = []
    try:
        if disk.free_space() < need:
            raise WriteFailedError(
                f"a batch of {rest} bytes needs {need} bytes of free disk space",
                fix="Nothing was stored. Free some space and try again.",
                value=rest,
            )
        for load in sorted(_loads(operations), key=lambda load: -size_of(load.puts)):
            if rest <= BATCH_BYTES:
                break
            parts.append(_Part(load, _write(disk, load.puts, lsn)))
            rest -= size_of(load.puts)
    except DiskError as error:
        Staged(operations, tuple(parts), catalog).discard(disk)
        raise WriteFailedError(
            f"the disk did not take a batch of {whole_size} bytes: {error.what}",
            fix="Nothing was stored. Free some space and try again.",
            value=error.name,
        ) from error
    except BaseException:
        Staged(operations, tuple(parts), catalog).discard(disk)
        raise
    return Staged(operations, tuple(parts), catalog)


def _loads(operations: Sequence[LoggedOperation]) -> list[_Load]:
    """Rows that go into one segment: those of one collection between which nothing else happens to it."""
    found: list[_Load] = []
    last: dict[str, _Load] = {}
    for place, operation in enumerate(operations):
        match operation:
            case PutRows(collection=collection):
                load = last.get(collection)
                if load is None or not load.takes(operation):
                    load = last[collection] = _Load()
                    found.append(load)
                load.add(place, operation)
            case DeleteRows(collection=collection) | DropCollection(name=collection):
                last.pop(collection, None)
            case CreateCollection(schema):
                last.pop(schema.uuid, None)
    return found


def _write(disk: Disk, puts: Sequence[PutRows], lsn: int) -> SegmentReference:
    columns: Mapping[str, pa.DataType] = NO_COLUMNS
    for put in puts:
        if put.metadata is not None:
            columns = grown(columns, put.metadata.schema)
    vectors, _ = whole(puts[0])
    rows = SegmentRows(
        vectors.shape[1],
        (chunk for put in puts for chunk in _chunks(put, lsn)),
        pa.schema(list(columns.items())) if columns else None,
        type_of(vectors),
    )
    return write_segment(disk, puts[0].collection, rows, uuid=uuid.uuid4().hex)


def _chunks(put: PutRows, lsn: int) -> Iterator[RowChunk]:
    (vectors, norms), metadata = whole(put), put.metadata
    ids = list(put.ids)
    for start in range(0, len(ids), _CHUNK_ROWS):
        stop = min(start + _CHUNK_ROWS, len(ids))
        yield RowChunk(
            ids[start:stop],
            vectors[start:stop],
            norms[start:stop],
            np.full(stop - start, lsn, np.uint64),
            None if metadata is None else metadata.slice(start, stop - start),
        )
