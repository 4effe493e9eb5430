"""Working memory of the simulator: checked before it is taken, aligned, and used again.

Fresh pages cost more than the arithmetic on them, so blocks up to 32 MiB are kept for the next call: at most four of
each power of two, 256 MiB in all. Appending to and popping from a deque is atomic, so no lock is held that a forked
child could inherit.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import NotEnoughMemoryError

ALIGNMENT: Final = 64
CHECK_FROM_BYTES: Final = 64 << 20
"""Requests below this are made without asking the system first."""

_LARGEST_KEPT: Final = 32 << 20
_idle: Final[dict[int, deque[NDArray[np.uint8]]]] = {
    1 << power: deque(maxlen=4) for power in range(12, _LARGEST_KEPT.bit_length())
}


class Workspace:
    """A block of 64-byte aligned memory with arbitrary content; it goes back for reuse when the object dies.

    Args:
        size: Bytes.

    Raises:
        NotEnoughMemoryError: More than the system has free.
    """

    __slots__ = ("_aligned", "_block")

    def __init__(self, size: int) -> None:
        rounded = max(1 << 12, 1 << (size + ALIGNMENT - 1).bit_length())
        idle = _idle.get(rounded)
        if idle is None:
            require(size)
            rounded = size + ALIGNMENT
        try:
            self._block = idle.pop() if idle else np.empty(rounded, np.uint8)
        except IndexError:  # another thread took the last one
            self._block = np.empty(rounded, np.uint8)
        start = -self._block.__array_interface__["data"][0] % ALIGNMENT
        self._aligned = self._block[start : start + (self._block.size - start) // ALIGNMENT * ALIGNMENT]

    def array(self, dtype: np.dtype[np.floating]) -> NDArray[np.floating]:
        """All of it as a flat array of the dtype; it must not outlive the workspace."""
        return self._aligned.view(dtype)

    def __del__(self) -> None:
        block = getattr(self, "_block", None)
        if block is not None and block.size in _idle:
            _idle[block.size].append(block)


def require(size: int) -> None:
    """Checks that ``size`` bytes can be taken.

    Raises:
        NotEnoughMemoryError: They cannot.
    """
    if size < CHECK_FROM_BYTES:
        return
    free = available()
    if free is not None and size > free:
        raise NotEnoughMemoryError(
            f"the simulation needs {size / 2**30:.1f} GiB of memory and {free / 2**30:.1f} GiB are free",
            fix="Use fewer qubits, smaller batches or float32; without gradients much less is needed.",
            value=size,
        )


def available() -> int | None:
    """Bytes free without swapping, within the control group's limit; None where the system does not say."""
    lines = _text("/proc/meminfo").splitlines()
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    limit, used = _text("/sys/fs/cgroup/memory.max").strip(), _text("/sys/fs/cgroup/memory.current").strip()
    if limit.isdigit() and used.isdigit():
        found.append(max(0, int(limit) - int(used)))
    return min(found) if found else None


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except OSError:  # another operating system
        return ""
