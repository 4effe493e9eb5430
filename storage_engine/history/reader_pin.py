"""A reader's mark on the files that it may still open: ``readers/<uuid>.pin``, locked for as long as it reads.

The lock belongs to the open file, so a reader that dies lets go of it; the writer removes marks that nobody holds. A
reader that may not write here (a read-only file system, another user) goes without: what it has mapped stays readable,
and a file that it had not opened yet may be gone after two more seals.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from dataclasses import dataclass

from storage_engine.files import Disk, DiskError, Handle, write_all

FOLDER = "readers"
_ATTEMPTS = 10
_BYTES = 160


@dataclass(frozen=True, slots=True)
class PinnedManifest:
    """What a live reader has marked.

    Args:
        file: The mark.
        number: The manifest whose files it may open.
        version: The version that it shows.
        pid: Its process, 0 if unknown.
        since: When it took the mark, seconds since the epoch.
    """

    file: str
    number: int
    version: int
    pid: int
    since: float


class ReaderPin:
    """A mark that is held, or none where the directory cannot be written to. Made by :meth:`take`."""

    __slots__ = ("_disk", "_handle", "_number", "_pid", "_since", "_version")

    def __init__(self, disk: Disk, handle: Handle | None, number: int, version: int, now: float) -> None:
        self._disk = disk
        self._handle = handle
        self._number = number
        self._pid = os.getpid()
        self._version = version
        self._since = now

    @classmethod
    def take(cls, disk: Disk, number: int, version: int, now: float) -> ReaderPin:
        """Mark manifest ``number``; the caller then makes sure that it was still needed after that.

        Args:
            disk: Where.
            number: The manifest.
            version: What is read.
            now: Seconds since the epoch.
        """
        for _ in range(_ATTEMPTS):
            try:
                handle = disk.create(f"{FOLDER}/{uuid.uuid4().hex}.pin")
            except DiskError:
                break
            pin = cls(disk, handle, number, version, now)
            try:
                if disk.lock(handle):
                    pin._write()
                    # Between its making and its locking, a writer may have taken it for a dead reader's.
                    if disk.exists(handle.name):
                        return pin
            except DiskError:
                pin.release()
                break
            disk.close(handle)
        return cls(disk, None, number, version, now)

    def move(self, version: int) -> None:
        """Say that the reader now shows another version of the same manifest."""
        if version != self._version:
            self._version = version
            with contextlib.suppress(DiskError):
                self._write()

    def _write(self) -> None:
        if self._handle is None:
            return
        value = {"manifest": self._number, "version": self._version, "pid": os.getpid(), "since": self._since}
        # Of one length, so that no reader sees the end of an older text.
        write_all(self._disk, self._handle, 0, json.dumps(value).ljust(_BYTES).encode())

    def release(self) -> None:
        """Let go. Idempotent."""
        handle, self._handle = self._handle, None
        if handle is not None:
            if os.getpid() == self._pid:  # in a forked child it is still the parent's
                with contextlib.suppress(DiskError):
                    self._disk.unlink(handle.name)
            self._disk.close(handle)


def live_pins(disk: Disk, *, remove_dead: bool) -> list[PinnedManifest]:
    """The marks that readers hold now.

    Args:
        disk: Where.
        remove_dead: Also remove the marks of dead readers; only for the writer.
    """
    found = []
    for entry in disk.list(FOLDER):
        name = f"{FOLDER}/{entry}"
        with contextlib.suppress(DiskError, ValueError):
            handle = disk.open(name)
            try:
                alone = disk.lock(handle)
                if alone and remove_dead:
                    disk.unlink(name)
            finally:
                disk.close(handle)
            if not alone:
                found.append(_read(disk, name))
    return found


def _read(disk: Disk, name: str) -> PinnedManifest:
    """What a held mark says; one that is just being written marks nothing yet: its reader looks again afterwards."""
    try:
        value = json.loads(disk.read(name))
        return PinnedManifest(
            name, int(value["manifest"]), int(value["version"]), int(value["pid"]), float(value["since"])
        )
    except (ValueError, TypeError, KeyError):
        return PinnedManifest(name, -1, -1, 0, 0.0)
