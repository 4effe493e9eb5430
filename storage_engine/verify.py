"""Read every file of a database and check every checksum and invariant. Changes nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from storage_engine.catalog import CollectionState
from storage_engine.errors import DatabaseError
from storage_engine.files import Disk
from storage_engine.format_file import read_format
from storage_engine.history.reader_pin import live_pins
from storage_engine.history.retained import KeptLog
from storage_engine.manifest.manifest import Manifest, manifest_name
from storage_engine.manifest.reader import check_chain, manifest_numbers, read_manifest
from storage_engine.recovery import successor
from storage_engine.segment.deletes import read_deletes
from storage_engine.segment.reference import SegmentReference
from storage_engine.segment.segment import Segment
from storage_engine.segment.tables import read_tables
from storage_engine.snapshot import Snapshot
from storage_engine.staged_file import StoredFile, check_digest
from storage_engine.sweeping import FOLDERS, STAGED_KINDS
from storage_engine.wal.entry import decode_operations
from storage_engine.wal.reader import LogReader
from storage_engine.wal.record import log_name
from storage_engine.wal.watermark import read_watermark

Severity = Literal["error", "warning", "info"]
_ORDER = {"error": 0, "warning": 1, "info": 2}
_OFFSET = re.compile(r"offset (\d+)")
_IDS_A_STEP = 8_192

STALE_READER_SECONDS = 3_600.0
"""A reader that has not moved on for so long is reported."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong, or worth knowing.

    Args:
        severity: ``error``: stored data is damaged. ``warning``: something derived is damaged or a task failed; no
            data is lost. ``info``: harmless.
        file: Relative to the database directory; empty if it is no file.
        offset: In the file, where known.
        what: One sentence.
        fix: What to do.
    """

    severity: Severity
    file: str
    offset: int | None
    what: str
    fix: str


def verify(
    disk: Disk, snapshot: Snapshot, newest: Manifest, failure: DatabaseError | None, now: float | None = None
) -> list[Finding]:
    """Check everything there is.

    Args:
        disk: Where.
        snapshot: The state to check; a writer's newest, or a reader's.
        newest: The manifest it is based on.
        failure: What stopped the last background task, if anything.
        now: Seconds since the epoch, for the age of readers; ``None``: they are not judged.

    Returns:
        Findings, the worst first. Cost: one pass over all files.
    """
    findings: list[Finding] = []
    if failure is not None:
        findings.append(Finding("warning", "", None, f"a background task failed: {failure.what}", failure.fix))
    findings += _attempt("error", "FORMAT", read_format, disk)
    for number in manifest_numbers(disk):
        severity: Severity = "error" if number == newest.number else "warning"
        findings += _attempt(severity, manifest_name(number), _check_manifest, disk, number, newest)
    findings += _check_files(disk, newest)
    acknowledged = read_watermark(disk, newest.database_uuid)  # before the logs: they go on meanwhile
    number = newest.wal_number
    while number == newest.wal_number or disk.exists(log_name(number)):
        findings += _attempt("error", log_name(number), _check_log, disk, number, newest, acknowledged)
        number += 1
    for state in snapshot.states():
        findings += _check_rows(state)
    findings += _check_attached(disk, newest, snapshot)
    findings += _check_past(disk, newest)
    if now is not None:
        findings += _stale_readers(disk, now)
    findings += _leftovers(disk)
    return sorted(findings, key=lambda finding: _ORDER[finding.severity])


def _attempt(severity: Severity, file: str, check: Callable[..., object], *arguments: object) -> list[Finding]:
    try:
        check(*arguments)
    except DatabaseError as error:
        found = _OFFSET.search(error.what)
        return [Finding(severity, file, int(found.group(1)) if found else None, error.what, error.fix)]
    return []


def _check_manifest(disk: Disk, number: int, newest: Manifest) -> None:
    check_chain(disk, read_manifest(disk, number, newest.database_uuid)[0])


def _check_files(disk: Disk, manifest: Manifest) -> Iterator[Finding]:
    for file in manifest.required_files():
        yield from _attempt("error", file.name, check_digest, disk, file)
    for collection in manifest.collections:
        for sealed in collection.segments:
            reference = sealed.segment
            yield from _attempt("error", reference.vectors.name, _check_segment, disk, reference)
            if sealed.deletes is not None:
                yield from _attempt(
                    "error",
                    sealed.deletes.name,
                    read_deletes,
                    disk,
                    sealed.deletes,
                    reference.rows,
                )
        if collection.graph is not None:
            for file in collection.graph.files:
                yield from _attempt("warning", file.name, check_digest, disk, file)
    if manifest.tables is not None:
        yield from _attempt("error", manifest.tables.name, read_tables, disk, manifest.tables)


def _check_segment(disk: Disk, reference: SegmentReference) -> None:
    Segment.open(disk, reference).verify()


def _check_log(disk: Disk, number: int, manifest: Manifest, acknowledged: int) -> None:
    complete = disk.exists(log_name(number + 1))
    reader = LogReader(disk, number, manifest.database_uuid)
    for entry in reader.entries():
        decode_operations(entry.payload)
    after = successor(disk, number, reader.last_lsn, manifest.database_uuid) if complete else None
    # A record that a writer is in the middle of is no damage: it is not acknowledged yet.
    reader.finish(acknowledged if after is None else after.header.first_lsn - 1)


def _check_rows(state: CollectionState) -> Iterator[Finding]:
    """What must hold of a collection's rows whatever files they come from."""

    def wrong(what: str) -> Finding:
        return Finding(
            "error", "", None, f"collection {state.schema.name!r}: {what}", "Restore the directory from a backup."
        )

    try:
        live = state.rows.live(state.slot_count, state.lsn)
        slots = np.flatnonzero(live)
        if len(slots) != state.live_count:
            yield wrong(f"{len(slots)} rows are live but {state.live_count} are counted")
        for start in range(0, len(slots), _IDS_A_STEP):
            some = slots[start : start + _IDS_A_STEP]
            ids = state.rows.ids_at(some)
            found = state.rows.find(ids, state.slot_count, state.lsn)
            for row_id, slot, by_id in zip(ids, some.tolist(), found.tolist(), strict=True):
                if slot != by_id:
                    yield wrong(f"id {row_id!r} of slot {slot} leads to slot {by_id}")
            vectors, norms = state.rows.vectors_at(some), state.rows.norms_at(some)
            if not (np.isfinite(vectors).all() and np.isfinite(norms).all()):
                yield wrong(f"a vector or norm of slots {some[0]} to {some[-1]} is not finite")
        for piece in state.rows.pieces:
            table = piece.load()
            if table is not None and table.num_rows != piece.count:
                yield wrong(f"{table.num_rows} rows of metadata stand beside {piece.count} rows from {piece.start} on")
    except DatabaseError as error:
        yield wrong(error.what)


def _check_attached(disk: Disk, newest: Manifest, snapshot: Snapshot) -> Iterator[Finding]:
    """Attached files that only the log names; the manifest's were checked with it."""
    named = newest.file_names()
    for kind in STAGED_KINDS:
        for file in snapshot.files(kind):
            stored = StoredFile(f"{kind}/{file.name}", file.length, file.sha256)
            if stored.name not in named:
                yield from _attempt("error", stored.name, check_digest, disk, stored)


def _check_past(disk: Disk, newest: Manifest) -> Iterator[Finding]:
    """Files that only old versions need; damage to them takes no newer row."""
    checked = set(newest.file_names())
    for checkpoint in newest.retained.checkpoints:
        try:
            old, _ = read_manifest(disk, checkpoint.number, newest.database_uuid)
        except DatabaseError:
            continue  # found with the manifests
        for file in old.required_files():
            if file.name not in checked:
                checked.add(file.name)
                yield from _attempt("warning", file.name, check_digest, disk, file)
    for log in newest.retained.logs:
        yield from _attempt("warning", log_name(log.number), _check_closed_log, disk, log, newest)


def _check_closed_log(disk: Disk, log: KeptLog, newest: Manifest) -> None:
    reader = LogReader(disk, log.number, newest.database_uuid)
    for entry in reader.entries():
        decode_operations(entry.payload)
    reader.finish(log.last_lsn)


def _stale_readers(disk: Disk, now: float) -> Iterator[Finding]:
    for pin in live_pins(disk, remove_dead=False):
        if pin.since and now - pin.since > STALE_READER_SECONDS:
            yield Finding(
                "warning",
                pin.file,
                None,
                f"process {pin.pid} has been reading version {pin.version} for {(now - pin.since) / 3600:.1f} hours, "
                "which keeps what it needs on the disk",
                "Let it refresh or close the database.",
            )


def _leftovers(disk: Disk) -> Iterator[Finding]:
    for folder in FOLDERS:
        for entry in disk.list(folder):
            if entry.endswith(".tmp"):
                yield Finding(
                    "info", f"{folder}/{entry}", None, "a temporary file is left", "Opening for writing removes it."
                )
