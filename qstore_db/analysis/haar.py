"""Fidelities of Haar-random states: their law, the divergence from it, and how large chance alone makes that.

The fidelity F = |⟨a|b⟩|² of two independent Haar-random states of dimension N has the density (N-1)(1-F)^(N-2).
Source: Życzkowski and Sommers, Physical Review A 71, 032313 (2005).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.analysis.arguments import whole_number
from qstore_db.circuits.circuit import MAX_QUBITS
from qstore_db.errors import InvalidArgumentError


def log2_haar_masses(n_qubits: int, bins: int) -> NDArray[np.float64]:
    """log₂ of the probability of each of ``bins`` equal parts of [0, 1].

    The part from a to b holds (1-a)^(N-1) - (1-b)^(N-1) with N = 2^n; as a logarithm it stays finite where the number
    itself would be 0 in floating point.

    Args:
        n_qubits: 1 … 24.
        bins: From 1 on.

    Returns:
        Shape (bins,), the part at F = 0 first.

    Raises:
        InvalidArgumentError: A number is out of range.
    """
    power = 2.0 ** whole_number(n_qubits, 1, "n_qubits", most=MAX_QUBITS) - 1.0
    left = np.arange(whole_number(bins, 1, "bins")) / bins  # lower edges
    step = 1.0 / bins
    # log of the ratio of survival at the two edges; the last edge has none.
    ratio = np.full(bins, -np.inf)
    ratio[:-1] = np.log1p(-(left[:-1] + step)) - np.log1p(-left[:-1])
    nats = power * np.log1p(-left) + np.log(-np.expm1(power * ratio))
    out: NDArray[np.float64] = nats / math.log(2.0)
    return out


def divergence_from_haar(fidelities: ArrayLike, n_qubits: int, bins: int) -> float:
    """D(sample ‖ Haar) = Σ_b p_b log₂(p_b / q_b) of a histogram of fidelities, in bits.

    Args:
        fidelities: In [0, 1] up to 1e-9, at least one.
        n_qubits: Of the states.
        bins: Number of equal parts of [0, 1]; the upper edge belongs to the last one.

    Returns:
        0 or more; at most (2^n - 1) log₂ bins, when all fidelities are 1.

    Raises:
        InvalidArgumentError: No fidelities, one outside [0, 1], or a number out of range.
    """
    values = np.asarray(fidelities, np.float64).ravel()
    if values.size == 0 or not np.all((values >= -1e-9) & (values <= 1 + 1e-9)):
        raise InvalidArgumentError(
            f"{values.size} fidelities are not one or more numbers in [0, 1]",
            fix="Give |⟨a|b⟩|² of normalised states.",
            value=values.size,
        )
    masses = log2_haar_masses(n_qubits, bins)
    places = np.minimum((np.clip(values, 0.0, 1.0) * bins).astype(np.int64), bins - 1)
    shares = np.bincount(places, minlength=bins) / values.size
    seen = shares > 0
    return max(float((shares[seen] * (np.log2(shares[seen]) - masses[seen])).sum()), 0.0)


def haar_bias(n_qubits: int, pairs: int, bins: int) -> float:
    """What :func:`divergence_from_haar` gives on average for ``pairs`` fidelities of truly Haar-random states, in bits.

    The divergence of a finite sample is never negative, so chance makes it positive: about (bins - 1) / (2 pairs ln 2)
    where every bin is filled, less where most are empty. Exact, by the binomial law of each bin; cost bins · pairs.

    Raises:
        InvalidArgumentError: A number is out of range.
    """
    whole_number(pairs, 1, "pairs")
    masses = log2_haar_masses(n_qubits, bins) * math.log(2.0)
    counts = np.arange(1, pairs + 1)
    factorials = np.concatenate([[0.0], np.cumsum(np.log(counts))])
    choose = factorials[pairs] - factorials[1:] - factorials[pairs - counts]
    total = 0.0
    for mass in masses[masses < 0.0]:  # a bin that holds everything diverges by nothing
        chance = np.exp(choose + counts * mass + (pairs - counts) * np.log(-np.expm1(mass)))
        total += float((chance * (counts / pairs) * (np.log(counts / pairs) - mass)).sum())
    return total / math.log(2.0)
