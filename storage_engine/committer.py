"""Commits: validate, log, sync, apply, publish, acknowledge; many threads share one sync."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from storage_engine.apply import apply
from storage_engine.batch import AttachFile, FileReference, Operation, PutRows
from storage_engine.bulk import BATCH_BYTES, Staged, may_be_large, stage, vector_bytes
from storage_engine.catalog import Catalog, CollectionState
from storage_engine.chunks import FreshChunk
from storage_engine.commit_queue import CommitQueue, CommitRequest
from storage_engine.errors import (
    CommitUnknownError,
    DatabaseClosedError,
    DatabaseError,
    InvalidArgumentError,
    QStoreError,
)
from storage_engine.files import Disk, DiskError
from storage_engine.recovery import named_files, segment_opener
from storage_engine.resolution import Resolver
from storage_engine.snapshot import Snapshot
from storage_engine.wal.entry import LoggedOperation, encode_pieces
from storage_engine.wal.record import MAX_PAYLOAD_BYTES, Payload, log_name
from storage_engine.wal.watermark import Watermark
from storage_engine.wal.writer import LogWriter, payload_bytes


@dataclass(frozen=True, slots=True)
class Frozen:
    """The state at the moment when the log was rotated: what a seal writes down.

    Args:
        catalog: The state; everything after it is in the new log.
        fresh_rows: How many of its rows only logs held.
        wal_number: The new log's number.
        last_crc: Checksum of the last record before.
    """

    catalog: Catalog
    fresh_rows: int
    wal_number: int
    last_crc: int


@dataclass(frozen=True, slots=True)
class _Applied:
    """What a commit makes visible, in one piece: an interrupt comes before all of it or after.

    Args:
        catalog: The newest state.
        snapshot: Of it.
        requests: Those that it holds since the state before.
    """

    catalog: Catalog
    snapshot: Snapshot
    requests: Sequence[CommitRequest] = ()


class Committer:
    """The newest state of a writable database and the log behind it.

    Args:
        disk: Where.
        database_uuid: From the file ``FORMAT``.
        clock: Gives commit times.
        sync_each: Sync before acknowledging; otherwise :meth:`flush` is called by somebody soon.

    Attributes:
        lock: Held by whoever changes the state.
        named: For each log file still needed, the files that its records name.
        staged: Files that were staged and not attached yet.
        fresh_rows: Rows written since the newest manifest.
        changed_at: When the state last changed, by the process's own steady clock.
    """

    def __init__(
        self,
        disk: Disk,
        database_uuid: str,
        clock: Callable[[], float],
        *,
        catalog: Catalog,
        log: LogWriter,
        watermark: Watermark,
        named: dict[int, set[str]],
        sync_each: bool,
    ) -> None:
        self.lock = threading.RLock()
        self.named = named
        self.staged: dict[tuple[str, str], FileReference] = {}
        self.fresh_rows = catalog_fresh_rows(catalog)
        self.changed_at = 0.0
        self._disk = disk
        self._uuid = database_uuid
        self._clock = clock
        self._log = log
        self._watermark = watermark
        self._said_durable = 0
        self._sync_each = sync_each
        self._applied = _Applied(catalog, Snapshot(catalog))
        self._queue = CommitQueue(self._commit_waiting)
        self._poison = ""

    @property
    def catalog(self) -> Catalog:
        """The newest state."""
        return self._applied.catalog

    @property
    def snapshot(self) -> Snapshot:
        """The newest acknowledged state."""
        return self._applied.snapshot

    @property
    def log_bytes(self) -> int:
        """Length of the open log file."""
        return self._log.size

    @property
    def unsynced(self) -> bool:
        """Whether commits were acknowledged that :meth:`flush` has yet to make durable."""
        return not self._poison and self._log.durable_lsn < self._log.last_lsn

    @property
    def poison(self) -> str:
        """Why nothing can be committed any more; empty while it can."""
        return self._poison

    def commit(self, operations: Sequence[Operation], check: Callable[[Catalog], None] | None = None) -> int:
        """Make a batch durable and visible; see :meth:`storage_engine.engine.Engine.commit`.

        Args:
            operations: The batch.
            check: See :class:`storage_engine.commit_queue.CommitRequest`.
        """
        request = CommitRequest(operations, check)
        if may_be_large(operations):
            request.staged = self._staged_ahead(operations, check)
        self._queue.run(request)
        if request.error is not None:
            if request.staged is not None and not isinstance(request.error, CommitUnknownError):
                request.staged.discard(self._disk)
            raise request.error
        return request.version

    def _staged_ahead(self, operations: Sequence[Operation], check: Callable[[Catalog], None] | None) -> Staged | None:
        """Write large rows to segments before it is the batch's turn, under no lock.

        Returns:
            ``None`` where that is not possible: whether the batch is refused, and what rows become of an update, is
            only known when it is its turn.

        Raises:
            WriteFailedError: The disk is full or failed; nothing was stored.
            ConflictError: From ``check``.
        """
        if any(isinstance(one, PutRows) and one.mode == "update" for one in operations):
            return None
        with self.lock:
            self.check_usable()
            catalog, files, lsn = self.catalog, list(self.staged.values()), self._log.last_lsn + 1
        if check is not None:
            check(catalog)
        try:
            resolved, _ = Resolver(catalog, files).resolve(operations)
        except QStoreError:
            return None
        return stage(self._disk, resolved, catalog, lsn)

    def flush(self) -> None:
        """Make durable what was acknowledged before being synced. Under no other lock.

        Raises:
            CommitUnknownError: The disk failed; nothing can be committed any more.
        """
        with self.lock:
            if self._poison:
                return
            try:
                self._log.sync()
            except DatabaseError as error:
                self.give_up(error.what)
                raise
            self._say_durable()

    def rotate(self) -> Frozen:
        """Let commits go on in a new log file. The caller holds :attr:`lock`.

        Raises:
            DiskError: No new log could be made; commits go on in the old one.
            CommitUnknownError: The old log could not be synced; nothing can be committed any more.
        """
        self.check_usable()
        self.flush()
        number = self._log.number + 1
        # A leftover of an earlier attempt holds nothing: no record is written before the switch below.
        if self._disk.exists(log_name(number)):
            self._disk.unlink(log_name(number))
        log = LogWriter.create(
            self._disk,
            self._uuid,
            number,
            first_lsn=self._log.last_lsn + 1,
            previous_crc=self._log.last_crc,
            created_at=self._clock(),
        )
        log.most_room = self._log.most_room
        self._log.close()
        self._log = log
        self.named[number] = set()
        return Frozen(self.catalog, self.fresh_rows, number, log.last_crc)

    def sealed(self, frozen: Frozen) -> None:
        """Count the rows of a frozen state as sealed. The caller holds :attr:`lock`."""
        self.fresh_rows -= frozen.fresh_rows

    def exchange(self, states: Mapping[str, CollectionState]) -> None:
        """Put collections' rows elsewhere, and forget old records, without changing what is stored.

        The caller holds :attr:`lock`. Snapshots taken before keep what they see.

        Args:
            states: By uuid; those of collections dropped meanwhile are ignored.
        """
        collections = {name: states.get(state.schema.uuid, state) for name, state in self.catalog.collections.items()}
        tables = {name: state.without_history() for name, state in self.catalog.tables.items()}
        self._acknowledge()
        catalog = replace(self.catalog, collections=collections, tables=tables)
        self._applied = _Applied(catalog, Snapshot(catalog))

    def check_usable(self) -> None:
        """Raise DatabaseClosedError if nothing can be committed any more."""
        if self._poison:
            raise DatabaseClosedError(
                f"the database takes no more commits: {self._poison}", fix="Open it again.", value=self._poison
            )

    def give_up(self, why: str) -> None:
        """Refuse all commits from now on: memory and disk may differ."""
        self._poison = self._poison or why

    def close(self) -> None:
        """Sync, write down what is durable, give the files back. Idempotent; a poisoned log is left as it is.

        Raises:
            CommitUnknownError: Commits that were acknowledged before being synced could not be synced.
        """
        with self.lock:
            try:
                if not self._poison:
                    self._log.sync()
                    self._watermark.write(self._log.durable_lsn, sync=True)
            finally:
                self.give_up("the handle was closed")
                self._log.close()
                self._watermark.close()

    # -- one group -------------------------------------------------------------------------------------------------

    def _commit_waiting(self, group: Sequence[CommitRequest]) -> None:
        with self.lock:
            try:
                self._commit_group(group)
            except QStoreError as error:
                for request in group:
                    if not request.done:
                        request.error = error

    def _acknowledge(self) -> None:
        """Tell the requests of the newest state that they are in it. Again, if the first time was interrupted."""
        requests = self._applied.requests
        for version, request in enumerate(requests, self._applied.catalog.lsn - len(requests) + 1):
            request.version = version

    def _commit_group(self, group: Sequence[CommitRequest]) -> None:
        self._acknowledge()
        self.check_usable()
        if self._log.last_lsn != self.catalog.lsn:
            self.give_up("a commit was interrupted after it had been written")
            self.check_usable()
        resolver = Resolver(self.catalog, self.staged.values())
        accepted: list[tuple[CommitRequest, list[LoggedOperation]]] = []
        payloads: list[Payload] = []
        for request in group:
            if request.done:
                continue
            lsn = self._log.last_lsn + len(accepted) + 1
            try:
                if request.check is not None:
                    request.check(self.catalog)
                if request.staged is not None and request.staged.catalog is self.catalog and len(group) == 1:
                    operations, after = request.staged.operations, resolver
                else:
                    operations, after = resolver.resolve(request.operations)
                operations, payload = self._encoded(request, operations, lsn)
            except Exception as error:  # noqa: BLE001 - raised again in the thread that gave the batch
                request.error = error
                continue
            resolver = after
            accepted.append((request, operations))
            payloads.append(payload)
        if not accepted:
            return
        now = self._clock()
        try:
            self._log.append(payloads, time=now, sync=self._sync_each)
        except DatabaseError as error:
            if self._log.poisoned:
                self.give_up(error.what)
            raise
        self._publish(accepted, now)

    def _encoded(
        self, request: CommitRequest, operations: list[LoggedOperation], lsn: int
    ) -> tuple[list[LoggedOperation], Payload]:
        payload: Payload = [] if vector_bytes(operations) > BATCH_BYTES else encode_pieces(operations)
        if not payload or payload_bytes(payload) > BATCH_BYTES:
            if request.staged is not None and not request.staged.fits(operations):
                request.staged.discard(self._disk)
                request.staged = None
            if request.staged is None:
                request.staged = stage(self._disk, operations, self.catalog, lsn)
            operations = request.staged.attached(operations, lsn)
            payload = encode_pieces(operations)
        size = payload_bytes(payload)
        if size > MAX_PAYLOAD_BYTES:
            raise InvalidArgumentError(
                f"the batch has {size} bytes besides its large rows",
                fix=f"Split it into batches of at most {MAX_PAYLOAD_BYTES} bytes.",
                value=size,
            )
        return operations, payload

    def _publish(self, accepted: Sequence[tuple[CommitRequest, list[LoggedOperation]]], now: float) -> None:
        opener = segment_opener(self._disk)
        catalog = self.catalog
        for _, operations in accepted:
            self.named[self._log.number] |= named_files(operations)
            try:
                catalog = apply(catalog, catalog.lsn + 1, operations, opener, now)
            except DatabaseError as error:
                self.give_up(error.what)
                raise CommitUnknownError(
                    f"a commit was written but could not be applied: {error.what}", fix="Open the database again."
                ) from error
            for operation in operations:
                if isinstance(operation, PutRows):
                    self.fresh_rows += len(operation.ids)
                elif isinstance(operation, AttachFile):
                    self.staged.pop((operation.file.kind, operation.file.name), None)
        self.changed_at = time.monotonic()
        self._applied = _Applied(catalog, Snapshot(catalog), [request for request, _ in accepted])
        if self._sync_each:
            self._say_durable()
        self._acknowledge()

    def _say_durable(self) -> None:
        if self._log.durable_lsn > self._said_durable:
            # Not synced: readers see it at once, and after a power cut an old statement is still a true one. If the
            # disk refuses it, the commit is durable all the same; the next one says it again.
            with contextlib.suppress(DiskError):
                self._watermark.write(self._log.durable_lsn)
                self._said_durable = self._log.durable_lsn


def catalog_fresh_rows(catalog: Catalog) -> int:
    """Rows that are in no segment."""
    return sum(
        rows
        for state in catalog.collections.values()
        for chunk, rows in state.rows.parts(state.slot_count)
        if isinstance(chunk, FreshChunk)
    )
