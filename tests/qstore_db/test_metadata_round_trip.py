"""Metadata of every Arrow type comes back as it was: from memory, log, segments, SQL, and through a Parquet file."""

import datetime
import decimal
import itertools
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qstore_db import QuantumDatabase
from qstore_db.cli.exporting import export_file
from qstore_db.cli.importing import import_file

UTC = datetime.UTC
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
floats = st.floats(allow_nan=False)
moments = st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2200, 1, 1))
spans = st.timedeltas(datetime.timedelta(days=-10_000), datetime.timedelta(days=10_000))


def whole(bits, signed=True):
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return st.integers(low, high)


def scaled(digits, places):
    return st.integers(-(10**digits) + 1, 10**digits - 1).map(lambda n: decimal.Decimal(n).scaleb(-places))


TYPES = {
    "bool": (pa.bool_(), st.booleans()),
    **{f"int{bits}": (getattr(pa, f"int{bits}")(), whole(bits)) for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": (getattr(pa, f"uint{bits}")(), whole(bits, signed=False)) for bits in (8, 16, 32, 64)},
    "float32": (pa.float32(), st.floats(width=32, allow_nan=False)),
    "float64": (pa.float64(), floats),
    "string": (pa.string(), text),
    "large_string": (pa.large_string(), text),
    "float16": (pa.float16(), st.floats(width=16, allow_nan=False)),
    "large_binary": (pa.large_binary(), st.binary(max_size=12)),
    "large list": (pa.large_list(pa.int8()), st.lists(whole(8), max_size=4)),
    "time ms": (pa.time32("ms"), st.times().map(lambda t: t.replace(microsecond=t.microsecond // 1000 * 1000))),
    "timestamp ns": (pa.timestamp("ns"), moments),
    "duration ms": (
        pa.duration("ms"),
        spans.map(lambda t: datetime.timedelta(seconds=t // datetime.timedelta(seconds=1))),
    ),
    "binary": (pa.binary(), st.binary(max_size=12)),
    "fixed binary": (pa.binary(3), st.binary(min_size=3, max_size=3)),
    "date": (pa.date32(), st.dates(datetime.date(1700, 1, 1), datetime.date(2200, 1, 1))),
    "time": (pa.time64("us"), st.times()),
    "timestamp us": (pa.timestamp("us"), moments),
    "timestamp ms": (pa.timestamp("ms"), moments.map(lambda t: t.replace(microsecond=t.microsecond // 1000 * 1000))),
    "timestamp utc": (pa.timestamp("us", "UTC"), moments.map(lambda t: t.replace(tzinfo=UTC))),
    "timestamp zone": (pa.timestamp("us", "Europe/Zurich"), moments.map(lambda t: t.replace(tzinfo=UTC))),
    "duration": (pa.duration("us"), spans),
    "decimal": (pa.decimal128(12, 3), scaled(12, 3)),
    "wide decimal": (pa.decimal128(38, 0), scaled(38, 0)),
    "huge decimal": (pa.decimal256(60, 2), scaled(60, 2)),
    "list of float16": (pa.list_(pa.float16()), st.lists(st.floats(width=16, allow_nan=False), max_size=3)),
    "list": (pa.list_(pa.int64()), st.lists(st.none() | whole(64), max_size=4)),
    "list of lists": (pa.list_(pa.list_(pa.string())), st.lists(st.none() | st.lists(text, max_size=2), max_size=3)),
    "fixed list": (pa.list_(pa.float32(), 2), st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=2)),
    "struct": (
        pa.struct([("a", pa.int64()), ("b", pa.struct([("c", pa.string())]))]),
        st.fixed_dictionaries({"a": st.none() | whole(64), "b": st.none() | st.fixed_dictionaries({"c": text})}),
    ),
    "list of structs": (
        pa.list_(pa.struct([("x", pa.float64())])),
        st.lists(st.fixed_dictionaries({"x": st.none() | floats}), max_size=3),
    ),
    "map": (
        pa.map_(pa.string(), pa.int64()),
        st.dictionaries(text, whole(64), max_size=3).map(lambda d: list(d.items())),
    ),
    "nothing": (pa.null(), st.none()),
}


@st.composite
def columns(draw):
    kind, values = TYPES[draw(st.sampled_from(sorted(TYPES)))]
    return pa.array(draw(st.lists(st.none() | values, min_size=2, max_size=8)), kind)


def same(left, right):
    """Equal, also where a value is NaN or a zone's moment is written in another way."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float) and isinstance(right, float):
        return (math.isnan(left) and math.isnan(right)) or (
            left == right and math.copysign(1, left) == math.copysign(1, right)
        )
    if isinstance(left, datetime.datetime) and left.tzinfo is not None:
        # SQL gives every moment in UTC; in the hour that comes twice a year, Python calls equal moments unequal.
        return left.astimezone(UTC) == right.astimezone(UTC)
    return type(left) is type(right) and left == right


def check_everywhere(db, path, name, ids, expected):
    """``expected``: the values in order, as Arrow gives them to Python."""

    def stored(items):
        return [record.metadata.get("value") for record in items.get(ids)]

    items = db.collection(name)
    assert same(stored(items), expected)
    rows = db.sql(f"SELECT id, value FROM {name}").arrow()
    by_id = dict(zip(rows.column("id").to_pylist(), rows.column("value").to_pylist(), strict=True))
    by_sql = [by_id[row_id] for row_id in ids]
    if pa.types.is_decimal256(items._view().columns["value"]):  # more digits than SQL has: as text
        by_sql = [None if value is None else decimal.Decimal(value) for value in by_sql]
    if pa.types.is_duration(items._view().columns["value"]):  # an INTERVAL, which has days and nanoseconds
        by_sql = [
            None if span is None else datetime.timedelta(days=span.days, microseconds=span.nanoseconds // 1000)
            for span in by_sql
        ]
    assert same(by_sql, expected)
    file = path / f"{name}.parquet"
    export_file(db, name, file, overwrite=True)
    back = f"{name}_back"
    import_file(db, back, file)
    assert db.collection(back)._view().columns["value"] == items._view().columns["value"]
    assert same(stored(db.collection(back)), expected)
    db.drop_collection(back)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("metadata")


numbers = itertools.count()


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(column=columns())
def test_a_column_of_any_type_comes_back(path, column):
    where = path / f"db{next(numbers)}"
    ids = [f"r{n}" for n in range(len(column))]
    half = len(ids) // 2
    table = pa.table({"value": column, "n": range(len(column))})
    expected = column.to_pylist()
    with QuantumDatabase.open(where, progress=False) as db:
        items = db.create_collection("items", 2, "l2")
        items.insert(ids[:half], np.ones((half, 2)), metadata=table.slice(0, half))
        db._engine.seal()
        items.insert(ids[half:], np.ones((len(ids) - half, 2)), metadata=table.slice(half))
        check_everywhere(db, path, "items", ids, expected)
    with QuantumDatabase.open(where, progress=False) as db:
        check_everywhere(db, path, "items", ids, expected)
        db._engine.build_graphs()
        check_everywhere(db, path, "items", ids, expected)
        assert [one for one in db.verify() if one.severity != "info"] == []


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_each_type_with_extremes(path, kind):
    arrow, _ = TYPES[kind]
    values = {
        "uint64": [2**64 - 1, 0, None],
        "int64": [-(2**63), 2**63 - 1, None],
        "float64": [float("inf"), -0.0, float("nan"), 5e-324, None],
        "string": ["", "\x00", "🙂" * 50, None],
        "binary": [b"", b"\x00\xff" * 50, None],
        "decimal": [decimal.Decimal("999999999.999"), decimal.Decimal("0.001"), None],
        "wide decimal": [decimal.Decimal("9" * 38), decimal.Decimal(0), None],
        "timestamp zone": [datetime.datetime(2026, 10, 25, 0, 30, tzinfo=UTC), None],
        "list": [[], [None], None],
        "struct": [{"a": None, "b": None}, {"a": 1, "b": {"c": None}}, None],
        "map": [[], [("k", None)], None],
    }.get(kind, [None, None])
    column = pa.array(values, arrow)
    ids = [f"r{n}" for n in range(len(column))]
    with QuantumDatabase.open(path / f"extreme{next(numbers)}", progress=False) as db:
        db.create_collection("items", 2, "l2").insert(ids, np.ones((len(ids), 2)), metadata=pa.table({"value": column}))
        db._engine.seal()
        check_everywhere(db, path, "items", ids, column.to_pylist())


def test_the_schema_grows_by_writing(path):
    rows = [
        {"a": None},
        {"a": 1},
        {"a": 2.5, "b": [1]},
        {"b": [2.5, None], "c": {"x": 1}},
        {"c": {"y": "new field"}, "d": None},
        {"d": datetime.datetime(2026, 1, 1, tzinfo=UTC)},
    ]
    where = path / "grows"
    with QuantumDatabase.open(where, progress=False) as db:
        items = db.create_collection("items", 2, "l2")
        for number, row in enumerate(rows):
            items.insert(f"r{number}", [1, 2], metadata=row)
            if number % 2:
                db._engine.seal()
    with QuantumDatabase.open(where, progress=False) as db:
        found = db.collection("items").get([f"r{n}" for n in range(len(rows))])
        assert found[1].metadata["a"] == 1.0 and found[2].metadata["a"] == 2.5
        assert found[2].metadata["b"] == [1.0] and found[3].metadata["b"] == [2.5, None]
        assert found[3].metadata["c"] == {"x": 1, "y": None}
        assert found[4].metadata["c"] == {"x": None, "y": "new field"}
        assert found[5].metadata["d"] == rows[5]["d"] and found[0].metadata["d"] is None
        assert db.sql("SELECT count(a), count(b), count(c), count(d) FROM items").fetchall() == [(2, 2, 2, 1)]
