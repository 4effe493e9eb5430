"""The durable watermark: a small file beside the log that says up to which LSN commits were acknowledged.

Two slots of 512 bytes are written in turn, so that one of them survives a torn write. It is written lazily, after the
log was synced, so what it says is always true and sometimes old: a lower bound. With it, damage to the end of the log
is told from the torn tail of a crash.

Slot, little-endian::

    0    8  magic "QSTORSYN"      24  8  sequence: the higher one counts      40 468  zero
    8   16  database uuid         32  8  LSN                                 508   4  CRC-32 of bytes 0-507
"""

from __future__ import annotations

import struct
from zlib import crc32

from storage_engine.files import ROOT, Disk, DiskError, Handle, write_all

SYNCED_NAME = "SYNCED"
SLOT_BYTES = 512

_MAGIC = b"QSTORSYN"
_SLOT = struct.Struct("<8s16sQQ468x")
_CRC = struct.Struct("<I")


class Watermark:
    """The writer's handle on the file. For one thread at a time.

    Args:
        disk: Where.
        database_uuid: 32 hexadecimal digits.

    Raises:
        DiskError: The file can be neither opened nor created.
    """

    def __init__(self, disk: Disk, database_uuid: str) -> None:
        self._disk = disk
        self._uuid = bytes.fromhex(database_uuid)
        if disk.exists(SYNCED_NAME):
            self._handle: Handle = disk.open(SYNCED_NAME)
            sequences = [slot[0] for slot in _slots(disk, self._uuid)]
            self._sequence = max(sequences, default=0)
        else:
            self._handle = disk.create(SYNCED_NAME)
            self._sequence = 0
            self.write(0, sync=True)
            disk.sync_directory(ROOT)

    def write(self, lsn: int, *, sync: bool = False) -> None:
        """Say that all commits up to ``lsn`` are durable. Only after that is true.

        Args:
            lsn: Not below an earlier one.
            sync: Also make the statement itself durable. Without it, other processes see it at once.

        Raises:
            DiskError: The earlier statement still stands.
        """
        sequence = self._sequence + 1
        body = _SLOT.pack(_MAGIC, self._uuid, sequence, lsn)
        write_all(self._disk, self._handle, sequence % 2 * SLOT_BYTES, body + _CRC.pack(crc32(body)))
        self._sequence = sequence
        if sync:
            self._disk.sync(self._handle)

    def reset(self, lsn: int) -> None:
        """Take back what was said, in both slots, durably: for a repair that gave up commits above ``lsn``.

        Raises:
            DiskError: One of the slots may be written and the other not.
        """
        self.write(lsn, sync=True)
        self.write(lsn, sync=True)

    def close(self) -> None:
        """Give the file back. Idempotent."""
        self._disk.close(self._handle)


def read_watermark(disk: Disk, database_uuid: str) -> int:
    """The newest LSN that the file says was durable; 0 if it is missing or both slots are torn.

    Both slots may be torn after a power cut, as they are written without syncing; that is no damage.
    """
    return max(_slots(disk, bytes.fromhex(database_uuid)), default=(0, 0))[1]


def _slots(disk: Disk, uuid: bytes) -> list[tuple[int, int]]:
    """(sequence, LSN) of each valid slot."""
    try:
        data = disk.read(SYNCED_NAME, 0, 2 * SLOT_BYTES)
    except DiskError as error:
        if error.missing:
            return []
        raise
    found = []
    for start in range(0, len(data) - SLOT_BYTES + 1, SLOT_BYTES):
        slot = data[start : start + SLOT_BYTES]
        magic, owner, sequence, lsn = _SLOT.unpack_from(slot)
        if magic == _MAGIC and owner == uuid and _CRC.unpack_from(slot, SLOT_BYTES - 4)[0] == crc32(slot[:-4]):
            found.append((sequence, lsn))
    return found
