"""The storage engine: one database directory, its newest state, and the one way to change it."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal

from storage_engine.apply import apply
from storage_engine.batch import FileReference, WriteBatch
from storage_engine.catalog import Catalog
from storage_engine.errors import DatabaseClosedError, InvalidArgumentError, NotFoundError
from storage_engine.resolution import Resolver
from storage_engine.sealed import SealedChunk
from storage_engine.snapshot import Snapshot


class Engine:
    """A database directory, or a database in memory."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.path: Path | None = None
        self.read_only = False
        self._closed = False
        self._lock = threading.Lock()
        self._catalog = Catalog()
        self._snapshot = Snapshot(self._catalog)
        self._staged: dict[tuple[str, str], tuple[FileReference, bytes]] = {}

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] | None,
        *,
        read_only: bool = False,
        create: bool = True,
        clock: Callable[[], float] = time.time,
        sync: Literal["full", "normal"] = "full",
        build_threads: int | None = None,
    ) -> Engine:
        """Open a database; ``None`` makes one in memory."""
        if path is not None:
            raise NotImplementedError("directories come with the next step of the work")
        return cls(clock)

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def snapshot(self) -> Snapshot:
        """The newest commit."""
        self._usable()
        return self._snapshot

    def commit(self, batch: WriteBatch) -> int:
        """Make a batch durable and visible; return its version."""
        self._usable()
        if not batch.operations:
            raise InvalidArgumentError("the batch holds no operation", fix="Add one.")
        with self._lock:
            resolver = Resolver(self._catalog, [entry[0] for entry in self._staged.values()])
            resolved, _ = resolver.resolve(batch.operations)
            self._catalog = apply(self._catalog, self._catalog.lsn + 1, resolved, _no_segments)
            self._snapshot = Snapshot(self._catalog)
            return self._catalog.lsn

    def stage_file(self, kind: str, suffix: str, write: Callable[[BinaryIO], None]) -> FileReference:
        """Write a file to be attached by a later commit."""
        self._usable()
        stream = io.BytesIO()
        write(stream)
        data = stream.getvalue()
        reference = FileReference(kind, uuid.uuid4().hex + suffix, len(data), hashlib.sha256(data).hexdigest())
        self._staged[kind, reference.name] = (reference, data)
        return reference

    def read_file(self, kind: str, name: str) -> bytes:
        """Bytes of an attached file."""
        self._usable()
        if (kind, name) not in self._catalog.files:
            raise NotFoundError(f"no attached file {kind}/{name}", fix="Check the name.", value=name)
        return self._staged[kind, name][1]

    def refresh(self) -> int:
        """Catch up with the log."""
        return self.snapshot().version

    def close(self) -> None:
        """Give everything back."""
        self._closed = True

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _usable(self) -> None:
        if self._closed:
            raise DatabaseClosedError("the database is closed", fix="Open it again.")


def _no_segments(reference: object, start: int) -> SealedChunk:
    raise NotImplementedError
