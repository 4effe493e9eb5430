"""``training_data``: the rows of all data sets under one name.

Data sets may differ in dimension. Where a query says which one it means, its vectors have the type ``FLOAT[d]`` and its
index is used; otherwise all rows are put together, with ``FLOAT[d]`` if the dimensions agree and ``FLOAT[]`` if not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from query.relations import ID, VECTOR, CollectionRelation, ColumnCache
from query.system.collections import LABEL, SPLIT, datasets
from storage_engine.snapshot import CollectionView, Snapshot

NAME = "training_data"
DATASET = "dataset"
_FIRST = (DATASET, ID, SPLIT, LABEL, VECTOR)
_TYPES = {SPLIT: pa.string(), LABEL: pa.int64()}


@dataclass(frozen=True, slots=True, eq=False)
class TrainingData:
    """All data sets at a snapshot, in order of their names."""

    snapshot: Snapshot
    cache: ColumnCache

    @property
    def schema(self) -> pa.Schema:
        """dataset, id, split, label, vector, then every other metadata column of any data set."""
        kinds = {DATASET: pa.string(), ID: pa.string(), VECTOR: self._vector_type(), **self._types()}
        return pa.schema([(name, kinds[name]) for name in self._order()])

    @property
    def cheapest(self) -> str:
        """The data set's name: it is stored once."""
        return DATASET

    def of(self, dataset: str) -> CollectionRelation | None:
        """The rows of one data set, with the same columns; ``None`` if there is none of that name."""
        for view in datasets(self.snapshot):
            if view.schema.name == dataset:
                return self._part(view)
        return None

    def read(self, columns: Sequence[str]) -> pa.Table:
        """All rows, data set by data set."""
        whole = self.schema
        schema = pa.schema([whole.field(name) for name in columns])
        parts = [_cast(self._part(view).read(columns), schema) for view in datasets(self.snapshot)]
        return pa.concat_tables(parts) if parts else schema.empty_table()

    def _part(self, view: CollectionView) -> CollectionRelation:
        types = self._types()
        return CollectionRelation(
            view,
            self.cache,
            constants={DATASET: view.schema.name},
            absent={name: kind for name, kind in types.items() if name not in view.columns},
            order=self._order(),
        )

    def _order(self) -> tuple[str, ...]:
        return (*_FIRST, *(name for name in self._types() if name not in _FIRST))

    def _types(self) -> dict[str, pa.DataType]:
        """Metadata columns of all data sets with a type that holds every one of them."""
        types: dict[str, pa.DataType] = dict(_TYPES)
        for view in datasets(self.snapshot):
            for name, kind in view.columns.items():
                if name != DATASET:
                    types[name] = _wider(types[name], kind) if name in types else kind
        return types

    def _vector_type(self) -> pa.DataType:
        dimensions = {view.schema.dimension for view in datasets(self.snapshot)}
        size = dimensions.pop() if len(dimensions) == 1 else -1
        return pa.list_(pa.float32(), size)


def _wider(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    """A type for both: the wider number, and text where they have nothing in common."""
    if first == second:
        return first
    fields = [pa.schema([("", kind)]) for kind in (first, second)]
    try:
        return pa.unify_schemas(fields, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return pa.string()


def _cast(table: pa.Table, schema: pa.Schema) -> pa.Table:
    return table if table.schema.equals(schema) else table.cast(schema)
