"""The awaitable face: the same answers, real concurrency within its bound, and nothing lost or left by cancelling."""

import asyncio
import inspect
import threading
import time

import numpy as np
import pytest

import qstore_db
from qstore_db.async_calls import Workers
from qstore_db.async_database import AsyncCollection, AsyncQuantumDatabase, AsyncRecords, AsyncSearch
from qstore_db.collection import Collection
from qstore_db.database import QuantumDatabase
from qstore_db.errors import (
    ConflictError,
    DatabaseClosedError,
    InvalidArgumentError,
    NotADatabaseError,
    TransactionError,
    UnknownIdError,
)
from qstore_db.search.records import Records
from qstore_db.search.verbs import Search

VECTORS = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
IDS = [f"r{n}" for n in range(200)]


def awaited(test):
    """Run an async test on a fresh event loop, for at most a minute."""

    def run(*args, **kwargs):
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 60))

    run.__name__, run.__signature__ = test.__name__, inspect.signature(test)
    return run


def idle_threads_of_ours():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("qstore-async")]


@pytest.mark.parametrize(
    ("face", "blocking", "by_hand"),
    [
        (AsyncSearch, Search, set()),
        (AsyncRecords, Records, set()),
        (AsyncCollection, Collection, set()),
        (AsyncQuantumDatabase, QuantumDatabase, {"open", "collection", "transaction", "close"}),
    ],
)
def test_every_verb_is_there_with_its_documentation(face, blocking, by_hand):
    methods = {name for name, _ in inspect.getmembers(blocking, callable) if not name.startswith("_")}
    missing = methods - set(dir(face))
    assert not missing, f"add {sorted(missing)} to {face.__name__} in qstore_db/async_database.py"
    for name in methods - by_hand:
        assert inspect.getdoc(getattr(face, name)) == inspect.getdoc(getattr(blocking, name)), name
        assert inspect.signature(getattr(face, name)) == inspect.signature(getattr(blocking, name)), name


def test_it_is_part_of_the_interface():
    assert qstore_db.AsyncQuantumDatabase is AsyncQuantumDatabase
    with pytest.raises(AttributeError):
        qstore_db.Absent  # noqa: B018 - only the look-up matters


@awaited
async def test_the_same_verbs_give_the_same_answers(tmp_path):
    async with await AsyncQuantumDatabase.open(tmp_path / "db", build_threads=1) as db:
        items = await db.create_collection("items", dimension=6, metric="l2")
        await items.insert(IDS, VECTORS, metadata={"n": list(range(200))})
        same = db.blocking.collection("items")
        queries = VECTORS[:12] + 0.1
        answers = await asyncio.gather(*(items.query(query, 5, where="n % 2 = 0") for query in queries))
        assert [hits.ids for hits in answers] == [same.query(query, 5, where="n % 2 = 0").ids for query in queries]
        assert (await items.search.within(VECTORS[0], 2.0)).ids == same.search.within(VECTORS[0], 2.0).ids
        pages = [hits.ids async for hits in items.search.pages(VECTORS[0], 60)]
        assert pages == [hits.ids for hits in same.search.pages(VECTORS[0], 60)]
        assert (await items.get("r3")).metadata == {"n": 3}
        assert (await db.sql("SELECT count(*) FROM items WHERE n < $n", n=7)).fetchall() == [(7,)]
        await db.insert("a", [1.0, 0.0])
        assert (await db.query([1.0, 0.0])).ids == ["a"]
        assert (await db.search.at_least([1.0, 0.0], 0.5)).ids == ["a"]
        version = db.version
        await items.delete("r3")
        async with await db.at(version) as old:
            assert (await old.collection("items").get("r3")).id == "r3"
            assert old.version == version
        with pytest.raises(UnknownIdError):
            await items.get("r3")
        assert await db.collections() == ["default", "items"]
        assert db.path == tmp_path / "db"
        assert items.name == "items"
        assert "items" in repr(items)


@awaited
async def test_training_data_streams():
    async with await AsyncQuantumDatabase.open(":memory:") as db:
        await db.store_training_data("toy", data=VECTORS, labels=np.arange(200) % 2, split="train")
        sizes = [len(batch.labels) async for batch in db.data_loader("toy", batch_size=80, seed=1)]
        assert sizes == [80, 80, 40]


@awaited
async def test_calls_run_beside_each_other_and_no_more_than_threads():
    workers = Workers(3)
    together = threading.Barrier(3)
    await asyncio.gather(*(workers.run(together.wait, 20) for _ in range(3)))  # passes only where all three are in
    running, most, lock = 0, 0, threading.Lock()

    def counted():
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.005)
        with lock:
            running -= 1

    await asyncio.gather(*(workers.run(counted) for _ in range(30)))
    assert most <= 3
    await workers.close(lambda: None)
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(InvalidArgumentError):
            Workers(wrong)


@awaited
async def test_the_event_loop_goes_on_meanwhile():
    workers = Workers(1)
    go = threading.Event()
    waiting = asyncio.create_task(workers.run(go.wait, 20))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()
    go.set()
    assert await waiting
    await workers.close(lambda: None)


@awaited
async def test_a_call_cancelled_before_it_begins_never_runs():
    async with AsyncQuantumDatabase(QuantumDatabase.open(":memory:"), threads=1) as db:
        items = await db.create_collection("items", dimension=6, metric="l2")
        go, begun = threading.Event(), threading.Event()
        blocker = asyncio.create_task(db._workers.run(lambda: begun.set() or go.wait(20)))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        writes = [asyncio.create_task(items.insert(f"r{n}", VECTORS[n])) for n in range(4)]
        await asyncio.sleep(0.01)
        for write in writes[:3]:
            write.cancel()
        go.set()
        outcomes = await asyncio.gather(blocker, *writes, return_exceptions=True)
        assert [type(one) for one in outcomes[1:4]] == [asyncio.CancelledError] * 3
        assert (await items.query(VECTORS[0], 10)).ids == ["r3"]


@awaited
async def test_a_commit_cancelled_after_it_began_is_whole_and_frees_its_thread(monkeypatch):
    async with AsyncQuantumDatabase(QuantumDatabase.open(":memory:"), threads=1) as db:
        items = await db.create_collection("items", dimension=6, metric="l2")
        go, begun = threading.Event(), threading.Event()
        engine = db.blocking._engine
        real = engine.commit
        monkeypatch.setattr(engine, "commit", lambda batch: begun.set() or (go.wait(20) and real(batch)))
        write = asyncio.create_task(items.insert(IDS, VECTORS))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        write.cancel()
        with pytest.raises(asyncio.CancelledError):
            await write
        read = asyncio.create_task(items.query(VECTORS[0], 3))
        await asyncio.sleep(0.02)
        assert not read.done()  # the one thread is still writing
        go.set()
        assert (await read).ids[0] == "r0"
        assert len(db.blocking.collection("items")) == 200


@awaited
async def test_closing_waits_for_what_runs_and_refuses_what_waits(tmp_path):
    db = AsyncQuantumDatabase(QuantumDatabase.open(tmp_path / "db"), threads=1)
    items = await db.create_collection("items", dimension=6, metric="l2")
    go, begun = threading.Event(), threading.Event()

    def slow():
        begun.set()
        go.wait(20)
        return db.blocking.collection("items").insert("late", VECTORS[0])

    running = asyncio.create_task(db._workers.run(slow))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    queued = asyncio.create_task(items.insert("never", VECTORS[1]))
    await asyncio.sleep(0.01)
    closing = asyncio.create_task(db.close())
    await asyncio.sleep(0.02)
    assert not closing.done()
    go.set()
    await closing
    assert await running == 2
    with pytest.raises(DatabaseClosedError):
        await queued
    with pytest.raises(DatabaseClosedError):
        await items.query(VECTORS[0])
    await db.close()
    with QuantumDatabase.open(tmp_path / "db") as again:  # the directory was let go of
        assert [record.id for record in again.collection("items").get(["late"])] == ["late"]
        assert "never" not in again.collection("items")
    assert not idle_threads_of_ours()


@awaited
async def test_opening_that_fails_or_is_cancelled_leaves_nothing_behind(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no database")
    with pytest.raises(NotADatabaseError):
        await AsyncQuantumDatabase.open(tmp_path / "file")
    go, begun = threading.Event(), threading.Event()
    real = qstore_db.database.Engine.open

    def slow(*args, **kwargs):
        begun.set()
        go.wait(20)
        return real(*args, **kwargs)

    monkeypatch.setattr(qstore_db.database.Engine, "open", slow)
    opening = asyncio.create_task(AsyncQuantumDatabase.open(tmp_path / "db"))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    opening.cancel()
    asyncio.get_running_loop().call_later(0.02, go.set)
    with pytest.raises(asyncio.CancelledError):
        await opening
    monkeypatch.undo()
    QuantumDatabase.open(tmp_path / "db").close()  # not locked
    assert not idle_threads_of_ours()


@awaited
async def test_a_transaction_is_one_commit_of_its_task():
    async with AsyncQuantumDatabase(QuantumDatabase.open(":memory:"), threads=4) as db:
        items = await db.create_collection("items", dimension=6, metric="l2")
        before = db.version
        inside, outside = asyncio.Event(), asyncio.Event()

        async def elsewhere():
            await inside.wait()
            found = (await items.query(VECTORS[0], 10)).ids
            await items.insert("other", VECTORS[50])
            outside.set()
            return found

        other = asyncio.create_task(elsewhere())
        async with db.transaction() as transaction:
            await asyncio.gather(*(items.insert(f"r{n}", VECTORS[n]) for n in range(8)))
            assert len((await items.query(VECTORS[0], 20)).ids) == 8
            inside.set()
            await outside.wait()
            assert "other" not in (await items.query(VECTORS[0], 20)).ids
        assert await other == []
        assert transaction.base == before
        assert transaction.version == db.version == before + 2
        assert len(await items.get(IDS[:8])) == 8


@awaited
async def test_a_transaction_that_raises_or_is_cancelled_writes_nothing():
    async with AsyncQuantumDatabase(QuantumDatabase.open(":memory:"), threads=2) as db:
        items = await db.create_collection("items", dimension=6, metric="l2")
        version = db.version
        with pytest.raises(ZeroDivisionError):
            async with db.transaction():
                await items.insert("a", VECTORS[0])
                raise ZeroDivisionError

        async def long():
            async with db.transaction():
                await items.insert("b", VECTORS[0])
                await asyncio.sleep(60)

        task = asyncio.create_task(long())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with db.transaction():
            with pytest.raises(TransactionError):
                async with db.transaction():
                    pass
        with pytest.raises(ConflictError):
            async with db.transaction():
                await items.upsert("c", VECTORS[0])
                db.blocking.collection("items").upsert("c", VECTORS[1])
        left = None
        async with db.transaction():
            go = asyncio.Event()

            async def later():
                await go.wait()
                await items.insert("d", VECTORS[0])

            left = asyncio.create_task(later())
            await asyncio.sleep(0)
        go.set()
        with pytest.raises(TransactionError, match="ended"):
            await left
        assert db.version == version + 1
        assert (await items.query(VECTORS[0], 9)).ids == ["c"]


def test_a_loop_that_ends_without_closing_hurts_nobody():
    database = QuantumDatabase.open(":memory:")
    go = threading.Event()

    async def forgetful():
        db = AsyncQuantumDatabase(database, threads=1)
        asyncio.create_task(db._workers.run(go.wait, 20))  # noqa: RUF006 - forgotten on purpose
        await asyncio.sleep(0.01)
        return db

    db = asyncio.run(forgetful())
    go.set()
    db._workers._pool.shutdown()
    database.close()
