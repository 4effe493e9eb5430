"""Which files are still needed, and removing the others.

A file is needed if the newest manifest names it, or the one before (a reader may still open with it, and recovery may
have to fall back to it), or a record of a log that one of the two would replay, or a version of the past that is kept,
or a reader that is alive. Removing can only ever be late, never
early: what is left behind is found at the next open.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping

from storage_engine.errors import DamagedError
from storage_engine.files import Disk, DiskError
from storage_engine.history.archive import Archive
from storage_engine.history.reader_pin import live_pins
from storage_engine.manifest.manifest import Manifest, manifest_name, manifest_number
from storage_engine.recovery import named_files
from storage_engine.wal.entry import decode_operations
from storage_engine.wal.reader import LogReader
from storage_engine.wal.record import log_name, log_number

FOLDERS = ("manifest", "wal", "seg", "idx", "ckpt", "metrics", "quarantine", "readers")
"""Every folder of a database."""

STAGED_KINDS = ("ckpt", "metrics")
"""Folders of attached files."""

_DATA_FOLDERS = ("seg", "idx", *STAGED_KINDS)


def needed_files(manifests: Iterable[Manifest], named: Mapping[int, set[str]]) -> set[str]:
    """Names of segment, graph and attached files that manifests or log records name."""
    names: set[str] = set()
    for manifest in manifests:
        names |= manifest.file_names()
    for of_log in named.values():
        names |= of_log
    return names


def retire(
    disk: Disk,
    retired: Manifest,
    kept: tuple[Manifest, Manifest],
    named: dict[int, set[str]],
    archive: Archive,
    held: Iterable[str],
    orphans: set[str],
) -> None:
    """Remove what only manifests and logs needed that are neither live nor kept for old versions or readers.

    Args:
        disk: Where.
        retired: The manifest before ``kept``.
        kept: The one before the newest, and the newest, which says what else is kept.
        named: Files that records name, by log; logs that only the past needs are removed from it.
        archive: What old manifests name.
        held: Further names that must stay: files that are staged and not attached yet.
        orphans: Names that could not be removed earlier because a reader needed them; brought up to date.
    """
    before, newest = kept
    readers = live_pins(disk, remove_dead=True)
    staying = {one.number for one in newest.retained.checkpoints} | {reader.number for reader in readers}
    staying |= {before.number, newest.number}
    past = (*retired.retained.checkpoints, *before.retained.checkpoints, retired.checkpoint)
    gone = {one.number for one in past} - staying
    candidates = set(orphans) | {name for number in gone for name in archive.lengths(number)}
    logs = {log.number for log in newest.retained.logs}
    for log in (*retired.retained.logs, *before.retained.logs):
        if log.number not in logs and log.number < before.wal_number:
            candidates.update(name for name, _ in log.names)
            _remove(disk, log_name(log.number))
    for number in sorted(named):
        if number < before.wal_number:
            candidates |= named.pop(number)
    for number in range(retired.wal_number, before.wal_number):
        if number not in logs:
            _remove(disk, log_name(number))
    needed = needed_files(kept, named) | archive.needed(newest.retained, readers) | set(held)
    for name in candidates - needed:
        _remove(disk, name)
    orphans.clear()
    orphans.update(name for name in candidates & needed if name not in newest.file_names())
    for number in gone:
        _remove(disk, manifest_name(number))
    archive.forget(gone)


def sweep(
    disk: Disk,
    database_uuid: str,
    newest: Manifest,
    before: Manifest | None,
    named: Mapping[int, set[str]],
    archive: Archive,
) -> None:
    """Remove what a crash left behind. For a writer that has just opened.

    Args:
        disk: Where.
        database_uuid: Of the database.
        newest: The manifest it opened with.
        before: The one before, if it is there and undamaged.
        named: Files that the records of the replayed logs name.
        archive: What old manifests name.
    """
    manifests = [newest] if before is None else [before, newest]
    first_log = min(manifest.wal_number for manifest in manifests)
    readers = live_pins(disk, remove_dead=True)
    numbers = {one.number for one in newest.retained.checkpoints} | {reader.number for reader in readers}
    logs = {log.number for log in newest.retained.logs}
    for entry in disk.list("manifest"):
        number = manifest_number(entry)
        if number is None or (number < manifests[0].number and number not in numbers):
            _remove(disk, f"manifest/{entry}")
    for entry in disk.list("wal"):
        number = log_number(entry)
        if number is None or (number < first_log and number not in logs):
            _remove(disk, f"wal/{entry}")
    needed = needed_files(manifests, named)
    present = {f"{folder}/{entry}" for folder in _DATA_FOLDERS for entry in disk.list(folder)}
    unnamed = {name for name in present - needed if not name.endswith(".tmp")}
    if unnamed:
        unnamed -= archive.needed(newest.retained, readers)
    if unnamed:
        # The logs between the two manifests were not replayed, but falling back to the older one would replay them.
        unnamed -= _named_in(disk, database_uuid, range(first_log, newest.wal_number), unnamed)
    for name in unnamed | {name for name in present if name.endswith(".tmp")}:
        _remove(disk, name)


def _named_in(disk: Disk, database_uuid: str, numbers: Iterable[int], candidates: set[str]) -> set[str]:
    names: set[str] = set()
    for number in numbers:
        try:
            for entry in LogReader(disk, number, database_uuid).entries():
                names |= named_files(decode_operations(entry.payload))
        except DamagedError:
            return candidates  # what an unreadable log names is unknown, so everything stays
    return names


def _remove(disk: Disk, name: str) -> None:
    # A file that cannot be removed, or whose name is not one of ours, harms nobody and is met again at the next open.
    with contextlib.suppress(DiskError, ValueError):
        disk.unlink(name)
