"""Append to the log and make it durable: the commit point of every transaction.

A sync of a file that has grown makes the file system write its own records as well, which takes about as long as the
data. So small records are written into **room**: zeros that were written, and made durable, behind an earlier record.
Room doubles with the log, from 16 KiB up to 1 MiB, and is cut off when the log is closed; after a crash it is not taken
for a torn tail. Large records are not worth writing their place twice and simply extend the file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from storage_engine.errors import (
    CommitUnknownError,
    DatabaseClosedError,
    InvalidArgumentError,
    WriteFailedError,
)
from storage_engine.files import Bytes, Disk, DiskError, Handle, replace_file, write_all
from storage_engine.wal.record import (
    FILE_HEADER_BYTES,
    MAX_PAYLOAD_BYTES,
    Payload,
    frame_record,
    gathered,
    log_name,
    pack_header,
)

MOST_ROOM = 1 << 20
_LEAST_ROOM = 16 << 10
_SMALL_BYTES = 512 << 10
"""Records that are shorter together are worth room."""


class LogWriter:
    """The open end of one log file. For one thread at a time.

    Make one with :meth:`create` or :meth:`resume`.

    Attributes:
        name: ``wal/<number>.wal``.
        number: The file's number.
        poisoned: The disk failed in a way after which the file's end is unknown; only reopening helps.
        most_room: How many bytes of room there may be; 0 for none.
    """

    __slots__ = ("_dirty", "_disk", "_end", "_handle", "_length", "_seed", "most_room", "name", "number", "poisoned")

    def __init__(
        self, disk: Disk, handle: Handle, number: int, seed: int, size: int, last_lsn: int, last_crc: int
    ) -> None:
        self._disk = disk
        self._handle = handle
        self._seed = seed
        self._dirty = False
        self._length = size  # of the file, room included
        self.most_room = 0
        # One tuple, so that an interrupt between two statements never leaves a size that does not fit its LSN.
        self._end = (size, last_lsn, last_crc, last_lsn)
        self.name = handle.name
        self.number = number
        self.poisoned = False

    @property
    def size(self) -> int:
        """Length of the valid log in bytes, without room."""
        return self._end[0]

    @property
    def last_lsn(self) -> int:
        """LSN of the newest record, or the first LSN minus one."""
        return self._end[1]

    @property
    def last_crc(self) -> int:
        """Checksum of the newest record: what the next record, or the next log's header, names as its predecessor."""
        return self._end[2]

    @property
    def durable_lsn(self) -> int:
        """Newest LSN known to survive a power cut; below :attr:`last_lsn` only after ``append(sync=False)``."""
        return self._end[3]

    @classmethod
    def create(
        cls, disk: Disk, database_uuid: str, number: int, *, first_lsn: int, previous_crc: int, created_at: float
    ) -> LogWriter:
        """Start log file ``number`` and make its header and its name durable.

        Args:
            disk: Where.
            database_uuid: 32 hexadecimal digits.
            number: Its number; the name must be free.
            first_lsn: LSN of the record to come.
            previous_crc: CRC of the record before that one, 0 at the very beginning.
            created_at: Seconds since the epoch.

        Raises:
            DiskError: The file may exist but holds no record.
        """
        header = pack_header(database_uuid, number, first_lsn, previous_crc, created_at)
        handle = disk.create(log_name(number))
        try:
            write_all(disk, handle, 0, header)
            disk.sync(handle)
            disk.sync_directory("wal")
        except DiskError:
            disk.close(handle)
            with contextlib.suppress(DiskError):  # what cannot be removed is recognized when the log is read
                disk.unlink(handle.name)
            raise
        seed = int.from_bytes(header[-4:], "little")
        return cls(disk, handle, number, seed, FILE_HEADER_BYTES, first_lsn - 1, previous_crc)

    @classmethod
    def resume(
        cls, disk: Disk, number: int, *, seed: int, end: int, last_lsn: int, last_crc: int, anew: bool = False
    ) -> LogWriter:
        """Go on after recovery: cut the file at ``end`` and make all that stands before it durable.

        Args:
            disk: Where.
            number: The file's number.
            seed: ``LogHeader.crc`` of the file.
            end: Offset after the last valid record (``LogEnd.offset``).
            last_lsn: LSN of that record (``LogEnd.last_lsn``).
            last_crc: Its checksum (``LogEnd.last_crc``).
            anew: Put a copy in the file's place. For a log of which not all is known to be durable: if a sync failed
                before, the system may hold bytes in memory that it takes for written, and no later sync writes them.

        Raises:
            DiskError: Nothing was lost; reading the file again gives the same records.
        """
        name = log_name(number)
        if anew:
            replace_file(disk, name, disk.read(name, 0, end))
        handle = disk.open(name)
        try:
            if disk.size(name) != end:
                disk.truncate(handle, end)
            # Records that a killed process wrote but did not sync become durable here, before anybody is told of them.
            disk.sync(handle)
        except DiskError:
            disk.close(handle)
            raise
        return cls(disk, handle, number, seed, end, last_lsn, last_crc)

    def append(self, payloads: Sequence[Payload], *, time: float, sync: bool = True) -> int:
        """Write one record per payload, and return once all of them survive a power cut.

        Args:
            payloads: At least one, in commit order; each at most ``MAX_PAYLOAD_BYTES``.
            time: Commit time of all of them, seconds since the epoch.
            sync: ``False`` leaves durability to a later :meth:`sync` or ``append``.

        Returns:
            The LSN of the last one; the others precede it without a gap.

        Raises:
            InvalidArgumentError: No payload, or one that is too long; nothing was written.
            WriteFailedError: The disk refused the bytes and the log was cut back to where it was; usable as before.
            CommitUnknownError: The disk failed in the middle; the writer is poisoned.
            DatabaseClosedError: The writer is poisoned or closed.
        """
        self._check_usable()
        longest = max(map(payload_bytes, payloads), default=-1)
        if not 0 <= longest <= MAX_PAYLOAD_BYTES:
            raise InvalidArgumentError(
                f"a log record of {max(longest, 0)} bytes is outside 1 record to {MAX_PAYLOAD_BYTES} bytes",
                fix="Split the batch.",
            )
        if self._dirty:  # an earlier call was interrupted (Ctrl-C) after it had begun to write
            self._cut_back(None)
        size, lsn, crc, durable = self._end
        pieces: list[Bytes] = []
        for payload in payloads:
            lsn += 1
            record, crc = frame_record(self._seed, lsn, durable, time, crc, payload)
            pieces += record
        end = size + sum(map(len, pieces))
        try:
            self._write(pieces, size, end)
        except DiskError as error:
            self._cut_back(error)
            raise WriteFailedError(
                f"the disk took no new log record: {error.what}",
                fix="Nothing was stored. Free some space and try again.",
                value=error.name,
            ) from error
        if sync:
            self._sync()
        self._end = (end, lsn, crc, lsn if sync else durable)
        self._dirty = False
        return lsn

    def sync(self) -> None:
        """Make durable what ``append(sync=False)`` wrote, and cut off what an interrupted call left behind.

        Call it before the next log file is begun.

        Raises:
            CommitUnknownError: The disk failed; the writer is poisoned.
            DatabaseClosedError: The writer is poisoned or closed.
        """
        self._check_usable()
        if self._dirty:
            self._cut_back(None)
        if self.durable_lsn != self.last_lsn:
            self._sync()
            self._end = (self.size, self.last_lsn, self.last_crc, self.last_lsn)

    def close(self) -> None:
        """Give the file back without its room. Makes nothing durable. Idempotent."""
        if not self.poisoned and not self._dirty and self._length > self.size:
            # Room that stays behind, because this fails or is not durable, is known for what it is when it is read.
            with contextlib.suppress(DiskError):
                self._disk.truncate(self._handle, self.size)
        self._disk.close(self._handle)
        self.poisoned = True

    def _write(self, pieces: list[Bytes], start: int, end: int) -> None:
        """Write pieces one behind the other from ``start`` to ``end``, with room behind them where that is of use."""
        self._dirty = True
        length = end
        if end > self._length and end - start <= _SMALL_BYTES:
            room = min(self.most_room, max(_LEAST_ROOM, end))
            pieces.append(bytes(room))
            length += room
        for data in gathered(pieces):
            write_all(self._disk, self._handle, start, data)
            start += len(data)
        self._length = max(self._length, length)

    def _check_usable(self) -> None:
        if self.poisoned:
            raise DatabaseClosedError(
                f"{self.name} takes no more records: the handle was closed, or the disk failed before",
                fix="Open the database again.",
                value=self.name,
            )

    def _sync(self) -> None:
        try:
            self._disk.sync(self._handle)
        except DiskError as error:
            # After a failed sync the kernel may have dropped the pages and called them clean: a second try would lie.
            self.poisoned = True
            raise CommitUnknownError(
                f"the disk failed while a commit was being made durable: {error.what}",
                fix="Open the database again: it then shows whether the commit is there.",
                value=error.name,
            ) from error

    def _cut_back(self, cause: DiskError | None) -> None:
        try:
            self._disk.truncate(self._handle, self.size)
            self._length = self.size
            self._disk.sync(self._handle)
            self._end = (self.size, self.last_lsn, self.last_crc, self.last_lsn)
        except DiskError as error:
            self.poisoned = True
            raise CommitUnknownError(
                f"a log record was written in part and could not be cut off again: {error.what}",
                fix="Open the database again: it then shows whether the commit is there.",
                value=error.name,
            ) from (cause or error)
        self._dirty = False


def payload_bytes(payload: Payload) -> int:
    """Length of a payload, whole or in pieces."""
    return sum(map(len, payload)) if isinstance(payload, list) else len(payload)
