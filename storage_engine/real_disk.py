"""The real directory behind the door to the disk: :class:`RealDisk`. The only file that touches one.

Errors of the operating system become :class:`storage_engine.files.DiskError` here and nowhere else.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from storage_engine.files import ROOT, Bytes, DiskError, Handle, LinkedFileError, check_name

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600

_READ_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_WRITE_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_DIRECTORY_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY


def _descriptor(operation: str, handle: Handle) -> int:
    """The descriptor for the calls that refuse -1 by :class:`ValueError` instead of ``EBADF``."""
    if handle.descriptor < 0:
        raise DiskError(operation, handle.name, errno.EBADF, "the handle is closed")
    return handle.descriptor


@dataclass(frozen=True, slots=True)
class DirectoryFacts:
    """What must be known of a directory before a database is trusted to it.

    Args:
        world_writable: Whether every user of the machine may change it.
        file_system: Its type, like ``ext4``; empty where the system does not say.
    """

    world_writable: bool
    file_system: str


def directory_facts(path: str | os.PathLike[str]) -> DirectoryFacts:
    """Look at a directory from outside.

    Raises:
        DiskError: It is not there, or may not be looked at.
    """
    try:
        found = Path(path).stat()
    except OSError as error:
        raise _refused("stat", os.fspath(path), error) from error
    device = f"{os.major(found.st_dev)}:{os.minor(found.st_dev)}"
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        mounts = ""  # not Linux
    kinds = [line.partition(" - ")[2].split(" ")[0] for line in mounts.splitlines() if line.split(" ")[2] == device]
    return DirectoryFacts(bool(found.st_mode & stat.S_IWOTH), kinds[-1] if kinds else "")


def _refused(operation: str, name: str, error: OSError) -> DiskError:
    return DiskError(operation, name, error.errno or errno.EIO, error.strerror or str(error))


class RealDisk:
    """A directory of a POSIX file system.

    Files are made with mode 0600 and directories with 0700. Symbolic links, files with a second name (hard
    links), devices and pipes inside the directory are refused; the directory itself may be reached through a link.

    Args:
        path: The database directory.
        create: Make it (and nothing above it) when it is missing.

    Raises:
        DiskError: The directory is missing, is a file, or may not be entered.
    """

    def __init__(self, path: str | os.PathLike[str], *, create: bool = False) -> None:
        self.path = Path(path)
        try:
            if create and not self.path.exists():
                self.path.mkdir(DIRECTORY_MODE)
                above = os.open(self.path.absolute().parent, _DIRECTORY_FLAGS)
                try:
                    os.fsync(above)
                finally:
                    os.close(above)
            root = os.open(self.path, _DIRECTORY_FLAGS)
        except OSError as error:
            raise _refused("open", str(self.path), error) from error
        self._directories: dict[str, int] = {ROOT: root}

    def __repr__(self) -> str:
        return f"RealDisk({str(self.path)!r})"

    def create(self, name: str) -> Handle:
        """See :meth:`Disk.create`."""
        return Handle(name, self._open("create", name, _WRITE_FLAGS | os.O_CREAT | os.O_EXCL))

    def open(self, name: str) -> Handle:
        """See :meth:`Disk.open`."""
        return Handle(name, self._open("open", name, _WRITE_FLAGS))

    def write(self, handle: Handle, offset: int, data: Bytes) -> int:
        """See :meth:`Disk.write`."""
        try:
            return os.pwrite(handle.descriptor, data, offset)
        except OSError as error:
            raise _refused("write", handle.name, error) from error

    def truncate(self, handle: Handle, length: int) -> None:
        """See :meth:`Disk.truncate`."""
        try:
            os.ftruncate(handle.descriptor, length)
        except OSError as error:
            raise _refused("truncate", handle.name, error) from error

    def sync(self, handle: Handle) -> None:
        """See :meth:`Disk.sync`."""
        try:
            _sync_data(_descriptor("sync", handle))
        except OSError as error:
            raise _refused("sync", handle.name, error) from error

    def lock(self, handle: Handle) -> bool:
        """See :meth:`Disk.lock`. ``flock``, which closing another descriptor of the same file does not release."""
        try:
            fcntl.flock(_descriptor("lock", handle), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise _refused("lock", handle.name, error) from error
        return True

    def close(self, handle: Handle) -> None:
        """See :meth:`Disk.close`."""
        descriptor, handle.descriptor = handle.descriptor, -1
        if descriptor >= 0:
            try:
                os.close(descriptor)
            except OSError as error:
                raise _refused("close", handle.name, error) from error

    def sync_directory(self, directory: str) -> None:
        """See :meth:`Disk.sync_directory`."""
        try:
            _sync_directory(self._directory(directory))
        except OSError as error:
            raise _refused("sync_directory", directory, error) from error

    def make_directory(self, directory: str) -> None:
        """See :meth:`Disk.make_directory`."""
        above, last = self._place("make_directory", directory)
        try:
            os.mkdir(last, DIRECTORY_MODE, dir_fd=above)
        except FileExistsError:
            return
        except OSError as error:
            raise _refused("make_directory", directory, error) from error

    def rename(self, source: str, target: str) -> None:
        """See :meth:`Disk.rename`."""
        # The writer's lock makes the two steps safe: nobody else creates names in this directory.
        if self.exists(target):
            raise DiskError("rename", target, errno.EEXIST, "the name is taken")
        self._move("rename", source, target)

    def replace(self, source: str, target: str) -> None:
        """See :meth:`Disk.replace`."""
        self._move("replace", source, target)

    def unlink(self, name: str) -> None:
        """See :meth:`Disk.unlink`."""
        above, last = self._place("unlink", name)
        try:
            os.unlink(last, dir_fd=above)
        except OSError as error:
            raise _refused("unlink", name, error) from error

    def list(self, directory: str) -> list[str]:
        """See :meth:`Disk.list`."""
        try:
            return sorted(os.listdir(self._directory(directory)))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _refused("list", directory, error) from error

    def exists(self, name: str) -> bool:
        """See :meth:`Disk.exists`."""
        try:
            above, last = self._place("exists", name)
            os.stat(last, dir_fd=above, follow_symlinks=False)
        except FileNotFoundError:
            return False
        except DiskError as error:
            if error.missing:
                return False
            raise
        except OSError as error:
            raise _refused("exists", name, error) from error
        return True

    def size(self, name: str) -> int:
        """See :meth:`Disk.size`."""
        above, last = self._place("size", name)
        try:
            return os.stat(last, dir_fd=above, follow_symlinks=False).st_size
        except OSError as error:
            raise _refused("size", name, error) from error

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """See :meth:`Disk.read`."""
        descriptor = self._open("read", name, _READ_FLAGS)
        try:
            rest = os.fstat(descriptor).st_size - offset
            wanted = rest if length is None else min(length, rest)
            parts = []
            while wanted > 0:
                part = os.pread(descriptor, wanted, offset)
                if not part:
                    break
                parts.append(part)
                offset += len(part)
                wanted -= len(part)
            return parts[0] if len(parts) == 1 else b"".join(parts)
        except OSError as error:
            raise _refused("read", name, error) from error
        finally:
            os.close(descriptor)

    def map(self, name: str) -> memoryview:
        """See :meth:`Disk.map`. From Python 3.13 on a mapping holds no file descriptor."""
        descriptor = self._open("map", name, _READ_FLAGS)
        try:
            length = os.fstat(descriptor).st_size
            if length == 0:
                return memoryview(b"")
            if sys.version_info >= (3, 13):
                return memoryview(mmap.mmap(descriptor, length, access=mmap.ACCESS_READ, trackfd=False))
            return memoryview(mmap.mmap(descriptor, length, access=mmap.ACCESS_READ))
        except OSError as error:
            raise _refused("map", name, error) from error
        finally:
            os.close(descriptor)

    def free_space(self) -> int:
        """See :meth:`Disk.free_space`."""
        try:
            numbers = os.fstatvfs(self._directories[ROOT])
        except OSError as error:
            raise _refused("free_space", ROOT, error) from error
        return numbers.f_bavail * numbers.f_frsize

    def shut(self) -> None:
        """Give back the descriptors of the directories; open handles and mappings stay valid. Idempotent."""
        directories, self._directories = self._directories, {}
        for descriptor in directories.values():
            os.close(descriptor)

    def _directory(self, directory: str) -> int:
        """A descriptor of a directory, each step opened without following links; kept until :meth:`shut`."""
        known = self._directories.get(directory)
        if known is not None:
            return known
        above, _, last = check_name(directory).rpartition("/")
        opened = os.open(last, _DIRECTORY_FLAGS | os.O_NOFOLLOW, dir_fd=self._directory(above))
        kept = self._directories.setdefault(directory, opened)
        if kept != opened:  # another thread was first
            os.close(opened)
        return kept

    def _place(self, operation: str, name: str) -> tuple[int, str]:
        above, _, last = check_name(name).rpartition("/")
        try:
            return self._directory(above), last
        except OSError as error:
            raise _refused(operation, name, error) from error

    def _open(self, operation: str, name: str, flags: int) -> int:
        above, last = self._place(operation, name)
        try:
            descriptor = os.open(last, flags, FILE_MODE, dir_fd=above)
        except OSError as error:
            raise _refused(operation, name, error) from error
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode) and found.st_nlink <= 1:  # 0: removed since it was opened
            return descriptor
        os.close(descriptor)
        if stat.S_ISREG(found.st_mode):
            raise LinkedFileError(operation, name, found.st_nlink)
        raise DiskError(operation, name, errno.EINVAL, "not a regular file")

    def _move(self, operation: str, source: str, target: str) -> None:
        source_above, source_last = self._place(operation, source)
        target_above, target_last = self._place(operation, target)
        try:
            os.replace(source_last, target_last, src_dir_fd=source_above, dst_dir_fd=target_above)
        except OSError as error:
            raise _refused(operation, target, error) from error


if sys.platform == "darwin":

    def _sync_data(descriptor: int) -> None:
        # fsync on macOS stops at the drive's cache; this does not.
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)

    def _sync_directory(descriptor: int) -> None:
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)

else:

    def _sync_data(descriptor: int) -> None:
        os.fdatasync(descriptor)

    def _sync_directory(descriptor: int) -> None:
        os.fsync(descriptor)
