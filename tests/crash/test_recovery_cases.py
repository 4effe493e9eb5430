"""Failures that the suites of this folder found once, each as small as it gets."""

import numpy as np
import pytest

from storage_engine.batch import PutRecord
from storage_engine.errors import CommitUnknownError, DamagedError
from storage_engine.files import DiskError
from storage_engine.follower import Follower
from storage_engine.opening import open_writable
from storage_engine.testing.failing_disk import FailingDisk, Fault
from storage_engine.testing.medium import Medium
from storage_engine.testing.recording_disk import RecordingDisk

DRAWS = 60


def open_on(disk):
    return open_writable(disk, create=True, clock=lambda: 1.8e9, sync_each=True, build_threads=1)


def put(database, key):
    return database.commit([PutRecord("t", key, {"text": "x" * 700})])


def versions_after_power_cuts(medium):
    random = np.random.default_rng(1)
    return {open_on(RecordingDisk(medium.power_cut(random))).snapshot.version for _ in range(DRAWS)}


def killed_before(journal, kind, name):
    """The medium after a process was killed right before its last call of that kind."""
    medium = Medium()
    at = max(index for index, call in enumerate(journal) if (call.kind, call.name) == (kind, name))
    for call in journal[:at]:
        medium.step(call)
    return medium.killed()


@pytest.mark.parametrize("folder", ["manifest", "wal"])
def test_a_name_that_a_killed_process_left_unsynced_becomes_durable(folder):
    disk = RecordingDisk()
    database = open_on(disk)
    if folder == "wal":  # the first manifest is the one without another to fall back to, the second log the one at risk
        put(database, "a")
        database.seal()
    again = RecordingDisk(killed_before(disk.journal, "sync_directory", folder))
    version = put(open_on(again), "b")
    assert versions_after_power_cuts(again.medium()) == {version}


def test_what_is_shown_after_a_failed_sync_is_durable():
    for seed in range(20):
        random = np.random.default_rng(seed)
        disk = FailingDisk(None, None)
        database = open_on(disk)
        put(database, "a")
        disk.fault = Fault("broken", at=1, forever=True)  # the sync after the write, and everything after it
        with pytest.raises(CommitUnknownError):
            put(database, "b")
        disk.fault = None
        database.close()
        again = RecordingDisk(disk.medium(random))
        shown = open_on(again).snapshot.version
        assert shown in (1, 2)
        assert versions_after_power_cuts(again.medium()) == {shown}


@pytest.mark.parametrize("further", [0, 1, 3])
def test_a_log_that_could_not_be_made_durable_is_no_obstacle(further):
    disk = FailingDisk(None, None)
    database = open_on(disk)
    put(database, "a")
    disk.fault = Fault("broken", at=2, forever=True)  # the new log is there with its header, and cannot be removed
    with pytest.raises(DiskError):
        database.seal()
    assert disk.list("wal") == ["0000000001.wal", "0000000002.wal"]
    disk.fault = None
    for number in range(further):
        put(database, str(number))
    assert Follower(RecordingDisk(disk.medium(np.random.default_rng(0)).killed())).snapshot.version == 1 + further
    again = RecordingDisk(disk.medium().killed())
    database = open_on(again)
    assert database.snapshot.version == 1 + further
    put(database, "z")
    database.seal()
    assert versions_after_power_cuts(again.medium()) == {2 + further}


def sealed_in_the_middle():
    disk = RecordingDisk()
    database = open_on(disk)
    for key in "abc":
        put(database, key)
    database.seal()
    for key in "def":
        put(database, key)
    return disk.medium().files()


def test_falling_back_to_the_manifest_before_reads_every_later_log():
    files = sealed_in_the_middle()
    del files["manifest/0000000002.man"], files["SYNCED"]
    assert open_on(RecordingDisk(Medium.of(files))).snapshot.version == 6


def test_falling_back_without_the_later_log_is_refused():
    files = sealed_in_the_middle()
    del files["wal/0000000002.wal"], files["SYNCED"]
    with pytest.raises(DamagedError, match=r"wal/0000000002\.wal"):
        open_on(RecordingDisk(Medium.of(files)))


def test_a_newer_log_with_records_is_never_taken_for_an_unfinished_one():
    files = sealed_in_the_middle()
    del files["manifest/0000000002.man"], files["SYNCED"]
    damaged = bytearray(files["wal/0000000002.wal"])
    damaged[30] ^= 1  # in the header
    files["wal/0000000002.wal"] = bytes(damaged)
    with pytest.raises(DamagedError, match=r"wal/0000000002\.wal"):
        open_on(RecordingDisk(Medium.of(files)))


def test_a_reader_does_not_take_damage_for_a_commit_to_come():
    files = sealed_in_the_middle()
    damaged = bytearray(files["wal/0000000002.wal"])
    damaged[len(damaged.rstrip(b"\0")) - 10] ^= 1  # behind it there is room
    files["wal/0000000002.wal"] = bytes(damaged)
    with pytest.raises(DamagedError, match="acknowledged"):
        Follower(RecordingDisk(Medium.of(files)))
