"""Files that are written once: under a temporary name, synced, read back, and only then given their real name."""

from __future__ import annotations

import contextlib
import hashlib
import io
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from storage_engine.errors import DamagedError
from storage_engine.files import Bytes, Disk, DiskError, parent_of, write_all

_CHUNK = 1 << 20
_LARGE_BYTES = 4 << 20


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
        self._crc = 0

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
        self._crc = crc32(view, self._crc)
        self._length += len(view)
        return len(view)

    def seal(self) -> StoredFile:
        """Make the bytes durable and read them back; the file still has its temporary name.

        What is read is compared with what was written by CRC-32, and gives the digest: it is that of the file's bytes,
        computed once.

        Raises:
            DamagedError: What was read differs from what was written.
        """
        if self._length < _LARGE_BYTES:
            self._disk.sync(self._handle)
            self._disk.close(self._handle)
            sha256 = self._read_back()
        else:
            # Waiting for the drive and computing the digest take about as long as each other.
            syncing = _Aside(lambda: self._disk.sync(self._handle))
            try:
                sha256 = self._read_back()
            finally:
                syncing.join()
            syncing.result()
            self._disk.close(self._handle)
        return StoredFile(self.name, self._length, sha256)

    def _read_back(self) -> str:
        crc, digest = 0, hashlib.sha256()
        for offset in range(0, self._length, _CHUNK):
            data = self._disk.read(self._temporary, offset, min(_CHUNK, self._length - offset))
            crc = crc32(data, crc)
            digest.update(data)
        if crc != self._crc:
            raise _differs(self._temporary)
        return digest.hexdigest()

    def abandon(self) -> None:
        """Close and remove the temporary file; what cannot be removed is swept at the next open.

        Later writes are dropped: libraries flush their buffers when they are closed or collected.
        """
        self._abandoned = True
        with contextlib.suppress(DiskError):
            self._disk.close(self._handle)
        with contextlib.suppress(DiskError):
            self._disk.unlink(self._temporary)


class _Aside(threading.Thread):
    """A call in a thread of its own."""

    def __init__(self, work: Callable[[], None]) -> None:
        super().__init__(name="qstore-sync", daemon=True)
        self._work = work
        self._error: BaseException | None = RuntimeError("the call has not returned")
        self.start()

    def run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that asks
            self._error = error
        else:
            self._error = None

    def result(self) -> None:
        """Raise what the call raised."""
        if self._error is not None:
            raise self._error


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
