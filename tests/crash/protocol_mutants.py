"""Break the protocol on purpose and see whether the crash points find it.

Each mutant is the engine with one rule taken away: by a disk that forgets some syncs, or by one function replaced.
"""

import argparse
import contextlib
import json
from unittest import mock

import call_faults
import crash_points

from storage_engine.errors import FormatTooNewError
from storage_engine.testing.recording_disk import RecordingDisk
from storage_engine.wal import reader, record
from storage_engine.wal.reader import LogReader
from storage_engine.wal.record import log_name
from storage_engine.wal.writer import LogWriter


def forgetting(*, files=None, directories=None):
    """A disk that ignores syncs of files whose name begins so, or of one directory."""

    class ForgetfulDisk(RecordingDisk):
        def sync(self, handle):
            if files is None or not handle.name.startswith(files):
                super().sync(handle)

        def sync_directory(self, directory):
            if directory != directories:
                super().sync_directory(directory)

    return ForgetfulDisk


def acknowledge_before_sync():
    append = LogWriter.append

    def early(self, payloads, *, time, sync=True):
        return append(self, payloads, time=time, sync=False)

    return mock.patch.object(LogWriter, "append", early)


class HastyDisk(RecordingDisk):
    """On the medium, the old logs are removed before the manifest that makes them unnecessary is written."""

    def create(self, name):
        if name.startswith("manifest/"):
            for log in self.list("wal")[:-1]:
                self._note("unlink", f"wal/{log}")
        return super().create(name)


def no_checksum():
    """Believe every record whose frame fits."""

    def trusting(data, start, seed, base=0):
        if len(data) - start < record.RECORD_OVERHEAD_BYTES:
            return None
        magic, length, lsn, durable, time, previous, kind, flags = record._RECORD_HEADER.unpack_from(data, start)
        if magic != record.RECORD_MAGIC or length > len(data) - start - record.RECORD_OVERHEAD_BYTES:
            return None
        body = start + record.RECORD_HEADER_BYTES
        (crc,) = record._CRC.unpack_from(data, body + length)
        end = body + length + 4
        payload = data[body : body + length]
        return record.LogEntry(lsn, durable, time, kind, flags, payload, base + start, base + end, crc), previous

    return mock.patch.object(reader, "unpack_record", trusting)


@contextlib.contextmanager
def no_chain_and_old_tail():
    """Leave the torn tail where it is, and do not ask a record for its predecessor."""

    def entries(self):
        while True:
            found = reader.unpack_record(self._data, self._position, self.header.crc, self._base)
            if found is None or found[0].lsn != self._lsn + 1:
                self._exhausted = True
                return
            entry = found[0]
            if entry.kind != record.OPERATIONS or entry.flags != 0:
                raise FormatTooNewError("a record of a newer version")
            self._position, self._lsn, self._crc = entry.end - self._base, entry.lsn, entry.crc
            yield entry

    def resume(disk, number, *, seed, end, last_lsn, last_crc, anew=False):
        handle = disk.open(log_name(number))
        disk.sync(handle)
        return LogWriter(disk, handle, number, seed, end, last_lsn, last_crc)

    with mock.patch.object(LogReader, "entries", entries), mock.patch.object(LogWriter, "resume", resume):
        yield


def no_sync_at_recovery():
    """Take what a killed process left for durable."""

    def resume(disk, number, *, seed, end, last_lsn, last_crc, anew=False):
        handle = disk.open(log_name(number))
        disk.truncate(handle, end)
        return LogWriter(disk, handle, number, seed, end, last_lsn, last_crc)

    return mock.patch.object(LogWriter, "resume", resume)


def believe_a_later_sync():
    """After a failed sync, go on with the same file."""
    resume = LogWriter.resume

    def trusting(disk, number, *, anew=False, **end):
        return resume(disk, number, **end)

    return mock.patch.object(LogWriter, "resume", trusting)


MUTANTS = {
    "acknowledge before sync": (acknowledge_before_sync, RecordingDisk),
    "no sync of segments": (contextlib.nullcontext, forgetting(files="seg/")),
    "no sync of the manifest": (contextlib.nullcontext, forgetting(files="manifest/")),
    "no sync of the log's name": (contextlib.nullcontext, forgetting(directories="wal")),
    "no sync of the manifest's name": (contextlib.nullcontext, forgetting(directories="manifest")),
    "no sync of segments' names": (contextlib.nullcontext, forgetting(directories="seg")),
    "old log removed before the commit": (contextlib.nullcontext, HastyDisk),
    "no checksum": (no_checksum, RecordingDisk),
    "no chain and an old tail": (no_chain_and_old_tail, RecordingDisk),
    "no sync at recovery": (no_sync_at_recovery, RecordingDisk),
    "a later sync is believed": (believe_a_later_sync, None),
}
"""Name → (patch, disk of the crash points); without a disk the call faults are run."""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mutant", nargs="*", default=list(MUTANTS))
    parser.add_argument("--points", type=int, default=2000)
    options = parser.parse_args()
    for name in options.mutant:
        patch, make_disk = MUTANTS[name]
        tally = crash_points.Tally()
        with patch():
            if make_disk is None:
                call_faults.run(tally, range(10**6), options.points, most_failures=1)
            else:
                crash_points.run(tally, range(10**6), options.points, make_disk=make_disk, most_failures=1)
        found = tally.failures[0] if tally.failures else None
        if found and not found["error"].startswith(("ViolationError", "DamagedError")):
            raise SystemExit(f"{name!r} does not break the protocol but the program: {found}")
        print(json.dumps({"mutant": name, "points": tally.points, "found": found}), flush=True)


if __name__ == "__main__":
    main()
