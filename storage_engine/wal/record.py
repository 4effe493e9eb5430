"""The bytes of a log file: its header, and the frame around each record. Pure functions over buffers.

File header, 64 bytes, little-endian::

    0   8  magic "QSTORWAL"        40  8  created at (float64, seconds)
    8  16  database uuid           48  4  CRC of the last record of the log before
    24  8  file number             52  8  zero
    32  8  first LSN               60  4  CRC-32 of bytes 0-59

Record, 40 bytes + payload + 4, little-endian::

    0   4  magic "QSWR"            32  4  CRC of the record before (hash chain)
    4   4  payload length          36  2  type
    8   8  LSN                     38  2  flags
    16  8  durable LSN             40  n  payload
    24  8  commit time (float64)   40+n 4 CRC-32 of bytes 0 to 40+n-1, seeded with the file header's CRC

The seed binds a record to this file of this database: stale bytes of another log never look valid. ``durable LSN`` is
the newest LSN known to survive a power cut when the record was written.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias
from zlib import crc32

from storage_engine.files import Bytes

FILE_MAGIC = b"QSTORWAL"
RECORD_MAGIC = b"QSWR"
FILE_HEADER_BYTES = 64
RECORD_HEADER_BYTES = 40
RECORD_OVERHEAD_BYTES = RECORD_HEADER_BYTES + 4
MAX_PAYLOAD_BYTES = 16 << 20

Payload: TypeAlias = "bytes | memoryview | list[Bytes]"
"""The payload of a record, whole or in pieces. A piece that is a memoryview has items of one byte."""

SMALL_BYTES = 64 << 10
"""Pieces below this are copied together."""

OPERATIONS = 1
"""Record type: the payload is what :func:`storage_engine.wal.entry.encode_operations` made."""

_FILE_HEADER = struct.Struct("<8s16sQQdI8xI")
_RECORD_HEADER = struct.Struct("<4sIQQdIHH")
_CRC = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class LogHeader:
    """What the first 64 bytes of a log file say.

    Args:
        database_uuid: 32 hexadecimal digits.
        number: The file's number; it is part of the name.
        first_lsn: LSN that its first record has or will have.
        previous_crc: CRC of the record with LSN ``first_lsn - 1``, 0 if there is none.
        created_at: Seconds since the epoch.
        crc: The header's own checksum: the seed of all record checksums in the file.
    """

    database_uuid: str
    number: int
    first_lsn: int
    previous_crc: int
    created_at: float
    crc: int


class LogEntry(NamedTuple):
    """One valid record.

    Attributes:
        lsn: Its log sequence number: the version that this commit made.
        durable_lsn: Newest LSN that was durable when the record was written.
        time: Commit time in seconds since the epoch.
        kind: Record type, :data:`OPERATIONS`.
        flags: Zero so far.
        payload: A view into the log's bytes.
        offset: Where the record starts in the file.
        end: Where the next one starts.
        crc: Its checksum: the ``previous_crc`` of the next record.
    """

    lsn: int
    durable_lsn: int
    time: float
    kind: int
    flags: int
    payload: memoryview
    offset: int
    end: int
    crc: int


def log_name(number: int) -> str:
    """``wal/0000000001.wal``."""
    return f"wal/{number:010d}.wal"


def log_number(entry: str) -> int | None:
    """The number of a directory entry like ``0000000001.wal``; ``None`` for other entries."""
    stem, dot, suffix = entry.rpartition(".")
    return int(stem) if dot and suffix == "wal" and len(stem) == 10 and stem.isascii() and stem.isdigit() else None


def pack_header(database_uuid: str, number: int, first_lsn: int, previous_crc: int, created_at: float) -> bytes:
    """The 64 bytes that start a log file."""
    body = _FILE_HEADER.pack(FILE_MAGIC, bytes.fromhex(database_uuid), number, first_lsn, created_at, previous_crc, 0)[
        :-4
    ]
    return body + _CRC.pack(crc32(body))


def unpack_header(data: bytes | memoryview) -> LogHeader | None:
    """The header at the start of ``data``; ``None`` if it is short, foreign or damaged."""
    if len(data) < FILE_HEADER_BYTES:
        return None
    magic, uuid, number, first_lsn, created_at, previous_crc, crc = _FILE_HEADER.unpack_from(data)
    if magic != FILE_MAGIC or crc != crc32(data[: FILE_HEADER_BYTES - 4]):
        return None
    return LogHeader(uuid.hex(), number, first_lsn, previous_crc, created_at, crc)


def gathered(pieces: list[Bytes]) -> list[Bytes]:
    """The same bytes in fewer pieces: small ones are copied together, since a call costs more than a short copy."""
    if sum(map(len, pieces)) < SMALL_BYTES:
        return [b"".join(pieces)]
    result: list[Bytes] = []
    small: list[Bytes] = []
    for piece in pieces:
        if len(piece) < SMALL_BYTES:
            small.append(piece)
            continue
        if small:
            result.append(b"".join(small))
            small = []
        result.append(piece)
    if small:
        result.append(b"".join(small))
    return result


def frame_record(
    seed: int, lsn: int, durable_lsn: int, time: float, previous_crc: int, payload: Payload
) -> tuple[list[Bytes], int]:
    """One record of type :data:`OPERATIONS`, without copying its payload.

    Returns:
        Its bytes in pieces, and its CRC.
    """
    pieces = payload if isinstance(payload, list) else [payload]
    length = sum(map(len, pieces))
    header = _RECORD_HEADER.pack(RECORD_MAGIC, length, lsn, durable_lsn, time, previous_crc, OPERATIONS, 0)
    crc = crc32(header, seed)
    for piece in pieces:
        crc = crc32(piece, crc)
    return [header, *pieces, _CRC.pack(crc)], crc


def pack_record(
    seed: int, lsn: int, durable_lsn: int, time: float, previous_crc: int, payload: Payload
) -> tuple[bytes, int]:
    """The same with the bytes in one piece."""
    pieces, crc = frame_record(seed, lsn, durable_lsn, time, previous_crc, payload)
    return b"".join(pieces), crc


def unpack_record(data: memoryview, start: int, seed: int, base: int = 0) -> tuple[LogEntry, int] | None:
    """The record at ``data[start]``, if its frame and checksum are right.

    Args:
        data: Bytes of the log.
        start: Position in ``data``.
        seed: CRC of the file header.
        base: Offset of ``data[0]`` in the file.

    Returns:
        The entry and the CRC that it names as its predecessor's; ``None`` for anything but a whole, undamaged record.
    """
    if len(data) - start < RECORD_OVERHEAD_BYTES:
        return None
    magic, length, lsn, durable_lsn, time, previous_crc, kind, flags = _RECORD_HEADER.unpack_from(data, start)
    if magic != RECORD_MAGIC or length > len(data) - start - RECORD_OVERHEAD_BYTES:
        return None
    body = start + RECORD_HEADER_BYTES
    (crc,) = _CRC.unpack_from(data, body + length)
    if crc32(data[start : body + length], seed) != crc:
        return None
    payload = data[body : body + length]
    end = body + length + 4
    return LogEntry(lsn, durable_lsn, time, kind, flags, payload, base + start, base + end, crc), previous_crc
