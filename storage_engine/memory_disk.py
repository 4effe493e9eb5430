"""A directory tree that lives in memory, for databases that are thrown away and for models of failing disks."""

from __future__ import annotations

import errno
import sys

from storage_engine.files import ROOT, Bytes, DiskError, Handle, check_name, parent_of


class MemoryFile:
    """The bytes behind one or more names and handles."""

    __slots__ = ("data", "locked_by")

    def __init__(self) -> None:
        self.data = bytearray()
        self.locked_by: Handle | None = None


class MemoryDisk:
    """An implementation of :class:`storage_engine.files.Disk` that keeps everything in memory.

    No call uses another one, so a subclass that counts or fails calls sees exactly what the engine asked for.

    Attributes:
        names: Every file by name. Subclasses may replace its values.
        directories: Every directory by name, the root included.
    """

    def __init__(self) -> None:
        self.names: dict[str, MemoryFile] = {}
        self.directories: set[str] = {ROOT}

    def create(self, name: str) -> Handle:
        """See :meth:`storage_engine.files.Disk.create`."""
        if check_name(name) in self.names or name in self.directories:
            raise DiskError("create", name, errno.EEXIST, "the name is taken")
        if parent_of(name) not in self.directories:
            raise DiskError("create", name, errno.ENOENT, "no such directory")
        file = self.names[name] = MemoryFile()
        return Handle(name, state=file)

    def open(self, name: str) -> Handle:
        """See :meth:`storage_engine.files.Disk.open`."""
        return Handle(name, state=self._file("open", name))

    def write(self, handle: Handle, offset: int, data: Bytes) -> int:
        """See :meth:`storage_engine.files.Disk.write`."""
        content = _opened("write", handle).data
        if len(content) < offset:
            content.extend(bytes(offset - len(content)))
        content[offset : offset + len(data)] = data
        return len(data)

    def truncate(self, handle: Handle, length: int) -> None:
        """See :meth:`storage_engine.files.Disk.truncate`."""
        content = _opened("truncate", handle).data
        if len(content) < length:
            content.extend(bytes(length - len(content)))
        del content[length:]

    def sync(self, handle: Handle) -> None:
        """See :meth:`storage_engine.files.Disk.sync`; memory has nothing to wait for."""
        _opened("sync", handle)

    def lock(self, handle: Handle) -> bool:
        """See :meth:`storage_engine.files.Disk.lock`."""
        file = _opened("lock", handle)
        if file.locked_by is None:
            file.locked_by = handle
        return file.locked_by is handle

    def close(self, handle: Handle) -> None:
        """See :meth:`storage_engine.files.Disk.close`."""
        file, handle.state = handle.state, None
        if isinstance(file, MemoryFile) and file.locked_by is handle:
            file.locked_by = None

    def sync_directory(self, directory: str) -> None:
        """See :meth:`storage_engine.files.Disk.sync_directory`."""
        if directory not in self.directories:
            raise DiskError("sync_directory", directory, errno.ENOENT, "no such directory")

    def make_directory(self, directory: str) -> None:
        """See :meth:`storage_engine.files.Disk.make_directory`."""
        if parent_of(check_name(directory)) not in self.directories:
            raise DiskError("make_directory", directory, errno.ENOENT, "no such directory")
        self.directories.add(directory)

    def rename(self, source: str, target: str) -> None:
        """See :meth:`storage_engine.files.Disk.rename`."""
        if check_name(target) in self.names:
            raise DiskError("rename", target, errno.EEXIST, "the name is taken")
        self._move("rename", source, target)

    def replace(self, source: str, target: str) -> None:
        """See :meth:`storage_engine.files.Disk.replace`."""
        self._move("replace", source, check_name(target))

    def unlink(self, name: str) -> None:
        """See :meth:`storage_engine.files.Disk.unlink`."""
        self._file("unlink", name)
        del self.names[name]

    def list(self, directory: str) -> list[str]:
        """See :meth:`storage_engine.files.Disk.list`."""
        start = f"{directory}/" if directory else ""
        every = [*self.names, *(name for name in self.directories if name)]
        return sorted(name[len(start) :] for name in every if name.startswith(start) and "/" not in name[len(start) :])

    def exists(self, name: str) -> bool:
        """See :meth:`storage_engine.files.Disk.exists`."""
        return check_name(name) in self.names or name in self.directories

    def size(self, name: str) -> int:
        """See :meth:`storage_engine.files.Disk.size`."""
        return len(self._file("size", name).data)

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """See :meth:`storage_engine.files.Disk.read`."""
        content = self._file("read", name).data
        end = len(content) if length is None else min(offset + length, len(content))
        return bytes(memoryview(content)[offset:end])

    def map(self, name: str) -> memoryview:
        """See :meth:`storage_engine.files.Disk.map`. No copy: extending a mapped file raises ``BufferError``."""
        return memoryview(self._file("map", name).data).toreadonly()

    def free_space(self) -> int:
        """See :meth:`storage_engine.files.Disk.free_space`; memory has no limit that is known here."""
        return sys.maxsize

    def shut(self) -> None:
        """Nothing to give back; the files go with the object."""

    def _file(self, operation: str, name: str) -> MemoryFile:
        file = self.names.get(check_name(name))
        if file is None:
            raise DiskError(operation, name, errno.ENOENT, "no such file")
        return file

    def _move(self, operation: str, source: str, target: str) -> None:
        file = self._file(operation, source)
        if parent_of(target) not in self.directories:
            raise DiskError(operation, target, errno.ENOENT, "no such directory")
        del self.names[source]
        self.names[target] = file


def _opened(operation: str, handle: Handle) -> MemoryFile:
    if not isinstance(handle.state, MemoryFile):
        raise DiskError(operation, handle.name, errno.EBADF, "the handle is closed")
    return handle.state
