"""Versions and transactions as users meet them: Python and SQL, rows, states, training data, models and metrics."""

import datetime
import threading

import numpy as np
import pytest
from set_clock import SetClock

from qstore_db import QuantumDatabase
from qstore_db.errors import (
    ConflictError,
    InvalidArgumentError,
    InvalidParameterError,
    ReadOnlyError,
    SqlSyntaxError,
    TransactionError,
    UnknownCollectionError,
    UnknownTableError,
    UnknownVersionError,
)
from qstore_db.training.metrics import parts_of
from storage_engine.batch import WriteBatch

NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC).timestamp()


@pytest.fixture
def clock():
    return SetClock(NOON)


@pytest.fixture
def db(tmp_path, clock):
    with QuantumDatabase.open(tmp_path / "shop.qdb", clock=clock, progress=False) as db:
        items = db.create_collection("items", dimension=2, metric="l2")  # 1
        items.insert(["a", "b"], [[0, 0], [1, 1]], metadata=[{"price": 1}, {"price": 2}])  # 2
        clock.now += 60
        items.upsert("a", [5, 5], metadata={"price": 50})  # 3
        items.delete("b")  # 4
        yield db


def test_the_same_verbs_read_the_past(db):
    with db.at(2) as past:
        assert past.version == 2 and "in the past" in repr(past)
        old = past.collection("items")
        assert len(old) == 2 and old.get("a").metadata == {"price": 1}
        assert old.query([0, 0], top_k=5).ids == ["a", "b"]
        assert old.query([0, 0], top_k=5, where="price > 1").ids == ["b"]
        assert past.sql("SELECT id, price FROM items ORDER BY id").fetchall() == [("a", 1), ("b", 2)]
        assert past.sql("SELECT id FROM items ORDER BY vector <-> [1, 1] LIMIT 1").fetchall() == [("b",)]
        with pytest.raises(ReadOnlyError, match="version 2 is in the past"):
            old.insert("c", [1, 2])
        with pytest.raises(ReadOnlyError):
            past.sql("VACUUM")
        assert past.refresh() == 2
    with db.at(0) as empty:
        assert empty.collections() == []
        with pytest.raises(UnknownCollectionError):
            empty.collection("items")
    assert db.collection("items").query([0, 0], top_k=5).ids == ["a"]


def test_by_time_and_by_tag(db, clock):
    assert [version.number for version in db.versions()] == [1, 2, 3, 4]
    assert db.versions()[1].changes == "items: 2 rows written" and db.versions()[2].time == NOON + 60
    assert db.at(time=NOON).version == 2
    assert db.at(time=datetime.datetime(2026, 1, 1, 12, 0, 59)).version == 2
    assert db.at(time=NOON + 3600).version == 4
    assert db.at(time=NOON - 1).version == 0
    assert db.tag("first", 2) == 2 and db.tag("now") == 5
    assert {name: tag.version for name, tag in db.tags().items()} == {"first": 2, "now": 5}
    assert db.at("first").version == 2
    with pytest.raises(UnknownVersionError, match="Tags are: first, now"):
        db.at("second")
    for wrong in ({}, {"version": 1, "time": 2.0}):
        with pytest.raises(InvalidArgumentError):
            db.at(**wrong)
    for wrong in (1.5, [1], True):
        with pytest.raises(InvalidArgumentError):
            db.at(wrong)
    db.untag("first")
    with pytest.raises(UnknownVersionError):
        db.untag("first")


def test_sql_reads_tables_at_versions_of_their_own(db):
    db.tag("first", 2)

    def rows(text, **values):
        return db.sql(text, **values).fetchall()

    both = [("a", 1), ("b", 2)]
    for clause in (
        "items AT (VERSION => 2)",
        "items at (version => 2) AS i",
        "items AS OF 2",
        "items AS OF VERSION 2",
        "items AT (TAG => 'first')",
        "items AS OF TAG 'first'",
        "items AT (TIMESTAMP => '2026-01-01 12:00:30')",
        "items AT (TIMESTAMP => TIMESTAMP '2026-01-01 12:00:30') x",
        '"items" AT (VERSION => 2)',
    ):
        assert rows(f"SELECT id, price FROM {clause} ORDER BY id") == both, clause
    assert rows("SELECT items.id FROM items AT (VERSION => 2) WHERE items.price = 2") == [("b",)]
    assert rows("SELECT id FROM items AT (VERSION => $v) ORDER BY vector <-> $q LIMIT 1", v=2, q=[1, 1]) == [("b",)]
    assert rows("SELECT id FROM items AT (TAG => $t) WHERE price > $p", t="first", p=1) == [("b",)]
    assert rows("SELECT count(*) FROM items AT (TIMESTAMP => $t)", t=datetime.datetime(2026, 1, 1, 12)) == [(2,)]
    changed = """
        SELECT old.id, old.price, new.price FROM items AT (VERSION => 2) AS old
        LEFT JOIN items AT (VERSION => 4) AS new ON new.id = old.id ORDER BY 1"""
    assert rows(changed) == [("a", 1, 50), ("b", 2, None)]
    assert rows("SELECT id FROM items AT (VERSION => 2) EXCEPT SELECT id FROM items") == [("b",)]
    assert rows("SELECT name FROM collections AT (VERSION => 1)") == [("items",)]
    assert "nearest 1 of 2 rows" in str(
        rows("EXPLAIN SELECT id FROM items AT (VERSION => 2) ORDER BY vector <-> [1, 1] LIMIT 1")
    )


def test_versions_are_a_table(db):
    db.tag("first", 2)
    rows = db.sql("SELECT version, changes, tags, pinned_by FROM versions ORDER BY version").fetchall()
    assert [row[0] for row in rows] == [one.number for one in db.versions()]
    assert rows[1] == (2, "items: 2 rows written", ["first"], [])
    noon = datetime.datetime.fromtimestamp(NOON, datetime.UTC)
    assert db.sql("SELECT time FROM versions WHERE version = 2").fetchall() == [(noon,)]
    # Looked at from version 2: later ones had not happened, the tag had not been given.
    assert db.sql("SELECT version, tags FROM versions AT (VERSION => 2)").fetchall() == [(1, []), (2, [])]


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("SELECT 1 FROM items AT (VERSION => 99)", UnknownVersionError, "there is no version 99"),
        ("SELECT 1 FROM items AT (TAG => 'x')", UnknownVersionError, "there is no tag 'x'"),
        ("SELECT 1 FROM itemz AT (VERSION => 2)", UnknownTableError, "'itemz'"),
        ("SELECT 1 FROM items AT (VERSION => 0)", UnknownTableError, "There was no table 'items' at version 0"),
        ("SELECT 1 FROM items AT (TIMESTAMP => 'noon')", InvalidArgumentError, "'noon' is no time"),
        ("SELECT 1 FROM items AT (VERSION => $v)", InvalidParameterError, r"\$v has no value"),
        ("VACUUM items", SqlSyntaxError, "Unexpected 'items'"),
    ],
)
def test_sql_that_asks_for_what_is_not_there(db, text, error, says):
    with pytest.raises(error, match=says):
        db.sql(text)


def test_vacuum_in_sql(db, tmp_path):
    [row] = db.sql("VACUUM").fetchall()
    assert row[:4] == (4, 4, ["items"], [])
    assert row[4] > 0 and row[5] > 0
    with pytest.raises(UnknownVersionError):
        db.at(2)
    db.collection("items").insert("c", [1, 2])
    assert db.sql("CALL vacuum(keep_seconds => 3600)").fetchall()[0][:2] == (5, 4)
    assert db.at(4).version == 4
    assert db.vacuum().oldest_version == 5


def test_retention_can_be_set(db):
    assert (db.retention.keep_seconds, db.retention.keep_versions) == (7 * 86_400, None)
    db.set_retention(keep_seconds=60, keep_versions=3)
    assert (db.retention.keep_seconds, db.retention.keep_versions) == (60, 3)
    with pytest.raises(InvalidArgumentError):
        db.set_retention(keep_seconds=-1)


def test_states_in_a_transaction_and_in_the_past(db):
    with db.transaction():
        db.insert(id="doc", vector=[1.0, 0.0], contexts=[("technical", 0.6), ("general", 0.4)])
        db.insert(id="other", vectors={"technical": [1.0, 0.0], "legal": [0.0, 1.0]}, contexts=["technical", "legal"])
        assert db.query([1.0, 0.0], context="technical", top_k=5).ids == ["doc", "other"]
    written = db.version
    assert written == 5
    db.delete("doc")
    with db.at(written) as past:
        assert past.query([1.0, 0.0], context="technical", top_k=5).ids == ["doc", "other"]
        assert past.get("doc").probabilities == {"technical": 0.6, "general": 0.4}
    assert db.query([1.0, 0.0], context="technical", top_k=5).ids == ["other"]


def toy():
    rng = np.random.default_rng(0)
    data = rng.normal(size=(24, 4)).astype(np.float32)
    return data, (data[:, 0] > 0).astype(np.int64)


def test_everything_of_a_transaction_appears_together(db):
    data, labels = toy()
    seen = []

    def look():
        with QuantumDatabase.open(db.path, read_only=True) as reader:
            seen.append((reader.collections(), reader.sql("SELECT count(*) FROM models").fetchall()))

    with db.transaction() as transaction:
        things = db.create_collection("things", dimension=2)
        things.insert("x", [1.0, 2.0], metadata={"n": 1})
        db.store_training_data("toy", data=data, labels=labels)
        db.create_model("m", qubits=2, layers=1, classes=2)
        db.sql("CREATE MODEL n OPTIONS (qubits = 2, classes = 2)")
        assert db.sql("SELECT name FROM models ORDER BY name").fetchall() == [("m",), ("n",)]
        assert db.sql("SELECT id FROM things WHERE n = 1").fetchall() == [("x",)]
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        with pytest.raises(TransactionError, match="training"):
            db.train("m", "toy")
        with pytest.raises(TransactionError, match="vacuum"):
            db.sql("VACUUM")
    assert seen == [(["items"], [(0,)])]
    assert (transaction.base, transaction.version, db.version) == (4, 5, 5)
    assert db.collections() == ["items", "things", "toy"]
    assert db.train("m", "toy", epochs=1).status == "finished"


def test_a_transaction_that_lost_writes_nothing(db):
    def elsewhere():
        db.collection("items").upsert("a", [9, 9])

    with pytest.raises(ConflictError, match="row 'a'"), db.transaction():
        db.collection("items").update("a", metadata={"price": 3})
        db.create_collection("never", dimension=2)
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert db.collections() == ["items"] and db.version == 5


def test_what_a_run_learnt_from_survives_vacuum(db):
    data, labels = toy()
    db.store_training_data("toy", data=data, labels=labels)
    db.create_model("m", qubits=2, layers=1, classes=2)
    run = db.train("m", "toy", epochs=2, seed=1)
    before = db.version
    learnt = db.sql("SELECT dataset_version FROM training_runs").fetchone()[0]
    expected = db.predict("m", data)
    metrics = db.sql("SELECT * FROM metrics").fetchall()
    db.drop_collection("toy")
    db.sql("DROP MODEL m")
    assert db.pins() == {f"run {run.id}": learnt}
    assert len(db.sql("SELECT * FROM training_data AT (VERSION => $v)", v=before).fetchall()) == 24
    with db.at(before) as past:
        assert (past.predict("m", data) == expected).all()
        assert past.sql("SELECT * FROM metrics").fetchall() == metrics
        assert past.sql("SELECT count(*) FROM models").fetchall() == [(1,)]
        assert past.evaluate("m", "toy", "train").rows == 24
    report = db.vacuum()
    assert report.pinned == ((learnt, (f"run {run.id}",)),)
    with pytest.raises(UnknownVersionError):
        db.at(before)
    with db.at(learnt) as past:
        assert len(past.collection("toy")) == 24
    found = db.sql("SELECT count(*) FROM training_data AT (VERSION => $v) WHERE dataset = 'toy'", v=learnt)
    assert found.fetchall() == [(24,)]
    db.unpin(f"run {run.id}")
    with pytest.raises(UnknownVersionError):
        db.unpin(f"run {run.id}")
    db.vacuum()
    with pytest.raises(UnknownVersionError):
        db.at(learnt)


def test_metrics_of_an_old_version(db):
    data, labels = toy()
    db.store_training_data("toy", data=data, labels=labels)
    db.create_model("m", qubits=2, layers=1, classes=2)
    db.train("m", "toy", epochs=1)
    first = db.version
    one = db.sql("SELECT * FROM metrics").fetchall()
    db.train("m", "toy", epochs=1)
    assert db.sql("SELECT * FROM metrics AT (VERSION => $v)", v=first).fetchall() == one
    assert len(db.sql("SELECT * FROM metrics").fetchall()) == 2 * len(one)


def test_a_reader_reads_metrics_while_the_writer_compacts_and_vacuums(db):
    data, labels = toy()
    db.store_training_data("toy", data=data, labels=labels)
    db.create_model("m", qubits=2, layers=1, classes=2)
    db.train("m", "toy", epochs=1)
    one = db.sql("SELECT * FROM metrics").fetchall()
    with QuantumDatabase.open(db.path, read_only=True) as reader:
        files = {file.name for file in reader._engine.snapshot().files("metrics")}
        assert len(files) == 1
        db.sql("DROP MODEL m")
        # What becomes of the run's parts is decided by the writer alone: here they go.
        batch = [operation for part in parts_of(db._engine.snapshot()) for operation in part.detaching()]
        db._engine.commit(WriteBatch(batch))
        for _ in range(3):
            db.collection("items").upsert("a", [1, 1])
            db.vacuum()
        assert db.sql("SELECT * FROM metrics").fetchall() == []
        assert files <= {file.name for file in (db.path / "metrics").iterdir()}
        assert reader.sql("SELECT * FROM metrics").fetchall() == one
        assert reader.refresh() == db.version
        assert reader.sql("SELECT * FROM metrics").fetchall() == []
    db.vacuum()
    # The version that the run learnt from stays pinned; it had no metrics yet.
    assert list((db.path / "metrics").iterdir()) == []
