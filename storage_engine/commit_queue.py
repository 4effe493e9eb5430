"""Many threads, one log: whoever comes first leads, and takes along all that are waiting when its turn comes.

While a leader waits for the disk, others line up behind it. When it is done, the first of them leads the next group,
which is everybody who is there by then. Nobody ever waits for more to come.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from storage_engine.batch import Operation
from storage_engine.bulk import rough_size
from storage_engine.catalog import Catalog

GROUP_BYTES = 1 << 20


class CommitRequest:
    """One batch on its way.

    Attributes:
        operations: As the caller gave them.
        check: Called with the newest state before the batch is resolved; what it raises refuses the batch. Such a batch
            has a group of its own.
        version: Of the commit, once it is done; 0 before.
        error: Why it was refused, if it was.
    """

    __slots__ = ("_turn", "check", "error", "operations", "version")

    def __init__(self, operations: Sequence[Operation], check: Callable[[Catalog], None] | None = None) -> None:
        self.operations = operations
        self.check = check
        self.version = 0
        self.error: BaseException | None = None
        self._turn = threading.Lock()
        self._turn.acquire()

    @property
    def done(self) -> bool:
        """Whether the batch was committed or refused."""
        return self.version > 0 or self.error is not None

    def wait(self) -> None:
        """Return when another thread has done the work, or when it is this thread's turn to lead."""
        self._turn.acquire()

    def wake(self) -> None:
        """Let :meth:`wait` return; called once."""
        self._turn.release()


class CommitQueue:
    """The line in front of the log.

    Args:
        commit_group: Commits requests, in order, and marks each as done. Called by one thread at a time. If it raises,
            its own thread's request ends with that, and the others are tried again.
    """

    def __init__(self, commit_group: Callable[[Sequence[CommitRequest]], None]) -> None:
        self._commit_group = commit_group
        self._lock = threading.Lock()
        self._waiting: deque[CommitRequest] = deque()
        self._turn_of: CommitRequest | None = None

    def run(self, request: CommitRequest) -> None:
        """Return when the request is done."""
        with self._lock:
            self._waiting.append(request)
            leads = self._turn_of is None
            if leads:
                self._turn_of = request
        if not leads:
            try:
                request.wait()
            except BaseException:
                self._withdraw(request)
                raise
            if request.done:
                return
        group: list[CommitRequest] = []
        try:
            group = self._take()
            self._commit_group(group)
        finally:
            self._hand_over(request, group)

    def _take(self) -> list[CommitRequest]:
        with self._lock:
            group, size = [self._waiting.popleft()], 0
            while self._waiting and group[0].check is None and self._waiting[0].check is None:
                size += rough_size(group[-1].operations)
                if size > GROUP_BYTES:
                    break
                group.append(self._waiting.popleft())
            return group

    def _hand_over(self, leader: CommitRequest, group: Sequence[CommitRequest]) -> None:
        with self._lock:
            again = [request for request in group if not request.done and request is not leader]
            self._waiting.extendleft(reversed(again))
            if leader in self._waiting:  # interrupted before it could take anything
                self._waiting.remove(leader)
            self._next_turn()
        for request in group:
            if request.done and request is not leader:
                request.wake()

    def _withdraw(self, request: CommitRequest) -> None:
        """The waiting thread was interrupted: what nobody has begun must not be committed behind its back."""
        with self._lock:
            if request in self._waiting:
                self._waiting.remove(request)
                if self._turn_of is request:
                    self._next_turn()

    def _next_turn(self) -> None:
        self._turn_of = self._waiting[0] if self._waiting else None
        if self._turn_of is not None:
            self._turn_of.wake()
