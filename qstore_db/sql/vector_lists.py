"""Lists of numbers, as SQL passes vectors, to matrices."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def lengths(vectors: pa.Array) -> NDArray[np.int64]:
    """How many numbers each list holds, (n,); the lists are not null."""
    if isinstance(vectors, pa.FixedSizeListArray):
        return np.full(len(vectors), vectors.type.list_size)
    return np.asarray(vectors.value_lengths().to_numpy(zero_copy_only=False), dtype=np.int64)


def matrix(vectors: pa.Array, dimension: int) -> NDArray[np.float32]:
    """Lists of one length as float32 (n, dimension); a null inside a list becomes NaN."""
    flat = vectors.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat, dtype=np.float32).reshape(len(vectors), dimension)
