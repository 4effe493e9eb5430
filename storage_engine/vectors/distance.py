"""Exact nearest rows, and the one definition of a score that every road to an answer uses.

Scores are computed in float64 from the stored numbers, in a fixed order of summation (64 lanes, then a fold),
by NumPy here and by the compiled twin in :mod:`storage_engine.vectors.kernels`. The two agree to the last bit: a
product of two float32 is exact in float64, no multiplication is fused with an addition where it is not, and sums run
in the same order. So the exact scan, the graph and a lookup of one row report the same score for the same row.

The scan itself is float32. Each row gets a rigorous interval for its true value (standard bounds of floating-point
summation, Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., section 3.1); only rows whose interval
reaches the k-th smallest upper end are scored in float64. The answer is therefore exact, ties included.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from storage_engine import compiled_code
from storage_engine.errors import DimensionMismatchError, InvalidArgumentError, InvalidVectorError
from storage_engine.schema import Metric
from storage_engine.vectors.types import StoredVectors, as_float32, is_stored_type

LANES = 64
_SECONDS_A_NUMBER = 1e-9  # of the scan in NumPy: 50 ms for 60,000 × 784
_BLOCK_NUMBERS = 1 << 16  # float32 numbers a block: 256 KiB, so that the second pass over it is served by the cache
_UNIT = 2.0**-24  # unit roundoff of float32
_SMALLEST_NORMAL = 2.0**-126
_SLIGHTLY_ABOVE_ONE = 1.0 + 2.0**-22  # how far rounding of a float32 norm can lift a cosine above one


class Ranked(NamedTuple):
    """Rows from best to worst.

    Attributes:
        positions: int64, row numbers.
        scores: float64, as :class:`storage_engine.schema.Metric` defines them; round to float32 for the caller.
    """

    positions: NDArray[np.int64]
    scores: NDArray[np.float64]


EMPTY = Ranked(np.empty(0, np.int64), np.empty(0, np.float64))


def check_query(query: NDArray[np.float32], dimension: int, metric: Metric) -> NDArray[np.float32]:
    """The query as a contiguous float32 vector that may be compared under the metric.

    Raises:
        DimensionMismatchError: Its length is not ``dimension``.
        InvalidVectorError: It is not one-dimensional, holds NaN or infinity (also after rounding to float32), or is
            zero under the cosine metric.
    """
    if type(query) is np.ndarray and query.dtype == np.float32 and query.shape == (dimension,):
        vector = np.ascontiguousarray(query)
        with np.errstate(over="ignore", invalid="ignore"):
            square = float(np.dot(vector, vector))
        if math.isfinite(square) and square > 0.0:
            return vector  # any ordinary query: one pass settles all checks
    given = np.asarray(query)
    if given.ndim != 1 or given.dtype.kind not in "fiub":
        raise InvalidVectorError(
            f"The query has shape {given.shape} and type {given.dtype}",
            fix="Give one vector of numbers.",
            value=given.shape,
        )
    if given.shape[0] != dimension:
        raise DimensionMismatchError(
            f"The query has {given.shape[0]} numbers but the collection has {dimension} dimensions",
            fix=f"Give a vector of {dimension} numbers.",
            value=given.shape[0],
        )
    with np.errstate(over="ignore", invalid="ignore"):
        vector = np.ascontiguousarray(given, dtype=np.float32)
        square = float(vector @ vector)
    if not math.isfinite(square) and not np.isfinite(vector).all():
        at = int(np.flatnonzero(~np.isfinite(vector))[0])
        raise InvalidVectorError(
            f"The query holds {given[at]} at position {at}",
            fix="Replace NaN, infinity and numbers beyond float32 before searching.",
            value=float(given[at]),
        )
    if square == 0.0 and metric is Metric.COSINE and not vector.any():
        raise InvalidVectorError(
            "The query is the zero vector, which has no direction for the cosine metric",
            fix="Give a vector with a non-zero number, or use a collection with metric l2 or ip.",
            value=0.0,
        )
    return vector


def exact_top_k(
    query: NDArray[np.float32],
    vectors: StoredVectors,
    top_k: int,
    metric: Metric,
    norms: NDArray[np.float32] | None = None,
    rows: NDArray[np.int64] | NDArray[np.bool_] | None = None,
) -> Ranked:
    """The best rows among all, or among some, found by comparing with each of them.

    Args:
        query: float32 of shape (d,), finite; see :func:`check_query`.
        vectors: Of shape (n, d), in any type that a collection keeps, finite, rows contiguous; a memory map will do.
        top_k: How many, at least 1.
        metric: Decides score and order.
        norms: float32 of shape (n,), positive; required by the cosine metric and ignored by the others.
        rows: int64 positions (distinct, any order), or a mask of shape (n,). ``None`` means all rows.

    Returns:
        ``min(top_k, number of rows)`` rows ordered by float64 score, equal scores by position. Cost: O(rows · d).

    Raises:
        InvalidArgumentError: ``top_k`` below 1, norms missing, or a mask or array of the wrong shape.
        InvalidVectorError: The query is unusable.
    """
    q, chosen = _checked(query, vectors, top_k, metric, norms, rows)
    count = vectors.shape[0] if chosen is None else chosen.shape[0]
    if count == 0:
        return EMPTY
    if count <= top_k:
        kept = np.arange(count, dtype=np.int64) if chosen is None else chosen
    elif _by_compiled_code(count * vectors.shape[1]):
        from storage_engine.vectors import kernels

        bounds = error_factor(vectors.shape[1]), tiny(vectors.shape[1])
        kept = kernels.scan(q, vectors, top_k, metric, norms, chosen, *bounds)
        return rank(kept, kernels.score_rows(q, vectors, metric, norms, kept), top_k, metric)
    else:
        with compiled_code.measured():
            kept = _candidates(q, vectors, top_k, metric, norms, chosen)
    return rank(kept, score_rows(q, vectors, metric, norms, kept), top_k, metric)


def score_rows(
    query: NDArray[np.float32],
    vectors: StoredVectors,
    metric: Metric,
    norms: NDArray[np.float32] | None = None,
    rows: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """THE score of rows: what a search reports, whichever road found them.

    Args:
        query: float32 of shape (d,).
        vectors: Of shape (n, d), in any type that a collection keeps.
        metric: See :class:`storage_engine.schema.Metric`.
        norms: float32 of shape (n,) for the cosine metric: score = ⟨q, x⟩ / (|q| · norm), where a result within
            rounding of ±1 is ±1.
        rows: Positions to score; ``None`` means all.

    Returns:
        float64 of shape (rows,), each independent of which other rows are scored with it.
    """
    count = vectors.shape[0] if rows is None else rows.shape[0]
    wide = query.astype(np.float64)
    sums = np.empty(count, np.float64)
    step = max(1, _BLOCK_NUMBERS // max(1, vectors.shape[1]))
    for start in range(0, count, step):
        part = slice(start, min(start + step, count))
        block = (vectors[part] if rows is None else vectors[rows[part]]).astype(np.float64)
        if metric is Metric.L2:
            np.subtract(block, wide, out=block)
            np.multiply(block, block, out=block)
        else:
            np.multiply(block, wide, out=block)
        sums[part] = _lane_sum(block)
    if metric is Metric.L2:
        return np.sqrt(sums, out=sums)
    if metric is Metric.IP:
        return sums
    if norms is None:
        raise InvalidArgumentError("The cosine metric needs the norms of the rows", fix="Pass norms.")
    length = np.sqrt(_lane_sum((wide * wide)[None, :])[0])
    scores: NDArray[np.float64] = sums / (length * (norms if rows is None else norms[rows]).astype(np.float64))
    rounding = (np.abs(scores) > 1.0) & (np.abs(scores) <= _SLIGHTLY_ABOVE_ONE)
    scores[rounding] = np.sign(scores[rounding])
    return scores


def score_all(
    query: NDArray[np.float32],
    vectors: StoredVectors,
    metric: Metric,
    norms: NDArray[np.float32] | None,
    rows: NDArray[np.int64],
) -> NDArray[np.float64]:
    """What :func:`score_rows` gives, for many rows: by compiled code where it is there or worth loading."""
    if _by_compiled_code(4 * rows.shape[0] * vectors.shape[1]):  # float64 takes several times as long
        from storage_engine.vectors import kernels

        return kernels.score_rows(query, vectors, metric, norms, rows)
    with compiled_code.measured():
        return score_rows(query, vectors, metric, norms, rows)


def rank(positions: NDArray[np.int64], scores: NDArray[np.float64], top_k: int, metric: Metric) -> Ranked:
    """The best ``top_k`` in order: l2 ascending, cosine and ip descending, equal scores by position."""
    order = np.lexsort((positions, scores if metric is Metric.L2 else -scores))[:top_k]
    return Ranked(positions[order].astype(np.int64, copy=False), scores[order])


def merge(parts: Sequence[tuple[int, Ranked]], top_k: int, metric: Metric) -> Ranked:
    """One answer from several disjoint pieces.

    Args:
        parts: For each piece the number to add to its positions, and its own best rows.
        top_k: How many to keep.
        metric: Decides the order.

    Returns:
        The same as one search over all pieces, if each piece gave its best ``top_k``.
    """
    if not parts:
        return EMPTY
    if len(parts) == 1 and parts[0][1].positions.shape[0] <= top_k:
        offset, only = parts[0]
        return Ranked(only.positions + offset, only.scores)
    positions = np.concatenate([ranked.positions + offset for offset, ranked in parts])
    return rank(positions, np.concatenate([ranked.scores for _, ranked in parts]), top_k, metric)


def error_factor(dimension: int) -> float:
    """γ: error of a float32 sum of ``dimension`` products in any order, relative to the computed sum of magnitudes."""
    steps = (dimension + 4) * _UNIT
    return steps / (1.0 - 2.0 * steps)  # γ / (1 − γ): the bound is on the true value, we hold the computed one


def tiny(dimension: int) -> float:
    """The absolute error that underflow can add to a float32 sum of ``dimension`` products."""
    return (dimension + 4) * _SMALLEST_NORMAL


def _by_compiled_code(numbers: int) -> bool:
    """Whether compiled code is to compare so many numbers; the answer is the same."""
    return compiled_code.process.use(_SECONDS_A_NUMBER * numbers)


def _checked(
    query: NDArray[np.float32],
    vectors: StoredVectors,
    top_k: int,
    metric: Metric,
    norms: NDArray[np.float32] | None,
    rows: NDArray[np.int64] | NDArray[np.bool_] | None,
) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
    if top_k < 1:
        raise InvalidArgumentError(f"top_k is {top_k}", fix="Ask for at least one row.", value=top_k)
    if vectors.ndim != 2 or not is_stored_type(vectors):
        raise InvalidArgumentError(
            f"Rows of type {vectors.dtype} and shape {vectors.shape} cannot be searched",
            fix="Give a float32, float16 or int8 array of shape (rows, dimension).",
        )
    n = vectors.shape[0]
    if metric is Metric.COSINE and (norms is None or norms.shape != (n,)):
        raise InvalidArgumentError(
            f"The cosine metric needs one norm for each of the {n} rows", fix="Pass norms of shape (rows,)."
        )
    q = check_query(query, vectors.shape[1], metric)
    if rows is None:
        return q, None
    if rows.dtype == np.bool_:
        if rows.shape != (n,):
            raise InvalidArgumentError(
                f"The mask has shape {rows.shape} for {n} rows", fix="Give one flag a row.", value=rows.shape
            )
        return q, np.flatnonzero(rows)
    chosen = rows.astype(np.int64, copy=False)
    if chosen.size and (int(chosen.min()) < 0 or int(chosen.max()) >= n):
        raise InvalidArgumentError(
            f"A position is outside the {n} rows", fix="Give positions from 0 to rows - 1.", value=int(chosen.max())
        )
    return q, chosen


def _candidates(
    q: NDArray[np.float32],
    vectors: StoredVectors,
    top_k: int,
    metric: Metric,
    norms: NDArray[np.float32] | None,
    rows: NDArray[np.int64] | None,
) -> NDArray[np.int64]:
    """Positions that may be among the best ``top_k``: all whose lower end reaches the k-th smallest upper end."""
    count = vectors.shape[0] if rows is None else rows.shape[0]
    dimension = vectors.shape[1]
    lower, upper = np.empty(count), np.empty(count)
    step = max(1, _BLOCK_NUMBERS // max(1, dimension))
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, count, step):
            part = slice(start, min(start + step, count))
            block = as_float32(vectors[part] if rows is None else vectors[rows[part]])
            if metric is Metric.L2:
                difference = block - q
                value = np.einsum("ij,ij->i", difference, difference).astype(np.float64)
                error = error_factor(dimension) * value + tiny(dimension)
            else:
                value = -(block @ q).astype(np.float64)
                squares = np.einsum("ij,ij->i", block, block).astype(np.float64)
                error = _product_error(squares, q, dimension)
                if metric is Metric.COSINE and norms is not None:
                    scale = 1.0 / (norms[part] if rows is None else norms[rows[part]]).astype(np.float64)
                    value, error = value * scale, error * scale * (1.0 + 1e-12)
            lower[part], upper[part] = value - error, value + error
    unbounded = ~(np.isfinite(lower) & np.isfinite(upper))  # float32 overflowed: such rows are always scored
    lower[unbounded], upper[unbounded] = -np.inf, np.inf
    bar = np.partition(upper, top_k - 1)[top_k - 1]
    kept = np.flatnonzero(lower <= bar)
    return kept if rows is None else rows[kept]


def _product_error(squares: NDArray[np.float64], q: NDArray[np.float32], dimension: int) -> NDArray[np.float64]:
    """Bound of |float32 inner product − true|: γ·Σ|x_j q_j| ≤ γ·|x|·|q|, with room for the rounding of |x|² itself."""
    gamma = error_factor(dimension)
    length = float(np.sqrt(np.square(q.astype(np.float64)).sum()))
    return gamma * np.sqrt(squares * (1.0 + 2.0 * gamma) + tiny(dimension)) * length * 1.0001 + tiny(dimension)


def _lane_sum(terms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of rows in the fixed order: lane j adds terms j, j + 64, …; then lanes fold by halves.

    Written as a loop over blocks on purpose: the order of additions inside ``np.sum`` is NumPy's own business.
    """
    count, dimension = terms.shape
    lanes = np.zeros((count, LANES), np.float64)
    whole = dimension - dimension % LANES
    for start in range(0, whole, LANES):
        lanes += terms[:, start : start + LANES]
    lanes[:, : dimension - whole] += terms[:, whole:]
    half = LANES // 2
    while half:
        lanes[:, :half] += lanes[:, half : 2 * half]
        half //= 2
    return lanes[:, 0].copy()
