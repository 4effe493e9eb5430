"""A frozen HNSW graph as plain arrays, and its checked byte format.

Row numbers are those of the vectors it was built over. The graph holds no vectors; whoever keeps it says which rows it
belongs to.

Layout of the bytes, little-endian, each section starting at a multiple of 64:

    header   128 bytes: magic, format, flags (1: with codes, 2: with a calibration), rows, level-0 width, upper width,
             upper rows, entry, levels, dimension of the codes; crc32 last
    levels   uint8  (rows,)              the highest level of each row
    links    int32  (rows, width)        level-0 neighbours, padded with -1
    upper    int32  (upper rows, m)      neighbours at levels 1, 2, … of each row that has them, row after row
    low      float32 (d,), step float32 (d,), codes uint8 (rows, stride)       only with codes
    recall   float32 (2, 13), compared float32 (2, 13)                         only with a calibration; see there
    crcs     uint32 (blocks + 1,)        crc32 of each 64 KiB of all the above, then that of the crcs themselves
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage_engine.errors import DamagedError, FormatTooNewError
from storage_engine.index.calibration import EFS, TOPS, Calibration
from storage_engine.index.codes import MAX_DIMENSION, Codes, stride_of

MAGIC = b"QSGRAPH\x01"
FORMAT = 2
BLOCK = 64 * 1024
MAX_ROWS = 2**31 - 1
MAX_WIDTH = 4_096
_HEADER = struct.Struct("<8sIIQIIQQII")
_HEADER_BYTES = 128
_WITH_CODES = 1
_WITH_CALIBRATION = 2
_CURVES = 4 * len(TOPS) * len(EFS)


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """Links of an HNSW graph, read-only.

    Args:
        links: int32 of shape (n, width): neighbours at level 0, the rest of each row -1.
        levels: uint8 of shape (n,): the highest level of each row.
        upper: int32 of shape (sum of levels, m): neighbours above level 0. Row r owns the rows from
            ``first_upper[r]``, one per level from 1 upward.
        entry: The row at which every walk starts; none is on a higher level.
        codes: The rows as bytes, for a quicker walk; ``None`` where there are none.
        calibration: How wide walks must be; ``None`` where nobody measured.

    Raises:
        ValueError: A link leads outside, or to a row that is not on its level.
    """

    links: NDArray[np.int32]
    levels: NDArray[np.uint8]
    upper: NDArray[np.int32]
    entry: int
    codes: Codes | None = None
    calibration: Calibration | None = None
    first_upper: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        heights = self.levels.astype(np.int64)
        object.__setattr__(self, "first_upper", np.cumsum(heights) - heights)
        problem = _problem(self, heights)
        if problem:
            raise ValueError(problem)
        for array in (self.links, self.levels, self.upper, self.first_upper):
            array.flags.writeable = False

    @property
    def rows(self) -> int:
        """How many rows the graph connects."""
        return int(self.links.shape[0])

    @property
    def max_level(self) -> int:
        """The level of the entry."""
        return int(self.levels[self.entry])

    def to_bytes(self) -> bytes:
        """The checked format; equal graphs give equal bytes."""
        fields = (
            MAGIC,
            FORMAT,
            (0 if self.codes is None else _WITH_CODES) | (0 if self.calibration is None else _WITH_CALIBRATION),
            self.rows,
            self.links.shape[1],
            self.upper.shape[1],
            self.upper.shape[0],
            self.entry,
            self.max_level,
            0 if self.codes is None else self.codes.dimension,
        )
        header = _HEADER.pack(*fields).ljust(_HEADER_BYTES - 4, b"\0")
        body = bytearray(header + struct.pack("<I", zlib.crc32(header)))
        sections: list[tuple[NDArray[Any], str]] = [(self.levels, "<u1"), (self.links, "<i4"), (self.upper, "<i4")]
        if self.codes is not None:
            sections += [(self.codes.low, "<f4"), (self.codes.step, "<f4"), (self.codes.rows, "<u1")]
        for array, kind in sections:
            body += b"\0" * (-len(body) % 64)
            body += np.ascontiguousarray(array, kind).tobytes()
        if self.calibration is not None:
            body += b"\0" * (-len(body) % 64)
            for curves in (self.calibration.recall, self.calibration.compared):
                body += np.ascontiguousarray(curves, "<f4").tobytes()
        body += b"\0" * (-len(body) % 64)
        crcs = np.array([zlib.crc32(body[at : at + BLOCK]) for at in range(0, len(body), BLOCK)], "<u4").tobytes()
        return bytes(body) + crcs + struct.pack("<I", zlib.crc32(crcs))

    @classmethod
    def from_buffer(cls, buffer: Any, *, where: str = "graph") -> Graph:
        """The graph in a buffer, without copying its links.

        Args:
            buffer: Anything with the buffer protocol that holds exactly the bytes of :meth:`to_bytes`, such as a
                memory map. It stays referenced.
            where: The file's name for messages.

        Returns:
            A graph whose every checksum and every link was checked, so that no walk over it can leave its arrays.

        Raises:
            DamagedError: Anything is not as :meth:`to_bytes` wrote it; names the offset.
            FormatTooNewError: Written by a later version.
        """
        view = memoryview(buffer).cast("B")
        rows, width, m, upper_rows, entry, max_level, dimension, calibrated = _read_header(view, where)
        sizes = [rows, 4 * rows * width, 4 * upper_rows * m]
        if dimension:
            sizes += [4 * dimension, 4 * dimension, rows * stride_of(dimension)]
        if calibrated:
            sizes.append(2 * _CURVES)
        at, end = [], _HEADER_BYTES
        for size in sizes:
            at.append(end)
            end = _aligned(end + size)
        blocks = -(-end // BLOCK)
        if len(view) != end + 4 * blocks + 4:
            raise _damaged(where, len(view), f"{len(view)} bytes where the header promises {end + 4 * blocks + 4}")
        _check_blocks(view, end, where)
        try:
            codes = None
            if dimension:
                codes = Codes(
                    low=np.frombuffer(view, "<f4", dimension, at[3]),
                    step=np.frombuffer(view, "<f4", dimension, at[4]),
                    rows=np.frombuffer(view, "<u1", sizes[5], at[5]).reshape(rows, -1),
                )
            calibration = None
            if calibrated:
                # A copy: calibrations are keys of the planner's caches, which would keep the mapped file from going.
                read = np.frombuffer(view, "<f4", 2 * len(TOPS) * len(EFS), at[-1])
                curves = read.reshape(2, len(TOPS), len(EFS)).copy()
                calibration = Calibration(recall=curves[0], compared=curves[1])
            graph = cls(
                links=np.frombuffer(view, "<i4", rows * width, at[1]).reshape(rows, width),
                levels=np.frombuffer(view, "<u1", rows, at[0]),
                upper=np.frombuffer(view, "<i4", upper_rows * m, at[2]).reshape(upper_rows, m),
                entry=entry,
                codes=codes,
                calibration=calibration,
            )
        except ValueError as error:
            raise _damaged(where, at[1], str(error)) from error
        if graph.max_level != max_level:
            raise _damaged(where, 0, f"the entry is on level {graph.max_level}, not {max_level}")
        return graph


def _problem(graph: Graph, heights: NDArray[np.int64]) -> str:
    """What makes a graph unsafe to walk; empty if nothing does."""
    rows, width = graph.links.shape
    if not 1 <= rows <= MAX_ROWS or not 1 <= width <= MAX_WIDTH or not 1 <= graph.upper.shape[1] <= MAX_WIDTH:
        return f"{rows} rows with {width} and {graph.upper.shape[1]} links are out of range"
    if graph.codes is not None and graph.codes.rows.shape[0] != rows:
        return f"{graph.codes.rows.shape[0]} rows of codes for {rows} rows"
    if graph.levels.shape != (rows,) or int(heights.sum()) != graph.upper.shape[0]:
        return f"levels of {graph.levels.shape[0]} rows do not describe {graph.upper.shape[0]} upper lists"
    if not 0 <= graph.entry < rows or graph.levels[graph.entry] != graph.levels.max():
        return f"row {graph.entry} of {rows} cannot be the entry"
    if graph.links.min() < -1 or graph.links.max() >= rows:
        return "a link of level 0 leads outside"
    if graph.upper.size == 0:
        return ""
    if graph.upper.min() < -1 or graph.upper.max() >= rows:
        return "a link of an upper level leads outside"
    owners = np.repeat(np.arange(rows), heights)
    level = np.arange(graph.upper.shape[0]) - graph.first_upper[owners] + 1
    reached = np.where(graph.upper < 0, np.int64(256), heights[graph.upper])
    return "a link leads to a row that is not on its level" if (reached < level[:, None]).any() else ""


def _read_header(view: memoryview, where: str) -> tuple[int, int, int, int, int, int, int, bool]:
    if len(view) < _HEADER_BYTES or bytes(view[:8]) != MAGIC:
        raise _damaged(where, 0, "no graph starts here")
    (checksum,) = struct.unpack_from("<I", view, _HEADER_BYTES - 4)
    if zlib.crc32(view[: _HEADER_BYTES - 4]) != checksum:
        raise _damaged(where, 0, "the header fails its checksum")
    _, version, flags, rows, width, m, upper_rows, entry, max_level, dimension = _HEADER.unpack_from(view)
    if version < FORMAT:
        raise _damaged(where, 8, f"graph format {version} is that of an earlier version")
    if version != FORMAT or flags & ~(_WITH_CODES | _WITH_CALIBRATION):
        raise FormatTooNewError(
            f"{where} has graph format {version} with flags {flags}",
            fix="Open the database with a newer version, or delete the graph: it is rebuilt from the rows.",
            value=version,
        )
    if not (1 <= rows <= MAX_ROWS and 1 <= width <= MAX_WIDTH and 1 <= m <= MAX_WIDTH and upper_rows <= 255 * rows):
        raise _damaged(where, 0, "the sizes in the header are out of range")
    if (dimension > 0) != bool(flags & _WITH_CODES) or dimension > MAX_DIMENSION:
        raise _damaged(where, 0, f"codes of {dimension} dimensions do not go with flags {flags}")
    return rows, width, m, upper_rows, entry, max_level, dimension, bool(flags & _WITH_CALIBRATION)


def _check_blocks(view: memoryview, end: int, where: str) -> None:
    crcs = view[end:-4]
    if zlib.crc32(crcs) != struct.unpack_from("<I", view, len(view) - 4)[0]:
        raise _damaged(where, end, "the table of checksums fails its own checksum")
    for block, (checksum,) in enumerate(struct.iter_unpack("<I", crcs)):
        if zlib.crc32(view[block * BLOCK : min((block + 1) * BLOCK, end)]) != checksum:
            raise _damaged(where, block * BLOCK, "a block fails its checksum")


def _aligned(offset: int) -> int:
    return -(-offset // 64) * 64


def _damaged(where: str, offset: int, what: str) -> DamagedError:
    return DamagedError(
        f"{where} is damaged at offset {offset}: {what}",
        fix="Delete the file; the graph is rebuilt from the rows.",
        value=offset,
    )
