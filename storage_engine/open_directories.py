"""Directories that this process has open: a writer's is shared by all engines on it, a reader has its own."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from typing import Literal, TypeAlias

from storage_engine.background import Background
from storage_engine.errors import InvalidArgumentError, NotADatabaseError
from storage_engine.files import Disk
from storage_engine.follower import Follower
from storage_engine.manifest.manifest import Manifest
from storage_engine.opening import open_directory, open_writable
from storage_engine.row_repair import Repair
from storage_engine.snapshot import Snapshot
from storage_engine.writable import Writable

SyncMode = Literal["full", "normal"]
Settings: TypeAlias = tuple[Callable[[], float], SyncMode, int | None]


class Shared:
    """A directory open for writing, used by one or more engines of this process."""

    def __init__(self, database: Writable, settings: Settings, place: tuple[int, int] | None) -> None:
        self.database = database
        self.background = Background(database)
        self.settings = settings
        self.place = place
        self.users = 1

    @property
    def disk(self) -> Disk:
        """Where."""
        return self.database.disk

    @property
    def manifest(self) -> Manifest:
        """The newest one."""
        return self.database.manifest

    def newest_manifest(self) -> Manifest:
        """The same, as readers are asked for it."""
        return self.database.manifest

    @property
    def snapshot(self) -> Snapshot:
        """The newest state."""
        return self.database.snapshot

    def refresh(self) -> int:
        """The version; a writer always is at the newest one."""
        return self.database.snapshot.version

    def close(self) -> None:
        """Stop the background thread and give the directory back."""
        self.background.stop()
        self.database.close()
        self.database.disk.shut()


_lock = threading.Lock()
_open_directories: dict[tuple[int, int], Shared] = {}


def release(shared: Shared) -> None:
    """One engine less uses a directory; the last one gives it back."""
    with _lock:
        shared.users -= 1
        if shared.users:
            return
        # Under the lock: an open of the same directory in another thread waits for the file lock to be free.
        try:
            shared.close()
        finally:
            if shared.place is not None:
                del _open_directories[shared.place]


def forget_after_fork() -> None:
    """In a forked child: what the parent has open is none of its business."""
    global _lock  # noqa: PLW0603 - the parent's lock may be held by a thread that does not exist here
    _lock = threading.Lock()
    _open_directories.clear()


def check_options(path: object, read_only: bool, sync: str, build_threads: int | None, repair: object) -> None:
    """Raise InvalidArgumentError unless the options of an engine fit each other."""
    if repair not in (None, "prefix", "rows") or (repair is not None and read_only):
        raise InvalidArgumentError(
            f"repair is {repair!r}", fix="Use 'prefix', 'rows' or None; a repair needs the database open for writing."
        )
    if path is None and read_only:
        raise InvalidArgumentError("a database in memory cannot be read-only", fix="Give a path.")
    if sync not in ("full", "normal"):
        raise InvalidArgumentError(f"sync is {sync!r}", fix="Use 'full' or 'normal'.", value=sync)
    if build_threads is not None and build_threads < 1:
        raise InvalidArgumentError(f"build_threads is {build_threads}", fix="Give at least 1.", value=build_threads)


@contextlib.contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Let a refusal name the directory, which the parts that read single files do not know."""
    try:
        yield
    except NotADatabaseError as error:
        name = os.fspath(path)
        if error.value == name:
            raise
        raise NotADatabaseError(f"{name!r} is refused: {error.what}", fix=error.fix, value=name) from error


def follow(path: str | os.PathLike[str], clock: Callable[[], float], unsafe_fs: bool) -> Follower:
    """A directory opened for reading.

    Raises:
        NotADatabaseError, UnsafeDirectoryError, DamagedError: See :meth:`storage_engine.engine.Engine.open`.
    """
    disk = open_directory(path, create=False, unsafe_fs=unsafe_fs)
    try:
        return Follower(disk, clock)
    except BaseException:
        disk.shut()
        raise


def open_shared(
    path: str | os.PathLike[str], create: bool, unsafe_fs: bool, repair: Repair | None, settings: Settings
) -> Shared:
    """A directory opened for writing, or the one that this process has open already.

    Raises:
        InvalidArgumentError: It is open with other settings.
        DatabaseError: See :meth:`storage_engine.engine.Engine.open`.
    """
    disk = open_directory(path, create=create, unsafe_fs=unsafe_fs)
    try:
        found = disk.path.stat()
        place = (found.st_dev, found.st_ino)
        with _lock:
            shared = _open_directories.get(place)
            if shared is None:
                clock, sync, build_threads = settings
                database = open_writable(
                    disk,
                    create=create,
                    clock=clock,
                    sync_each=sync == "full",
                    build_threads=build_threads,
                    repair=repair,
                )
                shared = _open_directories[place] = Shared(database, settings, place)
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
