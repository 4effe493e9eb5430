"""An event loop on a thread of its own, with an owner who closes it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from qstore_db.errors import ExecutorClosedError

Value = TypeVar("Value")


class EventLoopThread:
    """Runs callbacks and coroutines of one owner.

    The thread is a daemon: a program that forgets to close it still ends.

    Args:
        name: Of the thread.
    """

    __slots__ = ("_lock", "_loop", "_stopped", "_thread")

    def __init__(self, name: str) -> None:
        self._lock = threading.RLock()  # a finalizer may post while its thread is in here
        self._stopped = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=_serve, args=(self._loop,), name=name, daemon=True)
        self._thread.start()

    @property
    def is_current(self) -> bool:
        """Whether the calling thread is this one."""
        return threading.current_thread() is self._thread

    def post(self, callback: Callable[..., object], *arguments: object) -> None:
        """Has a callback run on the loop, after those posted before.

        Raises:
            ExecutorClosedError: The loop was stopped.
        """
        with self._lock:
            if self._stopped:
                raise ExecutorClosedError("the executor is closed", fix="Make a new one.")
            self._loop.call_soon_threadsafe(callback, *arguments)

    def soon(self, callback: Callable[[], object]) -> None:
        """The same from the loop's own thread, also while it is being stopped."""
        self._loop.call_soon(callback)

    def spawn(self, coroutine: Coroutine[Any, Any, object]) -> asyncio.Task[Any]:
        """Starts a task; only from the loop's own thread."""
        return self._loop.create_task(coroutine)

    def run(self, make: Callable[[], Coroutine[Any, Any, Value]]) -> Value:
        """Runs a coroutine on the loop and waits for it; never from the loop's own thread.

        Raises:
            ExecutorClosedError: The loop was stopped.
        """
        done: Future[Value] = Future()
        self.post(lambda: _settle_with(self._loop.create_task(make()), done))
        return done.result()

    def stop(self) -> None:
        """Ends the loop after the callbacks already posted, and the thread. Idempotent."""
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
            self._loop.call_soon_threadsafe(self._loop.stop)
        if not self.is_current:
            self._thread.join()


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def _settle_with(task: asyncio.Task[Value], done: Future[Value]) -> None:
    def settle(finished: asyncio.Task[Value]) -> None:
        if finished.cancelled():
            done.cancel()
        elif error := finished.exception():
            done.set_exception(error)
        else:
            done.set_result(finished.result())

    task.add_done_callback(settle)
