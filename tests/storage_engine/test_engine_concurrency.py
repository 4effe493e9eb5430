"""Many threads on one handle, one writer process beside readers, forks."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest

from storage_engine.batch import CreateCollection, DeleteRows, PutRecord, PutRows, WriteBatch
from storage_engine.engine import Engine
from storage_engine.errors import (
    DatabaseClosedError,
    DatabaseLockedError,
    ForkedHandleError,
    InvalidArgumentError,
    ReadOnlyError,
)
from storage_engine.real_disk import RealDisk
from storage_engine.schema import CollectionSchema, Metric


def create(name="c"):
    return CreateCollection(CollectionSchema(name, name * 32, 2, Metric.L2))


def one(row_id, number, name="c"):
    return PutRows(name, [row_id], np.full((1, 2), number, np.float32), metadata=pa.table({"n": [number]}))


def run_all(*functions):
    with ThreadPoolExecutor(len(functions)) as pool:
        for future in [pool.submit(function) for function in functions]:
            future.result()


def test_threads_commit_seal_and_read_at_once(tmp_path):
    with Engine.open(tmp_path / "db", build_threads=1) as engine:
        engine.commit(WriteBatch([create(), PutRecord("t", "sum", {"rows": 0})]))
        rounds, versions, finished = 60, [], threading.Event()

        def writer(name):
            def work():
                for number in range(rounds):
                    operations = [one(f"{name}{number}", number), one(f"{name}-moving", number)]
                    if number % 3 == 2:
                        operations.append(DeleteRows("c", [f"{name}{number - 1}"]))
                    versions.append(engine.commit(WriteBatch([*operations, PutRecord("t", name, {"rows": number})])))

            return work

        def sealer():
            while not finished.wait(0.005):
                engine.seal()
                engine.build_graphs()

        def reader():
            while not finished.is_set():
                snapshot = engine.snapshot()
                view = snapshot.collection("c")
                ids = view.arrow(["id"]).column("id").to_pylist()
                assert len(ids) == len(set(ids)) == len(view)
                done = {name: snapshot.table("t").get(name, {"rows": -1})["rows"] for name in "xyz"}
                # Whole commits only: the record and the rows of a commit are there together.
                for name, number in done.items():
                    present = view.slots_of([f"{name}{number}", f"{name}{number + 1}", f"{name}-moving"])
                    assert (present >= 0).tolist() == [number >= 0, False, number >= 0]
                    if number >= 0:
                        assert view.metadata_at(present[[2]]).to_pydict() == {"n": [number]}

        def writers():
            try:
                run_all(*(writer(name) for name in "xyz"))
            finally:
                finished.set()

        run_all(writers, sealer, reader, reader)
        assert sorted(versions) == list(range(2, 2 + 3 * rounds))
        expected = engine.snapshot().collection("c").arrow().sort_by("id")
        assert engine.verify() == []
    with Engine.open(tmp_path / "db") as engine:
        assert engine.snapshot().collection("c").arrow().sort_by("id").equals(expected)
        assert len(expected) == 3 * (rounds + 1 - rounds // 3)


def test_waiting_commits_share_one_sync(tmp_path, monkeypatch):
    with Engine.open(tmp_path / "db") as engine:
        engine.commit(WriteBatch([create()]))
        syncs = []
        sync = RealDisk.sync

        def slow(self, handle):
            syncs.append(handle.name)
            time.sleep(0.005)
            sync(self, handle)

        monkeypatch.setattr(RealDisk, "sync", slow)

        def work(name):
            return lambda: [engine.commit(WriteBatch([one(f"{name}{number}", number)])) for number in range(10)]

        run_all(*(work(name) for name in "abcdefgh"))
        assert len(engine.snapshot().collection("c")) == 80
        assert len(syncs) < 40


def test_one_thread_syncs_each_commit_before_it_returns(tmp_path, monkeypatch):
    with Engine.open(tmp_path / "db") as engine:
        syncs = []
        sync = RealDisk.sync
        monkeypatch.setattr(RealDisk, "sync", lambda self, handle: (syncs.append(handle.name), sync(self, handle)))
        for number in range(5):
            engine.commit(WriteBatch([PutRecord("t", str(number), {})]))
            assert syncs == ["wal/0000000001.wal"] * (number + 1)


def test_sync_normal_syncs_soon(tmp_path, monkeypatch):
    syncs = []
    sync = RealDisk.sync
    with Engine.open(tmp_path / "db", sync="normal") as engine:
        monkeypatch.setattr(RealDisk, "sync", lambda self, handle: (syncs.append(handle.name), sync(self, handle)))
        engine.commit(WriteBatch([create(), one("a", 1)]))
        assert "normal" in repr(engine)
        assert syncs == []
        deadline = time.monotonic() + 10
        while not syncs and time.monotonic() < deadline:
            time.sleep(0.01)
        assert syncs == ["wal/0000000001.wal"]
        engine.commit(WriteBatch([one("b", 1)]))
    with Engine.open(tmp_path / "db") as engine:
        assert len(engine.snapshot().collection("c")) == 2


READER = """
import sys
from storage_engine.engine import Engine
with Engine.open(sys.argv[1], read_only=True) as engine:
    seen = -1
    while seen < int(sys.argv[2]):
        version = engine.refresh()
        assert version >= seen
        snapshot = engine.snapshot()
        rows = len(snapshot.collection("c"))
        total = snapshot.table("t").get("rows", {"n": 0})["n"]
        assert rows == total, (rows, total, version)
        if seen < 0:
            print("ready", flush=True)
        seen = version
print("done", flush=True)
"""


def test_a_reading_process_follows_a_writing_one(tmp_path):
    with Engine.open(tmp_path / "db", build_threads=1) as engine:
        engine.commit(WriteBatch([create()]))
        rounds = 120
        command = [sys.executable, "-c", READER, str(tmp_path / "db"), str(rounds + 1)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reader:
            assert reader.stdout.readline() == "ready\n"
            for number in range(rounds):
                engine.commit(WriteBatch([one(f"r{number}", number), PutRecord("t", "rows", {"n": number + 1})]))
                if number % 10 == 9:
                    engine.seal()
            assert reader.stdout.read() == "done\n"
            assert reader.wait(30) == 0


def test_a_reader_sees_a_commit_as_soon_as_it_is_acknowledged(tmp_path):
    with Engine.open(tmp_path / "db") as writer, Engine.open(tmp_path / "db", read_only=True) as reader:
        writer.commit(WriteBatch([create()]))
        old = reader.snapshot()
        for number in range(5):
            assert reader.refresh() == writer.commit(WriteBatch([one("a", number)])) - 1
            assert reader.refresh() == writer.refresh()
            view = reader.snapshot().collection("c")
            assert view.vectors_at(view.slots_of(["a"])).tolist() == [[number, number]]
        assert old.version == 0
        assert not old.has_collection("c")
        for refused in (lambda: reader.commit(WriteBatch([create("d")])), reader.seal, reader.wait_for_graphs):
            with pytest.raises(ReadOnlyError):
                refused()


def test_a_second_writing_process_is_refused_by_name(tmp_path):
    with Engine.open(tmp_path / "db") as engine:
        code = "import sys; from storage_engine.engine import Engine; Engine.open(sys.argv[1])"
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "db")], capture_output=True, text=True)
        assert done.returncode == 1
        assert DatabaseLockedError.__name__ in done.stderr
        assert f"process {os.getpid()}" in done.stderr
        engine.commit(WriteBatch([create()]))


def test_one_process_shares_a_directory(tmp_path):
    path = tmp_path / "db"
    first = Engine.open(path)
    (tmp_path / "link").symlink_to(path)
    second = Engine.open(tmp_path / "link")
    first.commit(WriteBatch([create()]))
    second.commit(WriteBatch([one("a", 1)]))
    assert len(first.snapshot().collection("c")) == 1
    with pytest.raises(InvalidArgumentError, match="sync"):
        Engine.open(path, sync="normal")
    first.close()
    first.close()
    assert (first.closed, second.closed) == (True, False)
    with pytest.raises(DatabaseClosedError):
        first.snapshot()
    second.commit(WriteBatch([one("b", 1)]))
    second.close()
    with Engine.open(path, sync="normal") as engine:
        assert len(engine.snapshot().collection("c")) == 2


FORK = """
import os, sys
from storage_engine.batch import PutRecord, WriteBatch
from storage_engine.engine import Engine
from storage_engine.errors import ForkedHandleError, DatabaseLockedError
engine = Engine.open(sys.argv[1])
engine.commit(WriteBatch([PutRecord("t", "a", {})]))
child = os.fork()
if child == 0:
    status = 1
    try:
        commit = lambda: engine.commit(WriteBatch([PutRecord("t", "b", {})]))
        for call in (engine.snapshot, engine.seal, engine.close, commit):
            try:
                call()
            except ForkedHandleError:
                continue
            raise SystemExit("a call went through")
        try:
            Engine.open(sys.argv[1])
        except DatabaseLockedError:
            status = 0
        with Engine.open(sys.argv[1], read_only=True) as reader:
            assert dict(reader.snapshot().table("t")) == {"a": {}}
    finally:
        os._exit(status)
assert os.waitpid(child, 0)[1] == 0
engine.commit(WriteBatch([PutRecord("t", "c", {})]))
engine.close()
with Engine.open(sys.argv[1]) as engine:
    assert list(engine.snapshot().table("t")) == ["a", "c"]
print(ForkedHandleError.__name__)
"""


def test_a_forked_child_cannot_use_the_handle(tmp_path):
    done = subprocess.run([sys.executable, "-c", FORK, str(tmp_path / "db")], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ForkedHandleError.__name__), done.stderr
