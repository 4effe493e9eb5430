"""The one door to the disk: a small port. :mod:`storage_engine.real_disk` stands behind it.

Every byte that Q-Store stores passes through the calls of :class:`Disk`. Each call does one thing and hides nothing,
so that an implementation which loses power at any call, or fails the n-th one, can stand in for the real directory.

Names are relative to the database directory and use ``/``: ``wal/0000000001.wal``. They never come from users.
Errors of the operating system arrive as :class:`DiskError`.
"""

from __future__ import annotations

import errno
import re
from typing import Protocol, TypeAlias

from storage_engine.errors import DatabaseError

ROOT = ""
"""The name of the database directory itself, for the calls that take a directory."""

_NAME = re.compile(r"(?:FORMAT|LOCK|SYNCED)|[a-z0-9_-][a-z0-9._-]*(?:/[a-z0-9_-][a-z0-9._-]*)*")
_MAX_NAME = 120
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

Bytes: TypeAlias = bytes | bytearray | memoryview


class DiskError(DatabaseError):
    """The operating system refused a call on one file.

    Writers catch it and decide whether it means "nothing was stored" or "nobody knows"; elsewhere it travels up.

    Args:
        operation: The call that failed, as named in :class:`Disk`.
        name: The file, relative to the database directory.
        code: The ``errno`` value.
        reason: The system's own words.
        fix: What to do about it; by default what helps with most errors of its kind.
    """

    def __init__(self, operation: str, name: str, code: int, reason: str, *, fix: str = "") -> None:
        self.operation = operation
        self.name = name
        self.errno = code
        symbol = errno.errorcode.get(code, str(code))
        usual = "Free some space and open the database again." if self.full else "Check the disk and its permissions."
        super().__init__(
            f"the disk refused to {operation} {name or 'the database directory'}: {reason} ({symbol})",
            fix=fix or usual,
            value=name,
        )

    @property
    def full(self) -> bool:
        """Whether the disk, or the user's quota, is full."""
        return self.errno in _FULL

    @property
    def missing(self) -> bool:
        """Whether the file is not there."""
        return self.errno == errno.ENOENT

    @property
    def exists(self) -> bool:
        """Whether a name was taken that had to be free."""
        return self.errno == errno.EEXIST

    @property
    def not_a_directory(self) -> bool:
        """Whether a file stands where a directory was expected."""
        return self.errno == errno.ENOTDIR


class LinkedFileError(DiskError):
    """A file of the database has a second name: what is written through that one would change what is stored.

    The database never makes hard links, so somebody else did. Nothing was read from the file or written to it.
    """

    def __init__(self, operation: str, name: str, names: int) -> None:
        fix = "Put a copy in its place (cp FILE COPY && mv COPY FILE); the other name keeps the old file."
        super().__init__(operation, name, errno.EMLINK, f"it has {names} names (hard links)", fix=fix)


class Handle:
    """An open file of one :class:`Disk`; passed back to it and closed by :meth:`Disk.close`."""

    __slots__ = ("descriptor", "name", "state")

    def __init__(self, name: str, descriptor: int = -1, state: object = None) -> None:
        self.name = name
        self.descriptor = descriptor
        self.state = state


class Disk(Protocol):
    """One directory tree. All calls may be made from any thread; a handle is used by one thread at a time.

    Every call raises :class:`DiskError` when the system refuses it, and :class:`ValueError` for a name that breaks
    the rules of :func:`check_name` (a defect of the program, not of the disk).
    """

    def create(self, name: str) -> Handle:
        """Create an empty file and open it for reading and writing; the name must be free (``DiskError.exists``)."""
        ...

    def open(self, name: str) -> Handle:
        """Open an existing file for reading and writing."""
        ...

    def write(self, handle: Handle, offset: int, data: Bytes) -> int:
        """Write at ``offset`` and return how many bytes were taken, which may be fewer than given."""
        ...

    def truncate(self, handle: Handle, length: int) -> None:
        """Cut the file, or extend it with zeros, to ``length`` bytes."""
        ...

    def sync(self, handle: Handle) -> None:
        """Return once the file's bytes and length survive a power cut. After an error nothing is known about them."""
        ...

    def lock(self, handle: Handle) -> bool:
        """Take the exclusive advisory lock of an open file without waiting; ``False`` if somebody else has it."""
        ...

    def close(self, handle: Handle) -> None:
        """Give the handle back, and with it its lock. Closing twice is allowed. Makes nothing durable."""
        ...

    def sync_directory(self, directory: str) -> None:
        """Return once all names created, renamed and removed in ``directory`` survive a power cut."""
        ...

    def make_directory(self, directory: str) -> None:
        """Create one directory; fine if it is there. Its name is durable after syncing the directory above."""
        ...

    def rename(self, source: str, target: str) -> None:
        """Give a file a new name that must be free (``DiskError.exists``). Within one directory, by one writer."""
        ...

    def replace(self, source: str, target: str) -> None:
        """Give a file a new name in one step, taking the place of the file that has it."""
        ...

    def unlink(self, name: str) -> None:
        """Remove a name. Mappings made before stay readable."""
        ...

    def list(self, directory: str) -> list[str]:
        """The entries of a directory (last parts only, sorted), whatever their names; empty if it is not there."""
        ...

    def exists(self, name: str) -> bool:
        """Whether a file or directory of that name is there."""
        ...

    def size(self, name: str) -> int:
        """The file's length in bytes."""
        ...

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """Bytes from ``offset`` on; at most ``length``, fewer only where the file ends."""
        ...

    def map(self, name: str) -> memoryview:
        """The whole file as read-only memory that stays valid after :meth:`unlink`.

        Only for finished files that nobody writes or cuts any more.
        """
        ...

    def free_space(self) -> int:
        """Bytes that may still be written by this user."""
        ...

    def shut(self) -> None:
        """Give back what the disk itself holds open; handles and mappings stay valid. Idempotent; no call after it."""
        ...


def check_name(name: str) -> str:
    """Return ``name`` if it may be a file of a database.

    Lower-case letters, digits, ``.``, ``_`` and ``-``, at most 120 characters, parts separated by single ``/`` and not
    starting with a dot; besides these only ``FORMAT``, ``LOCK`` and ``SYNCED``.

    Raises:
        ValueError: For every other name.
    """
    if len(name) > _MAX_NAME or _NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} may not name a file of a database")
    return name


def parent_of(name: str) -> str:
    """The directory of a file: ``"wal"`` for ``"wal/1.wal"``, :data:`ROOT` for ``"FORMAT"``."""
    return name.rpartition("/")[0]


def write_all(disk: Disk, handle: Handle, offset: int, data: Bytes) -> None:
    """Write all of ``data`` at ``offset``, in as many calls as the system wants.

    Raises:
        DiskError: The system refused part of it; some bytes may have been written.
    """
    written = disk.write(handle, offset, data)
    if written == len(data):
        return
    view = memoryview(data).cast("B")
    while written < len(view):
        step = disk.write(handle, offset + written, view[written:])
        if step == 0:
            raise DiskError("write", handle.name, errno.ENOSPC, "no byte was taken")
        written += step


def replace_file(disk: Disk, name: str, data: Bytes) -> None:
    """Create or replace a small file so that after a crash either the old or the whole new content is there.

    Raises:
        DiskError: The old content still stands, unless the operation was ``sync_directory``.
    """
    temporary = name.lower() + ".tmp"
    if disk.exists(temporary):
        disk.unlink(temporary)
    handle = disk.create(temporary)
    try:
        write_all(disk, handle, 0, data)
        disk.sync(handle)
    finally:
        disk.close(handle)
    disk.replace(temporary, name)
    disk.sync_directory(parent_of(name))
