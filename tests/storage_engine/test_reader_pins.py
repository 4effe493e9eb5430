"""A reader's mark keeps the files that it may still open; a dead reader's mark keeps nothing."""

import subprocess
import sys
import uuid

import numpy as np
import pytest

from storage_engine.batch import AttachFile, CreateCollection, DeleteRows, DetachFile, PutRecord, PutRows, WriteBatch
from storage_engine.engine import Engine
from storage_engine.history.pins import put_retention
from storage_engine.history.reader_pin import ReaderPin, live_pins
from storage_engine.history.retention import NOTHING
from storage_engine.real_disk import RealDisk
from storage_engine.schema import CollectionSchema, GraphOptions, Metric


def commit(engine, *operations):
    return engine.commit(WriteBatch(list(operations)))


def move_on(engine, times=4):
    """Publish manifests until nothing but readers needs what was there before."""
    for number in range(times):
        commit(engine, PutRecord("t", "k", {"v": number}))
        engine.seal()


@pytest.fixture
def writer(tmp_path):
    with Engine.open(tmp_path / "db") as engine:
        commit(engine, put_retention(NOTHING))
        yield engine


def attach(engine, content):
    file = engine.stage_file("metrics", ".parquet", lambda stream: stream.write(content))
    commit(engine, AttachFile(file))
    return file


@pytest.mark.parametrize("sealed", [False, True])
def test_a_reader_opens_files_that_the_writer_gave_up_meanwhile(tmp_path, writer, sealed):
    parts = [attach(writer, content) for content in (b"one", b"two")]
    if sealed:
        writer.seal()
    with Engine.open(tmp_path / "db", read_only=True) as reader:
        before = reader.snapshot()
        # Compaction: one part in place of two.
        whole = writer.stage_file("metrics", ".parquet", lambda stream: stream.write(b"onetwo"))
        commit(writer, *(DetachFile("metrics", part.name) for part in parts), AttachFile(whole))
        move_on(writer)
        assert [reader.read_file("metrics", file.name) for file in before.files("metrics")] == [b"one", b"two"]
        assert all((tmp_path / "db" / "metrics" / part.name).exists() for part in parts)
        reader.refresh()
        assert [reader.read_file("metrics", file.name) for file in reader.snapshot().files("metrics")] == [b"onetwo"]
        move_on(writer, 2)
        assert not any((tmp_path / "db" / "metrics" / part.name).exists() for part in parts)
        assert writer.verify() == []


def test_a_reader_that_follows_the_log_marks_what_it_shows(tmp_path, writer):
    with Engine.open(tmp_path / "db", read_only=True) as reader:
        part = attach(writer, b"later")
        reader.refresh()
        commit(writer, DetachFile("metrics", part.name))
        move_on(writer)
        assert reader.read_file("metrics", part.name) == b"later"


def test_the_graph_of_a_reader_stays(tmp_path, writer):
    graph = GraphOptions(minimum_rows=10)
    commit(writer, CreateCollection(CollectionSchema("c", uuid.uuid4().hex, 4, Metric.L2, graph=graph)))
    rows = np.random.default_rng(0).normal(size=(400, 4)).astype(np.float32)
    commit(writer, PutRows("c", [str(n) for n in range(400)], rows))
    writer.build_graphs()
    with Engine.open(tmp_path / "db", read_only=True) as reader:
        commit(writer, DeleteRows("c", [str(n) for n in range(1, 200)]))
        # It follows the log to a version that a later manifest holds as well, with another graph.
        assert reader.refresh() == writer.snapshot().version
        writer.vacuum()
        move_on(writer)
        [state] = reader.snapshot().states()
        # Read only now, when nobody else needs the file any more.
        assert state.rows.layout.chunks[0].walker() is not None
        assert reader.snapshot().collection("c").search(rows[0], 5).slots[0] == 0
        assert len(writer.snapshot().collection("c")) == 201
    move_on(writer, 2)
    assert writer.verify() == []


def test_a_dead_reader_keeps_nothing(tmp_path, writer):
    part = attach(writer, b"one")
    writer.seal()
    code = (
        "import os, sys\nfrom storage_engine.engine import Engine\n"
        f"reader = Engine.open({str(tmp_path / 'db')!r}, read_only=True)\n"
        "print(len(os.listdir(reader.path / 'readers')), flush=True)\nos._exit(1)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (1, "1")
    assert len(list((tmp_path / "db" / "readers").iterdir())) == 1
    commit(writer, DetachFile("metrics", part.name))
    move_on(writer)
    assert list((tmp_path / "db" / "readers").iterdir()) == []
    assert not (tmp_path / "db" / "metrics" / part.name).exists()


def test_a_reader_that_never_moves_on_is_reported(tmp_path):
    now = [1_000.0]
    with Engine.open(tmp_path / "db", clock=lambda: now[0]) as engine:
        commit(engine, PutRecord("t", "k", {}))
        with Engine.open(tmp_path / "db", read_only=True, clock=lambda: now[0]) as reader:
            assert engine.verify() == []
            now[0] += 2 * 3_600
            [finding] = engine.verify()
            assert finding.severity == "warning" and "reading version 1 for 2.0 hours" in finding.what
            move_on(engine, 1)
            reader.refresh()
            assert engine.verify() == []


def test_who_may_not_write_reads_without_a_mark(tmp_path, writer):
    commit(writer, PutRecord("t", "k", {}))
    disk = RealDisk(tmp_path / "db")
    (tmp_path / "db" / "readers").rmdir()
    with Engine.open(tmp_path / "db", read_only=True) as reader:
        assert reader.snapshot().version == 2
    pin = ReaderPin.take(disk, 1, 1, 0.0)
    assert live_pins(disk, remove_dead=True) == []
    pin.move(2)
    pin.release()
    pin.release()
    disk.shut()


def test_opening_for_writing_keeps_what_a_reader_needs(tmp_path):
    path = tmp_path / "db"
    with Engine.open(path) as engine:
        commit(engine, put_retention(NOTHING))
        part = attach(engine, b"one")
        engine.seal()
    with Engine.open(path, read_only=True) as reader:
        with Engine.open(path) as engine:
            commit(engine, DetachFile("metrics", part.name))
            move_on(engine)
        with Engine.open(path) as engine:
            move_on(engine)
        assert reader.read_file("metrics", part.name) == b"one"
    with Engine.open(path) as engine:
        move_on(engine, 2)
    with Engine.open(path):
        assert not (path / "metrics" / part.name).exists()
