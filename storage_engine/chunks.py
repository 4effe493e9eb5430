"""Chunks: the ranges of slots that a collection's rows lie in, and what a chunk can do.

A :class:`FreshChunk` is a buffer that still fills: rows that only the log holds. A
:class:`storage_engine.sealed.SealedChunk` is one immutable segment file, mapped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage_engine.metadata.pieces import Piece
from storage_engine.segment.ids import Key
from storage_engine.vectors.types import StoredVectors

if TYPE_CHECKING:
    from storage_engine.index.filter_graph import FilterGraph
    from storage_engine.index.graph_search import GraphSearch

LIVE = np.iinfo(np.int64).max


class Chunk(Protocol):
    """A range of slots. Arrays may be longer than the rows they hold so far."""

    @property
    def start(self) -> int:
        """First slot."""

    @property
    def count(self) -> int:
        """Rows held."""

    @property
    def vectors(self) -> NDArray[np.float32]:
        """Shape (>= count, dimension)."""

    @property
    def norms(self) -> NDArray[np.float32]:
        """Shape (>= count,)."""

    @property
    def unchecked(self) -> StoredVectors:
        """The same rows, in whatever type they are kept, without checking bytes that come from a file."""

    def confirm(self, positions: NDArray[np.int64] | None) -> None:
        """Check what was read through :attr:`unchecked`: some rows, or all."""

    @property
    def confirmed(self) -> NDArray[np.bool_] | None:
        """Which rows :meth:`confirm` need not be asked about: a flag each, set as they are checked; ``None``: all."""

    def walker(self) -> GraphSearch | None:
        """A graph over exactly these rows, if there is one."""

    def filter_graphs(self) -> tuple[FilterGraph, ...]:
        """Graphs of columns' values over exactly these rows."""

    def rows(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors of some rows, copied."""

    def born(self, count: int) -> NDArray[np.int64]:
        """LSN of the commit that wrote each of the first ``count`` rows."""

    def died(self, count: int) -> NDArray[np.int64] | None:
        """LSN at which each of the first ``count`` rows died, ``LIVE`` for the living; None: no row has died yet."""

    def kill(self, positions: NDArray[np.int64], lsn: int) -> None:
        """Let the rows at ``positions`` end at ``lsn``."""

    def moved(self, start: int, first: int = 0) -> Chunk:
        """The rows from position ``first`` on as slots from ``start`` on, for a store that takes over."""

    def forked(self, count: int, lsn: int) -> Chunk:
        """The first ``count`` rows as of ``lsn``, whose later deaths are nobody else's; nothing can be appended."""

    def ids(self, positions: NDArray[np.int64]) -> list[str]:
        """Ids of rows."""

    def id_array(self, count: int) -> pa.Array:
        """Ids of the first ``count`` rows as an Arrow string array."""


class LookupChunk(Chunk, Protocol):
    """A chunk that finds ids by itself, by the index in its file, and brings its own metadata."""

    def piece(self) -> Piece:
        """The metadata of the chunk's slots."""

    def moved(self, start: int, first: int = 0) -> LookupChunk:
        """The same rows as slots from ``start`` on; ``first`` is 0, since a segment is never cut."""

    def forked(self, count: int, lsn: int) -> LookupChunk:
        """See :class:`Chunk`; ``count`` is all of them."""

    def find(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """The newest row of each id, shape (len(ids),); -1 where there is none.

        Older rows of an id need not be found: whoever holds this chunk reads at a version at which they are dead.
        """

    def row_of(self, key: Key) -> int:
        """The same for one id; quicker for a few."""


class FreshChunk:
    """Rows that only the log holds, in a buffer of fixed capacity."""

    __slots__ = ("_born", "_died", "_has_died", "_ids", "_norms", "_vectors", "count", "start")

    def __init__(self, start: int, capacity: int, dimension: int) -> None:
        self.start = start
        self.count = 0
        self._vectors = np.empty((capacity, dimension), np.float32)
        self._norms = np.empty(capacity, np.float32)
        self._born = np.empty(capacity, np.int64)
        self._died = np.full(capacity, LIVE, np.int64)
        self._has_died = False
        self._ids: list[str] = []

    @classmethod
    def of(
        cls, start: int, ids: Sequence[str], vectors: NDArray[np.float32], norms: NDArray[np.float32], lsn: int
    ) -> FreshChunk:
        """A full buffer that is made of the given arrays themselves; nobody else writes to them."""
        chunk = cls.__new__(cls)
        chunk.start, chunk.count = start, len(ids)
        chunk._vectors, chunk._norms, chunk._ids = vectors, norms, list(ids)
        chunk._born = np.full(len(ids), lsn, np.int64)
        chunk._died = np.full(len(ids), LIVE, np.int64)
        chunk._has_died = False
        return chunk

    @property
    def vectors(self) -> NDArray[np.float32]:
        """Shape (capacity, dimension)."""
        return self._vectors

    @property
    def norms(self) -> NDArray[np.float32]:
        """Shape (capacity,)."""
        return self._norms

    @property
    def free(self) -> int:
        """Rows that still fit."""
        return len(self._norms) - self.count

    @property
    def unchecked(self) -> NDArray[np.float32]:
        """The same as :attr:`vectors`."""
        return self._vectors

    def confirm(self, positions: NDArray[np.int64] | None) -> None:
        """Nothing to check: the rows never left this process."""

    @property
    def confirmed(self) -> None:
        """Nothing to check."""
        return

    def walker(self) -> None:
        """Fresh rows have no graph."""
        return

    def filter_graphs(self) -> tuple[FilterGraph, ...]:
        """Nor graphs of values."""
        return ()

    def rows(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """See :class:`Chunk`."""
        return self._vectors[positions]

    def born(self, count: int) -> NDArray[np.int64]:
        """See :class:`Chunk`."""
        return self._born[:count]

    def died(self, count: int) -> NDArray[np.int64] | None:
        """See :class:`Chunk`."""
        return self._died[:count] if self._has_died else None

    def kill(self, positions: NDArray[np.int64], lsn: int) -> None:
        """See :class:`Chunk`."""
        self._died[positions] = lsn
        self._has_died = True

    def ids(self, positions: NDArray[np.int64]) -> list[str]:
        """See :class:`Chunk`."""
        return [self._ids[position] for position in positions.tolist()]

    def id_array(self, count: int) -> pa.Array:
        """See :class:`Chunk`."""
        return pa.array(self._ids[:count], pa.string())

    def moved(self, start: int, first: int = 0) -> FreshChunk:
        """The rows from position ``first`` on as slots from ``start`` on, for a store that takes over.

        Without ``first`` the arrays are shared: the store that had them writes no more.
        """
        twin = FreshChunk.__new__(FreshChunk)
        twin.start = start
        twin.count = self.count - first
        twin._vectors = self._vectors[first:].copy() if first else self._vectors
        twin._norms = self._norms[first:].copy() if first else self._norms
        twin._born = self._born[first:].copy() if first else self._born
        twin._died = self._died[first:].copy() if first else self._died
        twin._has_died = self._has_died
        twin._ids = self._ids[first:] if first else self._ids
        return twin

    def forked(self, count: int, lsn: int) -> FreshChunk:
        """See :class:`Chunk`. Vectors, norms and births are shared, deaths copied."""
        twin = FreshChunk.__new__(FreshChunk)
        twin.start = self.start
        twin.count = count
        twin._vectors, twin._norms, twin._born = self._vectors[:count], self._norms[:count], self._born[:count]
        twin._died = deaths_until(self._died[:count], lsn)
        twin._has_died = bool((twin._died != LIVE).any())
        twin._ids = self._ids[:count]
        return twin

    def extend(self, ids: Sequence[str], vectors: StoredVectors, norms: NDArray[np.float32], lsn: int) -> None:
        """Append rows; the caller has seen that they fit. Whatever their type, the buffer holds float32."""
        end = self.count + len(ids)
        self._vectors[self.count : end] = vectors
        self._norms[self.count : end] = norms
        self._born[self.count : end] = lsn
        self._ids.extend(ids)
        self.count = end


def deaths_until(died: NDArray[np.int64], lsn: int) -> NDArray[np.int64]:
    """A copy of deaths in which those after ``lsn`` have not happened."""
    copied = died.copy()
    copied[copied > lsn] = LIVE
    return copied
