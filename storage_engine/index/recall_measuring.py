"""Measures how wide walks must be for a promised recall, on rows that the graph did not know yet.

Some rows, drawn by the seed, join the graph last. Before they do they are queries: their true neighbours among the rows
that are in are compared with what walks of growing width find. So queries are like the rows and not among them; about
queries of another kind the numbers say nothing, nor about filters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from storage_engine.index.calibration import EFS, TOPS, Calibration
from storage_engine.index.graph_search import GraphSearch
from storage_engine.schema import Metric
from storage_engine.vectors.distance import exact_top_k
from storage_engine.vectors.types import StoredVectors, as_float32

QUERIES = 256
"""At most so many rows are queries, and at least half as many where an eighth of the rows is more."""

MINIMUM_ROWS = 1_000
_ROWS_A_QUERY = 200  # between these ends: measuring is to cost a fraction of building
_CONFIDENCE = 1.645  # standard errors below the mean: 95 % one-sided
_GOOD_ENOUGH = 0.999
_EVERY = (1, 2)  # of the queries: each one says ten times as much about 100 neighbours as about 10
_STEP = 8  # queries that a thread takes at once

T = TypeVar("T")


def held_out(rows: int, seed: int) -> NDArray[np.int64]:
    """Row numbers, ascending, that join the graph last and are queries before; none where there are few rows."""
    if rows < MINIMUM_ROWS:
        return np.empty(0, np.int64)
    count = min(QUERIES, max(QUERIES // 2, rows // _ROWS_A_QUERY), rows // 8)
    return np.sort(np.random.default_rng(seed).choice(rows, count, replace=False))


def calibrate(
    walker: GraphSearch,
    vectors: StoredVectors,
    norms: NDArray[np.float32] | None,
    queries: NDArray[np.int64],
    stop: Callable[[], None],
    threads: int = 1,
) -> Calibration:
    """Measure.

    Args:
        walker: Over all rows, of a graph in which nothing links to the queries.
        vectors: Of shape (n, d).
        norms: float32 of shape (n,) for the cosine metric.
        queries: Row numbers that are not in the graph yet, at least one.
        stop: Called now and then; what it raises ends the work.
        threads: Share the queries; what is measured does not depend on them.

    Returns:
        Curves up to the first width that finds nearly everything; empty under cosine if all queries are zero. Cost:
        as many exact searches as queries, and as many walks of each width; half of them for the 100 nearest.
    """
    known = np.ones(vectors.shape[0], np.bool_)
    known[queries] = False
    within = np.flatnonzero(known)
    metric = walker.metric
    asked = np.ascontiguousarray(as_float32(vectors[queries]))
    asked = asked[asked.any(axis=1)] if metric is Metric.COSINE else asked
    recall = np.full((len(TOPS), len(EFS)), np.nan, np.float32)
    compared = np.full((len(TOPS), len(EFS)), np.nan, np.float32)

    def best_of(some: NDArray[np.float32]) -> list[NDArray[np.float64]]:
        return [best_scores(walker, query, vectors, norms, within) for query in some]

    best = _shared([partial(best_of, some) for some in _blocks(asked)], threads, stop)
    for series, top in enumerate(TOPS):
        some, bars = asked[:: _EVERY[series]].copy(), best[:: _EVERY[series]]
        for place, ef in enumerate(EFS):
            if not top <= ef <= within.size or not best:
                continue
            walks = _shared([partial(walker.search_many, part, top, ef) for part in _blocks(some)], threads, stop)
            shares = [share_found(walk.ranked.scores, bar[:top], metric) for walk, bar in zip(walks, bars, strict=True)]
            recall[series, place] = lower_limit(shares, top)
            compared[series, place] = np.mean([walk.compared for walk in walks])
            if np.mean(shares) >= _GOOD_ENOUGH:
                break
    return Calibration(recall, compared)


def _blocks(queries: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    return (queries[start : start + _STEP] for start in range(0, len(queries), _STEP))


def _shared(tasks: Sequence[Callable[[], list[T]]], threads: int, stop: Callable[[], None]) -> list[T]:
    """The results of all tasks, one after the other in their order."""
    results: list[T] = []
    with ThreadPoolExecutor(threads, "qstore-calibrate") as pool:
        try:
            for done in [pool.submit(task) for task in tasks]:
                results += done.result()
                stop()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return results


def best_scores(
    walker: GraphSearch,
    query: NDArray[np.float32],
    vectors: StoredVectors,
    norms: NDArray[np.float32] | None,
    within: NDArray[np.int64],
) -> NDArray[np.float64]:
    """The scores of the ``TOPS[-1]`` nearest of some rows, float64, best first."""
    scan = walker.scan(query, TOPS[-1], within) if walker.coded else None
    if scan is not None:
        return scan.ranked.scores
    return exact_top_k(query, vectors, TOPS[-1], walker.metric, norms, within).scores


def share_found(found: NDArray[np.float64], bar: NDArray[np.float64], metric: Metric) -> float:
    """Of the rows wanted, the share found; rows that are as good as the last one wanted count."""
    if not bar.size:
        return 1.0
    good = found <= bar[-1] if metric is Metric.L2 else found >= bar[-1]
    return min(1.0, float(np.count_nonzero(good)) / bar.size)


def lower_limit(shares: list[float], top: int) -> float:
    """Lower confidence limit of the mean of shares; never above what one row missed in all would leave."""
    count = len(shares)
    error = float(np.std(shares)) / math.sqrt(count)
    return float(np.mean(shares)) - max(_CONFIDENCE * error, 1 / (count * top))
