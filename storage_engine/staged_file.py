"""Files that are written once: under a temporary name, synced, read back, and only then given their real name."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from storage_engine.errors import DamagedError
from storage_engine.files import Bytes, Disk, DiskError, parent_of, write_all

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A finished, immutable file of the database.

    Args:
        name: Relative to the database directory, like ``seg/<uuid>.vec``.
        length: In bytes.
        sha256: Hexadecimal digest of the whole file.
    """

    name: str
    length: int
    sha256: str


class StagedFile(io.RawIOBase):
    """A binary stream into ``<name>.tmp`` of the same directory; sequential, so that the digest is known at the end.

    Works as the sink of libraries that write to a Python file (``write``, ``tell``, ``flush``, ``close``). Closing the
    stream neither publishes nor removes anything: call :meth:`seal`, then :func:`publish`; or :meth:`abandon`.

    Raises:
        DiskError: From every call that touches the disk.
    """

    def __init__(self, disk: Disk, name: str) -> None:
        super().__init__()
        self.name = name
        self._disk = disk
        self._temporary = f"{name}.tmp"
        if disk.exists(self._temporary):
            disk.unlink(self._temporary)
        self._handle = disk.create(self._temporary)
        self._length = 0
        self._abandoned = False
        self._digest = hashlib.sha256()

    def writable(self) -> bool:
        """Always ``True``."""
        return True

    def tell(self) -> int:
        """Bytes written so far."""
        return self._length

    def write(self, data: Any) -> int:
        """Append all of ``data`` (any object with the buffer protocol) and return its length in bytes."""
        view = memoryview(data).cast("B")
        if self._abandoned:
            return len(view)
        write_all(self._disk, self._handle, self._length, view)
        self._digest.update(view)
        self._length += len(view)
        return len(view)

    def seal(self) -> StoredFile:
        """Make the bytes durable and read them back; the file still has its temporary name.

        Raises:
            DamagedError: What was read differs from what was written.
        """
        self._disk.sync(self._handle)
        self._disk.close(self._handle)
        stored = StoredFile(self.name, self._length, self._digest.hexdigest())
        _check(self._disk, self._temporary, stored)
        return stored

    def abandon(self) -> None:
        """Close and remove the temporary file; what cannot be removed is swept at the next open.

        Later writes are dropped: libraries flush their buffers when they are closed or collected.
        """
        self._abandoned = True
        with contextlib.suppress(DiskError):
            self._disk.close(self._handle)
        with contextlib.suppress(DiskError):
            self._disk.unlink(self._temporary)


def publish(disk: Disk, files: Sequence[StoredFile]) -> None:
    """Give sealed files their names, which must be free, and make the names durable.

    Raises:
        DiskError: A name is taken, or the disk failed; files already renamed stay and are swept if nothing names them.
    """
    for file in files:
        disk.rename(f"{file.name}.tmp", file.name)
    for directory in sorted({parent_of(file.name) for file in files}):
        disk.sync_directory(directory)


def discard(disk: Disk, files: Sequence[StoredFile]) -> None:
    """Remove sealed files that were not published; what cannot be removed is swept at the next open."""
    for file in files:
        with contextlib.suppress(DiskError):
            disk.unlink(f"{file.name}.tmp")


def store_file(disk: Disk, name: str, data: Bytes) -> StoredFile:
    """Write, sync, verify, name: one small immutable file in one call.

    Raises:
        DiskError: The name is taken or the disk failed.
        DamagedError: What was read back differs from what was written.
    """
    staged = StagedFile(disk, name)
    try:
        staged.write(data)
        stored = staged.seal()
        publish(disk, [stored])
    except BaseException:
        staged.abandon()
        raise
    return stored


def check_present(disk: Disk, file: StoredFile) -> None:
    """Check that a file is there with the right length.

    Raises:
        DamagedError: It is missing or its length differs.
    """
    try:
        length = disk.size(file.name)
    except DiskError as error:
        if not error.missing:
            raise
        raise DamagedError(
            f"{file.name} is missing",
            fix="Restore the file from a backup of the directory.",
            value=file.name,
        ) from error
    if length != file.length:
        raise DamagedError(
            f"{file.name} has {length} bytes instead of {file.length}",
            fix="Restore the file from a backup of the directory.",
            value=file.name,
        )


def check_digest(disk: Disk, file: StoredFile) -> None:
    """Read a whole file and compare length and digest. About one second a gigabyte.

    Raises:
        DamagedError: It is missing, its length differs, or its bytes do.
    """
    check_present(disk, file)
    _check(disk, file.name, file)


def read_file(disk: Disk, file: StoredFile) -> bytes:
    """The verified content of a file.

    Raises:
        DamagedError: It is missing, its length differs, or its bytes do.
    """
    check_present(disk, file)
    data = disk.read(file.name)
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise _differs(file.name)
    return data


def _check(disk: Disk, name: str, file: StoredFile) -> None:
    digest = hashlib.sha256()
    for offset in range(0, file.length, _CHUNK):
        digest.update(disk.read(name, offset, min(_CHUNK, file.length - offset)))
    if digest.hexdigest() != file.sha256:
        raise _differs(name)


def _differs(name: str) -> DamagedError:
    return DamagedError(
        f"{name} fails its digest (bytes 0 to the end)",
        fix="Restore the file from a backup of the directory.",
        value=name,
    )
