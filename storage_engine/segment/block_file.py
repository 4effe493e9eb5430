"""The container of segment files: named sections, aligned for mapping, with a checksum for every 64 KiB.

Layout, little-endian::

    0            64  header: magic "QSTORBLK", kind (4 bytes), version (u32), uuid (16), zero (28), CRC-32 of bytes 0-59
    64            …  sections, each starting at a multiple of 64, gaps filled with zeros
    T      4 ceil(T / 65536)  block table: CRC-32 of each 64 KiB block of bytes 0 to T-1, the last one shorter
    …           256  footer

Footer::

    0    8  magic "QSTOREND"        32   8  T, the offset of the block table
    8    4  kind                    40   4  CRC-32 of the block table
    12   4  version                 44   4  number of sections (at most 8)
    16  16  uuid                    48  32  four numbers (u64) whose meaning depends on the kind
                                    80 128  8 times section offset (u64) and length in bytes (u64)
                                   208  44  zero
                                   252   4  CRC-32 of bytes 0-251 of the footer

Opening reads the footer only; blocks are checked when they are asked for.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from hashlib import sha256
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from storage_engine.errors import DamagedError, FormatTooNewError
from storage_engine.files import Bytes, Disk, DiskError
from storage_engine.staged_file import StagedFile, StoredFile, check_present

ALIGNMENT = 64
BLOCK_BYTES = 1 << 16
HEADER_BYTES = 64
FOOTER_BYTES = 256
VERSION = 1
MAX_SECTIONS = 8

_HEADER = struct.Struct("<8s4sI16s28xI")
_FOOTER = struct.Struct("<8s4sI16sQII4Q16Q44xI")
_MAGIC = b"QSTORBLK"
_END_MAGIC = b"QSTOREND"


class BlockSums:
    """CRC-32 of each block of bytes that come in pieces."""

    def __init__(self) -> None:
        self._done: list[int] = []
        self._crc = 0
        self._at = 0

    def add(self, data: Bytes) -> None:
        """Append bytes."""
        view = memoryview(data)
        while view:
            room = BLOCK_BYTES - self._at
            piece, view = view[:room], view[room:]
            self._crc = crc32(piece, self._crc)
            self._at += len(piece)
            if self._at == BLOCK_BYTES:
                self._done.append(self._crc)
                self._crc, self._at = 0, 0

    def table(self) -> bytes:
        """One u32 a block; the last block may be shorter."""
        blocks = [*self._done, self._crc] if self._at else self._done
        return struct.pack(f"<{len(blocks)}I", *blocks)


def sound_blocks(data: memoryview, end: int, table: bytes | memoryview) -> NDArray[np.bool_]:
    """Which blocks of the first ``end`` bytes pass their checksum; one that is not there in full does not.

    Args:
        data: The file, or what is left of it.
        end: How many bytes the table covers.
        table: One u32 a block; blocks that it does not reach do not pass.
    """
    blocks = -(-end // BLOCK_BYTES)
    sound = np.zeros(blocks, np.bool_)
    for block in range(min(blocks, len(table) // 4)):
        start, stop = block * BLOCK_BYTES, min((block + 1) * BLOCK_BYTES, end)
        expected = int.from_bytes(table[4 * block : 4 * block + 4], "little")
        sound[block] = stop <= len(data) and crc32(data[start:stop]) == expected
    return sound


class BlockFileWriter:
    """Write one block file sequentially; sections are announced in order and may be streamed in pieces.

    Args:
        disk: Where.
        name: The final name; bytes go to ``<name>.tmp`` until the caller publishes it.
        kind: Four ASCII characters.
        uuid: 32 hexadecimal digits, stored in header and footer.
    """

    def __init__(self, disk: Disk, name: str, kind: bytes, uuid: str) -> None:
        self._staged = StagedFile(disk, name)
        self._kind = kind
        self._uuid = bytes.fromhex(uuid)
        self._sections: list[list[int]] = []
        self._sums = BlockSums()
        head = _HEADER.pack(_MAGIC, kind, VERSION, self._uuid, 0)[:-4]
        try:
            self._append(head + struct.pack("<I", crc32(head)))
        except BaseException:
            self._staged.abandon()
            raise

    def begin(self) -> None:
        """Start the next section."""
        self._append(bytes(-self._staged.tell() % ALIGNMENT))
        self._sections.append([self._staged.tell(), 0])

    def write(self, data: Bytes | NDArray[np.generic]) -> None:
        """Append to the section begun last. Arrays must be C-contiguous and little-endian."""
        buffer: Any = data  # both kinds are buffers, which the array's stubs do not say
        view = memoryview(buffer).cast("B") if len(data) else memoryview(b"")
        self._append(view)
        self._sections[-1][1] += len(view)

    def section(self, data: Bytes | NDArray[np.generic]) -> None:
        """Write a whole section."""
        self.begin()
        self.write(data)

    def seal(self, numbers: Sequence[int]) -> StoredFile:
        """Write table and footer, make the file durable, and read it back; it keeps its temporary name.

        Args:
            numbers: At most four, for the footer.

        Raises:
            DiskError: The disk failed.
            DamagedError: What was read back differs from what was written.
        """
        self._append(bytes(-self._staged.tell() % ALIGNMENT))
        end = self._staged.tell()
        table = self._sums.table()
        ends = [number for section in self._sections for number in section]
        footer = _FOOTER.pack(
            _END_MAGIC,
            self._kind,
            VERSION,
            self._uuid,
            end,
            crc32(table),
            len(self._sections),
            *numbers,
            *[0] * (4 - len(numbers)),
            *ends,
            *[0] * (2 * MAX_SECTIONS - len(ends)),
            0,
        )[:-4]
        self._staged.write(table + footer + struct.pack("<I", crc32(footer)))
        return self._staged.seal()

    def abandon(self) -> None:
        """Remove the temporary file."""
        self._staged.abandon()

    def _append(self, data: Bytes) -> None:
        view = memoryview(data)
        self._staged.write(view)
        self._sums.add(view)


class BlockFile:
    """A mapped block file. Immutable and safe to use from several threads.

    Opening checks presence, length and footer. Section contents are whatever the disk gives until :meth:`verify` or
    :meth:`verify_range` has checked the blocks that hold them.

    Args:
        disk: Where.
        file: The reference that named it.
        kind: What it must be.
        uuid: Whose it must be, 32 hexadecimal digits.
        sections: How many sections it must have.

    Attributes:
        name: Relative to the database directory.
        numbers: The four numbers of the footer.

    Raises:
        DamagedError: The file is missing, has another length, kind or uuid, or its footer is damaged.
        FormatTooNewError: It was written by a newer version.
    """

    def __init__(self, disk: Disk, file: StoredFile, kind: bytes, uuid: str, sections: int) -> None:
        check_present(disk, file)
        self.name = file.name
        self._sha256 = file.sha256
        try:
            self._map = disk.map(file.name)
        except DiskError as error:
            if not error.missing:
                raise
            raise self._damaged(0, "it is missing") from error
        start = len(self._map) - FOOTER_BYTES
        if start < HEADER_BYTES:
            raise self._damaged(0, "it is too short")
        footer = self._map[start:]
        magic, own_kind, version, own_uuid, end, table_crc, count, *rest, crc = _FOOTER.unpack(footer)
        if magic != _END_MAGIC or crc != crc32(footer[:-4]):
            raise self._damaged(start, "its footer fails the checksum")
        if version != VERSION:
            raise FormatTooNewError(
                f"{file.name} has layout version {version}; this Q-Store reads {VERSION}",
                fix="Open the directory with a newer Q-Store.",
                value=version,
            )
        if own_kind != kind or own_uuid.hex() != uuid or count != sections:
            raise self._damaged(start, f"it is a {own_kind!r} file of {own_uuid.hex()}, expected {kind!r} of {uuid}")
        blocks = -(-end // BLOCK_BYTES)
        if end + 4 * blocks != start:
            raise self._damaged(start, "its sizes do not add up")
        self.numbers: tuple[int, ...] = tuple(rest[:4])
        self._sections = [(rest[4 + 2 * i], rest[5 + 2 * i]) for i in range(count)]
        for offset, length in self._sections:
            if offset % ALIGNMENT or offset < HEADER_BYTES or offset + length > end:
                raise self._damaged(start, "a section lies outside the file")
        self._end = end
        self._table = self._map[end:start]
        self._table_crc = table_crc
        self._verified = np.zeros(blocks, dtype=np.bool_)
        verified: Any = self._verified  # a buffer, which the array's stubs do not say
        self._verified_view = memoryview(verified)
        self._table_verified = False

    def section(self, index: int) -> memoryview:
        """The bytes of a section, unverified, without a copy."""
        offset, length = self._sections[index]
        return self._map[offset : offset + length]

    def array(self, index: int, dtype: str, count: int) -> NDArray[np.generic]:
        """A section as a read-only array of ``count`` values, unverified, without a copy.

        Raises:
            DamagedError: The section's length is not that of ``count`` values.
        """
        view = self.section(index)
        kind = np.dtype(dtype)
        if len(view) != count * kind.itemsize:
            raise self._damaged(
                self._sections[index][0], f"section {index} has {len(view)} bytes, not {count} values of {dtype}"
            )
        return np.frombuffer(view, dtype=kind)

    def verify(self) -> None:
        """Check every block now, whatever was checked before. About 1 second for each gigabyte or better.

        Raises:
            DamagedError: Names the file and the offset of the first damaged block.
        """
        self._table_verified = False
        self._check_table()
        for block in range(len(self._verified)):
            self._check_block(block)
        self._verified[:] = True

    def verify_digest(self) -> None:
        """Compare the whole file with the digest in its reference: it is this file, and not another undamaged one.

        Raises:
            DamagedError: Names the file.
        """
        if sha256(self._map).hexdigest() != self._sha256:
            raise self._damaged(0, "the file as a whole fails its digest")

    def verify_section(self, index: int) -> None:
        """Check the blocks of one section that have not been checked yet.

        Raises:
            DamagedError: Names the file and the offset of the first damaged block.
        """
        offset, length = self._sections[index]
        self.verify_range(offset, length)

    def verify_range(self, offset: int, length: int) -> None:
        """Check the blocks of a range of bytes that have not been checked yet.

        Raises:
            DamagedError: Names the file and the offset of the first damaged block.
        """
        if length > 0:
            first, last = offset // BLOCK_BYTES, (offset + length - 1) // BLOCK_BYTES
            self._verify_blocks(first + np.flatnonzero(~self._verified[first : last + 1]))

    def offset(self, index: int) -> int:
        """Where a section begins in the file."""
        start: int = self._sections[index][0]
        return start

    @property
    def checked_blocks(self) -> memoryview:
        """For each block whether it has been checked: for loops that cannot afford a call for each value."""
        return self._verified_view

    def verify_rows(self, index: int, rows: NDArray[np.int64], row_bytes: int) -> None:
        """Check the blocks that hold some rows of a section of equally long rows, unless they were checked before.

        Raises:
            DamagedError: Names the file and the offset of the first damaged block.
        """
        if len(rows) == 0 or row_bytes == 0:
            return
        starts = self._sections[index][0] + rows * row_bytes
        first, last = starts // BLOCK_BYTES, (starts + (row_bytes - 1)) // BLOCK_BYTES
        if row_bytes <= BLOCK_BYTES and self._verified[first].all() and self._verified[last].all():
            return  # the usual case of a search's hits
        for step in range(int((last - first).max()) + 1):
            blocks = np.minimum(first + step, last)
            # Not np.unique: its first use loads numpy.ma, which would be a third of the time to a first answer.
            self._verify_blocks(np.array(sorted({*blocks[~self._verified[blocks]].tolist()}), np.int64))

    def damaged(self, index: int, why: str) -> DamagedError:
        """The error for contents of a section that contradict themselves."""
        return self._damaged(self._sections[index][0], why)

    def _verify_blocks(self, blocks: NDArray[np.int64]) -> None:
        if len(blocks):
            if not self._table_verified:
                self._check_table()
            for block in blocks.tolist():
                self._check_block(block)
            self._verified[blocks] = True

    def _check_table(self) -> None:
        if crc32(self._table) != self._table_crc:
            raise self._damaged(self._end, "its block table fails the checksum")
        header = self._map[:HEADER_BYTES]
        magic, kind, version, uuid, crc = _HEADER.unpack(header)
        footer = self._map[len(self._map) - FOOTER_BYTES :]
        if magic != _MAGIC or crc != crc32(header[:-4]) or (kind, version, uuid) != _FOOTER.unpack(footer)[1:4]:
            raise self._damaged(0, "its header fails the checksum")
        self._table_verified = True

    def _check_block(self, block: int) -> None:
        start = block * BLOCK_BYTES
        stop = min(start + BLOCK_BYTES, self._end)
        expected = int.from_bytes(self._table[4 * block : 4 * block + 4], "little")
        if crc32(self._map[start:stop]) != expected:
            raise self._damaged(start, f"the block of {stop - start} bytes there fails its checksum")

    def _damaged(self, offset: int, why: str) -> DamagedError:
        return DamagedError(
            f"{self.name} is damaged at offset {offset}: {why}",
            fix="Restore the file from a backup of the directory.",
            value=self.name,
        )
