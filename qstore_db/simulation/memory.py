"""Working memory of the simulator: checked before it is taken, aligned, and used again.

Fresh pages cost more than the arithmetic on them, so blocks up to 32 MiB are kept for the next call: at most four of
each power of two, 256 MiB in all. Appending to and popping from a deque is atomic, so no lock is held that a forked
child could inherit.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import NotEnoughMemoryError

Scalar = TypeVar("Scalar", bound=np.generic)

ALIGNMENT: Final = 64
CHECK_FROM_BYTES: Final = 64 << 20
"""Requests below this are made without asking the system first."""

_LARGEST_KEPT: Final = 32 << 20


class _Block:
    """Bytes and where the first aligned one of them is."""

    __slots__ = ("address", "bytes", "start")

    def __init__(self, size: int) -> None:
        self.bytes: NDArray[np.uint8] = np.empty(size, np.uint8)
        address = self.bytes.__array_interface__["data"][0]
        self.start = -address % ALIGNMENT
        self.address = address + self.start


_idle: Final[dict[int, deque[_Block]]] = {
    1 << power: deque(maxlen=4) for power in range(12, _LARGEST_KEPT.bit_length())
}


class Workspace:
    """A block of 64-byte aligned memory with arbitrary content; it goes back for reuse when the object dies.

    Args:
        size: Bytes.

    Raises:
        NotEnoughMemoryError: More than the system has free.
    """

    __slots__ = ("_block", "address", "size")

    def __init__(self, size: int) -> None:
        rounded = max(1 << 12, 1 << (size + ALIGNMENT - 1).bit_length())
        idle = _idle.get(rounded)
        if idle is None:
            require(size)
            rounded = size + ALIGNMENT
        try:
            self._block = idle.pop() if idle else _Block(rounded)
        except IndexError:  # another thread took the last one
            self._block = _Block(rounded)
        self.address, self.size = self._block.address, size

    def array(self, dtype: np.dtype[Scalar]) -> NDArray[Scalar]:
        """All of it as a flat array of the dtype; it must not outlive the workspace."""
        block = self._block
        return block.bytes[block.start : block.start + (block.bytes.size - block.start) // ALIGNMENT * ALIGNMENT].view(
            dtype
        )

    def __del__(self) -> None:
        block = getattr(self, "_block", None)
        if block is not None and block.bytes.size in _idle:
            _idle[block.bytes.size].append(block)


def require(size: int) -> None:
    """Checks that ``size`` bytes can be taken.

    Raises:
        NotEnoughMemoryError: They cannot.
    """
    if not fits(size):
        free = available() or 0
        raise NotEnoughMemoryError(
            f"the simulation needs {size / 2**30:.1f} GiB of memory and {free / 2**30:.1f} GiB are free",
            fix="Use fewer qubits, smaller batches or float32; without gradients much less is needed.",
            value=size,
        )


def fits(size: int) -> bool:
    """Whether ``size`` bytes can be taken now; small requests are not looked at."""
    if size < CHECK_FROM_BYTES:
        return True
    free = available()
    return free is None or size <= free


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
