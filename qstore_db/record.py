"""One stored row as its owner gets it back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Record:
    """A row of a collection.

    Args:
        id: Its id.
        vector: float32 of shape (dimension,), bit for bit as it was written; for a state, the expected vector
            Σ p_c v_c/|v_c| that plain search ranks.
        metadata: Column name to value; ``None`` where the row has none.
        vectors: For a state: the vector of each context, bit for bit as it was written. Empty otherwise.
        probabilities: For a state: the probability of each context, in the same order. Empty otherwise.
        coherence_time: For a state: seconds, possibly infinite. ``None`` otherwise.
    """

    id: str
    vector: NDArray[np.float32]
    metadata: Mapping[str, Any]
    vectors: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    probabilities: Mapping[str, float] = field(default_factory=dict)
    coherence_time: float | None = None
