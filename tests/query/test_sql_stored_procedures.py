"""CREATE PROCEDURE … AS BEGIN … END: kept in the database, checked when created, run by CALL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pytest

from query.errors import (
    InvalidParameterError,
    QueryError,
    SqlSyntaxError,
    UnknownProcedureError,
    UnsupportedStatementError,
)
from query.ports import Parameter
from query.session import Session
from storage_engine.batch import CreateCollection, PutRows, WriteBatch
from storage_engine.engine import Engine
from storage_engine.errors import AlreadyExistsError, ReadOnlyError
from storage_engine.schema import CollectionSchema, Metric, Role


class Note:
    """A built-in procedure that remembers what it was called with."""

    name = "note"

    def __init__(self) -> None:
        self.calls: list[dict[str, object]] = []

    @property
    def parameters(self) -> Sequence[Parameter]:
        return (Parameter("what", "text", required=True), Parameter("times", "integer"))

    def call(self, arguments: Mapping[str, object]) -> pa.Table:
        self.calls.append(dict(arguments))
        return pa.table({"noted": [str(arguments["what"])]})


def fill(engine: Engine) -> None:
    schema = CollectionSchema(
        uuid="00000000000000000000000000000001",
        name="items",
        dimension=2,
        metric=Metric.L2,
        role=Role.ITEMS,
        created_at=0.0,
    )
    vectors = np.arange(10, dtype=np.float32).reshape(5, 2)
    rows = PutRows("items", list("abcde"), vectors, metadata=pa.table({"label": [0, 1, 0, 1, 2]}))
    engine.commit(WriteBatch([CreateCollection(schema)]))
    engine.commit(WriteBatch([rows]))


@pytest.fixture
def note():
    return Note()


@pytest.fixture
def engine():
    with Engine.open(None) as engine:
        fill(engine)
        yield engine


@pytest.fixture
def session(engine, note):
    session = Session(engine, procedures=(note,))
    yield session
    session.close()


def test_statements_run_in_order_with_their_arguments(session, note):
    session.execute(
        """CREATE PROCEDURE both(who VARCHAR, n INTEGER DEFAULT 3) AS BEGIN
             CALL note(what => who, times => n);
             CALL note('fixed; not the end', times => N);
             SELECT CASE WHEN label = $n THEN 'yes' ELSE 'no' END AS same FROM items WHERE id = $who;
           END"""
    )
    assert session.execute("CALL both('b', 1)").fetchall() == [("yes",)]
    assert session.execute("CALL both(who => $w)", {"w": "a"}).fetchall() == [("no",)]
    assert note.calls == [
        {"what": "b", "times": 1},
        {"what": "fixed; not the end", "times": 1},
        {"what": "a", "times": 3},
        {"what": "fixed; not the end", "times": 3},
    ]


def test_vectors_and_old_versions_as_arguments(session):
    session.execute(
        """CREATE PROCEDURE near(q FLOAT[], version INTEGER) AS BEGIN
             SELECT id FROM items AT (VERSION => $version) ORDER BY vector <-> $q LIMIT 2
           END"""
    )
    assert session.execute("CALL near($v, 2)", {"v": np.array([4.0, 5.1])}).fetchall() == [("c",), ("d",)]
    with pytest.raises(InvalidParameterError, match="q must be a list, not 3"):
        session.execute("CALL near(3, 2)")


def test_one_text_may_define_and_call(session, note):
    one = "CREATE PROCEDURE one() AS BEGIN CALL note('x') END"
    text = f"{one}; CREATE PROCEDURE two() AS BEGIN CALL one(); END; CALL two()"
    assert session.execute(text).fetchall() == [("x",)]
    assert note.calls == [{"what": "x"}]


def test_they_stay_in_the_database_and_are_listed(tmp_path, note):
    definition = "CREATE PROCEDURE Twice(n INT) AS BEGIN CALL note('é', n); /* END */ SELECT $n * 2 AS twice; END"
    with Engine.open(tmp_path / "db", clock=lambda: 1_700_000_000.0) as engine:
        fill(engine)
        shown = Session(engine, procedures=(note,)).execute(definition)
        assert shown.fetchall() == [("twice", "created")]
        engine.seal()
    with Engine.open(tmp_path / "db", read_only=True) as engine:
        session = Session(engine, procedures=(note,))
        assert session.execute("CALL TWICE(21)").fetchall() == [(42,)]
        listed = session.execute("SELECT name, arguments, definition, epoch(created_at) FROM procedures").fetchall()
        assert listed == [
            ("note", ["what text", "times integer?"], None, None),
            ("twice", ["n integer"], definition, 1_700_000_000.0),
        ]
        with pytest.raises(ReadOnlyError):
            session.execute("DROP PROCEDURE twice")


def test_replacing_and_dropping(session):
    session.execute("CREATE PROCEDURE p() AS BEGIN SELECT 1 AS x END")
    with pytest.raises(AlreadyExistsError, match="'p' already"):
        session.execute("CREATE PROCEDURE P() AS BEGIN SELECT 2 AS x END")
    assert session.execute("CALL p()").fetchall() == [(1,)]
    session.execute("CREATE OR REPLACE PROCEDURE p() AS BEGIN SELECT 2 AS x END")
    assert session.execute("CALL p()").fetchall() == [(2,)]
    assert session.execute("DROP PROCEDURE p").fetchall() == [("p", "dropped")]
    assert session.execute("DROP PROCEDURE IF EXISTS p").fetchall() == [("p", "absent")]
    with pytest.raises(UnknownProcedureError, match="no procedure 'p'"):
        session.execute("CALL p()")


def test_what_was_done_before_a_failure_stays_done(session, note):
    session.execute("CREATE PROCEDURE p() AS BEGIN CALL note('first'); SELECT error('stop'); CALL note('second') END")
    with pytest.raises(QueryError, match="stop"):
        session.execute("CALL p()")
    assert note.calls == [{"what": "first"}]


def test_a_circle_that_came_about_later_is_refused(session):
    session.execute("CREATE PROCEDURE a() AS BEGIN SELECT 1 END; CREATE PROCEDURE b() AS BEGIN CALL a() END")
    session.execute("CREATE OR REPLACE PROCEDURE a() AS BEGIN CALL b() END")
    with pytest.raises(QueryError, match="calls itself: a → b → a"):
        session.execute("CALL a()")


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("CREATE PROCEDURE p() AS BEGIN SELECT 1;", SqlSyntaxError, "no END"),
        ("CREATE PROCEDURE p() AS BEGIN END", SqlSyntaxError, "body is empty"),
        ("CREATE PROCEDURE p() AS BEGIN ; ; END", SqlSyntaxError, "body is empty"),
        ("CREATE PROCEDURE p() AS SELECT 1", SqlSyntaxError, "Expected AS BEGIN"),
        ("CREATE PROCEDURE p AS BEGIN SELECT 1 END", SqlSyntaxError, "Expected \\( after"),
        ("CREATE PROCEDURE p(a) AS BEGIN SELECT $a END", SqlSyntaxError, "type of a"),
        ("CREATE PROCEDURE p(a BLOB) AS BEGIN SELECT $a END", SqlSyntaxError, "has the type BLOB"),
        ("CREATE PROCEDURE p(a INT, A INT) AS BEGIN SELECT $a END", SqlSyntaxError, "A is declared twice"),
        ("CREATE PROCEDURE p(a INT DEFAULT 1, b INT) AS BEGIN SELECT $a + $b END", SqlSyntaxError, "b has no default"),
        ("CREATE PROCEDURE p(a INT) AS BEGIN SELECT 1 END", InvalidParameterError, "does not use its argument a"),
        ("CREATE PROCEDURE p() AS BEGIN SELECT $a END", InvalidParameterError, "uses \\$a"),
        ("CREATE PROCEDURE p() AS BEGIN CALL nothing() END", UnknownProcedureError, "'nothing'"),
        ("CREATE PROCEDURE p() AS BEGIN CALL p() END", QueryError, "calls itself: p → p"),
        ("CREATE PROCEDURE p() AS BEGIN SELEC 1 END", SqlSyntaxError, "SELEC"),
        ("CREATE PROCEDURE p() AS BEGIN DELETE FROM items END", UnsupportedStatementError, "DELETE"),
        (
            "CREATE PROCEDURE p() AS BEGIN CREATE PROCEDURE q() AS BEGIN SELECT 1 END END",
            SqlSyntaxError,
            "cannot define another",
        ),
        ("CREATE PROCEDURE note() AS BEGIN SELECT 1 END", AlreadyExistsError, "built in"),
        ("DROP PROCEDURE note", UnknownProcedureError, "built in"),
        ("DROP PROCEDURE nothing", UnknownProcedureError, "no procedure 'nothing'"),
    ],
)
def test_a_definition_that_cannot_run_is_refused_and_nothing_is_written(session, engine, text, error, says):
    before = engine.snapshot().version
    with pytest.raises(error, match=says):
        session.execute(text)
    assert engine.snapshot().version == before


def test_errors_name_the_place_in_the_text(session):
    with pytest.raises(SqlSyntaxError) as caught:
        session.execute("CREATE PROCEDURE p() AS BEGIN\n  SELECT 1;\n  CALL note(what => who);\nEND")
    assert (caught.value.line, caught.value.column) == (3, 21)
