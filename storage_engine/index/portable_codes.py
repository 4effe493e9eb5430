"""The arithmetic of codes in NumPy, equal to the compiled one in :mod:`storage_engine.index.code_kernel`.

A dot product of codes and a rounded query is a whole number below 2³¹, so float64 holds it exactly whatever the order
of summation, and what follows is the same few float32 operations: the values that a walk orders by are the same bits.
The codes of a row are, too: their float64 sums run in order of the dimensions here as there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from storage_engine.index.codes import CodeScale, stride_of, terms_at

MOST = np.float32(32_767)
LARGEST_SUM = (2**31 - 1) / 255
UNIT32 = 2.0**-23
TINY = 2.0**-120
SUMS = 1e-12
SCORES = 2.0**-22
"""As :mod:`storage_engine.index.code_kernel` has and explains them; a test compares."""

CodesOf = Callable[[NDArray[np.int64]], NDArray[np.uint8]]
"""The rows of codes with given numbers, uint8 of shape (m, stride)."""


@dataclass(frozen=True, slots=True, eq=False)
class RoundedQuery:
    """A query as whole numbers for codes.

    Args:
        weights: float64 of shape (stride,), whole numbers within ±``MOST``; zero for the places of terms and padding.
        factor: float32 that products are multiplied by.
        terms: Where in a row of codes its terms begin.
    """

    weights: NDArray[np.float64]
    factor: np.float32
    terms: int

    def products(self, codes: NDArray[np.uint8]) -> NDArray[np.float64]:
        """``Σ c_j w_j`` of rows of codes, shape (m,): exact."""
        products: NDArray[np.float64] = codes.astype(np.float64) @ self.weights
        return products

    def values(self, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What a walk orders by, smaller is nearer, less a constant of the query: float32 of shape (m,)."""
        own = row_terms(codes, self.terms)[:, 0]
        values: NDArray[np.float32] = own + self.factor * self.products(codes).astype(np.float32)
        return values


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far the value of codes can be from the truth; the fields of ``code_kernel.code_bounds``."""

    constant: float
    error: float
    relative: float
    length: float
    blur: float


def row_terms(codes: NDArray[np.uint8], terms: int) -> NDArray[np.float32]:
    """The two float32 terms of rows of codes, shape (m, 2)."""
    return np.ascontiguousarray(codes[:, terms : terms + 8]).view(np.float32)


def rounded_query(query: NDArray[np.float32], scale: CodeScale, euclidean: bool) -> RoundedQuery:
    """The query for codes of a scaling, float32 of shape (d,)."""
    with np.errstate(over="ignore", invalid="ignore"):
        weights = scale.step * (query - scale.low if euclidean else query)
        sizes = np.abs(weights)
        total = np.add.accumulate(sizes, dtype=np.float32)[-1]  # one after the other, like the compiled loop
        unit = max(sizes.max() / MOST, total * np.float32(1.001 / (LARGEST_SUM - 4_096)), np.float32(1e-30))
        nearest = np.floor(weights * (np.float32(1.0) / unit) + np.float32(0.5))
    whole = np.zeros(stride_of(query.shape[0]), np.float64)
    whole[: query.shape[0]] = np.nan_to_num(np.clip(nearest, -MOST, MOST))
    return RoundedQuery(whole, np.float32(-unit - unit if euclidean else -unit), terms_at(query.shape[0]))


def code_bounds(
    query: NDArray[np.float32], scale: CodeScale, rounded: RoundedQuery, euclidean: bool, cosine: bool
) -> Bounds | None:
    """See ``code_kernel.code_bounds``; ``None`` where numbers are too large for rigorous intervals."""
    asked = query.astype(np.float64)
    low, step = scale.low.astype(np.float64), scale.step.astype(np.float64)
    factor = float(rounded.factor)
    unit = -0.5 * factor if euclidean else -factor
    with np.errstate(over="ignore", invalid="ignore"):
        length = float(np.sqrt(np.square(asked).sum()))
        from_low = asked - low if euclidean else asked
        terms = np.square(from_low) if euclidean else asked * low
        weights = step * from_low
        delta = weights - unit * rounded.weights[: query.shape[0]]
        middle = 127.5 * float(delta.sum())
        half = 127.5 * float(np.abs(delta).sum()) + 255.0 * SUMS * float(np.abs(weights).sum())
        reach = float(np.sqrt(np.square(np.maximum(np.abs(low), np.abs(low + 255.0 * step))).sum()))
        constant, magnitude = float(terms.sum()), float(np.abs(terms).sum())
        if not (np.isfinite(constant + half + reach * length) and np.isfinite(factor)):
            return None
    room = SUMS * (magnitude + 2.0**32 * unit) + TINY
    if euclidean:
        return Bounds(constant - 2.0 * middle, 2.0 * half + room, UNIT32, 1.0 + SUMS, SUMS * reach + TINY)
    loss = SUMS + (SCORES if cosine else 0.0)
    blur = SUMS * reach * length + loss * length + TINY
    return Bounds(-(constant + middle), half + room, 0.0, length * (1.0 + SUMS), blur)


def encode_rows(
    vectors: NDArray[np.float32], norms: NDArray[np.float32] | None, scale: CodeScale, euclidean: bool
) -> NDArray[np.uint8]:
    """Codes and terms of float32 rows, divided by their norms if there are any: uint8 of shape (m, stride).

    The same bytes as ``code_kernel.encode_rows`` writes.
    """
    m, d = vectors.shape
    codes = np.zeros((m, stride_of(d)), np.uint8)
    one = np.float32(1.0)
    numbers = vectors if norms is None else vectors / norms[:, None]
    code = np.clip(np.floor((numbers - scale.low) * (one / scale.step) + np.float32(0.5)), 0.0, 255.0)
    codes[:, :d] = code
    part = code.astype(np.float64) * scale.step.astype(np.float64)
    wide = vectors.astype(np.float64)
    if norms is not None:
        wide /= norms.astype(np.float64)[:, None]
    left = wide - (scale.low.astype(np.float64) + part)
    length = np.sqrt(_in_order(left * left)) * (1.0 + SUMS)
    lost = length.astype(np.float32)
    up = np.maximum(lost * np.float32(1.0 + 2.0**-23), lost + np.float32(1e-45))
    terms = np.zeros((m, 2), np.float32)
    if euclidean:
        terms[:, 0] = _in_order(part * part)
    terms[:, 1] = np.where(lost.astype(np.float64) < length, up, lost)
    at = terms_at(d)
    codes[:, at : at + 8] = terms.view(np.uint8)
    return codes


def _in_order(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of rows, one number after the other: ``np.sum`` would choose an order of its own."""
    total: NDArray[np.float64] = np.add.accumulate(numbers, axis=1)[:, -1]
    return total
