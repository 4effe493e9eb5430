"""From a directory to its newest state: manifest, then segments, then the log through the same ``apply`` as commits.

Reading changes nothing on disk. What a writer has to put right afterwards (cut off a torn tail, put aside a damaged
manifest) is listed in the result; readers ignore it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from storage_engine.apply import OpenSegment, apply
from storage_engine.batch import AttachFile
from storage_engine.catalog import NO_COLUMNS, Catalog, CollectionState, DeferredColumns, TableState
from storage_engine.errors import DamagedError
from storage_engine.files import Disk
from storage_engine.graph_file import SegmentGraph
from storage_engine.json_text import dump_json
from storage_engine.keyed_table import KeyedTable
from storage_engine.manifest.manifest import Manifest, SealedCollection, SealedSegment
from storage_engine.manifest.reader import ManifestChoice, RejectedManifest, choose_manifest
from storage_engine.metadata.types import canonical_schema, grown
from storage_engine.sealed import SealedChunk
from storage_engine.segment.reference import AttachSegment
from storage_engine.segment.tables import read_tables
from storage_engine.vector_store import VectorStore
from storage_engine.wal.entry import LoggedOperation, decode_operations
from storage_engine.wal.reader import LogEnd, LogReader
from storage_engine.wal.record import FILE_HEADER_BYTES, LogEntry, log_name, log_number


@dataclass(slots=True)
class LogPosition:
    """How far the log has been read.

    Args:
        number: The log file read last.
        seed: ``LogHeader.crc`` of that file.
        end: Where its valid records end.
        named: For each log file since the manifest, the segment and attached files that its records name.
    """

    number: int
    seed: int
    end: LogEnd
    named: dict[int, set[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recovered:
    """A directory's newest state and what it was read from.

    Args:
        catalog: The state.
        manifest: The manifest it began with.
        manifest_sha256: Its digest.
        position: Where the log ends.
        rejected: Newer manifests that could not be used; every commit in them was read from the log instead.
        stillborn: A log file that was left while it was being made; holds nothing.
    """

    catalog: Catalog
    manifest: Manifest
    manifest_sha256: str
    position: LogPosition
    rejected: tuple[RejectedManifest, ...] = ()
    stillborn: int | None = None


def recover(disk: Disk, database_uuid: str, acknowledged: int) -> Recovered | None:
    """Read the newest state.

    Args:
        disk: Where.
        database_uuid: From the file ``FORMAT``.
        acknowledged: LSN up to which commits are known to have been acknowledged.

    Returns:
        ``None`` if there is no manifest.

    Raises:
        DamagedError: A file that the state needs is missing or damaged, or acknowledged commits cannot be read.
    """
    start = begin(disk, database_uuid)
    if start is None:
        return None
    choice, catalog, position = start
    manifest = choice.manifest
    acknowledged = max([acknowledged, *(one.manifest.last_lsn for one in choice.rejected if one.manifest)])
    reader = LogReader(disk, position.number, database_uuid)
    while True:
        for entry in reader.entries():
            catalog = replay(disk, catalog, entry, position)
        following = log_name(position.number + 1)
        if not disk.exists(following):
            _check_reached(position.number, choice)
            refuse_gap(disk, position.number)
            position.end = reader.finish(acknowledged)
            return Recovered(catalog, manifest, choice.sha256, position, choice.rejected)
        after = successor(disk, position.number, reader.last_lsn, database_uuid)
        if after is None:
            _check_reached(position.number, choice)
            position.end = reader.finish(acknowledged)
            stillborn = position.number + 1
            return Recovered(catalog, manifest, choice.sha256, position, choice.rejected, stillborn)
        end = reader.finish(after.header.first_lsn - 1)
        if after.header.previous_crc != end.last_crc or after.header.first_lsn != end.last_lsn + 1:
            raise _damaged(f"{after.name} does not continue {reader.name}: it belongs to another history", after.name)
        reader = after
        position.number, position.seed = reader.header.number, reader.header.crc
        position.named[position.number] = set()


def _check_reached(last_log: int, choice: ManifestChoice) -> None:
    """A log that a passed-over manifest names was there: without it, nobody knows how many commits are missing."""
    for rejected in choice.rejected:
        if rejected.manifest is not None and rejected.manifest.wal_number > last_log:
            raise rejected.error


def refuse_gap(disk: Disk, number: int) -> None:
    """Check that no later log stands behind a missing one, log ``number`` being the last that was read.

    The newest manifest and the one before have all their logs. Older ones are kept for the versions that they lead to,
    and need not lead to the newest state.

    Raises:
        DamagedError: There is one.
    """
    later = [found for entry in disk.list("wal") if (found := log_number(entry)) is not None and found > number]
    if later and min(later) > number + 1:  # the next one may have been begun just now
        name = log_name(number + 1)
        raise _damaged(f"{name} is missing although {log_name(min(later))} is there: commits cannot be read", name)


def successor(disk: Disk, number: int, last_lsn: int, database_uuid: str) -> LogReader | None:
    """The log after log ``number``, whose valid records end with ``last_lsn``; the file is there.

    Returns:
        ``None`` if the file holds nothing and never did. A log gets its first record only after its header is durable:
        without one, it was just being created. If the log before goes on beyond its beginning, it could not be made
        durable and was given up.

    Raises:
        DamagedError: The file is damaged.
    """
    name = log_name(number + 1)
    try:
        after = LogReader(disk, number + 1, database_uuid)
    except DamagedError:
        if disk.exists(log_name(number + 2)) or disk.size(name) > FILE_HEADER_BYTES:
            raise
        return None
    given_up = after.header.first_lsn <= last_lsn and disk.size(name) == FILE_HEADER_BYTES
    return None if given_up else after


def begin(disk: Disk, database_uuid: str) -> tuple[ManifestChoice, Catalog, LogPosition] | None:
    """The state as of the newest usable manifest, and where its log begins.

    Returns:
        ``None`` if there is no manifest.

    Raises:
        DamagedError: No manifest is usable, a file is missing or damaged, or the log does not continue the manifest.
    """
    choice = choose_manifest(disk, database_uuid)
    if choice is None:
        return None
    manifest = choice.manifest
    catalog = load_manifest(disk, manifest)
    reader = LogReader(disk, manifest.wal_number, database_uuid)
    if reader.header.first_lsn != manifest.last_lsn + 1 or reader.header.previous_crc != manifest.last_crc:
        raise _damaged(
            f"{reader.name} does not continue manifest {manifest.number}: it starts with commit "
            f"{reader.header.first_lsn} instead of {manifest.last_lsn + 1}",
            reader.name,
        )
    end = LogEnd(FILE_HEADER_BYTES, manifest.last_lsn, manifest.last_crc, 0)
    position = LogPosition(manifest.wal_number, reader.header.crc, end, {manifest.wal_number: set()})
    return choice, catalog, position


def replay(disk: Disk, catalog: Catalog, entry: LogEntry, position: LogPosition) -> Catalog:
    """Apply one log record.

    Raises:
        DamagedError: The record contradicts itself, or a segment that it names is missing or damaged.
    """
    operations = decode_operations(entry.payload)
    position.named[position.number] |= named_files(operations)
    try:
        return apply(catalog, entry.lsn, operations, segment_opener(disk), entry.time)
    except KeyError as error:
        name = log_name(position.number)
        raise _damaged(f"{name} at offset {entry.offset} changes {error}, which does not exist", name) from error


def named_files(operations: list[LoggedOperation]) -> set[str]:
    """The files that operations name; a log that is kept keeps them."""
    names: set[str] = set()
    for operation in operations:
        if isinstance(operation, AttachSegment):
            names.update(file.name for file in operation.segment.files)
        elif isinstance(operation, AttachFile):
            names.add(f"{operation.file.kind}/{operation.file.name}")
    return names


def segment_opener(disk: Disk) -> OpenSegment:
    """Maps segments that log records name."""
    return lambda reference, start: SealedChunk.open(disk, SealedSegment(reference), start)


def load_manifest(disk: Disk, manifest: Manifest) -> Catalog:
    """The state as of the manifest. Maps segments; reads keyed tables and deletions, neither vectors nor metadata.

    Raises:
        DamagedError: A file is missing or damaged.
    """
    collections = {sealed.schema.name: _collection(disk, sealed, manifest.last_lsn) for sealed in manifest.collections}
    tables: dict[str, TableState] = {}
    if manifest.tables is not None:
        for name, records in read_tables(disk, manifest.tables).items():
            texts = ((key, dump_json(record, key).decode()) for key, record in records.items())
            table = KeyedTable(texts, manifest.last_lsn)
            tables[name] = TableState(table, table.live_count, manifest.last_lsn)
    files = {(file.kind, file.name): file for file in manifest.files}
    return Catalog(manifest.last_lsn, collections, tables, files, manifest.last_time)


def _collection(disk: Disk, sealed: SealedCollection, lsn: int) -> CollectionState:
    chunks: list[SealedChunk] = []
    start = 0
    for segment in sealed.segments:
        chunk = SealedChunk.open(disk, segment, start)
        chunks.append(chunk)
        start += chunk.count
    graph = sealed.graph
    if graph is not None and chunks and graph.segments == (chunks[0].reference.uuid,):
        chunks[0].graph = SegmentGraph(disk, graph, sealed.schema.metric)
    return CollectionState(
        sealed.schema,
        VectorStore(sealed.schema.dimension, chunks),
        slot_count=start,
        live_count=start - sum(chunk.dead_count for chunk in chunks),
        columns=DeferredColumns(lambda: segment_columns(chunks)) if chunks else NO_COLUMNS,
        lsn=lsn,
    )


def segment_columns(chunks: list[SealedChunk]) -> Mapping[str, pa.DataType]:
    """The columns of segments taken together, in order of first appearance."""
    columns: Mapping[str, pa.DataType] = NO_COLUMNS
    for chunk in chunks:
        columns = grown(columns, canonical_schema(chunk.segment.metadata_schema()))
    return columns


def _damaged(what: str, name: str) -> DamagedError:
    return DamagedError(what, fix="Restore the directory from a backup.", value=name)
