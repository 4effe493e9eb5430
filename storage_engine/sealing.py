"""Sealing: rows that only the log holds become segment files, and a new manifest makes the old log unnecessary.

1. Under the write lock: a new log file; the state of that moment is frozen.
2. Without a lock, while commits go on: segment files, deletions, keyed tables, each synced and read back.
3. Under the write lock: the manifest. **This is the commit point.** Then the rows are read from the segments.
4. Files that neither this manifest nor the one before needs are removed.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from storage_engine.catalog import CollectionState, TableState
from storage_engine.chunks import FreshChunk
from storage_engine.committer import Frozen
from storage_engine.files import Disk
from storage_engine.keyed_table import TableView
from storage_engine.manifest.manifest import Manifest, SealedCollection, SealedSegment
from storage_engine.metadata import pieces
from storage_engine.sealed import SealedChunk
from storage_engine.segment.deletes import write_deletes
from storage_engine.segment.segment import Segment
from storage_engine.segment.tables import write_tables
from storage_engine.segment.writer import RowChunk, SegmentRows, write_segment
from storage_engine.staged_file import StoredFile
from storage_engine.vector_store import VectorStore


@dataclass(frozen=True, slots=True)
class SealedRows:
    """One collection's rows up to the frozen state, all in segments.

    Args:
        state: The frozen state.
        lsn: Its version.
        chunks: Its rows as segments from slot 0 on: the ones it has, and new ones for fresh rows.
        segments: The same for the manifest, with deaths up to the frozen state.
    """

    state: CollectionState
    lsn: int
    chunks: tuple[SealedChunk, ...]
    segments: tuple[SealedSegment, ...]


def write_frozen(disk: Disk, frozen: Frozen, before: Manifest) -> tuple[Manifest, list[SealedRows]]:
    """Write everything that a manifest of the frozen state needs.

    Args:
        disk: Where.
        frozen: What to write down.
        before: The newest manifest.

    Returns:
        The manifest to be written next (with the digest and time of ``before``, which the caller replaces), and the
        collections.

    Raises:
        DiskError, DamagedError: The disk failed; nothing names what was written so far.
    """
    catalog = frozen.catalog
    rows = [_seal_rows(disk, state, catalog.lsn) for state in catalog.collections.values()]
    manifest = dataclasses.replace(
        before,
        number=before.number + 1,
        wal_number=frozen.wal_number,
        last_lsn=catalog.lsn,
        last_crc=frozen.last_crc,
        collections=tuple(sealed_collection(sealed) for sealed in rows),
        tables=_seal_tables(disk, catalog.tables, before),
        files=tuple(catalog.files.values()),
        last_time=catalog.time,
    )
    return manifest, rows


def sealed_collection(sealed: SealedRows) -> SealedCollection:
    """What the manifest says about a collection."""
    first = sealed.chunks[0] if sealed.chunks else None
    graph = None if first is None or first.graph is None or first.graph.damage else first.graph.file
    return SealedCollection(sealed.state.schema, sealed.segments, graph)


def succeed(current: CollectionState, sealed: SealedRows) -> CollectionState:
    """The collection's newest state, reading the frozen rows from their segments. Under the write lock."""
    chunks: list[SealedChunk] = []
    for chunk, segment in zip(sealed.chunks, sealed.segments, strict=True):
        if chunk in current.rows.layout.chunks:
            chunks.append(chunk.moved(chunk.start))
        else:
            chunk.take_over(current.rows.died_in(chunk.start, chunk.count))
            chunks.append(chunk)
        chunks[-1].deletes = segment.deletes
        chunks[-1].dirty = chunks[-1].died_after(sealed.lsn)
    store = current.rows.succeeded(chunks, sealed.state.slot_count)
    return dataclasses.replace(current, rows=store, slot_count=store.slot_count, cache={})


def _seal_rows(disk: Disk, state: CollectionState, lsn: int) -> SealedRows:
    chunks: list[SealedChunk] = []
    run: list[tuple[FreshChunk, int]] = []
    for chunk, rows in state.rows.parts(state.slot_count):
        if isinstance(chunk, FreshChunk):
            run.append((chunk, rows))
            continue
        if run:
            chunks.append(_write_run(disk, state, run))
            run = []
        if not isinstance(chunk, SealedChunk):
            raise TypeError(f"a {type(chunk).__name__} cannot be sealed")
        chunks.append(chunk)
    if run:
        chunks.append(_write_run(disk, state, run))
    segments = [SealedSegment(chunk.reference, _deletes(disk, state.rows, chunk, lsn)) for chunk in chunks]
    return SealedRows(state, lsn, tuple(chunks), tuple(segments))


def _write_run(disk: Disk, state: CollectionState, run: Sequence[tuple[FreshChunk, int]]) -> SealedChunk:
    """One segment of the fresh rows that stand side by side, dead ones included, so that slots stay what they are."""
    schema = pa.schema(list(state.columns.items())) if state.columns else None
    rows = SegmentRows(state.schema.dimension, _row_chunks(state, run), schema, state.schema.dtype)
    reference = write_segment(disk, state.schema.uuid, rows, uuid=uuid.uuid4().hex)
    return SealedChunk(Segment.open(disk, reference), run[0][0].start)


def _row_chunks(state: CollectionState, run: Sequence[tuple[FreshChunk, int]]) -> Iterator[RowChunk]:
    for chunk, count in run:
        slots = np.arange(chunk.start, chunk.start + count)
        yield RowChunk(
            chunk.ids(np.arange(count)),
            chunk.vectors[:count],
            chunk.norms[:count],
            chunk.born(count).astype(np.uint64),
            pieces.rows(state.rows.pieces, state.columns, slots) if state.columns else None,
        )


def _deletes(disk: Disk, store: VectorStore, chunk: SealedChunk, lsn: int) -> StoredFile | None:
    """The file of deaths up to ``lsn``: the one there is, where it still says all of them."""
    died = store.died_in(chunk.start, chunk.count)
    rows = np.flatnonzero(died <= lsn)
    if not len(rows) or (chunk.deletes is not None and not chunk.dirty):
        return chunk.deletes
    return write_deletes(
        disk, uuid=uuid.uuid4().hex, segment_rows=chunk.count, rows=rows, lsns=died[rows].astype(np.uint64)
    )


def _seal_tables(disk: Disk, tables: Mapping[str, TableState], before: Manifest) -> StoredFile | None:
    if not any(state.live_count for state in tables.values()):
        return None
    if all(state.lsn <= before.last_lsn for state in tables.values()):
        return before.tables
    views = {name: TableView(state.table, state.lsn, state.live_count) for name, state in tables.items()}
    return write_tables(disk, views, uuid=uuid.uuid4().hex)
