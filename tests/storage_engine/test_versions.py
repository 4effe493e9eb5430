"""Every version that is kept reads as it was; what is not kept says so; VACUUM leaves no deleted byte."""

import dataclasses
import subprocess
import sys
import threading
import time
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
    DamagedError,
    InvalidArgumentError,
    ReadOnlyError,
    UnknownVersionError,
)
from storage_engine.history.pins import pins, put_pin, put_retention, put_tag, remove_pin, tags
from storage_engine.history.retained import Checkpoint, KeptLog, Retained
from storage_engine.history.retention import NOTHING, Facts, Retention, kept
from storage_engine.schema import CollectionSchema, GraphOptions, Metric

DIMENSION = 4


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def create(name):
    graph = GraphOptions(minimum_rows=1_000_000)
    return CreateCollection(CollectionSchema(name, uuid.uuid4().hex, DIMENSION, Metric.L2, graph=graph))


def row(row_id, value):
    table = pa.table({"n": [value]})
    return PutRows("c", [row_id], np.full((1, DIMENSION), value, np.float32), metadata=table)


def contents(snapshot):
    """Everything that a snapshot shows, as plain values."""
    collections = {}
    for schema in snapshot.collections():
        view = snapshot.collection(schema.name)
        table = view.arrow()
        collections[schema.name] = sorted(map(str, table.to_pylist())), len(view), list(view.columns)
    return collections, {name: dict(snapshot.table(name)) for name in snapshot.tables() if snapshot.table(name)}


def commit(engine, *operations):
    return engine.commit(WriteBatch(list(operations)))


step = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 5), st.integers(0, 99)),
    st.tuples(st.just("delete"), st.integers(0, 5)),
    st.tuples(st.just("record"), st.integers(0, 2), st.integers(0, 9)),
    st.tuples(st.just("forget"), st.integers(0, 2)),
    st.tuples(st.just("drop")),
    st.tuples(st.just("seal")),
    st.tuples(st.just("graph")),
    st.tuples(st.just("reopen")),
)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.lists(step, min_size=5, max_size=30))
def test_every_version_reads_as_it_was(tmp_path_factory, steps):  # noqa: PLR0912 - one branch an operation
    path = tmp_path_factory.mktemp("versions") / "db"
    engine = Engine.open(path)
    commit(engine, create("c"))
    seen = {0: ({}, {}), 1: contents(engine.snapshot())}
    try:
        for what, *values in steps:
            snapshot = engine.snapshot()
            if what == "put":
                version = commit(engine, row(f"r{values[0]}", values[1]))
            elif what == "delete":
                version = commit(engine, DeleteRows("c", [f"r{values[0]}"], missing_ok=True))
            elif what == "record":
                version = commit(engine, PutRecord("t", f"k{values[0]}", {"v": values[1]}))
            elif what == "forget" and f"k{values[0]}" in snapshot.table("t"):
                version = commit(engine, DeleteRecord("t", f"k{values[0]}"))
            elif what == "drop":
                version = commit(engine, DropCollection("c"), create("c"))
            else:
                if what == "seal":
                    engine.seal()
                elif what == "graph":
                    engine.build_graphs()
                elif what == "reopen":
                    engine.close()
                    engine = Engine.open(path)
                continue
            seen[version] = contents(engine.snapshot())
        assert [version.number for version in engine.versions()] == sorted(seen)[1:]
        with Engine.open(path, read_only=True) as reader:
            for version, expected in seen.items():
                for source in (engine, reader):
                    with source.at(version) as past:
                        assert contents(past.snapshot()) == expected, version
        assert engine.verify() == []
    finally:
        engine.close()


def test_versions_say_when_and_what(tmp_path):
    clock = Clock()
    with Engine.open(tmp_path / "db", clock=clock) as engine:
        for number, operations in enumerate(
            [
                [create("c"), row("a", 1)],
                [row("b", 2), PutRecord("t", "k", {})],
                [DeleteRows("c", ["a"]), DeleteRecord("t", "k")],
                [DropCollection("c")],
            ],
            start=1,
        ):
            clock.now = 10.0 * number
            commit(engine, *operations)
        assert [(version.number, version.time, version.changes) for version in engine.versions()] == [
            (1, 10.0, "collection c created; c: 1 row written"),
            (2, 20.0, "c: 1 row written; table t: 1 record put"),
            (3, 30.0, "c: 1 row deleted; table t: 1 record removed"),
            (4, 40.0, "collection c dropped"),
        ]
        with engine.at(2) as past:
            assert past.snapshot().time == 20.0


def test_a_version_that_is_not_there_says_so(tmp_path):
    with Engine.open(tmp_path / "db") as engine:
        commit(engine, create("c"))
        for version in (-1, 2, True, "1", 1.0):
            with pytest.raises(UnknownVersionError, match="there is no version"):
                engine.at(version)
        with engine.at(0) as past:
            assert past.read_only and past.snapshot().collections() == ()
            with pytest.raises(ReadOnlyError, match="in the past"):
                commit(past, create("d"))
            with past.at(1) as later:
                assert later.snapshot().has_collection("c")
        commit(engine, row("a", 1))
        engine.vacuum()
        with pytest.raises(UnknownVersionError, match="version 1 is not kept any more"):
            engine.at(1)


def test_memory_has_versions_too():
    with Engine.open(None) as engine:
        commit(engine, create("c"))
        commit(engine, row("a", 1))
        engine.seal()
        commit(engine, DeleteRows("c", ["a"]))
        with engine.at(2) as past:
            assert len(past.snapshot().collection("c")) == 1
        assert engine.vacuum().oldest_version == 3


def test_old_files_stay_attached_at_their_version(tmp_path):
    with Engine.open(tmp_path / "db") as engine:
        file = engine.stage_file("metrics", ".parquet", lambda stream: stream.write(b"content"))
        version = commit(engine, AttachFile(file))
        commit(engine, DetachFile("metrics", file.name))
        for number in range(3):
            commit(engine, PutRecord("t", "k", {"v": number}))
            engine.seal()
        with engine.at(version) as past:
            assert past.read_file("metrics", file.name) == b"content"
            # The view holds what it shows: not even a vacuum takes it away.
            engine.vacuum()
            assert past.read_file("metrics", file.name) == b"content"
        engine.vacuum()
        assert not (tmp_path / "db" / "metrics" / file.name).exists()


def bytes_on_disk(path):
    return b"".join(file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file())


@pytest.mark.parametrize("sealed_before", [False, True])
def test_vacuum_leaves_no_byte_of_what_was_deleted(tmp_path, sealed_before):
    path = tmp_path / "db"
    secret = np.array([[1.2345e-7, -9.87654e12, 3.0, 4.0]], np.float32)
    with Engine.open(path) as engine:
        commit(engine, create("c"), create("d"), row("kept", 1))
        commit(
            engine,
            PutRows("c", ["secret-id"], secret, metadata=pa.table({"n": [7], "text": ["secret-text"]})),
            PutRecord("t", "secret-key", {"v": "secret-value"}),
            PutRows("d", ["only"], secret),
        )
        if sealed_before:
            engine.seal()
        commit(engine, DeleteRows("c", ["secret-id"]), DeleteRecord("t", "secret-key"), DeleteRows("d", ["only"]))
        engine.seal()
        assert secret.tobytes() in bytes_on_disk(path)
        report = engine.vacuum()
        assert report.rewritten == ("c", "d")
        assert (report.oldest_version, report.pinned) == (report.version, ())
        found = bytes_on_disk(path)
        for gone in (secret.tobytes(), b"secret-id", b"secret-text", b"secret-key", b"secret-value"):
            assert gone not in found, gone
        assert report.bytes_after < report.bytes_before
        assert engine.verify() == []
        before = contents(engine.snapshot())
    with Engine.open(path) as engine:
        assert contents(engine.snapshot()) == before
        assert [version.number for version in engine.versions()] == [engine.snapshot().version]


def test_a_tag_and_a_pin_survive_vacuum_until_they_are_given_up(tmp_path):
    path = tmp_path / "db"
    with Engine.open(path) as engine:
        commit(engine, create("c"), row("a", 1))
        second = commit(engine, row("b", 2))
        third = commit(engine, row("c", 3))
        commit(engine, put_tag("v1", second, 5.0), put_pin("run 1", third))
        with pytest.raises(AlreadyExistsError):
            commit(engine, put_tag("v1", third, 5.0))
        commit(engine, DeleteRows("c", ["a", "b", "c"]))
        report = engine.vacuum()
        assert report.pinned == ((second, ("tag v1",)), (third, ("run 1",)))
        for number in range(3):
            commit(engine, PutRecord("t", "k", {"v": number}))
            engine.seal()
    with Engine.open(path) as engine:
        assert tags(engine.snapshot())["v1"].version == second
        assert pins(engine.snapshot()) == {"run 1": third}
        for version, rows in ((second, 2), (third, 3)):
            with engine.at(version) as past:
                assert len(past.snapshot().collection("c")) == rows
        assert engine.verify() == []
        commit(engine, DeleteRecord("tags", "v1"), remove_pin("run 1"))
        engine.vacuum()
        with pytest.raises(UnknownVersionError):
            engine.at(third)


def test_names_of_tags():
    for name in ("", "12", " a", "x" * 201, None):
        with pytest.raises(InvalidArgumentError):
            put_tag(name, 1, 0.0)


def test_the_past_is_given_up_by_its_limits(tmp_path):
    clock = Clock()
    with Engine.open(tmp_path / "db", clock=clock) as engine:
        commit(engine, create("c"), put_retention(Retention(keep_seconds=100.0)))
        for number in range(2, 8):
            clock.now = 50.0 * number
            commit(engine, row("a", number))
            engine.seal()
        readable = [version.number for version in engine.versions()]
        assert readable[-1] == 7 and 1 not in readable and 5 in readable
        with pytest.raises(UnknownVersionError):
            engine.at(2)
        commit(engine, put_retention(Retention(keep_versions=0)))
        for _ in range(3):
            commit(engine, row("a", 0))
            engine.seal()
        assert len(engine.versions()) <= 2


def facts(newest_lsn=40, now=1000.0, pinned=(), size=0):
    newest = Checkpoint(5, newest_lsn, 0.0, now, 5)
    return Facts(newest, newest_lsn, now, frozenset(pinned), {"live": size}, lambda one: {f"file{one.number}": 100})


def past_of(count=4):
    checkpoints = tuple(Checkpoint(n, 10 * (n - 1), 0.0, 100.0 * n, n) for n in range(1, count + 1))
    logs = tuple(KeptLog(n, 10 * (n - 1) + 1, 10 * n, 50) for n in range(1, count + 1))
    return Retained(checkpoints, logs)


def test_limits_of_bytes_age_and_number():
    past = past_of()
    assert kept(past, Retention(), facts()) == past
    assert [one.number for one in kept(past, Retention(keep_bytes=300), facts()).checkpoints] == [3, 4]
    assert [one.number for one in kept(past, Retention(keep_bytes=299), facts()).checkpoints] == [4]
    assert [one.number for one in kept(past, Retention(keep_seconds=700.0), facts()).checkpoints] == [2, 3, 4]
    assert [one.number for one in kept(past, Retention(keep_versions=11), facts()).checkpoints] == [3, 4]
    assert kept(past, NOTHING, facts()) == Retained()


def test_a_pin_keeps_its_checkpoint_and_only_the_logs_up_to_it():
    found = kept(past_of(), NOTHING, facts(pinned=[15]))
    assert [one.number for one in found.checkpoints] == [2] and [one.number for one in found.logs] == [2]
    assert kept(past_of(), NOTHING, facts(pinned=[20])).checkpoints[0].number == 3
    assert kept(past_of(), NOTHING, facts(pinned=[40])) == Retained()
    newest = facts().newest
    assert found.base(15, newest).number == 2
    for version in (5, 25):
        with pytest.raises(UnknownVersionError):
            found.base(version, newest)


def test_a_checkpoint_of_the_same_version_takes_the_place_of_the_one_before():
    past = past_of(3)
    doubled = dataclasses.replace(past.checkpoints[2], number=4)
    newest = Checkpoint(5, 30, 0.0, 0.0, 4)
    told = dataclasses.replace(facts(30), newest=newest)
    found = kept(Retained((*past.checkpoints, doubled), past.logs), Retention(), told)
    assert [one.number for one in found.checkpoints] == [1, 2, 4]


@pytest.mark.parametrize("value", [-1, "x", None, True])
def test_limits_are_checked(value):
    with pytest.raises(InvalidArgumentError):
        Retention(keep_seconds=value)


def test_a_crash_leaves_the_past_readable_and_the_directory_clean(tmp_path, monkeypatch):
    path = tmp_path / "db"
    code = (
        "import sys, os, numpy as np\n"
        "from storage_engine.engine import Engine\n"
        "from storage_engine.batch import *\n"
        "from storage_engine.schema import *\n"
        f"engine = Engine.open({str(path)!r})\n"
        "engine.commit(WriteBatch([CreateCollection(CollectionSchema('c', 'a' * 32, 2, Metric.L2))]))\n"
        "for n in range(6):\n"
        "    engine.commit(WriteBatch([PutRows('c', [str(n)], np.ones((1, 2), np.float32))]))\n"
        "    n % 2 or engine.seal()\n"
        "os._exit(1)\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 1
    with Engine.open(path) as engine:
        assert [version.number for version in engine.versions()] == list(range(1, 8))
        for version in range(1, 8):
            with engine.at(version) as past:
                assert len(past.snapshot().collection("c")) == version - 1
        assert engine.verify() == []


def test_a_long_past_does_not_pass_its_share(tmp_path):
    path = tmp_path / "db"
    with Engine.open(path) as engine:
        commit(engine, create("c"), put_retention(Retention(keep_bytes=20_000)))
        for number in range(600):
            commit(engine, row(f"r{number % 20}", number))
            if number % 20 == 19:
                engine.seal()
        held = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        manifest = engine._source.manifest
        live = sum(manifest.file_lengths().values())
        assert len(manifest.retained.checkpoints) > 0 and held < 20_000 + 3 * live + 200_000


def test_vacuum_takes_what_was_written_after_a_pinned_version(tmp_path):
    """A version that was sealed when it was tagged needs no log, which would hold what came later as well."""
    path = tmp_path / "db"
    secret = np.array([[1.2345e-7, -9.87654e12, 3.0, 4.0]], np.float32)
    with Engine.open(path) as engine:
        commit(engine, create("c"), row("a", 1))
        engine.seal()
        commit(engine, put_tag("v1", 1, 0.0))
        commit(engine, PutRows("c", ["secret-id"], secret))
        commit(engine, DeleteRows("c", ["secret-id", "a"]))
        engine.vacuum()
        found = bytes_on_disk(path)
        assert secret.tobytes() not in found and b"secret-id" not in found
        with engine.at(1) as past:
            assert len(past.snapshot().collection("c")) == 1


def test_vacuum_without_deleted_rows_takes_the_logs_too(tmp_path):
    path = tmp_path / "db"
    with Engine.open(path) as engine:
        commit(engine, create("c"), PutRecord("t", "k", {"v": "secret-value"}))
        engine.seal()
        commit(engine, PutRecord("t", "k", {"v": "public"}))
        engine.seal()
        assert engine.vacuum().rewritten == ()
        assert b"secret-value" not in bytes_on_disk(path)


def test_an_old_version_is_never_taken_for_the_newest(tmp_path):
    """A pinned checkpoint whose logs lead nowhere is no ground to open on, even if everything newer is lost."""
    path = tmp_path / "db"
    with Engine.open(path) as engine:
        commit(engine, create("c"), row("a", 1))
        commit(engine, row("b", 2))
        engine.seal()
        commit(engine, put_tag("v1", 1, 0.0))
        for number in range(3):
            commit(engine, row("c", number))
            engine.seal()
        commit(engine, put_retention(NOTHING))
        engine.vacuum()
    kept_manifests = sorted((path / "manifest").iterdir())
    assert len(kept_manifests) == 3
    for newer in kept_manifests[1:]:
        newer.unlink()
    (path / "SYNCED").unlink()
    for read_only in (False, True):
        with pytest.raises(DamagedError):
            Engine.open(path, read_only=read_only)


def test_reading_the_past_while_it_is_given_up(tmp_path):
    """Either the version as it was, or the word that it is not kept; whatever the writer removes meanwhile."""
    path = tmp_path / "db"
    problems, failed, read, gone = [], [], 0, 0
    with Engine.open(path) as engine:
        commit(engine, create("c"), put_retention(Retention(keep_versions=3)))
        stop = threading.Event()

        def write():
            try:
                write_on()
            except Exception as error:  # noqa: BLE001 - shown by the assertion
                failed.append(error)

        def write_on():
            number = 0
            while not stop.is_set():
                number += 1
                # Version v holds v - 1 rows, all with the value of the newest.
                ids = [f"r{n}" for n in range(number)]
                table = pa.table({"n": [number] * number})
                commit(engine, PutRows("c", ids, np.full((number, DIMENSION), number, np.float32), metadata=table))
                if number % 2 == 0:
                    engine.seal()
                if number % 10 == 0:
                    engine.vacuum()

        writer = threading.Thread(target=write)
        writer.start()
        rng = np.random.default_rng(0)
        try:
            with Engine.open(path, read_only=True) as reader:
                until = time.monotonic() + 2.5
                while time.monotonic() < until:
                    source = reader if rng.random() < 0.5 else engine
                    newest = source.refresh()
                    version = int(rng.integers(max(1, newest - 8), newest + 1))
                    try:
                        with source.at(version) as past:
                            view = past.snapshot().collection("c")
                            rows = view.arrow(["n"]).column("n").to_pylist() if len(view) else []
                            if rows != [version - 1] * (version - 1):
                                problems.append((version, rows))
                            read += 1
                    except UnknownVersionError:
                        gone += 1
        finally:
            stop.set()
            writer.join()
        assert engine.verify() == []
    assert not failed and not problems
    assert read > 20 and gone > 0
