"""How a remote provider is asked: times and bounds, as one checked value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qstore_db.errors import InvalidArgumentError


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteOptions:
    """Times and bounds of a remote backend; every wait has one.

    Args:
        timeout_seconds: Of one call to the provider, from its first request on, above 0.
        grace_seconds: After an answer got lost, how long the provider is asked for the job's tag before the job counts
            as never taken; at least ``timeout_seconds``, so that a request still on its way has arrived or failed.
        first_poll_seconds: Before a job is asked for the second time, above 0; 1.5 times as long each time after.
        longest_poll_seconds: At most this long between two questions about a job.
        patience_seconds: How long a provider may stay unreachable before the caller gets ``JobUnreachableError``.
        connections: Calls to the provider at the same time, 1 … 1,024.
        sends: Jobs that are made ready and sent at the same time, from 1 to ``connections``: writing hundreds of
            circuits in a provider's form is work of one processor.

    Raises:
        InvalidArgumentError: A time or bound is out of its range.
    """

    timeout_seconds: float = 60.0
    grace_seconds: float = 60.0
    first_poll_seconds: float = 0.5
    longest_poll_seconds: float = 20.0
    patience_seconds: float = 3600.0
    connections: int = 8
    sends: int = 2

    def __post_init__(self) -> None:
        least = {
            "timeout_seconds": 0.0,
            "first_poll_seconds": 0.0,
            "patience_seconds": 0.0,
            "longest_poll_seconds": self.first_poll_seconds,
            "grace_seconds": self.timeout_seconds,
        }
        for name, bound in least.items():
            value = getattr(self, name)
            if not (bound < value < float("inf") or (bound and value == bound)):
                raise InvalidArgumentError(
                    f"{name} is {value!r}",
                    fix=f"Give {name} as a number from {bound} on." if bound else f"Give {name} as a number above 0.",
                    value=value,
                )
        for name, most in (("connections", 1024), ("sends", self.connections)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
                raise InvalidArgumentError(f"{name} is {value!r}", fix=f"Give 1 to {most}.", value=value)

    def pause_seconds(self, asked: int, rng: np.random.Generator) -> float:
        """How long to wait before a job is asked about again.

        Between half of the bound and the bound, at random, so that many jobs that were sent together are not asked
        together for ever.

        Args:
            asked: How often it was asked, at least 1.
            rng: Source of the jitter; drawn from once.
        """
        # The exponent is bounded, so that a long wait does not overflow.
        bound = min(self.longest_poll_seconds, self.first_poll_seconds * 1.5 ** min(asked - 1, 100))
        return float(rng.uniform(0.5 * bound, bound))
