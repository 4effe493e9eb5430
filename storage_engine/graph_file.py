"""The frozen graph of one segment: stored beside it, trusted only after its digest and its own checks, disposable."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from storage_engine.errors import DamagedError, DatabaseError, FormatTooNewError
from storage_engine.files import Disk
from storage_engine.manifest.manifest import GraphFile
from storage_engine.schema import Metric
from storage_engine.segment.segment import Segment
from storage_engine.staged_file import check_digest

if TYPE_CHECKING:
    from storage_engine.index.walker import Walker


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

    __slots__ = ("_disk", "_lock", "_metric", "_walker", "damage", "file")

    def __init__(self, disk: Disk, file: GraphFile, metric: Metric) -> None:
        self.file = file
        self.damage: DatabaseError | None = None
        self._disk = disk
        self._metric = metric
        self._lock = threading.Lock()
        self._walker: Walker | None = None

    def walker(self, segment: Segment) -> Walker | None:
        """The graph over the segment's rows; ``None`` if the file cannot be trusted (see :attr:`damage`)."""
        if self._walker is None and self.damage is None:
            with self._lock:
                if self._walker is None and self.damage is None:
                    try:
                        self._walker = self._load(segment)
                    except (DamagedError, FormatTooNewError) as error:
                        # A search can do without: it compares exactly, and the writer builds a new graph.
                        self.damage = error
        return self._walker

    def verify(self) -> None:
        """Compare the file with its digest.

        Raises:
            DamagedError: It is missing or altered.
        """
        check_digest(self._disk, self.file.file)

    def _load(self, segment: Segment) -> Walker:
        from storage_engine.index.graph import Graph
        from storage_engine.index.walker import Walker

        check_digest(self._disk, self.file.file)
        name = self.file.file.name
        graph = Graph.from_buffer(self._disk.map(name), where=name)
        if graph.rows != len(segment):
            raise DamagedError(
                f"{name} covers {graph.rows} rows instead of {len(segment)}",
                fix="Delete the file; the graph is rebuilt from the rows.",
                value=name,
            )
        return Walker(graph, segment.mapped_vectors, segment.norms, self._metric)
