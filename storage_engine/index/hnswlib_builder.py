"""Building a graph with hnswlib, behind its traps: where no compiled code of ours can be used, and to compare with.

hnswlib (Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using Hierarchical Navigable
Small World graphs", 2018) numbers rows in the order in which its threads reach them; the graph returned here is
numbered like the vectors. NaN would ruin the links of good rows, so it has to be refused before. Nothing of the index
outlives the call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage_engine.index.graph import Graph
from storage_engine.index.scaled_rows import ScaledRows
from storage_engine.schema import GraphOptions

_STEP_ROWS = 1_024


def connected(
    rows: ScaledRows,
    by_product: bool,
    options: GraphOptions,
    threads: int,
    last: NDArray[np.int64],
    report: Callable[[int], None],
) -> tuple[Graph, Graph]:
    """Connect rows.

    Args:
        rows: Finite, at least one.
        by_product: Whether larger inner products are nearer, or smaller distances.
        options: M, ef_construction, seed.
        threads: 1 gives the same graph each time; more do not.
        last: Row numbers that join after all others.
        report: Called with the number of rows added; what it raises ends the build.

    Returns:
        The graph before the last rows joined, and the whole; the same one twice where there are no last ones.
    """
    import hnswlib

    n, dimension = rows.vectors.shape
    index = hnswlib.Index(space="ip" if by_product else "l2", dim=dimension)
    index.init_index(max_elements=n, M=options.m, ef_construction=options.ef_construction, random_seed=options.seed)
    before = None
    done = 0
    for some in _steps(n, last):
        if done == n - last.size and last.size:
            before = frozen(index.__getstate__()[0], options.m, n)
        index.add_items(rows.some(some), some, num_threads=threads)
        done += some.size
        report(done)
    whole = frozen(index.__getstate__()[0], options.m, n)
    return before or whole, whole


def _steps(rows: int, last: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Row numbers in blocks: all in order, but some at the end."""
    first = np.delete(np.arange(rows), last)
    for part in (first, last):
        for start in range(0, part.size, _STEP_ROWS):
            yield part[start : start + _STEP_ROWS]


def frozen(state: dict[str, Any], m: int, total: int | None = None) -> Graph:
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
