"""A reader beside a writer: reading a log that is being written, catching up after a vacuum."""

import numpy as np
import pytest

from storage_engine.batch import CreateCollection, DeleteRows, PutRecord, PutRows
from storage_engine.errors import DamagedError
from storage_engine.follower import Follower
from storage_engine.history.vacuum import directory_bytes, vacuum
from storage_engine.memory_disk import MemoryDisk
from storage_engine.opening import open_writable
from storage_engine.real_disk import RealDisk
from storage_engine.schema import CollectionSchema, Metric
from storage_engine.verify import verify
from storage_engine.wal.record import RECORD_MAGIC, log_name

LOG = "wal/0000000001.wal"


class TornDisk(MemoryDisk):
    """The next reading of the log misses a range that is being written, as one that takes page after page may."""

    def __init__(self):
        super().__init__()
        self.missing = None
        self.torn = 0

    def read(self, name, offset=0, length=None):
        data = bytearray(super().read(name, offset, length))
        if name == LOG and self.missing and length is None:
            start, end = (max(0, place - offset) for place in self.missing)
            data[start:end] = bytes(end - start)
            self.missing, self.torn = None, self.torn + 1
        return bytes(data)


def put(database, key, size=100):
    return database.commit([PutRecord("t", key, {"text": "x" * size})])


def record_places(disk):
    """Where each record of the log starts, and the end."""
    data = disk.read(LOG)
    places, at = [], data.find(RECORD_MAGIC)
    while at >= 0:
        places.append(at)
        at = data.find(RECORD_MAGIC, at + 1)
    return [*places, len(data.rstrip(b"\0"))]


@pytest.fixture
def disk():
    return TornDisk()


@pytest.fixture
def database(disk):
    database = open_writable(disk, create=True, clock=lambda: 1.0, sync_each=True, build_threads=1)
    yield database
    database.close()


@pytest.mark.parametrize("torn", [1, 2])  # the newer one is there as a witness, or the watermark says so
def test_a_record_that_was_on_its_way_is_no_damage(disk, database, torn):
    put(database, "a")
    follower = Follower(disk)
    put(database, "b")
    put(database, "c")
    disk.missing = tuple(record_places(disk)[torn : torn + 2])
    assert follower.refresh() == 3
    assert disk.torn == 1
    disk.missing = tuple(record_places(disk)[torn : torn + 2])
    assert Follower(disk).snapshot.version == 3
    disk.missing = tuple(record_places(disk)[torn : torn + 2])
    assert verify(disk, database.snapshot, database.manifest, None, 1.0) == []
    assert disk.torn == 3


def test_a_record_that_stays_missing_is_damage(disk, database):
    put(database, "a")
    put(database, "b")
    put(database, "c")
    start, end = record_places(disk)[1:3]
    handle = disk.open(LOG)
    whole = disk.read(LOG)
    disk.write(handle, start, bytes(end - start))
    with pytest.raises(DamagedError, match="commits 2 to 3"):
        Follower(disk)
    disk.write(handle, 0, whole)
    assert Follower(disk).snapshot.version == 3


def test_room_behind_the_log_is_nothing_to_a_reader(disk, database):
    put(database, "a")
    assert disk.size(LOG) > record_places(disk)[-1] + 1_000
    follower = Follower(disk)
    assert follower.refresh() == 1
    assert verify(disk, database.snapshot, database.manifest, None, 1.0) == []
    database.close()
    assert disk.size(LOG) == record_places(disk)[-1]
    assert disk.list("quarantine") == []


def test_a_killed_writer_leaves_room_that_is_cut_off_and_not_put_aside(disk, database):
    put(database, "a")
    end = record_places(disk)[-1]
    left = MemoryDisk()
    left.directories = set(disk.directories)
    for name in disk.names:
        left.write(left.create(name), 0, disk.read(name))
    again = open_writable(left, create=False, clock=lambda: 2.0, sync_each=True, build_threads=1)
    assert (left.size(LOG), left.list("quarantine")) == (end, [])
    put(again, "b")
    assert again.snapshot.version == 2
    again.close()


def test_refresh_after_a_vacuum_shows_the_newest_rows(tmp_path):
    disk = RealDisk(tmp_path / "db", create=True)
    database = open_writable(disk, create=True, clock=lambda: 1.0, sync_each=True, build_threads=1)
    rows = np.arange(40, dtype=np.float32).reshape(20, 2)
    ids = [str(number) for number in range(20)]
    database.commit([CreateCollection(CollectionSchema("c", "c" * 32, 2, Metric.L2)), PutRows("c", ids, rows)])
    database.seal()
    follower = Follower(RealDisk(tmp_path / "db"))
    before = follower.snapshot
    database.commit([DeleteRows("c", ids[:15])])
    vacuum(database, 0.0)
    database.commit([PutRows("c", ["late"], rows[:1])])
    assert follower.snapshot is before
    assert len(before.collection("c")) == 20  # what it shows stays readable although the files are gone
    assert np.array_equal(before.collection("c").vectors_at(np.arange(20)), rows)
    assert follower.refresh() == 3
    view = follower.snapshot.collection("c")
    assert sorted(view.ids_at(np.flatnonzero(view.live()))) == sorted([*ids[15:], "late"])
    assert follower.refresh() == 3
    vacuum(database, 0.0)
    assert follower.refresh() == 3
    assert follower.manifest.number == database.manifest.number
    follower.close()
    database.close()


def test_directory_bytes_counts_each_file_once_and_forgives_one_that_goes(tmp_path):
    disk = RealDisk(tmp_path / "db", create=True)
    database = open_writable(disk, create=True, clock=lambda: 1.0, sync_each=True, build_threads=1)
    put(database, "a", 5_000)
    database.seal()
    inside = sum(file.stat().st_size for file in (tmp_path / "db").glob("*/*"))
    assert directory_bytes(disk) == inside > 5_000

    class Vanishing(RealDisk):
        def list(self, directory):
            return [*super().list(directory), "gone"] if directory == "readers" else super().list(directory)

    assert directory_bytes(Vanishing(tmp_path / "db")) == inside
    database.close()


class OvertakenDisk(MemoryDisk):
    """Before it next says whether a log is there, somebody acts."""

    before = None

    def exists(self, name):
        if self.before is not None and name.startswith("wal/"):
            act, self.before = self.before, None
            act()
        return super().exists(name)


def test_the_newest_manifest_is_found_while_the_writer_seals_past_it():
    disk = OvertakenDisk()
    database = open_writable(disk, create=True, clock=lambda: 1.0, sync_each=True, build_threads=1)
    put(database, "a")
    database.seal()
    follower = Follower(disk)
    known = follower.newest_manifest()

    def go_on():
        for key in ("b", "c"):
            put(database, key)
            database.seal()
        disk.unlink(log_name(known.wal_number))  # as where no old version is kept

    disk.before = go_on
    assert follower.newest_manifest().number == known.number + 2
    disk.unlink(log_name(known.wal_number + 2))
    assert follower.newest_manifest().number == known.number + 1  # nobody went on: the one before
    database.close()
