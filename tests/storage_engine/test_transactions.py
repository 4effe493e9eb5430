"""Several batches, one commit: seen only inside until it ends, whole or not at all, refused where others wrote too."""

import threading
import uuid

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage_engine.batch import (
    AttachFile,
    CreateCollection,
    DeleteRecord,
    DeleteRows,
    DetachFile,
    DropCollection,
    PutRecord,
    PutRows,
    WriteBatch,
)
from storage_engine.engine import Engine
from storage_engine.errors import (
    AlreadyExistsError,
    ConflictError,
    DuplicateIdError,
    ReadOnlyError,
    TransactionError,
)
from storage_engine.schema import CollectionSchema, GraphOptions, Metric


def create(name):
    graph = GraphOptions(minimum_rows=1_000_000)
    return CreateCollection(CollectionSchema(name, uuid.uuid4().hex, 2, Metric.L2, graph=graph))


def row(row_id, value, collection="c", mode="upsert"):
    vector = np.full((1, 2), value, np.float32)
    return PutRows(collection, [row_id], vector, metadata=pa.table({"n": [value]}), mode=mode)


def commit(engine, *operations):
    return engine.commit(WriteBatch(list(operations)))


def values(snapshot, name="c"):
    view = snapshot.collection(name)
    if "n" not in view.columns:
        return {}
    table = view.arrow(["id", "n"])
    return dict(zip(*(column.to_pylist() for column in table.columns), strict=True))


@pytest.fixture
def engine(tmp_path):
    with Engine.open(tmp_path / "db") as engine:
        commit(engine, create("c"), row("a", 1), row("b", 2))
        yield engine


def test_all_of_it_is_one_commit(engine):
    with engine.transaction() as transaction:
        commit(engine, create("d"), row("x", 9, "d"))
        commit(engine, row("a", 5), PutRecord("t", "k", {"v": 1}))
        file = engine.stage_file("ckpt", ".zip", lambda stream: stream.write(b"1"))
        commit(engine, AttachFile(file))
        commit(engine, DeleteRows("c", ["b"]))
        assert engine.in_transaction and transaction.version is None
        assert engine.read_file("ckpt", file.name) == b"1"
    assert not engine.in_transaction
    assert (transaction.base, transaction.version, engine.snapshot().version) == (1, 2, 2)
    snapshot = engine.snapshot()
    assert values(snapshot) == {"a": 5} and values(snapshot, "d") == {"x": 9}
    assert snapshot.table("t")["k"] == {"v": 1} and snapshot.files("ckpt") == (file,)
    assert [version.number for version in engine.versions()] == [1, 2]
    assert engine.verify() == []


def test_only_its_own_thread_sees_it(engine):
    others = []

    def look():
        others.append((values(engine.snapshot()), engine.in_transaction, engine.snapshot().version))

    before = engine.snapshot()
    with engine.transaction():
        commit(engine, row("a", 5), row("new", 6))
        inside = engine.snapshot()
        commit(engine, DeleteRows("c", ["new"]), row("a", 7))
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        assert values(engine.snapshot()) == {"a": 7, "b": 2}
        assert values(inside) == {"a": 5, "b": 2, "new": 6}
        found = engine.snapshot().collection("c").search(np.array([7, 7], np.float32), 1)
        assert engine.snapshot().collection("c").ids_at(found.slots) == ["a"]
    assert others == [({"a": 1, "b": 2}, False, 1)]
    assert values(before) == {"a": 1, "b": 2}
    assert values(engine.snapshot()) == {"a": 7, "b": 2}


def test_an_exception_writes_nothing(engine):
    with pytest.raises(ZeroDivisionError), engine.transaction():
        commit(engine, row("a", 5))
        1 / 0  # noqa: B018
    assert values(engine.snapshot()) == {"a": 1, "b": 2} and engine.snapshot().version == 1
    assert not engine.in_transaction


def test_a_refused_batch_leaves_the_transaction_as_it_was(engine):
    with engine.transaction():
        commit(engine, row("n", 3))
        with pytest.raises(DuplicateIdError):
            commit(engine, row("x", 1), row("n", 4, mode="insert"))
        assert values(engine.snapshot()) == {"a": 1, "b": 2, "n": 3}
    assert values(engine.snapshot()) == {"a": 1, "b": 2, "n": 3}


def test_a_transaction_that_writes_nothing_makes_no_version(engine):
    with engine.transaction() as transaction:
        assert len(engine.snapshot().collection("c")) == 2
    assert transaction.version is None and engine.snapshot().version == 1


def test_what_cannot_be_inside(engine, tmp_path):
    with engine.transaction():
        with pytest.raises(TransactionError, match="another transaction"), engine.transaction():
            pass
        with pytest.raises(TransactionError, match="vacuum"):
            engine.vacuum()
        commit(engine, row("a", 9))
    assert values(engine.snapshot())["a"] == 9
    with Engine.open(tmp_path / "db", read_only=True) as reader, pytest.raises(ReadOnlyError), reader.transaction():
        pass


def other_commit(engine, *operations):
    """A commit by another thread, which is in no transaction."""
    failed = []

    def work():
        try:
            commit(engine, *operations)
        except Exception as error:  # noqa: BLE001 - shown by the assertion
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not failed, failed


CONFLICTS = {
    "both write a row": ([row("a", 5)], [row("a", 6)], "row 'a'"),
    "both add a row": ([row("new", 5)], [row("new", 6)], "row 'new'"),
    "the row is deleted": ([row("a", 5)], [DeleteRows("c", ["a"])], "row 'a'"),
    "both delete a row": ([DeleteRows("c", ["a"])], [DeleteRows("c", ["a"])], "row 'a'"),
    "it comes again": ([DeleteRows("c", ["b"])], [DeleteRows("c", ["b"]), row("b", 2)], "row 'b'"),
    "both write a record": ([PutRecord("t", "k", {"v": 1})], [PutRecord("t", "k", {"v": 2})], "record 'k'"),
    "the collection is dropped": ([row("a", 5)], [DropCollection("c")], "collection 'c' was dropped"),
    "both make a collection": ([create("d")], [create("D")], "collection 'D' was created"),
}


@pytest.mark.parametrize("seal", [False, True])
@pytest.mark.parametrize("name", CONFLICTS)
def test_conflicts(engine, name, seal):
    inside, outside, says = CONFLICTS[name]
    with pytest.raises(ConflictError, match=says), engine.transaction():
        commit(engine, *inside)
        commit(engine, PutRecord("t", "mine", {}))
        other_commit(engine, *outside)
        if seal:
            engine.build_graphs()
    assert engine.snapshot().version == 2 and "mine" not in engine.snapshot().table("t")
    assert engine.verify() == []


def test_files_conflict(engine):
    file = engine.stage_file("ckpt", ".zip", lambda stream: stream.write(b"1"))
    commit(engine, AttachFile(file))
    with pytest.raises(ConflictError, match="attached or detached"), engine.transaction():
        commit(engine, DetachFile("ckpt", file.name))
        other_commit(engine, DetachFile("ckpt", file.name))


@pytest.mark.parametrize("seal", [False, True])
def test_other_rows_are_no_conflict(engine, seal):
    with engine.transaction():
        commit(engine, row("a", 5), PutRecord("t", "k", {"v": 1}), DeleteRecord("t", "k"))
        other_commit(engine, row("b", 6), row("z", 7), PutRecord("t", "other", {}), create("e"))
        other_commit(engine, DeleteRows("c", ["z"]))
        if seal:
            engine.build_graphs()
        # What others commit meanwhile is not seen inside.
        assert values(engine.snapshot()) == {"a": 5, "b": 2}
    assert values(engine.snapshot()) == {"a": 5, "b": 6}
    assert list(engine.snapshot().table("t")) == ["other"]


def test_values_changed_after_they_were_given_do_not_count(engine):
    vectors, record, ids = np.ones((1, 2), np.float32), {"v": [1]}, ["q"]
    with engine.transaction():
        commit(engine, PutRows("c", ids, vectors), PutRecord("t", "k", record))
        vectors[:] = 7
        record["v"].append(2)
        ids[0] = "other"
    view = engine.snapshot().collection("c")
    assert view.vectors_at(view.slots_of(["q"])).tolist() == [[1, 1]]
    assert engine.snapshot().table("t")["k"] == {"v": [1]}


def test_many_threads_lose_no_update(engine):
    """Each adds one to the same counter until its transaction goes through."""
    commit(engine, PutRecord("t", "n", {"v": 0}))

    def work():
        for _ in range(10):
            while True:
                try:
                    with engine.transaction():
                        count = engine.snapshot().table("t")["n"]["v"]
                        commit(engine, PutRecord("t", "n", {"v": count + 1}))
                    break
                except ConflictError:
                    continue

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert engine.snapshot().table("t")["n"] == {"v": 40}


operation = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 6), st.integers(0, 99)),
    st.tuples(st.just("update"), st.integers(0, 6), st.integers(0, 99)),
    st.tuples(st.just("delete"), st.integers(0, 6)),
    st.tuples(st.just("other"), st.integers(10, 14), st.integers(0, 99)),
    st.tuples(st.just("seal")),
    st.tuples(st.just("graph")),
)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.lists(st.lists(operation, max_size=8), min_size=1, max_size=4), st.integers(0, 30))
def test_inside_and_outside_agree_with_a_dict(blocks, rows):
    with Engine.open(None) as engine:
        commit(engine, create("c"), *(row(f"f{number}", number) for number in range(rows)))
        engine.seal()
        expected = {f"f{number}": number for number in range(rows)}
        for block in blocks:
            inside, outside = dict(expected), {}
            with engine.transaction():
                for what, *given_values in block:
                    key = f"r{given_values[0]}" if given_values else ""
                    if what == "put":
                        commit(engine, row(key, given_values[1]))
                        inside[key] = given_values[1]
                    elif what == "update" and key in inside:
                        commit(
                            engine,
                            PutRows("c", [key], None, metadata=pa.table({"n": [given_values[1]]}), mode="update"),
                        )
                        inside[key] = given_values[1]
                    elif what == "delete":
                        commit(engine, DeleteRows("c", [key], missing_ok=True))
                        inside.pop(key, None)
                    elif what == "other":
                        other_commit(engine, row(key, given_values[1]))
                        outside[key] = given_values[1]
                    elif what == "seal":
                        engine.seal()
                    elif what == "graph":
                        engine.build_graphs()
                    assert values(engine.snapshot()) == inside
            expected = inside | outside
            assert values(engine.snapshot()) == expected
        assert engine.verify() == []


def test_a_name_taken_inside_is_refused_inside(engine):
    with engine.transaction():
        commit(engine, create("d"))
        with pytest.raises(AlreadyExistsError):
            commit(engine, create("d"))
