"""One collection's rows: append-only arrays shared by all snapshots.

Rows get slots in the order of their commits. A slot is never written again except for one number: the LSN at which the
row died. A reader at LSN ``v`` that knows how many slots existed then sees slot ``s`` exactly if ``s`` is below that
count and ``died[s] > v``; what later commits append or kill does not change that answer. So a snapshot costs nothing
to take, and writers never wait for readers.

Slots lie in chunks. A :class:`FreshChunk` is a buffer that still fills (rows that only the log holds); a
:class:`storage_engine.sealed.SealedChunk` is one immutable segment file, mapped. Only the thread that holds the
engine's write lock calls the methods that change something.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage_engine.chunks import LIVE, Chunk, FreshChunk, LookupChunk
from storage_engine.metadata.pieces import Piece, appended, pieces_from, pieces_until
from storage_engine.segment.ids import FEW, keys_of
from storage_engine.vectors.types import StoredVectors, as_float32

_FIRST_CHUNK_ROWS = 64
_CHUNK_BYTES = 4 << 20
_KEPT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Chunks in slot order and where each begins; replaced as a whole, so that a reader sees one consistent list."""

    chunks: tuple[Chunk, ...]
    starts: NDArray[np.int64]

    def with_chunk(self, chunk: Chunk) -> Layout:
        """The layout with one more chunk at its end."""
        return Layout((*self.chunks, chunk), np.append(self.starts, chunk.start))


class VectorStore:
    """All rows of one collection.

    Args:
        dimension: Length of each vector.
        sealed: Segments to begin with, in slot order.
    """

    def __init__(self, dimension: int, sealed: Sequence[LookupChunk] = ()) -> None:
        self.dimension = dimension
        self.layout = Layout((), np.empty(0, np.int64))
        self.pieces: tuple[Piece, ...] = ()
        self.slot_count = 0
        self._lookups: tuple[LookupChunk, ...] = ()
        self._fresh_slots: dict[str, int] = {}
        self._earlier: dict[int, int] = {}  # slot of a fresh row → the fresh slot that had its id before
        for chunk in sealed:
            self.append_sealed(chunk)

    # -- changing, under the engine's write lock -------------------------------------------------------------------

    def append(
        self,
        ids: Sequence[str],
        vectors: StoredVectors,
        norms: NDArray[np.float32],
        metadata: pa.Table | None,
        lsn: int,
    ) -> None:
        """Add rows at the end. Cost: one copy of the vectors; large float32 arrays are kept and must not change."""
        self.pieces = appended(self.pieces, Piece.of(self.slot_count, len(ids), metadata))
        self._remember(self.slot_count, ids)
        done = 0
        if vectors.nbytes >= _KEPT_BYTES and vectors.dtype == np.float32:
            self.layout = self.layout.with_chunk(
                FreshChunk.of(self.slot_count, ids, as_float32(vectors), norms, lsn),
            )
            done = len(ids)
        while done < len(ids):
            chunk = self._chunk_with_room()
            take = min(chunk.free, len(ids) - done)
            part = slice(done, done + take)
            chunk.extend(ids[part], vectors[part], norms[part], lsn)
            done += take
        self.slot_count += len(ids)

    def append_sealed(self, chunk: LookupChunk) -> None:
        """Add a segment at the end; ``chunk.start`` equals :attr:`slot_count`."""
        if chunk.start != self.slot_count:
            raise ValueError(f"a segment for slot {chunk.start} cannot follow slot {self.slot_count - 1}")
        self.pieces = (*self.pieces, chunk.piece())
        self.layout = self.layout.with_chunk(chunk)
        self._lookups = (chunk, *self._lookups)
        self.slot_count += chunk.count

    def kill(self, slots: NDArray[np.int64], lsn: int) -> None:
        """Let rows end at ``lsn``."""
        for chunk, _, positions in self.owners(slots):
            chunk.kill(positions, lsn)

    def succeeded(self, sealed: Sequence[LookupChunk], covered: int) -> VectorStore:
        """A new store with the same rows, whose first part lies in other segments. This one must not change any more.

        Args:
            sealed: Segments from slot 0 on that stand for the first ``covered`` slots of this store.
            covered: Slots beyond follow unchanged, renumbered if the segments hold fewer rows.
        """
        store = VectorStore(self.dimension, sealed)
        shift = store.slot_count - covered
        segments = {segment.start: segment for segment in self._lookups}
        for chunk in self.layout.chunks:
            first = max(0, covered - chunk.start)
            if first >= chunk.count:
                continue
            start = chunk.start + first + shift
            segment = segments.get(chunk.start)
            if segment is not None:
                segment = segment.moved(start, first)
                store.layout = store.layout.with_chunk(segment)
                store._lookups = (segment, *store._lookups)
            elif isinstance(chunk, FreshChunk):
                fresh = chunk.moved(start, first)
                store.layout = store.layout.with_chunk(fresh)
                store._remember(start, fresh.ids(np.arange(fresh.count)))
        store.pieces = (*store.pieces, *pieces_from(self.pieces, covered, shift))
        store.slot_count = self.slot_count + shift
        return store

    def forked(self, slot_count: int, lsn: int) -> VectorStore:
        """The first slots as of ``lsn`` in a store that changes by itself; vectors are shared. From any thread.

        Cost: copies the deaths, and the ids of fresh rows.
        """
        store = VectorStore(self.dimension)
        segments = {segment.start: segment for segment in self._lookups}
        for chunk, rows in self.parts(slot_count):
            segment = segments.get(chunk.start)
            if segment is not None:
                twin = segment.forked(rows, lsn)
                store.layout = store.layout.with_chunk(twin)
                store._lookups = (twin, *store._lookups)
            else:
                fresh = chunk.forked(rows, lsn)
                store.layout = store.layout.with_chunk(fresh)
                store._remember(fresh.start, fresh.ids(np.arange(rows)))
        store.pieces = pieces_until(self.pieces, slot_count)
        store.slot_count = slot_count
        return store

    def _remember(self, first_slot: int, ids: Sequence[str]) -> None:
        newest = self._fresh_slots
        if newest.keys().isdisjoint(ids):
            newest.update(zip(ids, range(first_slot, first_slot + len(ids)), strict=True))
            return
        for slot, row_id in enumerate(ids, first_slot):
            before = newest.get(row_id)
            if before is not None:
                self._earlier[slot] = before
            newest[row_id] = slot

    def _chunk_with_room(self) -> FreshChunk:
        last = self.layout.chunks[-1] if self.layout.chunks else None
        if isinstance(last, FreshChunk) and last.free:
            return last
        rows = _FIRST_CHUNK_ROWS
        if isinstance(last, FreshChunk):
            rows = max(rows, min(2 * last.count, _CHUNK_BYTES // (4 * self.dimension)))
        end = last.start + last.count if last is not None else 0
        chunk = FreshChunk(end, rows, self.dimension)
        self.layout = self.layout.with_chunk(chunk)
        return chunk

    # -- reading, from any thread ----------------------------------------------------------------------------------

    def find(self, ids: Sequence[str], slot_count: int, lsn: int) -> NDArray[np.int64]:
        """Slots of ids as a reader at ``lsn`` sees them, -1 where absent. Cost: O(ids · segments)."""
        found = self._find_fresh(ids, slot_count, lsn)
        if not self._lookups:
            return found
        if len(ids) <= FEW:
            return self._find_few(ids, found.tolist(), slot_count, lsn)
        missing = np.nonzero(found < 0)[0]
        for chunk in self._lookups:
            if not len(missing):
                break
            if chunk.start >= slot_count:
                continue
            candidates = chunk.find([ids[position] for position in missing.tolist()])
            seen = candidates >= 0
            died = chunk.died(chunk.count)
            if died is not None:
                seen &= died[candidates] > lsn
            found[missing[seen]] = chunk.start + candidates[seen]
            missing = missing[~seen]
        return found

    def _find_few(self, ids: Sequence[str], found: list[int], slot_count: int, lsn: int) -> NDArray[np.int64]:
        """The same in the segments, where arrays would cost more than they save: each id is hashed once for all."""
        keys = keys_of(ids)
        missing = [position for position, slot in enumerate(found) if slot < 0]
        for chunk in self._lookups:
            if not missing:
                break
            if chunk.start >= slot_count:
                continue
            died = chunk.died(chunk.count)
            rest = []
            for position in missing:
                row = chunk.row_of(keys[position])
                if row >= 0 and (died is None or died[row] > lsn):
                    found[position] = chunk.start + row
                else:
                    rest.append(position)
            missing = rest
        return np.array(found, np.int64)

    def knows_none(self, ids: Sequence[str]) -> bool:
        """Whether it is plain to see that none of the ids was ever stored; ``False`` says nothing."""
        return not self._lookups and self._fresh_slots.keys().isdisjoint(ids)

    def _find_fresh(self, ids: Sequence[str], slot_count: int, lsn: int) -> NDArray[np.int64]:
        newest = self._fresh_slots
        if newest.keys().isdisjoint(ids):
            return np.full(len(ids), -1, np.int64)
        slots = np.fromiter((newest.get(row_id, -1) for row_id in ids), np.int64, len(ids))
        known = np.nonzero(slots >= 0)[0]
        while len(known):
            seen = slots[known] < slot_count
            seen[seen] = self._died_at(slots[known[seen]]) > lsn
            known = known[~seen]
            # What this reader does not see may be a later writing of an id whose earlier row it does see.
            slots[known] = [self._earlier.get(slot, -1) for slot in slots[known].tolist()]
            known = known[slots[known] >= 0]
        return slots

    def _died_at(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        result = np.full(len(slots), LIVE, np.int64)
        for chunk, where, positions in self.owners(slots):
            died = chunk.died(chunk.count)
            if died is not None:
                result[where] = died[positions]
        return result

    def parts(self, slot_count: int) -> Iterator[tuple[Chunk, int]]:
        """Chunks below ``slot_count`` in slot order, each with how many of its rows count."""
        for chunk in self.layout.chunks:
            rows = min(chunk.count, slot_count - chunk.start)
            if rows <= 0:
                return
            yield chunk, rows

    def live(self, slot_count: int, lsn: int) -> NDArray[np.bool_]:
        """Which slots a reader at ``lsn`` sees, shape (slot_count,). Cost: O(slots)."""
        result = np.ones(slot_count, np.bool_)
        for chunk, rows in self.parts(slot_count):
            died = chunk.died(rows)
            if died is not None:
                np.greater(died, lsn, out=result[chunk.start : chunk.start + rows])
        return result

    def died_in(self, start: int, count: int) -> NDArray[np.int64]:
        """LSN at which each of ``count`` rows from slot ``start`` on died, ``LIVE`` for the living; a copy."""
        return self._died_at(np.arange(start, start + count))

    def owners(self, slots: NDArray[np.int64]) -> Iterator[tuple[Chunk, NDArray[np.int64], NDArray[np.int64]]]:
        """Group slots by chunk: (chunk, indices into ``slots``, positions in the chunk)."""
        layout = self.layout
        if len(layout.chunks) == 1:  # the usual case of a search's hits
            if len(slots):
                yield layout.chunks[0], np.arange(len(slots)), slots
            return
        owner = np.searchsorted(layout.starts, slots, side="right") - 1
        for index in np.flatnonzero(np.bincount(owner)).tolist():
            where = np.nonzero(owner == index)[0]
            chunk = layout.chunks[index]
            yield chunk, where, slots[where] - chunk.start

    def vectors_at(self, slots: NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors of slots, shape (m, dimension), bit-equal to what was written."""
        result = np.empty((len(slots), self.dimension), np.float32)
        for chunk, where, positions in self.owners(slots):
            result[where] = chunk.rows(positions)
        return result

    def norms_at(self, slots: NDArray[np.int64]) -> NDArray[np.float32]:
        """Norms of slots, shape (m,)."""
        result = np.empty(len(slots), np.float32)
        for chunk, where, positions in self.owners(slots):
            result[where] = chunk.norms[positions]
        return result

    def born_at(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """LSN of the commit that wrote each slot, shape (m,)."""
        result = np.empty(len(slots), np.int64)
        for chunk, where, positions in self.owners(slots):
            result[where] = chunk.born(chunk.count)[positions]
        return result

    def ids_at(self, slots: NDArray[np.int64]) -> list[str]:
        """Ids of slots."""
        if len(self.layout.chunks) == 1:
            return self.layout.chunks[0].ids(slots)
        result = [""] * len(slots)
        for chunk, where, positions in self.owners(slots):
            for place, row_id in zip(where.tolist(), chunk.ids(positions), strict=True):
                result[place] = row_id
        return result
