"""One small graph for each value of a column, over the rows of one graph: walks that never meet another value.

A filter on a column that follows the vectors, such as a label, hides the neighbourhood that a query lies in; a walk of
the one graph over all rows then looks at what is hidden and takes long. Within the rows of a value nothing is hidden.
Rows of different values are never linked, so that the graphs of all values fit into one array of links, numbered like
the rows; a filter that lets several values through starts a walk in each of their graphs and follows the best
candidates, whichever graph they are in; the links of the graph of all rows help, as far as they stay within the values.

Layout of the bytes, little-endian, each section starting at a multiple of 64:

    header   64 bytes: magic, format, bytes of the column's name, rows, values, where the graph starts; crc32 of all
             that stands before the graph, without these four bytes, last
    column   UTF-8
    value    int32 (rows,)      the number of each row's value
    entries  int64 (values,)    the row at which walks for a value start
    graph    the bytes of a graph without codes (:mod:`storage_engine.index.graph`), with the calibration of walks
             through the values
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage_engine.errors import FormatTooNewError
from storage_engine.index.graph import Graph
from storage_engine.index.graph_layout import damaged

MAX_VALUES = 4_096
"""Columns with more distinct values are refused: their graphs would be too small to be worth a walk."""

MAGIC = b"QSFILTR\x01"
FORMAT = 1
_HEADER = struct.Struct("<8sIIQQQ")
_HEADER_BYTES = 64
_FEW = 8  # up to so many values, a comparison with each is quicker than looking up whether one is among them


@dataclass(frozen=True, slots=True, eq=False)
class FilterGraph:
    """The graphs of a column's values, read-only.

    Args:
        column: Its name.
        graph: The links of all of them; nothing links rows of different values. Without codes.
        value: int32 of shape (n,): the number of each row's value, from 0 on without gaps.
        entries: int64 of shape (values,): the row at which walks for a value start.

    Attributes:
        counts: int64 of shape (values,): rows of each value.

    Raises:
        ValueError: Shapes do not fit together, or an entry is of another value.
    """

    column: str
    graph: Graph
    value: NDArray[np.int32]
    entries: NDArray[np.int64]
    counts: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        values = self.entries.shape[0]
        if self.value.shape != (self.graph.rows,) or not 1 <= values <= MAX_VALUES:
            raise ValueError(f"{values} values of {self.value.shape[0]} rows for a graph of {self.graph.rows}")
        if self.value.min() < 0 or self.value.max() >= values or self.entries.min() < 0:
            raise ValueError("a row has no value, or a value no entry")
        if self.entries.max() >= self.graph.rows or (self.value[self.entries] != np.arange(values)).any():
            raise ValueError("an entry is not of its value")
        object.__setattr__(self, "counts", np.bincount(self.value, minlength=values))
        for array in (self.value, self.entries, self.counts):
            array.flags.writeable = False

    def to_bytes(self) -> bytes:
        """The checked format; equal graphs give equal bytes."""
        name = self.column.encode()
        value = np.ascontiguousarray(self.value, "<i4").tobytes()
        entries = np.ascontiguousarray(self.entries, "<i8").tobytes()
        body = b"".join(part.ljust(_aligned(len(part)), b"\0") for part in (name, value, entries))
        start = _HEADER_BYTES + len(body)
        header = _HEADER.pack(MAGIC, FORMAT, len(name), self.graph.rows, self.entries.shape[0], start)
        header = header.ljust(_HEADER_BYTES - 4, b"\0")
        return header + struct.pack("<I", zlib.crc32(body, zlib.crc32(header))) + body + self.graph.to_bytes()

    @classmethod
    def from_buffer(cls, buffer: Any, *, where: str = "filter graph") -> FilterGraph:
        """The graphs in a buffer, without copying their links; every checksum, link and entry was checked.

        Args:
            buffer: Exactly the bytes of :meth:`to_bytes`, such as a memory map. It stays referenced.
            where: The file's name for messages.

        Raises:
            DamagedError: Anything is not as :meth:`to_bytes` wrote it.
            FormatTooNewError: Written by a later version.
        """
        view = memoryview(buffer).cast("B")
        if len(view) < _HEADER_BYTES or bytes(view[:8]) != MAGIC:
            raise damaged(where, 0, "no graph of values starts here")
        _, version, name, rows, values, start = _HEADER.unpack_from(view)
        if version != FORMAT:
            raise FormatTooNewError(
                f"{where} has format {version}",
                fix="Open the database with a newer version, or build the graph of the column anew.",
                value=version,
            )
        at = [_HEADER_BYTES, _HEADER_BYTES + _aligned(name)]
        at.append(at[1] + _aligned(4 * rows))
        if at[2] + _aligned(8 * values) != start or start > len(view):
            raise damaged(where, 8, "its sizes do not fit together")
        crc = zlib.crc32(view[_HEADER_BYTES:start], zlib.crc32(view[: _HEADER_BYTES - 4]))
        if struct.unpack_from("<I", view, _HEADER_BYTES - 4)[0] != crc:
            raise damaged(where, 0, "it fails its checksum")
        graph = Graph.from_buffer(view[start:], where=where)
        try:
            return cls(
                str(view[at[0] : at[0] + name], "utf-8"),
                graph,
                np.frombuffer(view, "<i4", rows, at[1]),
                np.frombuffer(view, "<i8", values, at[2]),
            )
        except ValueError as error:
            raise damaged(where, 0, str(error)) from error

    def passage(self, mask: NDArray[np.bool_]) -> Passage:
        """The way through the values that a mask, bool of shape (n,), lets at least one row of through."""
        present = np.zeros(self.entries.shape[0], np.bool_)
        present[self.value[np.flatnonzero(mask)]] = True
        values = np.flatnonzero(present)
        entries = self.entries[values]
        pairs = np.stack([entries, self.graph.levels[entries].astype(np.int64)], axis=1)
        starts = np.concatenate([np.array([values.shape[0]], np.int64), pairs.ravel()])
        return Passage(self, starts, self._cover(present, values), int(self.counts[values].sum()))

    def _cover(self, present: NDArray[np.bool_], values: NDArray[np.int64]) -> NDArray[np.bool_]:
        if values.shape[0] > _FEW:
            return np.ascontiguousarray(present[self.value])
        cover = np.zeros(self.value.shape[0], np.bool_)
        for value in values.astype(np.int32):
            cover |= self.value == value
        return cover


@dataclass(frozen=True, slots=True, eq=False)
class Passage:
    """A way through the graphs of some values.

    Args:
        graph: Of which column.
        starts: int64: how many values, then a row and its level for each, where walks begin.
        cover: bool of shape (n,): the rows of these values.
        rows: How many that are.
    """

    graph: FilterGraph
    starts: NDArray[np.int64]
    cover: NDArray[np.bool_]
    rows: int

    @property
    def values(self) -> int:
        """How many values it passes through."""
        return int(self.starts[0])


def join_graphs(column: str, value: NDArray[np.int32], build: Callable[[NDArray[np.int64]], Graph]) -> FilterGraph:
    """Connect the rows of each value.

    Args:
        column: Its name.
        value: int32 of shape (n,): the number of each row's value, from 0 on without gaps.
        build: Gives the graph of some rows, numbered in the order given; without codes.
    """
    n = value.shape[0]
    order = np.argsort(value, kind="stable")
    ends = np.cumsum(np.bincount(value))
    parts = [(rows, build(rows)) for rows in np.split(order, ends[:-1])]
    width = max(graph.links.shape[1] for _, graph in parts)
    upper_width = max(graph.upper.shape[1] for _, graph in parts)
    links, levels = np.full((n, width), -1, np.int32), np.zeros(n, np.uint8)
    for rows, graph in parts:
        links[rows, : graph.links.shape[1]] = _renumbered(graph.links, rows)
        levels[rows] = graph.levels
    first = np.cumsum(levels.astype(np.int64)) - levels
    upper = np.full((int(levels.astype(np.int64).sum()), upper_width), -1, np.int32)
    for rows, graph in parts:
        heights = graph.levels.astype(np.int64)
        owners = np.repeat(np.arange(rows.shape[0]), heights)
        level = np.arange(owners.shape[0]) - graph.first_upper[owners]
        upper[first[rows[owners]] + level, : graph.upper.shape[1]] = _renumbered(graph.upper, rows)
    entries = np.array([rows[graph.entry] for rows, graph in parts], np.int64)
    whole = Graph(links=links, levels=levels, upper=upper, entry=int(entries[np.argmax(levels[entries])]))
    return FilterGraph(column, whole, np.ascontiguousarray(value, np.int32), entries)


def _renumbered(links: NDArray[np.int32], rows: NDArray[np.int64]) -> NDArray[np.int32]:
    return np.where(links < 0, np.int32(-1), rows[np.maximum(links, 0)].astype(np.int32))


def _aligned(size: int) -> int:
    return -(-size // 64) * 64
