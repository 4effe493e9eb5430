"""The one place where the state changes: a catalog and a commit's operations give the next catalog.

Commits and recovery both come through :func:`apply`. It decides nothing and refuses nothing: its operations are
resolved (:mod:`storage_engine.resolution`), which means that collections are given by uuid, rows are whole and carry
norms, those of mode ``insert`` have ids that are not stored, and whatever could be wrong was found before the operation
was written to the log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import pyarrow as pa

from storage_engine.batch import (
    AttachFile,
    CreateCollection,
    DeleteRecord,
    DeleteRows,
    DetachFile,
    DropCollection,
    PutRecord,
    PutRows,
)
from storage_engine.catalog import Catalog, CollectionState, TableState
from storage_engine.chunks import LIVE
from storage_engine.json_text import dump_json
from storage_engine.keyed_table import KeyedTable
from storage_engine.metadata.types import canonical_schema, fits, grown
from storage_engine.resolved import whole
from storage_engine.sealed import SealedChunk
from storage_engine.segment.reference import AttachSegment, SegmentReference
from storage_engine.vector_store import VectorStore
from storage_engine.wal.entry import LoggedOperation

OpenSegment: TypeAlias = Callable[[SegmentReference, int], SealedChunk]
"""Maps a segment's files; its rows take the slots from the number given on."""

_NOW = LIVE - 1  # a reader at this LSN sees exactly the rows that nothing has ended yet


def apply(
    catalog: Catalog,
    lsn: int,
    operations: Sequence[LoggedOperation],
    open_segment: OpenSegment,
    time: float = 0.0,
) -> Catalog:
    """Return the catalog at ``lsn``; catalogs before it stay valid. Under the engine's write lock.

    Args:
        catalog: The one before.
        lsn: The commit's.
        operations: Resolved.
        open_segment: Maps segments that operations name.
        time: When the commit was made, seconds since the epoch.

    Raises:
        DamagedError: A segment that an operation names is missing or damaged.
    """
    draft = _Draft(catalog, lsn, open_segment)
    for operation in operations:
        draft.take(operation)
    return Catalog(lsn, draft.collections, draft.tables, draft.files, time)


class _Draft:
    def __init__(self, catalog: Catalog, lsn: int, open_segment: OpenSegment) -> None:
        self.lsn = lsn
        self.collections = dict(catalog.collections)
        self.tables = dict(catalog.tables)
        self.files = dict(catalog.files)
        self._open_segment = open_segment
        self._names = {state.schema.uuid: name for name, state in self.collections.items()}

    def take(self, operation: LoggedOperation) -> None:
        match operation:
            case PutRows():
                self._put(operation)
            case PutRecord(name, key, value):
                self._table(name, lambda table: table.put(key, dump_json(dict(value), key).decode(), self.lsn))
            case DeleteRows(uuid, ids):
                state = self._collection(uuid)
                self._replace(state, killed=self._kill(state, ids))
            case DeleteRecord(name, key):
                self._table(name, lambda table: table.delete(key, self.lsn))
            case CreateCollection(schema):
                self.collections[schema.name] = CollectionState(schema, VectorStore(schema.dimension), lsn=self.lsn)
                self._names[schema.uuid] = schema.name
            case DropCollection(uuid):
                del self.collections[self._names.pop(uuid)]
            case AttachSegment():
                self._attach_segment(operation)
            case AttachFile(file):
                self.files[file.kind, file.name] = file
            case DetachFile(kind, name):
                del self.files[kind, name]

    def _collection(self, uuid: str) -> CollectionState:
        return self.collections[self._names[uuid]]

    def _put(self, put: PutRows) -> None:
        vectors, norms = whole(put)
        state = self._collection(put.collection)
        killed = 0 if put.mode == "insert" else self._kill(state, put.ids)
        state.rows.append(put.ids, vectors, norms, put.metadata, self.lsn)
        columns = state.columns
        if put.metadata is not None and not fits(columns, put.metadata.schema):
            columns = grown(columns, put.metadata.schema)
        self._replace(state, killed, len(put.ids), columns)

    def _attach_segment(self, attach: AttachSegment) -> None:
        state = self._collection(attach.collection)
        chunk = self._open_segment(attach.segment, state.rows.slot_count)
        killed = self._kill(state, attach.deleted_ids)
        if state.live_count > killed and not attach.new_ids:
            for ids in chunk.segment.ids.chunks():
                killed += self._kill(state, ids)
        state.rows.append_sealed(chunk)
        columns = grown(state.columns, canonical_schema(chunk.segment.metadata_schema()))
        self._replace(state, killed, chunk.count, columns)

    def _kill(self, state: CollectionState, ids: Sequence[str]) -> int:
        if not state.live_count:
            return 0
        slots = state.rows.find(ids, state.rows.slot_count, _NOW)
        slots = slots[slots >= 0]
        state.rows.kill(slots, self.lsn)
        return len(slots)

    def _replace(
        self, state: CollectionState, killed: int, added: int = 0, columns: Mapping[str, pa.DataType] | None = None
    ) -> None:
        self.collections[state.schema.name] = CollectionState(
            state.schema,
            state.rows,
            state.slot_count + added,
            state.live_count + added - killed,
            state.columns if columns is None else columns,
            self.lsn,
        )

    def _table(self, name: str, change: Callable[[KeyedTable], None]) -> None:
        state = self.tables.get(name)
        table = KeyedTable() if state is None else state.table
        change(table)
        self.tables[name] = TableState(table, table.live_count, self.lsn)
