"""Overlap with a superposed context, and what dephasing of the context register makes of it in time."""

from __future__ import annotations

import math
from numbers import Real

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import InvalidStateError


def parse_coherence_time(given: object) -> float:
    """Coherence time T in seconds; ``None`` means that the record never dephases.

    Raises:
        InvalidStateError: Not a number, NaN, or not above 0.
    """
    if given is None:
        return math.inf
    if isinstance(given, bool | np.bool_) or not isinstance(given, Real):
        raise InvalidStateError(
            f"coherence_time {given!r} is no number", fix="give seconds above 0, or None for no dephasing", value=given
        )
    seconds = float(given)
    if math.isnan(seconds) or seconds <= 0:
        raise InvalidStateError(
            f"coherence_time {seconds!r} is out of range",
            fix="give seconds above 0, or None for no dephasing",
            value=given,
        )
    return seconds


def age_seconds(now: float, written_at: float) -> float:
    """Age Δt of a state, never negative: a wall clock that was set back makes a state new, not coherent beyond 1."""
    return max(0.0, now - written_at)


def coherent_weight(age: float, coherence_time: float, initial_coherence: float = 1.0) -> float:
    """Factor by which the off-diagonal blocks |c⟩⟨c'| of the density matrix have shrunk: c₀·e^(−Δt/T).

    Args:
        age: Δt ≥ 0 in seconds.
        coherence_time: T > 0 in seconds, possibly infinite.
        initial_coherence: c₀, the factor with which the state was written: 1 for whatever a user writes, the factor of
            the moment for what a collapse leaves of a state that had already dephased.
    """
    return initial_coherence * math.exp(-age / coherence_time)


def coherent_weights(
    now: float, written_at: NDArray[np.float64], coherence_time: NDArray[np.float64], initial: NDArray[np.float64]
) -> NDArray[np.float64]:
    """:func:`coherent_weight` of many records at once, shape (records,)."""
    ages = np.maximum(0.0, now - written_at)
    return np.asarray(initial * np.exp(-ages / coherence_time), dtype=np.float64)


def is_coherent(age: float, coherence_time: float) -> bool:
    """Whether Δt < T: a threshold to filter by. Nothing happens to the record at Δt = T, where e^(−Δt/T) is 1/e."""
    return age < coherence_time


def dephased_overlaps(
    records: NDArray[np.int64],
    amplitudes: NDArray[np.float64],
    phases: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Overlap of each record's dephased state with ⟨χ|⊗⟨q|.

    With a_c = √(p_c q_c)⟨q|v_c⟩ and coherent weight λ, the result is λ·|Σ_c a_c e^{iφ_c}|² + (1 − λ)·Σ_c a_c², which is
    ⟨χ,q|ρ|χ,q⟩ for ρ = λ|ψ⟩⟨ψ| + (1 − λ)·Σ_c p_c |c⟩⟨c|⊗|v_c⟩⟨v_c|.

    Args:
        records: int64 (branches,): which record a branch belongs to, 0 … records − 1.
        amplitudes: float64 (branches,): a_c.
        phases: float64 (branches,): φ_c in radians.
        weights: float64 (records,): λ of each record, in [0, 1].

    Returns:
        float64 (records,), in [0, 1] up to rounding; sums run in the order of the branches.
    """
    count = len(weights)
    real = np.bincount(records, amplitudes * np.cos(phases), count)
    imaginary = np.bincount(records, amplitudes * np.sin(phases), count)
    incoherent = np.bincount(records, amplitudes**2, count)
    overlaps = weights * (real**2 + imaginary**2) + (1.0 - weights) * incoherent
    return np.asarray(overlaps, dtype=np.float64)
