"""A disk in memory that notes every call which changes something, and that loses power when told to."""

from __future__ import annotations

import numpy as np

from storage_engine.files import Bytes, Handle
from storage_engine.memory_disk import MemoryDisk, MemoryFile
from storage_engine.testing.medium import Call, CallKind, Medium


class PowerCutError(BaseException):
    """The power failed; not an :class:`Exception`, since no handler of a program runs after that."""


class RecordingDisk(MemoryDisk):
    """See the module.

    Args:
        medium: What is on the disk at first, taken over; ``None`` for an empty disk.
        cut_after: The power fails at the call after so many; ``None``: never.

    Attributes:
        journal: The calls so far that changed something, in order.
    """

    def __init__(self, medium: Medium | None = None, *, cut_after: int | None = None) -> None:
        super().__init__()
        self.journal: list[Call] = []
        self._start = medium or Medium()
        self._cut_after = cut_after
        self._next = self._start.new_number()
        self._numbers: dict[MemoryFile, int] = {}
        self.directories = set(self._start.directories)
        files: dict[int, MemoryFile] = {}
        for name, number in self._start.names.items():
            if number not in files:
                file = files[number] = MemoryFile()
                file.data = bytearray(self._start.content(number))
                self._numbers[file] = number
            self.names[name] = files[number]

    def medium(self, random: np.random.Generator | None = None) -> Medium:
        """The medium as it is now; the disk must not be used any more.

        Args:
            random: Needed if a sync failed.
        """
        for call in self.journal:
            self._start.step(call, random)
        self.journal = []
        return self._start

    def create(self, name: str) -> Handle:
        """See :meth:`storage_engine.files.Disk.create`."""
        self._check_power()
        handle = super().create(name)
        self._numbers[self.names[name]] = self._next
        self._note("create", name, number=self._next)
        self._next += 1
        return handle

    def write(self, handle: Handle, offset: int, data: Bytes) -> int:
        """See :meth:`storage_engine.files.Disk.write`."""
        self._check_power()
        number = self._number(handle)
        written = super().write(handle, offset, data)
        self._note("write", handle.name, number=number, offset=offset, data=bytes(data))
        return written

    def truncate(self, handle: Handle, length: int) -> None:
        """See :meth:`storage_engine.files.Disk.truncate`."""
        self._check_power()
        super().truncate(handle, length)
        self._note("truncate", handle.name, number=self._number(handle), offset=length)

    def sync(self, handle: Handle) -> None:
        """See :meth:`storage_engine.files.Disk.sync`."""
        self._check_power()
        super().sync(handle)
        self._note("sync", handle.name, number=self._number(handle))

    def sync_directory(self, directory: str) -> None:
        """See :meth:`storage_engine.files.Disk.sync_directory`."""
        self._check_power()
        super().sync_directory(directory)
        self._note("sync_directory", directory)

    def make_directory(self, directory: str) -> None:
        """See :meth:`storage_engine.files.Disk.make_directory`."""
        self._check_power()
        missing = directory not in self.directories
        super().make_directory(directory)
        if missing:
            self._note("make_directory", directory)

    def rename(self, source: str, target: str) -> None:
        """See :meth:`storage_engine.files.Disk.rename`."""
        self._check_power()
        super().rename(source, target)
        self._note("rename", source, target, self._numbers[self.names[target]])

    def replace(self, source: str, target: str) -> None:
        """See :meth:`storage_engine.files.Disk.replace`."""
        self._check_power()
        super().replace(source, target)
        self._note("rename", source, target, self._numbers[self.names[target]])

    def unlink(self, name: str) -> None:
        """See :meth:`storage_engine.files.Disk.unlink`."""
        self._check_power()
        super().unlink(name)
        self._note("unlink", name)

    def _check_power(self) -> None:
        if self._cut_after is not None and len(self.journal) >= self._cut_after:
            raise PowerCutError

    def _number(self, handle: Handle) -> int:
        return self._numbers[handle.state] if isinstance(handle.state, MemoryFile) else -1

    def _note(
        self, kind: CallKind, name: str, target: str = "", number: int = -1, *, offset: int = 0, data: bytes = b""
    ) -> None:
        self.journal.append(Call(kind, name, target, number, offset, data))
