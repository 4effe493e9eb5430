"""A disk in memory that refuses one chosen call, or all from there on, until somebody repairs it."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Literal

from storage_engine.files import Bytes, DiskError, Handle
from storage_engine.testing.medium import Medium
from storage_engine.testing.recording_disk import RecordingDisk

FaultKind = Literal["full", "broken", "interrupted", "short_write"]

_CODES: dict[FaultKind, int] = {
    "full": errno.ENOSPC,
    "broken": errno.EIO,
    "interrupted": errno.EINTR,
    "short_write": errno.ENOSPC,
}
_FULL_CALLS = frozenset({"create", "write", "truncate", "sync", "make_directory", "rename", "replace"})
_READING_CALLS = frozenset({"open", "read", "map", "size", "list", "exists"})


@dataclass(frozen=True, slots=True)
class Fault:
    """What fails and when.

    Args:
        kind: ``full``: calls that need space fail with ``ENOSPC``. ``broken``: every call fails with ``EIO``.
            ``interrupted``: every call fails with ``EINTR``. ``short_write``: a write takes half of its bytes; the
            next ones that fail take none.
        at: Number of the first call that fails, counted from 0 over all calls that this kind can hit.
        forever: Whether the later ones fail too.
        reading: Whether calls that change nothing count and fail as well.
    """

    kind: FaultKind
    at: int
    forever: bool = False
    reading: bool = False


class FailingDisk(RecordingDisk):
    """See the module.

    Attributes:
        fault: What fails; ``None`` after the repair.
        calls: How many calls there were that the fault could have hit.
        hits: How many it did hit.
    """

    def __init__(self, medium: Medium | None, fault: Fault | None) -> None:
        super().__init__(medium)
        self.fault = fault
        self.calls = 0
        self.hits = 0

    def create(self, name: str) -> Handle:
        """See :meth:`storage_engine.files.Disk.create`."""
        self._fail("create", name)
        return super().create(name)

    def open(self, name: str) -> Handle:
        """See :meth:`storage_engine.files.Disk.open`."""
        self._fail("open", name)
        return super().open(name)

    def write(self, handle: Handle, offset: int, data: Bytes) -> int:
        """See :meth:`storage_engine.files.Disk.write`."""
        if self.fault is not None and self.fault.kind == "short_write":
            if self._is_hit("write"):
                if self.hits > 1 or len(data) < 2:
                    raise DiskError("write", handle.name, errno.ENOSPC, "no space is left")
                return super().write(handle, offset, memoryview(data).cast("B")[: len(data) // 2])
        else:
            self._fail("write", handle.name)
        return super().write(handle, offset, data)

    def truncate(self, handle: Handle, length: int) -> None:
        """See :meth:`storage_engine.files.Disk.truncate`."""
        self._fail("truncate", handle.name)
        super().truncate(handle, length)

    def sync(self, handle: Handle) -> None:
        """See :meth:`storage_engine.files.Disk.sync`."""
        try:
            self._fail("sync", handle.name)
        except DiskError:
            self._note("failed_sync", handle.name, number=self._number(handle))
            raise
        super().sync(handle)

    def sync_directory(self, directory: str) -> None:
        """See :meth:`storage_engine.files.Disk.sync_directory`."""
        self._fail("sync_directory", directory)
        super().sync_directory(directory)

    def make_directory(self, directory: str) -> None:
        """See :meth:`storage_engine.files.Disk.make_directory`."""
        self._fail("make_directory", directory)
        super().make_directory(directory)

    def rename(self, source: str, target: str) -> None:
        """See :meth:`storage_engine.files.Disk.rename`."""
        self._fail("rename", target)
        super().rename(source, target)

    def replace(self, source: str, target: str) -> None:
        """See :meth:`storage_engine.files.Disk.replace`."""
        self._fail("replace", target)
        super().replace(source, target)

    def unlink(self, name: str) -> None:
        """See :meth:`storage_engine.files.Disk.unlink`."""
        self._fail("unlink", name)
        super().unlink(name)

    def list(self, directory: str) -> list[str]:
        """See :meth:`storage_engine.files.Disk.list`."""
        self._fail("list", directory)
        return super().list(directory)

    def exists(self, name: str) -> bool:
        """See :meth:`storage_engine.files.Disk.exists`."""
        self._fail("exists", name)
        return super().exists(name)

    def size(self, name: str) -> int:
        """See :meth:`storage_engine.files.Disk.size`."""
        self._fail("size", name)
        return super().size(name)

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """See :meth:`storage_engine.files.Disk.read`."""
        self._fail("read", name)
        return super().read(name, offset, length)

    def map(self, name: str) -> memoryview:
        """See :meth:`storage_engine.files.Disk.map`."""
        self._fail("map", name)
        return super().map(name)

    def _fail(self, operation: str, name: str) -> None:
        if self._is_hit(operation) and self.fault is not None:
            code = _CODES[self.fault.kind]
            raise DiskError(operation, name, code, "refused on purpose")

    def _is_hit(self, operation: str) -> bool:
        fault = self.fault
        if fault is None:
            return False
        if operation in _READING_CALLS:
            counts = fault.reading and fault.kind in ("broken", "interrupted")
        elif fault.kind == "full":
            counts = operation in _FULL_CALLS
        elif fault.kind == "short_write":
            counts = operation == "write"
        else:
            counts = True
        if not counts:
            return False
        self.calls += 1
        hit = self.calls - 1 >= fault.at if fault.forever else self.calls - 1 == fault.at
        self.hits += hit
        return hit
