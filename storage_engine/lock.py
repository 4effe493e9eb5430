"""One writer a directory: an exclusive ``flock`` on the file ``LOCK``, which is never deleted.

The lock belongs to the open file, so it vanishes with the process whatever kills it. The file's contents say who holds
it, for messages only. Readers take no lock.
"""

from __future__ import annotations

import datetime
import json
import os
import socket
from typing import Any

from storage_engine.errors import DatabaseLockedError
from storage_engine.files import Disk, DiskError, Handle, write_all

LOCK_NAME = "LOCK"


class WriterLock:
    """A lock that is held. Make one with :meth:`acquire`."""

    __slots__ = ("_disk", "_handle")

    def __init__(self, disk: Disk, handle: Handle) -> None:
        self._disk = disk
        self._handle = handle

    @classmethod
    def acquire(cls, disk: Disk, *, now: float) -> WriterLock:
        """Take the lock without waiting and write down who holds it.

        Args:
            disk: Where.
            now: Seconds since the epoch, for the message that others will see.

        Raises:
            DatabaseLockedError: Somebody else holds it; names process, host and since when.
            DiskError: The file can be neither opened nor created, or the file system has no locks.
        """
        handle = _open_or_create(disk)
        try:
            if not disk.lock(handle):
                raise _locked(disk)
            holder = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "started": now}).encode()
            disk.truncate(handle, 0)
            write_all(disk, handle, 0, holder)
        except BaseException:
            disk.close(handle)
            raise
        return cls(disk, handle)

    def release(self) -> None:
        """Give the lock up. Idempotent.

        In a forked child too: the child's copy of the descriptor is closed, and the parent keeps the lock.
        """
        self._disk.close(self._handle)


def _open_or_create(disk: Disk) -> Handle:
    try:
        return disk.open(LOCK_NAME)
    except DiskError as error:
        if not error.missing:
            raise
    try:
        return disk.create(LOCK_NAME)
    except DiskError as error:
        if not error.exists:
            raise
    return disk.open(LOCK_NAME)  # somebody else created it in between


def _locked(disk: Disk) -> DatabaseLockedError:
    holder: dict[str, Any] = {}
    try:
        holder = json.loads(disk.read(LOCK_NAME))
        since = datetime.datetime.fromtimestamp(holder["started"], datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        who = f"process {holder['pid']} on {holder['host']} since {since}"
    except (ValueError, TypeError, KeyError, OverflowError, OSError, DiskError):
        who = "another process (which has not written its name yet)"
    return DatabaseLockedError(
        f"the database is open for writing in {who}",
        fix="Close it there, or open with read_only=True.",
        value=holder.get("pid") if isinstance(holder, dict) else None,
    )
