"""Rows of one namespace, as reads that are behind writes show them."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class StoredVector:
    """A row.

    Args:
        id: Its id.
        values: float32 (dimension,).
        metadata: Without nulls, numbers as doubles.
    """

    id: str
    values: NDArray[np.float32]
    metadata: Mapping[str, Any]


@dataclass(slots=True)
class Namespace:
    """What each row was since when. Not safe for threads: its index locks.

    Args:
        keep_seconds: How far back reads may look.
    """

    keep_seconds: float
    _versions: dict[str, list[tuple[float, StoredVector | None]]] = field(default_factory=dict)
    _order: list[str] | None = None  # sorted ids, until one comes or goes

    def put(self, rows: Iterable[StoredVector], now: float) -> None:
        """Write rows whole."""
        for row in rows:
            self._add(row.id, row, now)

    def remove(self, ids: Iterable[str], now: float) -> None:
        """Delete rows; those that are not there are passed over."""
        for row_id in ids:
            if row_id in self._versions:
                self._add(row_id, None, now)

    def rows(self, at: float) -> dict[str, StoredVector]:
        """All rows as they were at a time, by id in bytewise order."""
        found = {row_id: self._at(versions, at) for row_id, versions in sorted(self._versions.items())}
        return {row_id: row for row_id, row in found.items() if row is not None}

    def some(self, ids: Iterable[str], at: float) -> dict[str, StoredVector]:
        """Those of the rows that were there at a time, in the order given."""
        found = {row_id: self._at(self._versions.get(row_id, []), at) for row_id in ids}
        return {row_id: row for row_id, row in found.items() if row is not None}

    def page(self, prefix: str, after: str, limit: int, at: float) -> tuple[list[str], bool]:
        """The first ids behind ``after`` that begin with ``prefix``, at most ``limit``; and whether more follow."""
        if self._order is None:
            self._order = sorted(self._versions)
        found: list[str] = []
        for place in range(bisect.bisect_right(self._order, after), len(self._order)):
            row_id = self._order[place]
            if row_id.startswith(prefix) and self._at(self._versions[row_id], at) is not None:
                if len(found) == limit:
                    return found, True
                found.append(row_id)
        return found, False

    def newest(self, row_id: str) -> StoredVector | None:
        """A row as it was last written."""
        versions = self._versions.get(row_id)
        return versions[-1][1] if versions else None

    def _add(self, row_id: str, row: StoredVector | None, now: float) -> None:
        if row_id not in self._versions:
            self._order = None
        versions = self._versions.setdefault(row_id, [])
        versions.append((now, row))
        # The newest of those that every read from now on is past stays; what was before it cannot be seen any more.
        past = bisect.bisect_right([when for when, _ in versions], now - self.keep_seconds)
        del versions[: max(0, past - 1)]
        if versions == [(now, None)]:
            del self._versions[row_id]
            self._order = None

    @staticmethod
    def _at(versions: list[tuple[float, StoredVector | None]], at: float) -> StoredVector | None:
        position = bisect.bisect_right([when for when, _ in versions], at)
        return versions[position - 1][1] if position else None
