"""Which rows of a segment are dead, and since when.

A block file of kind ``DEL1`` with two sections, ascending by row: rows (u64) and the LSN of the commit that deleted or
replaced each (u64); the numbers are (rows in this file, rows of the segment, 0, 0). The file has a uuid of its own,
since a segment gets a new, longer one with each manifest that needs it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from storage_engine.files import Disk
from storage_engine.segment.block_file import BlockFile, BlockFileWriter
from storage_engine.staged_file import StoredFile, publish

_KIND = b"DEL1"
_ROWS, _LSNS = range(2)


def write_deletes(
    disk: Disk, *, uuid: str, segment_rows: int, rows: NDArray[np.int64], lsns: NDArray[np.uint64]
) -> StoredFile:
    """Write ``seg/<uuid>.del``, durable under its name.

    Args:
        disk: Where; the directory ``seg`` exists.
        uuid: A fresh one for this file, 32 hexadecimal digits.
        segment_rows: Number of rows of the segment.
        rows: Dead rows, distinct, in any order.
        lsns: For each, the LSN of the commit that deleted or replaced it.

    Raises:
        ValueError: Rows repeat, lie outside the segment, or do not fit ``lsns``.
        DiskError: The disk failed.
        DamagedError: What was read back differs from what was written.
    """
    order = np.argsort(rows, kind="stable")
    ordered = np.ascontiguousarray(rows[order]).astype("<i8")
    if len(rows) != len(lsns) or not _ascending_within(ordered, segment_rows):
        raise ValueError(f"{len(rows)} dead rows with {len(lsns)} LSNs do not fit a segment of {segment_rows} rows")
    name = f"seg/{uuid}.del"
    writer = BlockFileWriter(disk, name, _KIND, uuid)
    try:
        writer.section(ordered)
        writer.section(np.ascontiguousarray(lsns[order]).astype("<u8"))
        file = writer.seal([len(rows), segment_rows])
        publish(disk, [file])
    except BaseException:
        writer.abandon()
        raise
    return file


def read_deletes(disk: Disk, file: StoredFile, segment_rows: int) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Dead rows, ascending, and the LSN at which each died. Fully verified; read-only, mapped.

    Args:
        disk: Where.
        file: The reference that named it; its uuid is part of the name.
        segment_rows: Number of rows of the segment.

    Raises:
        DamagedError: The file is missing or damaged, or belongs to a segment of another size.
    """
    uuid = file.name.rpartition("/")[2].removesuffix(".del")
    blocks = BlockFile(disk, file, _KIND, uuid, sections=2)
    blocks.verify()
    count, own_rows = blocks.numbers[:2]
    rows = blocks.array(_ROWS, "<i8", count).astype(np.int64, copy=False)
    lsns = blocks.array(_LSNS, "<u8", count).astype(np.uint64, copy=False)
    if own_rows != segment_rows or not _ascending_within(rows, segment_rows):
        raise blocks.damaged(_ROWS, f"its rows do not fit a segment of {segment_rows} rows")
    return rows, lsns


def _ascending_within(rows: NDArray[np.int64], segment_rows: int) -> bool:
    if len(rows) == 0:
        return True
    return int(rows[0]) >= 0 and int(rows[-1]) < segment_rows and bool((rows[1:] > rows[:-1]).all())
