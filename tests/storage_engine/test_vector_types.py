"""Collections of float16 and int8: what is stored, what is refused, and that every road gives its exact scores."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage_engine.batch import CreateCollection, DeleteRows, PutRows, WriteBatch
from storage_engine.engine import Engine
from storage_engine.errors import FormatTooNewError, InvalidArgumentError, InvalidVectorError
from storage_engine.format_file import COMPACT_VECTORS, read_format, write_format
from storage_engine.index.builder import build_graph
from storage_engine.index.walker import Walker
from storage_engine.memory_disk import MemoryDisk
from storage_engine.schema import CollectionSchema, GraphOptions, Metric, VectorType
from storage_engine.vectors import distance, kernels
from storage_engine.vectors.types import CODE, as_float32, rounded, type_of, type_of_code

COMPACT = [VectorType.FLOAT16, VectorType.INT8]
METRICS = list(Metric)
DIMENSIONS = [1, 2, 7, 15, 16, 17, 31, 32, 33, 64, 100]


def numbers(seed, rows, dimension, kind):
    """float32 rows that a collection of this type takes."""
    wide = np.random.default_rng(seed).normal(size=(rows, dimension)) * 30
    return np.clip(np.rint(wide), -128, 127).astype(np.float32) if kind is VectorType.INT8 else wide.astype(np.float32)


def schema(kind, metric=Metric.L2, dimension=8, **more):
    return CollectionSchema("c", "c" * 32, dimension, metric, dtype=kind, **more)


def brute_force(query, stored, metric):
    """Scores in float64 by plain NumPy."""
    wide, q = stored.astype(np.float64), query.astype(np.float64)
    if metric is Metric.L2:
        return np.sqrt(np.square(wide - q).sum(axis=1))
    products = wide @ q
    return products if metric is Metric.IP else products / np.linalg.norm(wide, axis=1) / np.linalg.norm(q)


def best(scores, metric, k):
    return np.argsort(scores if metric is Metric.L2 else -scores, kind="stable")[:k]


# -- one number ----------------------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_float16_is_the_nearest_one_or_refused(values):
    given_row = np.array([values], np.float32)
    with np.errstate(over="ignore"):
        nearest = given_row.astype(np.float16)
    if np.isfinite(nearest).all():
        stored = rounded(given_row, VectorType.FLOAT16, ["a"])
        assert stored.dtype == np.float16 and stored.tobytes() == nearest.tobytes()
        assert rounded(as_float32(stored), VectorType.FLOAT16, ["a"]).tobytes() == stored.tobytes()
    else:
        with pytest.raises(InvalidVectorError, match="beyond float16"):
            rounded(given_row, VectorType.FLOAT16, ["a"])


def test_float16_rounds_halves_to_even_and_keeps_small_numbers():
    tie = np.array([[1 + 2.0**-11, 1 + 3 * 2.0**-11, 2.0**-24, 2.0**-25, -(2.0**-25) * 1.01, 65_519.0]], np.float32)
    stored = rounded(tie, VectorType.FLOAT16, ["a"]).astype(float)[0].tolist()
    assert stored == [1.0, 1 + 2 * 2.0**-10, 2.0**-24, 0.0, -(2.0**-24), 65_504.0]


@pytest.mark.parametrize("value", [0.5, -128.5, 128.0, -129.0, 1e9, 1e-30])
def test_int8_refuses_what_is_no_such_number(value):
    rows = np.zeros((3, 4), np.float32)
    rows[1, 2] = value
    with pytest.raises(InvalidVectorError, match=r"id 'b' holds .* at position 2, no whole number") as caught:
        rounded(rows, VectorType.INT8, ["a", "b", "c"])
    assert caught.value.value == pytest.approx(value) and "Quantize" in caught.value.fix


def test_int8_keeps_every_whole_number():
    every = np.arange(-128, 128, dtype=np.float32)[None]
    stored = rounded(every, VectorType.INT8, ["a"])
    assert stored.dtype == np.int8 and as_float32(stored).tobytes() == every.tobytes()
    assert rounded(np.array([[-0.0]], np.float32), VectorType.INT8, ["a"]).tolist() == [[0]]


def test_types_have_numbers_in_files():
    for kind, code in CODE.items():
        assert type_of_code(code) is kind
    assert type_of(np.zeros(1, np.int8)) is VectorType.INT8
    for wrong in (lambda: type_of_code(3), lambda: type_of(np.zeros(1, np.float64))):
        with pytest.raises(ValueError, match="type"):
            wrong()


# -- the kernels ---------------------------------------------------------------------------------------------------


def test_the_kernels_read_every_float16_exactly():
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    every = every[np.isfinite(every)]
    for dimension in (1, 5, 16, 40, 63):
        rows = every[: len(every) // dimension * dimension].reshape(-1, dimension)
        for place in {0, dimension - 1}:
            query = np.zeros(dimension, np.float32)
            query[place] = 1
            products = kernels.score_rows(query, rows, Metric.IP, None, None)
            assert products.tolist() == rows[:, place].astype(np.float64).tolist()


@pytest.mark.parametrize("kind", COMPACT)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_all_roads_give_the_same_bits(kind, metric, dimension):
    wide = numbers(dimension, 700, dimension, kind) + (1 if kind is VectorType.INT8 else 0)
    wide = np.minimum(wide, 127)
    stored = rounded(wide, kind, [str(n) for n in range(700)])
    plain = as_float32(stored)
    norms = np.maximum(np.linalg.norm(plain.astype(float), axis=1), 1).astype(np.float32)
    graph = build_graph(stored, norms, metric, GraphOptions(m=8, ef_construction=60))
    same = build_graph(plain, norms, metric, GraphOptions(m=8, ef_construction=60))
    assert (graph.links == same.links).all()
    assert (graph.codes is None) == (same.codes is None)
    if graph.codes is not None:
        assert graph.codes.rows.tobytes() == same.codes.rows.tobytes()
    walker, twin = Walker(graph, stored, norms, metric), Walker(same, plain, norms, metric)
    for seed in range(3):
        query = np.random.default_rng(seed).normal(size=dimension).astype(np.float32) * 20
        expected = distance.score_rows(query, plain, metric, norms)
        assert distance.score_rows(query, stored, metric, norms).tobytes() == expected.tobytes()
        assert kernels.score_rows(query, stored, metric, norms, None).tobytes() == expected.tobytes()
        rows = np.arange(0, 700, 3)
        for k, chosen in ((1, None), (10, None), (300, None), (10, rows)):
            answer = distance.exact_top_k(query, plain, k, metric, norms, chosen)
            road = distance.exact_top_k(query, stored, k, metric, norms, chosen)
            assert road.positions.tolist() == answer.positions.tolist()
            assert road.scores.tobytes() == answer.scores.tobytes()
            numpy_road = distance._candidates(query, stored, k, metric, norms, chosen)
            assert set(answer.positions.tolist()) <= set(numpy_road.tolist())
        walk, other = walker.search(query, 10, 50), twin.search(query, 10, 50)
        assert walk.ranked.positions.tolist() == other.ranked.positions.tolist()
        assert walk.ranked.scores.tobytes() == other.ranked.scores.tobytes()
        if walker.coded:
            scan = walker.scan(query, 10)
            answer = distance.exact_top_k(query, plain, 10, metric, norms)
            assert scan.ranked.scores.tobytes() == answer.scores.tobytes()


# -- the engine ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kind", COMPACT)
def test_every_state_of_the_rows_answers_exactly(tmp_path, kind, metric):
    dimension, n = 40, 900
    given_rows = numbers(1, n, dimension, kind)
    stored = given_rows.astype(kind.value).astype(np.float32)
    ids = [str(number) for number in range(n)]
    queries = np.random.default_rng(2).normal(size=(5, dimension)).astype(np.float32)

    def check(engine, live):
        view = engine.snapshot().collection("c")
        assert view.schema.dtype is kind and len(view) == len(live)
        slots = view.slots_of([ids[number] for number in live])
        assert view.vectors_at(slots).tobytes() == stored[live].tobytes()
        table = view.arrow(["id", "vector"])
        assert table.schema.field("vector").type == pa.list_(pa.float32(), dimension)
        back = dict(zip(table.column("id").to_pylist(), table.column("vector").to_pylist(), strict=True))
        assert back[ids[live[7]]] == stored[live[7]].tolist()
        for query in queries:
            scores = brute_force(query, stored[live], metric)
            wanted = best(scores, metric, 10)
            for more in ({"exact": True}, {"ef": 800}):
                found = view.search(query, 10, **more)
                assert view.ids_at(found.slots) == [ids[live[place]] for place in wanted]
                assert np.allclose(found.scores, scores[wanted], rtol=1e-6, atol=1e-6)
        assert [one for one in engine.verify() if one.severity != "info"] == []

    path = tmp_path / "db"
    live = np.arange(n)
    with Engine.open(path, build_threads=1) as engine:
        engine.commit(WriteBatch([CreateCollection(schema(kind, metric, dimension, graph=GraphOptions(m=8)))]))
        engine.commit(WriteBatch([PutRows("c", ids[:600], given_rows[:600])]))
        engine.seal()
        engine.commit(WriteBatch([PutRows("c", ids[600:], given_rows[600:])]))
        check(engine, live)
        before = engine.snapshot().version
        engine.build_graphs()
        check(engine, live)
        engine.commit(WriteBatch([DeleteRows("c", ids[:400:2])]))
        live = np.setdiff1d(live, np.arange(0, 400, 2))
        check(engine, live)
        assert len(engine.at(before).snapshot().collection("c")) == n
        engine.vacuum()
        check(engine, live)
    for read_only in (False, True):
        with Engine.open(path, read_only=read_only) as engine:
            check(engine, live)
    files = list((path / "seg").glob("*.vec"))
    number_bytes = 2 if kind is VectorType.FLOAT16 else 1
    assert sum(file.stat().st_size for file in files) < len(live) * (number_bytes * dimension + 12) + 1_000


@pytest.mark.parametrize("kind", COMPACT)
def test_an_update_keeps_the_stored_bits(kind):
    with Engine.open(None) as engine:
        engine.commit(WriteBatch([CreateCollection(schema(kind))]))
        row = numbers(3, 1, 8, kind)
        engine.commit(WriteBatch([PutRows("c", ["a"], row, metadata=pa.table({"n": [1]}))]))
        stored = engine.snapshot().collection("c").vectors_at([0])
        for sealed in (False, True):
            if sealed:
                engine.seal()
            engine.commit(WriteBatch([PutRows("c", ["a"], None, metadata=pa.table({"n": [2]}), mode="update")]))
            view = engine.snapshot().collection("c")
            assert view.vectors_at(view.slots_of(["a"])).tobytes() == stored.tobytes()
            assert view.norms_at(view.slots_of(["a"])) == np.linalg.norm(stored.astype(float)).astype(np.float32)


@pytest.mark.parametrize("kind", COMPACT)
def test_a_batch_too_large_for_the_log_is_staged_in_its_type(tmp_path, kind):
    rows = numbers(4, 12_000, 800, kind)
    with Engine.open(tmp_path / "db") as engine:
        engine.commit(WriteBatch([CreateCollection(schema(kind, dimension=800))]))
        engine.commit(WriteBatch([PutRows("c", [str(n) for n in range(12_000)], rows)]))
        [file] = (tmp_path / "db" / "seg").glob("*.vec")
        assert file.stat().st_size < 12_000 * (800 * (2 if kind is VectorType.FLOAT16 else 1) + 13)
    with Engine.open(tmp_path / "db") as engine:
        view = engine.snapshot().collection("c")
        some = np.arange(0, 12_000, 997)
        assert view.vectors_at(some).tobytes() == rows[some].astype(kind.value).astype(np.float32).tobytes()


def test_a_refused_row_changes_nothing():
    with Engine.open(None) as engine:
        engine.commit(WriteBatch([CreateCollection(schema(VectorType.INT8))]))
        with pytest.raises(InvalidVectorError, match=r"'b' holds 0\.5"):
            engine.commit(WriteBatch([PutRows("c", ["a", "b"], np.array([[1.0] * 8, [0.5] * 8]))]))
        assert len(engine.snapshot().collection("c")) == 0 and engine.snapshot().version == 1


def test_a_direction_that_rounds_to_none_is_refused():
    with Engine.open(None) as engine:
        engine.commit(WriteBatch([CreateCollection(schema(VectorType.FLOAT16, Metric.COSINE))]))
        with pytest.raises(InvalidVectorError, match="is zero as float16"):
            engine.commit(WriteBatch([PutRows("c", ["a"], np.full((1, 8), 1e-9, np.float32))]))


def test_an_unknown_type_is_refused():
    with Engine.open(None) as engine, pytest.raises(InvalidArgumentError, match="'float64' is unknown"):
        engine.commit(WriteBatch([CreateCollection(schema("float64"))]))


def test_versions_that_do_not_know_the_types_are_told():
    disk = MemoryDisk()
    from storage_engine.opening import open_writable

    writable = open_writable(disk, create=True, clock=lambda: 1.0, sync_each=True, build_threads=1)
    writable.commit([CreateCollection(schema(VectorType.FLOAT32))])
    assert read_format(disk).required == 0
    plain = CollectionSchema("d", "d" * 32, 2, Metric.L2, dtype=VectorType.INT8)
    writable.commit([CreateCollection(plain)])
    writable.close()
    assert read_format(disk).required == COMPACT_VECTORS
    found = read_format(disk)
    write_format(disk, type(found)(found.database_uuid, found.created_at, required=COMPACT_VECTORS | 1 << 40))
    with pytest.raises(FormatTooNewError):
        read_format(disk)
