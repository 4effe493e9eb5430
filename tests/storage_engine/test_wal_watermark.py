import pytest

from storage_engine.files import DiskError
from storage_engine.memory_disk import MemoryDisk
from storage_engine.wal.watermark import SLOT_BYTES, SYNCED_NAME, Watermark, read_watermark

DATABASE = "00112233445566778899aabbccddeeff"


def test_the_newest_statement_counts():
    disk = MemoryDisk()
    assert read_watermark(disk, DATABASE) == 0
    mark = Watermark(disk, DATABASE)
    assert read_watermark(disk, DATABASE) == 0
    for lsn in (1, 2, 5, 5, 9):
        mark.write(lsn)
        assert read_watermark(disk, DATABASE) == lsn
    mark.close()
    again = Watermark(disk, DATABASE)
    again.write(10, sync=True)
    again.close()
    again.close()
    assert read_watermark(disk, DATABASE) == 10
    assert disk.size(SYNCED_NAME) == 2 * SLOT_BYTES


def test_a_torn_write_leaves_the_statement_before():
    disk = MemoryDisk()
    mark = Watermark(disk, DATABASE)
    mark.write(7)
    before = disk.read(SYNCED_NAME)
    mark.write(8)
    after = disk.read(SYNCED_NAME)
    changed = [at for at in range(len(after)) if after[at : at + 1] != before[at : at + 1]]
    start = changed[0] // SLOT_BYTES * SLOT_BYTES
    handle = disk.open(SYNCED_NAME)
    for length in range(SLOT_BYTES):
        disk.truncate(handle, 0)
        disk.write(handle, 0, before)
        disk.write(handle, start, after[start : start + length])
        assert read_watermark(disk, DATABASE) in (7, 8)
    for bit in range(8 * SLOT_BYTES):
        flipped = bytearray(after)
        flipped[start + bit // 8] ^= 1 << bit % 8
        disk.write(handle, 0, flipped)
        assert read_watermark(disk, DATABASE) == 7


def test_two_torn_slots_say_nothing():
    disk = MemoryDisk()
    Watermark(disk, DATABASE).write(7)
    handle = disk.open(SYNCED_NAME)
    disk.write(handle, 5, b"??")
    disk.write(handle, SLOT_BYTES + 5, b"??")
    assert read_watermark(disk, DATABASE) == 0
    Watermark(disk, DATABASE).write(3)
    assert read_watermark(disk, DATABASE) == 3


def test_another_databases_statement_does_not_count():
    disk = MemoryDisk()
    Watermark(disk, DATABASE).write(7)
    assert read_watermark(disk, DATABASE[::-1]) == 0


def test_reset_takes_back_both_slots():
    disk = MemoryDisk()
    mark = Watermark(disk, DATABASE)
    mark.write(7)
    mark.write(8)
    mark.reset(2)
    handle = disk.open(SYNCED_NAME)
    for start in (0, SLOT_BYTES):
        good = disk.read(SYNCED_NAME)
        disk.write(handle, start, bytes(SLOT_BYTES))
        assert read_watermark(disk, DATABASE) == 2
        disk.write(handle, 0, good)


def test_a_failed_write_keeps_the_other_slot():
    class Failing(MemoryDisk):
        broken = False

        def write(self, handle, offset, data):
            if self.broken:
                super().write(handle, offset, bytes(data[:30]))
                raise DiskError("write", handle.name, 5, "broken")
            return super().write(handle, offset, data)

    disk = Failing()
    mark = Watermark(disk, DATABASE)
    mark.write(7)
    disk.broken = True
    for _ in range(3):
        with pytest.raises(DiskError):
            mark.write(8)
        assert read_watermark(disk, DATABASE) == 7
    disk.broken = False
    mark.write(9)
    assert read_watermark(disk, DATABASE) == 9
