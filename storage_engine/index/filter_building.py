"""Building the graphs of a column's values, and measuring how widely walks through them must look."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from storage_engine.index.builder import build_graph
from storage_engine.index.calibration import EFS, TOPS, Calibration
from storage_engine.index.filter_graph import FilterGraph, join_graphs
from storage_engine.index.graph import Graph
from storage_engine.index.recall_measuring import MINIMUM_ROWS, best_scores, lower_limit, share_found
from storage_engine.index.walker import Walker
from storage_engine.schema import GraphOptions
from storage_engine.vectors.types import StoredVectors, as_float32

_SETS = 24  # sets of values that walks are measured through: single ones, and halves of all, in turn
_QUERIES = 16  # for each
_GOOD_ENOUGH = 0.999


def build_filter_graph(
    column: str,
    value: NDArray[np.int32],
    walker: Walker,
    vectors: StoredVectors,
    norms: NDArray[np.float32] | None,
    options: GraphOptions,
    threads: int,
    progress: Callable[[int, int], None],
) -> FilterGraph:
    """Connect the rows of each value, and calibrate.

    Args:
        column: Its name.
        value: int32 of shape (n,): the number of each row's value, from 0 on without gaps.
        walker: Over the graph of all rows.
        vectors: Of shape (n, d).
        norms: float32 of shape (n,) for the cosine metric.
        options: As for the graph of all rows.
        threads: As there.
        progress: Called with (rows connected, rows); what it raises ends the work.

    Cost: less than the graph of all rows, for each value's is smaller.
    """
    n = value.shape[0]
    done = 0

    def connect(rows: NDArray[np.int64]) -> Graph:
        nonlocal done
        own = None if norms is None else norms[rows]
        graph = build_graph(
            vectors[rows],
            own,
            walker.metric,
            options,
            threads,
            lambda at, of: progress(done + at * rows.size // of, n),
            calibrated=False,
        )
        done += rows.size
        return graph

    built = join_graphs(column, value, connect)
    calibration = _calibrated(built, walker, vectors, norms, options.seed, lambda: progress(n, n))
    return dataclasses.replace(built, graph=dataclasses.replace(built.graph, calibration=calibration))


def _calibrated(
    built: FilterGraph,
    walker: Walker,
    vectors: StoredVectors,
    norms: NDArray[np.float32] | None,
    seed: int,
    stop: Callable[[], None],
) -> Calibration | None:
    """What walks through one value, and through half of them, find for rows of other values; ``None`` for few rows.

    The worse of the two counts. A query that is of no value that its filter lets through is the hard case, and with
    filters on labels the usual one.
    """
    values = built.entries.shape[0]
    if built.graph.rows < MINIMUM_ROWS or values < 2:
        return None
    g = np.random.default_rng(seed)
    recall = np.full((len(TOPS), len(EFS)), np.nan, np.float32)
    compared = np.full((len(TOPS), len(EFS)), np.nan, np.float32)
    tests = []
    for number in range(_SETS):
        size = 1 if number % 2 == 0 or values == 2 else values // 2
        # by their rows: values of many rows are asked for more often
        chosen = np.unique(built.value[g.choice(built.graph.rows, 4 * size)])
        mask = np.isin(built.value, g.permutation(chosen)[:size])
        outside = np.flatnonzero(~mask)
        rows = np.flatnonzero(mask)
        if rows.size < TOPS[-1] or not outside.size:
            continue
        stop()
        asked = as_float32(vectors[g.choice(outside, _QUERIES)])
        asked = np.ascontiguousarray(asked[asked.any(axis=1)])
        bars = [best_scores(walker, query, vectors, norms, rows) for query in asked]
        tests.append((built.passage(mask), asked, bars))
    for series, top in enumerate(TOPS):
        for place, ef in enumerate(EFS):
            if ef < top or not tests:
                continue
            stop()
            shares: dict[bool, list[float]] = {}  # of single values, and of several
            counts = []
            for passage, asked, bars in tests:
                plan = walker.walk_plan(top, ef, through=passage)
                for query, bar in zip(asked, bars, strict=True):
                    walk = walker.walk(plan, query)
                    share = share_found(walk.ranked.scores, bar[:top], walker.metric)
                    shares.setdefault(passage.values == 1, []).append(share)
                    counts.append(walk.compared)
            recall[series, place] = min(lower_limit(kind, top) for kind in shares.values())
            compared[series, place] = np.mean(counts)
            if min(np.mean(kind) for kind in shares.values()) >= _GOOD_ENOUGH:
                break
    return Calibration(recall, compared)
