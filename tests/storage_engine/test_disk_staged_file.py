import hashlib

import pytest

from storage_engine.errors import DamagedError
from storage_engine.files import DiskError
from storage_engine.memory_disk import MemoryDisk
from storage_engine.staged_file import (
    StagedFile,
    StoredFile,
    check_digest,
    check_present,
    publish,
    read_file,
    store_file,
)
from storage_engine.testing.failing_disk import FailingDisk, Fault


@pytest.fixture
def disk():
    made = MemoryDisk()
    made.make_directory("seg")
    return made


def test_bytes_appear_under_their_name_only_when_published(disk):
    staged = StagedFile(disk, "seg/a")
    assert staged.write(b"hello ") == 6
    assert staged.write(memoryview(b"world")) == 5
    assert staged.tell() == 11
    stored = staged.seal()
    assert stored == StoredFile("seg/a", 11, hashlib.sha256(b"hello world").hexdigest())
    assert disk.list("seg") == ["a.tmp"]
    publish(disk, [stored])
    assert disk.list("seg") == ["a"]
    assert read_file(disk, stored) == b"hello world"
    check_digest(disk, stored)


def test_what_a_crash_left_behind_does_not_disturb(disk):
    disk.close(disk.create("seg/a.tmp"))
    assert read_file(disk, store_file(disk, "seg/a", b"x")) == b"x"


def test_a_published_file_is_never_overwritten(disk):
    first = store_file(disk, "seg/a", b"first")
    with pytest.raises(DiskError) as caught:
        store_file(disk, "seg/a", b"second")
    assert caught.value.exists
    assert disk.list("seg") == ["a"]
    assert read_file(disk, first) == b"first"


def test_abandon_removes_the_temporary(disk):
    staged = StagedFile(disk, "seg/a")
    staged.write(b"x")
    staged.abandon()
    staged.abandon()
    assert disk.list("seg") == []


def test_a_disk_that_stores_something_else_is_found_out(disk):
    class Lying(MemoryDisk):
        def write(self, handle, offset, data):
            return super().write(handle, offset, bytes(data).replace(b"a", b"b"))

    lying = Lying()
    with pytest.raises(DamagedError, match=r"x\.tmp"):
        store_file(lying, "x", b"banana")
    assert lying.list("") == []


def test_every_call_of_store_file_may_fail_and_leaves_nothing_named():
    seen = []
    for fail_at in range(5):
        disk = FailingDisk(None, Fault("broken", at=fail_at))
        with pytest.raises(DiskError) as caught:
            store_file(disk, "x", b"data")
        seen.append(caught.value.operation)
        # After a failed directory sync the name is there now, but nobody may rely on it.
        assert disk.list("") == (["x"] if caught.value.operation == "sync_directory" else [])
    assert seen == ["create", "write", "sync", "rename", "sync_directory"]


def test_missing_short_and_changed_files_are_damage(disk):
    stored = store_file(disk, "seg/a", b"content")
    handle = disk.open("seg/a")
    disk.write(handle, 3, b"T")
    check_present(disk, stored)
    for check in (check_digest, read_file):
        with pytest.raises(DamagedError, match="seg/a"):
            check(disk, stored)
    disk.truncate(handle, 6)
    for check in (check_present, check_digest, read_file):
        with pytest.raises(DamagedError, match="6 bytes instead of 7"):
            check(disk, stored)
    disk.unlink("seg/a")
    with pytest.raises(DamagedError, match="missing"):
        check_present(disk, stored)


def test_a_large_file_is_synced_while_it_is_read_back(disk):
    data = bytes(range(256)) * 20_000
    stored = store_file(disk, "seg/a", data)
    assert stored == StoredFile("seg/a", len(data), hashlib.sha256(data).hexdigest())
    assert read_file(disk, stored) == data


@pytest.mark.parametrize("size", [100, 5 << 20])
def test_a_failed_sync_is_an_error_and_leaves_no_file(disk, monkeypatch, size):
    def refuse(handle):
        raise DiskError("sync", handle.name, 5, "refused on purpose")

    monkeypatch.setattr(disk, "sync", refuse)
    with pytest.raises(DiskError, match="refused on purpose"):
        store_file(disk, "seg/a", bytes(size))
    assert disk.list("seg") == []


@pytest.mark.parametrize("size", [100, 5 << 20])
def test_what_comes_back_otherwise_than_it_was_written_is_damage(disk, monkeypatch, size):
    read = disk.read

    def flipped(name, offset=0, length=None):
        data = bytearray(read(name, offset, length))
        data[len(data) // 2] ^= 1
        return bytes(data)

    monkeypatch.setattr(disk, "read", flipped)
    with pytest.raises(DamagedError, match="digest"):
        store_file(disk, "seg/a", bytes(size))
    assert disk.list("seg") == []
