"""Verbs of care in SQL: graphs, tags, pins, aliases; no settings."""

import numpy as np
import pytest
from small_runs import rows

from qstore_db.database import QuantumDatabase
from qstore_db.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    InvalidParameterError,
    QStoreError,
    TransactionError,
    UnknownCollectionError,
    UnknownColumnError,
    UnknownModelError,
    UnknownProcedureError,
    UnknownVersionError,
)


@pytest.fixture
def db():
    with QuantumDatabase.open(":memory:", progress=False) as db:
        items = db.create_collection("items", dimension=4, metric="l2")
        vectors = np.random.default_rng(0).normal(size=(60, 4))
        items.insert([f"i{n}" for n in range(60)], vectors, metadata={"label": [n % 3 for n in range(60)]})
        yield db


def one(db, text, **parameters):
    return db.sql(text, **parameters).arrow().to_pylist()[0]


def test_graphs_are_built_and_dropped(db):
    assert one(db, "CALL build_graph('items')") == {"collection": "items", "rows": 60}
    built = one(db, "CALL build_filter_graph(collection => 'items', column => 'label')")
    assert built == {"collection": "items", "column": "label", "status": "built"}
    assert db.collection("items").filter_graphs == ("label",)
    assert one(db, "CALL drop_filter_graph('items', 'label')")["status"] == "dropped"
    assert db.collection("items").filter_graphs == ()
    assert one(db, "CALL drop_filter_graph('items', 'label')")["status"] == "absent"


def test_versions_are_tagged_kept_and_let_go(db):
    first = db.version
    assert one(db, "CALL create_version_tag('v1')") == {"name": "v1", "version": first}
    db.collection("items").delete("i0")
    db.sql("VACUUM")
    assert db.sql("SELECT count(*) FROM items AT (TAG => 'v1')").fetchone() == (60,)
    assert one(db, "CALL create_version_tag(name => 'again', version => $v)", v=first)["version"] == first
    assert set(db.tags()) == {"v1", "again"}
    assert one(db, "CALL drop_version_tag('v1')") == {"name": "v1", "version": first}
    assert set(db.tags()) == {"again"}


def test_pins_are_let_go(db):
    db.store_training_data("d", *rows(20, 1))
    db.create_model("m", qubits=2, layers=1, classes=2)
    db.sql("CALL train('m', 'd', epochs => 1)")
    pinned = db.pins()["run 1"]
    assert one(db, "CALL unpin_version('run 1')") == {"owner": "run 1", "version": pinned}
    assert db.pins() == {}


def test_an_alias_is_taken_away(db):
    db.store_training_data("d", *rows(20, 1))
    db.create_model("m", qubits=2, layers=1, classes=2)
    db.sql("CALL train('m', 'd', epochs => 1); CALL promote('m'); CALL promote('m', 'other')")
    assert one(db, "CALL demote('m')") == {"model": "m", "alias": "champion", "version": 2}
    assert [alias.alias for alias in db.aliases("m")] == ["other"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("CALL build_graph('none')", UnknownCollectionError),
        ("CALL build_filter_graph('none', 'label')", UnknownCollectionError),
        ("CALL build_filter_graph('items', 'colour')", UnknownColumnError),
        ("CALL build_graph('default$branches')", UnknownCollectionError),
        ("CALL build_filter_graph('items')", InvalidParameterError),
        ("CALL create_version_tag('12')", InvalidArgumentError),
        ("CALL create_version_tag('v', 999)", UnknownVersionError),
        ("CALL drop_version_tag('v')", UnknownVersionError),
        ("CALL unpin_version('run 1')", UnknownVersionError),
        ("CALL set_retention(keep_seconds => 0)", UnknownProcedureError),
        ("CALL demote('m')", UnknownModelError),
    ],
)
def test_what_is_wrong_is_typed_and_changes_nothing(db, text, error):
    db.insert(id="doc", vectors={"a": [1.0, 0.0], "b": [0.0, 1.0]}, contexts=["a", "b"])
    version = db.version
    with pytest.raises(error) as caught:
        db.sql(text)
    assert isinstance(caught.value, QStoreError)
    assert db.version == version


def test_a_tag_is_given_once_and_not_within_a_transaction(db):
    db.sql("CALL create_version_tag('v')")
    with pytest.raises(AlreadyExistsError):
        db.sql("CALL create_version_tag('v')")
    with pytest.raises(TransactionError), db.transaction():
        db.sql("CALL create_version_tag('w')")
