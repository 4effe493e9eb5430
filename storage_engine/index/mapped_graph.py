"""A graph file as walks in NumPy read it: here and there, each block of 64 KiB checked before its first use.

So the first answer does not wait for the whole file to be read, however many rows it covers. Compiled walks need the
whole, checked beforehand: :meth:`MappedGraph.whole`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage_engine.index.calibration import Calibration
from storage_engine.index.codes import CodeScale, stride_of
from storage_engine.index.graph import Graph
from storage_engine.index.graph_layout import BLOCK, GraphLayout, check_block, damaged, read_checksums
from storage_engine.index.portable_codes import CodesOf


class MappedGraph:
    """See :class:`storage_engine.index.portable_walk.GraphSource`. Safe to use from several threads.

    Args:
        buffer: The bytes of :meth:`storage_engine.index.graph.Graph.to_bytes`, such as a memory map; stays referenced.
        where: The file's name for messages.

    Raises:
        DamagedError: The header, the checksums, the levels or what codes stand for are not as they were written. The
            methods raise it where other parts are not.
        FormatTooNewError: Written by a later version.
    """

    def __init__(self, buffer: Any, where: str) -> None:
        self._view = view = memoryview(buffer).cast("B")
        self._where = where
        self._layout = layout = GraphLayout.read(view, where)
        self._checksums = read_checksums(view, layout.end, where)
        self._checked = np.zeros(self._checksums.shape[0], np.bool_)
        for at, size in ((layout.levels, layout.rows), (layout.low, layout.codes - layout.low)):
            self._check(at, size)
        self._check(layout.curves, layout.end - layout.curves)
        levels = np.frombuffer(view, "<u1", layout.rows, layout.levels)
        self._tall = np.flatnonzero(levels)  # rows above level 0, and before each of them the lists of those before
        heights = levels[self._tall].astype(np.int64)
        self._first = np.cumsum(heights) - heights
        self._levels = levels
        if int(heights.sum()) != layout.upper_rows or not 0 <= layout.entry < layout.rows:
            raise damaged(where, layout.levels, f"levels do not describe {layout.upper_rows} upper lists")
        if layout.max_level != levels[layout.entry] or layout.max_level != levels.max():
            raise damaged(where, 0, f"row {layout.entry} cannot be the entry")
        self._links = np.frombuffer(view, "<i4", layout.rows * layout.width, layout.links).reshape(layout.rows, -1)
        self._upper = np.frombuffer(view, "<i4", layout.upper_rows * layout.upper_width, layout.upper)
        self._codes = None
        if layout.with_codes:
            self._codes = np.frombuffer(view, "<u1", layout.code_bytes, layout.codes).reshape(layout.rows, -1)
        self.code_scale: CodeScale | None = layout.scale(view)
        self.calibration: Calibration | None = layout.calibration(view)

    @property
    def rows(self) -> int:
        """How many rows it connects."""
        return self._layout.rows

    @property
    def entry(self) -> int:
        """Where walks start."""
        return self._layout.entry

    @property
    def max_level(self) -> int:
        """The level of the entry."""
        return self._layout.max_level

    def neighbours(self, row: int, level: int) -> list[int]:
        """The rows that a row is linked to on a level that it is on.

        Raises:
            DamagedError: A block fails its checksum, or a link leads outside or to a row that is not on the level.
        """
        layout = self._layout
        if not level:
            at = layout.links + 4 * layout.width * row
            self._check(at, 4 * layout.width)
            linked: list[int] = self._links[row].tolist()
        else:
            place = int(np.searchsorted(self._tall, row))
            first = layout.upper_width * (int(self._first[place]) + level - 1)
            at = layout.upper + 4 * first
            self._check(at, 4 * layout.upper_width)
            linked = self._upper[first : first + layout.upper_width].tolist()
        if -1 in linked:
            del linked[linked.index(-1) :]
        if linked and (min(linked) < 0 or max(linked) >= layout.rows or (level and self._levels[linked].min() < level)):
            raise damaged(self._where, at, "a link leads outside, or to a row that is not on its level")
        return linked

    def links_of(self, rows: NDArray[np.int64]) -> NDArray[np.int32]:
        """The neighbours of rows at level 0, int32 of shape (m, width), padded with -1.

        Raises:
            DamagedError: A block fails its checksum, or a link leads outside.
        """
        layout = self._layout
        for row in rows.tolist():
            self._check(layout.links + 4 * layout.width * row, 4 * layout.width)
        links = self._links[rows].astype(np.int32)
        if links.size and (links.min() < -1 or links.max() >= layout.rows):
            raise damaged(self._where, layout.links, "a link leads outside")
        return links

    def stored_codes(self) -> CodesOf | None:
        """Gives rows of codes; ``None`` where they are not stored."""
        return None if self._codes is None else self._codes_of

    def whole(self) -> Graph:
        """All of it, every checksum and every link checked.

        Raises:
            DamagedError: Anything is not as it was written.
        """
        return Graph.from_buffer(self._view, where=self._where)

    def _codes_of(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        if self._codes is None:
            raise TypeError("codes are not stored")
        stride = stride_of(self._layout.dimension)
        starts = self._layout.codes + rows * stride
        first, last = starts // BLOCK, (starts + (stride - 1)) // BLOCK
        if not (self._checked[first].all() and self._checked[last].all()):
            for block in {*first.tolist(), *last.tolist()}:  # np.unique would load numpy.ma, 10 ms, for its first use
                self._check_block(block)
        return self._codes[rows]

    def _check(self, at: int, size: int) -> None:
        if size > 0:
            for block in range(at // BLOCK, (at + size - 1) // BLOCK + 1):
                self._check_block(block)

    def _check_block(self, block: int) -> None:
        if not self._checked[block]:
            check_block(self._view, self._layout.end, block, int(self._checksums[block]), self._where)
            self._checked[block] = True
