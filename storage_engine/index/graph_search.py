"""What can search a graph: compiled code, NumPy, or one until the other is there, with the same answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from storage_engine.index.calibration import Calibration
from storage_engine.index.walks import Scan, Walk
from storage_engine.schema import Metric
from storage_engine.vectors.distance import Ranked

if TYPE_CHECKING:
    from storage_engine.index.walker import Walker


class GraphFacts(Protocol):
    """What a plan needs to know about a graph."""

    @property
    def rows(self) -> int:
        """How many rows it connects."""

    @property
    def calibration(self) -> Calibration | None:
        """How wide walks must be, where that was measured."""


class GraphSearch(Protocol):
    """Searches one graph and the rows it was built on; see :class:`storage_engine.index.walker.Walker`."""

    @property
    def graph(self) -> GraphFacts:
        """What is searched."""

    @property
    def metric(self) -> Metric:
        """As the graph was built."""

    @property
    def coded(self) -> bool:
        """Whether there are codes, so that :meth:`scan` can be used."""

    @property
    def compiled(self) -> Walker | None:
        """The one in compiled code that answers, for who calls its kernels directly; ``None`` as long as NumPy does.

        May change from ``None`` to a walker between two searches, and then stays.
        """

    def search(
        self,
        query: NDArray[np.float32],
        top_k: int,
        ef: int,
        mask: NDArray[np.bool_] | None = None,
        budget: int | None = None,
        *,
        enough: int = 0,
        wider: int = 0,
    ) -> Walk:
        """See :meth:`storage_engine.index.walker.Walker.search`."""

    def search_many(
        self,
        queries: NDArray[np.float32],
        top_k: int,
        ef: int,
        mask: NDArray[np.bool_] | None = None,
        budget: int | None = None,
        *,
        enough: int = 0,
        wider: int = 0,
    ) -> list[Walk]:
        """See :meth:`storage_engine.index.walker.Walker.search_many`."""

    def scan(self, query: NDArray[np.float32], top_k: int, rows: NDArray[np.int64] | None = None) -> Scan | None:
        """See :meth:`storage_engine.index.walker.Walker.scan`."""

    def scan_within(
        self, query: NDArray[np.float32], limit: float, rows: NDArray[np.int64] | None = None
    ) -> Ranked | None:
        """See :meth:`storage_engine.index.walker.Walker.scan_within`."""

    def likeness(self, mask: NDArray[np.bool_], matches: int) -> float:
        """See :meth:`storage_engine.index.walker.Walker.likeness`."""
