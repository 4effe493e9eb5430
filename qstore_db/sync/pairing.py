"""What a database remembers of a collection's sync with an index: how far it got, and what was agreed of each row.

Progress is one record of the keyed table ``syncs``. What was agreed is a row for each id in a hidden collection beside
the collection, named after the index: digests are counted in millions, and keyed tables are not made for that.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, cast

import numpy as np
import pyarrow as pa

from qstore_db.errors import InvalidArgumentError
from qstore_db.sync.content import ABSENT
from qstore_db.sync.merging import Agreed, Echo
from storage_engine.batch import (
    CreateCollection,
    DeleteRecord,
    DeleteRows,
    DropCollection,
    JsonValue,
    Operation,
    PutRecord,
    PutRows,
)
from storage_engine.schema import CollectionSchema, GraphOptions, Metric, Role
from storage_engine.snapshot import CollectionView, Snapshot

SYNCS: Final = "syncs"
_COLUMNS: Final = pa.schema(
    [("local", pa.string()), ("remote", pa.string()), ("sent", pa.string()), ("echoes", pa.string())]
)
_MAX_NAME: Final = 128  # of any collection, as the storage floor counts
_NO_GRAPH: Final = GraphOptions(minimum_rows=2**62)  # these rows are found by id only


@dataclass(frozen=True, slots=True)
class Pairing:
    """A collection beside a namespace of an index, with the progress of its last sync.

    Args:
        collection: Its name.
        index: The index's name.
        namespace: Empty text is the default one.
        host: Where the index's rows were last found.
        version: Every change up to this version of the database is at the index, or was overruled by it.
        direction: Of the last sync.
        status: ``running``, ``finished``, ``interrupted`` or ``failed``. A killed process leaves ``running``.
        started_at: Seconds since the epoch.
        finished_at: ``None`` while it runs.
        pushed: Rows that it wrote to the index, so far.
        deleted_remote: Rows that it deleted there.
        pulled: Rows that it wrote to the collection.
        deleted_local: Rows that it deleted there.
        conflicts: Rows that both sides had changed.
        left: Rows that differ and were left so.
        error: What ended it.
    """

    collection: str
    index: str
    namespace: str
    host: str
    version: int = 0
    direction: str = ""
    status: str = "running"
    started_at: float = 0.0
    finished_at: float | None = None
    pushed: int = 0
    deleted_remote: int = 0
    pulled: int = 0
    deleted_local: int = 0
    conflicts: int = 0
    left: int = 0
    error: str | None = None

    @property
    def key(self) -> str:
        """In the table ``syncs``; injective, because names of collections and indexes hold no slash."""
        return f"{self.collection}/{self.index}/{self.namespace}"

    @property
    def agreed_name(self) -> str:
        """Name of the hidden collection of what was agreed."""
        which = hashlib.blake2b(f"{self.index}/{self.namespace}".encode(), digest_size=8).hexdigest()
        return f"{self.collection}$sync-{which}"

    def put(self) -> PutRecord:
        """The operation that keeps this progress."""
        return PutRecord(SYNCS, self.key, cast("Mapping[str, JsonValue]", asdict(self)))

    def create(self, now: float) -> CreateCollection:
        """The operation that makes the hidden collection.

        Raises:
            InvalidArgumentError: The collection's name leaves no room for its name.
        """
        if len(self.agreed_name) > _MAX_NAME:
            longest = _MAX_NAME - len(replace(self, collection="").agreed_name)
            raise InvalidArgumentError(
                f"the name of collection {self.collection!r} leaves no room for what a sync remembers",
                fix=f"A synced collection needs a name of at most {longest} characters.",
                value=self.collection,
            )
        return CreateCollection(
            CollectionSchema(
                name=self.agreed_name,
                uuid=uuid.uuid4().hex,
                dimension=1,
                metric=Metric.L2,
                role=Role.HIDDEN,
                created_at=now,
                graph=_NO_GRAPH,
            )
        )


def stored_pairing(snapshot: Snapshot, wanted: Pairing) -> Pairing | None:
    """The pairing of the same collection, index and namespace; ``None`` before its first sync."""
    value = snapshot.table(SYNCS).get(wanted.key)
    return None if value is None else Pairing(**cast("dict[str, Any]", value))


def pairings(snapshot: Snapshot) -> list[Pairing]:
    """All of them, in the order of their first sync."""
    return [Pairing(**cast("dict[str, Any]", value)) for value in snapshot.table(SYNCS).values()]


def agreed_rows(view: CollectionView, ids: Sequence[str]) -> dict[str, Agreed]:
    """What was agreed of rows, by id; those never compared are left out."""
    slots = view.slots_of(ids)
    known = np.flatnonzero(slots >= 0)
    columns = view.values_at(slots[known])
    rows = zip(*(columns[name] for name in _COLUMNS.names), strict=True) if columns else ()
    return {ids[int(position)]: _agreed(*row) for position, row in zip(known, rows, strict=True)}


class AgreedIds:
    """The ids of which something was agreed, by what that is; each list oldest first.

    Args:
        view: The hidden collection; ``None`` before the first sync. Cost: a pass over its rows.
    """

    def __init__(self, view: CollectionView | None) -> None:
        self._view = view
        self._table = None if view is None or not view.columns else view.arrow(["id", *_COLUMNS.names])

    @property
    def all(self) -> list[str]:
        """Every one."""
        return [] if self._table is None else self._table.column("id").to_pylist()

    def rows(self, ids: Sequence[str]) -> dict[str, Agreed]:
        """What was agreed of some of them."""
        return {} if self._view is None else agreed_rows(self._view, ids)

    def here(self) -> list[str]:
        """Rows that were in the collection."""
        return self._where(lambda table, compute: compute.not_equal(table.column("local"), ABSENT))

    def there(self) -> list[str]:
        """Rows that were in the index."""
        return self._where(lambda table, compute: compute.not_equal(table.column("remote"), ABSENT))

    def marked(self) -> list[str]:
        """Rows that a request may have changed whose answer never came."""
        return self._where(lambda table, compute: compute.is_valid(table.column("sent")))

    def buried(self) -> list[str]:
        """Rows that were on neither side."""
        return self._where(
            lambda table, compute: compute.and_(
                compute.equal(table.column("local"), ABSENT),
                compute.and_(compute.equal(table.column("remote"), ABSENT), compute.is_null(table.column("sent"))),
            )
        )

    def _where(self, holds: Callable[[pa.Table, Any], pa.ChunkedArray]) -> list[str]:
        if self._table is None:
            return []
        import pyarrow.compute

        ids: list[str] = self._table.filter(holds(self._table, pyarrow.compute)).column("id").to_pylist()
        return ids


def put_agreed(pairing: Pairing, rows: Mapping[str, Agreed]) -> list[Operation]:
    """The operations that remember what was agreed of some rows, and forget those that are gone on both sides."""
    kept = {row_id: agreed for row_id, agreed in rows.items() if not agreed.is_over}
    gone = [row_id for row_id, agreed in rows.items() if agreed.is_over]
    operations: list[Operation] = []
    if kept:
        values = [(one.local, one.remote, " ".join(one.sent) or None, _text(one.echoes)) for one in kept.values()]
        table = pa.table([pa.array(column, pa.string()) for column in zip(*values, strict=True)], schema=_COLUMNS)
        nowhere = np.zeros((len(kept), 1), np.float32)
        operations.append(PutRows(pairing.agreed_name, list(kept), nowhere, None, table, "upsert"))
    if gone:
        operations.append(DeleteRows(pairing.agreed_name, gone, missing_ok=True))
    return operations


def forget_operations(snapshot: Snapshot, collection: str) -> list[Operation]:
    """The operations that forget every sync of a collection."""
    operations: list[Operation] = []
    for pairing in pairings(snapshot):
        if pairing.collection == collection:
            operations.append(DeleteRecord(SYNCS, pairing.key))
            if snapshot.has_collection(pairing.agreed_name):
                operations.append(DropCollection(pairing.agreed_name))
    return operations


def _agreed(local: str, remote: str, sent: str | None, echoes: str) -> Agreed:
    return Agreed(local, remote, tuple((sent or "").split()), tuple(_echoes(echoes)))


def _text(echoes: Iterable[Echo]) -> str:
    return " ".join(f"{echo.digest}@{echo.until!r}" for echo in echoes)


def _echoes(text: str) -> Iterable[Echo]:
    for part in text.split():
        digest, _, until = part.partition("@")
        yield Echo(digest, float(until))
