"""How wide a walk must be for a promised recall, and how far it then goes: curves that were measured.

Who measures them: :mod:`storage_engine.index.recall_measuring` for walks through all rows,
:mod:`storage_engine.index.filter_building` for walks through the values of a column.
"""

from __future__ import annotations

import functools
import math
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EFS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
"""Widths that are tried, until one is as good as can be."""

TOPS = (10, 100)
"""For so many rows wanted."""

_AS_GOOD = 0.002
_GROWTH = (0.6, 1.0)  # beyond what was measured, rows grow with this power of the width at least, and at most


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """What was measured.

    Args:
        recall: float32 of shape (len(TOPS), len(EFS)): lower 95 % confidence limits of the mean recall. NaN where a
            width was not tried.
        compared: float32 of the same shape: rows that a walk compared with, on average.

    Raises:
        ValueError: Wrong shapes.
    """

    recall: NDArray[np.float32]
    compared: NDArray[np.float32]

    def __post_init__(self) -> None:
        for array in (self.recall, self.compared):
            if array.shape != (len(TOPS), len(EFS)) or array.dtype != np.float32:
                raise ValueError(f"a calibration of {array.dtype} {array.shape}")
            array.flags.writeable = False

    def ef_for(self, recall: float, top_k: int) -> int | None:
        """The least measured width that keeps a promise, or ``None`` where none does.

        Args:
            recall: Wanted on average, above 0 and below 1.
            top_k: Up to 10 and up to 100 rows go by what was measured for 10 and 100; more rows need a width that
                grows with them.
        """
        measured = self.recall[_series(top_k)]
        with np.errstate(invalid="ignore"):
            good = np.flatnonzero(measured >= recall)
        return _for_rows(EFS[good[0]], top_k) if good.size else None

    def best_ef(self, top_k: int) -> int | None:
        """The least measured width beyond which walks hardly get better; ``None`` where none was measured."""
        measured = self.recall[_series(top_k)]
        if np.isnan(measured).all():
            return None
        return self.ef_for(float(np.nanmax(measured)) - _AS_GOOD, top_k)

    def rows_compared(self, width: float, least: int = 0) -> float | None:
        """About how many rows a walk compares with.

        Between measured widths on straight lines; beyond the last by the power of the width by which the rows grew
        last, at least 0.6 and at most 1.

        Args:
            width: How many candidates the walk keeps.
            least: How many every walk for ``TOPS[-1]`` rows keeps: whatever width was measured below it is this one.

        Returns:
            ``None`` where nothing was measured.
        """
        widths, rows = _reach(self, least)
        if not widths:
            return None
        at = bisect_left(widths, width)
        if at == 0:
            return rows[0]
        before, fewer = widths[max(0, at - 2)], rows[max(0, at - 2)]
        if at < len(widths):
            before, fewer = widths[at - 1], rows[at - 1]
            return fewer + (rows[at] - fewer) * (width - before) / (widths[at] - before)
        growth = math.log(rows[-1] / fewer) / math.log(widths[-1] / before) if len(widths) > 1 else _GROWTH[1]
        return float(rows[-1] * (width / widths[-1]) ** min(max(growth, _GROWTH[0]), _GROWTH[1]))


@functools.lru_cache(maxsize=64)
def _reach(known: Calibration, least: int) -> tuple[list[int], list[float]]:
    """Widths, ascending, and rows compared at each: what was tried for few rows, and wider ones for many."""
    few, many = known.compared.tolist()
    tried = [(ef, rows) for ef, rows in zip(EFS, few, strict=True) if rows > 0]
    for ef, rows in zip(EFS, many, strict=True):
        if rows > 0 and (not tried or max(ef, least) > tried[-1][0]):
            tried.append((max(ef, least), rows))
    return [ef for ef, _ in tried], [rows for _, rows in tried]


def _series(top_k: int) -> int:
    return 0 if top_k <= TOPS[0] else 1


def _for_rows(ef: int, top_k: int) -> int:
    return ef if top_k <= TOPS[1] else math.ceil(ef * top_k / TOPS[1])
