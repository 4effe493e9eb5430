"""What a manifest says, and its bytes. Pure.

File, little-endian::

    0   8  magic "QSTORMAN"
    8   8  body length n
    16  n  body: a JSON object in UTF-8
    16+n 4 CRC-32 of everything before
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any
from zlib import crc32

from storage_engine.batch import FileReference
from storage_engine.errors import DamagedError
from storage_engine.files import check_name
from storage_engine.history.retained import NOTHING_RETAINED, Checkpoint, Retained
from storage_engine.schema import CollectionSchema
from storage_engine.schema_json import schema_from_json, schema_to_json
from storage_engine.segment.reference import (
    SegmentReference,
    file_from_json,
    file_to_json,
    reference_from_json,
    reference_to_json,
)
from storage_engine.staged_file import StoredFile

_MAGIC = b"QSTORMAN"
_HEAD = struct.Struct("<8sQ")
_CRC = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class SealedSegment:
    """A segment as one manifest sees it.

    Args:
        segment: Its immutable files.
        deletes: The file that says which of its rows are dead (:mod:`storage_engine.segment.deletes`), or ``None``.
            A later manifest may name another one for the same segment.
    """

    segment: SegmentReference
    deletes: StoredFile | None = None


@dataclass(frozen=True, slots=True)
class GraphFile:
    """A frozen graph of one collection. Disposable: it may be missing or damaged, and is then rebuilt.

    Args:
        file: ``idx/<uuid>.graph``.
        segments: UUIDs of the segments whose rows it covers, in slot order.
        rows: How many rows that is.
        filters: The graphs of columns' values over the same rows (:mod:`storage_engine.index.filter_graph`): the column
            and ``idx/<uuid>.filter`` of each. As disposable; versions that do not know them drop them.
    """

    file: StoredFile
    segments: tuple[str, ...]
    rows: int
    filters: tuple[tuple[str, StoredFile], ...] = ()

    @property
    def files(self) -> tuple[StoredFile, ...]:
        """All of them."""
        return (self.file, *(file for _, file in self.filters))


@dataclass(frozen=True, slots=True)
class SealedCollection:
    """One collection: its schema, its segments in slot order, its graph."""

    schema: CollectionSchema
    segments: tuple[SealedSegment, ...] = ()
    graph: GraphFile | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """All immutable files of the database, and from where the log continues.

    Args:
        number: 1, 2, 3, …; part of the file's name.
        database_uuid: 32 hexadecimal digits.
        created_at: Seconds since the epoch.
        previous_sha256: Digest of manifest ``number - 1`` as a whole file; empty for the first.
        wal_number: The log that holds everything after ``last_lsn``.
        last_lsn: Newest commit contained in the files named here; the log's first LSN is the next one.
        last_crc: Checksum of that commit's log record; the log's header names the same.
        collections: Every live collection.
        tables: The keyed tables (:mod:`storage_engine.segment.tables`), or ``None`` if there are none.
        files: Attached files.
        last_time: When ``last_lsn`` was committed, seconds since the epoch; 0 if unknown.
        retained: What is kept of the past.
    """

    number: int
    database_uuid: str
    created_at: float
    previous_sha256: str
    wal_number: int
    last_lsn: int
    last_crc: int
    collections: tuple[SealedCollection, ...] = ()
    tables: StoredFile | None = None
    files: tuple[FileReference, ...] = ()
    last_time: float = 0.0
    retained: Retained = NOTHING_RETAINED

    @property
    def checkpoint(self) -> Checkpoint:
        """What is remembered of this manifest while it is kept for the versions that it leads to."""
        return Checkpoint(self.number, self.last_lsn, self.last_time, self.created_at, self.wal_number)

    def required_files(self) -> tuple[StoredFile, ...]:
        """Every file without which the database is damaged; the log and graphs are not among them."""
        found: list[StoredFile] = []
        for collection in self.collections:
            for sealed in collection.segments:
                found.extend(sealed.segment.files)
                if sealed.deletes is not None:
                    found.append(sealed.deletes)
        if self.tables is not None:
            found.append(self.tables)
        found.extend(StoredFile(f"{file.kind}/{file.name}", file.length, file.sha256) for file in self.files)
        return tuple(found)

    def file_names(self) -> frozenset[str]:
        """Names of everything this manifest needs, graphs included and the log excluded; the rest may be swept."""
        return frozenset(self.file_lengths())

    def file_lengths(self) -> dict[str, int]:
        """The same names, each with the file's length in bytes."""
        graphs = [file for one in self.collections if one.graph is not None for file in one.graph.files]
        return {file.name: file.length for file in (*self.required_files(), *graphs)}


def manifest_name(number: int) -> str:
    """``manifest/0000000001.man``."""
    return f"manifest/{number:010d}.man"


def manifest_number(entry: str) -> int | None:
    """The number of a directory entry like ``0000000001.man``; ``None`` for other entries."""
    stem, dot, suffix = entry.rpartition(".")
    return int(stem) if dot and suffix == "man" and len(stem) == 10 and stem.isascii() and stem.isdigit() else None


def pack_manifest(manifest: Manifest) -> bytes:
    """The whole file."""
    value = {
        "number": manifest.number,
        "database_uuid": manifest.database_uuid,
        "created_at": manifest.created_at,
        "previous_sha256": manifest.previous_sha256,
        "wal_number": manifest.wal_number,
        "last_lsn": manifest.last_lsn,
        "last_crc": manifest.last_crc,
        "collections": [_collection_to_json(collection) for collection in manifest.collections],
        "tables": file_to_json(manifest.tables),
        "files": [[file.kind, file.name, file.length, file.sha256] for file in manifest.files],
        "last_time": manifest.last_time,
        "retained": manifest.retained.to_json(),
    }
    body = json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
    data = _HEAD.pack(_MAGIC, len(body)) + body
    return data + _CRC.pack(crc32(data))


def unpack_manifest(data: bytes, name: str) -> Manifest:
    """Inverse of :func:`pack_manifest`.

    Raises:
        DamagedError: Anything but the undamaged bytes of a whole manifest; names ``name`` and an offset.
    """
    if len(data) < _HEAD.size + _CRC.size:
        raise _damaged(name, 0, f"{len(data)} bytes are too few")
    magic, length = _HEAD.unpack_from(data)
    if magic != _MAGIC or length != len(data) - _HEAD.size - _CRC.size:
        raise _damaged(name, 0, "its header does not fit the file")
    if _CRC.unpack_from(data, len(data) - _CRC.size)[0] != crc32(data[: -_CRC.size]):
        raise _damaged(name, _HEAD.size, "it fails its checksum")
    try:
        value = json.loads(data[_HEAD.size : -_CRC.size])
        return Manifest(
            number=int(value["number"]),
            database_uuid=str(value["database_uuid"]),
            created_at=float(value["created_at"]),
            previous_sha256=str(value["previous_sha256"]),
            wal_number=int(value["wal_number"]),
            last_lsn=int(value["last_lsn"]),
            last_crc=int(value["last_crc"]),
            collections=tuple(_collection_from_json(one) for one in value["collections"]),
            tables=None if value["tables"] is None else file_from_json(value["tables"]),
            files=tuple(_attached_from_json(one) for one in value["files"]),
            # Manifests of format 1.0 know nothing of the past.
            last_time=float(value.get("last_time", 0.0)),
            retained=Retained.from_json(value["retained"]) if "retained" in value else NOTHING_RETAINED,
        )
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
        raise _damaged(name, _HEAD.size, f"its body cannot be read ({error})") from error


def _collection_to_json(collection: SealedCollection) -> dict[str, Any]:
    graph = collection.graph
    return {
        "schema": schema_to_json(collection.schema),
        "segments": [
            {"segment": reference_to_json(sealed.segment), "deletes": file_to_json(sealed.deletes)}
            for sealed in collection.segments
        ],
        "graph": None
        if graph is None
        else {
            "file": file_to_json(graph.file),
            "segments": list(graph.segments),
            "rows": graph.rows,
            **({"filters": [[one, file_to_json(file)] for one, file in graph.filters]} if graph.filters else {}),
        },
    }


def _collection_from_json(value: Any) -> SealedCollection:
    graph = value["graph"]
    schema = schema_from_json(value["schema"])
    return SealedCollection(
        schema=schema,
        segments=tuple(
            SealedSegment(
                _segment_of(schema, one["segment"]),
                None if one["deletes"] is None else file_from_json(one["deletes"]),
            )
            for one in value["segments"]
        ),
        graph=None
        if graph is None
        else GraphFile(
            file_from_json(graph["file"]),
            tuple(map(str, graph["segments"])),
            int(graph["rows"]),
            tuple((str(column), file_from_json(file)) for column, file in graph.get("filters", ())),
        ),
    )


def _segment_of(schema: CollectionSchema, value: Any) -> SegmentReference:
    reference = reference_from_json(value)
    own = (reference.collection, reference.dimension, reference.dtype)
    if own != (schema.uuid, schema.dimension, schema.dtype) or reference.rows < 1:
        raise ValueError(f"segment {reference.uuid} is not of collection {schema.uuid}")
    return reference


def _attached_from_json(value: Any) -> FileReference:
    kind, name, length, sha256 = value
    check_name(f"{kind}/{name}")
    return FileReference(str(kind), str(name), int(length), str(sha256))


def _damaged(name: str, offset: int, why: str) -> DamagedError:
    return DamagedError(
        f"{name} is damaged at offset {offset}: {why}",
        fix="Restore the file from a backup of the directory.",
        value=name,
    )
