"""Everything the database holds at one version, as immutable values.

A :class:`Catalog` names the collections, keyed tables and files at one LSN. Making the next one copies three small
dictionaries and never a row: rows live in the shared, append-only stores that it points to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import pyarrow as pa

from storage_engine.batch import FileReference
from storage_engine.keyed_table import KeyedTable
from storage_engine.schema import CollectionSchema
from storage_engine.vector_store import VectorStore


class DeferredColumns(Mapping[str, pa.DataType]):
    """Columns of sealed rows, worked out from the segments' own schemas when somebody first asks.

    Opening a database therefore reads no metadata. Safe to use from several threads: the answer is always the same.
    """

    __slots__ = ("_columns", "_work_out")

    def __init__(self, work_out: Callable[[], Mapping[str, pa.DataType]]) -> None:
        self._work_out: Callable[[], Mapping[str, pa.DataType]] | None = work_out
        self._columns: Mapping[str, pa.DataType] = {}

    def _known(self) -> Mapping[str, pa.DataType]:
        work_out = self._work_out
        if work_out is not None:
            self._columns = work_out()
            self._work_out = None  # it knows the segments: their files would stay mapped long after they are replaced
        return self._columns

    def __getitem__(self, name: str) -> pa.DataType:
        return self._known()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known())

    def __len__(self) -> int:
        return len(self._known())


_HISTORY_KEPT = 64

NO_COLUMNS: Mapping[str, pa.DataType] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class CollectionState:
    """One collection at one version.

    Args:
        schema: What it is.
        rows: The shared store.
        slot_count: How many of its slots exist at this version.
        live_count: How many of those are live.
        columns: Metadata columns in order of first appearance.
        lsn: The last commit that changed the collection.
        cache: Answers derived from the fields above, kept by the views that computed them.
    """

    schema: CollectionSchema
    rows: VectorStore
    slot_count: int = 0
    live_count: int = 0
    columns: Mapping[str, pa.DataType] = field(default_factory=lambda: NO_COLUMNS)
    lsn: int = 0
    cache: dict[str, object] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class TableState:
    """One keyed table at one version."""

    table: KeyedTable
    live_count: int
    lsn: int

    def without_history(self) -> TableState:
        """The same records, without the versions that only older snapshots see, if there are many of those."""
        if self.table.written <= 2 * self.live_count + _HISTORY_KEPT:
            return self
        return TableState(KeyedTable(self.table.items(self.lsn), self.lsn), self.live_count, self.lsn)


@dataclass(frozen=True, slots=True, eq=False)
class Catalog:
    """The whole database at one version.

    Args:
        lsn: The version: the LSN of the newest commit it includes.
        collections: By name.
        tables: Keyed tables by name.
        files: Attached files by (kind, name), in the order they were attached.
        time: When the newest commit was made, seconds since the epoch; 0 if unknown.
    """

    lsn: int = 0
    collections: Mapping[str, CollectionState] = field(default_factory=dict)
    tables: Mapping[str, TableState] = field(default_factory=dict)
    files: Mapping[tuple[str, str], FileReference] = field(default_factory=dict)
    time: float = 0.0

    def by_uuid(self, uuid: str) -> CollectionState | None:
        """The collection of that uuid. Cost: O(collections)."""
        for state in self.collections.values():
            if state.schema.uuid == uuid:
                return state
        return None
