"""What a directory remembers, and what happens when the disk, the files or the caller misbehave."""

import errno
import struct
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from storage_engine import bulk, writable
from storage_engine.batch import (
    AttachFile,
    CreateCollection,
    DeleteRows,
    DetachFile,
    DropCollection,
    PutRecord,
    PutRows,
    WriteBatch,
)
from storage_engine.engine import Engine
from storage_engine.errors import (
    CommitUnknownError,
    DamagedError,
    DatabaseClosedError,
    InvalidArgumentError,
    NotADatabaseError,
    NotFoundError,
    WriteFailedError,
)
from storage_engine.files import DiskError
from storage_engine.history.pins import put_retention
from storage_engine.history.retention import NOTHING
from storage_engine.real_disk import RealDisk
from storage_engine.schema import CollectionSchema, Metric

ODD = np.array([[-0.0, 1e-45, 3.4e38], [1, -1.5, 2**-126], [0, 0, -0.0]], np.float32)


def create(name="c", metric=Metric.L2, dimension=3):
    return CreateCollection(CollectionSchema(name, name * 32, dimension, metric))


def records(snapshot, table="t"):
    return dict(snapshot.table(table))


def put_record(key, value=0):
    return WriteBatch([PutRecord("t", key, {"value": value})])


def names(path):
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())


def test_everything_is_there_after_reopening(tmp_path):
    ids = ["a\x00b", "語" * 170, "\N{GRINNING FACE}"]
    metadata = pa.table(
        {
            "when": pa.array([1, None, 3], pa.timestamp("us", "UTC")),
            "tags": [["x"], [], None],
            "deep": [{"a": 1, "b": [None, {"c": "z"}]}, None, {"a": None, "b": []}],
            "flag": [True, None, False],
            "raw": [b"\xff", b"", None],
            "nothing": [None, None, None],
        }
    )
    clock = iter(range(1000, 2000)).__next__
    expected = []
    for seal_first in (False, True):
        path = tmp_path / str(seal_first)
        with Engine.open(path, clock=clock) as engine:
            engine.commit(WriteBatch([create(), create("d", Metric.COSINE), PutRows("c", ids, ODD, metadata=metadata)]))
            engine.commit(WriteBatch([PutRows("d", ["x"], ODD[:1] * 0, norms=np.ones(1, np.float32))]))
            engine.commit(WriteBatch([PutRecord("t", "z", {"a": [1.5, None]}), PutRecord("t", "a", {"é": "\x00"})]))
            engine.commit(WriteBatch([PutRecord("t", "z", {"a": 2**80})]))
            if seal_first:
                engine.seal()
        for read_only in (True, False):
            with Engine.open(path, read_only=read_only, create=False) as engine:
                snapshot = engine.snapshot()
                assert snapshot.version == 4
                view = snapshot.collection("c")
                assert view.vectors_at(view.slots_of(ids)).tobytes() == ODD.tobytes()
                assert view.ids_at([2, 0, 1]) == [ids[2], ids[0], ids[1]]
                assert view.metadata_at([0, 1, 2]).to_pylist() == metadata.to_pylist()
                assert {name: str(kind) for name, kind in view.columns.items()} == {
                    field.name: str(field.type) for field in metadata.schema
                }
                assert snapshot.collection("d").norms_at([0]).tolist() == [1.0]
                assert list(records(snapshot).items()) == [("z", {"a": 2**80}), ("a", {"é": "\x00"})]
                expected.append(view.arrow())
                assert engine.verify() == []
    assert all(table.equals(expected[0]) for table in expected)


def test_large_batches_are_staged_and_equal_small_ones(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(2_000, 8)).astype(np.float32)
    ids = [f"é{number}" for number in range(2_000)]
    metadata = pa.table({"n": list(range(2_000)), "s": [None, "x"] * 1_000})

    def fill(engine):
        engine.commit(WriteBatch([create(dimension=8), PutRows("c", ids[:10], vectors[:10])]))
        large = PutRows("c", ids, vectors, metadata=metadata)
        engine.commit(WriteBatch([PutRecord("t", "k", {}), large, DeleteRows("c", ids[:3])]))
        engine.commit(
            WriteBatch([PutRows("c", ids[5:7], None, metadata=pa.table({"s": ["new", "er"]}), mode="update")])
        )
        return engine.snapshot().collection("c").arrow()

    with Engine.open(tmp_path / "small") as engine:
        small = fill(engine)
    monkeypatch.setattr(bulk, "BATCH_BYTES", 20_000)
    monkeypatch.setattr("storage_engine.committer.BATCH_BYTES", 20_000)
    with Engine.open(tmp_path / "large") as engine:
        assert fill(engine).equals(small)
        log = (tmp_path / "large" / "wal" / "0000000001.wal").read_bytes()
        assert len(log.rstrip(b"\0")) < 5_000
        assert len(list((tmp_path / "large" / "seg").iterdir())) == 3
        assert engine.verify() == []
    for _ in range(2):
        with Engine.open(tmp_path / "large") as engine:
            assert engine.snapshot().collection("c").arrow().equals(small)
            assert engine.verify() == []
            engine.seal()
    monkeypatch.setattr("storage_engine.committer.MAX_PAYLOAD_BYTES", 20_000)
    with Engine.open(None) as engine:
        records = [PutRecord("t", str(n), {"text": "x" * 9_000}) for n in range(3)]
        with pytest.raises(InvalidArgumentError, match="Split"):
            engine.commit(WriteBatch([create(dimension=8), *records]))
        assert engine.commit(WriteBatch([create(dimension=8), *records[:2]])) == 1


def test_a_staged_batch_that_is_refused_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(bulk, "BATCH_BYTES", 100)
    monkeypatch.setattr("storage_engine.committer.BATCH_BYTES", 100)
    with Engine.open(tmp_path / "db") as engine:
        engine.commit(WriteBatch([create()]))
        monkeypatch.setattr(RealDisk, "free_space", lambda self: 1_000)
        with pytest.raises(WriteFailedError, match="free disk space"):
            engine.commit(WriteBatch([PutRows("c", ["a", "b", "c"], ODD)]))
        monkeypatch.undo()
        assert list((tmp_path / "db" / "seg").iterdir()) == []
        assert engine.commit(WriteBatch([PutRows("c", ["a", "b", "c"], ODD)])) == 2


def test_seals_keep_two_manifests_and_remove_the_rest(tmp_path):
    path = tmp_path / "db"
    with Engine.open(path) as engine:
        engine.commit(WriteBatch([create(), PutRows("c", ["a", "b", "c"], ODD), put_retention(NOTHING)]))
        for number in range(5):
            engine.commit(WriteBatch([PutRows("c", [f"n{number}"], ODD[:1]), DeleteRows("c", ["a"], missing_ok=True)]))
            engine.seal()
            engine.seal()  # nothing is new: nothing happens
        files = names(path)
        assert [name for name in files if name.startswith("manifest/")] == [
            "manifest/0000000005.man",
            "manifest/0000000006.man",
        ]
        assert [name for name in files if name.startswith("wal/")] == ["wal/0000000005.wal", "wal/0000000006.wal"]
        engine.commit(WriteBatch([DropCollection("c")]))
        for number in range(2):
            engine.commit(put_record(str(number)))
            engine.seal()
        assert [name for name in names(path) if name.startswith("seg/") and not name.endswith(".tab")] == []
        assert engine.verify() == []


def test_the_log_is_sealed_when_it_is_long(tmp_path, monkeypatch):
    monkeypatch.setattr(writable, "SEAL_ROWS", 20)
    with Engine.open(tmp_path / "db") as engine:
        engine.commit(WriteBatch([create()]))
        for number in range(200):
            engine.commit(WriteBatch([PutRows("c", [str(number)], ODD[:1])]))
        engine._source.background.stop()
        assert engine._source.database.committer.fresh_rows <= 81
        assert len(engine.snapshot().collection("c")) == 200
        assert engine.verify() == []


def test_files_are_attached_and_detached(tmp_path):
    path = tmp_path / "db"
    with Engine.open(path) as engine:
        kept = engine.stage_file("ckpt", ".zip", lambda stream: stream.write(b"kept"))
        lost = engine.stage_file("metrics", ".parquet", lambda stream: stream.write(b"lost"))
        assert (kept.length, kept.name[-4:]) == (4, ".zip")
        with pytest.raises(NotFoundError):
            engine.read_file("ckpt", kept.name)
        engine.commit(WriteBatch([AttachFile(kept), PutRecord("t", "run", {"file": kept.name})]))
        assert engine.snapshot().files("ckpt") == (kept,)
        with pytest.raises(InvalidArgumentError):
            engine.stage_file("seg", ".zip", lambda stream: None)
        with pytest.raises(InvalidArgumentError):
            engine.stage_file("ckpt", "/../x", lambda stream: None)
        with pytest.raises(ZeroDivisionError):
            engine.stage_file("ckpt", ".zip", lambda stream: stream.write(b"x") / 0)
    with Engine.open(path) as engine:
        assert engine.read_file("ckpt", kept.name) == b"kept"
        assert f"metrics/{lost.name}" not in names(path)
        engine.seal()
    with Engine.open(path) as engine:
        assert engine.read_file("ckpt", kept.name) == b"kept"
        old = engine.snapshot()
        engine.commit(WriteBatch([DetachFile("ckpt", kept.name), put_retention(NOTHING)]))
        assert (len(old.files("ckpt")), len(engine.snapshot().files("ckpt"))) == (1, 0)
        for number in range(2):
            engine.commit(put_record(str(number)))
            engine.seal()
        assert f"ckpt/{kept.name}" not in names(path)
        assert engine.verify() == []


def test_a_damaged_attached_file_is_not_given_out(tmp_path):
    with Engine.open(tmp_path / "db") as engine:
        file = engine.stage_file("ckpt", ".zip", lambda stream: stream.write(b"content"))
        engine.commit(WriteBatch([AttachFile(file)]))
        (tmp_path / "db" / "ckpt" / file.name).write_bytes(b"contemt")
        with pytest.raises(DamagedError, match=file.name):
            engine.read_file("ckpt", file.name)
        assert [(finding.severity, finding.file) for finding in engine.verify()] == [("error", f"ckpt/{file.name}")]


def test_a_full_disk_refuses_a_commit_and_stays_usable(tmp_path, monkeypatch):
    with Engine.open(tmp_path / "db") as engine:
        engine.commit(put_record("a"))
        write = RealDisk.write

        def half(self, handle, offset, data):
            if handle.name.startswith("wal/"):
                write(self, handle, offset, bytes(data)[: len(data) // 2])
                raise DiskError("write", handle.name, errno.ENOSPC, "full")
            return write(self, handle, offset, data)

        monkeypatch.setattr(RealDisk, "write", half)
        with pytest.raises(WriteFailedError):
            engine.commit(put_record("b"))
        assert list(records(engine.snapshot())) == ["a"]
        monkeypatch.undo()
        assert engine.commit(put_record("c")) == 2
    with Engine.open(tmp_path / "db") as engine:
        assert list(records(engine.snapshot())) == ["a", "c"]


def test_after_a_failed_sync_no_commit_is_taken(tmp_path, monkeypatch):
    engine = Engine.open(tmp_path / "db")
    engine.commit(put_record("a"))

    def fail(self, handle):
        raise DiskError("sync", handle.name, errno.EIO, "broken")

    monkeypatch.setattr(RealDisk, "sync", fail)
    with pytest.raises(CommitUnknownError):
        engine.commit(put_record("b"))
    monkeypatch.undo()
    with pytest.raises(DatabaseClosedError, match="no more commits"):
        engine.commit(put_record("c"))
    with pytest.raises(DatabaseClosedError):
        engine.seal()
    assert list(records(engine.snapshot())) == ["a"]
    engine.close()
    with Engine.open(tmp_path / "db") as again:
        assert list(records(again.snapshot())) in (["a"], ["a", "b"])
        again.commit(put_record("d"))


@pytest.mark.parametrize("call", ["create", "write", "sync", "rename", "sync_directory"])
def test_a_seal_that_fails_loses_nothing(tmp_path, monkeypatch, call):
    path = tmp_path / "db"
    real = getattr(RealDisk, call)
    with Engine.open(path) as engine:
        engine.commit(WriteBatch([create(), PutRows("c", ["a", "b", "c"], ODD), PutRecord("t", "a", {})]))
        expected = engine.snapshot().collection("c").arrow()
    left = -1
    failed_somewhere = 0
    for allowed in range(30):
        with Engine.open(path) as engine:
            left = allowed

            def sometimes(self, *arguments):
                nonlocal left
                left -= 1
                if left == -1:
                    raise DiskError(call, str(arguments[0]), errno.EIO, "injected")
                return real(self, *arguments)

            monkeypatch.setattr(RealDisk, call, sometimes)
            engine.commit(put_record("a", allowed)) if call not in ("write", "sync") else None
            left = allowed
            try:
                engine.seal()
            except (DiskError, CommitUnknownError):
                failed_somewhere += 1
            monkeypatch.undo()
            assert engine.snapshot().collection("c").arrow().equals(expected)
        with Engine.open(path) as engine:
            assert engine.snapshot().collection("c").arrow().equals(expected)
            assert engine.verify() == []
            engine.commit(put_record("a", -allowed))
        if left >= 0:
            break
    assert failed_somewhere >= 1
    assert left >= 0


def test_a_torn_tail_is_cut_off_and_kept_aside(tmp_path):
    path = tmp_path / "db"
    with Engine.open(path) as engine:
        engine.commit(put_record("a"))
    log = path / "wal" / "0000000001.wal"
    whole = log.read_bytes()
    log.write_bytes(whole + b"QSWR" + b"\x07" * 50)
    with Engine.open(path, read_only=True) as reader:
        assert reader.snapshot().version == 1
    with Engine.open(path) as engine:
        assert engine.commit(put_record("b")) == 2
    assert (path / "quarantine" / f"wal-0000000001.wal-{len(whole)}").read_bytes() == b"QSWR" + b"\x07" * 50
    with Engine.open(path) as engine:
        assert list(records(engine.snapshot())) == ["a", "b"]


def test_a_damaged_log_is_refused_with_file_and_offset(tmp_path):
    path = tmp_path / "db"
    with Engine.open(path) as engine:
        for key in "abc":
            engine.commit(put_record(key))
    log = path / "wal" / "0000000001.wal"
    content = bytearray(log.read_bytes())
    content[150] ^= 1
    log.write_bytes(content)
    with pytest.raises(DamagedError, match=r"wal/0000000001\.wal is damaged at offset 141: commits 2 to 3"):
        Engine.open(path)
    assert log.read_bytes() == content


def test_a_damaged_newest_manifest_falls_back_and_replays_every_log(tmp_path):
    path = tmp_path / "db"
    with Engine.open(path) as engine:
        engine.commit(WriteBatch([create(), PutRows("c", ["a", "b", "c"], ODD)]))
        engine.seal()
        engine.commit(WriteBatch([DeleteRows("c", ["a"]), PutRecord("t", "k", {})]))
        engine.seal()
        engine.commit(WriteBatch([PutRows("c", ["d"], ODD[:1])]))
        expected = engine.snapshot().collection("c").arrow()
    newest = path / "manifest" / "0000000003.man"
    content = bytearray(newest.read_bytes())
    content[40] ^= 1
    newest.write_bytes(content)
    for _ in range(2):
        with Engine.open(path) as engine:
            assert engine.snapshot().version == 3
            assert engine.snapshot().collection("c").arrow().equals(expected)
            engine.seal()
            assert engine.verify() == []
    assert (path / "quarantine" / "manifest-0000000003.man").read_bytes() == content


def test_a_damaged_segment_gives_an_error_and_never_a_row(tmp_path):
    path = tmp_path / "db"
    vectors = np.random.default_rng(1).normal(size=(500, 64)).astype(np.float32)
    with Engine.open(path) as engine:
        metadata = pa.table({"n": list(range(500))})
        ids = [str(row) for row in range(500)]
        engine.commit(WriteBatch([create(dimension=64), PutRows("c", ids, vectors, metadata=metadata)]))
        engine.seal()
    for suffix, use in {
        "vec": lambda view: view.search(vectors[0], 3),
        "ids": lambda view: view.slots_of(["7"]),
        "meta": lambda view: view.metadata_at([1]),
    }.items():
        (file,) = (path / "seg").glob(f"*.{suffix}")
        content = file.read_bytes()
        file.write_bytes(content[:300] + bytes([content[300] ^ 4]) + content[301:])
        with Engine.open(path, read_only=True) as engine:
            with pytest.raises(DamagedError, match=file.name):
                use(engine.snapshot().collection("c"))
            found = engine.verify()
            assert {finding.severity for finding in found} == {"error"}
            assert any(finding.file == f"seg/{file.name}" for finding in found)
        file.unlink()
        with Engine.open(path, read_only=True) as engine:  # the manifest before and its log still say everything
            view = engine.snapshot().collection("c")
            assert view.vectors_at(np.arange(500)).tobytes() == vectors.tobytes()
        file.write_bytes(content)
    with Engine.open(path) as engine:
        assert engine.verify() == []


def test_opening_sweeps_what_nobody_names(tmp_path):
    path = tmp_path / "db"
    with Engine.open(path) as engine:
        engine.commit(WriteBatch([create(), PutRows("c", ["a", "b", "c"], ODD)]))
        engine.seal()
    before = names(path)
    for name in ("seg/" + "0" * 32 + ".vec", "seg/x.tmp", "manifest/0000000009.man.tmp", "idx/" + "1" * 32 + ".graph"):
        (path / name).write_bytes(b"left behind")
    with Engine.open(path, read_only=True):
        assert len([name for name in names(path) if not name.startswith("readers/")]) == len(before) + 4
    with Engine.open(path) as engine:
        assert len(engine.snapshot().collection("c")) == 3
    assert names(path) == before


def test_what_is_no_database_is_refused_and_left_alone(tmp_path):
    (tmp_path / "file").write_text("text")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thing").write_text("text")
    (tmp_path / "empty").mkdir()
    for path, options in [
        ("file", {}),
        ("full", {}),
        ("missing", {"create": False}),
        ("missing", {"read_only": True}),
        ("empty", {"create": False}),
        ("empty", {"read_only": True}),
        ("missing/deeper", {}),
    ]:
        with pytest.raises(NotADatabaseError):
            Engine.open(tmp_path / path, **options)
    assert names(tmp_path) == ["file", "full/thing"]
    with Engine.open(tmp_path / "empty") as engine:
        assert engine.snapshot().version == 0
    with pytest.raises(InvalidArgumentError):
        Engine.open(None, read_only=True)
    with pytest.raises(InvalidArgumentError):
        Engine.open(None, sync="never")
    with pytest.raises(InvalidArgumentError):
        Engine.open(None, build_threads=0)


def test_a_creation_that_was_interrupted_is_finished(tmp_path):
    whole = tmp_path / "whole"
    with Engine.open(whole):
        pass
    files = names(whole)
    assert "FORMAT" in files
    for present in (["FORMAT"], ["FORMAT", "wal/0000000001.wal"], ["FORMAT", "LOCK", "wal/0000000001.wal", "SYNCED"]):
        with tempfile.TemporaryDirectory(dir=tmp_path) as place:
            path = Path(place) / "db"
            for name in present:
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                (path / name).write_bytes((whole / name).read_bytes())
            with Engine.open(path) as engine:
                engine.commit(put_record("a"))
            with Engine.open(path) as engine:
                assert list(records(engine.snapshot())) == ["a"]


def test_lost_manifests_are_damage_and_not_an_empty_database(tmp_path):
    path = tmp_path / "db"
    with Engine.open(path) as engine:
        engine.commit(put_record("a"))
    (path / "manifest" / "0000000001.man").unlink()
    with pytest.raises(DamagedError, match="manifest"):
        Engine.open(path)


def test_versions_are_the_log_s_numbers(tmp_path):
    with Engine.open(tmp_path / "db") as engine:
        assert [engine.commit(put_record(key)) for key in "abc"] == [1, 2, 3]
    with Engine.open(tmp_path / "db") as engine:
        assert engine.commit(put_record("d")) == 4
        engine.seal()
        assert engine.commit(put_record("e")) == 5
        assert engine.refresh() == 5
    header = (tmp_path / "db" / "wal" / "0000000002.wal").read_bytes()[:64]
    assert struct.unpack_from("<Q", header, 32) == (5,)


def test_damage_among_acknowledged_commits_is_never_taken_for_commits_to_come(tmp_path):
    path = tmp_path / "db"
    with Engine.open(path) as engine:
        for number in range(6):
            engine.commit(WriteBatch([PutRecord("t", f"k{number}", {"text": "x" * 200})]))
    log = path / "wal" / "0000000001.wal"
    data = bytearray(log.read_bytes())
    data[len(data) // 2] ^= 1
    with Engine.open(path, read_only=True) as reader:
        log.write_bytes(data)
        assert [finding.severity for finding in reader.verify()] == ["error"]
    with pytest.raises(DamagedError, match="were acknowledged and cannot be read"):
        Engine.open(path, read_only=True)
    with pytest.raises(DamagedError, match="were acknowledged and cannot be read"):
        Engine.open(path)


def test_a_reader_that_catches_up_meets_the_damage(tmp_path):
    path = tmp_path / "db"
    with Engine.open(path) as engine, Engine.open(path, read_only=True) as reader:
        engine.commit(WriteBatch([PutRecord("t", "a", {"text": "x" * 200})]))
        assert reader.refresh() == 1
        engine.commit(WriteBatch([PutRecord("t", "b", {"text": "y" * 200})]))
        log = path / "wal" / "0000000001.wal"
        data = bytearray(log.read_bytes())
        data[len(data.rstrip(b"\0")) - 100] ^= 1  # behind it there is room
        log.write_bytes(data)
        with pytest.raises(DamagedError, match="commit 2 were acknowledged"):
            reader.refresh()
        assert reader.snapshot().version == 1
