import os
import random
import subprocess
import sys
import textwrap
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage_engine.errors import (
    CommitUnknownError,
    DamagedError,
    DatabaseClosedError,
    FormatTooNewError,
    InvalidArgumentError,
    WriteFailedError,
)
from storage_engine.files import DiskError
from storage_engine.memory_disk import MemoryDisk
from storage_engine.real_disk import RealDisk
from storage_engine.wal.reader import LogReader
from storage_engine.wal.record import (
    FILE_HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    RECORD_OVERHEAD_BYTES,
    log_name,
    log_number,
    pack_header,
    pack_record,
    unpack_header,
)
from storage_engine.wal.writer import LogWriter

DATABASE = "00112233445566778899aabbccddeeff"
NAME = "wal/0000000001.wal"


def memory():
    disk = MemoryDisk()
    disk.make_directory("wal")
    return disk


def begin(disk, *, first_lsn=1, previous_crc=0, number=1):
    return LogWriter.create(
        disk, DATABASE, number, first_lsn=first_lsn, previous_crc=previous_crc, created_at=1700000000.5
    )


def holding(data):
    disk = memory()
    disk.write(disk.create(NAME), 0, data)
    return disk


def recover(disk, acknowledged_lsn=0, number=1):
    reader = LogReader(disk, number, DATABASE)
    found = [(entry.lsn, entry.time, bytes(entry.payload)) for entry in reader.entries()]
    return reader, found, reader.finish(acknowledged_lsn)


def resume(disk, reader, end):
    return LogWriter.resume(
        disk,
        reader.header.number,
        seed=reader.header.crc,
        end=end.offset,
        last_lsn=end.last_lsn,
        last_crc=end.last_crc,
    )


def three_commits():
    disk = memory()
    writer = begin(disk)
    for number, payload in enumerate([b"first", b"", b"the third one"], start=1):
        assert writer.append([payload], time=float(number)) == number
    return disk.read(NAME)


THREE = [(1, 1.0, b"first"), (2, 2.0, b""), (3, 3.0, b"the third one")]


def test_names():
    assert log_name(1) == NAME
    assert log_number("0000000001.wal") == 1
    for other in ("1.wal", "0000000001.wal.tmp", "0000000001.man", "000000000x.wal", "٠٠٠٠٠٠٠٠٠١.wal"):
        assert log_number(other) is None


def test_header_round_trip():
    header = unpack_header(pack_header(DATABASE, 7, 42, 0xDEADBEEF, 1.25))
    assert header is not None
    assert (header.database_uuid, header.number, header.first_lsn) == (DATABASE, 7, 42)
    assert (header.previous_crc, header.created_at) == (0xDEADBEEF, 1.25)


def test_records_come_back_in_order():
    disk = holding(three_commits())
    reader, found, end = recover(disk, 3)
    assert found == THREE
    assert (end.offset, end.last_lsn, end.torn_bytes) == (disk.size(NAME), 3, 0)
    assert [entry.durable_lsn for entry in LogReader(disk, 1, DATABASE).entries()] == [0, 1, 2]
    assert reader.header.created_at == 1700000000.5


def test_an_empty_log_is_clean():
    disk = memory()
    begin(disk, first_lsn=9, previous_crc=5)
    _, found, end = recover(disk)
    assert found == []
    assert (end.offset, end.last_lsn, end.last_crc, end.torn_bytes) == (FILE_HEADER_BYTES, 8, 5, 0)


def test_logs_continue_each_other():
    disk = memory()
    first = begin(disk)
    first.append([b"a", b"b"], time=1.0)
    second = begin(disk, number=2, first_lsn=3, previous_crc=first.last_crc)
    second.append([b"c"], time=2.0)
    _, _, end = recover(disk, acknowledged_lsn=2)
    reader, found, _ = recover(disk, number=2)
    assert (reader.header.first_lsn, reader.header.previous_crc) == (end.last_lsn + 1, end.last_crc)
    assert found == [(3, 2.0, b"c")]


def test_a_group_is_one_write_and_one_sync():
    class Counting(MemoryDisk):
        def __init__(self):
            super().__init__()
            self.calls = []

        def write(self, handle, offset, data):
            self.calls.append("write")
            return super().write(handle, offset, data)

        def sync(self, handle):
            self.calls.append("sync")
            super().sync(handle)

    disk = Counting()
    disk.make_directory("wal")
    writer = begin(disk)
    disk.calls.clear()
    assert writer.append([b"a", b"b", b"c"], time=1.0) == 3
    assert disk.calls == ["write", "sync"]
    assert writer.append([b"d"], time=1.0, sync=False) == 4
    assert (writer.last_lsn, writer.durable_lsn) == (4, 3)
    writer.sync()
    writer.sync()
    assert (writer.last_lsn, writer.durable_lsn) == (4, 4)
    assert disk.calls == ["write", "sync", "write", "sync"]


def test_a_log_of_something_else_is_refused():
    disk = holding(three_commits())
    with pytest.raises(DamagedError, match="belongs to log 1"):
        LogReader(disk, 1, DATABASE.replace("f", "0"))
    disk.rename(NAME, log_name(2))
    with pytest.raises(DamagedError, match=r"0000000002\.wal"):
        LogReader(disk, 2, DATABASE)
    with pytest.raises(DamagedError, match="missing"):
        LogReader(disk, 1, DATABASE)


@pytest.mark.crash
def test_cut_at_every_byte_keeps_the_whole_records_and_goes_on():
    data = three_commits()
    ends = [FILE_HEADER_BYTES]
    for _, _, payload in THREE:
        ends.append(ends[-1] + RECORD_OVERHEAD_BYTES + len(payload))
    assert ends[-1] == len(data)
    for length in range(len(data)):
        disk = holding(data[:length])
        if length < FILE_HEADER_BYTES:
            with pytest.raises(DamagedError, match="offset 0"):
                LogReader(disk, 1, DATABASE)
            continue
        whole = sum(end <= length for end in ends[1:])
        reader, found, end = recover(disk, acknowledged_lsn=whole)
        assert found == THREE[:whole]
        assert (end.offset, end.torn_bytes) == (ends[whole], length - ends[whole])
        with pytest.raises(DamagedError, match=f"offset {ends[whole]}.*{whole + 1}"):
            recover(disk, acknowledged_lsn=whole + 1)
        writer = resume(disk, reader, end)
        assert disk.size(NAME) == end.offset
        assert writer.append([b"after"], time=9.0) == whole + 1
        assert recover(disk, whole + 1)[1] == [*THREE[:whole], (whole + 1, 9.0, b"after")]


@pytest.mark.crash
def test_every_flipped_bit_is_noticed():
    data = three_commits()
    last = len(data) - RECORD_OVERHEAD_BYTES - len(THREE[-1][2])
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        disk = holding(flipped)
        with pytest.raises(DamagedError, match=NAME):
            recover(disk, acknowledged_lsn=3)
        if bit // 8 < last:
            # Later records prove by themselves that this one was acknowledged.
            with pytest.raises(DamagedError, match=NAME):
                recover(disk)
        else:
            _, found, end = recover(disk)
            assert found == THREE[:2]
            assert end.torn_bytes == len(data) - last


@pytest.mark.crash
def test_removed_and_doubled_pieces_are_noticed():
    data = three_commits()
    rng = random.Random(1)
    for _ in range(300):
        start = rng.randrange(FILE_HEADER_BYTES, len(data))
        stop = rng.randrange(start + 1, len(data) + 1)
        for changed in (data[:start] + data[stop:], data[:stop] + data[start:]):
            disk = holding(changed)
            try:
                _, found, _ = recover(disk, acknowledged_lsn=3)
            except DamagedError:
                continue
            assert found == THREE  # only a piece doubled behind the end changes nothing


def test_a_torn_group_is_no_damage():
    # A power cut may keep the second record of a group and lose the first: neither was acknowledged.
    disk = memory()
    writer = begin(disk)
    writer.append([b"acknowledged"], time=1.0)
    at = writer.size
    writer.append([b"lost", b"kept", b"kept too"], time=2.0)
    data = bytearray(disk.read(NAME))
    data[at + 41] ^= 1
    reader, found, end = recover(holding(data), acknowledged_lsn=1)
    assert [lsn for lsn, _, _ in found] == [1]
    assert end.offset == at
    # The next commit's record knows that the group was durable.
    writer.append([b"later"], time=3.0)
    data = bytearray(disk.read(NAME))
    data[at + 41] ^= 1
    with pytest.raises(DamagedError, match=f"offset {at}: commits 2 to 4 were acknowledged"):
        recover(holding(data))
    assert reader.header.number == 1


def test_a_record_of_another_log_never_counts():
    # Same LSN, same chain, same length, but written for another file: stale bytes that a file system brought back.
    disk, other = memory(), memory()
    begin(disk).append([b"mine"], time=1.0)
    begin(other, number=2).append([b"mine"], time=1.0)
    data = disk.read(NAME)[:FILE_HEADER_BYTES] + other.read(log_name(2))[FILE_HEADER_BYTES:]
    _, found, end = recover(holding(data))
    assert found == []
    assert end.torn_bytes == RECORD_OVERHEAD_BYTES + 4


def test_a_log_must_be_read_to_its_end_before_it_is_judged():
    reader = LogReader(holding(three_commits()), 1, DATABASE)
    with pytest.raises(ValueError, match="not read to its end"):
        reader.finish()
    next(reader.entries())
    with pytest.raises(ValueError, match="not read to its end"):
        reader.finish()


def test_following_a_log_that_is_being_written():
    disk = memory()
    writer = begin(disk)
    writer.append([b"a"], time=1.0)
    reader = LogReader(disk, 1, DATABASE)
    assert [bytes(entry.payload) for entry in reader.entries()] == [b"a"]
    assert list(LogReader(disk, 1, DATABASE, after=reader.position()).entries()) == []
    writer.append([b"b", b"c"], time=2.0)
    follower = LogReader(disk, 1, DATABASE, after=reader.position())
    entries = list(follower.entries())
    assert [(entry.lsn, bytes(entry.payload)) for entry in entries] == [(2, b"b"), (3, b"c")]
    assert entries[-1].end == writer.size
    assert follower.finish(3) == recover(disk, 3)[2]


def test_an_unknown_kind_of_record_is_too_new():
    disk = memory()
    begin(disk)
    seed = LogReader(disk, 1, DATABASE).header.crc
    record, _ = pack_record(seed, 1, 0, 1.0, 0, b"")
    changed = bytearray(record[:-4])
    changed[36] = 2
    disk.write(disk.open(NAME), FILE_HEADER_BYTES, bytes(changed) + crc32(changed, seed).to_bytes(4, "little"))
    with pytest.raises(FormatTooNewError, match="type 2"):
        recover(disk)


def test_payloads_are_limited():
    disk = memory()
    writer = begin(disk)
    for payloads in ([], [bytes(MAX_PAYLOAD_BYTES + 1)]):
        with pytest.raises(InvalidArgumentError):
            writer.append(payloads, time=1.0)
    assert disk.size(NAME) == FILE_HEADER_BYTES
    assert writer.append([bytes(MAX_PAYLOAD_BYTES)], time=1.0) == 1


class Failing(MemoryDisk):
    """Fails the calls whose names are in ``fail``; a failing write takes some bytes first."""

    def __init__(self):
        super().__init__()
        self.make_directory("wal")
        self.fail = set()

    def write(self, handle, offset, data):
        if "write" in self.fail:
            if len(data) > 20:
                return super().write(handle, offset, bytes(data[:20]))
            raise DiskError("write", handle.name, 28, "no space")
        return super().write(handle, offset, data)

    def truncate(self, handle, length):
        if "truncate" in self.fail:
            raise DiskError("truncate", handle.name, 5, "broken")
        super().truncate(handle, length)

    def sync(self, handle):
        if "sync" in self.fail:
            raise DiskError("sync", handle.name, 5, "broken")
        super().sync(handle)


def test_a_full_disk_refuses_the_commit_and_leaves_the_log_usable():
    disk = Failing()
    writer = begin(disk)
    writer.append([b"a"], time=1.0)
    before = disk.read(NAME)
    disk.fail = {"write"}
    with pytest.raises(WriteFailedError, match="Nothing was stored") as caught:
        writer.append([b"b" * 100, b"c"], time=2.0)
    assert isinstance(caught.value.__cause__, DiskError)
    assert disk.read(NAME) == before
    disk.fail = set()
    assert writer.append([b"d"], time=3.0) == 2
    assert recover(disk, 2)[1] == [(1, 1.0, b"a"), (2, 3.0, b"d")]


@pytest.mark.parametrize("second", ["truncate", "sync"])
def test_a_write_that_cannot_be_taken_back_poisons(second):
    disk = Failing()
    writer = begin(disk)
    disk.fail = {"write", second}
    with pytest.raises(CommitUnknownError):
        writer.append([b"b" * 100], time=2.0)
    disk.fail = set()
    assert writer.poisoned
    for call in (lambda: writer.append([b"c"], time=3.0), writer.sync):
        with pytest.raises(DatabaseClosedError, match="Open the database again"):
            call()


def test_a_failed_sync_poisons_and_is_not_tried_again():
    disk = Failing()
    writer = begin(disk)
    disk.fail = {"sync"}
    with pytest.raises(CommitUnknownError, match="made durable"):
        writer.append([b"a"], time=1.0)
    disk.fail = set()
    with pytest.raises(DatabaseClosedError):
        writer.append([b"b"], time=2.0)
    # Reopening decides: here the bytes had reached the file.
    assert recover(disk)[1] == [(1, 1.0, b"a")]


def test_an_interrupt_in_the_middle_leaves_no_trace():
    class Interrupted(Failing):
        armed = False

        def sync(self, handle):
            if self.armed:
                self.armed = False
                raise KeyboardInterrupt
            super().sync(handle)

    disk = Interrupted()
    writer = begin(disk)
    writer.append([b"a"], time=1.0)
    disk.armed = True
    with pytest.raises(KeyboardInterrupt):
        writer.append([b"b" * 30, b"b"], time=2.0)
    assert writer.append([b"c"], time=3.0) == 2
    _, found, end = recover(disk, 2)
    assert found == [(1, 1.0, b"a"), (2, 3.0, b"c")]
    assert end.torn_bytes == 0


def test_a_new_log_is_durable_before_its_name_is():
    calls = []

    class Recording(MemoryDisk):
        def write(self, handle, offset, data):
            calls.append("write")
            return super().write(handle, offset, data)

        def sync(self, handle):
            calls.append("sync")
            super().sync(handle)

        def sync_directory(self, directory):
            calls.append(f"sync {directory}")
            super().sync_directory(directory)

    disk = Recording()
    disk.make_directory("wal")
    begin(disk)
    assert calls == ["write", "sync", "sync wal"]


def test_stale_records_behind_an_overwritten_one_never_count():
    # The cut of a torn tail was lost, and the next commit happens to have the length of the record it replaces.
    disk = memory()
    writer = begin(disk)
    writer.append([b"one"], time=1.0)
    start = writer.size
    writer.append([b"two", b"tri"], time=2.0)
    data = bytearray(disk.read(NAME))
    seed = LogReader(disk, 1, DATABASE).header.crc
    first = next(iter(LogReader(disk, 1, DATABASE).entries()))
    record, _ = pack_record(seed, 2, 1, 9.0, first.crc, b"new")
    data[start : start + len(record)] = record
    _, found, end = recover(holding(data), acknowledged_lsn=2)
    assert found == [(1, 1.0, b"one"), (2, 9.0, b"new")]
    assert end.torn_bytes == RECORD_OVERHEAD_BYTES + 3


def test_a_gap_in_the_numbers_ends_the_log():
    disk = memory()
    begin(disk)
    seed = LogReader(disk, 1, DATABASE).header.crc
    record, _ = pack_record(seed, 2, 0, 1.0, 0, b"")
    disk.write(disk.open(NAME), FILE_HEADER_BYTES, record)
    assert recover(disk)[1] == []


def test_creating_over_an_old_log_is_refused():
    disk = memory()
    begin(disk)
    with pytest.raises(DiskError) as caught:
        begin(disk)
    assert caught.value.exists


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    groups=st.lists(st.lists(st.binary(max_size=700), min_size=1, max_size=4), min_size=1, max_size=6),
    data=st.data(),
)
def test_any_damage_is_an_error_or_a_prefix(groups, data):
    disk = memory()
    writer = begin(disk)
    payloads = []
    for group in groups:
        last_group = writer.size
        writer.append(group, time=1.0)
        payloads += group
    content = bytearray(disk.read(NAME))
    at = data.draw(st.integers(FILE_HEADER_BYTES, len(content) - 1))
    replacement = data.draw(st.binary(min_size=1, max_size=40))
    content[at : at + len(replacement)] = replacement
    acknowledged = data.draw(st.integers(0, len(payloads)))
    try:
        _, found, end = recover(holding(content), acknowledged)
    except DamagedError:
        return
    assert [payload for _, _, payload in found] == payloads[: len(found)]
    assert len(found) >= acknowledged
    if at + len(replacement) <= last_group:  # a whole last group proves that those before it were acknowledged
        assert found == [(lsn, 1.0, payload) for lsn, payload in enumerate(payloads, start=1)]
    assert end.last_lsn == len(found)


@pytest.mark.crash
def test_a_killed_process_loses_nothing_it_acknowledged(tmp_path):
    script = textwrap.dedent(
        """
        import sys
        from storage_engine.real_disk import RealDisk
        from storage_engine.wal.writer import LogWriter
        disk = RealDisk(sys.argv[1])
        disk.make_directory("wal")
        writer = LogWriter.create(disk, sys.argv[2], 1, first_lsn=1, previous_crc=0, created_at=1.0)
        while True:
            lsn = writer.append([b"%d" % (writer.last_lsn + 1)] * 1, time=1.0)
            print(lsn, flush=True)
        """
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path), DATABASE], stdout=subprocess.PIPE, text=True, env={**os.environ}
    )
    assert child.stdout is not None
    acknowledged = 0
    for line in child.stdout:
        acknowledged = int(line)
        if acknowledged == 25:
            child.kill()
    child.wait()
    child.stdout.close()
    disk = RealDisk(tmp_path)
    reader, found, end = recover(disk, acknowledged)
    assert acknowledged >= 25
    assert [payload for _, _, payload in found] == [b"%d" % lsn for lsn in range(1, end.last_lsn + 1)]
    writer = resume(disk, reader, end)
    assert writer.append([b"on"], time=2.0) == end.last_lsn + 1
    writer.close()
    disk.shut()
