"""Give up what cannot be read of a damaged database and keep the commits before it, with copies of all that changes.

Only what opening stumbles over is repaired: logs and manifests. Damaged rows inside a segment are never cut away; they
stay refused, and the file has to come from a backup. The newest usable manifest counts, so that no sealed row is lost.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

from storage_engine.errors import DamagedError
from storage_engine.files import Disk, replace_file
from storage_engine.manifest.reader import choose_manifest
from storage_engine.recovery import LogPosition, load_manifest, replay
from storage_engine.staged_file import store_file
from storage_engine.wal.reader import LogEnd, LogReader
from storage_engine.wal.record import FILE_HEADER_BYTES, log_name, log_number
from storage_engine.wal.watermark import Watermark, read_watermark
from storage_engine.wal.writer import LogWriter


@dataclass(slots=True)
class RepairReport:
    """What was given up.

    Args:
        version: The newest commit that was kept.
        lost_up_to: The newest commit that is known to have been acknowledged; not above ``version`` if none was lost
            for certain.
        explained: What was found and done, one sentence each.
        copies: Files in ``quarantine/`` that hold what was changed or removed.
    """

    version: int
    lost_up_to: int
    explained: list[str] = field(default_factory=list)
    copies: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Everything, a line each."""
        lost = max(0, self.lost_up_to - self.version)
        summary = f"kept all commits up to {self.version}; {lost} acknowledged after it are known to be lost"
        return "\n".join([*self.explained, summary, *(f"a copy is in {name}" for name in self.copies)])


def keep_prefix(disk: Disk, database_uuid: str, damage: DamagedError, now: float) -> RepairReport:
    """Make the directory openable again. Under the writer's lock.

    Args:
        disk: Where.
        database_uuid: From the file ``FORMAT``.
        damage: Why it cannot be opened.
        now: Seconds since the epoch.

    Raises:
        DamagedError: No manifest is usable, so that there is no prefix to keep; nothing was changed.
        DiskError: The disk failed; what was changed so far has its copy.
    """
    choice = choose_manifest(disk, database_uuid)
    if choice is None:
        raise damage
    manifest = choice.manifest
    report = RepairReport(0, read_watermark(disk, database_uuid), [damage.what])
    for rejected in choice.rejected:
        _put_aside(disk, rejected.name, report)
        disk.unlink(rejected.name)
        report.explained.append(f"{rejected.name} cannot be used: {rejected.error.what}")
    number, end = _readable(disk, database_uuid, choice.manifest.wal_number, manifest.last_lsn, manifest.last_crc)
    if number is None:
        number = manifest.wal_number
        end = LogEnd(FILE_HEADER_BYTES, manifest.last_lsn, manifest.last_crc, 0)
        if disk.exists(log_name(number)):
            _put_aside(disk, log_name(number), report)
            disk.unlink(log_name(number))
        first = manifest.last_lsn + 1
        log = LogWriter.create(
            disk, database_uuid, number, first_lsn=first, previous_crc=manifest.last_crc, created_at=now
        )
        log.close()
        report.explained.append(f"{log_name(number)} was begun anew after version {manifest.last_lsn}")
    elif disk.size(log_name(number)) != end.offset:
        _put_aside(disk, log_name(number), report)
        replace_file(disk, log_name(number), disk.read(log_name(number), 0, end.offset))
        report.explained.append(f"{log_name(number)} was cut at offset {end.offset}, after version {end.last_lsn}")
    for later in _logs_after(disk, number):
        _put_aside(disk, later, report)
        disk.unlink(later)
        report.explained.append(f"{later} was taken out: commits before it are missing")
    mark = Watermark(disk, database_uuid)
    try:
        mark.reset(end.last_lsn)
    finally:
        mark.close()
    report.version = end.last_lsn
    return report


def _readable(disk: Disk, database_uuid: str, number: int, last_lsn: int, last_crc: int) -> tuple[int | None, LogEnd]:
    """The last log that continues the manifest (``None``: none), and where its last applicable record ends."""
    choice = choose_manifest(disk, database_uuid)
    if choice is None:
        raise AssertionError("the manifest was there a moment ago")
    catalog = load_manifest(disk, choice.manifest)
    found: int | None = None
    end = LogEnd(FILE_HEADER_BYTES, last_lsn, last_crc, 0)
    with contextlib.suppress(DamagedError):
        while True:
            reader = LogReader(disk, number, database_uuid)
            if reader.header.first_lsn != end.last_lsn + 1 or reader.header.previous_crc != end.last_crc:
                return found, end
            found, end = number, LogEnd(FILE_HEADER_BYTES, end.last_lsn, end.last_crc, 0)
            position = LogPosition(number, reader.header.crc, end, {number: set()})
            for entry in reader.entries():
                catalog = replay(disk, catalog, entry, position)
                end = LogEnd(entry.end, entry.lsn, entry.crc, 0)
            number += 1
    return found, end


def _logs_after(disk: Disk, number: int) -> list[str]:
    numbers = [found for entry in disk.list("wal") if (found := log_number(entry)) is not None and found > number]
    return [log_name(later) for later in sorted(numbers)]


def _put_aside(disk: Disk, name: str, report: RepairReport) -> None:
    """A copy of a file under a name that is free."""
    attempt = 0
    kept = f"quarantine/{name.replace('/', '-')}"
    while disk.exists(kept):
        attempt += 1
        kept = f"quarantine/{name.replace('/', '-')}-{attempt}"
    store_file(disk, kept, disk.read(name))
    report.copies.append(kept)
