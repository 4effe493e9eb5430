"""The ids of a segment: text in row order, and a mapped hash index from id to row.

A block file of kind ``IDX1`` with four sections:

0. offsets: ``rows + 1`` u64, where each id starts in section 1
1. the ids in UTF-8, one after the other
2. hashes: one u64 a row, the first 8 bytes of BLAKE2b (digest size 8) of the UTF-8 id, little-endian
3. the table: u32, ``row + 1``, or 0 for an empty place

and the numbers (rows, bits, places, 0). An id's home is the top ``bits`` bits of its hash; it stands there or at the
next places, before the first empty one (linear probing, load at most one half). The table is longer than ``2**bits``
and always ends with an empty place, so that probing never wraps around. Of rows with the same id the newest (highest)
comes first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from storage_engine.files import Disk
from storage_engine.metadata.texts import Texts
from storage_engine.segment.block_file import BLOCK_BYTES, BlockFile, BlockFileWriter
from storage_engine.staged_file import StoredFile

_KIND = b"IDX1"
_BLOCK_BITS = BLOCK_BYTES.bit_length() - 1
_OFFSETS, _TEXT, _HASHES, _TABLE = range(4)
_MAX_ROWS = (1 << 32) - 2
_BATCH = 1 << 16
FEW = 64
"""Up to so many ids are looked up one by one."""

_PATIENCE = 64
"""So often a few ids are read with only their blocks checked; then all are, and reading gets quicker."""

Key: TypeAlias = tuple[bytes, int]
"""An id in UTF-8 and its hash."""


def hash_ids(encoded: Sequence[bytes]) -> NDArray[np.uint64]:
    """Stable 64-bit hashes of ids in UTF-8; about 0.5 µs each."""
    return np.frombuffer(b"".join([blake2b(one, digest_size=8).digest() for one in encoded]), dtype="<u8")


def keys_of(ids: Sequence[str]) -> list[Key]:
    """Ids ready to be looked up in any number of segments."""
    encoded = _encoded(ids)
    return list(zip(encoded, hash_ids(encoded).tolist(), strict=True))


def _encoded(ids: Sequence[str]) -> list[bytes]:
    return [one.encode("utf-8", "surrogatepass") for one in ids]


class IdsWriter:
    """Collects ids in row order and writes the file at the end. Keeps about 16 bytes a row besides the text."""

    def __init__(self) -> None:
        self._text: list[bytes] = []
        self._lengths: list[NDArray[np.uint64]] = []
        self._hashes: list[NDArray[np.uint64]] = []
        self.rows = 0

    def add(self, ids: Sequence[str]) -> None:
        """Append ids."""
        encoded = [one.encode() for one in ids]
        self._text.append(b"".join(encoded))
        self._lengths.append(np.fromiter(map(len, encoded), dtype=np.uint64, count=len(encoded)))
        self._hashes.append(hash_ids(encoded))
        self.rows += len(encoded)

    def seal(self, disk: Disk, name: str, uuid: str) -> StoredFile:
        """Write the file; it keeps its temporary name.

        Raises:
            DiskError: The disk failed; the temporary file is gone.
            DamagedError: What was read back differs from what was written.
            ValueError: More rows than a table can name.
        """
        if self.rows > _MAX_ROWS:
            raise ValueError(f"a segment of {self.rows} rows is too large")
        hashes = np.concatenate([np.empty(0, np.uint64), *self._hashes])
        table, bits = _build_table(hashes)
        offsets = np.zeros(self.rows + 1, dtype="<u8")
        np.cumsum(np.concatenate([np.empty(0, np.uint64), *self._lengths]), out=offsets[1:])
        writer = BlockFileWriter(disk, name, _KIND, uuid)
        try:
            writer.section(offsets)
            writer.begin()
            for text in self._text:
                writer.write(text)
            writer.section(hashes.astype("<u8", copy=False))
            writer.section(table)
            return writer.seal([self.rows, bits, len(table)])
        except BaseException:
            writer.abandon()
            raise


class SegmentIds:
    """The ids of one segment, mapped. Immutable and safe to use from several threads.

    Every block is checked before a value from it is believed; a block is checked once. A few ids need a few blocks, so
    that the first look-up takes no longer in a large segment.

    Args:
        disk: Where.
        file: The reference that named it.
        uuid: The segment's.
        rows: How many rows it must have.

    Raises:
        DamagedError: The file is missing or damaged.
    """

    def __init__(self, disk: Disk, file: StoredFile, uuid: str, rows: int) -> None:
        self._file = BlockFile(disk, file, _KIND, uuid, sections=4)
        own_rows, bits, places, _ = self._file.numbers
        if own_rows != rows or not 1 <= bits <= 33 or places <= (1 << bits):
            raise self._file.damaged(_OFFSETS, f"it holds {own_rows} rows, expected {rows}")
        self.rows = rows
        self._shift = 64 - bits
        self._offsets = self._file.array(_OFFSETS, "<u8", rows + 1).astype(np.uint64, copy=False)
        self._text = self._file.section(_TEXT)
        self._texts = Texts(self._offsets, self._text)
        self._hashes = self._file.array(_HASHES, "<u8", rows).astype(np.uint64, copy=False)
        self._table = self._file.array(_TABLE, "<u4", places).astype(np.uint32, copy=False)
        # The same as above for reading one number at a time, which arrays are slow at.
        self._offsets_view = _view(self._offsets)
        self._hashes_view = _view(self._hashes)
        self._table_view = _view(self._table)
        self._blocks = self._file.checked_blocks
        self._starts = [self._file.offset(index) for index in range(4)]
        self._checked = False
        self._patience = _PATIENCE

    def lookup(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """The row of each id, -1 where the segment has no such id; of several rows the newest (highest).

        Cost: about 1 µs an id, whatever the size of the segment.

        Raises:
            DamagedError: A block that is needed fails its checksum.
        """
        if len(ids) <= FEW:
            return np.array([self.row_of(key) for key in keys_of(ids)], dtype=np.int64)
        self._check()
        encoded = _encoded(ids)
        found = np.full(len(encoded), -1, dtype=np.int64)
        if not encoded:
            return found
        hashes = hash_ids(encoded)
        places = (hashes >> np.uint64(self._shift)).astype(np.int64)
        searching = np.arange(len(encoded))
        while len(searching):
            rows = self._table[places].astype(np.int64) - 1
            present = rows >= 0
            searching, places, rows = searching[present], places[present], rows[present]
            if len(rows) and int(rows.max()) >= self.rows:
                raise self._file.damaged(_TABLE, "a place of its table names a row that does not exist")
            equal = self._hashes[rows] == hashes[searching]
            for at in np.flatnonzero(equal).tolist():
                row = int(rows[at])
                if self._bytes(row) == encoded[searching[at]]:
                    found[searching[at]] = row
            wanting = found[searching] < 0
            searching, places = searching[wanting], places[wanting] + 1
        return found

    def row_of(self, key: Key) -> int:
        """The same as :meth:`lookup` for one id, without arrays: a microsecond in place of thirty.

        Raises:
            DamagedError: A block that is needed fails its checksum.
        """
        encoded, hashed = key
        place = hashed >> self._shift
        table, hashes, offsets, blocks = self._table_view, self._hashes_view, self._offsets_view, self._blocks
        at_table, at_hashes = self._starts[_TABLE], self._starts[_HASHES] - 8  # rows in the table count from one
        try:
            while True:
                if not blocks[at_table + 4 * place >> _BLOCK_BITS]:
                    self._file.verify_range(at_table + 4 * place, 4)
                row = table[place]
                if not row:
                    return -1
                same = hashes[row - 1] == hashed
                if same and self._text[offsets[row - 1] : offsets[row]] == encoded:
                    return row - 1  # a hash and an id that agree with the ones asked for are not damaged
                if not blocks[at_hashes + 8 * row >> _BLOCK_BITS]:
                    self._file.verify_range(at_hashes + 8 * row, 8)
                if same:
                    self._bytes(row - 1)  # not the id that was asked for, unless it is damaged
                place += 1
        except IndexError as error:
            raise self._file.damaged(_TABLE, "it names a row or a place that does not exist") from error

    def at(self, rows: Sequence[int] | NDArray[np.int64]) -> list[str]:
        """The ids of rows, in the order asked for.

        Raises:
            DamagedError: A block that is needed fails its checksum.
            IndexError: A row outside 0 to ``rows - 1``.
        """
        wanted = np.asarray(rows, dtype=np.int64)
        try:
            if not self._checked and len(wanted) <= FEW and self._patience:
                self._patience -= 1
                if len(wanted) and int(wanted.view(np.uint64).max()) >= self.rows:
                    raise IndexError(f"rows {wanted.min()} to {wanted.max()} are outside 0 to {self.rows - 1}")
                return [str(self._bytes(row), "utf-8") for row in wanted.tolist()]
            self._check()
            return self._texts.at(wanted)
        except UnicodeDecodeError as error:
            raise self._file.damaged(_TEXT, f"an id is no text: {error}") from error

    def chunks(self, rows: int = _BATCH) -> Iterator[list[str]]:
        """All ids in row order, some at a time.

        Raises:
            DamagedError: A block fails its checksum.
        """
        for start in range(0, self.rows, rows):
            yield self.at(np.arange(start, min(start + rows, self.rows)))

    def verify(self) -> None:
        """Check every block, the file as a whole, every offset, and that each id leads to a row that has it.

        Raises:
            DamagedError: Names file and offset.
        """
        self._file.verify()
        self._file.verify_digest()
        self._checked = False
        self._check()
        row = 0
        for ids in self.chunks():
            found = self.lookup(ids)
            if bool((found < np.arange(row, row + len(ids))).any()) or self.at(found) != ids:
                raise self._file.damaged(_TABLE, "its table does not lead to each of its ids")
            row += len(ids)

    def _check(self) -> None:
        if self._checked:
            return
        self._file.verify()
        ends = self._offsets
        if int(ends[0]) != 0 or int(ends[-1]) != len(self._text) or bool((ends[1:] < ends[:-1]).any()):
            raise self._file.damaged(_OFFSETS, "its offsets do not ascend to the end of the text")
        if int(self._table[-1]) != 0:
            raise self._file.damaged(_TABLE, "its table does not end with an empty place")
        self._checked = True

    def _bytes(self, row: int) -> memoryview:
        """The id of a row in UTF-8."""
        blocks, offsets = self._blocks, self._offsets_view
        at = self._starts[_OFFSETS] + 8 * row
        if not (blocks[at >> _BLOCK_BITS] and blocks[at + 8 >> _BLOCK_BITS]):
            self._file.verify_range(at, 16)
        start, end = offsets[row], offsets[row + 1]
        if not start <= end <= len(self._text):
            raise self._file.damaged(_OFFSETS, f"the offsets of row {row} do not lie within the text")
        at = self._starts[_TEXT] + start
        if not (blocks[at >> _BLOCK_BITS] and blocks[at + end - start >> _BLOCK_BITS]):
            self._file.verify_range(at, end - start)
        return self._text[start:end]


def _build_table(hashes: NDArray[np.uint64]) -> tuple[NDArray[np.uint32], int]:
    """Place all rows at once: with homes ascending, each place is max(home, place before + 1)."""
    rows = len(hashes)
    bits = max(1, (2 * rows - 1).bit_length())
    homes = (hashes >> np.uint64(64 - bits)).astype(np.int64)
    newest_first = rows - 1 - np.argsort(homes[::-1], kind="stable")
    ordered = homes[newest_first]
    steps = np.arange(rows, dtype=np.int64)
    places = steps + np.maximum.accumulate(ordered - steps) if rows else steps
    size = max(1 << bits, int(places[-1]) + 1 if rows else 0) + 1
    table = np.zeros(size, dtype="<u4")
    table[places] = newest_first + 1
    return table, bits


def _view(numbers: NDArray[Any]) -> memoryview:
    buffer: Any = numbers  # a buffer, which the array's stubs do not say
    return memoryview(buffer)
