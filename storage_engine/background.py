"""The work that no commit waits for: late syncs, seals, graphs; in one thread that exists only meanwhile."""

from __future__ import annotations

import threading
import time

from storage_engine.catalog import CollectionState
from storage_engine.errors import DatabaseError
from storage_engine.graph_building import uncovered
from storage_engine.writable import SEAL_ROWS, BuildStopped, Writable

SYNC_SECONDS = 0.1
"""How long an acknowledged commit may stay unsynced with ``sync="normal"``."""

QUIET_SECONDS = 0.3
"""A graph is built when nothing was committed for so long: during a bulk load it would soon be too small. A seal waits
as well, since it writes every fresh row once more and a burst of commits needs the disk for itself."""

PATIENT_TIMES = 2
"""A seal no longer waits when the log has grown so many times past its limits."""

RETRY_SECONDS = 5.0
"""After a failure, nothing is tried for so long."""

_TICK_SECONDS = 0.1


class Background:
    """Starts a thread when there is work for it; the thread ends when there is none.

    Args:
        database: Whose work.

    Attributes:
        failure: What the disk refused last; ``None`` after a success.
    """

    def __init__(self, database: Writable) -> None:
        self.failure: DatabaseError | None = None
        self._database = database
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._not_before = 0.0

    def poke(self) -> None:
        """Start the thread if there is work and none is running. A few microseconds when there is nothing to do."""
        if self._thread is None and not self._stop.is_set() and self._has_work():
            with self._lock:
                if self._thread is None and not self._stop.is_set() and time.monotonic() >= self._not_before:
                    self._thread = threading.Thread(target=self._run, name="qstore-background", daemon=True)
                    self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it. Nothing is started afterwards. Idempotent."""
        self._stop.set()
        self._database.stop()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()

    def _has_work(self) -> bool:
        database = self._database
        if database.committer.poison:
            return False
        return database.committer.unsynced or database.needs_seal() or bool(database.due_graphs())

    def _run(self) -> None:
        try:
            while True:
                while not self._stop.is_set() and self._has_work():
                    self._step()
                with self._lock:
                    # Decided under the lock: whoever pokes after this finds no thread and starts one.
                    if self._stop.is_set() or not self._has_work():
                        self._thread = None
                        return
        except BuildStopped:
            pass
        except DatabaseError as error:
            # Nothing is lost by it: rows stay in the log and are compared exactly. `verify` reports it.
            self.failure = error
            self._not_before = time.monotonic() + RETRY_SECONDS
        finally:
            with self._lock:
                self._thread = None

    def _step(self) -> None:
        database = self._database
        if database.needs_seal() and (self._is_quiet() or database.needs_seal(PATIENT_TIMES)):
            database.seal()
            self.failure = None
            return
        if database.committer.unsynced:
            self._stop.wait(SYNC_SECONDS)
            database.committer.flush()
            return
        due = next((state for state in database.due_graphs() if self._is_time(state)), None)
        if due is None:
            self._stop.wait(_TICK_SECONDS)
            return
        database.seal()
        database.build_graph(due, only_if_due=True)
        self.failure = None

    def _is_time(self, state: CollectionState) -> bool:
        missing = uncovered(state)
        if missing > SEAL_ROWS and missing > state.slot_count // 2:
            return True  # a load that goes on for long: comparing exactly would become slow meanwhile
        return self._is_quiet()

    def _is_quiet(self) -> bool:
        return time.monotonic() - self._database.committer.changed_at > QUIET_SECONDS
