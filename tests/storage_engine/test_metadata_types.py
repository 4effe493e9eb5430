"""Which types columns take and how they grow; every storable type survives log and segment bit by bit."""

import datetime
import decimal

import numpy as np
import pyarrow as pa
import pytest

from storage_engine.batch import CreateCollection, PutRows, WriteBatch
from storage_engine.engine import Engine
from storage_engine.errors import InvalidMetadataError
from storage_engine.metadata.types import canonical, grown, is_storable, unify
from storage_engine.schema import CollectionSchema, Metric

GROWTH = [
    (pa.null(), pa.string(), pa.string()),
    (pa.int8(), pa.int64(), pa.int64()),
    (pa.uint8(), pa.uint32(), pa.uint32()),
    (pa.uint8(), pa.int8(), pa.int16()),
    (pa.uint32(), pa.int64(), pa.int64()),
    (pa.int64(), pa.float64(), pa.float64()),
    (pa.int8(), pa.float32(), pa.float64()),
    (pa.float32(), pa.float64(), pa.float64()),
    (pa.string(), pa.large_string(), pa.large_string()),
    (pa.binary(), pa.large_binary(), pa.large_binary()),
    (pa.timestamp("ms"), pa.timestamp("ns"), pa.timestamp("ns")),
    (pa.duration("s"), pa.duration("us"), pa.duration("us")),
    (pa.list_(pa.int64()), pa.list_(pa.float64()), pa.list_(pa.float64())),
    (pa.list_(pa.int64(), 2), pa.list_(pa.int64(), 3), pa.list_(pa.int64())),
    (pa.list_(pa.int8(), 2), pa.list_(pa.int64(), 2), pa.list_(pa.int64(), 2)),
    (
        pa.struct([("a", pa.int64())]),
        pa.struct([("b", pa.string())]),
        pa.struct([("a", pa.int64()), ("b", pa.string())]),
    ),
]
CONFLICTS = [
    (pa.string(), pa.int64()),
    (pa.string(), pa.binary()),
    (pa.bool_(), pa.int64()),
    (pa.uint64(), pa.int64()),
    (pa.date32(), pa.timestamp("ms")),
    (pa.timestamp("ms"), pa.timestamp("ms", "UTC")),
    (pa.list_(pa.int64()), pa.int64()),
    (pa.list_(pa.string()), pa.list_(pa.int64())),
    (pa.struct([("a", pa.int64())]), pa.struct([("a", pa.string())])),
]


@pytest.mark.parametrize(("a", "b", "both"), GROWTH, ids=str)
def test_types_grow_whichever_comes_first(a, b, both):
    assert unify(a, b) == unify(b, a) == both or pa.types.is_struct(both)
    assert unify(a, b) == both
    assert unify(both, a) == unify(both, b) == both


@pytest.mark.parametrize(("a", "b"), CONFLICTS, ids=str)
def test_conflicts_are_refused_with_both_types(a, b):
    assert unify(a, b) is unify(b, a) is None
    with pytest.raises(InvalidMetadataError) as caught:
        grown({"x": a}, pa.schema([("x", b)]))
    assert str(a) in str(caught.value)
    assert str(b) in str(caught.value)


def test_an_unchanged_schema_costs_no_copy():
    columns = {"x": pa.int64()}
    assert grown(columns, pa.schema([("x", pa.int64())])) is columns


@pytest.mark.parametrize(
    "kind", [pa.struct([]), pa.list_(pa.int8(), 0), pa.run_end_encoded(pa.int32(), pa.int8())], ids=str
)
def test_what_the_files_cannot_hold_is_refused(kind):
    assert not is_storable(kind)
    assert not is_storable(pa.list_(kind))


VALUES = {
    "seconds": pa.array([1, None, -5], pa.timestamp("s")),
    "zoned": pa.array([1, None, -5], pa.timestamp("s", "Europe/Berlin")),
    "nanoseconds": pa.array([1, None, 2**62], pa.timestamp("ns")),
    "time": pa.array([datetime.time(1, 2, 3), None, None], pa.time32("s")),
    "day": pa.array([datetime.date(1, 1, 1), None, None], pa.date64()),
    "span": pa.array([1, None, 3], pa.duration("s")),
    "price": pa.array([decimal.Decimal("1.50"), None, None], pa.decimal128(5, 2)),
    "half": pa.array([1.5, None, -0.0], pa.float16()),
    "numbers": pa.array([2**64 - 1, None, 0], pa.uint64()),
    "single": pa.array([1e-45, None, -0.0], pa.float32()),
    "pairs": pa.array([[1, None], None, [3, 4]], pa.list_(pa.int64(), 2)),
    "mapping": pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int64())),
    "labels": pa.array(["x", None, "x"]).dictionary_encode(),
    "nested": pa.array([["x"], None, ["y", None]]).cast(pa.list_(pa.dictionary(pa.int32(), pa.string()))),
    "views": pa.array(["x", None, "longer than twelve bytes"], pa.string_view()),
    "deep": pa.array([{"a": [{"b": None}]}, None, {"a": [None, {"b": None}]}]),
    "never": pa.nulls(3),
    "required": pa.array([[1], [2], []], pa.list_(pa.field("x", pa.int64(), nullable=False))),
}


def test_every_type_survives_log_and_segment(tmp_path):
    table = pa.table(VALUES)
    schema = CollectionSchema("c", "c" * 32, 1, Metric.L2)
    with Engine.open(tmp_path / "db") as engine:
        engine.commit(
            WriteBatch([CreateCollection(schema), PutRows("c", ["0", "1", "2"], np.ones((3, 1)), metadata=table)])
        )
        first = engine.snapshot().collection("c").metadata_at([0, 1, 2])
    kinds = {name: canonical(values.type) for name, values in VALUES.items()}
    assert first.to_pylist() == table.to_pylist()
    assert not any(
        "dictionary" in str(kind) or "view" in str(kind) or "not null" in str(kind) for kind in kinds.values()
    )
    for seal in (True, False):
        with Engine.open(tmp_path / "db") as engine:
            view = engine.snapshot().collection("c")
            assert {name: str(kind) for name, kind in view.columns.items()} == {n: str(k) for n, k in kinds.items()}
            assert view.metadata_at([0, 1, 2]).equals(first)
            assert view.metadata_at([2, 0], ["price", "half"]).equals(first.select(["price", "half"]).take([2, 0]))
            for name in kinds:
                assert view.column(name).equals(first.column(name))
            if seal:
                engine.seal()
            again = PutRows("c", ["3"], np.ones((1, 1)), metadata=table.slice(0, 1))
            engine.commit(WriteBatch([again])) if not seal else None


def test_a_column_grows_over_segments_and_fresh_rows_and_old_snapshots_keep_their_type(tmp_path):
    schema = CollectionSchema("c", "c" * 32, 1, Metric.L2)
    batches = [pa.array([None]), pa.array([1], pa.int8()), pa.array([300], pa.int32()), pa.array([0.5]), pa.array([2])]
    kinds = ["null", "int8", "int32", "double", "double"]
    with Engine.open(tmp_path / "db") as engine:
        engine.commit(WriteBatch([CreateCollection(schema)]))
        views = []
        for number, values in enumerate(batches):
            row = PutRows("c", [str(number)], np.ones((1, 1)), metadata=pa.table({"x": values}))
            engine.commit(WriteBatch([row]))
            views.append(engine.snapshot().collection("c"))
            if number == 1:
                engine.seal()
        expected = [None, 1, 300, 0.5, 2]
        for number, (view, kind) in enumerate(zip(views, kinds, strict=True)):
            assert str(view.columns["x"]) == str(view.column("x").type) == kind
            assert view.column("x").to_pylist() == expected[: number + 1]
            assert view.metadata_at(np.arange(number + 1)).column("x").to_pylist() == expected[: number + 1]
        engine.seal()
    with Engine.open(tmp_path / "db") as engine:
        assert engine.snapshot().collection("c").column("x").to_pylist() == expected
