"""When a failed job is sent again, and after how long: a pure policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from qstore_db.errors import InvalidArgumentError


class Failure(Protocol):
    """What a policy has to know of an error, such as :class:`qstore_db.errors.BackendFailedError`."""

    retryable: bool
    retry_after_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Exponential back-off with full jitter.

    The delay before attempt k + 1 is uniform in [0, min(cap, base · 2^(k-1))], and never shorter than the backend asks
    for. Full jitter spreads many clients that failed together evenly over the interval (M. Brooker, "Exponential
    Backoff And Jitter", 2015).

    Args:
        attempts: In all, at least 1; 1 never sends again.
        base_seconds: Bound of the first delay, at least 0.
        cap_seconds: Bound of every delay, at least ``base_seconds``.

    Raises:
        InvalidArgumentError: A bound is out of its range.
    """

    attempts: int = 5
    base_seconds: float = 0.5
    cap_seconds: float = 30.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise InvalidArgumentError(f"attempts is {self.attempts}", fix="Give at least 1.", value=self.attempts)
        if not 0 <= self.base_seconds <= self.cap_seconds:
            raise InvalidArgumentError(
                f"delays from {self.base_seconds} s up to {self.cap_seconds} s are impossible",
                fix="Give 0 ≤ base_seconds ≤ cap_seconds.",
                value=self.base_seconds,
            )

    def delay_seconds(self, attempt: int, error: Failure, rng: np.random.Generator) -> float | None:
        """How long to wait before the next attempt, or ``None`` for giving up.

        Args:
            attempt: Number of the attempt that failed, from 1.
            error: How it failed; only one flagged ``retryable`` is tried again.
            rng: Source of the jitter; drawn from once when there is a next attempt.
        """
        if not error.retryable or attempt >= self.attempts:
            return None
        # The exponent is bounded, so that many attempts do not overflow.
        bound = min(self.cap_seconds, self.base_seconds * 2.0 ** min(attempt - 1, 60))
        return max(float(rng.uniform(0.0, bound)), error.retry_after_seconds)
