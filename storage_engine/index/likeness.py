"""How a filter lies to the vectors: whether rows that match and rows that do not are neighbours in the graph."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_PLACES, _TOGETHER = 32, 8  # rows that lie together: read from a file, they take few of its blocks


def sampled_rows(rows: int) -> NDArray[np.int64]:
    """Up to 256 row numbers below ``rows``, int64, ascending: the same each time, from 32 places."""
    starts = np.arange(_PLACES, dtype=np.int64) * rows // _PLACES
    chosen = (starts[:, None] + np.arange(_TOGETHER)).ravel()
    return chosen[(chosen < rows) & (chosen < np.repeat(np.append(starts[1:], rows), _TOGETHER))]


def likeness(mask: NDArray[np.bool_], matches: int, rows: NDArray[np.int64], links: NDArray[np.int32]) -> float:
    """Of the links of rows that do not match, the share that leads to matching ones, by what chance would give.

    About 1 for a filter that has nothing to do with the vectors, about 0 where rows that match lie among themselves.

    Args:
        mask: bool of shape (n,).
        matches: How many rows match, at least 1.
        rows: int64 of shape (m,): a sample, see :func:`sampled_rows`.
        links: int32 of shape (m, width): their neighbours, -1 for none.

    Returns:
        At least 0; 1 where no sampled row that does not match has a neighbour.
    """
    reached = links[~mask[rows]].ravel()
    reached = reached[reached >= 0]
    return float(mask[reached].mean() * mask.shape[0] / matches) if reached.size else 1.0
