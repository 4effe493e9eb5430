"""The one door to building a graph: rows are checked, encoded, connected, and the walks over the result measured."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from storage_engine import compiled_code
from storage_engine.errors import InvalidArgumentError
from storage_engine.index import hnswlib_builder
from storage_engine.index.codes import Codes, encode
from storage_engine.index.graph import Graph
from storage_engine.index.graph_layout import MAX_ROWS
from storage_engine.index.recall_measuring import calibrate, held_out
from storage_engine.index.scaled_rows import ScaledRows
from storage_engine.index.searching import searcher
from storage_engine.schema import GraphOptions, Metric
from storage_engine.vectors.types import StoredVectors


class Builder(enum.Enum):
    """Who connects the rows."""

    ROUNDS = "rounds"
    """Compiled code of our own: :mod:`storage_engine.index.construction`."""
    HNSWLIB = "hnswlib"


def build_graph(
    vectors: StoredVectors,
    norms: NDArray[np.float32] | None,
    metric: Metric,
    options: GraphOptions,
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
    codes: bool = True,
    builder: Builder | None = None,
    calibrated: bool = True,
) -> Graph:
    """Connect rows.

    Args:
        vectors: Of shape (n, d), finite, n at least 1, in any type that a collection keeps.
        norms: float32 of shape (n,), positive; used by the cosine metric, whose rows are divided by them.
        metric: Decides which rows are near. Inner product is no metric, nor is cosine with norms that are not the
            lengths of the rows: their graph also holds the links by Euclidean distance, and takes twice as long.
        options: M, ef_construction, seed.
        threads: More are faster. The graph is the same however many there are, but not by hnswlib, where only one
            gives the same graph each time.
        progress: Called with (rows added, rows to add) every few milliseconds, by hnswlib every thousand rows; both
            count each of two passes, if there are two. What it raises ends the build.
        codes: Whether to add codes for a quicker walk, and to build by them; they are left out where they would cost
            recall.
        builder: ``None``: our own where compiled code can be used (which is loaded, and may have to be compiled
            first), otherwise hnswlib, which takes two to three times as long.
        calibrated: Whether to measure how wide walks must be.

    Returns:
        The graph, numbered like ``vectors``, with the calibration of its walks where there are rows enough. Cost:
        O(n log n) distances. Memory: the graph twice; a float32 copy of the vectors where they are built upon without
        codes and are not float32 or have norms; a whole index by hnswlib.

    Raises:
        InvalidArgumentError: No rows, too many, no thread, norms missing, or no compiled code to build by.
        InvalidVectorError: NaN or infinity among the numbers.
    """
    n = vectors.shape[0]
    if not 1 <= n <= MAX_ROWS:
        raise InvalidArgumentError(f"A graph over {n} rows cannot be built", fix="Give at least one row.", value=n)
    if threads < 1:
        raise InvalidArgumentError(f"{threads} threads cannot build", fix="Give at least one.", value=threads)
    if metric is Metric.COSINE and (norms is None or norms.shape != (n,)):
        raise InvalidArgumentError(f"The cosine metric needs one norm for each of the {n} rows", fix="Pass norms.")
    compiled = compiled_code.process.load()
    if builder is Builder.ROUNDS and not compiled:
        raise InvalidArgumentError(
            f"Compiled code cannot be used: {compiled_code.process.why_not}", fix="Leave the builder to be chosen."
        )
    if builder is None:
        builder = Builder.ROUNDS if compiled else Builder.HNSWLIB
    rows = ScaledRows(vectors, norms if metric is Metric.COSINE else None)
    unit = rows.check()
    coded = encode(vectors, rows.norms, metric is Metric.L2, options.seed, threads) if codes else None
    last = held_out(n, options.seed) if calibrated else np.empty(0, np.int64)
    total = n if unit or metric is Metric.L2 else 2 * n

    def report(done: int) -> None:
        if progress is not None:
            progress(done, total)

    built = _Passes(rows, options, threads, last, report, builder).connected(metric, unit, coded)
    before, graph = (dataclasses.replace(one, codes=coded) for one in built)
    if not last.size:
        return graph
    walker = searcher(before, vectors, norms, metric)
    sharing = threads if compiled else 1  # Python does not get quicker by threads
    calibration = calibrate(walker, vectors, norms, last, lambda: report(total), sharing)
    return dataclasses.replace(graph, calibration=calibration)


@dataclasses.dataclass(frozen=True, slots=True)
class _Passes:
    """What one or two passes over the rows have in common."""

    rows: ScaledRows
    options: GraphOptions
    threads: int
    last: NDArray[np.int64]
    report: Callable[[int], None]
    builder: Builder

    def connected(self, metric: Metric, unit: bool, codes: Codes | None) -> tuple[Graph, Graph]:
        """The graphs before the last rows join, and after."""
        if metric is Metric.L2 or unit:
            return self._pass(metric is not Metric.L2, unit, codes, 0)
        by_product = self._pass(True, False, codes, 0)
        others = None
        if codes is not None and self.builder is Builder.ROUNDS:
            others = encode(self.rows.vectors, self.rows.norms, True, self.options.seed, self.threads)
        by_distance = self._pass(False, False, others, self.rows.vectors.shape[0])
        return joined(by_product[0], by_distance[0]), joined(by_product[1], by_distance[1])

    def _pass(self, by_product: bool, unit: bool, codes: Codes | None, done: int) -> tuple[Graph, Graph]:
        def report(rows: int) -> None:
            self.report(done + rows)

        if self.builder is Builder.HNSWLIB:
            return hnswlib_builder.connected(self.rows, by_product, self.options, self.threads, self.last, report)
        from storage_engine.index.construction import Construction, Nearness, draw_levels

        nearness = Nearness.DISTANCE
        if by_product:
            nearness = Nearness.ANGLE if unit else Nearness.PRODUCT
        n = self.rows.vectors.shape[0]
        levels = draw_levels(n, self.options.m, self.options.seed)
        levels[self.last] = 0  # so that the graph before them has the same upper levels
        numbers = self.rows.whole() if codes is None else None
        growing = Construction(numbers, codes, self.rows.some, nearness, self.options, levels, self.threads)
        first = np.delete(np.arange(n), self.last)
        growing.insert(np.random.default_rng(self.options.seed).permutation(first), report)
        before = growing.graph()
        if not self.last.size:
            return before, before
        growing.insert(self.last, report)
        return before, growing.graph()


def joined(by_product: Graph, by_distance: Graph) -> Graph:
    """The links of both at level 0, each once; the upper levels and the entry of the first.

    Links by inner product lead to long rows quickly and leave many short ones without any link to them; links by
    distance connect those. On clustered rows the best 100 of 8,000 were found to 0.75 with the first alone, to 0.95 or
    more with both, and where the first alone does well both do as well at the same ef.
    """
    none = np.int32(np.iinfo(np.int32).max)
    links = np.concatenate([by_product.links, by_distance.links], axis=1)
    links[links < 0] = none
    links.sort(axis=1)
    links[:, 1:][links[:, 1:] == links[:, :-1]] = none
    links.sort(axis=1)
    links[links == none] = -1
    return Graph(links=links, levels=by_product.levels, upper=by_product.upper, entry=by_product.entry)
