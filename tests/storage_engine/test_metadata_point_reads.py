"""Single values are Arrow's own, whatever the type, the nulls and the cut of the column."""

from __future__ import annotations

import datetime
import decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage_engine.metadata.point_reads import reader_of

COLUMNS = [
    pa.array([1, None, -3, 2**62, 0], pa.int64()),
    pa.array([1, 2, 255, 0, 7], pa.uint8()),
    pa.array([1.5, float("inf"), None, -0.0, 2.0], pa.float64()),
    pa.array([1.5, 0.1, None, -0.0, 2.0], pa.float32()),
    pa.array(np.array([1, 2, 3, 4, 5], np.float16)),
    pa.array([True, None, False, True, True]),
    pa.array(["", None, "Zürich", "🙂", "plain"]),
    pa.array(["a", "b", "c", "d", "e"], pa.large_string()),
    pa.array([b"x", None, b"", b"\x00", b"y"]),
    pa.array(["r", "g", None, "r", "r"]).dictionary_encode(),
    pa.array([datetime.date(2026, 1, day) for day in range(1, 6)]),
    pa.array([datetime.datetime(2026, 1, day) for day in range(1, 6)], pa.timestamp("us")),
    pa.array([decimal.Decimal("1.50"), None, decimal.Decimal("2"), None, None], pa.decimal128(5, 2)),
    pa.array([[1], [], None, [2, 3], [4]]),
    pa.array([{"a": 1}, None, {"a": 2}, {"a": None}, {"a": 5}]),
    pa.nulls(5),
    pa.nulls(5, pa.string()),
]


@pytest.mark.parametrize("array", COLUMNS, ids=lambda array: str(array.type))
def test_values_are_those_of_arrow(array):
    longer = pa.concat_arrays([array, array, array])
    for column in (
        pa.chunked_array([array]),
        pa.chunked_array([longer.slice(3, 5)]),
        pa.chunked_array([array.slice(0, 2), array.slice(2)]),
        pa.chunked_array([array.slice(5)], type=array.type),
    ):
        expected = column.to_pylist()
        read = reader_of(column)
        for at in ([], [0], [4, 0, 2, 2, 1], list(range(len(expected)))):
            if max(at, default=-1) < len(expected):
                found = read(np.array(at, np.int64))
                assert found == [expected[place] for place in at]
                assert [type(value) for value in found] == [type(expected[place]) for place in at]


@settings(derandomize=True, deadline=None, max_examples=100)
@given(
    st.lists(st.none() | st.text(max_size=5), min_size=1, max_size=30),
    st.integers(0, 29),
    st.randoms(use_true_random=False),
)
def test_any_text(values, start, random):
    array = pa.array(values, pa.string()).slice(min(start, len(values) - 1))
    places = [random.randrange(len(array)) for _ in range(10)]
    assert reader_of(pa.chunked_array([array]))(np.array(places)) == [array.to_pylist()[place] for place in places]
