"""What Pinecone can hold of a row, and what is refused before it is sent."""

import datetime

import numpy as np
import pyarrow as pa
import pytest

from qstore_db import QuantumDatabase
from qstore_db.errors import InvalidIdError, InvalidMetadataError, InvalidVectorError
from qstore_db.sync.content import MAX_METADATA_BYTES, Row, local_rows, metadata_table, sendable

VECTOR = np.array([1, 2], np.float32)


def row(metadata, vector=VECTOR, row_id="a"):
    return Row(row_id, np.asarray(vector, np.float32), metadata)


def test_equal_content_has_equal_digests():
    assert row({"n": 3, "t": "x"}).digest() == row({"t": "x", "n": 3.0}).digest()
    assert row({}, [0.0, 1]).digest() == row({}, [-0.0, 1]).digest()


@pytest.mark.parametrize(
    "other",
    [
        row({"n": 3}, [1, np.nextafter(np.float32(2), np.float32(3))]),
        row({"n": True}),
        row({"n": "3"}),
        row({"n": ["3"]}),
        row({"m": 3}),
        row({}),
        row({"n": 3, "m": "x"}),
    ],
)
def test_different_content_has_different_digests(other):
    assert row({"n": 3}).digest() != other.digest()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (2**53 + 1, "beyond 2\\^53"),
        (-(2**53) - 1, "beyond 2\\^53"),
        (float("nan"), "not finite"),
        (float("inf"), "not finite"),
        ([1, 2], "list of something else"),
        (["a", None], "list of something else"),
        ({"a": 1}, "a dict"),
        (datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), "a datetime"),
        (datetime.date(2026, 1, 1), "a date"),
        (b"raw", "a bytes"),
    ],
)
def test_values_that_would_not_come_back_are_refused(value, reason):
    with pytest.raises(InvalidMetadataError, match=f"row 'r7' has .*{reason}.* in column 'c'"):
        sendable("r7", {"fine": 1, "c": value})


@pytest.mark.parametrize("value", [2**53, -(2**53), 0.1, True, "é", [], ["a", "b"]])
def test_values_that_come_back_are_taken(value):
    assert sendable("r", {"c": value}) == {"c": value}


def test_metadata_is_measured_in_bytes_of_json():
    fits = {"c": "é" * ((MAX_METADATA_BYTES - len('{"c":""}')) // 2)}
    assert sendable("r", fits) == fits
    with pytest.raises(InvalidMetadataError, match=r"40,961 bytes|40,962 bytes"):
        sendable("r", {"c": fits["c"] + "é"})


def test_names_that_are_operators_are_refused():
    with pytest.raises(InvalidMetadataError, match="begins with"):
        sendable("r", {"$in": 1})


def test_rows_of_a_collection_lose_their_nulls_and_nothing_else():
    with QuantumDatabase.open(":memory:") as db:
        items = db.create_collection("items", dimension=2)
        items.insert(["a", "b"], [[1, 2], [3, 4]], metadata=[{"n": 1, "t": None, "l": ["x"]}, {"ok": True, "w": 0.5}])
        view = db._engine.snapshot().collection("items")
        found = local_rows(view, view.slots_of(["b", "a"]))
    assert [(one.id, one.vector.tolist(), dict(one.metadata)) for one in found] == [
        ("b", [3, 4], {"ok": True, "w": 0.5}),
        ("a", [1, 2], {"n": 1, "l": ["x"]}),
    ]


@pytest.mark.parametrize("row_id", ["é", "x" * 513, "nul\x00"])
def test_ids_that_pinecone_does_not_take(row_id):
    with QuantumDatabase.open(":memory:") as db:
        items = db.create_collection("items", dimension=2)
        try:
            items.insert(row_id, [1, 2])
        except InvalidIdError:
            assert len(row_id) > 512
            return
        view = db._engine.snapshot().collection("items")
        with pytest.raises(InvalidIdError, match="Pinecone"):
            local_rows(view, [0])


def test_a_zero_vector_is_refused():
    with QuantumDatabase.open(":memory:") as db:
        db.create_collection("items", dimension=2, metric="l2").insert("a", [0, 0])
        with pytest.raises(InvalidVectorError, match="row 'a' is zero"):
            local_rows(db._engine.snapshot().collection("items"), [0])


@pytest.mark.parametrize(
    ("values", "stored", "wanted"),
    [
        ([1.0, None, 3.0], pa.int32(), pa.int32()),
        ([1.0, 2.0**40], pa.int32(), pa.int64()),
        ([1.0, 2.5], pa.int64(), pa.float64()),
        ([1.0, 2.0], None, pa.float64()),
        ([0.5, 2.0], pa.float32(), pa.float32()),
        ([0.1, 2.0], pa.float32(), pa.float64()),
        (["a", None], None, pa.string()),
        ([True, False], None, pa.bool_()),
        ([["a"], []], None, pa.list_(pa.string())),
    ],
)
def test_pulled_values_get_the_narrowest_type_that_loses_nothing(values, stored, wanted):
    rows = [row({} if value is None else {"c": value}) for value in values]
    table = metadata_table(rows, {} if stored is None else {"c": stored})
    assert table.schema.field("c").type == wanted
    assert table.column("c").to_pylist() == values


def test_a_key_of_several_types_is_refused():
    with pytest.raises(InvalidMetadataError, match="number and text under the key 'c', row 'b'"):
        metadata_table([row({"c": 1.0}, row_id="a"), row({"c": "x"}, row_id="b")], {})


def test_rows_without_metadata_have_no_table():
    assert metadata_table([row({})], {"c": pa.string()}) is None
