"""Sharing work among the cores: blocks are claimed one after the other by whoever is free, the caller among them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

_pool: ThreadPoolExecutor | None = None  # started by the first call that can use it, kept for the next


def cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def spread(total: int, block: int, work: Callable[[int, int], None]) -> None:
    """Call ``work(start, stop)`` for all of ``0 … total`` in blocks, by all cores; what it raises is raised here.

    Args:
        total: How many pieces of work there are.
        block: How many a thread claims at once.
        work: Must be safe to call from several threads; they run at once while it holds no GIL.
    """
    starts = itertools.count(0, block)  # each number is handed out once, whichever thread asks

    def claim() -> None:
        for start in starts:
            if start >= total:
                return
            work(start, min(total, start + block))

    helpers = min(-(-total // block), cores()) - 1
    if helpers <= 0:
        claim()
        return
    pool = _started()
    others = [pool.submit(claim) for _ in range(helpers)]
    try:
        claim()
    finally:
        wait(others)
    for other in others:
        other.result()


def _started() -> ThreadPoolExecutor:
    global _pool  # noqa: PLW0603 - threads belong to the process, and starting them takes as long as ten searches
    if _pool is None:
        _pool = ThreadPoolExecutor(max(1, cores() - 1), thread_name_prefix="qstore-search")
    return _pool


def _forget_after_fork() -> None:
    global _pool  # noqa: PLW0603 - the child has none of the threads
    _pool = None


os.register_at_fork(after_in_child=_forget_after_fork)
