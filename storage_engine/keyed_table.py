"""A keyed table of JSON records: append-only histories shared by all snapshots, like the rows of a collection.

Each key's life from its first writing to its deletion is an :class:`_Entry`; a key written again after a deletion
starts a new one at the end of the order. A reader at LSN ``v`` sees an entry's newest value written at or before ``v``
unless the entry had ended by then. Values are kept as JSON text and parsed for each reader, so that nobody can change
what another one sees.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import cast

from storage_engine.batch import JsonValue
from storage_engine.chunks import LIVE

Record = Mapping[str, JsonValue]


class _Entry:
    __slots__ = ("ended", "key", "values")

    def __init__(self, key: str, lsn: int, text: str) -> None:
        self.key = key
        self.values = [(lsn, text)]  # only ever appended to
        self.ended = LIVE

    def at(self, lsn: int) -> str | None:
        if self.ended <= lsn:
            return None
        for born, text in reversed(self.values):
            if born <= lsn:
                return text
        return None


class KeyedTable:
    """All records of one table at all versions since the last seal.

    Args:
        records: Keys and JSON texts to begin with, in order, as of ``lsn``.
        lsn: Their version.
    """

    def __init__(self, records: Iterable[tuple[str, str]] = (), lsn: int = 0) -> None:
        self._order: list[_Entry] = []
        self._newest: dict[str, tuple[_Entry, ...]] = {}
        self.live_count = 0
        self.written = 0  # versions kept, those that no new reader can see included
        for key, text in records:
            self.put(key, text, lsn)

    def put(self, key: str, text: str, lsn: int) -> None:
        """Write a record, given as JSON text; a key that is there keeps its place."""
        self.written += 1
        lives = self._newest.get(key, ())
        if lives and lives[-1].ended == LIVE:
            lives[-1].values.append((lsn, text))
            return
        entry = _Entry(key, lsn, text)
        self._newest[key] = (*lives, entry)
        self._order.append(entry)
        self.live_count += 1

    def delete(self, key: str, lsn: int) -> None:
        """End a record that is there."""
        self._newest[key][-1].ended = lsn
        self.live_count -= 1

    def get(self, key: str, lsn: int) -> str | None:
        """The record's text as a reader at ``lsn`` sees it."""
        for entry in reversed(self._newest.get(key, ())):
            text = entry.at(lsn)
            if text is not None:
                return text
        return None

    def items(self, lsn: int) -> Iterator[tuple[str, str]]:
        """Keys and texts in the order of the keys' first writing, as a reader at ``lsn`` sees them."""
        for position in range(len(self._order)):  # entries that a writer appends meanwhile are not seen at ``lsn``
            entry = self._order[position]
            text = entry.at(lsn)
            if text is not None:
                yield entry.key, text


class TableView(Mapping[str, Record]):
    """A keyed table at one version: immutable, in key insertion order."""

    __slots__ = ("_count", "_lsn", "_table")

    def __init__(self, table: KeyedTable, lsn: int, count: int) -> None:
        self._table = table
        self._lsn = lsn
        self._count = count

    def __getitem__(self, key: str) -> Record:
        text = self._table.get(key, self._lsn)
        if text is None:
            raise KeyError(key)
        return cast(Record, json.loads(text))

    def __iter__(self) -> Iterator[str]:
        return (key for key, _ in self._table.items(self._lsn))

    def __len__(self) -> int:
        return self._count

    def texts(self) -> Iterator[tuple[str, str]]:
        """Keys with their records as JSON text, in order."""
        return self._table.items(self._lsn)

    def __repr__(self) -> str:
        return f"TableView({len(self)} records at version {self._lsn})"


EMPTY_TABLE = TableView(KeyedTable(), 0, 0)
