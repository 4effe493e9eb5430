"""One sealed segment as a chunk of slots: mapped rows, plus the deaths that happened after it was sealed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage_engine.chunks import LIVE, deaths_until
from storage_engine.files import Disk
from storage_engine.graph_file import SegmentGraph
from storage_engine.manifest.manifest import SealedSegment
from storage_engine.metadata.pieces import SEALED, Piece
from storage_engine.segment.deletes import read_deletes
from storage_engine.segment.ids import Key
from storage_engine.segment.reference import SegmentReference
from storage_engine.segment.segment import Segment
from storage_engine.staged_file import StoredFile
from storage_engine.vectors.types import StoredVectors, as_float32

if TYPE_CHECKING:
    from storage_engine.index.filter_graph import FilterGraph
    from storage_engine.index.graph_search import GraphSearch


class SealedChunk:
    """See :class:`storage_engine.chunks.LookupChunk`.

    Attributes:
        start: First slot.
        deletes: The file that holds the deaths up to the last manifest, or ``None``.
        dirty: Whether a row died since.
        graph: The frozen graph over exactly these rows, or ``None``.
    """

    __slots__ = ("_confirmed", "_dead", "_died", "_segment", "_whole", "deletes", "dirty", "graph", "start")

    def __init__(self, segment: Segment, start: int, deletes: StoredFile | None = None) -> None:
        self.start = start
        self.deletes = deletes
        self.dirty = False
        self.graph: SegmentGraph | None = None
        self._segment = segment
        self._whole = False  # every block of the vectors has passed its checksum
        self._confirmed = np.zeros(len(segment), np.bool_)  # rows whose blocks have
        self._died: NDArray[np.int64] | None = None
        self._dead = 0

    @classmethod
    def open(cls, disk: Disk, sealed: SealedSegment, start: int) -> SealedChunk:
        """Map a segment that a manifest names. Cost: independent of its rows, unless some are dead.

        Raises:
            DamagedError: A file is missing or damaged.
        """
        chunk = cls(Segment.open(disk, sealed.segment), start, sealed.deletes)
        if sealed.deletes is not None:
            rows, lsns = read_deletes(disk, sealed.deletes, sealed.segment.rows)
            chunk.kill(rows, lsns.astype(np.int64))
            chunk.dirty = False
        return chunk

    def moved(self, start: int, first: int = 0) -> SealedChunk:
        """The same rows as slots from ``start`` on, with the deaths so far; the store that had them changes no more."""
        if first:
            raise ValueError("a segment is never cut")
        twin = SealedChunk(self._segment, start, self.deletes)
        twin.dirty = self.dirty
        twin.graph = self.graph
        twin._died = self._died
        twin._dead = self._dead
        return twin

    def forked(self, count: int, lsn: int) -> SealedChunk:
        """See :class:`storage_engine.chunks.Chunk`."""
        twin = self.moved(self.start)
        if self._died is not None:
            twin.take_over(deaths_until(self._died[:count], lsn))
        return twin

    @property
    def reference(self) -> SegmentReference:
        """What names the segment in manifests."""
        return self._segment.reference

    @property
    def segment(self) -> Segment:
        """The mapped files."""
        return self._segment

    @property
    def count(self) -> int:
        """Rows."""
        return len(self._segment)

    @property
    def dead_count(self) -> int:
        """Rows that have died."""
        return self._dead

    @property
    def vectors(self) -> NDArray[np.float32]:
        """All vectors, mapped where they are kept as float32, otherwise a copy; the first use checks them."""
        return self._segment.vectors

    @property
    def unchecked(self) -> StoredVectors:
        """All vectors in the type they are kept in, mapped, not yet checked.

        Whoever used some calls :meth:`confirm` before showing results.
        """
        return self._segment.mapped_vectors

    def confirm(self, positions: NDArray[np.int64] | None) -> None:
        """Check the vectors of some rows, or of all, that were read through :attr:`unchecked`.

        Raises:
            DamagedError: A block fails its checksum.
        """
        if self._whole:
            return
        if positions is None:
            self._segment.verify_vectors()
            self._confirmed[:] = True
            self._whole = True
        elif not self._confirmed[positions].all():
            self._segment.verify_rows(positions)
            self._confirmed[positions] = True

    @property
    def confirmed(self) -> NDArray[np.bool_] | None:
        """See :class:`storage_engine.chunks.Chunk`."""
        return None if self._whole else self._confirmed

    def walker(self) -> GraphSearch | None:
        """The graph ready for searching; ``None`` if there is none or its file is damaged."""
        return None if self.graph is None else self.graph.walker(self._segment)

    def filter_graphs(self) -> tuple[FilterGraph, ...]:
        """See :class:`storage_engine.chunks.Chunk`."""
        return () if self.graph is None or not self.graph.file.filters else self.graph.filters(self._segment)

    @property
    def norms(self) -> NDArray[np.float32]:
        """All norms, mapped."""
        return self._segment.norms

    def rows(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors of some rows, copied; only their blocks are checked."""
        self._segment.verify_rows(positions)
        return as_float32(self._segment.mapped_vectors[positions])

    def born(self, count: int) -> NDArray[np.int64]:
        """LSN that wrote each of the first ``count`` rows."""
        return self._segment.born[:count].astype(np.int64)

    def died(self, count: int) -> NDArray[np.int64] | None:
        """See :class:`storage_engine.chunks.Chunk`."""
        return None if self._died is None else self._died[:count]

    def kill(self, positions: NDArray[np.int64], lsn: int | NDArray[np.int64]) -> None:
        """See :class:`storage_engine.chunks.Chunk`."""
        if not len(positions):
            return
        # Filled before it is published: a reader sees no array or a whole one.
        died = np.full(self.count, LIVE, np.int64) if self._died is None else self._died
        died[positions] = lsn
        self._died = died
        self._dead += len(positions)
        self.dirty = True

    def take_over(self, died: NDArray[np.int64]) -> None:
        """Know the deaths of the rows that this segment now stands for: LSNs of shape (count,), kept."""
        self._dead = int(np.count_nonzero(died != LIVE))
        self._died = died if self._dead else None

    def died_after(self, lsn: int) -> bool:
        """Whether a row died in a commit after ``lsn``."""
        return self._died is not None and bool(((self._died > lsn) & (self._died != LIVE)).any())

    def ids(self, positions: NDArray[np.int64]) -> list[str]:
        """Ids of rows."""
        return self._segment.ids.at(positions)

    def id_array(self, count: int) -> pa.Array:
        """Ids of the first ``count`` rows."""
        return pa.array(self._segment.ids.at(np.arange(count)), pa.string())

    def find(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """See :class:`storage_engine.chunks.LookupChunk`."""
        return self._segment.ids.lookup(ids)

    def row_of(self, key: Key) -> int:
        """See :class:`storage_engine.chunks.LookupChunk`."""
        return self._segment.ids.row_of(key)

    def piece(self) -> Piece:
        """The metadata as a piece of the same slots, read as a whole when a value is first wanted."""
        return Piece(self.start, self.count, _Once(self._segment.metadata), SEALED)


class _Once:
    """Calls a function at the first use and keeps its answer; safe to use from several threads."""

    __slots__ = ("_load", "_lock", "_table")

    def __init__(self, load: Callable[[], pa.Table | None]) -> None:
        self._load: Callable[[], pa.Table | None] | None = load
        self._lock = threading.Lock()
        self._table: pa.Table | None = None

    def __call__(self) -> pa.Table | None:
        if self._load is not None:
            with self._lock:
                if self._load is not None:
                    self._table = self._load()
                    self._load = None
        return self._table
