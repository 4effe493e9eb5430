"""CREATE PROCEDURE … LANGUAGE python: kept as text, allowed by the one who opens, typed throughout."""

import sys
import threading

import numpy as np
import pyarrow as pa
import pytest

from qstore_db.database import QuantumDatabase
from qstore_db.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    InvalidParameterError,
    NotPermittedError,
    ProcedureFailedError,
    QueryError,
    ReadOnlyError,
    SqlSyntaxError,
    UnknownIdError,
    UnknownProcedureError,
    UnsupportedStatementError,
)
from qstore_db.sql.python_procedures import _table
from query.session import Session
from storage_engine.engine import Engine

JOBS = """
from os import getcwd as _cwd
from os.path import join
from shop_tools import stray
from shop_jobs.inner import deep

CALLS = []

def add(db, who, times=1, *, factor=1.0, flag=False, items=()):
    CALLS.append((who, times, factor, flag, items))
    db.collection("items").upsert(who, [float(times), 0.0])
    return times

def table(db):
    return db.sql("SELECT id FROM items ORDER BY id")

def fail(db, kind):
    db.collection("items").upsert("before", [1.0, 1.0])
    if kind == "ours":
        db.collection("items").get("nobody")
    if kind == "interrupt":
        raise KeyboardInterrupt
    raise RuntimeError("no good")

def again(db, n):
    return db.sql("CALL again($n)", n=n + 1)

def through(db):
    return db.sql("CALL wrapper()")

def whole(db):
    with db.transaction():
        db.collection("items").upsert("t", [1.0, 1.0])
        raise ValueError("undo")

def look(db, name):
    return str(hasattr(db, name))

def give(db, what):
    return RETURNED[what]

def _hidden(db):
    return 1

class Job:
    def __init__(self, db):
        pass

async def later(db):
    return 1

RETURNED = {}
"""


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    folder = tmp_path / "code" / "shop_jobs"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(JOBS)
    (folder / "inner.py").write_text("def deep(db):\n    return 'deep'\n")
    (folder / "broken.py").write_text("raise ValueError('at import')\n")
    (folder / "lacking.py").write_text("import not_there_at_all\n")
    (folder.parent / "shop_tools.py").write_text("def stray(db):\n    return 1\n")
    (folder.parent / "shop_jobs2.py").write_text("def other(db):\n    return 1\n")
    monkeypatch.syspath_prepend(str(folder.parent))
    yield
    for name in [name for name in sys.modules if name.startswith("shop_")]:
        del sys.modules[name]


def opened(path=":memory:", **options):
    db = QuantumDatabase.open(path, progress=False, **{"python_procedures": ["shop_jobs"], **options})
    if not options.get("read_only") and "items" not in db.collections():
        db.create_collection("items", dimension=2, metric="l2")
    return db


@pytest.fixture
def db(jobs):
    with opened() as db:
        yield db


def create(db, signature, function, module="shop_jobs"):
    return db.sql(f"CREATE OR REPLACE PROCEDURE {signature} LANGUAGE python AS '{module}:{function}'")


def test_arguments_arrive_typed_and_bound(db):
    signature = (
        "add(who VARCHAR, times INTEGER, factor DOUBLE DEFAULT 2.5, flag BOOLEAN DEFAULT true, items INT[] DEFAULT [1])"
    )
    assert create(db, signature, "add").fetchall() == [("add", "created")]
    assert db.sql("CALL add($who, times => 3, items => [1, 2])", who="x'; DROP").fetchall() == [(3,)]
    import shop_jobs

    assert shop_jobs.CALLS == [("x'; DROP", 3, 2.5, True, [1, 2])]
    assert np.array_equal(db.collection("items").get("x'; DROP").vector, [3.0, 0.0])
    with pytest.raises(InvalidParameterError, match="times must be a whole number, not 'x'"):
        db.sql("CALL add('a', 'x')")
    with pytest.raises(InvalidParameterError, match="add needs times"):
        db.sql("CALL add('a')")


def test_it_stays_in_the_database_as_text_and_is_listed(tmp_path, jobs):
    definition = "CREATE PROCEDURE Deep() LANGUAGE python AS 'shop_jobs.inner:deep'"
    with opened(tmp_path / "db") as db:
        db.sql(definition + "; CALL deep()")
        db._engine.seal()
    with opened(tmp_path / "db", read_only=True) as db:
        assert db.sql("CALL DEEP()").fetchall() == [("deep",)]
        assert db.sql("SELECT definition FROM procedures WHERE name = 'deep'").fetchall() == [(definition,)]
        with pytest.raises(ReadOnlyError):
            create(db, "deep()", "deep", "shop_jobs.inner")
    with opened(tmp_path / "db") as db:
        with pytest.raises(AlreadyExistsError):
            db.sql(definition)
        db.sql("DROP PROCEDURE deep")
        with pytest.raises(UnknownProcedureError):
            db.sql("CALL deep()")


@pytest.mark.parametrize("allowed", [[], ["shop"], ["shop_jobs.inner"], ["shop_jobs2"]])
def test_nothing_is_called_or_imported_that_was_not_listed(tmp_path, jobs, allowed):
    with opened(tmp_path / "db") as db:
        create(db, "table()", "table")
        db.sql("CREATE PROCEDURE around() AS BEGIN CALL table(); END")
    for name in [name for name in sys.modules if name.startswith("shop_")]:
        del sys.modules[name]
    with QuantumDatabase.open(tmp_path / "db", python_procedures=allowed) as db:
        version = db.version
        for text in (
            "CALL table()",
            "CALL around()",
            "CREATE PROCEDURE t2() LANGUAGE python AS 'shop_jobs:table'",
            "CREATE PROCEDURE t2() LANGUAGE python AS 'os:getcwd'",
        ):
            with pytest.raises(NotPermittedError, match="may not call") as caught:
                db.sql(text)
            assert "python_procedures=[" in caught.value.fix
        assert not [name for name in sys.modules if name.startswith("shop_")]
        assert db.version == version
        db.sql("DROP PROCEDURE table")  # to take one away needs no permission


def test_a_module_below_a_listed_one_is_meant_and_one_beside_it_is_not(db):
    create(db, "deep()", "deep", "shop_jobs.inner")
    with pytest.raises(NotPermittedError, match="shop_jobs2"):
        create(db, "other()", "other", "shop_jobs2")


@pytest.mark.parametrize(
    ("target", "error", "says"),
    [
        ("shop_jobs:nothing", UnknownProcedureError, "no public function 'nothing'"),
        ("shop_jobs:_hidden", UnknownProcedureError, "no public function '_hidden'"),
        ("shop_jobs:CALLS", UnknownProcedureError, "no public function 'CALLS'"),
        ("shop_jobs:Job", UnknownProcedureError, "no public function 'Job'"),
        ("shop_jobs:join", NotPermittedError, "defined in 'posixpath'"),
        ("shop_jobs:stray", NotPermittedError, "defined in 'shop_tools'"),
        ("shop_jobs.none:f", UnknownProcedureError, "no module 'shop_jobs.none'"),
        ("shop_jobs.lacking:f", UnknownProcedureError, "no module 'not_there_at_all'"),
        ("shop_jobs.broken:f", ProcedureFailedError, "cannot be imported: ValueError: at import"),
        ("shop_jobs:add", InvalidParameterError, "missing a required argument: 'who'"),
    ],
)
def test_what_cannot_be_called_is_refused_when_it_is_created(db, target, error, says):
    version = db.version
    with pytest.raises(error, match=says):
        db.sql(f"CREATE PROCEDURE p() LANGUAGE python AS '{target}'")
    assert db.version == version


def test_declared_arguments_must_be_the_functions(db):
    with pytest.raises(InvalidParameterError, match="unexpected keyword argument 'whom'"):
        create(db, "add(who VARCHAR, whom VARCHAR)", "add")
    with pytest.raises(InvalidParameterError, match="multiple values for argument 'db'"):
        create(db, "table(db VARCHAR)", "table")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("CREATE PROCEDURE p() LANGUAGE rust AS 'a:b'", "in SQL or in python"),
        ("CREATE PROCEDURE p() LANGUAGE python 'a:b'", "Expected AS"),
        ("CREATE PROCEDURE p() LANGUAGE python AS a", "is no value"),
        ("CREATE PROCEDURE p() LANGUAGE python AS 3", "names no function"),
        ("CREATE PROCEDURE p() LANGUAGE python AS 'a.b'", "'a.b' names no function"),
        ("CREATE PROCEDURE p() LANGUAGE python AS '../a:b'", "names no function"),
        ("CREATE PROCEDURE p() LANGUAGE python AS 'a:b.c'", "names no function"),
        ("CREATE PROCEDURE p() LANGUAGE python AS 'a:b' AS BEGIN SELECT 1 END", "Unexpected"),
        ("CREATE PROCEDURE p(x BLOB) LANGUAGE python AS 'shop_jobs:table'", "has the type BLOB"),
    ],
)
def test_the_syntax_is_checked_with_its_place(db, text, says):
    with pytest.raises(SqlSyntaxError, match=says) as caught:
        db.sql(text)
    assert caught.value.line == 1


@pytest.mark.parametrize(
    ("returned", "rows"),
    [
        (None, [("give", "done")]),
        (True, [(True,)]),
        (2.5, [(2.5,)]),
        ("x", [("x",)]),
        ({"a": [1, 2], "b": ["x", None]}, [(1, "x"), (2, None)]),
        ([{"a": 1}, {"a": 2}], [(1,), (2,)]),
        (pa.table({"a": [1]}), [(1,)]),
    ],
)
def test_results_become_tables(db, returned, rows):
    create(db, "give(what VARCHAR)", "give")
    import shop_jobs

    shop_jobs.RETURNED["it"] = returned
    assert db.sql("CALL give('it')").fetchall() == rows


@pytest.mark.parametrize("returned", [object(), [], [1, 2], {"a": [1], "b": [1, 2]}, {"a": [object()]}, b"x"])
def test_what_is_no_table_is_a_typed_error(db, returned):
    create(db, "give(what VARCHAR)", "give")
    import shop_jobs

    shop_jobs.RETURNED["it"] = returned
    with pytest.raises(ProcedureFailedError, match=r"'give' \(shop_jobs:give\) returned is no table"):
        db.sql("CALL give('it')")
    create(db, "later()", "later")
    with pytest.warns(RuntimeWarning, match="never awaited"), pytest.raises(ProcedureFailedError, match="coroutine"):
        db.sql("CALL later()")


def test_errors_are_typed_and_what_was_done_before_them_stays(db):
    create(db, "fail(kind VARCHAR)", "fail")
    with pytest.raises(ProcedureFailedError, match=r"'fail' \(shop_jobs:fail\) raised RuntimeError: no good") as caught:
        db.sql("CALL fail('other')")
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert "before" in db.collection("items")
    with pytest.raises(UnknownIdError, match="nobody"):
        db.sql("CALL fail('ours')")
    with pytest.raises(KeyboardInterrupt):
        db.sql("CALL fail('interrupt')")


def test_circles_are_found_through_sql_and_python(db):
    create(db, "table()", "table")
    create(db, "wrapper()", "table")
    create(db, "again(n INTEGER)", "again")
    create(db, "through()", "through")
    db.sql("CREATE OR REPLACE PROCEDURE wrapper() AS BEGIN CALL through(); END")
    for _ in range(2):  # what ran is forgotten
        with pytest.raises(QueryError, match="'again' calls itself: again → again"):
            db.sql("CALL again(1)")
        with pytest.raises(QueryError, match="'wrapper' calls itself: wrapper → through → wrapper"):
            db.sql("CALL wrapper()")
    assert db.sql("CALL table()").fetchall() == []
    with opened() as other:  # the same name in another database is no circle
        create(other, "again(name VARCHAR)", "look")
        assert other.sql("CALL again('sql')").fetchall() == [("True",)]


def test_the_same_procedure_may_run_in_two_threads(db):
    create(db, "add(who VARCHAR, times INTEGER)", "add")
    inside, go = threading.Event(), threading.Event()
    import shop_jobs

    class Waiting(list):
        def append(self, call):
            if call[0] == "first":
                inside.set()
                assert go.wait(20)

    shop_jobs.CALLS = Waiting()
    thread = threading.Thread(target=lambda: db.sql("CALL add('first', 1)"))
    thread.start()
    assert inside.wait(20)
    assert db.sql("CALL add('second', 2)").fetchall() == [(2,)]
    go.set()
    thread.join()
    assert {"first", "second"} <= {row for (row,) in db.sql("SELECT id FROM items").fetchall()}


def test_transactions_hold_what_a_procedure_does(db):
    create(db, "add(who VARCHAR, times INTEGER)", "add")
    create(db, "whole()", "whole")
    version = db.version
    with pytest.raises(ZeroDivisionError), db.transaction():
        db.sql("CALL add('one', 1); CALL add('two', 2)")
        assert "one" in db.collection("items")
        raise ZeroDivisionError
    assert db.version == version
    with db.transaction():
        db.sql("CALL add('one', 1); CALL add('two', 2)")
    assert db.version == version + 1
    with pytest.raises(ProcedureFailedError, match="undo"):
        db.sql("CALL whole()")
    assert "t" not in db.collection("items")


def test_the_handle_shows_verbs_and_nothing_behind_them(db):
    create(db, "look(name VARCHAR)", "look")
    for name, there in [("sql", True), ("train", True), ("transaction", True), ("_engine", False), ("close", False)]:
        assert db.sql("CALL look($name)", name=name).fetchall() == [(str(there),)]
    from qstore_db.sql.python_procedures import DatabaseVerbs

    handle = DatabaseVerbs(db)
    assert "sql" in dir(handle)
    assert "close" not in dir(handle)
    assert repr(handle).startswith("verbs of QuantumDatabase")


@pytest.mark.parametrize("wrong", ["shop_jobs", ["shop jobs"], [""], [3], {"shop_jobs"}, True])
def test_the_permission_is_a_list_of_modules(tmp_path, wrong):
    with pytest.raises(InvalidArgumentError, match=r"python_procedures"):
        QuantumDatabase.open(tmp_path / "db", python_procedures=wrong)
    assert not (tmp_path / "db").exists()


def test_an_old_version_and_a_bare_session_run_no_python(db):
    create(db, "table()", "table")
    with db.at(db.version) as old, pytest.raises(NotPermittedError):
        old.sql("CALL table()")
    with Engine.open(None) as engine:
        session = Session(engine)
        with pytest.raises(UnsupportedStatementError, match="not available here"):
            session.execute("CREATE PROCEDURE p() LANGUAGE python AS 'a:b'")
        session.close()


def test_the_command_line_has_the_same_switch(tmp_path, jobs):
    from typer.testing import CliRunner

    from qstore_db.cli.app import app

    with opened(tmp_path / "db") as db:
        create(db, "deep()", "deep", "shop_jobs.inner")
    command = ["sql", str(tmp_path / "db"), "CALL deep()", "--format", "csv"]
    refused = CliRunner().invoke(app, command)
    assert isinstance(refused.exception, NotPermittedError)
    done = CliRunner().invoke(app, [*command, "--allow-python", "shop_jobs"])
    assert done.output.split() == ["result", "deep"]


@pytest.mark.parametrize("returned", [2**70, {"a": [2**70]}, [{"a": 2**70}]])
def test_a_number_beyond_64_bits_is_no_result(returned):
    with pytest.raises(ProcedureFailedError, match="is no table"):
        _table("p", "shop_jobs:p", returned)
