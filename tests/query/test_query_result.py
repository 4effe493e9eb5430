from __future__ import annotations

import decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from query.result import QueryResult


@pytest.fixture
def result() -> QueryResult:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(8, dtype=np.float32)), 4)
    return QueryResult(
        pa.table(
            {
                "id": ["a", "bcd"],
                "n": pa.array([1, None], pa.int64()),
                "total": pa.array([decimal.Decimal(5), None], pa.decimal128(38, 0)),
                "vector": vectors,
            }
        )
    )


def test_every_face_shows_the_same_rows(result, tmp_path):
    assert result.columns == ["id", "n", "total", "vector"]
    assert len(result) == 2
    assert result.fetchall() == [("a", 1, 5, [0, 1, 2, 3]), ("bcd", None, None, [4, 5, 6, 7])]
    assert isinstance(result.fetchall()[0][2], int)
    assert result.fetchone() == result.fetchall()[0]
    assert list(result) == result.fetchall()
    assert result.df()["id"].tolist() == ["a", "bcd"]
    np.testing.assert_array_equal(result.df()["vector"][1], [4, 5, 6, 7])
    assert result.pl()["id"].to_list() == ["a", "bcd"]
    result.to_parquet(tmp_path / "rows.parquet")
    assert pq.read_table(tmp_path / "rows.parquet").equals(result.arrow())


def test_changing_the_list_does_not_change_the_result(result):
    result.fetchall().clear()
    assert len(result.fetchall()) == 2


def test_the_text_is_aligned(result):
    assert repr(result).splitlines() == [
        "id      n  total  vector",
        "---  ----  -----  --------------",
        "a       1      5  [0, 1, 2, … 4]",
        "bcd  NULL   NULL  [4, 5, 6, … 4]",
        "(2 rows)",
    ]


def test_long_and_empty_results():
    long = QueryResult(pa.table({"x": list(range(100))}))
    assert repr(long).splitlines()[-1] == "(100 rows, first 20 shown)"
    assert len(repr(long).splitlines()) == 23
    empty = QueryResult(pa.table({"x": pa.array([], pa.int64())}))
    assert empty.fetchone() is None
    assert empty.fetchall() == []
    assert repr(empty).endswith("(0 rows)")
    assert "…" in repr(QueryResult(pa.table({"x": ["y" * 100]})))
