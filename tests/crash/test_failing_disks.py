"""The disks that fail on purpose do fail, and only as they say."""

import errno

import numpy as np
import pytest

from storage_engine.files import DiskError
from storage_engine.testing.failing_disk import FailingDisk, Fault
from storage_engine.testing.medium import Medium
from storage_engine.testing.recording_disk import PowerCutError, RecordingDisk

DRAWS = 300
OLD = b"o" * 1500
NEW = b"n" * 1500


def after_power_cuts(medium):
    return [medium.power_cut(np.random.default_rng(seed)).files() for seed in range(DRAWS)]


def disk_with_a_file():
    disk = RecordingDisk(Medium.of({"wal/1.wal": OLD}))
    return disk, disk.open("wal/1.wal")


def test_synced_bytes_survive():
    disk, handle = disk_with_a_file()
    disk.write(handle, 0, NEW)
    disk.sync(handle)
    assert {files["wal/1.wal"] for files in after_power_cuts(disk.medium())} == {NEW}


def test_unsynced_bytes_survive_in_every_way():
    disk, handle = disk_with_a_file()
    disk.write(handle, 0, NEW + NEW)
    left = {files["wal/1.wal"] for files in after_power_cuts(disk.medium())}
    assert {OLD, NEW + NEW} <= left
    assert any(set(data) - set(OLD + NEW + b"\0") for data in left), "no garbage"
    assert any(data[:512] == OLD[:512] and data[512:1024] == NEW[:512] for data in left), "no reordering"
    assert any(0 < len(data) - len(OLD) < len(NEW) for data in left), "no partial length"


def test_a_killed_process_loses_nothing_but_syncs_nothing():
    disk, handle = disk_with_a_file()
    disk.write(handle, 0, NEW)
    left = disk.medium().killed()
    assert left.files()["wal/1.wal"] == NEW
    assert OLD in {files["wal/1.wal"] for files in after_power_cuts(left)}


def test_a_sync_after_a_failed_one_writes_nothing():
    disk = FailingDisk(Medium.of({"wal/1.wal": OLD}), Fault("broken", at=1))
    handle = disk.open("wal/1.wal")
    disk.write(handle, 0, NEW)
    with pytest.raises(DiskError):
        disk.sync(handle)
    disk.sync(handle)
    assert disk.read("wal/1.wal") == NEW
    left = {disk.medium(np.random.default_rng(seed)).files()["wal/1.wal"] for seed in range(1)}
    assert left == {NEW}
    lost = []
    for seed in range(50):
        again = FailingDisk(Medium.of({"wal/1.wal": OLD}), Fault("broken", at=1))
        handle = again.open("wal/1.wal")
        again.write(handle, 0, NEW)
        with pytest.raises(DiskError):
            again.sync(handle)
        again.sync(handle)
        lost.append(again.medium(np.random.default_rng(seed)).power_cut(np.random.default_rng(seed)).files())
    assert any(files["wal/1.wal"] == OLD for files in lost)


def test_names_survive_as_a_prefix_of_their_order():
    disk = RecordingDisk()
    disk.make_directory("wal")
    disk.make_directory("seg")
    disk.sync_directory("")
    for name in ("wal/a", "wal/b", "seg/c"):
        disk.close(disk.create(name))
    disk.rename("wal/b", "wal/d")
    left = {tuple(sorted(files)) for files in after_power_cuts(disk.medium())}
    of_wal = {tuple(name for name in names if name.startswith("wal")) for names in left}
    assert of_wal == {(), ("wal/a",), ("wal/a", "wal/b"), ("wal/a", "wal/d")}
    assert {"seg/c" in names for names in left} == {True, False}


def test_an_unsynced_directory_takes_its_files_with_it():
    disk = RecordingDisk()
    disk.make_directory("wal")
    handle = disk.create("wal/a")
    disk.sync(handle)
    disk.sync_directory("wal")
    assert {tuple(files) for files in after_power_cuts(disk.medium())} == {(), ("wal/a",)}


def test_power_fails_at_the_chosen_call():
    disk = RecordingDisk(cut_after=1)
    handle = disk.create("SYNCED")
    with pytest.raises(PowerCutError):
        disk.write(handle, 0, NEW)
    assert [call.kind for call in disk.journal] == ["create"]


@pytest.mark.parametrize(("kind", "code"), [("full", "ENOSPC"), ("broken", "EIO"), ("interrupted", "EINTR")])
@pytest.mark.parametrize("forever", [False, True])
def test_the_chosen_call_is_refused(kind, code, forever):
    disk = FailingDisk(None, Fault(kind, at=1, forever=forever))
    handle = disk.create("SYNCED")
    with pytest.raises(DiskError) as caught:
        disk.write(handle, 0, NEW)
    assert caught.value.errno == getattr(errno, code)
    assert disk.read("SYNCED") == b""
    if forever:
        with pytest.raises(DiskError):
            disk.write(handle, 0, NEW)
        disk.fault = None
    assert disk.write(handle, 0, NEW) == len(NEW)
    assert disk.hits == 1 + forever


def test_a_short_write_takes_half():
    disk = FailingDisk(None, Fault("short_write", at=0, forever=True))
    handle = disk.create("SYNCED")
    assert disk.write(handle, 0, NEW) == len(NEW) // 2
    with pytest.raises(DiskError):
        disk.write(handle, len(NEW) // 2, NEW)
