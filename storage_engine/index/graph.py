"""A frozen HNSW graph as plain arrays, and its checked byte format.

Row numbers are those of the vectors it was built over. The graph holds no vectors; whoever keeps it says which rows it
belongs to.

Layout of the bytes, little-endian, each section starting at a multiple of 64:

    header   128 bytes: magic, format, flags (1: with codes, 2: with a calibration, 4: with what codes stand for
             only), rows, level-0 width, upper width, upper rows, entry, levels, dimension of the codes; crc32 last
    levels   uint8  (rows,)              the highest level of each row
    links    int32  (rows, width)        level-0 neighbours, padded with -1
    upper    int32  (upper rows, m)      neighbours at levels 1, 2, … of each row that has them, row after row
    low      float32 (d,), step float32 (d,)                                   only with flag 1 or 4
    codes    uint8 (rows, stride)                                              only with codes
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

from storage_engine.index.calibration import Calibration
from storage_engine.index.codes import Codes, CodeScale
from storage_engine.index.graph_layout import (
    BLOCK,
    FORMAT,
    HEADER,
    HEADER_BYTES,
    MAGIC,
    MAX_ROWS,
    MAX_WIDTH,
    WITH_CALIBRATION,
    WITH_CODES,
    WITH_SCALE,
    GraphLayout,
    check_block,
    damaged,
    read_checksums,
)


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
        scale: What codes stand for, where they are to be computed from the rows.

    Raises:
        ValueError: A link leads outside, or to a row that is not on its level.
    """

    links: NDArray[np.int32]
    levels: NDArray[np.uint8]
    upper: NDArray[np.int32]
    entry: int
    codes: Codes | None = None
    calibration: Calibration | None = None
    scale: CodeScale | None = None
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

    @property
    def code_scale(self) -> CodeScale | None:
        """What codes stand for, whether they are there or not; ``None`` where there are to be none."""
        return self.scale if self.codes is None else self.codes.scale

    def to_bytes(self, *, with_codes: bool = True) -> bytes:
        """The checked format; equal graphs give equal bytes.

        Args:
            with_codes: Whether codes are part of it, or only what they stand for: whoever reads that computes them.
        """
        scale = self.code_scale
        stored = self.codes if with_codes else None
        flags = 0 if scale is None else WITH_SCALE if stored is None else WITH_CODES
        fields = (
            MAGIC,
            FORMAT,
            flags | (0 if self.calibration is None else WITH_CALIBRATION),
            self.rows,
            self.links.shape[1],
            self.upper.shape[1],
            self.upper.shape[0],
            self.entry,
            self.max_level,
            0 if scale is None else scale.dimension,
        )
        header = HEADER.pack(*fields).ljust(HEADER_BYTES - 4, b"\0")
        body = bytearray(header + struct.pack("<I", zlib.crc32(header)))
        sections: list[tuple[NDArray[Any], str]] = [(self.levels, "<u1"), (self.links, "<i4"), (self.upper, "<i4")]
        if scale is not None:
            sections += [(scale.low, "<f4"), (scale.step, "<f4")]
        if stored is not None:
            sections.append((stored.rows, "<u1"))
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
        layout = GraphLayout.read(view, where)
        for block, checksum in enumerate(read_checksums(view, layout.end, where).tolist()):
            check_block(view, layout.end, block, checksum, where)
        rows = layout.rows
        try:
            scale, codes = layout.scale(view), None
            if scale is not None and layout.with_codes:
                stored = np.frombuffer(view, "<u1", layout.code_bytes, layout.codes).reshape(rows, -1)
                codes = Codes(scale.low, scale.step, stored)
            graph = cls(
                links=np.frombuffer(view, "<i4", rows * layout.width, layout.links).reshape(rows, layout.width),
                levels=np.frombuffer(view, "<u1", rows, layout.levels),
                upper=np.frombuffer(view, "<i4", layout.upper_rows * layout.upper_width, layout.upper).reshape(
                    layout.upper_rows, layout.upper_width
                ),
                entry=layout.entry,
                codes=codes,
                calibration=layout.calibration(view),
                scale=None if codes is not None else scale,
            )
        except ValueError as error:
            raise damaged(where, layout.links, str(error)) from error
        if graph.max_level != layout.max_level:
            raise damaged(where, 0, f"the entry is on level {graph.max_level}, not {layout.max_level}")
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
