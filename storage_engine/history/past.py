"""The database as it was at one version: read from the checkpoint before it and the logs up to it, never changed."""

from __future__ import annotations

import weakref
from collections.abc import Callable

from storage_engine.catalog import Catalog
from storage_engine.errors import DamagedError, UnknownVersionError
from storage_engine.files import Disk, DiskError
from storage_engine.history.reader_pin import ReaderPin
from storage_engine.manifest.manifest import Manifest
from storage_engine.manifest.reader import read_manifest
from storage_engine.recovery import LogPosition, load_manifest, replay
from storage_engine.snapshot import Snapshot
from storage_engine.wal.reader import LogEnd, LogReader
from storage_engine.wal.record import FILE_HEADER_BYTES, log_name


class Past:
    """An old version, held readable until :meth:`close` or until nobody uses it any more.

    Args:
        disk: Where.
        version: From 0 to the newest.
        newest: Gives the newest manifest.
        now: Seconds since the epoch.
        owns_disk: Whether :meth:`close` shuts the disk.

    Attributes:
        snapshot: The version.
        manifest: The manifest that was the newest when this was read.

    Raises:
        UnknownVersionError: The version is not kept.
        DamagedError: A file that it needs is missing or damaged.
    """

    def __init__(
        self, disk: Disk, version: int, newest: Callable[[], Manifest], now: float, *, owns_disk: bool
    ) -> None:
        self.disk = disk
        self.manifest = newest()
        base = self.manifest.retained.base(version, self.manifest.checkpoint)
        pin = ReaderPin.take(disk, base.number, version, now)
        self._finalizer = weakref.finalize(self, _give_back, disk, pin, owns_disk)
        try:
            self.snapshot = Snapshot(load(disk, self.manifest, version))
        except (DamagedError, DiskError):
            # The writer may have given the version up before it could see the mark.
            self._still_kept(version, newest())
            raise
        # The mark was there before this second look: what is kept now stays for as long as the mark does.
        self._still_kept(version, newest())

    def refresh(self) -> int:
        """The version, which never changes."""
        return self.snapshot.version

    def close(self) -> None:
        """Let the writer give the version up. Idempotent; the snapshot stays readable where it was read before."""
        self._finalizer()

    def _still_kept(self, version: int, manifest: Manifest) -> None:
        try:
            manifest.retained.base(version, manifest.checkpoint)
        except UnknownVersionError:
            self.close()
            raise


def load(disk: Disk, manifest: Manifest, version: int) -> Catalog:
    """The state at a version.

    Args:
        disk: Where.
        manifest: The newest one.
        version: From 0 to the newest commit.

    Raises:
        UnknownVersionError: It is not kept.
        DamagedError: A file that it needs is missing or damaged.
    """
    base = manifest.retained.base(version, manifest.checkpoint)
    old = manifest if base.number == manifest.number else read_manifest(disk, base.number, manifest.database_uuid)[0]
    catalog = load_manifest(disk, old)
    number = old.wal_number
    last_crc = old.last_crc
    while catalog.lsn < version:
        reader = LogReader(disk, number, manifest.database_uuid)
        header = reader.header
        if header.first_lsn != catalog.lsn + 1 or header.previous_crc != last_crc:
            raise DamagedError(
                f"{reader.name} does not continue version {catalog.lsn}: it belongs to another history",
                fix="Restore the directory from a backup.",
                value=reader.name,
            )
        end = LogEnd(FILE_HEADER_BYTES, catalog.lsn, last_crc, 0)
        position = LogPosition(number, header.crc, end, {number: set()})
        for entry in reader.entries():
            catalog = replay(disk, catalog, entry, position)
            last_crc = entry.crc
            if catalog.lsn == version:
                return catalog
        if not disk.exists(log_name(number + 1)):
            reader.finish(version)  # says what cannot be read
        number += 1
    return catalog


def _give_back(disk: Disk, pin: ReaderPin, owns_disk: bool) -> None:
    pin.release()
    if owns_disk:
        disk.shut()
