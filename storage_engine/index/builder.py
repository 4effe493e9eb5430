"""Building a graph: hnswlib behind its traps. Nothing of it outlives the call.

hnswlib (Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using Hierarchical Navigable
Small World graphs", 2018) numbers rows in the order in which its threads reach them; the graph returned here is
numbered like the vectors. NaN would ruin the links of good rows, so it is refused before anything is added.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage_engine.errors import InvalidArgumentError, InvalidVectorError
from storage_engine.index.calibration import calibrate, held_out
from storage_engine.index.codes import encode
from storage_engine.index.graph import MAX_ROWS, Graph
from storage_engine.index.walker import Walker
from storage_engine.schema import GraphOptions, Metric

_STEP_ROWS = 1_024


def build_graph(
    vectors: NDArray[np.float32],
    norms: NDArray[np.float32] | None,
    metric: Metric,
    options: GraphOptions,
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
    codes: bool = True,
) -> Graph:
    """Connect rows.

    Args:
        vectors: float32 of shape (n, d), finite, n at least 1.
        norms: float32 of shape (n,), positive; used by the cosine metric, whose rows are divided by them.
        metric: Decides which rows are near. Inner product is no metric, nor is cosine with norms that are not the
            lengths of the rows: their graph also holds the links by Euclidean distance, and takes twice as long.
        options: M, ef_construction, seed.
        threads: 1 gives the same graph each time; more are faster and do not.
        progress: Called with (rows added, rows to add) about every thousand rows; both count each of two passes, if
            there are two. What it raises ends the build.
        codes: Whether to add codes for a quicker walk; they are left out where they would cost recall.

    Returns:
        The graph, numbered like ``vectors``, with the calibration of its walks where there are rows enough. Cost:
        O(n log n) distances; a second copy of the vectors in memory.

    Raises:
        InvalidArgumentError: No rows, too many, no thread, or norms missing.
        InvalidVectorError: NaN or infinity among the numbers.
    """
    n = vectors.shape[0]
    if not 1 <= n <= MAX_ROWS:
        raise InvalidArgumentError(f"A graph over {n} rows cannot be built", fix="Give at least one row.", value=n)
    if threads < 1:
        raise InvalidArgumentError(f"{threads} threads cannot build", fix="Give at least one.", value=threads)
    if metric is Metric.COSINE and (norms is None or norms.shape != (n,)):
        raise InvalidArgumentError(f"The cosine metric needs one norm for each of the {n} rows", fix="Pass norms.")
    spaces = ["l2"] if metric is Metric.L2 else ["ip"]
    if metric is Metric.IP or (metric is Metric.COSINE and norms is not None and not _are_unit(vectors, norms)):
        spaces.append("l2")
    scale = norms if metric is Metric.COSINE else None
    last = held_out(n, options.seed)
    built: list[tuple[Graph, Graph]] = []
    for space in spaces:
        report = None if progress is None else _shifted(progress, n * len(built), n * len(spaces))
        built.append(_connected(vectors, scale, space, options, threads, last, report))
    before, graph = built[0] if len(built) == 1 else [_joined(*both) for both in zip(*built, strict=True)]
    coded = encode(vectors, scale, metric is Metric.L2, options.seed) if codes else None
    calibration = None
    if last.size:
        walker = Walker(dataclasses.replace(before, codes=coded), vectors, norms, metric)
        total = n * len(spaces)
        stop = (lambda: progress(total, total)) if progress is not None else lambda: None
        calibration = calibrate(walker, vectors, norms, last, stop)
    return dataclasses.replace(graph, codes=coded, calibration=calibration)


def _connected(
    vectors: NDArray[np.float32],
    norms: NDArray[np.float32] | None,
    space: str,
    options: GraphOptions,
    threads: int,
    last: NDArray[np.int64],
    progress: Callable[[int], None] | None,
) -> tuple[Graph, Graph]:
    """The graph by hnswlib of the rows, divided by their norms if there are any: without some rows, and with all."""
    import hnswlib

    n, dimension = vectors.shape
    index = hnswlib.Index(space=space, dim=dimension)
    index.init_index(max_elements=n, M=options.m, ef_construction=options.ef_construction, random_seed=options.seed)
    without = None
    done = 0
    for rows in _steps(n, last):
        block = vectors[rows]
        if norms is not None:
            block = block / norms[rows, None]
        if not np.isfinite(block).all():
            raise InvalidVectorError(
                f"One of the rows {rows.min()} to {rows.max()} holds NaN or infinity",
                fix="Only finite rows can be connected.",
                value=int(rows.min()),
            )
        if done == n - last.size and last.size:
            without = _frozen(index.__getstate__()[0], options.m, n)
        index.add_items(block, rows, num_threads=threads)
        done += rows.size
        if progress is not None:
            progress(done)
    whole = _frozen(index.__getstate__()[0], options.m, n)
    return without or whole, whole


def _steps(rows: int, last: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Row numbers in blocks: all in order, but some at the end."""
    first = np.delete(np.arange(rows), last)
    for part in (first, last):
        for start in range(0, part.size, _STEP_ROWS):
            yield part[start : start + _STEP_ROWS]


def _shifted(progress: Callable[[int, int], None], done: int, total: int) -> Callable[[int], None]:
    return lambda rows: progress(done + rows, total)


def _are_unit(vectors: NDArray[np.float32], norms: NDArray[np.float32]) -> bool:
    """Whether all norms are the lengths of the rows, so that nearness by cosine is nearness."""
    for start in range(0, vectors.shape[0], _STEP_ROWS):
        block = vectors[start : start + _STEP_ROWS].astype(np.float64)
        lengths = np.sqrt(np.einsum("ij,ij->i", block, block))
        if not np.allclose(lengths, norms[start : start + _STEP_ROWS], rtol=1e-3):
            return False
    return True


def _joined(by_product: Graph, by_distance: Graph) -> Graph:
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


def _frozen(state: dict[str, Any], m: int, total: int | None = None) -> Graph:
    """The links inside hnswlib's state, renumbered from its internal numbers to row numbers.

    Of ``total`` rows those that are not in the state are on level 0, without links from or to them.
    """
    n, width = int(state["cur_element_count"]), 2 * m
    total = n if total is None else total
    level0 = np.frombuffer(state["data_level0"], np.uint8).reshape(-1, state["size_data_per_element"])[:n]
    at_label = state["label_offset"]
    rows = level0[:, at_label : at_label + 8].copy().view(np.int64)[:, 0]
    heights = np.asarray(state["element_levels"][:n], np.int64)
    lists = int(heights.sum())
    size = state["size_links_per_element"]
    upper = np.empty((0, m), np.int32)
    if lists:
        raw = np.frombuffer(state["link_lists"], np.uint8)[: lists * size].reshape(lists, size)
        upper = _lists(raw, m, rows)
    links = np.full((total, width), -1, np.int32)
    links[rows] = _lists(level0[:, : 4 + 4 * width], width, rows)
    levels = np.zeros(total, np.uint8)
    levels[rows] = heights
    order = np.argsort(rows, kind="stable")  # the internal number of each row
    first = np.cumsum(heights) - heights
    own = np.repeat(first[order], heights[order]) + _counting(heights[order])
    return Graph(links=links, levels=levels, upper=upper[own], entry=int(rows[state["enterpoint_node"]]))


def _lists(raw: NDArray[np.uint8], width: int, rows: NDArray[np.int64]) -> NDArray[np.int32]:
    """Neighbour lists (a 16-bit count in four bytes, then the numbers) as row numbers padded with -1."""
    count = raw[:, :2].copy().view(np.uint16)[:, 0]
    inner = raw[:, 4 : 4 + 4 * width].copy().view(np.uint32)
    unused = np.arange(width)[None, :] >= count[:, None]
    inner[unused] = 0
    lists = rows[inner].astype(np.int32)
    lists[unused] = -1
    return lists


def _counting(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """0 … length-1 for each length, one after the other."""
    ends = np.cumsum(lengths)
    return np.arange(int(ends[-1])) - np.repeat(ends - lengths, lengths)
