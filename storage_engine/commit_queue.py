"""Many threads, one log: whoever comes first leads, and takes along all that are waiting when its turn comes.

While a leader waits for the disk, others line up behind it. When it is done, the first of them leads the next group,
which is everybody who is there by then. Nobody ever waits for more to come.

A thread may be interrupted (Ctrl-C) between any two steps, so nothing here relies on a thread doing its last ones. Who
leads holds a lock that the interpreter gives back on the way out. Who is to lead next is only a hint: a thread that
waits looks for itself after a while. A request stays in the line until it is done, so none is lost with its leader.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from storage_engine.batch import Operation
from storage_engine.bulk import Staged, rough_size
from storage_engine.catalog import Catalog

GROUP_BYTES = 1 << 20

PATIENCE_SECONDS = 0.1
"""After so long a thread that waits for its turn looks whether anybody leads."""


class CommitRequest:
    """One batch on its way.

    Attributes:
        operations: As the caller gave them.
        check: Called with the newest state before the batch is resolved; what it raises refuses the batch. Such a batch
            has a group of its own.
        staged: Its large rows, as far as they were written to files already.
        version: Of the commit, once it is done; 0 before.
        error: Why it was refused, if it was.
    """

    __slots__ = ("_turn", "check", "error", "operations", "staged", "version")

    def __init__(self, operations: Sequence[Operation], check: Callable[[Catalog], None] | None = None) -> None:
        self.operations = operations
        self.check = check
        self.staged: Staged | None = None
        self.version = 0
        self.error: BaseException | None = None
        self._turn = threading.Lock()
        self._turn.acquire()

    @property
    def done(self) -> bool:
        """Whether the batch was committed or refused."""
        return self.version > 0 or self.error is not None

    def wait(self) -> None:
        """Return when another thread has done the work, when it is this thread's turn to lead, or after a while."""
        self._turn.acquire(timeout=PATIENCE_SECONDS)

    def wake(self) -> None:
        """Let :meth:`wait` return. Called by one thread at a time, as often as it likes."""
        if self._turn.locked():
            self._turn.release()


class CommitQueue:
    """The line in front of the log.

    Args:
        commit_group: Commits requests, in order, and marks each as done; it passes over those that are. Called by one
            thread at a time. If it raises, its own thread's request ends with that, and the others are tried again.
    """

    def __init__(self, commit_group: Callable[[Sequence[CommitRequest]], None]) -> None:
        self._commit_group = commit_group
        self._lock = threading.Lock()  # for the line
        self._leading = threading.Lock()  # held by who leads
        self._waiting: deque[CommitRequest] = deque()
        self._taken: Sequence[CommitRequest] = ()
        self._led = False  # whether somebody leads or was told to

    def run(self, request: CommitRequest) -> None:
        """Return when the request is done.

        Raises:
            BaseException: What interrupted the thread. The request is withdrawn if nobody had begun with it; otherwise
                it may have been committed.
        """
        try:
            with self._lock:
                self._waiting.append(request)
                leads = not self._led
                self._led = True
            if not leads:
                request.wait()
            while not request.done:
                with self._leading:
                    if not request.done:
                        self._lead()
        except BaseException:
            self._withdraw(request)
            raise

    def _lead(self) -> None:
        try:
            self._commit_group(self._take())
        finally:
            self._hand_over()

    def _take(self) -> Sequence[CommitRequest]:
        with self._lock:
            self._drop_done()
            group: list[CommitRequest] = []
            size = 0
            for request in self._waiting:
                if len(self._waiting) > 1:
                    size += rough_size(request.operations)
                if group and (request.check is not None or group[0].check is not None or size > GROUP_BYTES):
                    break
                group.append(request)
            self._taken = group
            return group

    def _hand_over(self) -> None:
        with self._lock:
            for request in self._taken:
                if request.done:
                    request.wake()
            self._taken = ()
            self._drop_done()
            self._led = bool(self._waiting)
            if self._waiting:
                self._waiting[0].wake()

    def _drop_done(self) -> None:
        while self._waiting and self._waiting[0].done:
            self._waiting.popleft()

    def _withdraw(self, request: CommitRequest) -> None:
        """The thread was interrupted: what nobody has begun must not be committed behind its back."""
        with self._lock:
            if request in self._waiting and request not in self._taken:
                self._waiting.remove(request)
            if self._waiting:
                self._waiting[0].wake()
            elif not self._taken:
                self._led = False
