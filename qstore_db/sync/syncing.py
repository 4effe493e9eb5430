"""One run of a sync: batches of ids, each compared on three sides, carried over, and remembered.

For a batch, the index is asked what it holds; then, in one transaction, local rows and what was agreed are read, each
row is decided on, pulled rows are written together with what is now agreed of them, and rows about to be pushed are
marked with what will be sent. Only then is it sent, and after each request its rows are marked as agreed. A crash
between any two of these steps is met by the next run: pulled rows are as agreed; a row with a mark is sent again,
which is the same as sending it once, and content that the mark names is known to be ours.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from qstore_db.errors import ConflictError, DatabaseError, QStoreError, SyncRefusedError
from qstore_db.functions.state_writing import writing
from qstore_db.sync.comparison import Compared, compare
from qstore_db.sync.content import ABSENT, Row, local_rows, metadata_table
from qstore_db.sync.matching import require_match, require_no_states
from qstore_db.sync.merging import UNKNOWN_ROW, Action, Agreed
from qstore_db.sync.options import SyncOptions
from qstore_db.sync.pairing import AgreedIds, Pairing, agreed_rows, put_agreed, stored_pairing
from qstore_db.sync.pinecone_index import MAX_ROWS, PineconeIndex, requests_of
from qstore_db.sync.report import CHANGES, SyncReport
from qstore_db.sync.tally import Tally
from storage_engine.batch import DeleteRows, DropCollection, Operation, PutRows, WriteBatch
from storage_engine.engine import Engine
from storage_engine.schema import CollectionSchema
from storage_engine.snapshot import CollectionView, Snapshot
from storage_engine.vectors.types import as_float32, rounded

_Items = TypeVar("_Items", list[str], NDArray[np.int64])

_ROUNDS: Final = 5  # how often a batch is decided on again because somebody wrote its rows meanwhile

_LOGGER: Final = logging.getLogger("qstore_db.sync")

_RUNNING: WeakKeyDictionary[Engine, set[str]] = WeakKeyDictionary()
_RUNNING_LOCK = threading.Lock()


def sync(engine: Engine, collection: str, index: PineconeIndex, options: SyncOptions) -> SyncReport:
    """Carry changes between a collection and an index; see :meth:`qstore_db.Collection.sync`.

    Args:
        engine: The database.
        collection: Its name.
        index: An open index.
        options: How.

    Raises:
        TransactionError: This thread is inside a transaction.
        SyncRefusedError: The metrics differ, the collection is being synced, or one side lost all its rows.
        DimensionMismatchError: Vectors have another length there.
        InvalidStateError: The collection holds states.
        InvalidIdError, InvalidVectorError, InvalidMetadataError: A changed row cannot be held by Pinecone.
        RemoteIndexError: Pinecone failed for good. What was done until then is remembered.
    """
    engine.refuse_transaction("a sync")
    require_match(engine.snapshot().collection(collection).schema, index)
    with _alone(engine, collection):
        return _Run(engine, collection, index, options).run()


class _Run:
    """One sync."""

    def __init__(self, engine: Engine, collection: str, index: PineconeIndex, options: SyncOptions) -> None:
        self._engine = engine
        self._collection = collection
        self._index = index
        self._options = options
        self._tally = Tally()
        self._started = time.monotonic()
        self._pairing = Pairing(collection, index.facts.name, index.namespace, index.facts.host)
        self._has_begun = False

    def run(self) -> SyncReport:
        """Do it, and keep what became of it."""
        snapshot = self._engine.snapshot()
        require_no_states(snapshot, self._collection)
        self._pairing = self._begun(snapshot)
        wanted = self._wanted(snapshot)  # reads and checks every changed row: nothing has been sent yet
        if self._options.dry_run:
            for ids in self._batches(AgreedIds(self._agreed_view(snapshot)), wanted):
                self._plan(ids)
            return self._report()
        known = AgreedIds(self._agreed_view(snapshot))
        self._start(snapshot)
        try:
            for ids in self._batches(known, wanted):
                self._carry(ids)
        except BaseException as error:
            self._stop(error)
            raise
        self._finish(snapshot.version)
        _LOGGER.info("collection %s synced with index %s", self._collection, self._pairing.index, extra=self._logged())
        return self._report()

    def _logged(self) -> dict[str, object]:
        done = self._tally.on(self._pairing)
        names = ("collection", "index", "namespace", "direction", "pushed", "deleted_remote", "pulled", "deleted_local")
        return {name: getattr(done, name) for name in (*names, "conflicts", "left", "version")}

    # Beginning and end

    def _begun(self, snapshot: Snapshot) -> Pairing:
        known = stored_pairing(snapshot, self._pairing)
        return dataclasses.replace(
            self._pairing,
            version=0 if known is None or self._options.anew else known.version,
            direction=self._options.direction,
            started_at=self._engine.clock(),
        )

    def _start(self, snapshot: Snapshot) -> None:
        batch = WriteBatch([self._pairing.put()])
        known = self._agreed_view(snapshot)
        if known is None:
            if snapshot.has_collection(self._pairing.agreed_name):
                batch.add(DropCollection(self._pairing.agreed_name))
            batch.add(self._pairing.create(self._engine.clock()))
        else:
            now = self._engine.clock()
            buried = agreed_rows(known, AgreedIds(known).buried())
            faded = {row_id: one.faded(now) for row_id, one in buried.items() if one.faded(now) != one}
            batch.add(*put_agreed(self._pairing, faded))
        self._engine.commit(batch)
        self._has_begun = True

    def _stop(self, error: BaseException) -> None:
        _LOGGER.warning(
            "sync of collection %s with index %s ended by %s",
            self._collection,
            self._pairing.index,
            type(error).__name__,
            extra=self._logged(),
        )
        interrupted = not isinstance(error, Exception)
        ended = dataclasses.replace(
            self._tally.on(self._pairing),
            status="interrupted" if interrupted else "failed",
            finished_at=self._engine.clock(),
            error=type(error).__name__ if not isinstance(error, QStoreError) else str(error),
        )
        try:
            self._engine.commit(WriteBatch([ended.put()]))
        except DatabaseError as other:
            error.add_note(f"The end of the sync could not be recorded either: {other}")

    def _finish(self, version: int) -> None:
        if self._options.direction != "pull":
            oldest = self._tally.oldest_left
            version = version if oldest is None else min(version, oldest - 1)
            self._pairing = dataclasses.replace(self._pairing, version=max(version, 0))
        self._pairing = dataclasses.replace(
            self._tally.on(self._pairing), status="finished", finished_at=self._engine.clock()
        )
        self._engine.commit(WriteBatch([self._pairing.put()]))

    def _report(self) -> SyncReport:
        counts = self._tally
        columns = zip(*counts.changes, strict=True) if counts.changes else ((), (), (), ())
        return SyncReport(
            collection=self._collection,
            index=self._pairing.index,
            namespace=self._pairing.namespace,
            direction=self._options.direction,
            dry_run=self._options.dry_run,
            version=self._pairing.version,
            pushed=counts.pushed,
            deleted_remote=counts.deleted_remote,
            pulled=counts.pulled,
            deleted_local=counts.deleted_local,
            agreed=counts.agreed,
            left=counts.left,
            requests=self._index.requests,
            retries=self._index.retries,
            seconds=time.monotonic() - self._started,
            changes=pa.table(
                [pa.array(column, kind.type) for column, kind in zip(columns, CHANGES, strict=True)], CHANGES
            ),
        )

    # Which rows are looked at

    def _wanted(self, snapshot: Snapshot) -> list[str]:
        """Ids whose local content differs from what was agreed, oldest change first; deleted ones last.

        Raises:
            InvalidIdError, InvalidVectorError, InvalidMetadataError: Pinecone cannot hold one of them.
            SyncRefusedError: Every row that had been synced is gone here.
        """
        if self._options.direction == "pull":
            return []
        view = snapshot.collection(self._collection)
        known = self._agreed_view(snapshot)
        found: list[str] = []
        for slots in _parts(_changed_since(view, self._pairing.version)):
            rows = local_rows(view, slots)
            agreed = {} if known is None else agreed_rows(known, [row.id for row in rows])
            found += [row.id for row in rows if row.digest() != agreed.get(row.id, UNKNOWN_ROW).local]
        ids = AgreedIds(known)
        synced = ids.here()
        gone = _absent(view, synced)
        self._refuse_emptying("the collection", gone, synced)
        return list(dict.fromkeys((*found, *ids.marked(), *gone)))

    def _batches(self, known: AgreedIds, wanted: list[str]) -> Iterator[list[str]]:
        """Batches of ids: those that changed here; and with ``pull`` and ``both`` all that are or were there."""
        if self._options.direction == "push":
            yield from _parts(wanted)
            return
        listed = dict.fromkeys(row_id for page in self._index.ids() for row_id in page)
        synced = known.there()
        gone = [row_id for row_id in synced if row_id not in listed]
        if len(gone) == len(synced):
            now = self._engine.clock()  # rows pushed a moment ago may not be shown yet
            gone = [row_id for row_id, one in known.rows(gone).items() if ABSENT not in one.echoes_at(now)]
        self._refuse_emptying("the index", gone, synced)
        yield from _parts(list(dict.fromkeys((*listed, *known.all, *wanted))))

    def _agreed_view(self, snapshot: Snapshot) -> CollectionView | None:
        """What was agreed; ``None`` before the first sync, and before one that forgets it has begun."""
        name = self._pairing.agreed_name
        forgotten = self._options.anew and not self._has_begun
        return snapshot.collection(name) if snapshot.has_collection(name) and not forgotten else None

    def _refuse_emptying(self, side: str, gone: Sequence[str], synced: Sequence[str]) -> None:
        if synced and len(gone) == len(synced) and not self._options.allow_emptying:
            raise SyncRefusedError(
                f"{side} has lost every one of the {len(gone):,} rows that had been synced",
                fix="If that is meant, give allow_emptying=True: the other side will lose them too. Give anew=True to "
                "carry the rows of the other side over instead.",
                value=self._collection,
            )

    # What is done to them

    def _plan(self, ids: Sequence[str]) -> None:
        there = self._index.fetch(ids)
        for row in self._compared(self._engine.snapshot(), ids, there):
            self._tally.note(row)

    def _carry(self, ids: Sequence[str]) -> None:
        there = self._index.fetch(ids)
        rows = self._decided(ids, there)
        for row in rows:
            if row.decision.action is not Action.PUSH:
                self._tally.note(row)
        self._send([row for row in rows if row.decision.action is Action.PUSH])

    def _decided(self, ids: Sequence[str], there: Mapping[str, Row]) -> list[Compared]:
        """Decide on a batch and write what is known before anything is sent, in one commit."""
        for last in range(_ROUNDS - 1, -1, -1):
            try:
                with writing(self._engine), self._engine.transaction():
                    snapshot = self._engine.snapshot()
                    require_no_states(snapshot, self._collection)
                    rows = self._compared(snapshot, ids, there)
                    operations = self._local_operations(snapshot.collection(self._collection), rows)
                    if operations:
                        self._engine.commit(WriteBatch(operations))
                return rows
            except ConflictError:
                if not last:
                    raise
        raise AssertionError("the last round returns or raises")

    def _compared(self, snapshot: Snapshot, ids: Sequence[str], there: Mapping[str, Row]) -> list[Compared]:
        return compare(
            snapshot.collection(self._collection),
            self._agreed_view(snapshot),
            ids,
            there,
            self._options,
            version=self._pairing.version,
            now=self._engine.clock(),
        )

    def _local_operations(self, view: CollectionView, rows: Sequence[Compared]) -> list[Operation]:
        """Pulled rows, and what is agreed or about to be sent of every row."""
        now = self._engine.clock()
        until = now + self._options.settle_seconds
        changed: dict[str, Agreed] = {}
        pulled = [row for row in rows if row.decision.action is Action.PULL]
        arriving = [row.there for row in pulled if row.there is not None]
        stored = _stored(view.schema, arriving)
        for row in rows:
            match row.decision.action:
                case Action.PUSH:
                    changed[row.id] = row.agreed.sending(row.local)
                case Action.PULL:
                    local = stored[row.id].digest() if row.id in stored else ABSENT
                    changed[row.id] = row.agreed.settled(local, row.remote, seen=row.remote, until=until, now=now)
                case Action.AGREE:
                    changed[row.id] = row.agreed.settled(row.local, row.remote, seen=row.remote, until=until, now=now)
                case Action.NOTHING | Action.LEAVE:
                    changed[row.id] = row.agreed.faded(now)
        operations: list[Operation] = []
        if arriving:
            vectors = np.stack([row.vector for row in arriving])
            table = metadata_table(arriving, view.columns)
            operations.append(PutRows(self._collection, [row.id for row in arriving], vectors, None, table, "upsert"))
        leaving = [row.id for row in pulled if row.there is None]
        if leaving:
            operations.append(DeleteRows(self._collection, leaving, missing_ok=True))
        before = {row.id: row.agreed for row in rows}
        return operations + put_agreed(
            self._pairing, {row_id: one for row_id, one in changed.items() if one != before[row_id]}
        )

    def _send(self, rows: Sequence[Compared]) -> None:
        """Send marked rows, and remember after each request that they are agreed."""
        by_id = {row.id: row for row in rows}
        for part in requests_of([row.here for row in rows if row.here is not None]):
            self._index.upsert(part)
            self._sent([by_id[row.id] for row in part])
        for ids in _parts([row.id for row in rows if row.here is None]):
            self._index.delete(ids)
            self._sent([by_id[row_id] for row_id in ids])

    def _sent(self, rows: Sequence[Compared]) -> None:
        now = self._engine.clock()
        until = now + self._options.settle_seconds
        agreed = {
            row.id: row.agreed.sending(row.local).settled(row.local, row.local, seen=row.remote, until=until, now=now)
            for row in rows
        }
        for row in rows:
            self._tally.note(row)
        progress = self._tally.on(self._pairing)
        self._engine.commit(WriteBatch([*put_agreed(self._pairing, agreed), progress.put()]))


@contextmanager
def _alone(engine: Engine, collection: str) -> Iterator[None]:
    """Keep a second sync of the collection out."""
    with _RUNNING_LOCK:
        running = _RUNNING.setdefault(engine, set())
        if collection in running:
            raise SyncRefusedError(
                f"collection {collection!r} is being synced by another thread",
                fix="Wait for it to end.",
                value=collection,
            )
        running.add(collection)
    try:
        yield
    finally:
        with _RUNNING_LOCK:
            running.discard(collection)


def _changed_since(view: CollectionView, version: int) -> NDArray[np.int64]:
    """Slots of live rows written after a version, oldest first."""
    live = np.flatnonzero(view.live())
    return live[view.born_at(live) > version]


def _absent(view: CollectionView, ids: Sequence[str]) -> list[str]:
    slots = view.slots_of(ids)
    return [ids[at] for at in np.flatnonzero(slots < 0).tolist()]


def _stored(schema: CollectionSchema, rows: Sequence[Row]) -> dict[str, Row]:
    """Rows as the collection will give them back: vectors rounded to its type."""
    if not rows:
        return {}
    ids = [row.id for row in rows]
    vectors = as_float32(rounded(np.stack([row.vector for row in rows]), schema.dtype, ids))
    return {row.id: Row(row.id, vector, row.metadata) for row, vector in zip(rows, vectors, strict=True)}


def _parts(items: _Items) -> Iterator[_Items]:
    for start in range(0, len(items), MAX_ROWS):
        yield items[start : start + MAX_ROWS]
