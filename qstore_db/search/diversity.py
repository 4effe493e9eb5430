"""Maximal marginal relevance: answers that are near to the query and unlike each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from storage_engine.schema import Metric


def similarities(
    left: NDArray[np.float64], right: NDArray[np.float32], metric: Metric, norms: NDArray[np.float32]
) -> NDArray[np.float64]:
    """How alike rows are by the collection's own measure, larger is more alike.

    Cosine: ⟨x, y⟩ / (|x| |y|); inner product: ⟨x, y⟩; l2: −|x − y|.

    Args:
        left: One row, shape (d,), already divided by its norm under cosine.
        right: Shape (m, d), as stored.
        metric: The collection's.
        norms: float32 of shape (m,): what cosines divide by.

    Returns:
        float64 of shape (m,).
    """
    wide = right.astype(np.float64)
    if metric is Metric.L2:
        difference = wide - left
        return np.asarray(-np.sqrt(np.einsum("ij,ij->i", difference, difference)))
    products: NDArray[np.float64] = np.einsum("ij,j->i", wide, left)
    return products / norms.astype(np.float64) if metric is Metric.COSINE else products


def mmr(
    query: NDArray[np.float32],
    vectors: NDArray[np.float32],
    norms: NDArray[np.float32],
    metric: Metric,
    top_k: int,
    relevance: float,
) -> NDArray[np.int64]:
    """Choose rows one by one, each the best of those left by maximal marginal relevance.

    Carbonell and Goldstein, "The use of MMR, diversity-based reranking for reordering documents and producing
    summaries", SIGIR 1998: with S the rows chosen so far and R the candidates, the next one is

        argmax over d in R without S of   λ·sim(d, q) − (1 − λ)·max over s in S of sim(d, s)

    where the maximum over no rows is 0, so that the first one is the nearest. Both similarities are the collection's
    own (:func:`similarities`): cosine, inner product, or minus the distance under l2. Equal values: the candidate that
    stands first.

    Args:
        query: float32 of shape (d,).
        vectors: float32 of shape (m, d): the candidates' vectors, best first.
        norms: float32 of shape (m,): what cosines divide by.
        metric: The collection's.
        top_k: How many to choose.
        relevance: λ in [0, 1]: 1 keeps the order of the search, 0 looks at nothing but how unlike rows are.

    Returns:
        int64 of shape (min(top_k, m),): places of the chosen candidates in the order of choice. Exact on the
        candidates, in float64. Cost: O(top_k · m · d).
    """
    wide = query.astype(np.float64)
    asked = wide / np.sqrt(wide @ wide) if metric is Metric.COSINE else wide
    near = similarities(asked, vectors, metric, norms)
    count = min(top_k, len(near))
    chosen = np.empty(count, np.int64)
    left = np.ones(len(near), np.bool_)
    closest = np.full(len(near), -np.inf)
    value = relevance * near
    for place in range(count):
        best = int(np.flatnonzero(left)[np.argmax(value[left])])
        chosen[place] = best
        left[best] = False
        row = vectors[best].astype(np.float64)
        if metric is Metric.COSINE:
            row /= float(norms[best])
        np.maximum(closest, similarities(row, vectors, metric, norms), out=closest)
        value = relevance * near - (1.0 - relevance) * closest
    return chosen
