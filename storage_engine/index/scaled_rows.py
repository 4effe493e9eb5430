"""Rows as a graph compares them: float32 numbers, under cosine divided by their norms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from storage_engine.errors import InvalidVectorError
from storage_engine.vectors.types import StoredVectors, as_float32

_BLOCK_NUMBERS = 1 << 18  # numbers a pass takes at once, so that the next operation finds them in cache
_UNIT = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class ScaledRows:
    """Stored rows and what they are divided by.

    Args:
        vectors: Of shape (n, d), in any type that a collection keeps; may be a memory map.
        norms: float32 of shape (n,); ``None``: rows are compared as they are.
    """

    vectors: StoredVectors
    norms: NDArray[np.float32] | None

    def some(self, rows: NDArray[np.int64] | slice) -> NDArray[np.float32]:
        """The numbers of some rows: float32 of shape (m, d), contiguous."""
        block = np.ascontiguousarray(as_float32(self.vectors[rows]))
        return block if self.norms is None else block / self.norms[rows, None]

    def whole(self) -> NDArray[np.float32]:
        """The numbers of all rows, float32 of shape (n, d), contiguous; no copy of float32 rows without norms."""
        if self.norms is None:
            return np.ascontiguousarray(as_float32(self.vectors))
        numbers = np.empty(self.vectors.shape, np.float32)
        for part in self._parts():
            numbers[part] = self.some(part)
        return numbers

    def check(self) -> bool:
        """Look at every number once.

        Returns:
            Whether rows were divided by norms and all have length one now: nearness by product is nearness then.

        Raises:
            InvalidVectorError: NaN or infinity among the numbers.
        """
        unit = self.norms is not None
        for part in self._parts():
            block = self.some(part)
            if not np.isfinite(block).all():
                raise InvalidVectorError(
                    f"One of the rows {part.start} to {part.stop - 1} holds NaN or infinity",
                    fix="Only finite rows can be connected.",
                    value=part.start,
                )
            if unit:
                with np.errstate(over="ignore"):
                    squares = np.einsum("ij,ij->i", block, block)
                unit = bool((np.abs(squares - 1) <= 2 * _UNIT).all())
        return unit

    def _parts(self) -> Iterator[slice]:
        n, d = self.vectors.shape
        step = max(1, _BLOCK_NUMBERS // d)
        return (slice(start, min(start + step, n)) for start in range(0, n, step))
