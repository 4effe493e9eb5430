"""What a table's name in SQL stands for: a collection, a data set seen through training_data, or a system table.

All give Arrow tables with only the columns asked for. Row order is that of insertion, and is not promised by SQL.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from query.ports import SystemTable
from storage_engine.schema import Metric
from storage_engine.snapshot import CollectionView, Snapshot

ID = "id"
VECTOR = "vector"
_CACHED_COLLECTIONS = 16


class Relation(Protocol):
    """Rows under a name."""

    @property
    def schema(self) -> pa.Schema:
        """All its columns with their types, in the order of ``SELECT *``."""
        ...

    @property
    def cheapest(self) -> str:
        """The column to read where only the number of rows counts."""
        ...

    def read(self, columns: Sequence[str]) -> pa.Table:
        """All rows with these columns, which are some of :attr:`schema`, in their order."""
        ...


class ColumnCache:
    """Metadata columns and ids of the live rows of the newest versions seen, so that repeated statements reuse them.

    Bounded: the columns of 16 collections, one version each. Vectors are never kept: the storage floor hands them out
    without a copy where it can. Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: OrderedDict[str, tuple[object, dict[str, pa.ChunkedArray]]] = OrderedDict()
        self._plain_norms: OrderedDict[str, tuple[object, bool]] = OrderedDict()

    def read(self, view: CollectionView, columns: Sequence[str]) -> pa.Table:
        """Live rows in slot order with these columns."""
        key = view.schema.uuid
        with self._lock:
            rows, kept = self._kept.get(key, (view.identity, {}))
            kept = dict(kept) if rows is view.identity else {}
        missing = [name for name in columns if name not in kept]
        fresh = view.arrow(missing) if missing else None
        found = {name: fresh.column(name) if name in missing else kept[name] for name in columns}  # type: ignore[union-attr]
        kept.update({name: array for name, array in found.items() if name != VECTOR})
        with self._lock:
            self._kept[key] = (view.identity, kept)
            self._kept.move_to_end(key)
            while len(self._kept) > _CACHED_COLLECTIONS:
                self._kept.popitem(last=False)
        return pa.table(found) if found else view.arrow([])

    def norms_are_plain(self, view: CollectionView) -> bool:
        """Whether each stored norm is the Euclidean norm of its vector, so that the index ranks as ``<=>`` does.

        Rows whose vector is a weighted sum of unit vectors are stored with norm 1 and break this. Cost: one pass over
        the vectors for each new version.
        """
        key = view.schema.uuid
        with self._lock:
            known = self._plain_norms.get(key)
        if known is not None and known[0] is view.identity:
            return known[1]
        plain = _norms_are_plain(view)
        with self._lock:
            self._plain_norms[key] = (view.identity, plain)
            while len(self._plain_norms) > _CACHED_COLLECTIONS:
                self._plain_norms.popitem(last=False)
        return plain


@dataclass(frozen=True, slots=True, eq=False)
class CollectionRelation:
    """The rows of a collection, or of one data set as training_data shows it.

    Args:
        view: The collection at a version.
        cache: Where read columns are kept.
        constants: Columns that hold one text in every row, such as ``dataset``.
        absent: Columns that other data sets have and this one lacks; null in every row.
        order: All columns in the order of ``SELECT *``; empty means id, vector, metadata.
    """

    view: CollectionView
    cache: ColumnCache
    constants: Mapping[str, str] = field(default_factory=dict)
    absent: Mapping[str, pa.DataType] = field(default_factory=dict)
    order: tuple[str, ...] = ()

    @property
    def schema(self) -> pa.Schema:
        """All its columns with their types."""
        kinds = {
            ID: pa.string(),
            VECTOR: pa.list_(pa.float32(), self.view.schema.dimension),
            **self.view.columns,
            **self.absent,
            **dict.fromkeys(self.constants, pa.string()),
        }
        return pa.schema([(name, kinds[name]) for name in self.order or (ID, VECTOR, *self.view.columns)])

    @property
    def cheapest(self) -> str:
        """A metadata column if there is one: ids have to be made."""
        return next(iter(self.view.columns), ID)

    @property
    def metric(self) -> Metric:
        """How its index compares."""
        return self.view.schema.metric

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Live rows in slot order."""
        stored = [name for name in columns if self._is_stored(name)] or [self.cheapest]
        return self._complete(self.cache.read(self.view, stored), columns)

    def read_slots(self, slots: NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
        """The rows of these slots, in this order."""
        metadata = [name for name in columns if self._is_stored(name) and name not in {ID, VECTOR}]
        table = self.view.metadata_at(slots, metadata)
        arrays = {name: table.column(name) for name in metadata}
        arrays[ID] = pa.array(self.view.ids_at(slots), pa.string())
        if VECTOR in columns:
            flat = pa.array(self.view.vectors_at(slots).reshape(-1), pa.float32())
            arrays[VECTOR] = pa.FixedSizeListArray.from_arrays(flat, self.view.schema.dimension)
        return self._complete(pa.table(arrays), columns)

    def column_over_slots(self, name: str) -> pa.ChunkedArray:
        """One column with a value for each slot, dead ones included (null, or as they were)."""
        count = self.view.slot_count
        if name in self.constants:
            return pa.chunked_array([_repeated(self.constants[name], count)])
        if name in self.absent:
            return pa.chunked_array([pa.nulls(count, self.absent[name])])
        if name == ID:
            live = self.cache.read(self.view, [ID]).column(ID).combine_chunks()
            if len(live) == count:
                return pa.chunked_array([live])
            places = np.zeros(count, np.int64)
            mask = self.view.live()
            places[mask] = np.arange(len(live))
            return pa.chunked_array([live.take(pa.array(places, mask=~mask))])
        return self.view.column(name)

    def _is_stored(self, name: str) -> bool:
        return name not in self.constants and name not in self.absent

    def _complete(self, table: pa.Table, columns: Sequence[str]) -> pa.Table:
        arrays = []
        for name in columns:
            if name in self.constants:
                arrays.append(_repeated(self.constants[name], table.num_rows))
            elif name in self.absent:
                arrays.append(pa.nulls(table.num_rows, self.absent[name]))
            else:
                arrays.append(table.column(name))
        return pa.table(arrays, names=list(columns))


@dataclass(frozen=True, slots=True, eq=False)
class SystemRelation:
    """A system table at a snapshot; computed when it is read."""

    table: SystemTable
    snapshot: Snapshot

    @property
    def schema(self) -> pa.Schema:
        """What the table promises."""
        return self.table.schema

    @property
    def cheapest(self) -> str:
        """Its first column: all are computed anyway."""
        return str(self.table.schema.names[0])

    def read(self, columns: Sequence[str]) -> pa.Table:
        """All rows; the columns must match the table's promised schema."""
        rows = self.table.rows(self.snapshot)
        return rows.select(list(columns))


def chosen(relation: Relation, names: frozenset[str] | None) -> list[str]:
    """The columns of a relation to read for a query that mentions these names (``None``: all), never none at all."""
    columns = [name for name in relation.schema.names if names is None or name.lower() in names]
    return columns or [relation.cheapest]


def _repeated(text: str, count: int) -> pa.Array:
    """One text in every row, stored once."""
    indices = pa.array(np.zeros(count, np.int8))
    return pa.DictionaryArray.from_arrays(indices, pa.array([text])).cast(pa.string())


def _norms_are_plain(view: CollectionView) -> bool:
    slots = np.flatnonzero(view.live())
    norms = view.norms_at(slots)
    start = 0
    for chunk in view.arrow([VECTOR]).column(VECTOR).chunks:
        if not len(chunk):
            continue
        vectors = chunk.flatten().to_numpy(zero_copy_only=True).reshape(len(chunk), view.schema.dimension)
        squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
        expected = norms[start : start + len(chunk)].astype(np.float64)
        if not np.allclose(np.sqrt(squares), expected, rtol=1e-5, atol=0):
            return False
        start += len(chunk)
    return True
