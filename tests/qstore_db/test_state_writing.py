"""Rows, branches and entries of states stay in step under every write, and nothing is half written."""

from __future__ import annotations

import threading
import uuid

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.errors import (
    DimensionMismatchError,
    DuplicateIdError,
    InvalidMetadataError,
    InvalidStateError,
    QStoreError,
    UnknownIdError,
)
from qstore_db.functions.state_reading import branch_id, branches_name, read_state, state_key
from qstore_db.functions.state_writing import delete_rows, drop_collection, update_state, write_rows, write_states
from qstore_db.functions.superposed_search import search
from qstore_db.states.superposition import expected_vector, parse_superposition
from storage_engine.batch import CreateCollection, WriteBatch
from storage_engine.engine import Engine
from storage_engine.schema import CollectionSchema, Metric, Role

D = 3
V = np.array([3.0, 4.0, 0.0], np.float32)
W = np.array([0.0, 0.1, 0.2], np.float32)


def create(engine, name="items"):
    engine.commit(WriteBatch([CreateCollection(CollectionSchema(name, uuid.uuid4().hex, D, Metric.COSINE))]))


@pytest.fixture
def now():
    return [100.0]


@pytest.fixture
def engine(now):
    with Engine.open(None, clock=lambda: now[0]) as opened:
        create(opened)
        yield opened


def state(*pairs, vector=V, **arguments):
    return parse_superposition(vector=vector, contexts=list(pairs), **arguments)


def contexts(engine, record_id, collection="items"):
    record = read_state(engine.snapshot(), collection, record_id)
    if record is None:
        return None
    return dict(zip(record.superposition.contexts, record.superposition.probabilities, strict=True))


def assert_in_step(engine, collection="items"):
    """Visible rows, branches and entries say the same."""
    snapshot = engine.snapshot()
    visible = snapshot.collection(collection)
    entries = {k: v for k, v in snapshot.table("states").items() if v["collection"] == collection}
    found = {}
    if snapshot.has_collection(branches_name(collection)):
        table = snapshot.collection(branches_name(collection)).arrow()
        for row in table.to_pylist():
            key = (row["record"], row["context"])
            assert row["id"] == branch_id(*key)
            found[key] = row
    for key, value in entries.items():
        assert key == state_key(collection, value["id"])
        slot = visible.slots_of([value["id"]])
        assert slot[0] >= 0
        record = read_state(snapshot, collection, value["id"])
        assert visible.vectors_at(slot)[0].tobytes() == expected_vector(record.superposition).tobytes()
        assert visible.norms_at(slot).tolist() == [1.0]
        for name, p, norm in zip(value["contexts"], value["probabilities"], value["norms"], strict=True):
            row = found.pop((value["id"], name))
            assert (row["probability"], row["written_at"]) == (p, value["written_at"])
            assert row["initial_coherence"] == value["initial_coherence"]
            assert row["coherence_time"] == (value["coherence_time"] or np.inf)
            assert np.linalg.norm(np.float64(row["vector"])) == pytest.approx(norm)
    assert not found, "branches without a state"
    return entries


def test_get_gives_back_what_was_inserted(engine):
    vectors = {"a": V, "ü/b": W}
    given_state = parse_superposition(vectors=vectors, contexts=[("ü/b", 3), ("a", 1)], coherence_time=9.5)
    write_states(engine, "items", ["x:1/ä"], [given_state])
    record = read_state(engine.snapshot(), "items", "x:1/ä")
    assert record.id == "x:1/ä"
    assert record.written_at == 100.0
    assert record.superposition.contexts == ("ü/b", "a")
    assert record.superposition.probabilities == (0.75, 0.25)
    assert record.superposition.coherence_time == 9.5
    assert record.superposition.vectors.tobytes() == np.stack([W, V]).tobytes()
    assert not record.superposition.shared
    assert_in_step(engine)
    schema = engine.snapshot().collection("items$branches").schema
    assert (schema.role, schema.metric) == (Role.HIDDEN, Metric.COSINE)


def test_ids_and_contexts_never_collide(engine):
    pairs = [("1:ab", "c"), ("1:a", "bc"), ("c1:ab", "c"), ("ab", "1:c"), ("b", "a"), ("", "ab")]
    assert len({branch_id(r, c) for r, c in pairs}) == len(pairs)
    ids = ["a", "a:b", "2:a", "a/b"]
    write_states(engine, "items", ids, [state(("b", 1), ("a:b", 1)) for _ in ids])
    assert len(assert_in_step(engine)) == 4


def test_ordinary_rows_cost_no_hidden_collection(engine):
    write_rows(engine, "items", ["p"], V[None], None, "insert")
    assert read_state(engine.snapshot(), "items", "p") is None
    assert not engine.snapshot().has_collection("items$branches")
    assert engine.snapshot().collection("items").norms_at([0]).tolist() == [5.0]


def test_one_commit_per_call(engine):
    before = engine.snapshot().version
    assert write_states(engine, "items", ["x", "y"], [state(("a", 1), ("b", 1)), state(("c", 1))]) == before + 1
    assert write_rows(engine, "items", ["x"], W[None]) == before + 2
    assert delete_rows(engine, "items", ["x", "y"]) == before + 3
    assert_in_step(engine)


def test_insert_refuses_a_stored_id_and_writes_nothing(engine):
    write_states(engine, "items", ["x"], [state(("a", 1))])
    version = engine.snapshot().version
    with pytest.raises(DuplicateIdError):
        write_states(engine, "items", ["y", "x"], [state(("b", 1)), state(("c", 1))])
    with pytest.raises(DuplicateIdError):
        write_states(engine, "items", ["z", "z"], [state(("b", 1)), state(("c", 1))])
    with pytest.raises(DimensionMismatchError):
        write_states(engine, "items", ["z"], [parse_superposition(vector=[1.0, 2.0], contexts=["a"])])
    with pytest.raises(InvalidMetadataError):
        write_states(engine, "items", ["z"], [state(("a", 1))], pa.table({"n": [1, 2]}))
    with pytest.raises(UnknownIdError):
        write_states(engine, "items", ["z"], [state(("a", 1))], None, "update")
    assert engine.snapshot().version == version
    assert contexts(engine, "x") == {"a": 1.0}
    assert_in_step(engine)


def test_a_collection_is_created_with_its_first_rows_in_one_commit(engine):
    def schema(name):
        return CollectionSchema(name, uuid.uuid4().hex, D, Metric.COSINE)

    before = engine.snapshot().version
    write_states(engine, "new", ["x"], [state(("a", 1))], new=schema("new"))
    write_rows(engine, "plain", ["x"], V[None], new=schema("plain"))
    assert engine.snapshot().version == before + 2
    write_states(engine, "new", ["y"], [state(("a", 1))], new=schema("new"))
    write_rows(engine, "plain", ["y"], V[None], new=schema("plain"))
    assert len(assert_in_step(engine, "new")) == len(engine.snapshot().collection("plain")) == 2
    with pytest.raises(QStoreError):
        write_states(engine, "third", [""], [state(("a", 1))], new=schema("third"))
    with pytest.raises(QStoreError):
        write_rows(engine, "third", ["x"], np.zeros((1, D), np.float32), new=schema("third"))
    assert not engine.snapshot().has_collection("third")


def test_a_refused_first_state_creates_nothing(engine):
    with pytest.raises(QStoreError):
        write_states(engine, "items", [""], [state(("a", 1))])
    assert not engine.snapshot().has_collection("items$branches")


def test_upsert_replaces_the_whole_state(engine):
    write_states(engine, "items", ["x", "y"], [state(("a", 1), ("b", 1)), state(("a", 1))])
    write_states(engine, "items", ["x"], [state(("b", 1), ("c", 3), vector=W)], None, "upsert")
    assert contexts(engine, "x") == {"b": 0.25, "c": 0.75}
    assert contexts(engine, "y") == {"a": 1.0}
    assert len(assert_in_step(engine)) == 2
    assert search(engine.snapshot(), "items", V, 9, now=0, context="a").ids == ["y"]


def test_a_plain_upsert_makes_an_ordinary_row(engine):
    write_states(engine, "items", ["x", "y"], [state(("a", 1), ("b", 1)), state(("a", 1))])
    write_rows(engine, "items", ["x", "z"], np.stack([W, V]), pa.table({"n": [1, 2]}), "upsert")
    assert contexts(engine, "x") is None
    view = engine.snapshot().collection("items")
    slots = view.slots_of(["x"])
    assert view.vectors_at(slots)[0].tobytes() == W.tobytes()
    assert view.norms_at(slots)[0] == pytest.approx(np.linalg.norm(W))
    assert list(assert_in_step(engine)) == ["items/y"]


def test_updating_metadata_leaves_the_state_and_its_age(engine, now):
    write_states(engine, "items", ["x"], [state(("a", 1), ("b", 1))], pa.table({"n": [1], "t": ["u"]}))
    now[0] = 200.0
    write_rows(engine, "items", ["x"], None, pa.table({"n": [2]}), "update")
    update_state(engine, "items", "x", metadata=pa.table({"m": [3]}))
    assert read_state(engine.snapshot(), "items", "x").written_at == 100.0
    view = engine.snapshot().collection("items")
    assert view.metadata_at(view.slots_of(["x"])).to_pylist() == [{"n": 2, "t": "u", "m": 3}]
    assert_in_step(engine)


def test_updating_a_vector_keeps_the_contexts_of_a_shared_one(engine, now):
    write_states(engine, "items", ["x", "y"], [state(("a", 3), ("b", 1), coherence_time=7.0)] * 2)
    write_rows(engine, "items", ["p"], V[None], None, "insert")
    now[0] = 200.0
    metadata = pa.table({"n": [1, 2, 3]})
    write_rows(engine, "items", ["x", "p", "y"], np.stack([W, W * 2, W * 3]), metadata, "update")
    for name, factor in (("x", 1), ("y", 3)):
        record = read_state(engine.snapshot(), "items", name)
        assert record.written_at == 200.0
        assert record.superposition.probabilities == (0.75, 0.25)
        assert record.superposition.coherence_time == 7.0
        assert record.superposition.vectors.tobytes() == np.stack([W * factor] * 2).tobytes()
    view = engine.snapshot().collection("items")
    slots = view.slots_of(["x", "p", "y"])
    assert view.metadata_at(slots).column("n").to_pylist() == [1, 2, 3]
    assert view.vectors_at(slots)[1].tobytes() == (W * 2).tobytes()
    assert_in_step(engine)
    write_states(engine, "items", ["z"], [parse_superposition(vectors={"a": V, "b": W})])
    version = engine.snapshot().version
    with pytest.raises(InvalidStateError, match="vector per context"):
        write_rows(engine, "items", ["x", "z"], np.stack([V, V]), None, "update")
    assert engine.snapshot().version == version


def test_update_state_changes_what_is_given(engine, now):
    write_states(engine, "items", ["x"], [state(("a", 3), ("b", 1), coherence_time=7.0)], pa.table({"n": [1]}))

    def stored():
        assert_in_step(engine)
        return read_state(engine.snapshot(), "items", "x").superposition

    update_state(engine, "items", "x", contexts=[("a", 1), ("c", 1)])
    assert (stored().contexts, stored().coherence_time) == (("a", "c"), 7.0)
    assert stored().vectors.tobytes() == np.stack([V, V]).tobytes()
    update_state(engine, "items", "x", coherence_time=None)
    assert stored().coherence_time == np.inf
    update_state(engine, "items", "x", weights=[1, 3])
    assert stored().probabilities == (0.25, 0.75)
    update_state(engine, "items", "x", vectors={"c": W})
    assert stored().probabilities == (0.25, 0.75)
    assert stored().vectors.tobytes() == np.stack([V, W]).tobytes()
    update_state(engine, "items", "x", contexts=["c"], metadata=pa.table({"n": [2]}))
    assert stored().branches()["c"].tobytes() == W.tobytes()
    update_state(engine, "items", "x", contexts=["c", "d"], vectors={"d": V})
    assert stored().vectors.tobytes() == np.stack([W, V]).tobytes()
    with pytest.raises(InvalidStateError, match="'e'"):
        update_state(engine, "items", "x", contexts=["c", "e"])
    now[0] = 300.0
    update_state(engine, "items", "x", vector=V)
    assert stored().shared
    assert read_state(engine.snapshot(), "items", "x").written_at == 300.0
    with pytest.raises(UnknownIdError):
        update_state(engine, "items", "nobody", contexts=["a"])


def test_update_state_turns_an_ordinary_row_into_a_state(engine):
    write_rows(engine, "items", ["p"], V[None], None, "insert")
    with pytest.raises(InvalidStateError, match="no contexts"):
        update_state(engine, "items", "p", coherence_time=3.0)
    update_state(engine, "items", "p", contexts=["a", "b"])
    record = read_state(engine.snapshot(), "items", "p")
    assert record.superposition.vectors.tobytes() == np.stack([V, V]).tobytes()
    assert_in_step(engine)


def test_delete_and_drop_take_branches_and_entries_along(engine):
    create(engine, "other")
    for name in ("items", "other"):
        write_states(engine, name, ["x", "y"], [state(("a", 1), ("b", 1)), state(("a", 1))])
    with pytest.raises(UnknownIdError):
        delete_rows(engine, "items", ["x", "nobody"])
    assert len(assert_in_step(engine)) == 2
    delete_rows(engine, "items", ["x", "nobody"], missing_ok=True)
    assert list(assert_in_step(engine)) == ["items/y"]
    write_states(engine, "items", ["x"], [state(("c", 1))])
    assert contexts(engine, "x") == {"c": 1.0}
    drop_collection(engine, "items")
    assert not engine.snapshot().has_collection("items$branches")
    assert set(engine.snapshot().table("states")) == {"other/x", "other/y"}
    create(engine)
    assert read_state(engine.snapshot(), "items", "x") is None
    assert_in_step(engine, "other")


def test_a_snapshot_taken_before_a_write_does_not_change(engine):
    write_states(engine, "items", ["x"], [state(("a", 1), ("b", 1))])
    before = engine.snapshot()
    write_states(engine, "items", ["x"], [state(("c", 1), vector=W)], None, "upsert")
    assert read_state(before, "items", "x").superposition.contexts == ("a", "b")
    assert search(before, "items", V, 5, now=0, context="a").ids == ["x"]


def test_threads_that_write_one_record_leave_no_orphan(engine):
    def work(name):
        for i in range(30):
            write_states(engine, "items", ["x"], [state((f"{name}{i % 3}", 1), (name, 1))], None, "upsert")

    threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(assert_in_step(engine)) == 1


def test_overlong_collection_names_are_refused_for_states(engine):
    create(engine, "n" * 119)
    write_states(engine, "n" * 119, ["x"], [state(("a", 1))])
    create(engine, "n" * 120)
    with pytest.raises(InvalidStateError, match="at most 119"):
        write_states(engine, "n" * 120, ["x"], [state(("a", 1))])


names = st.sampled_from(["a", "b", "c", "d"])
ids = st.sampled_from(["x", "y", "z"])
weighted = st.dictionaries(names, st.floats(0.01, 10), min_size=1, max_size=4)
steps = st.one_of(
    st.tuples(st.just("state"), ids, weighted, st.sampled_from(["insert", "upsert", "update"])),
    st.tuples(st.just("row"), ids, st.floats(0.5, 2), st.sampled_from(["insert", "upsert", "update"])),
    st.tuples(st.just("reweigh"), ids, weighted),
    st.tuples(st.just("delete"), ids),
)


@given(st.lists(steps, max_size=14))
@settings(derandomize=True, deadline=None, max_examples=60)
def test_any_sequence_of_writes_matches_a_dictionary(sequence):
    with Engine.open(None, clock=lambda: 5.0) as engine:
        create(engine)
        model: dict[str, set[str] | None] = {}
        for kind, record_id, *rest in sequence:
            known = record_id in model
            try:
                if kind == "state":
                    write_states(engine, "items", [record_id], [state(*rest[0].items())], None, rest[1])
                    outcome = set(rest[0])
                elif kind == "row":
                    write_rows(engine, "items", [record_id], V[None] * np.float32(rest[0]), None, rest[1])
                    outcome = model.get(record_id) if rest[1] == "update" else None
                elif kind == "reweigh":
                    update_state(engine, "items", record_id, contexts=rest[0])
                    outcome = set(rest[0])
                else:
                    delete_rows(engine, "items", [record_id])
            except DuplicateIdError:
                assert known
                assert rest[1] == "insert"
                continue
            except UnknownIdError:
                assert not known
                continue
            if kind == "delete":
                del model[record_id]
            else:
                model[record_id] = outcome
            entries = assert_in_step(engine)
            assert {v["id"]: set(v["contexts"]) for v in entries.values()} == {
                k: v for k, v in model.items() if v is not None
            }
            assert len(engine.snapshot().collection("items")) == len(model)
