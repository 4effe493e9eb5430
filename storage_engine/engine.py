"""The storage engine: one database directory (or memory), its newest state, and the one way to change it."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from storage_engine.batch import FileReference, WriteBatch
from storage_engine.errors import (
    DamagedError,
    DatabaseClosedError,
    ForkedHandleError,
    InvalidArgumentError,
    NotFoundError,
    ReadOnlyError,
    TransactionError,
    UnknownVersionError,
)
from storage_engine.files import DiskError
from storage_engine.follower import Follower
from storage_engine.history.past import Past
from storage_engine.history.versions import Version, versions
from storage_engine.memory_disk import MemoryDisk
from storage_engine.open_directories import (
    Shared,
    SyncMode,
    check_options,
    follow,
    forget_after_fork,
    naming,
    open_shared,
    release,
)
from storage_engine.opening import open_directory, open_writable
from storage_engine.recovery import segment_opener
from storage_engine.repair import RepairReport
from storage_engine.row_repair import Repair
from storage_engine.snapshot import Snapshot
from storage_engine.staged_file import StoredFile, read_file
from storage_engine.transaction import Draft, Transaction
from storage_engine.verify import Finding, verify

if TYPE_CHECKING:
    from storage_engine.history.vacuum import VacuumReport


_Source: TypeAlias = Shared | Follower | Past

_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


class Engine:
    """A database. Make one with :meth:`open`; safe to use from several threads; a context manager.

    Attributes:
        path: The directory, ``None`` in memory.
        read_only: Whether :meth:`commit` is refused.
        clock: Seconds since the epoch; gives commit times.
        sync: How durable an acknowledged commit is.
    """

    def __init__(
        self,
        source: _Source,
        path: Path | None,
        clock: Callable[[], float],
        sync: SyncMode,
        origin: Engine | None = None,
    ) -> None:
        self.path = path
        self.clock = clock
        self.read_only = not isinstance(source, Shared)
        self._source = source
        self.sync = sync
        self._origin = self if origin is None else origin
        self._of_thread = threading.local()
        self._before_vacuum: list[weakref.WeakMethod[Callable[[], None]]] = []
        self._closed = False
        self._forked = False
        _engines.add(self)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] | None,
        *,
        read_only: bool = False,
        create: bool = True,
        clock: Callable[[], float] = time.time,
        sync: SyncMode = "full",
        build_threads: int | None = None,
        unsafe_fs: bool = False,
        repair: Repair | None = None,
    ) -> Engine:
        """Open a database.

        Args:
            path: The directory; ``None`` makes a database in memory, by the same code over files that live there.
            read_only: Take no lock and write nothing; any number of processes may do so beside one writer.
            create: Make the directory a database if it is missing or empty.
            clock: Seconds since the epoch.
            sync: ``full``: a commit is acknowledged when it survives a power cut. ``normal``: when it survives the
                death of the process; a power cut may take the last 100 ms.
            build_threads: For graphs, which do not depend on it; ``None`` uses all processors.
            unsafe_fs: Also open a directory on a network file system, where nothing is promised.
            repair: ``prefix``: if acknowledged commits cannot be read, keep those before them. ``rows``: also read all
                segments, and keep of damaged ones the rows that are proven right. Copies of what is changed go to
                ``quarantine/``; :attr:`repaired` says what was given up, row by row.

        Returns:
            An engine. A directory that this process has open for writing already is shared: one state, one log; it is
            given up when the last of its engines is closed.

        Raises:
            NotADatabaseError: The path is a file, or a directory that holds something else; or nothing, and
                ``create`` is off or ``read_only`` on.
            UnsafeDirectoryError: Every user may write to it, or it is on a network file system.
            DatabaseLockedError: Another process writes to it; the message names it.
            FormatTooNewError: A newer version wrote it.
            DamagedError: Acknowledged commits cannot be read.
            InvalidArgumentError: An argument is out of range, or differs from how this process has the directory open.
        """
        check_options(path, read_only, sync, build_threads, repair)
        if path is None:
            disk = MemoryDisk()
            database = open_writable(
                disk, create=True, clock=clock, sync_each=sync == "full", build_threads=build_threads
            )
            return cls(Shared(database, (clock, sync, build_threads), None), None, clock, sync)
        with naming(path):
            if read_only:
                return cls(follow(path, clock, unsafe_fs), Path(path), clock, sync)
            shared = open_shared(path, create, unsafe_fs, repair, (clock, sync, build_threads))
        engine = cls(shared, Path(path), clock, sync)
        shared.background.poke()
        return engine

    def __repr__(self) -> str:
        where = ":memory:" if self.path is None else str(self.path)
        mode = "read only" if self.read_only else f"sync={self.sync}"
        if isinstance(self._source, Past):
            mode = f"as of version {self._source.snapshot.version}"
        return f"Engine({where!r}, {'closed' if self._closed else mode})"

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def snapshot(self) -> Snapshot:
        """The newest commit (read-only engines: as of the last :meth:`refresh`). Costs nothing and never changes.

        Inside a transaction, in its thread: what the transaction sees.
        """
        source = self._usable()
        draft = self._draft
        return source.snapshot if draft is None else draft.snapshot

    def commit(self, batch: WriteBatch) -> int:
        """Make a batch durable and visible, whole or not at all.

        Returns:
            The new version (the commit's LSN). Several threads may commit at once; they share one sync. Inside a
            transaction nothing is durable before its end, and the number is only the transaction's own.

        Raises:
            InvalidArgumentError: The batch is empty or too large.
            QStoreError: It contradicts itself or what is stored; the class says how. Nothing was changed.
            WriteFailedError: The disk refused the bytes; nothing was stored.
            CommitUnknownError: The disk failed in the middle; opening again decides. No more commits are taken.
            ReadOnlyError, DatabaseClosedError, ForkedHandleError: This engine cannot write.
        """
        shared = self._writable()
        if not batch.operations:
            raise InvalidArgumentError("the batch holds no operation", fix="Add at least one.", value=batch)
        draft = self._draft
        if draft is not None:
            committer = shared.database.committer
            with committer.lock:
                staged = list(committer.staged.values())
            return draft.add(batch.operations, staged, segment_opener(shared.disk))
        version = shared.database.commit(list(batch.operations))
        shared.background.poke()
        return version

    @property
    def repaired(self) -> RepairReport | None:
        """What opening gave up because it was damaged; ``None`` if nothing was."""
        source = self._source
        return source.database.repaired if isinstance(source, Shared) else None

    @property
    def origin(self) -> Engine:
        """The database that this is a past version of; itself, if it is none."""
        return self._origin

    @property
    def in_transaction(self) -> bool:
        """Whether this thread is inside :meth:`transaction`."""
        return self._draft is not None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Make everything that this thread commits inside the block one commit, or nothing if the block raises.

        Reading inside the block sees the newest commit at its beginning and what the block has written; other threads
        see neither. Files staged inside stay staged.

        Raises:
            TransactionError: This thread is inside a transaction already.
            ConflictError: At the end: another commit changed what the block wrote. Nothing was written.
            ReadOnlyError, DatabaseClosedError, ForkedHandleError: This engine cannot write.
            QStoreError: As :meth:`commit`.
        """
        shared = self._writable()
        self.refuse_transaction("another transaction")
        draft = self._of_thread.draft = Draft(shared.database.committer.catalog)
        result = Transaction(draft.snapshot.version)
        try:
            yield result
        finally:
            self._of_thread.draft = None
        if draft.operations:
            result.version = self._writable().database.commit(draft.operations, draft.check)
            shared.background.poke()

    def refuse_transaction(self, what: str) -> None:
        """Refuse what cannot be part of a transaction.

        Raises:
            TransactionError: This thread is inside one.
        """
        if self.in_transaction:
            raise TransactionError(
                f"{what} cannot be part of a transaction", fix="End the transaction first: leave its block.", value=what
            )

    def at(self, version: int) -> Engine:
        """The database as it was at a version: a read-only engine that keeps it readable until it is closed.

        Args:
            version: From 0 (empty) to the newest.

        Raises:
            UnknownVersionError: It is in the future, or not kept any more.
            DamagedError: A file that it needs is missing or damaged.
        """
        source = self._origin._open_source()
        newest = source.snapshot.version
        if isinstance(version, bool) or not isinstance(version, int) or not 0 <= version <= newest:
            raise UnknownVersionError(
                f"there is no version {version!r}", fix=f"Versions so far are 0 to {newest}.", value=version
            )
        disk = source.disk if self.path is None else open_directory(self.path, create=False, unsafe_fs=True)
        try:
            past = Past(disk, version, source.newest_manifest, self.clock(), owns_disk=self.path is not None)
        except BaseException:
            if self.path is not None:
                disk.shut()
            raise
        return Engine(past, self.path, self.clock, self.sync, self._origin)

    def versions(self) -> list[Version]:
        """All versions that can be read, oldest first. Cost: reads the logs that are kept."""
        source = self._origin._open_source()
        while True:
            manifest = source.newest_manifest()
            try:
                return versions(source.disk, manifest, source.snapshot)
            except (DamagedError, DiskError):
                # A writer may just have given up what the manifest named.
                if source.newest_manifest().number == manifest.number:
                    raise

    def vacuum(self, keep_seconds: float = 0.0) -> VacuumReport:
        """Give up old versions and write anew what holds deleted rows; see :mod:`storage_engine.history.vacuum`.

        Args:
            keep_seconds: Versions replaced less long ago stay, and so does what was deleted since.

        Raises:
            InvalidArgumentError: ``keep_seconds`` is negative.
            TransactionError: This thread is inside a transaction.
        """
        from storage_engine.history.vacuum import vacuum

        shared = self._writable()
        self.refuse_transaction("vacuum")
        for reference in self._before_vacuum:
            let_go = reference()
            if let_go is not None:
                let_go()
        report = vacuum(shared.database, keep_seconds)
        shared.background.poke()
        return report

    def before_vacuum(self, let_go: Callable[[], None]) -> None:
        """Have a method called before each vacuum: for who keeps past versions open only to be quick. Held weakly."""
        self._before_vacuum.append(weakref.WeakMethod(let_go))

    def stage_file(self, kind: str, suffix: str, write: Callable[[BinaryIO], None]) -> FileReference:
        """Write a file to be attached by a later commit; until then it is nobody's and swept at the next open.

        Args:
            kind: ``ckpt`` or ``metrics``.
            suffix: The end of its name, like ``.zip``.
            write: Called once with a sequential binary stream.

        Returns:
            The reference for :class:`storage_engine.batch.AttachFile`; the bytes are durable and were read back.

        Raises:
            InvalidArgumentError: No such kind, or a suffix that cannot end a file name.
            DiskError: The disk failed; what ``write`` raises also passes through. No file is left.
        """
        return self._writable().database.stage_file(kind, suffix, write)

    def read_file(self, kind: str, name: str, at: Snapshot | None = None) -> bytes:
        """The verified content of an attached file.

        Args:
            kind: ``ckpt`` or ``metrics``.
            name: As in its reference.
            at: The snapshot that has it attached; ``None``: the newest.

        Raises:
            NotFoundError: No such file is attached at this version.
            DamagedError: Length or digest differ from what was attached.
        """
        source = self._usable()
        snapshot = self.snapshot() if at is None else at
        reference = next((file for file in snapshot.files(kind) if file.name == name), None)
        if reference is None:
            raise NotFoundError(f"no attached file {kind}/{name}", fix="Check the name.", value=name)
        return read_file(source.disk, StoredFile(f"{kind}/{name}", reference.length, reference.sha256))

    def refresh(self) -> int:
        """Let a read-only engine catch up with the writer; on a writer nothing to do. Returns the version."""
        return self._usable().refresh()

    def seal(self) -> None:
        """Write the rows that only the log holds to segments, and start a new log."""
        self._writable().database.seal()

    def build_graphs(self, collection: str | None = None) -> None:
        """Seal, and build the graph of a collection (or of all) now, however few its rows.

        Raises:
            UnknownCollectionError: There is no collection of that name.
        """
        self._writable().database.build_graphs(collection)

    def build_filter_graph(self, collection: str, column: str) -> None:
        """Build a graph for each value of a column, so that filters on it need not walk through other values' rows.

        They are built anew with the collection's graph from then on, until they are given up.

        Raises:
            UnknownCollectionError: There is no collection of that name.
            UnknownColumnError: No row has the column.
            InvalidArgumentError: The collection is empty, or the column has too many values, or lists.
        """
        self._writable().database.build_filter_graph(collection, column)

    def drop_filter_graph(self, collection: str, column: str) -> bool:
        """Give up the graphs of a column's values; whether there were any.

        Raises:
            UnknownCollectionError: There is no collection of that name.
        """
        return self._writable().database.drop_filter_graph(collection, column)

    def rebuild_damaged_graphs(self) -> list[str]:
        """Read every graph and build those anew that are damaged or missing; returns the collections' names."""
        return self._writable().database.rebuild_damaged_graphs()

    def wait_for_graphs(self) -> None:
        """Return when every collection that is large enough has a graph that covers most of it."""
        database = self._writable().database
        while due := database.due_graphs():
            database.seal()
            for state in due:
                database.build_graph(state, only_if_due=True)

    def verify(self) -> list[Finding]:
        """Check every checksum and invariant; reads every file. Errors first; empty if all is well."""
        source = self._origin._open_source()
        if isinstance(source, Follower):
            while True:
                manifest = source.manifest
                findings = verify(source.disk, source.snapshot, manifest, None, self.clock())
                # The writer may have sealed meanwhile and removed what is no longer needed: then look at the new state.
                source.refresh()
                if not findings or source.manifest.number == manifest.number:
                    return findings
        with source.database.undisturbed() as manifest:
            return verify(source.disk, source.snapshot, manifest, source.background.failure, self.clock())

    def close(self) -> None:
        """Give everything back. Idempotent; snapshots taken before stay readable.

        Raises:
            ForkedHandleError: This is a forked child; the engine belongs to the parent.
        """
        self._check_fork()
        if self._closed:
            return
        self._closed = True
        source = self._source
        if not isinstance(source, Shared):
            source.close()
            return
        release(source)

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_fork(self) -> None:
        if self._forked:
            raise ForkedHandleError(
                "the database was opened before fork(); this process must not use it",
                fix="Open it again in the child.",
            )

    @property
    def _draft(self) -> Draft | None:
        draft: Draft | None = getattr(self._of_thread, "draft", None)
        return draft

    def _usable(self) -> _Source:
        self._check_fork()
        if self._closed:
            raise DatabaseClosedError("the database is closed", fix="Open it again.")
        return self._source

    def _open_source(self) -> Shared | Follower:
        """As :meth:`_usable`; only for an engine that is not in the past."""
        source = self._usable()
        if isinstance(source, Past):
            raise TypeError("a past version has no newest manifest")
        return source

    def _writable(self) -> Shared:
        source = self._usable()
        if isinstance(source, Past):
            raise ReadOnlyError(
                f"version {source.snapshot.version} is in the past and cannot be changed",
                fix="Write to the database itself.",
            )
        if isinstance(source, Follower):
            raise ReadOnlyError("the database was opened with read_only=True", fix="Open it for writing.")
        return source


def _after_fork_in_child() -> None:
    forget_after_fork()
    for engine in list(_engines):
        engine._forked = True


def _stop_background_tasks() -> None:
    # A thread inside a graph build must not be alive when the interpreter takes itself apart.
    for engine in list(_engines):
        if isinstance(engine._source, Shared) and not engine._forked:
            engine._source.background.stop()


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_stop_background_tasks)
