"""Several batches as one commit: a private copy of what they touch, and the check that nobody else touched it.

While a transaction is open, its batches are resolved and applied to a :class:`Draft`, a catalog of its own that shares
the stored rows and copies only small things: deaths, the look-up of fresh rows, the records of tables it writes. So
reading inside it sees what was written inside it. At the end the batches are committed together, as one log record,
after a check under the write lock: if another commit changed a row, record, collection or file that the transaction
wrote, nothing is written. What it only read is not checked (snapshot isolation).
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from storage_engine.apply import OpenSegment, apply
from storage_engine.batch import (
    AttachFile,
    CreateCollection,
    DeleteRecord,
    DeleteRows,
    DetachFile,
    DropCollection,
    FileReference,
    Operation,
    PutRecord,
    PutRows,
)
from storage_engine.catalog import Catalog, CollectionState, TableState
from storage_engine.errors import ConflictError
from storage_engine.keyed_table import KeyedTable
from storage_engine.resolution import Resolver
from storage_engine.snapshot import Snapshot
from storage_engine.wal.entry import LoggedOperation


@dataclass(slots=True)
class Transaction:
    """What ``with engine.transaction()`` gives.

    Args:
        base: The version that it began at.
        version: The version that it made; ``None`` before its end, and if it wrote nothing.
    """

    base: int
    version: int | None = None


@dataclass(slots=True)
class _Written:
    """What a transaction has touched, by the names that do not depend on where rows lie."""

    rows: dict[str, set[str]] = field(default_factory=dict)
    records: set[tuple[str, str]] = field(default_factory=set)
    created: set[str] = field(default_factory=set)
    collections: set[str] = field(default_factory=set)
    files: set[tuple[str, str]] = field(default_factory=set)

    def add(self, operations: Iterable[LoggedOperation]) -> None:
        for operation in operations:
            match operation:
                case PutRows(collection=uuid, ids=ids) | DeleteRows(collection=uuid, ids=ids):
                    self.collections.add(uuid)
                    self.rows.setdefault(uuid, set()).update(ids)
                case PutRecord(table=table, key=key) | DeleteRecord(table=table, key=key):
                    self.records.add((table, key))
                case CreateCollection(schema):
                    self.created.add(schema.name.casefold())
                case DropCollection(uuid):
                    self.collections.add(uuid)
                case AttachFile(file):
                    self.files.add((file.kind, file.name))
                case DetachFile(kind, name):
                    self.files.add((kind, name))


class Draft:
    """The database as one transaction sees it. For one thread.

    Args:
        base: The state that it begins with.

    Attributes:
        operations: Everything that was asked, in order.
    """

    def __init__(self, base: Catalog) -> None:
        self.operations: list[Operation] = []
        self._base = base
        self._catalog = base
        self._snapshot = Snapshot(base)
        self._own_rows: set[str] = set()
        self._own_tables: set[str] = set()
        self._written = _Written()

    @property
    def snapshot(self) -> Snapshot:
        """What has been written so far on top of the base. Its version number is only this transaction's."""
        return self._snapshot

    def add(self, operations: Sequence[Operation], staged: Iterable[FileReference], open_segment: OpenSegment) -> int:
        """Take a batch and return the draft's own version.

        Raises:
            QStoreError: The batch contradicts itself or what the transaction sees; it is not part of it.
        """
        kept = [_kept(operation) for operation in operations]
        resolved, _ = Resolver(self._catalog, staged).resolve(kept)
        lsn = self._catalog.lsn + 1
        self._catalog = apply(self._owning(resolved), lsn, resolved, open_segment, self._base.time)
        self._snapshot = Snapshot(self._catalog)
        self._written.add(resolved)
        self.operations += kept
        return lsn

    def check(self, current: Catalog) -> None:
        """Compare with what is stored now; under the write lock.

        Raises:
            ConflictError: Another commit changed what the transaction wrote.
        """
        if current.lsn == self._base.lsn:
            return
        for uuid in self._written.collections:
            before, now = self._base.by_uuid(uuid), current.by_uuid(uuid)
            if before is None:
                continue  # made by the transaction itself
            if now is None:
                raise self._conflict(f"collection {before.schema.name!r} was dropped", before.schema.name)
            self._check_rows(before, now, sorted(self._written.rows.get(uuid, ())))
        names = {name.casefold(): name for name in current.collections}
        known = {name.casefold() for name in self._base.collections}
        for name in self._written.created - known:
            if name in names:
                raise self._conflict(f"collection {names[name]!r} was created", names[name])
        for table, key in sorted(self._written.records):
            if _text(self._base.tables, table, key) != _text(current.tables, table, key):
                raise self._conflict(f"record {key!r} of table {table!r} was changed", key)
        for place in self._written.files:
            if (place in self._base.files) != (place in current.files):
                raise self._conflict(f"file {'/'.join(place)} was attached or detached", place[1])

    def _check_rows(self, before: CollectionState, now: CollectionState, ids: Sequence[str]) -> None:
        if before.lsn == now.lsn or not ids:
            return
        was = before.rows.find(ids, before.slot_count, before.lsn) >= 0
        slots = now.rows.find(ids, now.slot_count, now.lsn)
        changed = was != (slots >= 0)
        there = np.flatnonzero(slots >= 0)
        changed[there] |= now.rows.born_at(slots[there]) > self._base.lsn
        if changed.any():
            row_id = ids[int(np.argmax(changed))]
            raise self._conflict(f"row {row_id!r} of collection {now.schema.name!r} was changed", row_id)

    def _conflict(self, what: str, value: object) -> ConflictError:
        return ConflictError(
            f"{what} by another commit after version {self._base.lsn}, at which the transaction began",
            fix="Nothing was written. Run the whole transaction again.",
            value=value,
        )

    def _owning(self, operations: Iterable[LoggedOperation]) -> Catalog:
        """The draft's catalog with copies of what the operations change, where it has none of its own yet."""
        collections, tables = dict(self._catalog.collections), dict(self._catalog.tables)
        for operation in operations:
            match operation:
                case PutRows(collection=uuid) | DeleteRows(collection=uuid) if uuid not in self._own_rows:
                    self._own_rows.add(uuid)
                    state = self._base.by_uuid(uuid)
                    if state is not None:
                        rows = state.rows.forked(state.slot_count, self._base.lsn)
                        collections[state.schema.name] = dataclasses.replace(state, rows=rows, cache={})
                case PutRecord(table=table) | DeleteRecord(table=table) if table not in self._own_tables:
                    self._own_tables.add(table)
                    if table in tables:
                        old = tables[table]
                        records = KeyedTable(old.table.items(old.lsn), old.lsn)
                        tables[table] = TableState(records, old.live_count, old.lsn)
        return dataclasses.replace(self._catalog, collections=collections, tables=tables)


def _kept(operation: Operation) -> Operation:
    """The operation with values of its own: the caller may change arrays and mappings before the end."""
    match operation:
        case PutRows():
            return dataclasses.replace(
                operation,
                ids=operation.ids if isinstance(operation.ids, str | bytes) else list(operation.ids),
                vectors=None if operation.vectors is None else np.array(operation.vectors),
                norms=None if operation.norms is None else np.array(operation.norms),
            )
        case DeleteRows():
            ids = operation.ids if isinstance(operation.ids, str | bytes) else list(operation.ids)
            return dataclasses.replace(operation, ids=ids)
        case PutRecord():
            return dataclasses.replace(operation, value=copy.deepcopy(operation.value))
    return operation


def _text(tables: Mapping[str, TableState], table: str, key: str) -> str | None:
    state = tables.get(table)
    return None if state is None else state.table.get(key, state.lsn)
