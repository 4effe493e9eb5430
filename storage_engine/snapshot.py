"""What a reader sees: the database at one version, immutable and cheap to take.

Nothing here reads the clock, writes a file or waits for a lock. Vectors and metadata of sealed rows come from mapped
files and are read when they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage_engine import arrow_rows
from storage_engine.batch import FileReference, JsonValue
from storage_engine.candidates import Candidates
from storage_engine.catalog import Catalog, CollectionState
from storage_engine.errors import (
    InvalidArgumentError,
    UnknownCollectionError,
    UnknownColumnError,
)
from storage_engine.filters.selection import Selection
from storage_engine.keyed_table import EMPTY_TABLE, TableView
from storage_engine.metadata import pieces
from storage_engine.metadata.point_reads import Reader, reader_of
from storage_engine.schema import CollectionSchema
from storage_engine.search import (
    filter_columns,
    live_mask,
    prepare,
    search_within,
    selections,
)

_Kept = TypeVar("_Kept")

__all__ = ["Candidates", "CollectionView", "Snapshot"]


class Snapshot:
    """The whole database at one version. Safe to use from any number of threads.

    Attributes:
        version: LSN of the newest commit it includes; 0 for an empty database.
        time: When that commit was made, seconds since the epoch; 0 if unknown.
    """

    __slots__ = ("_catalog", "_views", "time", "version")

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._views: dict[str, CollectionView] = {}
        self.version = catalog.lsn
        self.time = catalog.time

    def __repr__(self) -> str:
        return f"Snapshot(version={self.version}, collections={len(self._catalog.collections)})"

    def collections(self) -> tuple[CollectionSchema, ...]:
        """All collections, ordered by name, hidden ones included."""
        return tuple(state.schema for state in self.states())

    def states(self) -> tuple[CollectionState, ...]:
        """The collections as the engine's own parts see them, ordered by name."""
        return tuple(state for _, state in sorted(self._catalog.collections.items()))

    def has_collection(self, name: str) -> bool:
        """Whether a collection of that name exists."""
        return name in self._catalog.collections

    def collection(self, name: str) -> CollectionView:
        """The rows of a collection.

        Raises:
            UnknownCollectionError: There is none of that name; the message names those there are.
        """
        view = self._views.get(name)
        if view is None:
            state = self._catalog.collections.get(name)
            if state is None:
                raise unknown_collection(name, self._catalog.collections)
            view = self._views.setdefault(name, CollectionView(state, self.version))
        return view

    def table(self, name: str) -> Mapping[str, Mapping[str, JsonValue]]:
        """A keyed table: records by key, in the order of the keys' first writing; empty if never written."""
        state = self._catalog.tables.get(name)
        return EMPTY_TABLE if state is None else TableView(state.table, state.lsn, state.live_count)

    def tables(self) -> tuple[str, ...]:
        """Names of all keyed tables ever written, sorted."""
        return tuple(sorted(self._catalog.tables))

    def files(self, kind: str) -> tuple[FileReference, ...]:
        """Attached files of a kind, oldest first."""
        return tuple(file for (of_kind, _), file in self._catalog.files.items() if of_kind == kind)


class CollectionView:
    """The rows of one collection at one version.

    A slot is a row's number within this snapshot, 0 to ``slot_count - 1``, oldest first; dead rows keep theirs.
    Methods that take slots expect numbers in that range; what they return for a dead slot is the row as it was.

    Attributes:
        version: The snapshot's.
    """

    __slots__ = ("_state", "version")

    def __init__(self, state: CollectionState, version: int) -> None:
        self._state = state
        self.version = version

    def __len__(self) -> int:
        """How many rows are live."""
        return self._state.live_count

    def __repr__(self) -> str:
        return f"CollectionView({self.schema.name!r}, version={self.version}, rows={len(self)})"

    @property
    def schema(self) -> CollectionSchema:
        """What the collection is."""
        return self._state.schema

    @property
    def identity(self) -> object:
        """The same object for views of the same rows in the same slots, another one otherwise; for caches."""
        return self._state.cache

    @property
    def numbering(self) -> object:
        """The same object for views in which equal slots are the same rows, whichever of them live; for caches."""
        return self._state.rows

    @property
    def slot_count(self) -> int:
        """How many slots there are, dead ones included."""
        return self._state.slot_count

    @property
    def columns(self) -> Mapping[str, pa.DataType]:
        """Metadata columns (without id and vector) in the order of first appearance."""
        return MappingProxyType(dict(self._state.columns))

    @property
    def filter_graphs(self) -> tuple[str, ...]:
        """Columns for whose values there are graphs of their own."""
        return filter_columns(self._state)

    def live(self) -> NDArray[np.bool_]:
        """Which slots hold a live row: shape (slot_count,), read-only."""
        mask = live_mask(self._state)
        if mask is None:
            mask = np.ones(self.slot_count, np.bool_)
            mask.flags.writeable = False
        return mask

    def slots_of(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Slots of ids, shape (len(ids),); -1 where no live row has the id. Cost: O(ids · segments)."""
        state = self._state
        if isinstance(ids, str | bytes):
            raise InvalidArgumentError(f"ids is the single value {ids!r}", fix="Give a list of ids.", value=ids)
        return state.rows.find(ids, state.slot_count, state.lsn)

    def ids_at(self, slots: NDArray[np.int64] | Sequence[int]) -> list[str]:
        """Ids of slots, in the order given."""
        return self._state.rows.ids_at(self._checked(slots))

    def vectors_at(self, slots: NDArray[np.int64] | Sequence[int]) -> NDArray[np.float32]:
        """Vectors of slots, float32 of shape (m, dimension), bit-equal to what was written; a copy."""
        return self._state.rows.vectors_at(self._checked(slots))

    def norms_at(self, slots: NDArray[np.int64] | Sequence[int]) -> NDArray[np.float32]:
        """What a cosine score divides by, float32 of shape (m,)."""
        return self._state.rows.norms_at(self._checked(slots))

    def born_at(self, slots: NDArray[np.int64] | Sequence[int]) -> NDArray[np.int64]:
        """The version that wrote the row of each slot, int64 of shape (m,)."""
        return self._state.rows.born_at(self._checked(slots))

    def metadata_at(self, slots: NDArray[np.int64] | Sequence[int], columns: Sequence[str] | None = None) -> pa.Table:
        """Metadata of slots, in the order given; all columns, or the named ones in that order.

        Raises:
            UnknownColumnError: A named column does not exist.
        """
        return pieces.rows(self._state.rows.pieces, self._chosen(columns), self._checked(slots))

    def values_at(
        self, slots: NDArray[np.int64] | Sequence[int], columns: Sequence[str] | None = None
    ) -> dict[str, list[Any]]:
        """Metadata of slots as Python values, a list for each column; quick for a few slots of many.

        Raises:
            UnknownColumnError: A named column does not exist.
        """
        checked = self._checked(slots)
        names = self._state.columns if columns is None else self._chosen(columns)
        return {name: self._reader(name)(checked) for name in names}

    def found_ids(self, slots: NDArray[np.int64]) -> list[str]:
        """:meth:`ids_at` of slots that a search of this view found, which need no check."""
        return self._state.rows.ids_at(slots)

    def found_values(self, slots: NDArray[np.int64], columns: Sequence[str] | None = None) -> dict[str, list[Any]]:
        """:meth:`values_at` of slots that a search of this view found, which need no check."""
        names = self._state.columns if columns is None else self._chosen(columns)
        return {name: self._reader(name)(slots) for name in names}

    def column(self, name: str) -> pa.ChunkedArray:
        """One metadata column over all slots; null where a row lacks it. Kept once computed.

        Raises:
            UnknownColumnError: The column does not exist.
        """
        self._chosen([name])
        return stored_column(self._state, name)

    def arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Live rows in slot order: ``id`` (string), ``vector`` (FixedSizeList of float32) and metadata.

        Args:
            columns: Which, in which order; ``None`` means id, vector and all metadata. Vectors are not copied where a
                chunk has no dead rows.

        Raises:
            UnknownColumnError: A named column does not exist.
        """
        names = ("id", "vector", *self._state.columns) if columns is None else columns
        metadata = self._chosen([name for name in names if name not in ("id", "vector")])
        return arrow_rows.live_rows(self._state, live_mask(self._state), names, metadata)

    def search(
        self,
        query: NDArray[np.float32],
        top_k: int,
        *,
        mask: NDArray[np.bool_] | Selection | None = None,
        exact: bool = False,
        ef: int | None = None,
        recall: float | None = None,
    ) -> Candidates:
        """The nearest rows: exactly ``min(top_k, live rows that the mask allows)``, best first, ties by slot.

        Args:
            query: Real numbers, shape (dimension,).
            top_k: 1 to ``MAX_TOP_K``.
            mask: Shape (slot_count,): rows that may be returned. Dead rows never are.
            exact: Compare with every row instead of walking the graph.
            ef: Breadth of the walk; ``None`` lets the planner choose.
            recall: Which share of the true neighbours is to be found on average, above 0; 1 means ``exact``.

        Raises:
            InvalidVectorError, DimensionMismatchError: The query is unusable.
            InvalidArgumentError: ``top_k``, ``ef``, ``recall`` or the mask's shape is out of range.
        """
        return prepare(self._state, mask, top_k, exact, ef, recall).one(query)

    def search_many(
        self,
        queries: NDArray[np.float32],
        top_k: int,
        *,
        mask: NDArray[np.bool_] | Selection | None = None,
        exact: bool = False,
        ef: int | None = None,
        recall: float | None = None,
    ) -> list[Candidates]:
        """For each row of ``queries``, shape (m, dimension), what :meth:`search` gives; by all cores at once."""
        return prepare(self._state, mask, top_k, exact, ef, recall).many(queries)

    def search_within(
        self,
        query: NDArray[np.float32],
        bound: float,
        *,
        mask: NDArray[np.bool_] | Selection | None = None,
        limit: int | None = None,
    ) -> Candidates:
        """All rows whose score is at least as good as a bound, best first, ties by slot; no row is ever missed.

        Args:
            query: Real numbers, shape (dimension,).
            bound: At most this distance under l2, at least this similarity otherwise. Scores and bound are compared as
                float32, as scores are reported.
            mask: As for :meth:`search`.
            limit: Only the best so many of them.

        Raises:
            InvalidVectorError, DimensionMismatchError: The query is unusable.
            InvalidArgumentError: The bound is no number, ``limit`` below 1, or the mask of another shape.
        """
        return search_within(self._state, query, bound, mask, limit)

    def selection(self, key: str, make: Callable[[], NDArray[np.bool_]]) -> Selection:
        """The live rows among those that a mask selects, kept for the next search in the same state of the rows.

        Args:
            key: What is selected; equal texts must mean equal rows.
            make: Gives the mask, bool of shape (slot_count,), where it is not known yet.
        """
        return selections(self._state).get(key, lambda: Selection(make(), live_mask(self._state)))

    def kept(self, key: str, make: Callable[[], _Kept]) -> _Kept:
        """What was worked out about this state of the rows under a key, or is now; kept as long as the state is.

        Args:
            key: Equal keys must mean equal values.
            make: Gives the value; two threads may both call it, and one answer is kept.
        """
        name = f"kept {key}"
        found = self._state.cache.get(name)
        if found is None:
            found = self._state.cache.setdefault(name, make())
        return cast(_Kept, found)

    def known_selection(self, key: str) -> Selection | None:
        """A selection of this state of the rows that was kept under a key, if it still is."""
        return selections(self._state).find(key)

    def keep_selection(self, key: str, selection: Selection) -> None:
        """Keep a selection of this state of the rows under a further key."""
        selections(self._state).keep(key, selection)

    def _reader(self, name: str) -> Reader:
        key = f"reader {name}"
        kept = self._state.cache.get(key)
        if kept is None:
            kept = self._state.cache[key] = reader_of(stored_column(self._state, name))
        return cast(Reader, kept)

    def _chosen(self, columns: Sequence[str] | None) -> Mapping[str, pa.DataType]:
        known = self._state.columns
        if columns is None:
            return known
        for name in columns:
            if name not in known:
                raise UnknownColumnError(
                    f"collection {self.schema.name!r} has no metadata column {name!r}",
                    fix=f"Use one of: {', '.join(known) or 'none yet'}.",
                    value=name,
                )
        return {name: known[name] for name in columns}

    def _checked(self, slots: NDArray[np.int64] | Sequence[int]) -> NDArray[np.int64]:
        array = np.asarray(slots, np.int64)
        # as unsigned numbers negative ones are the largest, so that one pass is enough
        if array.ndim != 1 or (len(array) and int(array.view(np.uint64).max()) >= self.slot_count):
            raise InvalidArgumentError(
                f"a slot is outside 0..{self.slot_count - 1} of version {self.version}",
                fix="Use slots from this snapshot only.",
            )
        return array


def stored_column(state: CollectionState, name: str) -> pa.ChunkedArray:
    """One metadata column over all slots of a state, kept in its cache."""
    key = f"column {name}"
    cached = state.cache.get(key)
    if cached is None:
        cached = pieces.column(state.rows.pieces, name, state.columns[name], state.slot_count)
        state.cache[key] = cached
    return cached


def unknown_collection(name: object, known: Iterable[str]) -> UnknownCollectionError:
    """The error for a collection name that nothing has."""
    listed = ", ".join(sorted(known))
    return UnknownCollectionError(
        f"there is no collection {name!r}",
        fix=f"Create it first, or use one of: {listed}." if listed else "Create it first; there is none yet.",
        value=name,
    )
