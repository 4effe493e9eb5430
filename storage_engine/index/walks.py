"""What searching a graph gives, compiled or in NumPy: the same answers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from storage_engine.vectors.distance import Ranked


class Walk(NamedTuple):
    """What a walk found.

    Attributes:
        ranked: At most ``top_k`` rows in order, with final scores.
        exhausted: The budget ended the walk; the rows are no answer.
        compared: With how many rows the query was compared.
        met: Under a mask with ``enough``, how many rows the walk had met when it looked back; otherwise meaningless.
        matched: How many of those matched.
        note: What people should know about how it was done; empty for a walk in compiled code.
    """

    ranked: Ranked
    exhausted: bool
    compared: int
    met: int = 0
    matched: int = 0
    note: str = ""


class Scan(NamedTuple):
    """What a comparison with given rows found: exact.

    Attributes:
        ranked: The best rows in order, with final scores.
        read: int64, all rows whose float32 numbers were read.
        note: As for :class:`Walk`.
    """

    ranked: Ranked
    read: NDArray[np.int64]
    note: str = ""
