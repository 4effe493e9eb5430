"""Large batches: written to segments before it is their turn, and the same as small ones afterwards."""

import threading

import numpy as np
import pyarrow as pa
import pytest

from storage_engine import bulk
from storage_engine.batch import CreateCollection, DeleteRows, DropCollection, PutRecord, PutRows, WriteBatch
from storage_engine.engine import Engine
from storage_engine.errors import ConflictError, DuplicateIdError, UnknownCollectionError
from storage_engine.schema import CollectionSchema, Metric

ROWS = np.random.default_rng(3).normal(size=(400, 4)).astype(np.float32)


def create(name="c", uuid="c"):
    return CreateCollection(CollectionSchema(name, uuid * 32, 4, Metric.L2))


def put(first, count, name="c", mode="upsert", **columns):
    ids = [str(row) for row in range(first, first + count)]
    table = pa.table(columns) if columns else None
    return PutRows(name, ids, ROWS[first : first + count], metadata=table, mode=mode)


@pytest.fixture
def engine(tmp_path, monkeypatch):
    monkeypatch.setattr(bulk, "BATCH_BYTES", 1_000)
    monkeypatch.setattr("storage_engine.committer.BATCH_BYTES", 1_000)
    with Engine.open(tmp_path / "db") as engine:
        engine.commit(WriteBatch([create()]))
        yield engine


def segments(engine):
    return sorted(file.name for file in (engine.path / "seg").iterdir() if file.suffix == ".vec")


def meanwhile(monkeypatch, work):
    """Do something while the rows of a batch are being written, and note whether the commit lock was free."""
    stage = bulk.stage
    done = []

    def staging(disk, operations, catalog, lsn):
        if not done:
            done.append(work())
        return stage(disk, operations, catalog, lsn)

    monkeypatch.setattr("storage_engine.committer.stage", staging)
    return done


def test_others_commit_while_a_large_batch_is_written(engine, monkeypatch):
    def work():
        results = []
        thread = threading.Thread(target=lambda: results.append(engine.commit(WriteBatch([PutRecord("t", "k", {})]))))
        thread.start()
        thread.join(5)
        return results

    done = meanwhile(monkeypatch, work)
    version = engine.commit(WriteBatch([put(0, 100)]))
    assert done == [[version - 1]]
    assert len(segments(engine)) == 1
    state = engine.snapshot().states()[0]
    # The rows belong to the commit that they became part of, not to the one that was to be expected before.
    assert set(state.rows.born_at(np.arange(100)).tolist()) == {version}
    assert engine.verify() == []


def test_the_number_of_the_commit_survives_reopening(engine, monkeypatch):
    meanwhile(monkeypatch, lambda: engine.commit(WriteBatch([PutRecord("t", "k", {})])))
    version = engine.commit(WriteBatch([put(0, 100)]))
    for _ in range(2):
        engine.close()
        with Engine.open(engine.path) as again:
            state = again.snapshot().states()[0]
            assert set(state.rows.born_at(np.arange(100)).tolist()) == {version}
            assert again.verify() == []
            again.seal()


def test_a_duplicate_that_came_meanwhile_is_refused_and_leaves_no_file(engine, monkeypatch):
    meanwhile(monkeypatch, lambda: engine.commit(WriteBatch([put(7, 1)])))
    with pytest.raises(DuplicateIdError, match="'7'"):
        engine.commit(WriteBatch([put(0, 100, mode="insert")]))
    assert segments(engine) == []
    assert len(engine.snapshot().collection("c")) == 1


def test_a_row_stored_meanwhile_is_replaced(engine, monkeypatch):
    meanwhile(monkeypatch, lambda: engine.commit(WriteBatch([put(7, 1)])))
    engine.commit(WriteBatch([put(0, 100)]))
    assert len(engine.snapshot().collection("c")) == 100
    assert engine.verify() == []


def test_a_collection_made_anew_meanwhile_gets_the_rows(engine, monkeypatch):
    meanwhile(monkeypatch, lambda: engine.commit(WriteBatch([DropCollection("c"), create("c", "d")])))
    engine.commit(WriteBatch([put(0, 100)]))
    view = engine.snapshot().collection("c")
    assert (len(view), view.schema.uuid) == (100, "d" * 32)
    assert len(segments(engine)) == 1
    assert engine.verify() == []


def test_a_collection_dropped_meanwhile_refuses_the_rows(engine, monkeypatch):
    meanwhile(monkeypatch, lambda: engine.commit(WriteBatch([DropCollection("c")])))
    with pytest.raises(UnknownCollectionError):
        engine.commit(WriteBatch([put(0, 100)]))
    assert segments(engine) == []


def test_a_column_that_grew_meanwhile_is_read_in_its_new_type(engine, monkeypatch):
    meanwhile(monkeypatch, lambda: engine.commit(WriteBatch([put(300, 1, n=[1.5])])))
    engine.commit(WriteBatch([put(0, 100, n=list(range(100)))]))
    column = engine.snapshot().collection("c").column("n")
    assert column.type == pa.float64()
    assert column.to_pylist() == [1.5, *map(float, range(100))]


def test_a_transaction_whose_rows_were_changed_writes_nothing(engine):
    with pytest.raises(ConflictError), engine.transaction():
        engine.commit(WriteBatch([put(0, 100)]))
        other = threading.Thread(target=lambda: engine.commit(WriteBatch([put(3, 1)])))
        other.start()
        other.join()
    assert segments(engine) == []
    assert len(engine.snapshot().collection("c")) == 1


def test_an_update_is_written_when_it_is_its_turn(engine, monkeypatch):
    engine.commit(WriteBatch([put(0, 100, n=[0] * 100)]))
    done = meanwhile(monkeypatch, threading.get_ident)
    engine.commit(WriteBatch([put(0, 100, mode="update")]))
    assert done == [threading.get_ident()]  # once, by the leader
    assert engine.snapshot().collection("c").column("n").to_pylist()[100:] == [0] * 100


def test_many_puts_of_one_collection_become_one_segment(engine):
    singles = [put(row, 1, n=[row]) if row % 2 else put(row, 1) for row in range(300)]
    engine.commit(WriteBatch([create("d", "d"), *singles, put(300, 50, "d")]))
    assert len(segments(engine)) == 2
    view = engine.snapshot().collection("c")
    assert view.ids_at(np.arange(300)) == [str(row) for row in range(300)]
    assert np.array_equal(view.vectors_at(np.arange(300)), ROWS[:300])
    assert view.column("n").to_pylist() == [row if row % 2 else None for row in range(300)]


def test_the_order_of_a_batch_counts(engine):
    engine.commit(
        WriteBatch(
            [put(0, 100), DeleteRows("c", ["5", "6"]), put(6, 1), put(50, 100), put(0, 1), DeleteRows("c", ["0"])]
        )
    )
    view = engine.snapshot().collection("c")
    assert len(view) == 148
    assert (view.slots_of(["0", "5"]) < 0).all()
    found = [str(row) for row in range(1, 150) if row != 5]
    assert np.array_equal(view.vectors_at(view.slots_of(found)), ROWS[[int(row) for row in found]])
    assert engine.verify() == []


def test_a_batch_interrupted_while_it_is_written_leaves_the_database_usable(engine, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    meanwhile(monkeypatch, interrupt)
    with pytest.raises(KeyboardInterrupt):
        engine.commit(WriteBatch([put(0, 100)]))
    monkeypatch.undo()
    engine.commit(WriteBatch([put(0, 3)]))
    assert len(engine.snapshot().collection("c")) == 3
