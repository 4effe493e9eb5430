"""One graph's searches in NumPy until compiled code is there, and from then on in compiled code.

When that is, :mod:`storage_engine.compiled_code` says. Answers are the same before and after.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from storage_engine import compiled_code
from storage_engine.errors import DamagedError, DatabaseError
from storage_engine.index.graph_search import GraphFacts
from storage_engine.index.portable_walk import PortableWalker
from storage_engine.index.walks import Scan, Walk
from storage_engine.vectors.distance import EMPTY, Ranked

if TYPE_CHECKING:
    from storage_engine.index.walker import Walker

WALK_SECONDS = 0.003
"""What one walk in NumPy takes, about, until one was measured: 1 to 3 ms at 60,000 × 784 and width 48."""

_SECONDS_A_CODE = 1.5e-9  # comparing all rows: 50 to 70 ms for 60,000 × 784


class SwitchingWalker:
    """See :class:`storage_engine.index.graph_search.GraphSearch`. Safe to use from several threads.

    The searches are attributes, replaced when compiled code takes over: a call costs no more than one of its own.

    Args:
        portable: Searches until then.
        compiled: Makes the one that takes over; checks the whole graph.
        on_damage: A method that is told why the graph cannot be used; held weakly. From then on every walk says that it
            has given up and every scan that it proves nothing, so that rows are compared in another way.
    """

    __slots__ = (
        "__weakref__",
        "_compiled",
        "_lock",
        "_on_damage",
        "coded",
        "compiled",
        "graph",
        "likeness",
        "metric",
        "scan",
        "scan_within",
        "search",
        "search_many",
    )

    def __init__(
        self,
        portable: PortableWalker,
        compiled: Callable[[], Walker],
        on_damage: Callable[[DatabaseError], None],
    ) -> None:
        self.metric = portable.metric
        self.coded = portable.coded
        self.compiled: Walker | None = None
        self._compiled: Callable[[], Walker] | None = compiled
        self._on_damage = weakref.WeakMethod(on_damage)
        self._lock = threading.Lock()
        # Not methods of its own: who holds itself holds the mapped file until the garbage collector comes by.
        until_then = _UntilThen(portable, self)
        self._become(portable.graph, until_then)
        compiled_code.process.tell(self)

    def compiled_code_is_ready(self) -> None:
        """Switch now, so that no search waits for the check of the whole graph."""
        self.switch()

    def has_switched(self, seconds: float) -> bool:
        """Whether NumPy is done here; asked before a task that would take it so long."""
        if self._compiled is not None and compiled_code.process.use(seconds):
            self.switch()
        return self._compiled is None

    def switch(self) -> None:
        """Let compiled code, which is loaded, take over."""
        with self._lock:
            if self._compiled is None:
                return
            try:
                walker = self._compiled()
            except DatabaseError as error:
                self.give_up(error)
                return
            self._compiled = None
            self._become(walker.graph, walker)
            self.compiled = walker

    def give_up(self, error: DatabaseError) -> None:
        """The graph is damaged."""
        self._compiled = None
        tell = self._on_damage()
        if tell is not None:
            tell(error)
        self._become(self.graph, _DAMAGED)

    def _become(self, graph: GraphFacts, searches: Walker | _UntilThen | _Damaged) -> None:
        self.graph = graph
        self.search: Callable[..., Walk]
        self.search_many: Callable[..., list[Walk]]
        self.scan: Callable[..., Scan | None]
        self.scan_within: Callable[..., Ranked | None]
        self.search, self.search_many = searches.search, searches.search_many
        self.scan, self.scan_within = searches.scan, searches.scan_within
        self.likeness: Callable[[NDArray[np.bool_], int], float] = searches.likeness


class _UntilThen:
    """The searches in NumPy. Measures them, and hands each to compiled code once that has taken over."""

    def __init__(self, portable: PortableWalker, owner: SwitchingWalker) -> None:
        self._portable = portable
        self._owner = weakref.ref(owner)

    def search(self, query: NDArray[np.float32], *how: Any, **wishes: Any) -> Walk:
        owner = self._switched(0.0)
        if owner is not None:
            return owner.search(query, *how, **wishes)
        with compiled_code.measured():
            try:
                return self._portable.search(query, *how, **wishes)
            except DamagedError as error:
                self._give_up(error)
                return _DAMAGED.search()

    def search_many(self, queries: NDArray[np.float32], *how: Any, **wishes: Any) -> list[Walk]:
        walks: list[Walk] = []
        for place, query in enumerate(queries):
            owner = self._switched(WALK_SECONDS * (len(queries) - place))
            if owner is not None:
                return walks + owner.search_many(queries[place:], *how, **wishes)
            walks.append(self.search(query, *how, **wishes))
        return walks

    def scan(self, query: NDArray[np.float32], top_k: int, rows: NDArray[np.int64] | None = None) -> Scan | None:
        owner = self._switched(self._scan_seconds(rows))
        if owner is not None:
            return owner.scan(query, top_k, rows)
        with compiled_code.measured():
            try:
                return self._portable.scan(query, top_k, rows)
            except DamagedError as error:
                self._give_up(error)
                return None

    def scan_within(
        self, query: NDArray[np.float32], limit: float, rows: NDArray[np.int64] | None = None
    ) -> Ranked | None:
        owner = self._switched(self._scan_seconds(rows))
        if owner is not None:
            return owner.scan_within(query, limit, rows)
        with compiled_code.measured():
            try:
                return self._portable.scan_within(query, limit, rows)
            except DamagedError as error:
                self._give_up(error)
                return None

    def likeness(self, mask: NDArray[np.bool_], matches: int) -> float:
        owner = self._switched(0.0)
        if owner is not None:
            return owner.likeness(mask, matches)
        with compiled_code.measured():
            try:
                return self._portable.likeness(mask, matches)
            except DamagedError as error:
                self._give_up(error)
                return 1.0

    def _switched(self, seconds: float) -> SwitchingWalker | None:
        owner = self._owner()
        return owner if owner is not None and owner.has_switched(seconds) else None

    def _give_up(self, error: DatabaseError) -> None:
        owner = self._owner()
        if owner is not None:
            owner.give_up(error)

    def _scan_seconds(self, rows: NDArray[np.int64] | None) -> float:
        count = self._portable.graph.rows if rows is None else rows.shape[0]
        return _SECONDS_A_CODE * count * self._portable.dimension


class _Damaged:
    """The searches of a graph that cannot be used."""

    def search(self, *_: object, **__: object) -> Walk:
        return Walk(EMPTY, True, 0, note="; the graph is damaged")

    def search_many(self, queries: NDArray[np.float32], *_: object, **__: object) -> list[Walk]:
        return [self.search() for _ in queries]

    def scan(self, *_: object) -> Scan | None:
        return None

    def scan_within(self, *_: object) -> Ranked | None:
        return None

    def likeness(self, *_: object) -> float:
        return 1.0


_DAMAGED = _Damaged()
