"""Snapshots and views: what they answer, and that nothing that happens later changes it."""

import numpy as np
import pyarrow as pa
import pytest

from storage_engine.batch import (
    CreateCollection,
    DeleteRecord,
    DeleteRows,
    DropCollection,
    PutRecord,
    PutRows,
    WriteBatch,
)
from storage_engine.engine import Engine
from storage_engine.errors import InvalidArgumentError, UnknownCollectionError, UnknownColumnError
from storage_engine.schema import CollectionSchema, Metric, Role


def create(name="c", role=Role.ITEMS, **others):
    return CreateCollection(CollectionSchema(name, name[0] * 32, 2, Metric.L2, role, **others))


def put(start, stop, **others):
    rows = np.arange(start, stop)
    vectors = np.stack([rows, -rows], 1).astype(np.float32)
    return PutRows("c", [f"r{row}" for row in rows], vectors, metadata=pa.table({"n": rows}), **others)


@pytest.fixture(params=["memory", "directory"])
def engine(request, tmp_path):
    with Engine.open(None if request.param == "memory" else tmp_path / "db") as opened:
        yield opened


def test_an_old_snapshot_answers_the_same_for_ever(engine):
    engine.commit(WriteBatch([create(), put(0, 150), PutRecord("t", "a", {"v": 1}), PutRecord("t", "b", {"v": 1})]))
    engine.seal()
    engine.commit(WriteBatch([put(100, 200), DeleteRows("c", ["r3"])]))
    old = engine.snapshot()
    view = old.collection("c")
    query = np.array([3, -3], np.float32)

    def answers():
        slots = view.slots_of([f"r{row}" for row in range(300)])
        found = view.search(query, 4)
        return (
            old.version,
            len(view),
            slots.tolist(),
            view.ids_at(found.slots),
            found.scores.tolist(),
            view.vectors_at(slots[slots >= 0]).tolist(),
            view.arrow().to_pylist(),
            view.column("n").to_pylist(),
            list(old.table("t").items()),
            [schema.name for schema in old.collections()],
        )

    before = answers()
    assert before[1] == 199
    assert before[3] == ["r2", "r4", "r1", "r5"]
    engine.commit(WriteBatch([put(0, 120), DeleteRows("c", [f"r{row}" for row in range(120, 180)])]))
    assert answers() == before
    engine.seal()
    engine.commit(WriteBatch([PutRecord("t", "a", {"v": 2}), DeleteRecord("t", "b"), PutRecord("t", "c", {})]))
    engine.commit(WriteBatch([PutRows("c", ["r5"], query[None], metadata=pa.table({"n": [0.5], "m": ["x"]}))]))
    engine.build_graphs()
    engine.seal()
    assert answers() == before
    engine.commit(WriteBatch([DropCollection("c"), create("d")]))
    engine.commit(WriteBatch([create("c"), put(0, 3)]))
    engine.seal()
    assert answers() == before
    assert list(engine.snapshot().table("t").items()) == [("a", {"v": 2}), ("c", {})]
    engine.close()
    assert answers() == before


def test_a_table_keeps_the_order_of_first_writing(engine):
    engine.commit(WriteBatch([PutRecord("t", key, {"v": 0}) for key in "abc"]))
    engine.commit(WriteBatch([PutRecord("t", "a", {"v": 1}), DeleteRecord("t", "b")]))
    middle = engine.snapshot().table("t")
    engine.commit(WriteBatch([PutRecord("t", "b", {"v": 2}), PutRecord("u", "x", {})]))
    engine.seal()
    table = engine.snapshot().table("t")
    assert list(table.items()) == [("a", {"v": 1}), ("c", {"v": 0}), ("b", {"v": 2})]
    assert (len(table), "b" in table, "z" in table, table.get("z")) == (3, True, False, None)
    assert list(middle) == ["a", "c"]
    assert dict(engine.snapshot().table("never")) == {}
    assert engine.snapshot().tables() == ("t", "u")
    with pytest.raises(KeyError):
        table["z"]


def test_rewriting_a_record_often_does_not_pile_up(engine):
    engine.commit(WriteBatch([PutRecord("t", "k", {"v": -1})]))
    for number in range(3):
        engine.commit(WriteBatch([PutRecord("t", "k", {"v": (number, step)[1]}) for step in range(2_000)]))
        engine.seal()
    assert dict(engine.snapshot().table("t")) == {"k": {"v": 1_999}}
    (state,) = engine._source.database.committer.catalog.tables.values()
    assert state.table.written < 2_000


def test_collections_are_listed_by_name_and_keep_their_schema(engine):
    schema = CollectionSchema("z", "f" * 32, 7, Metric.IP, Role.DATASET, 12.5, attributes=(("a", "é"),))
    engine.commit(WriteBatch([CreateCollection(schema), create("b$x", Role.HIDDEN), create("a")]))
    for _ in range(2):
        snapshot = engine.snapshot()
        assert [one.name for one in snapshot.collections()] == ["a", "b$x", "z"]
        assert snapshot.collection("z").schema == schema
        assert (snapshot.has_collection("z"), snapshot.has_collection("y")) == (True, False)
        with pytest.raises(UnknownCollectionError, match=r"'y'.*a, b\$x, z"):
            snapshot.collection("y")
        engine.seal()


def test_views_answer_in_the_order_asked_for(engine):
    engine.commit(WriteBatch([create(), put(0, 70)]))
    engine.seal()
    engine.commit(WriteBatch([put(70, 140), DeleteRows("c", ["r1"])]))
    view = engine.snapshot().collection("c")
    slots = view.slots_of(["r100", "r1", "r5", "nobody", "r5"])
    assert slots.tolist() == [100, -1, 5, -1, 5]
    assert view.ids_at(slots[[2, 0, 4]]) == ["r5", "r100", "r5"]
    assert view.vectors_at([100, 5]).tolist() == [[100, -100], [5, -5]]
    assert view.metadata_at([100, 1, 5]).to_pydict() == {"n": [100, 1, 5]}
    assert view.metadata_at([100, 1, 5], []).num_rows == 3
    assert view.metadata_at([]).to_pydict() == {"n": []}
    assert view.norms_at([3]).tolist() == [np.float32(np.sqrt(18))]
    assert view.arrow(["n", "id"]).slice(1, 1).to_pylist() == [{"n": 2, "id": "r2"}]
    assert view.arrow([]).num_rows == len(view) == 139
    assert not view.live()[1]
    for wrong in ([140], [-1], [[1]]):
        with pytest.raises(InvalidArgumentError):
            view.ids_at(wrong)
    for call in (view.column, lambda name: view.arrow([name]), lambda name: view.metadata_at([0], [name])):
        with pytest.raises(UnknownColumnError, match=r"'m'.*n"):
            call("m")
    with pytest.raises(InvalidArgumentError):
        view.slots_of("r1")


def test_vectors_reach_arrow_without_a_copy_and_read_only(engine):
    engine.commit(WriteBatch([create(), put(0, 64)]))
    view = engine.snapshot().collection("c")
    for _ in range(2):
        (chunk,) = view.arrow(["vector"]).column("vector").chunks
        address = chunk.flatten().buffers()[1].address
        assert (
            address
            == engine.snapshot().collection("c").arrow(["vector"]).column(0).chunk(0).flatten().buffers()[1].address
        )
        engine.seal()
        view = engine.snapshot().collection("c")
    with pytest.raises(ValueError, match="read-only"):
        view.live()[0] = False


def test_an_empty_collection_answers(engine):
    engine.commit(WriteBatch([create()]))
    view = engine.snapshot().collection("c")
    assert (len(view), view.slot_count, view.ids_at([]), dict(view.columns)) == (0, 0, [], {})
    assert view.search(np.ones(2, np.float32), 3).slots.tolist() == []
    assert view.arrow().to_pydict() == {"id": [], "vector": []}
    assert view.slots_of(["a"]).tolist() == [-1]
    engine.commit(WriteBatch([PutRows("c", [], np.empty((0, 2), np.float32))]))
    engine.build_graphs()
    assert len(engine.snapshot().collection("c")) == 0


def test_equal_scores_come_in_slot_order(engine):
    same = np.ones((300, 2), np.float32)
    engine.commit(WriteBatch([create(), PutRows("c", [str(row) for row in range(150)], same[:150])]))
    engine.seal()
    engine.commit(WriteBatch([PutRows("c", [str(row) for row in range(150, 300)], same[150:])]))
    found = engine.snapshot().collection("c").search(np.zeros(2, np.float32), 200)
    assert found.slots.tolist() == list(range(200))


def test_a_large_batch_is_kept_as_one_copy_between_small_ones():
    rows = np.random.default_rng(1).random((700, 512), dtype=np.float32)
    with Engine.open(None) as engine:
        engine.commit(WriteBatch([CreateCollection(CollectionSchema("large", "e" * 32, 512, Metric.L2))]))
        given = rows[:, ::-1].copy()[:, ::-1]  # not contiguous
        engine.commit(WriteBatch([PutRows("large", ["first"], given[:1])]))
        engine.commit(WriteBatch([PutRows("large", [str(row) for row in range(700)], given)]))
        engine.commit(WriteBatch([PutRows("large", ["last"], given[-1:])]))
        given[:] = 0
        view = engine.snapshot().collection("large")
        assert np.array_equal(view.vectors_at(np.arange(702)), np.concatenate([rows[:1], rows, rows[-1:]]))
        chunks = engine.snapshot().states()[0].rows.layout.chunks
        assert [(chunk.count, len(chunk.norms)) for chunk in chunks] == [(1, 64), (700, 700), (1, 1400)]
        assert view.slots_of(["first", "0", "699", "last"]).tolist() == [0, 1, 700, 701]
