"""A second thread for the blocks of a batch, where steps follow each other closely: inside a training loop.

Starting a thread, or waking one, costs more than a step; so the worker spins between steps, for about 2 ms, and sleeps
after that. It exists only inside :func:`two_threads`, helps only the thread that opened it, and changes no bit of any
result: blocks are the same, and what is added over blocks is added in their order.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np

from qstore_db.errors import InvalidArgumentError
from qstore_db.simulation.job import Job
from qstore_db.simulation.machine_code import Kernel

PATIENCE_SECONDS: Final = 0.002
"""How long a worker spins without work. 50 µs were measured to be too short: the next step came later than that."""

_FREE_PROCESSORS: Final = 0.5  # this process itself may have kept one busy
_TRIAL_LOOKS: Final = 100_000
_TRIALS: Final = 5
_CONTROL_WORDS: Final = 32
_STATE: Final = 0
_own = threading.local()


class Worker:
    """A thread that takes blocks of the jobs of the thread that made it, of the first dtype that comes."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self._words = np.zeros(_CONTROL_WORDS + 8, np.int64)
        address = self._words.__array_interface__["data"][0]
        self._first = -address % 64 // 8
        self._address = address + 8 * self._first
        self._kernel: Kernel | None = None
        self._thread: threading.Thread | None = None
        self._asleep = False
        self._wake = threading.Event()

    def lead(self, kernel: Kernel, job: Job) -> None:
        """Runs a job on both threads."""
        if self._kernel is not kernel:
            if self._kernel is not None:  # one dtype a worker
                kernel.lead(job)
                return
            self._start(kernel)
        if self._asleep:
            self._asleep = False
            self._wake.set()
        job.control = self._address
        kernel.lead(job)
        job.control = 0

    def stop(self) -> None:
        """Ends the thread; no job may be running."""
        if self._thread is not None:
            self._words[self._first + _STATE] = -1
            self._wake.set()
            self._thread.join()

    def _start(self, kernel: Kernel) -> None:
        looks = int(_TRIAL_LOOKS * PATIENCE_SECONDS / max(_trial_seconds(kernel), 1e-6))
        self._kernel = kernel
        self._thread = threading.Thread(target=self._work, args=(kernel, looks), name="qstore-blocks", daemon=True)
        self._thread.start()

    def _work(self, kernel: Kernel, looks: int) -> None:
        while kernel.serve(self._address, looks) == 0:
            self._asleep = True
            self._wake.wait()
            self._wake.clear()


def _trial_seconds(kernel: Kernel) -> float:
    """What the looks of a trial take; the best of several, as others may hold the processor during one."""
    nothing = np.zeros(_CONTROL_WORDS, np.int64)
    address = nothing.__array_interface__["data"][0]
    times = []
    for _ in range(_TRIALS):
        began = time.perf_counter()
        kernel.serve(address, _TRIAL_LOOKS)
        times.append(time.perf_counter() - began)
    return min(times)


@contextmanager
def two_threads(threads: int = 2) -> Iterator[None]:
    """Lets a worker help with the batches that this thread runs inside the block.

    Args:
        threads: 2, or 1 for none.

    Raises:
        InvalidArgumentError: Another number.
    """
    if threads not in (1, 2):
        raise InvalidArgumentError(f"threads is {threads!r}", fix="Use 1 or 2.", value=threads)
    if threads == 1 or current() is not None:
        yield
        return
    worker = _own.worker = Worker()
    try:
        yield
    finally:
        _own.worker = None
        if worker.process == os.getpid():
            worker.stop()


def current() -> Worker | None:
    """The worker of this thread; None in a forked child, where its thread does not exist."""
    worker: Worker | None = getattr(_own, "worker", None)
    return worker if worker is not None and worker.process == os.getpid() else None


def threads() -> int:
    """Threads that a batch of this thread may use."""
    return 1 if current() is None else 2


def spare_threads() -> int:
    """2 where this process may use two processors and one of them had little to do in the last minute, else 1.

    On a busy machine a second thread makes steps slower: the first one waits whenever the other is not running.
    """
    if not hasattr(os, "sched_getaffinity") or not hasattr(os, "getloadavg"):
        return 1
    free = len(os.sched_getaffinity(0)) - os.getloadavg()[0]
    return 2 if free >= _FREE_PROCESSORS else 1
