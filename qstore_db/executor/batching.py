"""How many queued requests go together in the next job: pure functions of what was measured."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from statistics import median
from typing import Final, TypeVar

from qstore_db.errors import InvalidArgumentError

Item = TypeVar("Item")

UNMEASURED_BATCH: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """Bounds of one job.

    Args:
        minimum: Requests that go together when as many wait, however long they may take; at least 1.
        maximum: Requests in one job, at least ``minimum``; the backend's own maximum also holds.
        target_seconds: How long a job should take, above 0: long enough to be worth sending, short enough that urgent
            requests do not wait long behind it.

    Raises:
        InvalidArgumentError: A bound is out of its range.
    """

    minimum: int = 1
    maximum: int = 1024
    target_seconds: float = 0.05

    def __post_init__(self) -> None:
        if not 1 <= self.minimum <= self.maximum:
            raise InvalidArgumentError(
                f"a job of at least {self.minimum} and at most {self.maximum} requests is impossible",
                fix="Give 1 ≤ minimum ≤ maximum.",
                value=self.minimum,
            )
        if not self.target_seconds > 0:
            raise InvalidArgumentError(
                f"target_seconds is {self.target_seconds}", fix="Give a time above 0.", value=self.target_seconds
            )


def batch_size(
    works: Iterable[float], queued: int, idle_jobs: int, seconds_per_work: float | None, options: BatchOptions
) -> int:
    """How many of the first queued requests make the next job.

    They are shared out evenly over the jobs that could run now, and are as many as take ``target_seconds`` by what was
    measured, but at least ``minimum`` and at most ``maximum``.

    Args:
        works: Size of each queued request, first one first; read no further than needed.
        queued: How many wait, at least 1.
        idle_jobs: Jobs that could start now, this one included, at least 1.
        seconds_per_work: Measured time of one unit of work; ``None`` before anything was measured: then at most
            ``UNMEASURED_BATCH`` go together.
        options: The bounds.

    Returns:
        From 1 to ``queued``.

    Example:
        >>> batch_size([1.0] * 100, 100, 2, 0.25, BatchOptions(minimum=4, maximum=64, target_seconds=5.0))
        20
    """
    share = -(-queued // idle_jobs)
    wanted = min(queued, options.maximum, max(share, options.minimum))
    if seconds_per_work is None:
        return min(wanted, max(UNMEASURED_BATCH, options.minimum))
    seconds, affordable = 0.0, 0
    for work in works:
        seconds += work * seconds_per_work
        if affordable == wanted or seconds > options.target_seconds:
            break
        affordable += 1
    return min(wanted, max(affordable, options.minimum))


def typical(measured: Collection[float]) -> float | None:
    """The median: one slow job, such as the first that compiles a kernel, does not move it.

    Args:
        measured: Any number of measurements.

    Returns:
        ``None`` without measurements.
    """
    return median(measured) if measured else None


def portions(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """The items in lists of ``size``, the last one shorter; reads no further than the list it gives."""
    source = iter(items)
    while portion := list(islice(source, size)):
        yield portion
