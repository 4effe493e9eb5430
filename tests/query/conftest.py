"""A small database with every kind of collection, and a session over it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest

from query.session import Session
from storage_engine.batch import CreateCollection, DeleteRows, PutRows, WriteBatch
from storage_engine.engine import Engine
from storage_engine.schema import CollectionSchema, Metric, Role

ROWS = 400
SHAPES = {
    "items": (8, Metric.L2, Role.ITEMS),
    "docs": (4, Metric.COSINE, Role.ITEMS),
    "default": (4, Metric.IP, Role.ITEMS),
    "my-coll.x": (2, Metric.L2, Role.ITEMS),
    "empty": (3, Metric.L2, Role.ITEMS),
    "digits": (6, Metric.L2, Role.DATASET),
    "fashion": (5, Metric.COSINE, Role.DATASET),
    "docs$branches": (4, Metric.COSINE, Role.HIDDEN),
}


@dataclass
class Sample:
    """The same rows as the database, in NumPy and Arrow, live ones only."""

    engine: Engine
    session: Session
    ids: dict[str, np.ndarray]
    vectors: dict[str, np.ndarray]
    tables: dict[str, pa.Table]


def metadata(name: str, rng: np.random.Generator) -> pa.Table:
    label = pa.array([None if i % 7 == 0 else int(rng.integers(10)) for i in range(ROWS)], pa.int64())
    if SHAPES[name][2] is Role.DATASET:
        columns = {"split": ["train" if i % 5 else "test" for i in range(ROWS)], "label": label}
        if name == "fashion":
            columns["maker"] = [f"maker {i % 4}" for i in range(ROWS)]
        return pa.table(columns)
    prices = rng.random(ROWS) * 10
    prices[5] = np.nan
    return pa.table(
        {
            "label": label,
            "price": pa.array(prices).filter(pa.array(np.ones(ROWS, bool))),
            "tag": pa.array([None if i % 11 == 0 else ("red", "green", "Zürich")[i % 3] for i in range(ROWS)]),
            "sold": pa.array([None if i % 13 == 0 else i % 2 == 0 for i in range(ROWS)]),
            "note": pa.array([f'{{"a.b": "k{i % 3}"}}' for i in range(ROWS)]),
        }
    )


def build_sample() -> Sample:
    rng = np.random.default_rng(20)
    engine = Engine.open(None)
    batch = WriteBatch()
    for number, (name, (dimension, metric, role)) in enumerate(SHAPES.items()):
        schema = CollectionSchema(name, f"{number:032x}", dimension, metric, role, created_at=1_000.0 + number)
        batch.add(CreateCollection(schema))
    engine.commit(batch)
    ids, vectors, tables = {}, {}, {}
    for name, (dimension, _, _) in SHAPES.items():
        if name == "empty":
            continue
        row_ids = np.array([f"{name}/{i}" for i in range(ROWS)])
        rows = rng.standard_normal((ROWS, dimension)).astype(np.float32)
        columns = metadata(name, rng)
        engine.commit(WriteBatch([PutRows(name, row_ids.tolist(), rows, metadata=columns, mode="insert")]))
        dead = np.arange(ROWS) % 17 == 3 if name in {"items", "docs", "digits"} else np.zeros(ROWS, bool)
        if dead.any():
            engine.commit(WriteBatch([DeleteRows(name, row_ids[dead].tolist())]))
        ids[name], vectors[name] = row_ids[~dead], rows[~dead]
        flat = pa.array(vectors[name].reshape(-1))
        tables[name] = pa.table(
            {
                "id": ids[name].tolist(),
                "vector": pa.FixedSizeListArray.from_arrays(flat, dimension),
                **{key: columns.column(key).filter(pa.array(~dead)) for key in columns.column_names},
            }
        )
    return Sample(engine, Session(engine), ids, vectors, tables)


@pytest.fixture(scope="module")
def sample():
    made = build_sample()
    yield made
    made.session.close()
    made.engine.close()


@pytest.fixture(scope="module")
def session(sample):
    return sample.session
