"""Which files are still needed, and removing the others.

A file is needed if the newest manifest names it, or the one before (a reader may still open with it, and recovery may
have to fall back to it), or a record of a log that one of the two would replay. Removing can only ever be late, never
early: what is left behind is found at the next open.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping

from storage_engine.errors import DamagedError
from storage_engine.files import Disk, DiskError
from storage_engine.manifest.manifest import Manifest, manifest_name, manifest_number
from storage_engine.recovery import named_files
from storage_engine.wal.entry import decode_operations
from storage_engine.wal.reader import LogReader
from storage_engine.wal.record import log_name, log_number

FOLDERS = ("manifest", "wal", "seg", "idx", "ckpt", "metrics", "quarantine")
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
    disk: Disk, retired: Manifest, kept: tuple[Manifest, Manifest], named: dict[int, set[str]], held: Iterable[str]
) -> None:
    """Remove what only a manifest that is neither the newest nor the one before needed.

    Args:
        disk: Where.
        retired: That manifest.
        kept: The one before the newest, and the newest.
        named: Files that records name, by log; logs that are removed here are removed from it.
        held: Further names that must stay: files that are staged and not attached yet.
    """
    candidates = set(retired.file_names())
    for number in sorted(named):
        if number < kept[0].wal_number:
            candidates |= named.pop(number)
    for number in range(retired.wal_number, kept[0].wal_number):
        _remove(disk, log_name(number))
    for name in candidates - needed_files(kept, named) - set(held):
        _remove(disk, name)
    _remove(disk, manifest_name(retired.number))


def sweep(
    disk: Disk, database_uuid: str, newest: Manifest, before: Manifest | None, named: Mapping[int, set[str]]
) -> None:
    """Remove what a crash left behind. For a writer that has just opened.

    Args:
        disk: Where.
        database_uuid: Of the database.
        newest: The manifest it opened with.
        before: The one before, if it is there and undamaged.
        named: Files that the records of the replayed logs name.
    """
    manifests = [newest] if before is None else [before, newest]
    first_log = min(manifest.wal_number for manifest in manifests)
    for entry in disk.list("manifest"):
        number = manifest_number(entry)
        if number is None or number < manifests[0].number:
            _remove(disk, f"manifest/{entry}")
    for entry in disk.list("wal"):
        number = log_number(entry)
        if number is None or number < first_log:
            _remove(disk, f"wal/{entry}")
    needed = needed_files(manifests, named)
    present = {f"{folder}/{entry}" for folder in _DATA_FOLDERS for entry in disk.list(folder)}
    unnamed = {name for name in present - needed if not name.endswith(".tmp")}
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
