"""A search worked out once: the same answers as worked out anew, for one query and for many, and never a short one."""

from __future__ import annotations

import os
import threading

import numpy as np
import pyarrow as pa
import pytest

from storage_engine import compiled_code
from storage_engine.batch import CreateCollection, DeleteRows, PutRows, WriteBatch
from storage_engine.cores import cores, spread
from storage_engine.engine import Engine
from storage_engine.errors import (
    DamagedError,
    DimensionMismatchError,
    InvalidArgumentError,
    InvalidVectorError,
)
from storage_engine.schema import CollectionSchema, GraphOptions, Metric
from storage_engine.search import prepare
from storage_engine.vectors.distance import exact_top_k

N, D = 12_000, 32
OPTIONS = GraphOptions(m=12, ef_construction=80)


def made(metric, rows=N, seed=0):
    g = np.random.default_rng(seed)
    latent = g.normal(size=(rows, 6))
    x = (latent @ g.normal(size=(6, D)) + 0.3 * g.normal(size=(rows, D))).astype(np.float32)
    engine = Engine.open(None)
    engine.commit(WriteBatch([CreateCollection(CollectionSchema("c", "c" * 32, D, metric, graph=OPTIONS))]))
    columns = pa.table({"label": np.argmax(latent[:, :4], axis=1)})
    engine.commit(WriteBatch([PutRows("c", [f"r{n}" for n in range(rows)], x, metadata=columns)]))
    engine.build_graphs("c")
    return engine, x, columns.column("label").to_numpy()


@pytest.fixture(scope="module", params=list(Metric), ids=str)
def database(request):
    assert compiled_code.process.load()
    engine, x, labels = made(request.param)
    with engine:
        yield engine, x, labels, request.param


def queries(x, count=40):
    return x[:: len(x) // count][:count] + np.float32(0.01)


def same(one, other):
    return (
        one.slots.tolist() == other.slots.tolist()
        and one.scores.tobytes() == other.scores.tobytes()
        and (one.strategy, one.reason) == (other.strategy, other.reason)
    )


@pytest.mark.parametrize(
    "share, wish",
    [
        (1.0, {"ef": 24}),
        (1.0, {}),
        (1.0, {"exact": True}),
        (0.6, {"ef": 24}),
        (0.6, {}),
        (0.6, {"recall": 0.95}),
        (0.02, {}),
        (0.0005, {}),
    ],
    ids=str,
)
def test_many_at_once_give_what_one_gives_to_the_last_bit(database, share, wish):
    engine, x, _, _ = database
    view = engine.snapshot().collection("c")
    mask = None if share == 1.0 else np.random.default_rng(3).random(N) < share
    alone = [view.search(query, 10, mask=mask, **wish) for query in queries(x)]
    together = view.search_many(queries(x), 10, mask=mask, **wish)
    assert len(together) == 40 and all(map(same, alone, together))


def test_walks_that_are_given_up_in_a_batch_are_answered_exactly(database):
    engine, x, labels, metric = database
    view = engine.snapshot().collection("c")
    norms = view.norms_at(np.arange(N))
    away = x[labels != 0][:30]
    mask = labels == 0
    found = view.search_many(away, 10, mask=mask, recall=0.95)
    assert any("gave up" in one.reason or one.strategy == "exact_rows" for one in found)
    for query, one in zip(away, found, strict=True):
        if one.strategy == "exact_rows":
            assert one.slots.tolist() == exact_top_k(query, x, 10, metric, norms, mask).positions.tolist()
        assert same(one, view.search(query, 10, mask=mask, recall=0.95))


def test_a_wish_is_worked_out_once_and_anew_after_a_commit():
    engine, _, _ = made(Metric.L2, 3_000, seed=5)
    with engine:
        state = engine.snapshot().states()[0]
        first = prepare(state, None, 10, False, 32, None)
        assert prepare(state, None, 10, False, 32, None) is first
        assert prepare(state, None, np.int64(10), False, np.int32(32), None) is first
        assert prepare(state, None, 10, False, 33, None) is not first
        engine.commit(WriteBatch([DeleteRows("c", ["r0"])]))
        assert prepare(engine.snapshot().states()[0], None, 10, False, 32, None) is not first
        for top_k in range(1, 200):
            prepare(state, None, top_k, False, None, None)
        assert len(state.cache["searches"]) <= 32


@pytest.mark.parametrize("top_k, ef, recall", [(10.0, 32, None), (True, 32, None), (10, 32.0, None), (10, None, True)])
def test_what_is_equal_but_no_number_of_rows_is_refused_though_one_was_worked_out(database, top_k, ef, recall):
    view = database[0].snapshot().collection("c")
    view.search(database[1][0], 10, ef=32)
    view.search(database[1][0], 1, ef=32)
    view.search(database[1][0], 10, recall=1.0)
    with pytest.raises(InvalidArgumentError):
        view.search(database[1][0], top_k, ef=ef, recall=recall)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("wish", [{"ef": 32}, {"exact": True}])
def test_unusable_queries_are_refused_alone_and_among_others(database, bad, wish):
    engine, x, _, metric = database
    view = engine.snapshot().collection("c")
    many = queries(x).copy()
    many[17, D - 1] = bad
    with pytest.raises(InvalidVectorError, match=f"position {D - 1}"):
        view.search(many[17], 10, **wish)
    with pytest.raises(InvalidVectorError, match=f"position {D - 1}"):
        view.search_many(many, 10, **wish)
    with pytest.raises(DimensionMismatchError):
        view.search(many[0, 1:], 10, **wish)
    with pytest.raises(DimensionMismatchError):
        view.search_many(many[:, 1:], 10, **wish)
    many[17] = 0.0
    if metric is Metric.COSINE:
        with pytest.raises(InvalidVectorError, match="zero"):
            view.search_many(many, 10, **wish)
    else:
        assert len(view.search_many(many, 10, **wish)[17].slots) == 10


def test_queries_of_any_layout_and_type_give_the_same(database):
    engine, x, _, _ = database
    view = engine.snapshot().collection("c")
    query = queries(x)[3]
    plain = view.search(query, 10, ef=32)
    wide = np.zeros((D, 2), np.float32)
    wide[:, 0] = query
    frozen = query.copy()
    frozen.flags.writeable = False
    for other in (wide[:, 0], frozen, query.astype(np.float64), query.tolist()):
        assert same(plain, view.search(other, 10, ef=32))
    assert same(plain, view.search_many(np.asfortranarray(queries(x)), 10, ef=32)[3])


def test_no_answer_is_short_and_none_is_of_a_dead_row():
    engine, x, labels = made(Metric.L2, 6_000, seed=7)
    g = np.random.default_rng(8)
    with engine:
        engine.commit(WriteBatch([DeleteRows("c", [f"r{n}" for n in g.permutation(6_000)[:300]])]))
        engine.commit(WriteBatch([PutRows("c", [f"f{n}" for n in range(70)], x[:70] + np.float32(0.01))]))
        view = engine.snapshot().collection("c")
        live = view.live()
        of_label = np.concatenate([labels, np.full(70, -1)])
        for number in range(1_500):
            mask = g.random(6_070) < 10 ** g.uniform(-4, 0)
            if number % 3 == 0:
                mask &= of_label == number % 4
            top_k = int(g.choice([1, 10, 40]))
            found = view.search(x[number], top_k, mask=mask, ef=None if number % 2 else 16)
            matching = mask & live
            assert len(found.slots) == min(top_k, matching.sum()) and matching[found.slots].all()
            assert len(set(found.slots.tolist())) == len(found.slots)


def test_rows_of_a_damaged_block_are_never_shown(tmp_path):
    g = np.random.default_rng(9)
    x = g.normal(size=(4_000, 64)).astype(np.float32)
    with Engine.open(tmp_path / "db") as engine:
        engine.commit(WriteBatch([CreateCollection(CollectionSchema("c", "c" * 32, 64, Metric.L2, graph=OPTIONS))]))
        engine.commit(WriteBatch([PutRows("c", [f"r{n}" for n in range(4_000)], x)]))
        engine.build_graphs("c")
    [file] = (tmp_path / "db" / "seg").glob("*.vec")
    stored = bytearray(file.read_bytes())
    at = stored.find(x[3_000].tobytes())
    stored[at] ^= 1
    file.write_bytes(bytes(stored))
    with Engine.open(tmp_path / "db", read_only=True) as engine:
        view = engine.snapshot().collection("c")
        assert view.search(x[5], 1, ef=64).slots[0] == 5  # in a block that is whole
        for wish in ({"ef": 64}, {"ef": 64, "mask": np.arange(4_000) > 100}):
            with pytest.raises(DamagedError):
                view.search(x[3_000], 10, **wish)
            with pytest.raises(DamagedError):
                view.search_many(x[2_990:3_010], 10, **wish)


def test_recall_under_filters_by_chance(database):
    engine, x, _, metric = database
    view = engine.snapshot().collection("c")
    norms = view.norms_at(np.arange(N))
    g = np.random.default_rng(11)
    for share in (0.01, 0.1, 0.3, 0.8):
        mask = g.random(N) < share
        shares = []
        for query in queries(x):
            truth = exact_top_k(query, x, 10, metric, norms, mask).positions
            shares.append(len(set(view.search(query, 10, mask=mask).slots) & set(truth)) / 10)
        assert np.mean(shares) >= 0.98, share


def test_all_blocks_are_worked_off_once_by_all_cores():
    done: list[int] = []
    threads = set()

    def work(start, stop):
        threads.add(threading.get_ident())
        done.extend(range(start, stop))

    spread(1_003, 10, work)
    assert sorted(done) == list(range(1_003)) and 1 <= len(threads) <= cores()
    spread(0, 10, work)
    assert len(done) == 1_003


def test_what_work_raises_is_raised():
    def work(start, stop):
        if start == 20:
            raise ZeroDivisionError(start)

    with pytest.raises(ZeroDivisionError):
        spread(1_000, 10, work)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own():
    spread(100, 1, lambda start, stop: None)
    child = os.fork()
    if not child:
        found: list[int] = []
        spread(50, 1, lambda start, stop: found.append(start))
        os._exit(0 if sorted(found) == list(range(50)) else 1)
    assert os.waitpid(child, 0)[1] == 0
