"""The frozen graph of one segment: stored beside it, trusted only after its digest and its own checks, disposable."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from storage_engine.errors import DamagedError, DatabaseError, FormatTooNewError
from storage_engine.files import Disk, LinkedFileError
from storage_engine.manifest.manifest import GraphFile
from storage_engine.schema import Metric
from storage_engine.segment.segment import Segment
from storage_engine.staged_file import check_digest, check_present

if TYPE_CHECKING:
    from storage_engine.index.filter_graph import FilterGraph
    from storage_engine.index.graph_search import GraphSearch
    from storage_engine.index.mapped_graph import MappedGraph
    from storage_engine.index.walker import Walker

_UNUSABLE = (DamagedError, FormatTooNewError, LinkedFileError)


class SegmentGraph:
    """A graph file that is read when the first search wants it. Safe to use from several threads.

    Args:
        disk: Where.
        file: What names it; covers exactly one segment.
        metric: The collection's.

    Attributes:
        file: As given.
        damage: Why the file cannot be used, once that is known.
    """

    __slots__ = ("__weakref__", "_disk", "_filters", "_lock", "_metric", "_walker", "damage", "file")

    def __init__(self, disk: Disk, file: GraphFile, metric: Metric) -> None:
        self.file = file
        self.damage: DatabaseError | None = None
        self._disk = disk
        self._metric = metric
        self._lock = threading.Lock()
        self._walker: GraphSearch | None = None
        self._filters: tuple[FilterGraph, ...] | None = None

    def filters(self, segment: Segment) -> tuple[FilterGraph, ...]:
        """The graphs of columns' values that can be trusted; read and checked at the first call."""
        if self._filters is None:
            with self._lock:
                if self._filters is None:
                    self._filters = tuple(self._read_filters(len(segment)))
        return self._filters

    def _read_filters(self, rows: int) -> Iterator[FilterGraph]:
        from storage_engine.index.filter_graph import FilterGraph

        for column, file in self.file.filters:
            # Searches do without those that are damaged, and `verify` names them.
            with contextlib.suppress(*_UNUSABLE):
                check_present(self._disk, file)
                one = FilterGraph.from_buffer(self._disk.map(file.name), where=file.name)
                if one.graph.rows == rows and one.column == column:
                    yield one

    def walker(self, segment: Segment) -> GraphSearch | None:
        """The graph over the segment's rows; ``None`` if the file cannot be trusted (see :attr:`damage`).

        Where compiled code is not loaded, little of the file is read now: each block is checked before its first use.
        """
        if self.damage is not None:
            return None
        if self._walker is None:
            with self._lock:
                if self._walker is None and self.damage is None:
                    try:
                        self._walker = self._load(segment)
                    except _UNUSABLE as error:
                        # A search can do without: it compares exactly, and the writer builds a new graph.
                        self.damaged(error)
        return self._walker

    def damaged(self, error: DatabaseError) -> None:
        """Remember why the file cannot be used."""
        self.damage = error
        self._walker = None

    def verify(self) -> None:
        """Compare the files with their digests.

        Raises:
            DamagedError: One is missing or altered.
        """
        for file in self.file.files:
            check_digest(self._disk, file)

    def _load(self, segment: Segment) -> GraphSearch:
        from storage_engine import compiled_code
        from storage_engine.index.mapped_graph import MappedGraph
        from storage_engine.index.portable_walk import PortableWalker
        from storage_engine.index.switching_walker import SwitchingWalker

        # The digest is compared by `verify`; here the checksums of blocks must do, as for the vectors.
        check_present(self._disk, self.file.file)
        name = self.file.file.name
        mapped = MappedGraph(self._disk.map(name), name)
        if mapped.rows != len(segment):
            raise DamagedError(
                f"{name} covers {mapped.rows} rows instead of {len(segment)}",
                fix="Delete the file; the graph is rebuilt from the rows.",
                value=name,
            )
        if compiled_code.process.ready:
            return _compiled(mapped, segment, self._metric)
        portable = PortableWalker(mapped, segment.mapped_vectors, segment.norms, self._metric)
        metric = self._metric
        return SwitchingWalker(portable, lambda: _compiled(mapped, segment, metric), self.damaged)


def _compiled(mapped: MappedGraph, segment: Segment, metric: Metric) -> Walker:
    """The walker in compiled code, with codes computed where they are not stored.

    Raises:
        DamagedError: The graph or, where codes are computed, the rows are not as they were written.
    """
    from storage_engine.index.codes import encoded
    from storage_engine.index.walker import Walker

    graph = mapped.whole()
    norms = segment.norms
    if graph.scale is not None:
        segment.verify_vectors()
        scaled = norms if metric is Metric.COSINE else None
        codes = encoded(segment.mapped_vectors, scaled, graph.scale, metric is Metric.L2)
        graph = dataclasses.replace(graph, codes=codes, scale=None)
    return Walker(graph, segment.mapped_vectors, norms, metric)
