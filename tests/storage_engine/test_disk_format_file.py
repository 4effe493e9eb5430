import dataclasses

import pytest

from storage_engine.errors import DamagedError, FormatTooNewError, NotADatabaseError
from storage_engine.format_file import Format, is_blank, pack_format, read_format, write_format
from storage_engine.memory_disk import MemoryDisk

ONE = Format("00112233445566778899aabbccddeeff", 1700000000.25, optional=5)


def holding(data):
    disk = MemoryDisk()
    disk.write(disk.create("FORMAT"), 0, data)
    return disk


def test_round_trip():
    disk = MemoryDisk()
    write_format(disk, ONE)
    assert read_format(disk) == ONE
    assert disk.size("FORMAT") == 60
    assert disk.list("") == ["FORMAT"]


def test_what_needs_a_newer_version_is_refused():
    for newer in (dataclasses.replace(ONE, major=2), dataclasses.replace(ONE, required=4)):
        with pytest.raises(FormatTooNewError, match="newer Q-Store"):
            read_format(holding(pack_format(newer)))
    minor = dataclasses.replace(ONE, minor=9)
    assert read_format(holding(pack_format(minor))) == minor


@pytest.mark.parametrize("content", [b"", b"PAR1", b"SQLite format 3\0" * 10])
def test_something_else_is_no_database(content):
    with pytest.raises(NotADatabaseError):
        read_format(holding(content))


def test_no_file_is_no_database():
    with pytest.raises(NotADatabaseError, match="no file FORMAT"):
        read_format(MemoryDisk())


def test_every_flipped_bit_and_every_cut_is_refused():
    good = pack_format(ONE)
    for bit in range(8 * len(good)):
        data = bytearray(good)
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises((DamagedError, NotADatabaseError)):
            read_format(holding(data))
    for length in range(len(good)):
        with pytest.raises((DamagedError, NotADatabaseError)):
            read_format(holding(good[:length]))
    with pytest.raises(DamagedError):
        read_format(holding(good + b"\0"))


def test_blank_means_nothing_but_an_interrupted_creation():
    disk = MemoryDisk()
    assert is_blank(disk)
    disk.create("LOCK")
    disk.create("format.tmp")
    assert is_blank(disk)
    disk.make_directory("wal")
    assert not is_blank(disk)
