"""How an executor works, as one checked value."""

from __future__ import annotations

from dataclasses import dataclass, field

from qstore_db.backends.bounded_cache import CacheLimits
from qstore_db.errors import InvalidArgumentError
from qstore_db.executor.batching import BatchOptions
from qstore_db.executor.retry import RetryPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorOptions:
    """Settings of an executor; every queue, cache and retry has a bound.

    Args:
        queue_limit: Requests that wait for a backend, for each backend; callers beyond it wait for room. At least 1.
        max_jobs: Jobs under way at the same time on one backend, at least 1; the backend's own bound also holds.
        batch: Sizes of jobs.
        retry: What happens after a failure that may pass.
        result_cache: Bounds of the cache of results.

    Raises:
        InvalidArgumentError: A bound is out of its range.
    """

    queue_limit: int = 10_000
    max_jobs: int = 128
    batch: BatchOptions = field(default_factory=BatchOptions)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    result_cache: CacheLimits = field(
        default_factory=lambda: CacheLimits(entries=20_000, size_bytes=64 << 20, ttl_seconds=3600.0)
    )

    def __post_init__(self) -> None:
        for name, bound in (("queue_limit", self.queue_limit), ("max_jobs", self.max_jobs)):
            if bound < 1:
                raise InvalidArgumentError(f"{name} is {bound}", fix="Give at least 1.", value=bound)
