"""Every mistake is a typed error that names the value, the place and the fix."""

from __future__ import annotations

import numpy as np
import pytest

from query.duckdb_connection import Limits
from query.errors import (
    InvalidParameterError,
    QueryError,
    ResultTooLargeError,
    SqlSyntaxError,
    StatementTimeoutError,
    UnknownProcedureError,
    UnknownTableError,
    UnsupportedStatementError,
)
from query.session import Session
from storage_engine.errors import (
    DatabaseClosedError,
    InvalidArgumentError,
    QStoreError,
    UnknownColumnError,
)

SYNTAX = [
    ("SELECT * FRO items", 1, 14),
    ("SELECT 1;\n\n  SELECT 'é', x fro y", 3, 21),
    ("SELECT\n  a b c FROM items", 2, 7),
    ("SELECT vector <#> [1] fro items ) x", 1, 27),
    ("SELECT 'abc", 1, 12),
    ('SELECT "abc', 1, 12),
    ("/* open", 1, 8),
    ("SELECT $$abc", 1, 13),
    ("SELECT (1", 1, 9),
    ("CALL train(", 1, 12),
    ("CALL train(a => )", 1, 17),
    ("CALL train(a => b)", 1, 17),
    ("CALL train(a => 1, 2)", 1, 20),
    ("CALL train(a => 1, a => 2)", 1, 20),
    ("CALL train(a = 1)", 1, 14),
    ("CALL train(a => 1) x", 1, 20),
    ("CALL train(1.2.3)", 1, 12),
    ("CREATE MODEL", 1, 13),
    ("CREATE MODEL m OPTIONS (1)", 1, 25),
    ("CREATE MODEL m OPTIONS (a = [1, )", 1, 33),
    ("CREATE MODEL m AS DROP MODEL m", 1, 19),
    ("CREATE OR REPLACE MODEL IF NOT EXISTS m", 1, 32),
    ("SELECT 1;\nDROP MODEL m n", 2, 14),
    ("SELECT '\0'", 1, 9),
    ("SELECT '\ud800'", 1, 9),
    ("", 0, 0),
    (" ;; -- nothing\n", 0, 0),
    ("SELECT " + "(" * 60 + "1" + ")" * 60, 1, 58),
    ("SELECT '" + "x" * 100_001 + "'", 0, 0),
]


@pytest.mark.parametrize(("text", "line", "column"), SYNTAX)
def test_syntax_errors_name_their_place(session, text, line, column):
    with pytest.raises(SqlSyntaxError) as caught:
        session.execute(text)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert str(caught.value)


NAMES = [
    ("SELECT * FROM itms", UnknownTableError, "items"),
    ("SELECT * FROM itms WHERE id IN (SELECT 1)", UnknownTableError, "line 1, column 15"),
    ("SELECT 1;\nSELECT * FROM items, nothing_like_it", UnknownTableError, "line 2, column 22"),
    ('SELECT * FROM "docs$branches"', UnknownTableError, "docs"),
    ("SELECT * FROM 'data.parquet'", UnknownTableError, "data.parquet"),
    ("DESCRIBE nope", UnknownTableError, "nope"),
    ("SELECT labl FROM items", UnknownColumnError, "Did you mean label"),
    ("SELECT\n i.labl FROM items i", UnknownColumnError, "line 2, column 2"),
    ("EXPLAIN SELECT labl FROM items", UnknownColumnError, "line 1, column 16"),
    ("SELECT id FROM items WHERE nope = 1 ORDER BY vector <-> [1,2,3,4,5,6,7,8] LIMIT 1", UnknownColumnError, "nope"),
    ("SELECT nope(1)", QueryError, "nope"),
    ("CALL trian(1)", UnknownProcedureError, "Known procedures"),
    ("SELECT 'a'::INTEGER", QueryError, "Could not convert"),
    ("SELECT error('my own')", QueryError, "my own"),
    ("SELECT $x", InvalidParameterError, r"\$x has no value"),
    ("SELECT ?", InvalidParameterError, r"Write \$name"),
    ("SELECT $1", InvalidParameterError, r"Write \$name"),
    ("SELECT default", QueryError, "DEFAULT"),
]


@pytest.mark.parametrize(("text", "error", "says"), NAMES)
def test_names_and_values(session, text, error, says):
    with pytest.raises(error, match=says):
        session.execute(text)


def test_parameters_must_fit(session):
    run = session.execute
    with pytest.raises(InvalidParameterError, match=r"no parameter \$y"):
        run("SELECT $x", {"x": 1, "y": 2})
    with pytest.raises(InvalidParameterError, match="object"):
        run("SELECT $x", {"x": object()})
    with pytest.raises(InvalidParameterError, match="surrogate"):
        run("SELECT $x", {"x": "\ud800"})
    with pytest.raises(QStoreError):
        run("SELECT $x", {"x": 2**200})
    with pytest.raises(InvalidArgumentError):
        run(None)
    for value in (1, 2.5, "é", True, None, b"x", [1, 2], {"a": 1}, ["x", None]):
        assert run("SELECT $x", {"x": value}).fetchone() == (value,)
    for value, plain in ((np.int64(3), 3), (np.float32(0.5), 0.5), (np.arange(3), [0, 1, 2]), (np.bool_(1), True)):
        assert run("SELECT $x", {"x": value}).fetchone() == (plain,)
    assert run("SELECT count(*) FROM items WHERE label IN $x", {"x": np.array([1, 2])}).fetchone()[0] > 0
    # A parameter's value is never read as SQL.
    assert run("SELECT $x", {"x": "1); DROP MODEL m --"}).fetchone() == ("1); DROP MODEL m --",)


def test_nothing_runs_before_all_of_the_text_is_understood(sample):
    calls = []

    class Count:
        name = "count_calls"
        parameters = ()

        def call(self, arguments):
            import pyarrow as pa

            calls.append(arguments)
            return pa.table({"n": [len(calls)]})

    session = Session(sample.engine, procedures=[Count()])
    for text in (
        "CALL count_calls(); SELECT fro x y",
        "CALL count_calls(); SELECT $x",
        "CALL count_calls(); CALL nope()",
    ):
        with pytest.raises(QStoreError):
            session.execute(text)
    assert calls == []
    assert session.execute("CALL count_calls(); CALL count_calls()").fetchall() == [(2,)]
    session.close()


def test_limits_are_kept(sample):
    session = Session(sample.engine, limits=Limits(seconds=0.2, rows=1000))
    with pytest.raises(StatementTimeoutError, match=r"0\.2 seconds"):
        session.execute("SELECT count(*) FROM range(100000000000)")
    with pytest.raises(ResultTooLargeError, match="1000 rows"):
        session.execute("FROM range(100000000000)")
    assert len(session.execute("FROM range(1000)")) == 1000
    assert session.execute("SELECT 1").fetchone() == (1,)
    session.close()


def test_a_closed_session_says_so(sample):
    session = Session(sample.engine)
    session.execute("SELECT 1")
    session.close()
    session.close()
    with pytest.raises(DatabaseClosedError):
        session.execute("SELECT 1")


def test_statements_that_write_are_refused_with_the_way_to_do_it(session):
    for text, says in (
        ("INSERT INTO items VALUES (1)", "insert or upsert"),
        ("UPDATE items SET label = 1", "update or upsert"),
        ("DELETE FROM items", "delete of a collection"),
        ("CREATE TABLE t (a INT)", "create_collection"),
        ("DROP TABLE items", "drop_collection"),
        ("PIVOT items ON label", "IN"),
        ("CREATE MODEL m", "CREATE MODEL"),
        ("SELECT 1 FROM items AT (VERSION => 1 + 2)", "in this form"),
    ):
        with pytest.raises(UnsupportedStatementError, match=says):
            session.execute(text)
