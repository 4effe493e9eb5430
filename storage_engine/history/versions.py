"""Which versions can be read, when each was made, and in short what it changed: read from the logs that are kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from storage_engine.batch import (
    AttachFile,
    CreateCollection,
    DeleteRecord,
    DeleteRows,
    DetachFile,
    DropCollection,
    PutRecord,
    PutRows,
)
from storage_engine.errors import DamagedError
from storage_engine.files import Disk
from storage_engine.history.retained import Checkpoint
from storage_engine.manifest.manifest import Manifest
from storage_engine.manifest.reader import read_manifest
from storage_engine.schema import Role
from storage_engine.segment.reference import AttachSegment
from storage_engine.snapshot import Snapshot
from storage_engine.wal.entry import LoggedOperation, decode_operations
from storage_engine.wal.reader import LogReader
from storage_engine.wal.record import log_name

_UNITS = {
    "written": ("row", "rows"),
    "deleted": ("row", "rows"),
    "put": ("record", "records"),
    "removed": ("record", "records"),
    "attached": ("file", "files"),
    "detached": ("file", "files"),
}


@dataclass(frozen=True, slots=True)
class Version:
    """One commit that can still be read.

    Args:
        number: Its number, which is its LSN.
        time: When it was made, seconds since the epoch, by the writer's clock; 0 if that is not known any more.
        changes: What it changed, in short; empty if that is not known any more.
    """

    number: int
    time: float
    changes: str


def versions(disk: Disk, manifest: Manifest, snapshot: Snapshot) -> list[Version]:
    """All versions that can be read, oldest first. Cost: reads the logs that are kept.

    Args:
        disk: Where.
        manifest: The newest one.
        snapshot: The newest state to be shown.
    """
    found: dict[int, Version] = {}
    names = {state.schema.uuid: _shown(state.schema.name, state.schema.role) for state in snapshot.states()}
    logs = {log.number for log in manifest.retained.logs}
    done: set[int] = set()
    for base in (*manifest.retained.checkpoints, manifest.checkpoint):
        _learn_names(disk, manifest, base, names)
        if base.last_lsn:
            found.setdefault(base.last_lsn, Version(base.last_lsn, base.last_time, ""))
        number = base.wal_number
        while number not in done and (number in logs or number >= manifest.wal_number):
            if number >= manifest.wal_number and not disk.exists(log_name(number)):
                break
            done.add(number)
            for version in _of_log(disk, number, manifest.database_uuid, names):
                if version.number <= snapshot.version:
                    found[version.number] = version
            number += 1
    return [found[number] for number in sorted(found)]


def _learn_names(disk: Disk, manifest: Manifest, base: Checkpoint, names: dict[str, str | None]) -> None:
    if base.number == manifest.number:
        old = manifest
    else:
        try:
            old, _ = read_manifest(disk, base.number, manifest.database_uuid)
        except DamagedError:
            return  # only the names of collections that were dropped since come from there
    for collection in old.collections:
        names.setdefault(collection.schema.uuid, _shown(collection.schema.name, collection.schema.role))


def _of_log(disk: Disk, number: int, database_uuid: str, names: dict[str, str | None]) -> Iterator[Version]:
    for entry in LogReader(disk, number, database_uuid).entries():
        yield Version(entry.lsn, entry.time, _summary(decode_operations(entry.payload), names))


def _shown(name: str, role: Role) -> str | None:
    """Collections that users never see are not mentioned: what changes them changes a visible one too."""
    return None if role is Role.HIDDEN else name


def _summary(operations: Sequence[LoggedOperation], names: dict[str, str | None]) -> str:
    rows: dict[tuple[str, str], int] = {}
    parts: list[str] = []
    for operation in operations:
        match operation:
            case CreateCollection(schema):
                names[schema.uuid] = _shown(schema.name, schema.role)
                if names[schema.uuid] is not None:
                    parts.append(f"collection {schema.name} created")
            case DropCollection(uuid):
                if _name(names, uuid) is not None:
                    parts.append(f"collection {_name(names, uuid)} dropped")
            case PutRows(collection=uuid, ids=ids):
                _count(rows, (_name(names, uuid), "written"), len(ids))
            case AttachSegment(collection=uuid, segment=segment):
                _count(rows, (_name(names, uuid), "written"), segment.rows)
            case DeleteRows(collection=uuid, ids=ids):
                _count(rows, (_name(names, uuid), "deleted"), len(ids))
            case PutRecord(table=table):
                _count(rows, (f"table {table}", "put"), 1)
            case DeleteRecord(table=table):
                _count(rows, (f"table {table}", "removed"), 1)
            case AttachFile(file):
                _count(rows, (file.kind, "attached"), 1)
            case DetachFile(kind=kind):
                _count(rows, (kind, "detached"), 1)
    parts += [f"{what}: {count} {_UNITS[done][count > 1]} {done}" for (what, done), count in rows.items()]
    return "; ".join(parts)


def _name(names: Mapping[str, str | None], uuid: str) -> str | None:
    return names.get(uuid, f"a dropped collection ({uuid[:8]})")


def _count(rows: dict[tuple[str, str], int], key: tuple[str | None, str], count: int) -> None:
    what, done = key
    if what is not None and count:
        rows[what, done] = rows.get((what, done), 0) + count
