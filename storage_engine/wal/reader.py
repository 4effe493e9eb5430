"""Read a log up to its last valid record, and tell a torn tail from damage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from storage_engine.errors import DamagedError, FormatTooNewError
from storage_engine.files import Disk, DiskError
from storage_engine.wal.record import (
    FILE_HEADER_BYTES,
    OPERATIONS,
    RECORD_HEADER_BYTES,
    RECORD_MAGIC,
    LogEntry,
    LogHeader,
    log_name,
    unpack_header,
    unpack_record,
)


@dataclass(frozen=True, slots=True)
class LogEnd:
    """Where the valid records of a log end.

    Args:
        offset: First byte after the last valid record.
        last_lsn: Its LSN, or the first LSN minus one.
        last_crc: Its checksum, or the previous one named by the header.
        torn_bytes: Bytes after ``offset``: a write that a crash interrupted before it was acknowledged. 0 if clean,
            also where nothing but zeros follows: room that the writer had set aside.
    """

    offset: int
    last_lsn: int
    last_crc: int
    torn_bytes: int


class LogReader:
    """One log file, read once from a position to its end.

    Iterate :meth:`entries`, apply each, then call :meth:`finish`. A reader of a log that somebody else is writing makes
    a new one with ``after=`` the end it has reached.

    Args:
        disk: Where.
        number: The file's number.
        database_uuid: 32 hexadecimal digits; a log of another database is refused.
        after: Continue behind a position reached before; ``None`` starts with the first record.

    Attributes:
        name: ``wal/<number>.wal``.
        header: What the file says about itself; ``header.crc`` is the ``seed`` of :meth:`LogWriter.resume`.

    Raises:
        DamagedError: The file is missing, its header is damaged, or it belongs to another database or number.
    """

    def __init__(self, disk: Disk, number: int, database_uuid: str, *, after: LogEnd | None = None) -> None:
        self.name = log_name(number)
        self._disk = disk
        try:
            head = disk.read(self.name, 0, FILE_HEADER_BYTES)
            start = FILE_HEADER_BYTES if after is None else after.offset
            self._data = memoryview(disk.read(self.name, start))
        except DiskError as error:
            if not error.missing:
                raise
            raise _damaged(f"{self.name} is missing", self.name) from error
        header = unpack_header(head)
        if header is None:
            raise _damaged(f"{self.name} is damaged at offset 0: its header fails the checksum", self.name)
        if header.database_uuid != database_uuid or header.number != number:
            raise _damaged(
                f"{self.name} at offset 8 belongs to log {header.number} of database {header.database_uuid}", self.name
            )
        self.header: LogHeader = header
        self._base = start
        self._position = 0
        self._exhausted = False
        self._lsn = header.first_lsn - 1 if after is None else after.last_lsn
        self._crc = header.previous_crc if after is None else after.last_crc

    def entries(self) -> Iterator[LogEntry]:
        """The valid records in order, each the successor of the one before by LSN and by hash chain.

        Raises:
            FormatTooNewError: A record of a type or with a flag that this version does not know.
        """
        while True:
            found = unpack_record(self._data, self._position, self.header.crc, self._base)
            if found is None or found[0].lsn != self._lsn + 1 or found[1] != self._crc:
                self._exhausted = True
                return
            entry = found[0]
            if entry.kind != OPERATIONS or entry.flags != 0:
                raise FormatTooNewError(
                    f"{self.name} at offset {entry.offset} holds a record of type {entry.kind}, flags {entry.flags}",
                    fix="Open the directory with a newer Q-Store.",
                    value=entry.kind,
                )
            self._position = entry.end - self._base
            self._lsn = entry.lsn
            self._crc = entry.crc
            yield entry

    def finish(self, acknowledged_lsn: int = 0) -> LogEnd:
        """Judge what follows the last record that :meth:`entries` gave.

        It is damage, and not the torn tail of a crash, if the missing record is known to have been acknowledged:
        ``acknowledged_lsn`` covers it, or a valid record further on was written when it was already durable. (A later
        record alone proves nothing: the records of one group are synced together, and a power cut may keep the second
        and lose the first.)

        Args:
            acknowledged_lsn: Newest LSN known to be durable from elsewhere: the watermark, or the first LSN of the next
                log minus one.

        A file that is being written may have been read while records were on their way, so that an older one looked
        missing and a newer one was there. Before anything is called damaged, the place is read once more: what was
        acknowledged before the first reading is there by then.

        Returns:
            The end; ``torn_bytes`` may be cut off. Below ``acknowledged_lsn`` only if the next record came meanwhile.

        Raises:
            DamagedError: Acknowledged records cannot be read; names file, offset and LSNs.
            ValueError: :meth:`entries` was not read to its end.
        """
        if not self._exhausted:
            raise ValueError(f"{self.name} was not read to its end, so that nothing can be said about it")
        end = self._base + self._position
        known = acknowledged_lsn if acknowledged_lsn > self._lsn else self._newest_witness()
        if known > self._lsn:
            if not self._has_come(end):
                raise self._lost(end, known)
            return self.position()
        rest = bytes(self._data[self._position :])
        return LogEnd(end, self._lsn, self._crc, len(rest) if rest.strip(b"\0") else 0)

    @property
    def last_lsn(self) -> int:
        """LSN of the last record read, or the first LSN minus one."""
        return self._lsn

    def position(self) -> LogEnd:
        """The end reached so far without judging what follows; for following a log that is being written."""
        return LogEnd(self._base + self._position, self._lsn, self._crc, 0)

    def _has_come(self, offset: int) -> bool:
        """Whether the record that was missing at ``offset`` is there now."""
        try:
            data = memoryview(self._disk.read(self.name, offset))
        except DiskError:
            return False
        found = unpack_record(data, 0, self.header.crc, offset)
        return found is not None and found[0].lsn == self._lsn + 1 and found[1] == self._crc

    def _newest_witness(self) -> int:
        """Largest durable LSN named by a valid record behind the last good one; 0 if there is none."""
        rest = bytes(self._data[self._position :])
        view, newest = memoryview(rest), 0
        at = rest.find(RECORD_MAGIC)
        while at >= 0:
            # The cheap tests come first: a checksum is only computed for what claims to be a witness.
            if len(rest) - at >= RECORD_HEADER_BYTES:
                lsn = int.from_bytes(rest[at + 8 : at + 16], "little")
                durable = int.from_bytes(rest[at + 16 : at + 24], "little")
                if max(self._lsn, newest) < durable < lsn:
                    found = unpack_record(view, at, self.header.crc)
                    if found is not None:
                        newest = durable
            at = rest.find(RECORD_MAGIC, at + 1)
        return newest

    def _lost(self, offset: int, last: int) -> DamagedError:
        first = self._lsn + 1
        which = f"commit {first}" if first == last else f"commits {first} to {last}"
        return _damaged(
            f"{self.name} is damaged at offset {offset}: {which} were acknowledged and cannot be read", self.name
        )


def _damaged(what: str, name: str) -> DamagedError:
    return DamagedError(what, fix="Restore the file from a backup of the directory.", value=name)
