"""What cannot be read is given up only when asked, with a copy and an explanation; what stands before it is kept."""

import shutil

import numpy as np
import pytest

from storage_engine import opening
from storage_engine.batch import CreateCollection, PutRecord, PutRows, WriteBatch
from storage_engine.engine import Engine
from storage_engine.errors import DamagedError, InvalidArgumentError, UnsafeDirectoryError
from storage_engine.real_disk import DirectoryFacts, directory_facts
from storage_engine.schema import CollectionSchema, Metric


def fill(path, seal_after=()):
    with Engine.open(path) as engine:
        schema = CollectionSchema("c", "a" * 32, 2, Metric.L2)
        engine.commit(WriteBatch([CreateCollection(schema)]))
        for number in range(2, 12):
            engine.commit(WriteBatch([PutRows("c", [str(number)], np.full((1, 2), number, np.float32))]))
            if number in seal_after:
                engine.seal()


def flip(file, where=0.5):
    data = bytearray(file.read_bytes())
    data[int(len(data) * where)] ^= 1
    file.write_bytes(data)


def rows(engine):
    return len(engine.snapshot().collection("c"))


def test_a_damaged_log_keeps_the_commits_before_the_damage(tmp_path):
    path = tmp_path / "db"
    fill(path)
    log = path / "wal" / "0000000001.wal"
    flip(log)
    damaged = log.read_bytes()
    with pytest.raises(DamagedError, match="were acknowledged"):
        Engine.open(path)
    assert log.read_bytes() == damaged and list((path / "quarantine").iterdir()) == []
    with Engine.open(path, repair="prefix") as engine:
        report = engine.repaired
        assert report is not None and 1 < report.version < 11 and report.lost_up_to == 11
        assert rows(engine) == report.version - 1
        assert "are known to be lost" in str(report) and "quarantine/wal-0000000001.wal" in str(report)
        assert (path / report.copies[0]).read_bytes() == damaged
        kept = engine.commit(WriteBatch([PutRecord("t", "after", {})]))
        assert kept == report.version + 1 and engine.verify() == []
    with Engine.open(path, repair="prefix") as engine:
        assert engine.repaired is None and engine.snapshot().version == kept


@pytest.mark.parametrize("victim", ["lost", "header", "record"])
def test_a_hole_between_logs(tmp_path, victim):
    path = tmp_path / "db"
    fill(path, seal_after=(4, 8))
    newest = max((path / "manifest").iterdir())
    newest.unlink()  # opening falls back to the manifest before, which needs both logs
    log = path / "wal" / "0000000002.wal"
    if victim == "lost":
        log.unlink()
    else:
        flip(log, 0.01 if victim == "header" else 0.6)
    with pytest.raises(DamagedError):
        Engine.open(path)
    with Engine.open(path, repair="prefix") as engine:
        assert engine.repaired is not None and engine.repaired.lost_up_to == 11
        assert 3 <= rows(engine) <= 6 and engine.repaired.version == rows(engine) + 1
        engine.commit(WriteBatch([PutRows("c", ["new"], np.ones((1, 2), np.float32))]))
        engine.seal()
        assert [one for one in engine.verify() if one.severity == "error"] == []
    with Engine.open(path) as engine:
        assert 4 <= rows(engine) <= 7


def test_without_a_manifest_nothing_is_touched(tmp_path):
    path = tmp_path / "db"
    fill(path, seal_after=(4,))
    for file in (path / "manifest").iterdir():
        flip(file)
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file() and file.name != "LOCK"}
    with pytest.raises(DamagedError):
        Engine.open(path, repair="prefix")
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file() and file.name != "LOCK"} == before


def test_an_undamaged_database_is_not_repaired(tmp_path):
    fill(tmp_path / "db")
    shutil.copytree(tmp_path / "db", tmp_path / "copy")
    with Engine.open(tmp_path / "copy", repair="prefix") as engine:
        assert engine.repaired is None and rows(engine) == 10
    for wrong in ({"repair": "all"}, {"repair": "prefix", "read_only": True}):
        with pytest.raises(InvalidArgumentError):
            Engine.open(tmp_path / "db", **wrong)


def test_a_directory_that_everybody_may_write_to_is_refused(tmp_path):
    path = tmp_path / "db"
    fill(path)
    path.chmod(0o777)
    for read_only in (False, True):
        with pytest.raises(UnsafeDirectoryError, match="every user"):
            Engine.open(path, read_only=read_only, unsafe_fs=True)
    path.chmod(0o700)
    Engine.open(path).close()


def test_a_network_file_system_is_refused_unless_asked_for(tmp_path, monkeypatch):
    assert directory_facts(tmp_path).file_system not in opening.NETWORK_FILE_SYSTEMS
    monkeypatch.setattr(opening, "directory_facts", lambda path: DirectoryFacts(False, "nfs4"))
    with pytest.raises(UnsafeDirectoryError, match=r"network file system \(nfs4\)"):
        Engine.open(tmp_path / "db")
    with Engine.open(tmp_path / "db", unsafe_fs=True) as engine:
        version = engine.commit(WriteBatch([PutRecord("t", "k", {})]))
        engine.at(version).close()
