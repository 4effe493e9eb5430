"""``collections`` and ``datasets``: what is stored, one row a collection."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from query.system.moments import TIME, moment
from storage_engine.schema import CollectionSchema, Role
from storage_engine.snapshot import CollectionView, Snapshot

SPLIT = "split"
LABEL = "label"


class Collections:
    """``collections``: every collection that is not hidden, data sets included, by name."""

    name = "collections"
    schema = pa.schema(
        [
            ("name", pa.string()),
            ("dimension", pa.int64()),
            ("metric", pa.string()),
            ("dtype", pa.string()),
            ("role", pa.string()),
            ("rows", pa.int64()),
            ("created_at", TIME),
        ]
    )

    def rows(self, snapshot: Snapshot) -> pa.Table:
        """One row a collection, ordered by name."""
        return pa.Table.from_pylist(
            [
                {
                    "name": schema.name,
                    "dimension": schema.dimension,
                    "metric": schema.metric.value,
                    "dtype": schema.dtype.value,
                    "role": schema.role.value,
                    "rows": len(snapshot.collection(schema.name)),
                    "created_at": moment(schema.created_at),
                }
                for schema in visible(snapshot)
            ],
            schema=self.schema,
        )


class Datasets:
    """``datasets``: every data set of training data, by name."""

    name = "datasets"
    schema = pa.schema(
        [
            ("name", pa.string()),
            ("dimension", pa.int64()),
            ("metric", pa.string()),
            ("rows", pa.int64()),
            ("labelled", pa.int64()),
            ("labels", pa.int64()),
            ("splits", pa.list_(pa.string())),
            ("created_at", TIME),
        ]
    )

    def rows(self, snapshot: Snapshot) -> pa.Table:
        """One row a data set, ordered by name.

        ``labelled`` counts the rows that have a label, ``labels`` the different ones; ``splits`` are in order of first
        appearance. Cost: reads the columns ``split`` and ``label`` of each data set.
        """
        return pa.Table.from_pylist([_dataset(view) for view in datasets(snapshot)], schema=self.schema)


def visible(snapshot: Snapshot) -> Iterator[CollectionSchema]:
    """Schemas of all collections but the hidden ones, ordered by name."""
    return (schema for schema in snapshot.collections() if schema.role is not Role.HIDDEN)


def datasets(snapshot: Snapshot) -> Iterator[CollectionView]:
    """Views of all data sets, ordered by name."""
    return (snapshot.collection(schema.name) for schema in visible(snapshot) if schema.role is Role.DATASET)


def _dataset(view: CollectionView) -> dict[str, object]:
    import pyarrow.compute as pc

    held = view.arrow([name for name in (SPLIT, LABEL) if name in view.columns])
    splits = held.column(SPLIT).unique().drop_null().to_pylist() if SPLIT in held.column_names else []
    labels = held.column(LABEL).drop_null() if LABEL in held.column_names else pa.array([], pa.int64())
    return {
        "name": view.schema.name,
        "dimension": view.schema.dimension,
        "metric": view.schema.metric.value,
        "rows": len(view),
        "labelled": len(labels),
        "labels": pc.count_distinct(labels).as_py(),
        "splits": splits,
        "created_at": moment(view.schema.created_at),
    }
