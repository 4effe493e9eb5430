"""A directory opened for reading: no lock, whole commits only, catching up when asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from storage_engine.catalog import Catalog
from storage_engine.errors import DamagedError, NotADatabaseError
from storage_engine.files import Disk, DiskError
from storage_engine.format_file import read_format
from storage_engine.history.reader_pin import ReaderPin
from storage_engine.lock import LOCK_NAME
from storage_engine.manifest.manifest import Manifest
from storage_engine.manifest.reader import choose_manifest, manifest_numbers
from storage_engine.recovery import LogPosition, begin, refuse_gap, replay, successor
from storage_engine.snapshot import Snapshot
from storage_engine.wal.reader import LogEnd, LogReader
from storage_engine.wal.record import FILE_HEADER_BYTES, LogEntry, log_name
from storage_engine.wal.watermark import read_watermark

_ATTEMPTS = 20


@dataclass(slots=True)
class _State:
    catalog: Catalog
    manifest: Manifest
    position: LogPosition
    pin: ReaderPin


class Follower:
    """See the module. Safe to use from several threads.

    A reader shows a commit only if it will survive a power cut: up to the watermark, which the writer moves before it
    acknowledges. What follows in the log may still fail; it is shown if no writer is alive to finish it.

    It marks the manifest that it reads from (:mod:`storage_engine.history.reader_pin`), so that files which it has not
    opened yet stay where they are until it moves on or is closed.

    Args:
        disk: Where.
        clock: Seconds since the epoch.

    Raises:
        NotADatabaseError: The directory holds something else.
        DamagedError: Commits cannot be read.
    """

    def __init__(self, disk: Disk, clock: Callable[[], float] = time.time) -> None:
        self.disk = disk
        self._clock = clock
        self._uuid = read_format(disk).database_uuid
        self._lock = threading.Lock()
        self._state = self._load()
        self._snapshot = Snapshot(self._state.catalog)

    @property
    def snapshot(self) -> Snapshot:
        """The state at the last :meth:`refresh`."""
        return self._snapshot

    def close(self) -> None:
        """Let the writer remove what only this reader still needs. Idempotent; snapshots stay readable."""
        self._state.pin.release()
        self.disk.shut()

    @property
    def manifest(self) -> Manifest:
        """The manifest read last."""
        return self._state.manifest

    def newest_manifest(self) -> Manifest:
        """The manifest that a reader would open with now; what this one shows does not change.

        Raises:
            DamagedError: None is usable.
        """
        for attempt in range(_ATTEMPTS):
            seen = manifest_numbers(self.disk)
            try:
                choice = choose_manifest(self.disk, self._uuid)
            except (DamagedError, DiskError):
                if attempt + 1 == _ATTEMPTS or manifest_numbers(self.disk) == seen:
                    raise
            else:
                if choice is None:
                    return self._state.manifest
                # A manifest is rejected, too, where the writer went on to newer ones and removed the log it needed.
                if not choice.rejected or attempt + 1 == _ATTEMPTS or manifest_numbers(self.disk) == seen:
                    return choice.manifest
        raise AssertionError("the last attempt returns or raises")

    def refresh(self) -> int:
        """Catch up with the log and return the version.

        Raises:
            DamagedError: Commits cannot be read; the snapshot stays what it was.
        """
        with self._lock:
            if manifest_numbers(self.disk)[-1:] != [self._state.manifest.number]:
                # Rows that only the log held are in segments now: start from there, so that memory does not grow.
                self._move_to(self._load())
            else:
                try:
                    self._follow(self._state)
                except (DamagedError, DiskError):
                    # The writer may just have sealed and removed the log; if it has not, loading fails as well.
                    self._move_to(self._load())
                else:
                    self._state.pin.move(self._state.catalog.lsn)
            if self._state.catalog.lsn != self._snapshot.version:
                self._snapshot = Snapshot(self._state.catalog)
            return self._snapshot.version

    def _move_to(self, state: _State) -> None:
        self._state.pin.release()
        self._state = state
        # Also at the same version: the old one would keep files mapped that the writer has replaced.
        self._snapshot = Snapshot(state.catalog)

    def _load(self) -> _State:
        for attempt in range(_ATTEMPTS):
            seen = manifest_numbers(self.disk)
            try:
                started = begin(self.disk, self._uuid)
                if started is None:
                    raise NotADatabaseError(
                        "the database is just being created", fix="Open it for writing once, then for reading."
                    )
                choice, catalog, position = started
                number = choice.manifest.number
                pin = ReaderPin.take(self.disk, number, catalog.lsn, self._clock())
                state = _State(catalog, choice.manifest, position, pin)
                try:
                    # Files go when two newer manifests are there; whoever writes the second one sees the mark.
                    overtaken = number not in manifest_numbers(self.disk)[-2:] and not choice.rejected
                    if not overtaken or attempt + 1 == _ATTEMPTS:
                        self._follow(state)
                        pin.move(state.catalog.lsn)
                        return state
                    pin.release()
                except BaseException:
                    pin.release()
                    raise
            except (DamagedError, DiskError):
                # Files may vanish between reading the manifest and reading them, if the writer sealed twice meanwhile.
                if attempt + 1 == _ATTEMPTS or manifest_numbers(self.disk) == seen:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _follow(self, state: _State) -> None:
        """Apply what the log has gained; on an error the state has advanced to the last commit before it."""
        while True:
            # In this order: what the watermark covers is in the logs that are there afterwards, and a log that has a
            # successor is complete, so what is read of it then is all of it.
            acknowledged = read_watermark(self.disk, self._uuid)
            number = state.position.number
            complete = self.disk.exists(log_name(number + 1))
            reader = LogReader(self.disk, number, self._uuid, after=state.position.end)
            entries = list(reader.entries())
            last = entries[-1].lsn if entries else state.position.end.last_lsn
            after = successor(self.disk, number, last, self._uuid) if complete else None
            shown = self._shown(entries, log_name(number)) if after is None else len(entries)
            for entry in entries[:shown]:
                state.catalog = replay(self.disk, state.catalog, entry, state.position)
                state.position.end = LogEnd(entry.end, entry.lsn, entry.crc, 0)
            if after is None:
                refuse_gap(self.disk, number)
                reader.finish(acknowledged)  # what was acknowledged and cannot be read is damage, not a commit to come
                if acknowledged > state.position.end.last_lsn:
                    continue  # it was being written while it was read
                return
            end = state.position.end
            if after.header.first_lsn != end.last_lsn + 1 or after.header.previous_crc != end.last_crc:
                raise DamagedError(
                    f"{after.name} does not continue {reader.name}: commits after {end.last_lsn} cannot be read",
                    fix="Restore the directory from a backup.",
                    value=after.name,
                )
            state.position = LogPosition(
                number + 1,
                after.header.crc,
                LogEnd(FILE_HEADER_BYTES, end.last_lsn, end.last_crc, 0),
                {number + 1: set()},
            )

    def _shown(self, entries: list[LogEntry], name: str) -> int:
        """How many of the entries may be shown."""
        if not entries:
            return 0
        durable = max(read_watermark(self.disk, self._uuid), entries[-1].durable_lsn)
        shown = sum(entry.lsn <= durable for entry in entries)
        if shown < len(entries) and self._nobody_writes(name):
            return len(entries)
        return shown

    def _nobody_writes(self, name: str) -> bool:
        """Whether no writer is alive; log and names are then made durable, as a writer would do at its next open."""
        try:
            lock = self.disk.open(LOCK_NAME)
        except DiskError:
            return False  # no permission to find out
        try:
            if not self.disk.lock(lock):
                return False
            log = self.disk.open(name)
            try:
                self.disk.sync(log)
            finally:
                self.disk.close(log)
            for folder in ("manifest", "wal"):
                self.disk.sync_directory(folder)
        except DiskError:
            return False
        finally:
            self.disk.close(lock)
        return True
