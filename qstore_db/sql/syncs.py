"""What SQL has of syncs with Pinecone: ``CALL sync(…)`` and the table ``syncs``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import pyarrow as pa

from qstore_db.sql.arguments import given_arguments
from qstore_db.sync.options import SyncOptions
from qstore_db.sync.pairing import pairings
from qstore_db.sync.pinecone_index import PineconeIndex
from qstore_db.sync.syncing import sync
from query.ports import Parameter
from query.system.moments import TIME, moment
from storage_engine.engine import Engine
from storage_engine.snapshot import Snapshot

REPORT_SCHEMA: Final = pa.schema(
    [
        ("collection", pa.string()),
        ("index", pa.string()),
        ("namespace", pa.string()),
        ("direction", pa.string()),
        ("dry_run", pa.bool_()),
        ("version", pa.int64()),
        ("pushed", pa.int64()),
        ("deleted_remote", pa.int64()),
        ("pulled", pa.int64()),
        ("deleted_local", pa.int64()),
        ("agreed", pa.int64()),
        ("left", pa.int64()),
        ("conflicts", pa.list_(pa.string())),
        ("requests", pa.int64()),
        ("retries", pa.int64()),
        ("seconds", pa.float64()),
    ]
)
_OPTIONS: Final = ("direction", "prefer", "dry_run", "allow_emptying", "anew", "settle_seconds")


@dataclass(frozen=True, slots=True)
class Sync:
    """``CALL sync(collection => 'items', index => 'items', direction => 'both')``: one row, the report.

    The API key comes from the environment only, and so does the address: whoever may write SQL cannot send the key
    elsewhere. Where the environment has no key, SQL reaches no network.

    Args:
        engine: The database.
    """

    engine: Engine

    @property
    def name(self) -> str:
        """Its name in SQL."""
        return "sync"

    @property
    def parameters(self) -> Sequence[Parameter]:
        """As :meth:`qstore_db.Collection.sync` takes them."""
        return (
            Parameter("collection", "text", required=True),
            Parameter("index", "text", required=True),
            Parameter("direction", "text"),
            Parameter("namespace", "text"),
            Parameter("prefer", "text"),
            Parameter("dry_run", "boolean"),
            Parameter("allow_emptying", "boolean"),
            Parameter("anew", "boolean"),
            Parameter("settle_seconds", "number"),
            Parameter("retry_seconds", "number"),
        )

    def call(self, arguments: Mapping[str, object]) -> pa.Table:
        """Sync; see :meth:`qstore_db.Collection.sync` for the errors. ``conflicts`` are the ids."""
        given = given_arguments(arguments)
        options = SyncOptions(**{name: given.pop(name) for name in _OPTIONS if name in given})
        collection, index = given.pop("collection"), given.pop("index")
        self.engine.snapshot().collection(collection)  # before anything is asked of the network
        with PineconeIndex.connect(index, **given) as remote:
            report = sync(self.engine, collection, remote, options)
        conflicts = [conflict.id for conflict in report.conflicts]
        row = {name: conflicts if name == "conflicts" else getattr(report, name) for name in REPORT_SCHEMA.names}
        return pa.Table.from_pylist([row], schema=REPORT_SCHEMA)


class SyncsTable:
    """One row for each collection, index and namespace that were ever synced, with what the last sync did."""

    name = "syncs"
    schema = pa.schema(
        [
            ("collection", pa.string()),
            ("index", pa.string()),
            ("namespace", pa.string()),
            ("host", pa.string()),
            ("version", pa.int64()),
            ("direction", pa.string()),
            ("status", pa.string()),
            ("started_at", TIME),
            ("finished_at", TIME),
            ("pushed", pa.int64()),
            ("deleted_remote", pa.int64()),
            ("pulled", pa.int64()),
            ("deleted_local", pa.int64()),
            ("conflicts", pa.int64()),
            ("left", pa.int64()),
            ("error", pa.string()),
        ]
    )

    def rows(self, snapshot: Snapshot) -> pa.Table:
        """In the order of their first sync."""
        rows = [
            {
                **asdict(pairing),
                "started_at": moment(pairing.started_at),
                "finished_at": None if pairing.finished_at is None else moment(pairing.finished_at),
            }
            for pairing in pairings(snapshot)
        ]
        return pa.Table.from_pylist(rows, self.schema)
