"""From a batch to resolved operations: every decision that needs the stored state is made here, under the write lock.

Resolved operations go to the log and to :mod:`storage_engine.apply`. Collections are named by uuid in them, rows are
whole (an ``update`` has been filled from the stored row) and carry norms, deletions name stored rows only.

A :class:`Resolver` stands on the newest catalog and on the batches it has already accepted but nobody has applied yet,
so that the commits of one group, and the operations of one batch, see the ones before them. A batch that is refused
leaves no trace in it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage_engine.batch import (
    AttachFile,
    CreateCollection,
    DeleteRecord,
    DeleteRows,
    DetachFile,
    DropCollection,
    FileReference,
    Operation,
    PutMode,
    PutRecord,
    PutRows,
)
from storage_engine.catalog import NO_COLUMNS, Catalog, CollectionState
from storage_engine.errors import (
    AlreadyExistsError,
    DuplicateIdError,
    InvalidArgumentError,
    InvalidMetadataError,
    NotFoundError,
    UnknownIdError,
)
from storage_engine.metadata.pieces import Piece
from storage_engine.metadata.pieces import rows as metadata_rows
from storage_engine.metadata.types import cast_column, fits, grown, isolated
from storage_engine.resolved import whole
from storage_engine.schema import CollectionSchema
from storage_engine.snapshot import stored_column, unknown_collection
from storage_engine.validation import (
    PreparedRows,
    check_key,
    check_record,
    check_schema,
    checked_ids,
    id_limit,
    prepare_rows,
)
from storage_engine.vector_store import VectorStore
from storage_engine.vectors.types import StoredVectors, numpy_type
from storage_engine.wal.entry import LoggedOperation


class Resolver:
    """Turns batches into resolved operations, one after another.

    Args:
        catalog: The newest applied state.
        staged: Files that :meth:`storage_engine.engine.Engine.stage_file` finished and nothing attached yet.
    """

    def __init__(self, catalog: Catalog, staged: Iterable[FileReference] = ()) -> None:
        self._catalog = catalog
        self._staged = frozenset(staged)
        self._collections: dict[str, _Collection | None] = {}  # None: dropped since the catalog
        self._records: dict[tuple[str, str], bool] = {}
        self._files: dict[tuple[str, str], bool] = {}

    def resolve(self, operations: Sequence[Operation]) -> tuple[list[LoggedOperation], Resolver]:
        """Return the batch resolved, and the resolver for what comes after it; this one stays as it was.

        Raises:
            QStoreError: The batch contradicts itself or the stored state.
        """
        after = Resolver(self._catalog)
        after._staged = self._staged
        after._collections = dict(self._collections)
        after._records = dict(self._records)
        after._files = dict(self._files)
        return [after._one(operation) for operation in operations], after

    def _one(self, operation: Operation) -> LoggedOperation:
        match operation:
            case CreateCollection(schema):
                return self._create(schema)
            case DropCollection(name):
                collection = self._collection(name)
                self._collections[name] = None
                return DropCollection(collection.schema.uuid)
            case PutRows():
                return self._touch(operation.collection).put(operation)
            case DeleteRows():
                return self._touch(operation.collection).delete(operation)
            case PutRecord(table, key, value, must_be_new):
                check_record(table, key, value)
                if must_be_new and self._has_record(table, key):
                    raise AlreadyExistsError(
                        f"table {table!r} already has a record {key!r}", fix="Choose another key.", value=key
                    )
                self._records[table, key] = True
                return PutRecord(table, key, value)
            case DeleteRecord(table, key):
                check_key(table, key)
                if not self._has_record(table, key):
                    raise NotFoundError(f"table {table!r} has no record {key!r}", fix="Check the key.", value=key)
                self._records[table, key] = False
                return operation
            case AttachFile(file):
                return self._attach(file)
            case DetachFile(kind, name):
                if not self._has_file(kind, name):
                    raise NotFoundError(f"no attached file {kind}/{name}", fix="Check the name.", value=name)
                self._files[kind, name] = False
                return operation
        raise InvalidArgumentError(
            f"{operation!r} is no operation", fix="Use the classes of storage_engine.batch.", value=operation
        )

    def _collection(self, name: str) -> _Collection:
        if name in self._collections:
            collection = self._collections[name]
        else:
            state = self._catalog.collections.get(name)
            collection = None if state is None else _Collection(state.schema, state)
        if collection is None:
            known = {*self._catalog.collections, *(n for n, c in self._collections.items() if c is not None)}
            raise unknown_collection(name, [n for n in known if self._collections.get(n, True) is not None])
        return collection

    def _touch(self, name: str) -> _Collection:
        # A copy, so that the batches accepted before keep theirs if this one is refused.
        collection = self._collection(name)
        if collection is self._collections.get(name) and collection.owner is self:
            return collection
        collection = collection.copy(self)
        self._collections[name] = collection
        return collection

    def _create(self, schema: CollectionSchema) -> CreateCollection:
        check_schema(schema)
        names = {n.casefold(): n for n in self._catalog.collections if self._collections.get(n, True) is not None}
        names |= {n.casefold(): n for n, collection in self._collections.items() if collection is not None}
        taken = names.get(schema.name.casefold())
        if taken is not None:
            raise AlreadyExistsError(
                f"collection {taken!r} exists already",
                fix="Choose another name (names are compared without case), or drop the collection first.",
                value=schema.name,
            )
        touched = [collection for collection in self._collections.values() if collection is not None]
        uuids = {state.schema.uuid for state in self._catalog.collections.values()}
        if schema.uuid in uuids or any(collection.schema.uuid == schema.uuid for collection in touched):
            raise AlreadyExistsError(
                f"collection uuid {schema.uuid} is taken", fix="Make a new uuid.", value=schema.uuid
            )
        self._collections[schema.name] = _Collection(schema, None)
        return CreateCollection(schema)

    def _has_record(self, table: str, key: str) -> bool:
        pending = self._records.get((table, key))
        if pending is not None:
            return pending
        state = self._catalog.tables.get(table)
        return state is not None and state.table.get(key, state.lsn) is not None

    def _has_file(self, kind: str, name: str) -> bool:
        return self._files.get((kind, name), (kind, name) in self._catalog.files)

    def _attach(self, file: FileReference) -> AttachFile:
        if self._has_file(file.kind, file.name):
            raise AlreadyExistsError(f"file {file.kind}/{file.name} is attached already", value=file.name)
        if file not in self._staged:
            raise NotFoundError(
                f"file {file.kind}/{file.name} was not staged by this handle",
                fix="Attach what Engine.stage_file returned.",
                value=file.name,
            )
        self._files[file.kind, file.name] = True
        return AttachFile(file)


class _Collection:
    """One collection as the batches accepted so far leave it."""

    def __init__(self, schema: CollectionSchema, state: CollectionState | None) -> None:
        self.schema = schema
        self.owner: Resolver | None = None
        self.columns: Mapping[str, pa.DataType] = NO_COLUMNS if state is None else state.columns
        self._state = state
        self._changes: list[PutRows | DeleteRows] = []
        self._indexed = 0
        self._recent: dict[str, tuple[int, int] | None] = {}  # id → (index of the change, row), None: deleted

    def copy(self, owner: Resolver) -> _Collection:
        twin = _Collection(self.schema, self._state)
        twin.owner = owner
        twin.columns = self.columns
        twin._changes = list(self._changes)
        twin._indexed = self._indexed
        twin._recent = dict(self._recent)
        return twin

    def put(self, put: PutRows) -> PutRows:
        prepared = prepare_rows(put, self.schema)
        if put.mode == "insert":
            self._refuse_stored(prepared.ids)
        if put.mode == "update":
            prepared = self._filled(prepared)
        metadata = prepared.metadata
        if metadata is not None:
            metadata = self._grow(metadata)
        mode: PutMode = "insert" if put.mode == "insert" else "upsert"
        change = PutRows(self.schema.uuid, prepared.ids, prepared.vectors, prepared.norms, metadata, mode)
        self._changes.append(change)
        return change

    def delete(self, delete: DeleteRows) -> DeleteRows:
        ids = checked_ids(delete.ids, id_limit(self.schema))
        present = self._present(ids)
        if not all(present):
            if not delete.missing_ok:
                self._unknown([row_id for row_id, there in zip(ids, present, strict=True) if not there])
            ids = [row_id for row_id, there in zip(ids, present, strict=True) if there]
        change = DeleteRows(self.schema.uuid, ids)
        self._changes.append(change)
        return change

    def _refuse_stored(self, ids: Sequence[str]) -> None:
        if not self._changes and (self._state is None or self._state.rows.knows_none(ids)):
            return
        present = self._present(ids)
        if any(present):
            stored = next(row_id for row_id, there in zip(ids, present, strict=True) if there)
            raise DuplicateIdError(
                f"id {stored!r} is stored already in collection {self.schema.name!r}",
                fix="Use upsert to replace rows, or another id.",
                value=stored,
            )

    def _unknown(self, missing: Sequence[str]) -> None:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UnknownIdError(
            f"id {missing[0]!r}{more} is not stored in collection {self.schema.name!r}",
            fix="Check the id, or use upsert.",
            value=missing[0],
        )

    def _base_slots(self, ids: Sequence[str]) -> NDArray[np.int64]:
        state = self._state
        if state is None or not state.live_count:
            return np.full(len(ids), -1, np.int64)
        return state.rows.find(ids, state.slot_count, state.lsn)

    def _index(self) -> dict[str, tuple[int, int] | None]:
        for number in range(self._indexed, len(self._changes)):
            change = self._changes[number]
            for row, row_id in enumerate(change.ids):
                self._recent[row_id] = (number, row) if isinstance(change, PutRows) else None
        self._indexed = len(self._changes)
        return self._recent

    def _present(self, ids: Sequence[str]) -> list[bool]:
        present: list[bool] = (self._base_slots(ids) >= 0).tolist()
        if self._changes:
            recent = self._index()
            for position, row_id in enumerate(ids):
                if row_id in recent:
                    present[position] = recent[row_id] is not None
        return present

    def _grow(self, metadata: pa.Table) -> pa.Table:
        """Let the columns grow by a batch and return the batch in the grown types."""
        before = self.columns
        if fits(before, metadata.schema):
            return isolated(metadata)
        after = grown(before, metadata.schema)
        for name, kind in after.items():
            if name in before and not before[name].equals(kind) and not pa.types.is_null(before[name]):
                self._check_survives(name, kind)
        self.columns = after
        if all(after[entry.name].equals(entry.type) for entry in metadata.schema):
            return isolated(metadata)
        try:
            columns = [cast_column(metadata.column(name), after[name]) for name in metadata.column_names]
        except pa.ArrowException as error:
            raise _not_castable(f"a given value does not fit: {error}") from error
        return isolated(pa.table(columns, names=metadata.column_names))

    def _check_survives(self, name: str, kind: pa.DataType) -> None:
        """Refuse a wider type that would change a stored value, like 2**53 + 1 in a float column."""
        try:
            if self._state is not None and name in self._state.columns:
                cast_column(stored_column(self._state, name), kind)
            for change in self._changes:
                if isinstance(change, PutRows) and change.metadata is not None and name in change.metadata.column_names:
                    cast_column(change.metadata.column(name), kind)
        except pa.ArrowException as error:
            raise _not_castable(f"column {name!r} cannot become {kind}: {error}") from error

    def _filled(self, given: PreparedRows) -> PreparedRows:
        """Whole rows for an update: what was not given comes from the stored row."""
        slots = self._base_slots(given.ids)
        recent = self._index()
        places = [recent.get(row_id, (-1, int(slot))) for row_id, slot in zip(given.ids, slots, strict=True)]
        missing = [
            row_id for row_id, place in zip(given.ids, places, strict=True) if place is None or place == (-1, -1)
        ]
        if missing:
            self._unknown(missing)
        found = [place for place in places if place is not None]
        vectors, norms = given.vectors, given.norms
        if vectors is None:
            vectors, norms = self._stored_vectors(found)
        stored = self._stored_metadata(found)
        if given.metadata is not None:
            columns = {name: stored.column(name) for name in stored.column_names}
            columns |= {name: given.metadata.column(name) for name in given.metadata.column_names}
            stored = pa.table(columns)
        metadata = stored if stored.num_columns else None
        return dataclasses.replace(given, vectors=vectors, norms=norms, metadata=metadata)

    def _store(self) -> VectorStore:
        if self._state is None:
            raise LookupError("a collection that is new in this batch has no stored rows")
        return self._state.rows

    def _put_at(self, number: int) -> PutRows:
        change = self._changes[number]
        if not isinstance(change, PutRows):
            raise LookupError("the row was deleted")
        return change

    def _grouped(self, places: Sequence[tuple[int, int]]) -> dict[int, list[int]]:
        groups: dict[int, list[int]] = {}
        for position, (number, _) in enumerate(places):
            groups.setdefault(number, []).append(position)
        return groups

    def _stored_vectors(self, places: Sequence[tuple[int, int]]) -> tuple[StoredVectors, NDArray[np.float32]]:
        vectors: StoredVectors = np.empty((len(places), self.schema.dimension), numpy_type(self.schema.dtype))
        norms = np.empty(len(places), np.float32)
        for number, positions in self._grouped(places).items():
            rows = np.array([places[position][1] for position in positions], np.int64)
            if number < 0:
                store = self._store()
                vectors[positions], norms[positions] = store.vectors_at(rows), store.norms_at(rows)
            else:
                given_vectors, given_norms = whole(self._put_at(number))
                vectors[positions], norms[positions] = given_vectors[rows], given_norms[rows]
        return vectors, norms

    def _stored_metadata(self, places: Sequence[tuple[int, int]]) -> pa.Table:
        parts, order = [], []
        for number, positions in self._grouped(places).items():
            rows = np.array([places[position][1] for position in positions], np.int64)
            if number < 0:
                pieces = self._store().pieces
            else:
                change = self._put_at(number)
                pieces = (Piece.of(0, len(change.ids), change.metadata),)
            parts.append(metadata_rows(pieces, self.columns, rows))
            order.extend(positions)
        if not self.columns or not parts:
            return pa.table({})
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        return pa.concat_tables(parts).combine_chunks().take(pa.array(back))


def _not_castable(what: str) -> InvalidMetadataError:
    return InvalidMetadataError(what, fix="Use another column name, or convert the values.")
