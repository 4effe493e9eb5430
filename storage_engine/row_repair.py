"""Mend damaged segments: keep the rows that are proven, name every row that is not, with a copy of all that changes.

Where the manifest before the newest one, with the logs after it, still holds everything that the damaged files held,
the newest one is put aside and nothing is lost. Otherwise the proven rows go into a new segment
(:mod:`storage_engine.segment.salvage`) and a new manifest takes the damaged ones out. Versions that needed a damaged
file can no longer be read afterwards.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from storage_engine.batch import DeleteRows, DropCollection, PutRows
from storage_engine.catalog import Catalog
from storage_engine.errors import DamagedError
from storage_engine.files import Disk
from storage_engine.history.retained import Checkpoint, KeptLog, only_reachable
from storage_engine.json_text import dump_json
from storage_engine.manifest.manifest import Manifest, SealedCollection, SealedSegment, manifest_name
from storage_engine.manifest.reader import check_chain, manifest_numbers, read_manifest
from storage_engine.manifest.writer import write_manifest
from storage_engine.recovery import Recovered, recover
from storage_engine.repair import LostRows, RepairReport, keep_prefix, put_aside, readable_after
from storage_engine.sealed import SealedChunk
from storage_engine.segment.deletes import read_deletes
from storage_engine.segment.reference import AttachSegment, SegmentReference, unpack_columns
from storage_engine.segment.salvage import Salvaged, salvage
from storage_engine.segment.segment import Segment
from storage_engine.segment.tables import read_tables
from storage_engine.segment.writer import SegmentRows, write_segment
from storage_engine.staged_file import check_digest, check_present, store_file
from storage_engine.wal.entry import decode_operations
from storage_engine.wal.reader import LogReader
from storage_engine.wal.record import log_name
from storage_engine.wal.watermark import read_watermark

Repair: TypeAlias = Literal["prefix", "rows"]
"""How much to give up: commits that cannot be read; or rows of damaged segments as well."""

_TIMES = 2
"""So many new manifests, so that the one before the newest names no damaged file either."""


@dataclass(frozen=True, slots=True)
class _Damage:
    """What is wrong with the files of a manifest.

    Args:
        segments: By uuid, the damage of each segment that is damaged.
        beyond: Damage to files that say which rows live, or that hold keyed tables: no row of them can be told apart.
        names: Every damaged file.
    """

    segments: dict[str, DamagedError]
    beyond: tuple[DamagedError, ...]
    names: frozenset[str]


def recover_repaired(
    disk: Disk, database_uuid: str, repair: Repair, now: float
) -> tuple[Recovered | None, RepairReport | None]:
    """The newest state of a database, after giving up what cannot be read. Under the writer's lock.

    Args:
        disk: Where.
        database_uuid: From the file ``FORMAT``.
        repair: How much to give up.
        now: Seconds since the epoch.

    Returns:
        The state, as :func:`storage_engine.recovery.recover` gives it, and what was given up; ``None`` for nothing.

    Raises:
        DamagedError: There is nothing that could be kept.
        DiskError: The disk failed; what was changed so far has its copy.
    """
    acknowledged = read_watermark(disk, database_uuid)
    report = RepairReport(0, acknowledged)
    if repair == "rows":
        mend_rows(disk, database_uuid, now, report)
    try:
        recovered = recover(disk, database_uuid, acknowledged)
    except DamagedError as error:
        keep_prefix(disk, database_uuid, error, now, report)
        recovered = recover(disk, database_uuid, report.version)
    if recovered is not None:
        report.version = recovered.catalog.lsn
    return recovered, report if report.explained else None


def damaged_since(catalog: Catalog, manifest: Manifest) -> bool:
    """Whether a segment is damaged that only the log names: it has to be sealed before it can be mended."""
    named = manifest.file_names()
    return any(
        chunk.reference.vectors.name not in named and _damage_of(chunk.segment.verify) is not None
        for state in catalog.collections.values()
        for chunk in state.rows.layout.chunks
        if isinstance(chunk, SealedChunk)
    )


def mend_rows(disk: Disk, database_uuid: str, now: float, report: RepairReport) -> bool:
    """Mend the segments of the newest manifest that can be read. Under the writer's lock, before recovery.

    Args:
        disk: Where.
        database_uuid: From the file ``FORMAT``.
        now: Seconds since the epoch.
        report: What was found and done is added to it.

    Returns:
        Whether anything was changed. Cost: reads every file of every segment.

    Raises:
        DamagedError: Something is damaged that rows cannot be told from; nothing was changed.
        DiskError: The disk failed; what was changed so far has its copy.
    """
    newest = _newest(disk, database_uuid)
    if newest is None:
        return False
    manifest, sha256 = newest
    damage = _examined(disk, manifest)
    if not damage.names:
        return False
    for error in (*damage.segments.values(), *damage.beyond):
        report.explained.append(error.what)
    if _before_holds_all(disk, database_uuid, manifest, damage):
        put_aside(disk, manifest_name(manifest.number), report)
        disk.unlink(manifest_name(manifest.number))
        report.explained.append(
            f"nothing is lost: the manifest before {manifest_name(manifest.number)} and its logs hold the same rows"
        )
        return True
    if damage.beyond:
        raise damage.beyond[0]
    replaced: dict[str, Salvaged] = {}
    mended: set[str] = set()
    for segment in (one.segment for collection in manifest.collections for one in collection.segments):
        if segment.uuid in damage.segments:
            try:
                replaced[segment.uuid] = salvage(disk, segment)
            except DamagedError as error:
                report.explained.append(f"left as it is: {error.what}")
                continue
            mended |= {file.name for file in segment.files} & damage.names
    if not replaced:
        return False
    for name in sorted(mended):
        if disk.exists(name):
            put_aside(disk, name, report)
    later = _written_later(disk, manifest)
    collections = tuple(_without_damage(disk, one, replaced, later, report) for one in manifest.collections)
    _publish(disk, replace(manifest, collections=collections), sha256, frozenset(mended), now, report)
    return True


def _newest(disk: Disk, database_uuid: str) -> tuple[Manifest, str] | None:
    for number in reversed(manifest_numbers(disk)):
        with contextlib.suppress(DamagedError):
            manifest, sha256 = read_manifest(disk, number, database_uuid)
            check_chain(disk, manifest)
            return manifest, sha256
    return None


def _examined(disk: Disk, manifest: Manifest) -> _Damage:
    segments: dict[str, DamagedError] = {}
    beyond: list[DamagedError] = []
    names: set[str] = set()
    for collection in manifest.collections:
        for sealed in collection.segments:
            reference = sealed.segment
            error = _damage_of(lambda one=reference: Segment.open(disk, one).verify())  # type: ignore[misc]
            if error is not None:
                segments[reference.uuid] = error
                names.update(file.name for file in reference.files if _differs(disk, reference, file.name))
            if sealed.deletes is not None:
                file = sealed.deletes
                error = _damage_of(lambda one=file, rows=reference.rows: read_deletes(disk, one, rows))  # type: ignore[misc]
                if error is not None:
                    beyond.append(error)
                    names.add(file.name)
    if manifest.tables is not None:
        tables = manifest.tables
        error = _damage_of(lambda: read_tables(disk, tables))
        if error is not None:
            beyond.append(error)
            names.add(tables.name)
    return _Damage(segments, tuple(beyond), frozenset(names))


def _damage_of(check: Callable[[], object]) -> DamagedError | None:
    try:
        check()
    except DamagedError as error:
        return error
    return None


def _differs(disk: Disk, reference: SegmentReference, name: str) -> bool:
    file = next(file for file in reference.files if file.name == name)
    return _damage_of(lambda: check_digest(disk, file)) is not None


def _before_holds_all(disk: Disk, database_uuid: str, manifest: Manifest, damage: _Damage) -> bool:
    """Whether the manifest before this one leads to the same commits without any damaged file."""
    try:
        before, _ = read_manifest(disk, manifest.number - 1, database_uuid)
        for file in before.required_files():
            check_present(disk, file)
        if before.file_names() & damage.names or _examined(disk, before).names:
            return False
        last, named = readable_after(disk, before)
    except DamagedError:
        return False
    return last >= manifest.last_lsn and not named & damage.names


def _written_later(disk: Disk, manifest: Manifest) -> dict[str, set[str] | None]:
    """Ids that the log after a manifest writes or deletes, by collection; ``None`` for a collection that it drops.

    What a damaged segment said of them is past.
    """
    ids: dict[str, set[str] | None] = {}

    def add(collection: str, some: Iterable[str]) -> None:
        known = ids.setdefault(collection, set())
        if known is not None:
            known.update(some)

    number = manifest.wal_number
    with contextlib.suppress(DamagedError):
        while disk.exists(log_name(number)):
            for entry in LogReader(disk, number, manifest.database_uuid).entries():
                for operation in decode_operations(entry.payload):
                    match operation:
                        case PutRows() | DeleteRows():
                            add(operation.collection, operation.ids)
                        case AttachSegment():
                            for some in (operation.deleted_ids, *Segment.open(disk, operation.segment).ids.chunks()):
                                add(operation.collection, some)
                        case DropCollection(collection):
                            ids[collection] = None
            number += 1
    return ids


def _without_damage(
    disk: Disk,
    collection: SealedCollection,
    replaced: dict[str, Salvaged],
    later: dict[str, set[str] | None],
    report: RepairReport,
) -> SealedCollection:
    if not any(sealed.segment.uuid in replaced for sealed in collection.segments):
        return collection
    segments: list[SealedSegment] = []
    for sealed in collection.segments:
        left = replaced.get(sealed.segment.uuid)
        if left is None:
            segments.append(sealed)
            continue
        live = np.ones(sealed.segment.rows, np.bool_)
        if sealed.deletes is not None:
            live[read_deletes(disk, sealed.deletes, sealed.segment.rows)[0]] = False
        kept = np.flatnonzero(live & left.proven)
        if len(kept):
            segments.append(SealedSegment(_rewritten(disk, sealed.segment, left, kept)))
        written = later.get(collection.schema.uuid, set())
        if written is not None:
            lost = [row for row in np.flatnonzero(live & ~left.proven).tolist() if left.ids[row] not in written]
            _tell_lost(disk, collection.schema.name, sealed.segment, left, lost, report)
        report.explained.append(
            f"segment {sealed.segment.uuid} of collection {collection.schema.name!r}: {len(kept)} rows kept"
        )
        if left.guessed:
            report.explained.append(
                f"of {left.guessed} of them the commit that wrote them is known to be no later only"
            )
    # A graph is of the first segment; it is built anew where it is missing.
    same = bool(segments) and segments[0] is collection.segments[0]
    return replace(collection, segments=tuple(segments), graph=collection.graph if same else None)


def _rewritten(disk: Disk, reference: SegmentReference, left: Salvaged, kept: NDArray[np.int64]) -> SegmentReference:
    schema = unpack_columns(reference.columns) if left.metadata is not None else None
    rows = SegmentRows(reference.dimension, left.chunks(kept), schema, reference.dtype)
    return write_segment(disk, reference.collection, rows, uuid=uuid.uuid4().hex)


def _tell_lost(
    disk: Disk,
    collection: str,
    reference: SegmentReference,
    left: Salvaged,
    lost: list[int],
    report: RepairReport,
) -> None:
    """Name every lost row: in the report, and in a file beside the copies."""
    if not lost:
        return
    ids = tuple(name for row in lost if (name := left.ids[row]) is not None)
    unnamed = tuple(row for row in lost if left.ids[row] is None)
    one = LostRows(collection, reference.uuid, ids, unnamed)
    report.lost_rows.append(one)
    where = f"quarantine/{reference.uuid}-lost.json"
    value = {"collection": collection, "segment": reference.uuid, "ids": list(ids), "rows_without_id": list(unnamed)}
    if not disk.exists(where):
        store_file(disk, where, dump_json(value, "the list of lost rows"))
    report.explained.append(f"{where} names every lost row of segment {reference.uuid}")


def _publish(
    disk: Disk, manifest: Manifest, sha256: str, damaged: frozenset[str], now: float, report: RepairReport
) -> None:
    """Write the mended manifest, and what it keeps of the past without the damaged files."""
    newer = [number for number in manifest_numbers(disk) if number > manifest.number]
    for number in newer:
        put_aside(disk, manifest_name(number), report)
        disk.unlink(manifest_name(number))
    retained = manifest.retained

    def whole(checkpoint: Checkpoint) -> bool:
        try:
            old, _ = read_manifest(disk, checkpoint.number, manifest.database_uuid)
        except DamagedError:
            return False
        return not old.file_names() & damaged

    def sound(log: KeptLog) -> bool:
        return not {name for name, _ in log.names} & damaged

    checkpoints = tuple(one for one in retained.checkpoints if whole(one))
    left = replace(retained, checkpoints=checkpoints, logs=tuple(log for log in retained.logs if sound(log)))
    left = only_reachable(left, manifest.checkpoint)
    if left != retained:
        report.explained.append("versions that needed a damaged file can no longer be read")
    for _ in range(_TIMES):
        manifest = replace(manifest, number=manifest.number + 1, previous_sha256=sha256, created_at=now, retained=left)
        sha256 = write_manifest(disk, manifest).sha256
