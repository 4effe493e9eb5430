"""A directory open for writing: its commits, its seals and its graphs.

Locks are taken in this order: ``_maintenance`` (one seal or graph build at a time), then the committer's lock. A commit
takes only the second one, so it waits for the short moments in which a seal or a build is published, never for the
work itself.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import BinaryIO, cast

from storage_engine import graph_building, sealing
from storage_engine.batch import CreateCollection, FileReference, Operation
from storage_engine.catalog import Catalog, CollectionState
from storage_engine.committer import Committer
from storage_engine.errors import DatabaseClosedError, InvalidArgumentError, WriteFailedError
from storage_engine.files import Disk, DiskError
from storage_engine.format_file import COMPACT_VECTORS, require
from storage_engine.history import pins
from storage_engine.history.archive import Archive
from storage_engine.history.reader_pin import live_pins
from storage_engine.history.retention import Retention
from storage_engine.lock import WriterLock
from storage_engine.manifest.manifest import Manifest
from storage_engine.manifest.writer import write_manifest
from storage_engine.repair import RepairReport
from storage_engine.schema import VectorType
from storage_engine.sealed import SealedChunk
from storage_engine.snapshot import Snapshot, unknown_collection
from storage_engine.staged_file import StagedFile, publish
from storage_engine.sweeping import STAGED_KINDS, retire

SEAL_LOG_BYTES = 64 << 20
SEAL_ROWS = 50_000
CLOSE_SEAL_LOG_BYTES = 1 << 20
_MOST_BEHIND = 4
"""How many times the limits the log may grow before a commit waits for a seal."""


class BuildStopped(DatabaseClosedError):  # noqa: N818 - the database is being closed, which is no fault
    """A graph build ended because the database is being closed; the next one that opens it builds again."""


class Writable:
    """See the module. Safe to use from several threads.

    Args:
        disk: Where.
        lock: Held until :meth:`close`.
        committer: The newest state and its log.
        manifests: The one before the newest (or ``None``) and the newest.
        sha256: Digest of the newest.
        archive: What old manifests name.
        clock: Seconds since the epoch.
        build_threads: For graphs; ``None`` means one per processor.

    Attributes:
        repaired: What opening gave up because it was damaged; ``None`` if nothing was.
    """

    def __init__(
        self,
        disk: Disk,
        lock: WriterLock,
        committer: Committer,
        manifests: tuple[Manifest | None, Manifest],
        sha256: str,
        archive: Archive,
        clock: Callable[[], float],
        build_threads: int | None,
    ) -> None:
        self.disk = disk
        self.committer = committer
        self.clock = clock
        self.build_threads = build_threads
        self._lock = lock
        self._before, self._manifest = manifests
        self._sha256 = sha256
        self._archive = archive
        self._orphans: set[str] = set()
        self.repaired: RepairReport | None = None
        self._maintenance = threading.RLock()
        self._stopping = False

    @property
    def snapshot(self) -> Snapshot:
        """The newest acknowledged state."""
        return self.committer.snapshot

    @property
    def manifest(self) -> Manifest:
        """The newest one."""
        return self._manifest

    @contextlib.contextmanager
    def undisturbed(self) -> Iterator[Manifest]:
        """The newest manifest, which stays the newest inside the block, so that no file it needs is removed."""
        with self._maintenance:
            yield self._manifest

    def commit(self, operations: list[Operation], check: Callable[[Catalog], None] | None = None) -> int:
        """See :meth:`storage_engine.engine.Engine.commit`; ``check`` as the committer takes it."""
        if any(isinstance(one, CreateCollection) and one.schema.dtype is not VectorType.FLOAT32 for one in operations):
            self._require(COMPACT_VECTORS)
        if self._behind(_MOST_BEHIND):
            try:
                self.seal()
            except DiskError as error:
                raise WriteFailedError(
                    f"the log cannot grow further before it is sealed: {error.what}",
                    fix="Nothing was stored. Free some space and try again.",
                    value=error.name,
                ) from error
        return self.committer.commit(operations, check)

    def _require(self, feature: int) -> None:
        """Before the first commit that older versions would not understand."""
        try:
            with self.committer.lock:
                self.committer.check_usable()
                require(self.disk, feature)
        except DiskError as error:
            raise WriteFailedError(
                f"the file FORMAT could not be written: {error.what}",
                fix="Nothing was stored. Free some space and try again.",
                value=error.name,
            ) from error

    def needs_seal(self, times: int = 1) -> bool:
        """Whether the log has grown past its limits, or so many times as far."""
        return self._behind(times)

    def _behind(self, times: int) -> bool:
        committer = self.committer
        return committer.log_bytes > times * SEAL_LOG_BYTES or committer.fresh_rows > times * SEAL_ROWS

    def seal(self) -> None:
        """Write fresh rows to segments and publish a manifest; nothing if the newest manifest says it all.

        Raises:
            DiskError, DamagedError: The disk failed; the database is as it was.
            DatabaseClosedError: Nothing can be committed any more.
        """
        with self._maintenance:
            with self.committer.lock:
                self.committer.check_usable()
                if self.committer.catalog.lsn == self._manifest.last_lsn:
                    return
                frozen = self.committer.rotate()
            manifest, sealed = sealing.write_frozen(self.disk, frozen, self._manifest)
            by_uuid = {one.state.schema.uuid: one for one in sealed}
            with self.committer.lock:
                states = {
                    state.schema.uuid: sealing.succeed(state, by_uuid[state.schema.uuid])
                    for state in self.committer.catalog.collections.values()
                    if state.schema.uuid in by_uuid
                }
                retired = self._publish(manifest)
                self.committer.exchange(states)
                self.committer.sealed(frozen)
            self._retire(retired)

    def build_graph(self, state: CollectionState, *, rewrite: bool = False, only_if_due: bool = False) -> None:
        """Build and publish the graph of the rows that the newest manifest has of a collection.

        Args:
            state: Of the collection.
            rewrite: Write the rows anew without dead ones, with a graph only if there are enough of them.
            only_if_due: Look again, when it is this build's turn, whether another one has left anything to do.

        Raises:
            DiskError, DamagedError: The disk failed; the database is as it was.
            BuildStopped: The database is being closed.
        """
        with self._maintenance:
            current = self.committer.catalog.by_uuid(state.schema.uuid)
            if current is None or (only_if_due and not graph_building.is_due(current)):
                return
            threads = self.build_threads or os.cpu_count() or 1
            built = graph_building.build(self.disk, current, self._manifest, threads, self._progress, rewrite=rewrite)
            if built is None:
                return
            with self.committer.lock:
                current = self.committer.catalog.by_uuid(state.schema.uuid)
                if current is None:  # dropped meanwhile; the files are swept at the next open
                    return
                successor = graph_building.succeed(current, built)
                retired = self._publish(graph_building.manifest_with(self._manifest, state.schema.uuid, built))
                self.committer.exchange({state.schema.uuid: successor})
            self._retire(retired)
            if built.kept is not None:
                # The rows were copied: one manifest more, and the segments that were joined need not stay.
                with self.committer.lock:
                    retired = self._publish(dataclasses.replace(self._manifest, number=self._manifest.number + 1))
                self._retire(retired)

    def give_up_past(self, limits: Retention) -> None:
        """Keep no more of the past than the limits say, and what is tagged, pinned or being read.

        Raises:
            DiskError, DamagedError: The disk failed; nothing that a manifest names was removed.
        """
        with self._maintenance:
            # Twice, so that the manifest before the newest says the same and its log is the same.
            for _ in range(2):
                with self.committer.lock:
                    number = self._manifest.number + 1
                    retired = self._publish(dataclasses.replace(self._manifest, number=number), limits)
                self._retire(retired)

    def build_graphs(self, collection: str | None) -> None:
        """Seal, then build every graph that does not cover all of its collection's rows.

        Raises:
            UnknownCollectionError: There is no collection of that name.
        """
        collections = self.committer.catalog.collections
        if collection is not None and collection not in collections:
            raise unknown_collection(collection, collections)
        with self._maintenance:
            self.seal()
            for name, state in self.committer.catalog.collections.items():
                if collection in (None, name) and graph_building.uncovered(state):
                    self.build_graph(state)

    def build_filter_graph(self, collection: str, column: str) -> None:
        """Seal, build the collection's graph if it does not cover all rows, and graphs for a column's values beside it.

        Raises:
            UnknownCollectionError: There is no collection of that name.
            UnknownColumnError, InvalidArgumentError: See :func:`storage_engine.graph_building.build_filter`.
        """
        with self._maintenance:
            self.build_graphs(collection)
            state = self.committer.catalog.collections[collection]
            threads = self.build_threads or os.cpu_count() or 1
            built = graph_building.build_filter(self.disk, state, self._manifest, column, threads, self._progress)
            self._exchange_graph(state.schema.uuid, built)

    def drop_filter_graph(self, collection: str, column: str) -> bool:
        """Give up the graphs of a column's values; whether there were any.

        Raises:
            UnknownCollectionError: There is no collection of that name.
        """
        with self._maintenance:
            collections = self.committer.catalog.collections
            if collection not in collections:
                raise unknown_collection(collection, collections)
            self.seal()
            state = self.committer.catalog.collections[collection]
            built = graph_building.without_filter(self.disk, state, self._manifest, column)
            if built is not None:
                self._exchange_graph(state.schema.uuid, built)
            return built is not None

    def _exchange_graph(self, uuid: str, built: graph_building.BuiltGraph) -> None:
        with self.committer.lock:
            current = self.committer.catalog.by_uuid(uuid)
            if current is None:  # dropped meanwhile; the files are swept at the next open
                return
            successor = graph_building.succeed(current, built)
            retired = self._publish(graph_building.manifest_with(self._manifest, uuid, built))
            self.committer.exchange({uuid: successor})
        self._retire(retired)

    def rebuild_damaged_graphs(self) -> list[str]:
        """Read every graph and build those anew that are damaged or missing; returns the collections' names."""
        rebuilt = []
        for name, state in list(self.committer.catalog.collections.items()):
            first = state.rows.layout.chunks[0] if state.rows.layout.chunks else None
            if isinstance(first, SealedChunk) and first.graph is not None and first.walker() is None:
                self.seal()
                self.build_graph(state)
                rebuilt.append(name)
        return rebuilt

    def due_graphs(self) -> list[CollectionState]:
        """Collections that would gain from a new graph."""
        return [state for state in self.committer.catalog.collections.values() if graph_building.is_due(state)]

    def stage_file(self, kind: str, suffix: str, write: Callable[[BinaryIO], None]) -> FileReference:
        """See :meth:`storage_engine.engine.Engine.stage_file`."""
        if kind not in STAGED_KINDS:
            raise InvalidArgumentError(
                f"no files of kind {kind!r} are kept", fix=f"Use one of: {', '.join(STAGED_KINDS)}.", value=kind
            )
        name = uuid.uuid4().hex + suffix
        try:
            staged = StagedFile(self.disk, f"{kind}/{name}")
        except ValueError as error:
            raise InvalidArgumentError(
                f"suffix {suffix!r} cannot end a file name", fix="Use lower case, like '.zip'.", value=suffix
            ) from error
        try:
            write(cast(BinaryIO, staged))
            stored = staged.seal()
            publish(self.disk, [stored])
        except BaseException:
            staged.abandon()
            raise
        reference = FileReference(kind, name, stored.length, stored.sha256)
        with self.committer.lock:
            self.committer.staged[kind, name] = reference
        return reference

    def stop(self) -> None:
        """Let a graph build that is going on end soon."""
        self._stopping = True

    def close(self) -> None:
        """Seal if that is worth it, sync, give everything back."""
        self.stop()
        with self._maintenance:
            try:
                if self.committer.log_bytes > CLOSE_SEAL_LOG_BYTES and not self.committer.poison:
                    # Every commit is safe in the log; without the seal, only the next open takes longer.
                    with contextlib.suppress(DiskError):
                        self.seal()
                self.committer.close()
            finally:
                self._lock.release()

    def _progress(self, done: int, rows: int) -> None:
        if self._stopping:
            raise BuildStopped("the database is being closed", fix="Build the graph after opening it again.")

    def _publish(self, manifest: Manifest, limits: Retention | None = None) -> Manifest | None:
        """Write the next manifest: the commit point. Returns the one that is no longer needed.

        Args:
            manifest: What it says, but for its predecessor, its time and the past.
            limits: How much of the past to keep; ``None``: as the database says.
        """
        self.committer.check_usable()
        snapshot = self.committer.snapshot
        manifest = dataclasses.replace(manifest, previous_sha256=self._sha256, created_at=self.clock())
        retained = self._archive.planned(
            self._manifest,
            manifest,
            self.committer.named,
            pins.retention(snapshot) if limits is None else limits,
            snapshot,
            live_pins(self.disk, remove_dead=False),
        )
        manifest = dataclasses.replace(manifest, retained=retained)
        try:
            stored = write_manifest(self.disk, manifest)
        except DiskError as error:
            if error.operation == "sync_directory":
                self.committer.give_up(f"nobody knows whether manifest {manifest.number} is durable")
            raise
        retired, self._before, self._manifest = self._before, self._manifest, manifest
        self._sha256 = stored.sha256
        return retired

    def _retire(self, retired: Manifest | None) -> None:
        if retired is None or self._before is None:
            return
        with self.committer.lock:
            held = {f"{kind}/{name}" for kind, name in self.committer.staged}
            kept = (self._before, self._manifest)
            retire(self.disk, retired, kept, self.committer.named, self._archive, held, self._orphans)
