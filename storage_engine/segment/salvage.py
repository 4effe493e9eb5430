"""What is left of a damaged segment: which of its rows are proven to be what was written, and what those are.

Nothing here trusts a footer, an offset or a length from the files themselves: where everything stands follows from the
reference that names the segment. A value is proven if it lies in blocks that pass their checksum, or if it agrees with
another stored value that it could not agree with by accident (an id with its hash, a norm with its vector). A row is
proven if its id, its vector, its norm and its metadata are.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage_engine.errors import DamagedError
from storage_engine.files import Disk, DiskError
from storage_engine.segment.block_file import ALIGNMENT, BLOCK_BYTES, FOOTER_BYTES, HEADER_BYTES, sound_blocks
from storage_engine.segment.ids import hash_ids
from storage_engine.segment.reference import SegmentReference, unpack_columns
from storage_engine.segment.writer import RowChunk
from storage_engine.staged_file import StoredFile
from storage_engine.validation import squared_lengths
from storage_engine.vectors.types import StoredVectors, number_bytes, numpy_type

_STEP_ROWS = 16_384


@dataclass(frozen=True, slots=True, eq=False)
class Salvaged:
    """What is proven of a segment.

    Args:
        proven: Shape (rows,): which rows are, as a whole.
        ids: The id of each row, ``None`` where it cannot be told.
        vectors: (rows, dimension) in the segment's type; only proven rows mean anything, as below.
        norms: float32, (rows,).
        born: u64, (rows,): the commit that wrote each row; where it cannot be told, the latest that it can have been.
        guessed: Of how many proven rows it is such a bound.
        metadata: All columns of the rows in ``with_metadata``, in order; ``None`` if there are none.
        with_metadata: Numbers of these rows, ascending; all where the segment has no metadata.
    """

    proven: NDArray[np.bool_]
    ids: list[str | None]
    vectors: StoredVectors
    norms: NDArray[np.float32]
    born: NDArray[np.uint64]
    guessed: int
    metadata: pa.Table | None
    with_metadata: NDArray[np.int64]

    def chunks(self, rows: NDArray[np.int64]) -> Sequence[RowChunk]:
        """Some proven rows, ascending, for a new segment."""
        chunks = []
        for start in range(0, len(rows), _STEP_ROWS):
            some = rows[start : start + _STEP_ROWS]
            places = pa.array(np.searchsorted(self.with_metadata, some))
            chunks.append(
                RowChunk(
                    [str(self.ids[row]) for row in some.tolist()],
                    self.vectors[some],
                    self.norms[some],
                    self.born[some],
                    None if self.metadata is None else self.metadata.take(places),
                )
            )
        return chunks


def salvage(disk: Disk, reference: SegmentReference) -> Salvaged:
    """Look at what is left of a segment. Cost: reads all of it; vectors stay mapped.

    Raises:
        DamagedError: It has metadata that is damaged, and was written before format 1.2, so that nobody can tell which
            of the values are right.
    """
    vectors, norms, born, proven, guessed = _vectors(disk, reference)
    ids = _ids(disk, reference)
    metadata, with_metadata = _metadata(disk, reference)
    proven &= np.fromiter((one is not None for one in ids), np.bool_, len(ids))
    has_metadata = np.zeros(reference.rows, np.bool_)
    has_metadata[with_metadata] = True
    proven &= has_metadata
    return Salvaged(proven, ids, vectors, norms, born, int(np.count_nonzero(guessed & proven)), metadata, with_metadata)


def _content(disk: Disk, file: StoredFile) -> memoryview:
    try:
        return disk.map(file.name)
    except DiskError as error:
        if not error.missing:
            raise
        return memoryview(b"")


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT


class _Blocks:
    """A block file whose sections' places are known from elsewhere; what is missing reads as zeros and is not sound."""

    def __init__(self, data: memoryview, end: int) -> None:
        table = data[end : end + 4 * -(-end // BLOCK_BYTES)]
        bad = ~sound_blocks(data, end, table)
        self._bad = np.concatenate([[0], np.cumsum(bad)])
        self._data = data

    def array(self, offset: int, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
        """Values of a section as they are, proven or not."""
        length = count * dtype.itemsize
        held = self._data[offset : offset + length]
        if len(held) < length:
            held = memoryview(bytes(held).ljust(length, b"\0"))
        return np.frombuffer(held, dtype)

    def sound(self, starts: NDArray[np.int64], lengths: NDArray[np.int64] | int) -> NDArray[np.bool_]:
        """For each range of bytes whether all of its blocks are sound."""
        last = np.minimum((starts + np.maximum(lengths, 1) - 1) // BLOCK_BYTES, len(self._bad) - 2)
        result: NDArray[np.bool_] = self._bad[last + 1] == self._bad[starts // BLOCK_BYTES]
        return result


def _vectors(
    disk: Disk, reference: SegmentReference
) -> tuple[StoredVectors, NDArray[np.float32], NDArray[np.uint64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Vectors, norms and births as they are; which rows' vectors and norms are proven; whose births are guessed."""
    rows, width = reference.rows, number_bytes(reference.dtype) * reference.dimension
    at_norms = _aligned(HEADER_BYTES + rows * width)
    at_born = _aligned(at_norms + 4 * rows)
    blocks = _Blocks(_content(disk, reference.vectors), _aligned(at_born + 8 * rows))
    numbers = np.arange(rows, dtype=np.int64)
    vectors = blocks.array(HEADER_BYTES, numpy_type(reference.dtype), rows * reference.dimension)
    vectors = vectors.reshape(rows, reference.dimension)
    norms = blocks.array(at_norms, np.dtype("<f4"), rows)
    sound = blocks.sound(HEADER_BYTES + numbers * width, width)
    doubtful = np.flatnonzero(sound & ~blocks.sound(at_norms + 4 * numbers, 4))
    for start in range(0, len(doubtful), _STEP_ROWS):
        some = doubtful[start : start + _STEP_ROWS]
        lengths = np.sqrt(squared_lengths(vectors[some])).astype(np.float32)
        sound[some] = lengths.view(np.uint32) == norms[some].view(np.uint32)
    born, guessed = _births(
        blocks.array(at_born, np.dtype("<u8"), rows), blocks.sound(at_born + 8 * numbers, 8), reference
    )
    return vectors, norms, born, sound, guessed


def _births(
    stored: NDArray[np.uint64], sound: NDArray[np.bool_], reference: SegmentReference
) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Births, with bounds in place of those that nothing supports, and which those are.

    They rise from row to row and come in runs: one that agrees with its neighbour, and with the sound ones before and
    after it, is taken as it stands. Where the reference leaves no choice, it counts and not the file.
    """
    if reference.first_lsn == reference.last_lsn:
        return np.full(reference.rows, reference.first_lsn, np.uint64), np.zeros(reference.rows, np.bool_)
    if reference.first_lsn == reference.last_lsn:  # then the reference says it for all rows, whatever the file says
        return np.full_like(stored, reference.first_lsn), np.zeros_like(sound)
    lowest, highest = _bounds(stored, sound, reference)
    same = stored[1:] == stored[:-1]
    agrees = np.concatenate([same, [False]]) | np.concatenate([[False], same])
    taken = sound | (agrees & (lowest <= stored) & (stored <= highest))
    lowest, highest = _bounds(stored, taken, reference)
    return np.where(taken, stored, highest), ~taken & (lowest != highest)


def _bounds(
    stored: NDArray[np.uint64], known: NDArray[np.bool_], reference: SegmentReference
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The known births next before and after each row."""
    first, last = np.uint64(reference.first_lsn), np.uint64(reference.last_lsn)
    lowest = np.maximum.accumulate(np.where(known, stored, first))
    return lowest, np.minimum.accumulate(np.where(known, stored, last)[::-1])[::-1]


def _ids(disk: Disk, reference: SegmentReference) -> list[str | None]:
    rows = reference.rows
    data = _content(disk, reference.ids)
    end = _end(reference.ids.length)
    blocks = _Blocks(data, end)
    at_text = _aligned(HEADER_BYTES + 8 * (rows + 1))
    offsets = blocks.array(HEADER_BYTES, np.dtype("<u8"), rows + 1)
    numbers = np.arange(rows + 1, dtype=np.int64)
    known = blocks.sound(HEADER_BYTES + 8 * numbers, 8)
    text_bytes = int(offsets[-1]) if known[-1] else _text_bytes(data, reference)
    if not 0 <= text_bytes <= end - at_text:
        text_bytes = 0
    hashes = blocks.array(_aligned(at_text + text_bytes), np.dtype("<u8"), rows)
    sane = (offsets[:-1] <= offsets[1:]) & (offsets[1:] <= text_bytes)
    starts = at_text + np.where(sane, offsets[:-1], 0).astype(np.int64)
    lengths = np.where(sane, offsets[1:] - offsets[:-1], 0).astype(np.int64)
    in_sound_blocks = sane & known[:-1] & known[1:] & blocks.sound(starts, lengths)
    texts = [
        bytes(data[start : start + length]) for start, length in zip(starts.tolist(), lengths.tolist(), strict=True)
    ]
    agrees = sane & (lengths > 0) & (hash_ids(texts) == hashes)
    return [
        _decoded(text) if proven else None
        for text, proven in zip(texts, (in_sound_blocks | agrees).tolist(), strict=True)
    ]


def _decoded(text: bytes) -> str | None:
    try:
        return text.decode() or None
    except UnicodeDecodeError:
        return None


def _end(length: int) -> int:
    """Where the block table of a file of this length begins."""
    rest = length - FOOTER_BYTES
    blocks = -(-rest // (BLOCK_BYTES + 4))
    return max(0, rest - 4 * blocks)


def _text_bytes(data: memoryview, reference: SegmentReference) -> int:
    """Length of the text section as the footer says: the first offset whose block is gone was the last one."""
    at_text = _aligned(HEADER_BYTES + 8 * (reference.rows + 1))
    footer = data[reference.ids.length - FOOTER_BYTES : reference.ids.length]
    if len(footer) < FOOTER_BYTES:
        return 0
    offset, length = np.frombuffer(footer[80 + 16 : 80 + 32], "<u8").tolist()
    return int(length) if offset == at_text else 0


def _metadata(disk: Disk, reference: SegmentReference) -> tuple[pa.Table | None, NDArray[np.int64]]:
    """The metadata that is proven, by row groups, and of which rows it is."""
    import pyarrow.parquet as pq

    file = reference.metadata
    if file is None:
        return None, np.arange(reference.rows)
    data = _content(disk, file)
    whole = len(data) == file.length and hashlib.sha256(data).hexdigest() == file.sha256
    if not whole and not reference.metadata_sums:
        raise DamagedError(
            f"{file.name} is damaged, and a file of before format 1.2 does not say where",
            fix="Restore the file from a backup of the directory.",
            value=file.name,
        )
    schema = unpack_columns(reference.columns)
    nothing = schema.empty_table(), np.empty(0, np.int64)
    sound = sound_blocks(data, file.length, base64.b64decode(reference.metadata_sums))
    bad = np.concatenate([[0], np.cumsum(~sound)])

    def proven(start: int, stop: int) -> bool:
        return whole or (0 <= start < stop <= file.length and bad[-(-stop // BLOCK_BYTES)] == bad[start // BLOCK_BYTES])

    if not proven(file.length - 8, file.length):
        return nothing
    footer = 8 + int.from_bytes(data[file.length - 8 : file.length - 4], "little")
    if not proven(file.length - footer, file.length):
        return nothing
    parquet = pq.ParquetFile(pa.BufferReader(pa.py_buffer(data[: file.length])), page_checksum_verification=True)
    groups, numbers, first = [], [], 0
    for index in range(parquet.metadata.num_row_groups):
        group = parquet.metadata.row_group(index)
        if all(proven(*_range(group.column(column))) for column in range(group.num_columns)):
            groups.append(index)
            numbers.append(np.arange(first, first + group.num_rows))
        first += group.num_rows
    if not groups:
        return nothing
    return parquet.read_row_groups(groups, use_threads=False).select(schema.names), np.concatenate(numbers)


def _range(column: Any) -> tuple[int, int]:
    """First byte and end of a column's pages in the file."""
    start = column.data_page_offset
    if column.has_dictionary_page and column.dictionary_page_offset is not None:
        start = min(start, column.dictionary_page_offset)
    return start, start + column.total_compressed_size
