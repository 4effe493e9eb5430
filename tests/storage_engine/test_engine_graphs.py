"""Searches that walk a graph: never a row short, never a dead row, and the graph is always disposable."""

import threading

import numpy as np
import pyarrow as pa
import pytest

from storage_engine.batch import CreateCollection, DeleteRows, DropCollection, PutRows, WriteBatch
from storage_engine.engine import Engine
from storage_engine.errors import UnknownCollectionError
from storage_engine.schema import CollectionSchema, GraphOptions, Metric

ROWS, DIMENSION = 4_000, 12
OPTIONS = GraphOptions(m=8, ef_construction=60, minimum_rows=2_000)


def data(rows, seed=1):
    return np.random.default_rng(seed).normal(size=(rows, DIMENSION)).astype(np.float32)


def create(metric, name="c", options=OPTIONS):
    return CreateCollection(CollectionSchema(name, name * 32, DIMENSION, metric, graph=options))


def put(vectors, prefix="r", name="c"):
    ids = [f"{prefix}{row}" for row in range(len(vectors))]
    return PutRows(name, ids, vectors, metadata=pa.table({"row": list(range(len(vectors)))}))


@pytest.fixture(scope="module", params=list(Metric))
def built(request):
    with Engine.open(None, build_threads=1) as engine:
        engine.commit(WriteBatch([create(request.param), put(data(ROWS))]))
        engine.commit(WriteBatch([DeleteRows("c", [f"r{row}" for row in range(0, 300)])]))
        engine.build_graphs()
        engine.commit(WriteBatch([DeleteRows("c", [f"r{row}" for row in range(300, 500)])]))
        engine.commit(WriteBatch([put(data(50, 9), "fresh")]))
        yield engine


def test_the_graph_finds_what_comparing_finds(built):
    view = built.snapshot().collection("c")
    assert len(view) == ROWS - 500 + 50
    hits = 0
    for query in data(60, 2):
        walked, compared = view.search(query, 10), view.search(query, 10, exact=True)
        assert (walked.strategy, compared.strategy) == (
            "graph" if walked.strategy == "graph" else "masked_graph",
            "exact",
        )
        assert len(walked.slots) == 10
        assert view.live()[walked.slots].all()
        both, left, right = np.intersect1d(walked.slots, compared.slots, return_indices=True)
        assert walked.scores[left].tobytes() == compared.scores[right].tobytes()
        hits += len(both)
    assert hits >= 0.9 * 600


def test_every_filter_gets_all_that_it_can(built):
    view = built.snapshot().collection("c")
    rng = np.random.default_rng(3)
    live = np.flatnonzero(view.live())
    query = data(1, 4)[0]
    for share in (0.0, 0.001, 0.01, 0.1, 0.5, 0.99, 1.0):
        mask = rng.random(view.slot_count) < share
        for top_k in (1, 10, 500):
            found = view.search(query, top_k, mask=mask)
            assert len(found.slots) == min(top_k, mask[live].sum())
            assert mask[found.slots].all()
            assert view.live()[found.slots].all()
            ordered = np.sort(found.scores) if view.schema.metric is Metric.L2 else -np.sort(-found.scores)
            assert found.scores.tolist() == ordered.tolist()
    assert len(view.search(query, 10_000).slots) == len(view)


def test_rows_are_found_before_and_after_the_graph_is_built():
    with Engine.open(None, build_threads=1) as engine:
        vectors = data(ROWS)
        engine.commit(WriteBatch([create(Metric.L2), put(vectors[:2_500])]))
        engine.wait_for_graphs()
        old = engine.snapshot().collection("c")
        assert old.search(vectors[7], 1).strategy == "graph"
        engine.commit(WriteBatch([put(vectors[2_500:], "later")]))
        new = engine.snapshot().collection("c")
        assert new.ids_at(new.search(vectors[2_600], 1).slots) == ["later100"]
        assert old.ids_at(old.search(vectors[2_600], 1).slots) != ["later100"]
        engine.wait_for_graphs()
        whole = engine.snapshot().collection("c")
        assert whole.ids_at(whole.search(vectors[2_600], 1).slots) == ["later100"]
        assert not engine._source.database.due_graphs()
        assert [finding for finding in engine.verify() if finding.severity != "info"] == []


def test_the_background_builds_by_itself_and_joins_segments(tmp_path):
    with Engine.open(tmp_path / "db", build_threads=1) as engine:
        engine.commit(WriteBatch([create(Metric.COSINE)]))
        for part in range(4):
            engine.commit(WriteBatch([put(data(ROWS // 4, part), f"p{part}-")]))
            engine.seal()
        engine.commit(WriteBatch([DeleteRows("c", [f"p0-{row}" for row in range(900)])]))
        before = engine.snapshot().collection("c")
        done = threading.Event()
        for _ in range(100):
            if engine.snapshot().collection("c").search(data(1)[0], 1).strategy != "exact":
                break
            done.wait(0.1)
        after = engine.snapshot().collection("c")
        assert after.search(data(1)[0], 1).strategy == "graph"
        assert after.slot_count == len(after) == ROWS - 900
        assert before.slot_count == ROWS
        for query in data(5, 5):
            left, right = before.search(query, 20, exact=True), after.search(query, 20, exact=True)
            assert before.ids_at(left.slots) == after.ids_at(right.slots)
        assert before.column("row").to_pylist() == list(range(ROWS // 4)) * 4
    with Engine.open(tmp_path / "db", read_only=True) as reader:
        view = reader.snapshot().collection("c")
        assert view.search(data(1)[0], 1).strategy == "graph"
        assert view.arrow().equals(after.arrow())


def test_a_damaged_graph_is_never_used_and_is_built_again(tmp_path):
    with Engine.open(tmp_path / "db", build_threads=1) as engine:
        engine.commit(WriteBatch([create(Metric.L2), put(data(ROWS))]))
        engine.build_graphs()
    (file,) = (tmp_path / "db" / "idx").iterdir()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with Engine.open(tmp_path / "db", read_only=True) as reader:
        view = reader.snapshot().collection("c")
        assert view.search(data(1)[0], 3).strategy == "exact"
        assert [finding.severity for finding in reader.verify()] == ["warning"]
    with Engine.open(tmp_path / "db", build_threads=1) as engine:
        view = engine.snapshot().collection("c")
        assert view.ids_at(view.search(data(ROWS)[5], 1).slots) == ["r5"]
        engine.wait_for_graphs()
        assert engine.snapshot().collection("c").search(data(1)[0], 3).strategy == "graph"
        assert engine.verify() == []
    file.unlink(missing_ok=True)


def test_a_missing_graph_is_built_again(tmp_path):
    with Engine.open(tmp_path / "db", build_threads=1) as engine:
        engine.commit(WriteBatch([create(Metric.IP), put(data(ROWS))]))
        engine.build_graphs("c")
    for file in (tmp_path / "db" / "idx").iterdir():
        file.unlink()
    with Engine.open(tmp_path / "db", build_threads=1) as engine:
        assert len(engine.snapshot().collection("c").search(data(1)[0], 3).slots) == 3
        engine.wait_for_graphs()
        assert engine.snapshot().collection("c").search(data(1)[0], 3).strategy == "graph"


def test_commits_go_on_while_a_graph_is_built(monkeypatch):
    from storage_engine.index import builder

    building, go_on = threading.Event(), threading.Event()
    build = builder.build_graph

    def slow(*arguments, **named):
        building.set()
        assert go_on.wait(30)
        return build(*arguments, **named)

    monkeypatch.setattr(builder, "build_graph", slow)
    with Engine.open(None, build_threads=1) as engine:
        vectors = data(ROWS)
        engine.commit(WriteBatch([create(Metric.L2), create(Metric.L2, "d"), put(vectors)]))
        engine.commit(WriteBatch([DeleteRows("c", [f"r{row}" for row in range(1_500)])]))
        thread = threading.Thread(target=engine.build_graphs, args=("c",))
        thread.start()
        assert building.wait(30)
        engine.commit(WriteBatch([DeleteRows("c", ["r2000"]), put(data(3, 7), "new")]))
        engine.commit(WriteBatch([PutRows("c", ["r2001"], vectors[:1])]))
        engine.commit(WriteBatch([DropCollection("d")]))
        view = engine.snapshot().collection("c")
        expected = view.arrow()
        go_on.set()
        thread.join()
        after = engine.snapshot().collection("c")
        assert after.slot_count < view.slot_count
        assert after.arrow().equals(expected)
        assert after.slots_of(["r2000"]).tolist() == [-1]
        assert after.vectors_at(after.slots_of(["r2001"])).tolist() == vectors[:1].tolist()
        assert after.search(vectors[0], 1).slots.tolist() == after.slots_of(["r2001"]).tolist()
        assert engine.verify() == []
        with pytest.raises(UnknownCollectionError):
            engine.build_graphs("d")


def test_one_thread_builds_the_same_graph_each_time(tmp_path):
    for name in "ab":
        with Engine.open(tmp_path / name, build_threads=1) as engine:
            engine.commit(WriteBatch([create(Metric.L2), put(data(ROWS))]))
            engine.build_graphs()
    (first,), (second,) = ((tmp_path / name / "idx").iterdir() for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_a_build_that_waited_for_another_finds_nothing_left_to_do(monkeypatch):
    from storage_engine.index import builder

    counted, building, go_on = [], threading.Event(), threading.Event()
    build = builder.build_graph

    def slow(*arguments, **options):
        counted.append(1)
        building.set()
        go_on.wait(20)
        return build(*arguments, **options)

    monkeypatch.setattr(builder, "build_graph", slow)
    with Engine.open(None, build_threads=1) as engine:
        engine.commit(WriteBatch([create(Metric.L2), put(data(ROWS))]))
        asked = threading.Thread(target=engine.build_graphs)
        asked.start()
        assert building.wait(20)
        waited = threading.Thread(  # as the background does when it found the work before the other began it
            target=lambda: engine._source.database.build_graph(engine.snapshot().states()[0], only_if_due=True)
        )
        waited.start()
        go_on.set()
        asked.join()
        waited.join()
        engine.wait_for_graphs()
        assert counted == [1]
