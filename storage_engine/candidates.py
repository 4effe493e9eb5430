"""What a search over a collection gives."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from storage_engine.index.planner import Strategy


class Candidates(NamedTuple):
    """Rows found by a search, best first.

    Attributes:
        slots: int64, shape (m,).
        scores: float32, shape (m,), as :class:`storage_engine.schema.Metric` defines them.
        strategy: How they were found: ``exact``, ``graph``, ``masked_graph`` or ``exact_rows``.
        reason: Why in that way, for people.
    """

    slots: NDArray[np.int64]
    scores: NDArray[np.float32]
    strategy: Strategy
    reason: str = ""
