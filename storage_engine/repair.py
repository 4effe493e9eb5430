"""Give up what cannot be read of a damaged database and keep the commits before it, with copies of all that changes.

Here only what opening stumbles over is repaired: logs and manifests. The newest usable manifest counts, so that no
sealed row is lost. Rows of damaged segments are the business of :mod:`storage_engine.row_repair`.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

from storage_engine.errors import DamagedError
from storage_engine.files import Disk, replace_file
from storage_engine.manifest.manifest import Manifest
from storage_engine.manifest.reader import choose_manifest
from storage_engine.recovery import LogPosition, load_manifest, replay
from storage_engine.staged_file import StagedFile, publish
from storage_engine.wal.reader import LogEnd, LogReader
from storage_engine.wal.record import FILE_HEADER_BYTES, log_name, log_number
from storage_engine.wal.watermark import Watermark, read_watermark
from storage_engine.wal.writer import LogWriter

_SHOWN = 20
_STEP_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class LostRows:
    """Rows of one damaged segment that are gone.

    Args:
        collection: Its name.
        segment: The segment's uuid.
        ids: Ids of lost rows.
        unnamed: Numbers, within the segment, of lost rows whose ids are gone too. Some of them may have been deleted or
            replaced by commits after the segment was sealed.
    """

    collection: str
    segment: str
    ids: tuple[str, ...]
    unnamed: tuple[int, ...]

    def __str__(self) -> str:
        """One line; the file beside the copies names them all."""
        shown = ", ".join(map(repr, self.ids[:_SHOWN])) + (", …" if len(self.ids) > _SHOWN else "")
        named = f"{len(self.ids)} rows of collection {self.collection!r} are lost: {shown}" if self.ids else ""
        nameless = (
            f"{len(self.unnamed)} rows of collection {self.collection!r} are lost whose ids are not known"
            if self.unnamed
            else ""
        )
        return "; ".join(part for part in (named, nameless) if part)


@dataclass(slots=True)
class RepairReport:
    """What was given up.

    Args:
        version: The newest commit that was kept.
        lost_up_to: The newest commit that is known to have been acknowledged; not above ``version`` if none was lost
            for certain.
        explained: What was found and done, one sentence each.
        copies: Files in ``quarantine/`` that hold what was changed or removed.
        lost_rows: Rows of damaged segments that are gone, by segment.
    """

    version: int
    lost_up_to: int
    explained: list[str] = field(default_factory=list)
    copies: list[str] = field(default_factory=list)
    lost_rows: list[LostRows] = field(default_factory=list)

    def join(self, earlier: RepairReport) -> None:
        """Tell what an earlier repair did before what this one did."""
        self.lost_up_to = max(self.lost_up_to, earlier.lost_up_to)
        self.explained[:0] = earlier.explained
        self.copies[:0] = earlier.copies
        self.lost_rows[:0] = earlier.lost_rows

    def __str__(self) -> str:
        """Everything, a line each."""
        lost = max(0, self.lost_up_to - self.version)
        summary = f"kept all commits up to {self.version}; {lost} acknowledged after it are known to be lost"
        rows = [str(lost) for lost in self.lost_rows]
        return "\n".join([*self.explained, *rows, summary, *(f"a copy is in {name}" for name in self.copies)])


def keep_prefix(disk: Disk, database_uuid: str, damage: DamagedError, now: float, report: RepairReport) -> RepairReport:
    """Make the directory openable again. Under the writer's lock.

    Args:
        disk: Where.
        database_uuid: From the file ``FORMAT``.
        damage: Why it cannot be opened.
        now: Seconds since the epoch.
        report: What was found and done is added to it.

    Raises:
        DamagedError: No manifest is usable, so that there is no prefix to keep; nothing was changed.
        DiskError: The disk failed; what was changed so far has its copy.
    """
    choice = choose_manifest(disk, database_uuid)
    if choice is None:
        raise damage
    manifest = choice.manifest
    report.lost_up_to = max(report.lost_up_to, read_watermark(disk, database_uuid))
    report.explained.append(damage.what)
    for rejected in choice.rejected:
        put_aside(disk, rejected.name, report)
        disk.unlink(rejected.name)
        report.explained.append(f"{rejected.name} cannot be used: {rejected.error.what}")
    number, end, _ = _readable(disk, manifest)
    if number is None:
        number = manifest.wal_number
        end = LogEnd(FILE_HEADER_BYTES, manifest.last_lsn, manifest.last_crc, 0)
        if disk.exists(log_name(number)):
            put_aside(disk, log_name(number), report)
            disk.unlink(log_name(number))
        first = manifest.last_lsn + 1
        log = LogWriter.create(
            disk, database_uuid, number, first_lsn=first, previous_crc=manifest.last_crc, created_at=now
        )
        log.close()
        report.explained.append(f"{log_name(number)} was begun anew after version {manifest.last_lsn}")
    elif disk.size(log_name(number)) != end.offset:
        put_aside(disk, log_name(number), report)
        replace_file(disk, log_name(number), disk.read(log_name(number), 0, end.offset))
        report.explained.append(f"{log_name(number)} was cut at offset {end.offset}, after version {end.last_lsn}")
    for later in _logs_after(disk, number):
        put_aside(disk, later, report)
        disk.unlink(later)
        report.explained.append(f"{later} was taken out: commits before it are missing")
    mark = Watermark(disk, database_uuid)
    try:
        mark.reset(end.last_lsn)
    finally:
        mark.close()
    report.version = end.last_lsn
    return report


def readable_after(disk: Disk, manifest: Manifest) -> tuple[int, set[str]]:
    """The newest commit that a manifest and the logs after it lead to, and the files that their records name.

    Raises:
        DamagedError: A file of the manifest itself is missing or damaged.
    """
    _, end, named = _readable(disk, manifest)
    return end.last_lsn, named


def _readable(disk: Disk, manifest: Manifest) -> tuple[int | None, LogEnd, set[str]]:
    """The last log that continues a manifest (``None``: none), where its last applicable record ends, files named."""
    catalog = load_manifest(disk, manifest)
    number = manifest.wal_number
    found: int | None = None
    end = LogEnd(FILE_HEADER_BYTES, manifest.last_lsn, manifest.last_crc, 0)
    named: dict[int, set[str]] = {}
    with contextlib.suppress(DamagedError):
        while True:
            reader = LogReader(disk, number, manifest.database_uuid)
            if reader.header.first_lsn != end.last_lsn + 1 or reader.header.previous_crc != end.last_crc:
                break
            found, end = number, LogEnd(FILE_HEADER_BYTES, end.last_lsn, end.last_crc, 0)
            named[number] = set()
            position = LogPosition(number, reader.header.crc, end, named)
            for entry in reader.entries():
                catalog = replay(disk, catalog, entry, position)
                end = LogEnd(entry.end, entry.lsn, entry.crc, 0)
            number += 1
    return found, end, set().union(*named.values())


def _logs_after(disk: Disk, number: int) -> list[str]:
    numbers = [found for entry in disk.list("wal") if (found := log_number(entry)) is not None and found > number]
    return [log_name(later) for later in sorted(numbers)]


def put_aside(disk: Disk, name: str, report: RepairReport) -> None:
    """A copy of a file under a name that is free."""
    attempt = 0
    kept = f"quarantine/{name.replace('/', '-')}"
    while disk.exists(kept):
        attempt += 1
        kept = f"quarantine/{name.replace('/', '-')}-{attempt}"
    staged = StagedFile(disk, kept)
    try:
        for offset in range(0, disk.size(name), _STEP_BYTES):
            staged.write(disk.read(name, offset, _STEP_BYTES))
        publish(disk, [staged.seal()])
    except BaseException:
        staged.abandon()
        raise
    report.copies.append(kept)
