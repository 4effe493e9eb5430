"""What holds of the operations that resolution hands to the log and to ``apply``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from storage_engine.batch import PutRows
from storage_engine.vectors.types import StoredVectors


def whole(put: PutRows) -> tuple[StoredVectors, NDArray[np.float32]]:
    """Vectors, in the type of their collection, and norms of resolved rows, which always have both.

    Raises:
        ValueError: The rows were not resolved: a defect of the program, or a log record that no writer made.
    """
    if put.vectors is None or put.norms is None:
        raise ValueError(f"rows of collection {put.collection} are not whole")
    return put.vectors, put.norms
