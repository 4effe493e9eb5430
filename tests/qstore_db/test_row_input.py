import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from qstore_db.errors import InvalidArgumentError, InvalidIdError, InvalidMetadataError, InvalidVectorError
from qstore_db.row_input import one_or_many, parse_ids, parse_metadata, parse_query_vector, parse_vectors

ROWS = [{"a": 1, "b": "x"}, {"a": 2}, {"b": "z", "c": 2.5}]
COLUMNS = {"a": [1, 2, None], "b": ["x", None, "z"], "c": [None, None, 2.5]}


@pytest.mark.parametrize(
    "given",
    [ROWS, COLUMNS, pa.table(COLUMNS), pa.table(COLUMNS).to_batches()[0], pl.DataFrame(COLUMNS)],
    ids=["rows", "columns", "table", "batch", "polars"],
)
def test_every_form_of_metadata_says_the_same(given):
    assert parse_metadata(given, single=False, rows=3).to_pydict() == COLUMNS


def test_a_pandas_frame_keeps_its_columns_and_drops_its_index():
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}, index=[7, 8])
    table = parse_metadata(frame, single=False, rows=2)
    assert table.to_pydict() == {"a": [1, 2], "b": ["x", "y"]}
    assert table.schema.metadata is None


def test_one_mapping_is_one_row():
    assert parse_metadata({"tags": ["a", "b"]}, single=True, rows=1).to_pylist() == [{"tags": ["a", "b"]}]


@pytest.mark.parametrize(
    ("given", "single", "rows"),
    [
        ([{"a": 1}], False, 2),
        ([{"a": 1}, {"a": "x"}], False, 2),
        ([{1: "x"}], False, 1),
        ("text", False, 4),
        (7, False, 1),
        ({"a": [1, 2]}, False, 3),
    ],
)
def test_metadata_that_cannot_be_stored_is_refused(given, single, rows):
    with pytest.raises(InvalidMetadataError):
        parse_metadata(given, single=single, rows=rows)


def test_ids_of_several_kinds():
    assert parse_ids("a") == (["a"], True)
    assert parse_ids(("a", "b")) == (["a", "b"], False)
    assert parse_ids(np.array(["a", "b"])) == (["a", "b"], False)
    assert parse_ids(pa.array(["a", "b"])) == (["a", "b"], False)


@pytest.mark.parametrize("given", [7, b"a", ["a", 7], [b"a"], None])
def test_ids_that_are_no_text_are_refused(given):
    with pytest.raises(InvalidIdError, match="text"):
        parse_ids(given)


def test_vectors_of_several_kinds():
    expected = np.array([[1, 2], [3, 4]], np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(expected.reshape(-1)), 2)
    for given in (expected.tolist(), expected.astype(np.float64), expected.astype(np.int8), expected[:, ::1], column):
        parsed = parse_vectors(given, single=False, rows=2)
        assert parsed.dtype == np.float32
        assert np.array_equal(parsed, expected)
    assert parse_vectors([1, 2], single=True, rows=1).shape == (1, 2)


@pytest.mark.parametrize(
    ("given", "rows"),
    [
        ([[1, 2], [3]], 2),
        ([["a", "b"]], 1),
        ([[1j, 2]], 1),
        ([[1, 2]], 2),
        ([1, 2], 2),
        ([[1e39, 0]], 1),
        (None, 1),
    ],
)
def test_vectors_that_are_none_are_refused(given, rows):
    with pytest.raises(InvalidVectorError):
        parse_vectors(given, single=False, rows=rows)


def test_a_query_is_one_vector_or_a_batch():
    assert parse_query_vector([1, 2])[1]
    assert not parse_query_vector([[1, 2]])[1]
    with pytest.raises(InvalidVectorError):
        parse_query_vector([[[1.0]]])


def test_two_spellings_of_an_argument_exclude_each_other():
    assert one_or_many("a", None, "id") == "a"
    assert one_or_many(None, ["a"], "id") == ["a"]
    with pytest.raises(InvalidArgumentError, match="both"):
        one_or_many("a", ["a"], "id")
    with pytest.raises(InvalidArgumentError, match="no id"):
        one_or_many(None, None, "id")
