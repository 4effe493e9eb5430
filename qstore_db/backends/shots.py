"""Shots from exact probabilities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qstore_db.backends.result import Counts
from qstore_db.simulation.sampling import sample_counts


def counts_of(probabilities: NDArray[np.float64], shots: int, seed: int | None) -> tuple[Counts, ...]:
    """Independent measurements of all qubits, row after row from one generator.

    Args:
        probabilities: Shape (samples, 2^n), each row summing to 1 up to rounding.
        shots: For every sample.
        seed: Of a PCG-64 generator; ``None`` takes fresh randomness from the operating system.

    Returns:
        One for each row, outcomes ascending. Equal arguments with a seed give equal counts. Cost 2^n + shots a row, and
        2^n for more than a million shots: see :func:`~qstore_db.simulation.sampling.sample_counts`.
    """
    generator = np.random.default_rng(seed)
    n_qubits = probabilities.shape[1].bit_length() - 1
    out = []
    for row in probabilities:
        drawn = sample_counts(row, shots, generator)
        seen = np.flatnonzero(drawn)
        out.append(Counts(n_qubits, seen.astype(np.int64), drawn[seen].astype(np.int64)))
    return tuple(out)
