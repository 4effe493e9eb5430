"""The storage engine: one database directory (or memory), its newest state, and the one way to change it."""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, TypeAlias

from storage_engine.background import Background
from storage_engine.batch import FileReference, WriteBatch
from storage_engine.errors import (
    DatabaseClosedError,
    ForkedHandleError,
    InvalidArgumentError,
    NotFoundError,
    ReadOnlyError,
)
from storage_engine.follower import Follower
from storage_engine.memory_disk import MemoryDisk
from storage_engine.opening import open_directory, open_writable
from storage_engine.snapshot import Snapshot
from storage_engine.staged_file import StoredFile, read_file
from storage_engine.verify import Finding, verify
from storage_engine.writable import Writable

SyncMode = Literal["full", "normal"]
_Settings: TypeAlias = tuple[Callable[[], float], SyncMode, int | None]


class _Shared:
    """A directory open for writing, used by one or more engines of this process."""

    def __init__(self, database: Writable, settings: _Settings, place: tuple[int, int] | None) -> None:
        self.database = database
        self.background = Background(database)
        self.settings = settings
        self.place = place
        self.users = 1

    def close(self) -> None:
        self.background.stop()
        self.database.close()
        self.database.disk.shut()


_open_lock = threading.Lock()
_open_directories: dict[tuple[int, int], _Shared] = {}
_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


class Engine:
    """A database. Make one with :meth:`open`; safe to use from several threads; a context manager.

    Attributes:
        path: The directory, ``None`` in memory.
        read_only: Whether :meth:`commit` is refused.
        clock: Seconds since the epoch; gives commit times.
    """

    def __init__(
        self, source: _Shared | Follower, path: Path | None, clock: Callable[[], float], sync: SyncMode
    ) -> None:
        self.path = path
        self.clock = clock
        self.read_only = isinstance(source, Follower)
        self._source = source
        self._sync = sync
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
    ) -> Engine:
        """Open a database.

        Args:
            path: The directory; ``None`` makes a database in memory, by the same code over files that live there.
            read_only: Take no lock and write nothing; any number of processes may do so beside one writer.
            create: Make the directory a database if it is missing or empty.
            clock: Seconds since the epoch.
            sync: ``full``: a commit is acknowledged when it survives a power cut. ``normal``: when it survives the
                death of the process; a power cut may take the last 100 ms.
            build_threads: For graphs; 1 makes them reproducible, ``None`` uses all processors.

        Returns:
            An engine. A directory that this process has open for writing already is shared: one state, one log; it is
            given up when the last of its engines is closed.

        Raises:
            NotADatabaseError: The path is a file, or a directory that holds something else; or nothing, and
                ``create`` is off or ``read_only`` on.
            DatabaseLockedError: Another process writes to it; the message names it.
            FormatTooNewError: A newer version wrote it.
            DamagedError: Acknowledged commits cannot be read.
            InvalidArgumentError: An argument is out of range, or differs from how this process has the directory open.
        """
        _check_options(path, read_only, sync, build_threads)
        if path is None:
            disk = MemoryDisk()
            database = open_writable(
                disk, create=True, clock=clock, sync_each=sync == "full", build_threads=build_threads
            )
            return cls(_Shared(database, (clock, sync, build_threads), None), None, clock, sync)
        if read_only:
            return cls(Follower(open_directory(path, create=False)), Path(path), clock, sync)
        shared = _open_shared(path, create, (clock, sync, build_threads))
        engine = cls(shared, Path(path), clock, sync)
        shared.background.poke()
        return engine

    def __repr__(self) -> str:
        where = ":memory:" if self.path is None else str(self.path)
        mode = "read only" if self.read_only else f"sync={self._sync}"
        return f"Engine({where!r}, {'closed' if self._closed else mode})"

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def snapshot(self) -> Snapshot:
        """The newest commit (read-only engines: as of the last :meth:`refresh`). Costs nothing and never changes."""
        source = self._usable()
        return source.snapshot if isinstance(source, Follower) else source.database.snapshot

    def commit(self, batch: WriteBatch) -> int:
        """Make a batch durable and visible, whole or not at all.

        Returns:
            The new version (the commit's LSN). Several threads may commit at once; they share one sync.

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
        version = shared.database.commit(list(batch.operations))
        shared.background.poke()
        return version

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

    def read_file(self, kind: str, name: str) -> bytes:
        """The verified content of an attached file.

        Raises:
            NotFoundError: No such file is attached at this version.
            DamagedError: Length or digest differ from what was attached.
        """
        source = self._usable()
        reference = next((file for file in self.snapshot().files(kind) if file.name == name), None)
        if reference is None:
            raise NotFoundError(f"no attached file {kind}/{name}", fix="Check the name.", value=name)
        disk = source.disk if isinstance(source, Follower) else source.database.disk
        return read_file(disk, StoredFile(f"{kind}/{name}", reference.length, reference.sha256))

    def refresh(self) -> int:
        """Let a read-only engine catch up with the writer; on a writer nothing to do. Returns the version."""
        source = self._usable()
        return source.refresh() if isinstance(source, Follower) else source.database.snapshot.version

    def seal(self) -> None:
        """Write the rows that only the log holds to segments, and start a new log."""
        self._writable().database.seal()

    def build_graphs(self, collection: str | None = None) -> None:
        """Seal, and build the graph of a collection (or of all) now, however few its rows.

        Raises:
            UnknownCollectionError: There is no collection of that name.
        """
        self._writable().database.build_graphs(collection)

    def wait_for_graphs(self) -> None:
        """Return when every collection that is large enough has a graph that covers most of it."""
        database = self._writable().database
        while due := database.due_graphs():
            database.seal()
            for state in due:
                database.build_graph(state)

    def verify(self) -> list[Finding]:
        """Check every checksum and invariant; reads every file. Errors first; empty if all is well."""
        source = self._usable()
        if isinstance(source, Follower):
            while True:
                manifest = source.manifest
                findings = verify(source.disk, source.snapshot, manifest, None)
                # The writer may have sealed meanwhile and removed what is no longer needed: then look at the new state.
                source.refresh()
                if not findings or source.manifest.number == manifest.number:
                    return findings
        with source.database.undisturbed() as manifest:
            return verify(source.database.disk, source.database.snapshot, manifest, source.background.failure)

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
        if isinstance(source, Follower):
            source.disk.shut()
            return
        with _open_lock:
            source.users -= 1
            if source.users:
                return
            # Under the lock: an open of the same directory in another thread waits for the file lock to be free.
            try:
                source.close()
            finally:
                if source.place is not None:
                    del _open_directories[source.place]

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

    def _usable(self) -> _Shared | Follower:
        self._check_fork()
        if self._closed:
            raise DatabaseClosedError("the database is closed", fix="Open it again.")
        return self._source

    def _writable(self) -> _Shared:
        source = self._usable()
        if isinstance(source, Follower):
            raise ReadOnlyError("the database was opened with read_only=True", fix="Open it for writing.")
        return source


def _check_options(path: object, read_only: bool, sync: str, build_threads: int | None) -> None:
    if path is None and read_only:
        raise InvalidArgumentError("a database in memory cannot be read-only", fix="Give a path.")
    if sync not in ("full", "normal"):
        raise InvalidArgumentError(f"sync is {sync!r}", fix="Use 'full' or 'normal'.", value=sync)
    if build_threads is not None and build_threads < 1:
        raise InvalidArgumentError(f"build_threads is {build_threads}", fix="Give at least 1.", value=build_threads)


def _open_shared(path: str | os.PathLike[str], create: bool, settings: _Settings) -> _Shared:
    disk = open_directory(path, create=create)
    try:
        found = disk.path.stat()
        place = (found.st_dev, found.st_ino)
        with _open_lock:
            shared = _open_directories.get(place)
            if shared is None:
                clock, sync, build_threads = settings
                database = open_writable(
                    disk, create=create, clock=clock, sync_each=sync == "full", build_threads=build_threads
                )
                shared = _open_directories[place] = _Shared(database, settings, place)
                return shared
            if shared.settings != settings:
                raise InvalidArgumentError(
                    f"{os.fspath(path)!r} is open in this process with another clock, sync or build_threads",
                    fix="Use the same arguments, or close it first.",
                    value=os.fspath(path),
                )
            shared.users += 1
    except BaseException:
        disk.shut()
        raise
    disk.shut()
    return shared


def _after_fork_in_child() -> None:
    global _open_lock  # noqa: PLW0603 - the parent's lock may be held by a thread that does not exist here
    _open_lock = threading.Lock()
    _open_directories.clear()
    for engine in list(_engines):
        engine._forked = True


def _stop_background_tasks() -> None:
    # A thread inside a graph build must not be alive when the interpreter takes itself apart.
    for engine in list(_engines):
        if isinstance(engine._source, _Shared) and not engine._forked:
            engine._source.background.stop()


os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_stop_background_tasks)
