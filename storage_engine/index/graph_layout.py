"""Where the parts of a graph's bytes lie, and the checks of header and checksums; the layout is in :mod:`.graph`."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from storage_engine.errors import DamagedError, FormatTooNewError
from storage_engine.index.calibration import EFS, TOPS, Calibration
from storage_engine.index.codes import MAX_DIMENSION, CodeScale, stride_of

MAGIC = b"QSGRAPH\x01"
FORMAT = 2
BLOCK = 64 * 1024
MAX_ROWS = 2**31 - 1
MAX_WIDTH = 4_096
HEADER = struct.Struct("<8sIIQIIQQII")
HEADER_BYTES = 128
WITH_CODES = 1
WITH_CALIBRATION = 2
WITH_SCALE = 4
"""Codes are to be computed from the rows: only what they stand for is stored."""

_CURVES = 4 * len(TOPS) * len(EFS)


@dataclass(frozen=True, slots=True)
class GraphLayout:
    """Sizes and offsets (in bytes) of a graph; see :mod:`storage_engine.index.graph`.

    Args:
        rows: How many it connects.
        width: Links a row at level 0.
        upper_width: Links a row and level above.
        upper_rows: Lists above level 0.
        entry: Where walks start.
        max_level: The level of the entry.
        dimension: Of the codes; 0 where there are none.
        with_codes: Whether the codes themselves are stored.
        levels, links, upper, low, step, codes, curves: Where the sections begin.
        calibrated: Whether there is a calibration.
        end: Where the checksums begin.
    """

    rows: int
    width: int
    upper_width: int
    upper_rows: int
    entry: int
    max_level: int
    dimension: int
    with_codes: bool
    calibrated: bool
    levels: int
    links: int
    upper: int
    low: int
    step: int
    codes: int
    curves: int
    end: int

    @classmethod
    def read(cls, view: memoryview, where: str) -> GraphLayout:
        """From the header, which is checked, as is the length of the whole.

        Raises:
            DamagedError: No graph, or its header is not as it was written.
            FormatTooNewError: Written by a later version.
        """
        rows, width, m, upper_rows, entry, max_level, dimension, flags = _read_header(view, where)
        with_codes, calibrated = bool(flags & WITH_CODES), bool(flags & WITH_CALIBRATION)
        sizes = (
            rows,
            4 * rows * width,
            4 * upper_rows * m,
            4 * dimension,
            4 * dimension,
            rows * stride_of(dimension) * with_codes,
            2 * _CURVES if calibrated else 0,
        )
        at, end = [], HEADER_BYTES
        for size in sizes:
            at.append(end)
            end = _aligned(end + size)
        blocks = -(-end // BLOCK)
        if len(view) != end + 4 * blocks + 4:
            raise damaged(where, len(view), f"{len(view)} bytes where the header promises {end + 4 * blocks + 4}")
        levels, links, upper, low, step, codes, curves = at
        return cls(
            rows=rows,
            width=width,
            upper_width=m,
            upper_rows=upper_rows,
            entry=entry,
            max_level=max_level,
            dimension=dimension,
            with_codes=with_codes,
            calibrated=calibrated,
            levels=levels,
            links=links,
            upper=upper,
            low=low,
            step=step,
            codes=codes,
            curves=curves,
            end=end,
        )

    @property
    def code_bytes(self) -> int:
        """Size of the codes."""
        return self.rows * stride_of(self.dimension) * self.with_codes

    def scale(self, view: memoryview) -> CodeScale | None:
        """What codes stand for; ``None`` where there are none."""
        if not self.dimension:
            return None
        return CodeScale(
            np.frombuffer(view, "<f4", self.dimension, self.low), np.frombuffer(view, "<f4", self.dimension, self.step)
        )

    def calibration(self, view: memoryview) -> Calibration | None:
        """What was measured, copied: calibrations are keys of caches, which would keep the mapped file from going."""
        if not self.calibrated:
            return None
        read = np.frombuffer(view, "<f4", 2 * len(TOPS) * len(EFS), self.curves)
        curves = read.reshape(2, len(TOPS), len(EFS)).copy()
        return Calibration(recall=curves[0], compared=curves[1])


def read_checksums(view: memoryview, end: int, where: str) -> NDArray[np.uint32]:
    """The checksum of each block.

    Raises:
        DamagedError: They fail their own.
    """
    crcs = view[end:-4]
    if zlib.crc32(crcs) != struct.unpack_from("<I", view, len(view) - 4)[0]:
        raise damaged(where, end, "the table of checksums fails its own checksum")
    return np.frombuffer(crcs, "<u4")


def check_block(view: memoryview, end: int, block: int, checksum: int, where: str) -> None:
    """Compare one block with its checksum.

    Raises:
        DamagedError: It differs.
    """
    if zlib.crc32(view[block * BLOCK : min((block + 1) * BLOCK, end)]) != checksum:
        raise damaged(where, block * BLOCK, "a block fails its checksum")


def damaged(where: str, offset: int, what: str) -> DamagedError:
    """The error for bytes that are not as they were written."""
    return DamagedError(
        f"{where} is damaged at offset {offset}: {what}",
        fix="Delete the file; the graph is rebuilt from the rows.",
        value=offset,
    )


def _read_header(view: memoryview, where: str) -> tuple[int, int, int, int, int, int, int, int]:
    if len(view) < HEADER_BYTES or bytes(view[:8]) != MAGIC:
        raise damaged(where, 0, "no graph starts here")
    (checksum,) = struct.unpack_from("<I", view, HEADER_BYTES - 4)
    if zlib.crc32(view[: HEADER_BYTES - 4]) != checksum:
        raise damaged(where, 0, "the header fails its checksum")
    _, version, flags, rows, width, m, upper_rows, entry, max_level, dimension = HEADER.unpack_from(view)
    if version < FORMAT:
        raise damaged(where, 8, f"graph format {version} is that of an earlier version")
    if version != FORMAT or flags & ~(WITH_CODES | WITH_CALIBRATION | WITH_SCALE):
        raise FormatTooNewError(
            f"{where} has graph format {version} with flags {flags}",
            fix="Open the database with a newer version, or delete the graph: it is rebuilt from the rows.",
            value=version,
        )
    if not (1 <= rows <= MAX_ROWS and 1 <= width <= MAX_WIDTH and 1 <= m <= MAX_WIDTH and upper_rows <= 255 * rows):
        raise damaged(where, 0, "the sizes in the header are out of range")
    coded = flags & (WITH_CODES | WITH_SCALE)
    if (dimension > 0) != bool(coded) or coded == WITH_CODES | WITH_SCALE or dimension > MAX_DIMENSION:
        raise damaged(where, 0, f"codes of {dimension} dimensions do not go with flags {flags}")
    return rows, width, m, upper_rows, entry, max_level, dimension, flags


def _aligned(offset: int) -> int:
    return -(-offset // 64) * 64
