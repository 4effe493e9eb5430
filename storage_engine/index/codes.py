"""Rows as bytes for the walk: a quarter of the memory traffic, integer arithmetic, and a measured promise.

A number ``x_j`` becomes ``c_j = round((x_j - low_j) / step_j)`` in 0 … 255. Up to a constant of the query

    |x - q|²  ≈  Σ (step_j c_j)² - 2 Σ c_j step_j (q_j - low_j)        -⟨x, q⟩  ≈  - Σ c_j step_j q_j

so both metrics are one integer dot product with a rounded query; the first sum is kept with the row. The walk orders
by this and re-scores the best in float64 from the float32 rows: codes change which rows are looked at, never a score.
With each row stands how far it is from what its codes stand for, never too little, so that comparing by codes can be
proven exact (:mod:`storage_engine.index.scan_kernel`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from storage_engine import compiled_code
from storage_engine.schema import Metric
from storage_engine.vectors.distance import exact_top_k, score_rows
from storage_engine.vectors.types import StoredVectors, as_float32

MIN_DIMENSION = 32  # below, a float32 row takes hardly more cache lines than its codes, and has few bits to lose
MAX_DIMENSION = 4_096  # beyond, a 16-bit query times 8-bit codes would leave 32 bits unless rounded too roughly
NEIGHBOURS = 10
WITHIN = 20
QUERIES = 32
ENOUGH = 0.99
P = TypeVar("P")
R = TypeVar("R")
_BLOCK_NUMBERS = 1 << 17  # numbers a pass takes at once: a megabyte in float64, so that the next pass finds it in cache


@dataclass(frozen=True, slots=True, eq=False)
class CodeScale:
    """What codes stand for.

    Args:
        low: float32 of shape (d,): what code 0 stands for in each dimension.
        step: float32 of shape (d,), positive: how much one more stands for.

    Raises:
        ValueError: Shapes do not fit together.
    """

    low: NDArray[np.float32]
    step: NDArray[np.float32]

    def __post_init__(self) -> None:
        d = self.low.shape[0]
        if not 1 <= d <= MAX_DIMENSION or self.step.shape != (d,):
            raise ValueError(f"{self.step.shape[0]} steps for {d} dimensions")
        for array in (self.low, self.step):
            array.flags.writeable = False

    @property
    def dimension(self) -> int:
        """Numbers a row."""
        return int(self.low.shape[0])


@dataclass(frozen=True, slots=True, eq=False)
class Codes:
    """Rows as bytes.

    Args:
        low: float32 of shape (d,): what code 0 stands for in each dimension.
        step: float32 of shape (d,), positive: how much one more stands for.
        rows: uint8 of shape (n, stride), stride a multiple of 64: d codes, then at the next multiple of 4 two float32:
            Σ (step_j c_j)² (0 unless the metric is l2) and the length of what rounding lost, rounded up; zeros.

    Raises:
        ValueError: Shapes do not fit together.
    """

    low: NDArray[np.float32]
    step: NDArray[np.float32]
    rows: NDArray[np.uint8]

    def __post_init__(self) -> None:
        d = self.low.shape[0]
        if not 1 <= d <= MAX_DIMENSION or self.step.shape != (d,) or self.rows.shape[1] != stride_of(d):
            raise ValueError(f"codes of {self.rows.shape[1]} bytes and {self.step.shape[0]} steps for {d} dimensions")
        for array in (self.low, self.step, self.rows):
            array.flags.writeable = False

    @property
    def dimension(self) -> int:
        """Numbers a row."""
        return int(self.low.shape[0])

    @property
    def scale(self) -> CodeScale:
        """What they stand for."""
        return CodeScale(self.low, self.step)

    @property
    def lost(self) -> NDArray[np.float32]:
        """float32 of shape (n,): the distance of each row from what its codes stand for."""
        at = terms_at(self.dimension)
        return self.rows[:, at + 4 : at + 8].copy().view(np.float32)[:, 0]


def terms_at(dimension: int) -> int:
    """Where in a row of codes its two float32 terms begin."""
    return -(-dimension // 4) * 4


def stride_of(dimension: int) -> int:
    """Bytes a row of codes: codes and terms, padded to whole cache lines."""
    return -(-(terms_at(dimension) + 8) // 64) * 64


def encode(
    vectors: StoredVectors, norms: NDArray[np.float32] | None, euclidean: bool, seed: int, threads: int = 1
) -> Codes | None:
    """Codes of rows, if they are good enough to find neighbours by.

    Two scalings are tried, one step for all dimensions (exact for images of bytes) and one for each (for dimensions of
    different ranges). For some rows as queries the true 10 nearest among all rows are compared with the 20 nearest by
    codes; the scaling that keeps more of them wins.

    Args:
        vectors: Of shape (n, d), finite, in any type that a collection keeps.
        norms: float32 of shape (n,): rows are divided by them first; ``None`` means they are not.
        euclidean: Whether the walk orders by distance, or by inner product.
        seed: Chooses the queries.
        threads: Share the work; the codes do not depend on them.

    Returns:
        The codes, or ``None`` where both scalings lose more than one neighbour in a hundred, d is outside
        ``MIN_DIMENSION`` … ``MAX_DIMENSION``, or the numbers are too large or too close together for float32 steps.
    """
    n, d = vectors.shape
    if not MIN_DIMENSION <= d <= MAX_DIMENSION:
        return None
    low, high = _ranges(vectors, norms)
    queries = _scaled(vectors, norms, np.sort(np.random.default_rng(seed).choice(n, min(n, QUERIES), replace=False)))
    best: Codes | None = None
    kept = ENOUGH
    for shared in (True, False):
        if kept == 1.0:
            break
        bottom = np.full(d, low.min()) if shared else low
        span = np.full(d, high.max() - low.min()) if shared else high - low
        with np.errstate(over="ignore"):
            step = (np.where(span > 0, span, 1.0) / 255).astype(np.float32)
        if not (np.isfinite(step).all() and (step > 1e-30).all() and (step < 1e15).all()):
            continue
        codes = encoded(vectors, norms, CodeScale(bottom.astype(np.float32), step), euclidean, threads)
        share = _share_found(codes, vectors, norms, queries, euclidean, threads)
        if share > kept or (best is None and share >= kept):
            best, kept = codes, share
    return best


def _scaled(
    vectors: StoredVectors, norms: NDArray[np.float32] | None, rows: slice | NDArray[np.int64]
) -> NDArray[np.float32]:
    block = as_float32(vectors[rows])
    return block if norms is None else block / norms[rows, None]


def _parts(n: int, d: int) -> Iterator[slice]:
    step = max(1, _BLOCK_NUMBERS // d)
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def _ranges(
    vectors: StoredVectors, norms: NDArray[np.float32] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least and largest number of each dimension."""
    low, high = np.full(vectors.shape[1], np.inf), np.full(vectors.shape[1], -np.inf)
    for part in _parts(*vectors.shape):
        block = _scaled(vectors, norms, part)
        np.minimum(low, block.min(axis=0), out=low)
        np.maximum(high, block.max(axis=0), out=high)
    return low, high


def encoded(
    vectors: StoredVectors, norms: NDArray[np.float32] | None, scale: CodeScale, euclidean: bool, threads: int = 1
) -> Codes:
    """The codes of rows in a given scaling: the same bytes whenever and wherever they are computed.

    Args:
        vectors: As for :func:`encode`.
        norms: As for :func:`encode`.
        scale: What codes stand for.
        euclidean: As for :func:`encode`.
        threads: As for :func:`encode`.
    """
    n, d = vectors.shape
    rows = np.zeros((n, stride_of(d)), np.uint8)
    divisors = np.empty(0, np.float32) if norms is None else np.ascontiguousarray(norms)
    compiled = compiled_code.process.load()

    def write(part: slice) -> None:
        block = as_float32(vectors[part])
        if compiled:
            from storage_engine.index import code_kernel

            code_kernel.encode_rows(block, divisors[part], scale.low, scale.step, euclidean, terms_at(d), rows[part])
        else:
            from storage_engine.index import portable_codes

            own = None if norms is None else divisors[part]
            rows[part] = portable_codes.encode_rows(block, own, scale, euclidean)

    _shared(write, _parts(n, d), threads)
    return Codes(scale.low, scale.step, rows)


def _share_found(
    codes: Codes,
    vectors: StoredVectors,
    norms: NDArray[np.float32] | None,
    queries: NDArray[np.float32],
    euclidean: bool,
    threads: int,
) -> float:
    """Of the nearest ``NEIGHBOURS`` of each query, the share that ``WITHIN`` by codes matches; ties count as found."""
    n = vectors.shape[0]
    metric = Metric.L2 if euclidean else Metric.IP if norms is None else Metric.COSINE
    wanted, within = min(NEIGHBOURS, n), min(WITHIN, n)
    if metric is Metric.COSINE:
        queries = queries[queries.any(axis=1)]  # zero rows, which norms of their own permit, ask for nothing

    def found(query: NDArray[np.float32]) -> int:
        bar = exact_top_k(query, vectors, wanted, metric, norms).scores[-1]
        near = np.argpartition(_all_values(query, codes, euclidean), within - 1)[:within]
        scores = score_rows(query, vectors, metric, norms, near)
        good = scores <= bar if euclidean else scores >= bar
        return int(min(wanted, np.count_nonzero(good)))

    total = sum(_shared(found, queries, threads))
    return total / (wanted * len(queries)) if len(queries) else 1.0


def _shared(work: Callable[[P], R], parts: Iterable[P], threads: int) -> list[R]:
    """The results for all parts, in order; one thread is this one, which may be loading compiled code right now."""
    if threads == 1:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(threads, "qstore-encode") as pool:
        return list(pool.map(work, parts))


def _all_values(query: NDArray[np.float32], codes: Codes, euclidean: bool) -> NDArray[np.float32]:
    """What a walk orders by, of every row: float32 of shape (n,)."""
    n, stride = codes.rows.shape
    values = np.empty(n, np.float32)
    if compiled_code.process.load():
        from storage_engine.index import code_kernel

        rounded = np.zeros(32 + stride, np.int16)
        terms = terms_at(codes.dimension)
        code_kernel.all_values(query, codes.low, codes.step, euclidean, terms, codes.rows, rounded, values)
    else:
        from storage_engine.index import portable_codes

        asked = portable_codes.rounded_query(query, codes.scale, euclidean)
        for part in _parts(n, stride):
            values[part] = asked.values(codes.rows[part])
    return values
