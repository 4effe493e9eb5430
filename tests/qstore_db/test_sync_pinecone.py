"""Push, pull and both ways through Pinecone's own SDK, against the emulator."""

import contextlib
import json
import logging
import threading

import numpy as np
import pytest

pytest.importorskip("pinecone", reason="the extra pinecone is not installed")

from qstore_db import QuantumDatabase
from qstore_db.emulators.pinecone.emulator import PineconeEmulator
from qstore_db.emulators.pinecone.faults import Fault, FaultKind
from qstore_db.errors import (
    DimensionMismatchError,
    InvalidArgumentError,
    InvalidMetadataError,
    InvalidStateError,
    RemoteIndexError,
    SyncRefusedError,
    TransactionError,
    UnknownCollectionError,
    UnknownIndexError,
)
from qstore_db.sync.content import Row
from qstore_db.sync.pinecone_index import MAX_REQUEST_BYTES, PineconeIndex, requests_of

KEY = "pc-key-that-nobody-may-see"


@pytest.fixture(autouse=True)
def no_waits_inside_the_sdk(monkeypatch):
    monkeypatch.setattr("pinecone._internal.http_client._retry_sleep", lambda seconds: None, raising=False)


class Sides:
    """A collection and an index of dimension 2 that are synced with each other."""

    def __init__(self, path, metric="l2", pinecone_metric="euclidean", **options):
        self.now = 1_000.0
        self.emulator = PineconeEmulator(key=KEY)
        self.index = self.emulator.create_index("items", 2, pinecone_metric)
        self.db = QuantumDatabase.open(path, clock=lambda: self.now)
        self.items = self.db.create_collection("items", dimension=2, metric=metric, **options)

    def sync(self, direction="both", **options):
        settings = {"settle_seconds": 0.0, "host": self.emulator.url, "api_key": KEY, **options}
        return self.items.sync("items", direction, **settings)

    def here(self):
        rows = self.items.get(self.db.sql("SELECT id FROM items ORDER BY id").df()["id"].tolist())
        return {
            row.id: (row.vector.tolist(), {name: value for name, value in row.metadata.items() if value is not None})
            for row in rows
        }

    def there(self):
        return self.index.rows()

    def close(self):
        self.db.close()
        self.emulator.close()


@pytest.fixture
def sides():
    with contextlib.closing(Sides(":memory:")) as made:
        yield made


def upserts(emulator):
    return [request for request in emulator.requests if request == ("POST", "/vectors/upsert")]


def test_a_change_travels_once_and_deletions_too(sides):
    metadata = [{"n": 1}, {"t": "x"}, {"l": ["p", "q"]}]
    version = sides.items.insert(["a", "b", "c"], [[1, 0], [2, 0], [3, 0]], metadata)
    report = sides.sync("push")
    assert (report.pushed, report.deleted_remote, report.pulled, report.conflicts) == (3, 0, 0, [])
    assert sides.there() == sides.here()
    assert report.version == version
    again = sides.sync("push")
    assert (again.pushed, len(upserts(sides.emulator))) == (0, 1)
    sides.items.delete("a")
    sides.items.update("b", metadata={"t": "y"})
    third = sides.sync("push")
    assert (third.pushed, third.deleted_remote) == (1, 1)
    assert sides.there() == sides.here() == {"b": ([2, 0], {"t": "y"}), "c": ([3, 0], {"l": ["p", "q"]})}


def test_only_what_was_written_since_is_sent_or_asked_for(sides):
    sides.items.insert([f"r{n}" for n in range(50)], np.eye(2)[np.arange(50) % 2])
    sides.sync("push")
    sides.items.upsert("r7", [5, 5])
    sides.items.upsert("r8", sides.items.get("r8").vector)  # written anew with what it was
    before = len(sides.emulator.requests)
    report = sides.sync("push")
    assert report.changes.column("id").to_pylist() == ["r7"]
    assert [path for _, path in sides.emulator.requests[before:]] == [
        "/indexes/items",
        "/vectors/fetch",
        "/vectors/upsert",
    ]


def test_a_pull_takes_what_the_index_holds(sides):
    sides.items.insert("mine", [9, 9])
    sides.index.put({"a": ([1, 0], {"n": 1}), "b": ([2, 0], {"n": 2.5, "ok": True})})
    report = sides.sync("pull")
    assert (report.pulled, report.pushed, report.left) == (2, 0, 0)
    assert sides.here() == {"mine": ([9, 9], {}), **sides.there()}
    sides.index.put({"a": ([1, 1], {})})
    sides.index.remove(["b"])
    report = sides.sync("pull")
    assert (report.pulled, report.deleted_local) == (1, 1)
    assert sides.here() == {"mine": ([9, 9], {}), "a": ([1, 1], {})}
    assert sides.sync("push").pushed == 1  # only the row that was never there
    assert sides.here() == sides.there()


def test_integers_come_back_as_integers(sides):
    sides.items.insert("a", [1, 0], metadata={"n": 3})
    sides.sync("push")
    sides.index.put({"a": ([1, 1], {"n": 4})})
    sides.sync("pull")
    assert isinstance(sides.items.get("a").metadata["n"], int)


@pytest.mark.parametrize(
    ("prefer", "winner", "wanted"),
    [("local", "local", [5, 0]), ("remote", "remote", [0, 5]), ("neither", "neither", None)],
)
def test_a_row_changed_on_both_sides_is_decided_and_reported(sides, prefer, winner, wanted):
    sides.items.insert(["a", "b"], [[1, 0], [1, 1]])
    sides.sync()
    version = sides.items.upsert("a", [5, 0])
    sides.index.put({"a": ([0, 5], {})})
    report = sides.sync(prefer=prefer)
    assert [(one.id, one.winner, one.local_version) for one in report.conflicts] == [("a", winner, version)]
    if wanted is not None:
        assert sides.here()["a"][0] == sides.there()["a"][0] == wanted
        assert sides.sync().conflicts == []
        return
    assert (sides.here()["a"][0], sides.there()["a"][0], report.left) == ([5, 0], [0, 5], 1)
    assert report.version == version - 1  # so that the row is looked at again
    assert [one.winner for one in sides.sync("push", prefer="local").conflicts] == ["local"]
    assert sides.there()["a"][0] == [5, 0]


def test_what_lost_to_the_index_is_an_old_version_here(sides):
    sides.items.insert("a", [1, 0])
    sides.sync()
    version = sides.items.upsert("a", [5, 0])
    sides.index.remove(["a"])
    report = sides.sync(prefer="remote", allow_emptying=True)
    assert (report.deleted_local, "a" in sides.items) == (1, False)
    with sides.db.at(report.conflicts[0].local_version) as old:
        assert version == report.conflicts[0].local_version
        assert old.collection("items").get("a").vector.tolist() == [5, 0]


def test_the_plan_tells_the_same_and_does_nothing(sides):
    sides.items.insert(["a", "b"], [[1, 0], [2, 0]])
    sides.sync()
    sides.items.upsert("a", [5, 0])
    sides.items.delete("b")
    sides.index.put({"c": ([3, 0], {})})
    before, there = sides.db.version, sides.there()
    plan = sides.sync(dry_run=True)
    assert (sides.db.version, sides.there()) == (before, there)
    assert "plan" in repr(plan)
    done = sides.sync()
    assert sorted(plan.changes.to_pylist(), key=str) == sorted(done.changes.to_pylist(), key=str)
    assert set(zip(done.df()["id"], done.df()["action"], strict=True)) == {
        ("a", "pushed"),
        ("b", "deleted_remote"),
        ("c", "pulled"),
    }


@pytest.mark.parametrize(("metric", "theirs"), [("l2", "euclidean"), ("cosine", "cosine"), ("ip", "dotproduct")])
def test_both_sides_rank_alike(metric, theirs):
    from pinecone import Pinecone

    with contextlib.closing(Sides(":memory:", metric, theirs)) as sides:
        rng = np.random.default_rng(1)
        sides.items.insert([f"r{n}" for n in range(40)], rng.normal(size=(40, 2)))
        sides.sync("push")
        query = rng.normal(size=2)
        with Pinecone(api_key=KEY, host=sides.emulator.url) as client, client.Index("items") as index:
            found = index.query(vector=query.tolist(), top_k=10).matches
        hits = sides.items.query(query, 10)
        assert [match.id for match in found] == hits.ids
        scores = np.array([match.score for match in found])
        np.testing.assert_allclose(np.sqrt(scores) if metric == "l2" else scores, hits.scores, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_vectors_that_are_rounded_here_do_not_bounce(dtype):
    with contextlib.closing(Sides(":memory:", dtype=dtype)) as sides:
        pulled = [0.1, 0.2] if dtype == "float16" else [3, 4]
        sides.index.put({"a": (pulled, {})})
        assert sides.sync().pulled == 1
        for _ in range(2):
            report = sides.sync()
            assert (report.pulled, report.pushed) == (0, 0)
        np.testing.assert_array_equal(sides.there()["a"][0], np.float32(pulled))


# Refusals


def test_other_metrics_dimensions_and_unknown_names_are_refused_before_anything_is_sent(sides):
    sides.items.insert("a", [1, 0])
    sides.emulator.create_index("cosine", 2, "cosine")
    sides.emulator.create_index("wide", 3, "euclidean")
    common = {"host": sides.emulator.url, "api_key": KEY}
    with pytest.raises(
        SyncRefusedError, match="compares by l2, index 'cosine' holds dense vectors and compares by cosine"
    ):
        sides.items.sync("cosine", **common)
    with pytest.raises(DimensionMismatchError, match="has dimension 2, index 'wide' 3"):
        sides.items.sync("wide", **common)
    with pytest.raises(UnknownIndexError, match="'absent'"):
        sides.items.sync("absent", **common)
    assert {path for _, path in sides.emulator.requests} <= {"/indexes/cosine", "/indexes/wide", "/indexes/absent"}


@pytest.mark.parametrize("direction", ["push", "both"])
def test_a_row_that_pinecone_cannot_hold_stops_the_sync_before_anything_is_sent(sides, direction):
    sides.items.insert([f"r{n}" for n in range(2500)], np.ones((2500, 2)))
    sides.items.insert("bad", [1, 1], metadata={"n": 2**53 + 1})
    with pytest.raises(InvalidMetadataError, match=r"row 'bad'.*2\^53"):
        sides.sync(direction)
    assert sides.there() == {}
    assert all(method == "GET" for method, _ in sides.emulator.requests)


def test_states_are_refused():
    with contextlib.closing(Sides(":memory:", "cosine", "cosine")) as sides:
        sides.items.insert(id="s", vector=[1, 0], contexts=[("x", 0.5), ("y", 0.5)])
        with pytest.raises(InvalidStateError, match="states"):
            sides.sync("push")
        sides.items.delete("s")
        sides.items.insert("a", [1, 0])
        assert sides.sync("push").pushed == 1


@pytest.mark.parametrize(
    "options", [{"direction": "up"}, {"prefer": "me"}, {"settle_seconds": -1}, {"retry_seconds": -1}]
)
def test_arguments_out_of_their_range(sides, options):
    with pytest.raises(InvalidArgumentError, match=next(iter(options))):
        sides.sync(**options)


def test_a_side_that_lost_every_row_does_not_empty_the_other(sides):
    sides.items.insert(["a", "b"], [[1, 0], [2, 0]])
    sides.sync()
    sides.index.remove(["a", "b"])
    with pytest.raises(SyncRefusedError, match="the index has lost every one of the 2 rows"):
        sides.sync("pull")
    assert len(sides.items) == 2
    assert sides.db.sql("SELECT status, error FROM syncs").fetchone()[0] == "failed"
    assert sides.sync("pull", allow_emptying=True).deleted_local == 2

    sides.items.insert("c", [1, 0])
    sides.sync()
    sides.items.delete("c")
    with pytest.raises(SyncRefusedError, match="the collection has lost every one of the 1 rows"):
        sides.sync("push")
    assert sides.sync("push", allow_emptying=True).deleted_remote == 1


def test_a_transaction_cannot_hold_a_sync(sides):
    sides.items.insert("a", [1, 0])
    with sides.db.transaction(), pytest.raises(TransactionError, match="a sync"):
        sides.sync()


def test_two_syncs_of_one_collection_do_not_mix(sides):
    sides.items.insert("a", [1, 0])
    reached, go_on = threading.Event(), threading.Event()

    def hold(request):
        if request.path == "/vectors/upsert":
            reached.set()
            assert go_on.wait(10)

    sides.emulator.on_request = hold
    first = threading.Thread(target=sides.sync)
    first.start()
    assert reached.wait(10)
    try:
        with pytest.raises(SyncRefusedError, match="another thread"):
            sides.sync()
    finally:
        go_on.set()
        first.join()
    assert sides.there() == sides.here()


def test_rows_written_while_they_are_pushed_are_pushed_again(sides):
    sides.items.insert("a", [1, 0])
    sides.emulator.on_request = lambda request: (
        sides.items.upsert("a", [7, 7])
        if request.path == "/vectors/upsert" and len(sides.emulator.requests) < 5
        else None
    )
    sides.sync("push")
    assert (sides.there()["a"][0], sides.here()["a"][0]) == ([1, 0], [7, 7])
    sides.emulator.on_request = None
    assert sides.sync("push").pushed == 1
    assert sides.there() == sides.here()


# Limits


def test_requests_stay_within_rows_and_bytes(sides):
    rows = [Row(f"r{n}", np.full(784, 1 / 3, np.float32), {"text": "x" * 500}) for n in range(400)]
    parts = list(requests_of(rows))
    assert [row.id for part in parts for row in part] == [row.id for row in rows]
    sizes = [
        len(json.dumps({"vectors": [{"id": r.id, "values": r.vector.tolist(), "metadata": r.metadata} for r in part]}))
        for part in parts
    ]
    assert MAX_REQUEST_BYTES * 0.9 < max(sizes) <= 2 * 2**20
    assert [len(part) for part in requests_of([Row(str(n), np.ones(2, np.float32), {}) for n in range(2100)])] == [
        1000,
        1000,
        100,
    ]


def test_large_rows_and_long_ids_pass(sides):
    ids = [f"{n:0512d}" for n in range(120)]  # fetched by address, twelve at a time
    sides.items.insert(ids, np.ones((120, 2)), metadata=[{"text": "é" * 15_000} for _ in ids])
    report = sides.sync("push")
    assert report.pushed == 120
    assert sides.there() == sides.here()
    assert len(upserts(sides.emulator)) == 2  # 120 rows of 30 KB are 3.6 MB
    sides.items.delete(ids[:-1])
    assert sides.sync("push").deleted_remote == 119


# Faults


def test_passing_faults_are_tried_again(sides):
    sides.items.insert([f"r{n}" for n in range(3)], np.ones((3, 2)))
    sides.emulator.faults += [
        Fault(status=429, path="/indexes/items", headers={"Retry-After": "0.02"}),
        Fault(status=500, path="/vectors/fetch"),
        Fault(FaultKind.LOST_ANSWER, path="/vectors/upsert"),
        Fault(status=503, path="/vectors/upsert"),
        Fault(FaultKind.SILENT, path="/vectors/upsert", silence_seconds=0.05),
    ]
    report = sides.sync("push")
    assert (report.pushed, sides.emulator.faults) == (3, [])
    assert sides.there() == sides.here()


def test_waits_grow_with_jitter_follow_the_server_and_end(sides):
    # Asking what the index is is the one request that the SDK does not send again by itself.
    sleeps, now = [], [0.0]

    def sleep(seconds):
        sleeps.append(seconds)
        now[0] += seconds

    def connect():
        clock, rng = (lambda: now[0]), np.random.default_rng(0)
        with PineconeIndex.connect(
            "items", api_key=KEY, host=sides.emulator.url, retry_seconds=60.0, rng=rng, clock=clock, sleep=sleep
        ) as index:
            return index.requests, index.retries

    sides.emulator.faults += [Fault(status=429, headers={"Retry-After": "7"})] + [Fault(status=500)] * 5
    assert connect() == (7, 6)
    assert sleeps[0] == 7.0
    bounds = [0.25 * 2.0**n for n in range(1, 6)]
    assert all(0 <= wait <= bound for wait, bound in zip(sleeps[1:], bounds, strict=True))
    assert len(set(sleeps)) == len(sleeps)

    sides.emulator.faults += [Fault(status=500)] * 1_000
    begin = now[0]
    with pytest.raises(RemoteIndexError, match="500") as caught:
        connect()
    assert 30 < now[0] - begin <= 60
    assert caught.value.retryable
    sides.emulator.faults[:] = [Fault(status=429, headers={"Retry-After": "61"})]
    begin = now[0]
    with pytest.raises(RemoteIndexError, match="429"):
        connect()
    assert now[0] == begin  # it would be too late


def test_a_refusal_is_not_tried_again(sides):
    with pytest.raises(RemoteIndexError, match="Invalid API Key") as caught:
        sides.sync(api_key="wrong-key")
    assert len(sides.emulator.requests) == 1
    assert "key" in caught.value.fix


def test_after_a_failure_the_next_sync_sends_the_rest(sides):
    sides.items.insert([f"r{n:04d}" for n in range(2500)], np.ones((2500, 2)))
    sides.emulator.on_request = lambda request: (
        sides.emulator.faults.append(Fault(status=400, path="/vectors/upsert"))
        if len(upserts(sides.emulator)) == 2
        else None
    )
    with pytest.raises(RemoteIndexError, match="400"):
        sides.sync("push")
    status, pushed, error = sides.db.sql("SELECT status, pushed, error FROM syncs").fetchone()
    assert (status, pushed) == ("failed", 2000)
    assert "injected" in error
    sides.emulator.on_request = None
    sides.emulator.faults.clear()
    assert sides.sync("push").pushed == 500
    assert sides.there() == sides.here()


def test_a_lost_answer_followed_by_an_edit_is_no_conflict(sides):
    sides.items.insert("a", [1, 0])
    sides.sync()
    sides.items.upsert("a", [2, 0])
    sides.emulator.faults += [
        Fault(FaultKind.LOST_ANSWER, path="/vectors/upsert"),
        Fault(status=400, path="/vectors/upsert"),
    ]
    with pytest.raises(RemoteIndexError):
        sides.sync()
    assert sides.there()["a"][0] == [2, 0]  # it had been carried out
    sides.items.upsert("a", [3, 0])
    report = sides.sync(prefer="remote")
    assert (report.pushed, report.conflicts) == (1, [])
    assert sides.there() == sides.here()


def test_reads_behind_writes_bring_nothing_back(sides):
    sides.items.insert(["a", "b", "keep"], [[1, 0], [2, 0], [3, 0]])
    sides.sync()
    sides.now += 100
    sides.items.upsert("a", [5, 0])
    sides.items.delete("b")
    sides.sync(settle_seconds=60)
    sides.index.put({"a": ([1, 0], {}), "b": ([2, 0], {})})  # what a read that is behind would show
    report = sides.sync(settle_seconds=60)
    assert (report.pulled, report.pushed, report.deleted_local) == (0, 0, 0)
    assert "b" not in sides.items
    sides.now += 61
    report = sides.sync(settle_seconds=60)  # now it must be somebody's doing
    assert report.pulled == 2
    assert sides.here() == sides.there()


# Keys, names, SQL


def test_the_key_is_neither_stored_nor_logged(tmp_path, caplog, capfd, monkeypatch):
    caplog.set_level(logging.DEBUG)
    with contextlib.closing(Sides(tmp_path / "db")) as sides:
        sides.items.insert("a", [1, 0])
        sides.sync("push")
        sides.emulator.faults.append(Fault(status=400, path="/vectors/list"))
        with pytest.raises(RemoteIndexError) as caught:
            sides.sync("pull")
        assert KEY not in repr(caught.value) + str(caught.value.__context__)
        monkeypatch.setenv("PINECONE_API_KEY", KEY)
        monkeypatch.setenv("PINECONE_CONTROLLER_HOST", sides.emulator.url)
        sides.db.sql("CALL sync(collection => 'items', index => 'items')")
    for file in (tmp_path / "db").rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes(), file
    said = capfd.readouterr()
    assert KEY not in caplog.text + said.out + said.err


def test_a_key_in_what_pinecone_says_is_hidden(sides):
    sides.emulator.key = "another"
    with (
        pytest.raises(RemoteIndexError) as caught,
        PineconeIndex.connect("items", api_key=KEY, host=sides.emulator.url),
    ):
        pytest.fail("the key is wrong")
    assert KEY not in str(caught.value)


def test_without_a_key_nothing_is_asked(sides, monkeypatch):
    monkeypatch.delenv("PINECONE_API_KEY", raising=False)
    with pytest.raises(InvalidArgumentError, match="no API key") as caught:
        sides.sync(api_key=None)
    assert "PINECONE_API_KEY" in caught.value.fix
    assert sides.emulator.requests == []


def test_sql_syncs_and_shows_syncs(sides, monkeypatch):
    monkeypatch.setenv("PINECONE_API_KEY", KEY)
    monkeypatch.setenv("PINECONE_CONTROLLER_HOST", sides.emulator.url)
    sides.items.insert(["a", "b"], [[1, 0], [2, 0]])
    plan = sides.db.sql("CALL sync(collection => 'items', index => 'items', direction => 'push', dry_run => true)")
    assert dict(zip(plan.columns, plan.fetchone(), strict=True))["pushed"] == 2
    assert sides.there() == {}
    sides.db.sql("CALL sync('items', 'items', 'push', namespace => 'n', settle_seconds => 0)")
    assert set(sides.index.rows("n")) == {"a", "b"}
    version = sides.items.upsert("a", [5, 0])
    sides.index.put({"a": ([0, 5], {})}, "n")
    row = sides.db.sql("CALL sync('items', 'items', namespace => 'n', prefer => 'neither', settle_seconds => 0)")
    assert dict(zip(row.columns, row.fetchone(), strict=True))["conflicts"] == ["a"]
    found = sides.db.sql('SELECT collection, "index", namespace, direction, status, conflicts, version FROM syncs')
    assert found.fetchall() == [("items", "items", "n", "both", "finished", 1, version - 1)]
    with pytest.raises(UnknownCollectionError):
        sides.db.sql("CALL sync('items$sync-0', 'items')")


def test_namespaces_are_synced_apart_and_forgotten_with_the_collection(sides):
    sides.items.insert("a", [1, 0])
    sides.sync("push", namespace="x")
    sides.sync("push", namespace="y")
    assert set(sides.index.rows("x")) == set(sides.index.rows("y")) == {"a"}
    assert len(sides.db._engine.snapshot().collections()) == 3
    sides.db.drop_collection("items")
    assert sides.db._engine.snapshot().collections() == ()
    assert len(sides.db.sql("SELECT * FROM syncs")) == 0
    sides.items = sides.db.create_collection("items", dimension=2, metric="l2")
    report = sides.sync("both", namespace="x")  # nothing is known any more, so nothing is deleted
    assert (report.pulled, report.deleted_remote) == (1, 0)


def test_what_is_remembered_survives_reopening(tmp_path):
    sides = Sides(tmp_path / "db")
    sides.items.insert(["a", "b"], [[1, 0], [2, 0]])
    sides.sync()
    sides.db.close()
    sides.db = QuantumDatabase.open(tmp_path / "db", clock=lambda: sides.now)
    sides.items = sides.db.collection("items")
    sides.items.delete("a")
    report = sides.sync()
    assert (report.pushed, report.deleted_remote, report.pulled) == (0, 1, 0)
    sides.close()


def test_a_lost_answer_followed_by_the_old_content_is_undone_at_the_index(sides):
    sides.items.insert("a", [1, 0])
    sides.sync()
    sides.items.upsert("a", [2, 0])
    sides.emulator.faults += [
        Fault(FaultKind.LOST_ANSWER, path="/vectors/upsert"),
        Fault(status=400, path="/vectors/upsert"),
    ]
    with pytest.raises(RemoteIndexError):
        sides.sync()
    sides.items.upsert("a", [1, 0])  # as it was agreed: only the mark tells that the index may hold something else
    assert sides.sync("push").pushed == 1
    assert sides.there() == sides.here() == {"a": ([1, 0], {})}


def test_rows_that_the_index_does_not_show_yet_are_not_lost():
    now = [1_000.0]
    clock = lambda: now[0]  # noqa: E731 - one of them for both
    with (
        PineconeEmulator(key=KEY, delay_seconds=30.0, clock=clock) as emulator,
        QuantumDatabase.open(":memory:", clock=clock) as db,
    ):
        emulator.create_index("items", 2, "euclidean")
        items = db.create_collection("items", dimension=2, metric="l2")
        items.insert("a", [1, 0])
        items.sync("items", "push", host=emulator.url, api_key=KEY)
        for _ in range(5):  # each read draws how far it is behind
            report = items.sync("items", host=emulator.url, api_key=KEY)
            assert report.changes.num_rows == 0
        assert "a" in items


def test_what_is_remembered_of_deleted_rows_is_given_up(sides):
    sides.items.insert([f"r{n}" for n in range(10)], np.ones((10, 2)))
    sides.sync("push", settle_seconds=60)
    sides.items.delete([f"r{n}" for n in range(9)])
    sides.sync("push", settle_seconds=60)
    remembered = next(one.name for one in sides.db._engine.snapshot().collections() if "$sync" in one.name)
    assert len(sides.db._engine.snapshot().collection(remembered)) == 10
    sides.now += 61
    sides.sync("push")
    assert len(sides.db._engine.snapshot().collection(remembered)) == 1


@pytest.mark.parametrize("direction", ["push", "pull", "both"])
def test_anew_is_as_the_first_sync(sides, direction):
    sides.items.insert(["a", "b", "c"], [[1, 0], [2, 0], [3, 0]])
    sides.sync()
    sides.emulator.delete_index("items")
    sides.index = sides.emulator.create_index("items", 2, "euclidean")
    sides.index.put({"d": ([4, 0], {}), "b": ([2, 0], {})})
    plan = sides.sync(direction, anew=True, dry_run=True)
    report = sides.sync(direction, anew=True)
    assert sorted(plan.changes.to_pylist(), key=str) == sorted(report.changes.to_pylist(), key=str)
    assert (report.deleted_local, report.deleted_remote, report.conflicts) == (0, 0, [])
    assert report.pushed == (0 if direction == "pull" else 2)
    assert report.pulled == (0 if direction == "push" else 1)
    assert report.agreed == 1
    sides.sync()
    assert set(sides.here()) == set(sides.there()) == {"a", "b", "c", "d"}


def test_ctrl_c_is_recorded_and_the_next_sync_goes_on(sides, monkeypatch):
    sides.items.insert([f"r{n}" for n in range(1500)], np.ones((1500, 2)))
    upsert = PineconeIndex.upsert

    def interrupted(self, rows):
        upsert(self, rows)
        if len(rows) == 500:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PineconeIndex, "upsert", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sides.sync("push")
    assert sides.db.sql("SELECT status, pushed FROM syncs").fetchone() == ("interrupted", 1000)
    assert sides.sync("push").pushed == 500


def test_large_rows_are_pulled(sides):
    wide = sides.emulator.create_index("wide", 4096, "cosine")
    rng = np.random.default_rng(0)
    wide.put({f"r{n}": (rng.normal(size=4096), {"n": n}) for n in range(700)})  # 11 MB in one batch
    items = sides.db.create_collection("wide", dimension=4096)
    report = items.sync("wide", "pull", host=sides.emulator.url, api_key=KEY)
    assert report.pulled == len(items) == 700
    np.testing.assert_array_equal(items.get("r5").vector, wide.rows()["r5"][0])


def test_the_end_of_a_sync_is_logged(sides, caplog):
    caplog.set_level(logging.INFO, "qstore_db.sync")
    sides.items.insert("a", [1, 0])
    sides.sync("push")
    sides.emulator.faults.append(Fault(status=400, path="/vectors/list"))
    with pytest.raises(RemoteIndexError):
        sides.sync("pull")
    done, failed = (record for record in caplog.records if record.name == "qstore_db.sync")
    assert (done.pushed, done.collection, done.levelname) == (1, "items", "INFO")
    assert (failed.levelname, failed.direction) == ("WARNING", "pull")


def test_two_lost_answers_in_a_row_are_no_conflict(sides):
    sides.items.insert("a", [1, 0])
    sides.sync()
    for number, fault in ((2, FaultKind.LOST_ANSWER), (3, FaultKind.STATUS)):
        sides.items.upsert("a", [number, 0])
        sides.emulator.faults += [
            Fault(fault, path="/vectors/upsert"),
            Fault(status=400, path="/vectors/upsert"),
        ]
        with pytest.raises(RemoteIndexError):
            sides.sync()
        sides.emulator.faults.clear()
    assert sides.there()["a"][0] == [2, 0]  # the first of them was carried out, the second was not
    report = sides.sync(prefer="remote")
    assert (report.pushed, report.pulled, report.conflicts) == (1, 0, [])
    assert sides.there() == sides.here() == {"a": ([3, 0], {})}


@pytest.mark.parametrize(
    "host", ["http://pinecone.example", "https://http://pinecone.example", "https://[bad", "ftp://127.0.0.1"]
)
@pytest.mark.parametrize("in_environment", [False, True])
def test_the_key_goes_nowhere_unprotected(monkeypatch, host, in_environment):
    monkeypatch.setattr("pinecone.Pinecone", lambda **given: pytest.fail("asked"))
    if in_environment:
        monkeypatch.setenv("PINECONE_CONTROLLER_HOST", host)
    with pytest.raises(InvalidArgumentError, match="https"):
        PineconeIndex.connect("i", api_key="k", host=None if in_environment else host)


@pytest.mark.parametrize("namespace", [3, None])
def test_a_namespace_is_text(namespace):
    with pytest.raises(InvalidArgumentError, match="namespace"):
        PineconeIndex.connect("i", namespace, api_key="k")
