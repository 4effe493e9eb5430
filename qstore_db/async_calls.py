"""Blocking verbs as coroutines: each runs in a thread of a bounded pool, while the event loop goes on.

Searches, commits and training release the interpreter's lock for most of their time, so calls run beside each other. A
call that is cancelled before it has begun never runs. One that has begun runs to its end in its thread: a commit is
then made whole, and only its answer is lost. No more calls run at once than there are threads; others wait their turn
as coroutines, so there is no queue to grow.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager
from types import MappingProxyType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from qstore_db.errors import DatabaseClosedError, InvalidArgumentError, TransactionError

_Face = TypeVar("_Face")
_Held_co = TypeVar("_Held_co", covariant=True)
_Value = TypeVar("_Value")
_Made = TypeVar("_Made")
_Given = ParamSpec("_Given")
_MOST_THREADS = 32
_FINISHED = object()


class Workers:
    """The threads of one database; belongs to the event loop that first uses it.

    Args:
        threads: How many calls run at once; ``None`` means the cores and 4 more, at most 32.

    Raises:
        InvalidArgumentError: ``threads`` is below 1.
    """

    def __init__(self, threads: int | None = None) -> None:
        if threads is None:
            threads = min(_MOST_THREADS, (os.cpu_count() or 1) + 4)
        if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
            raise InvalidArgumentError(
                f"threads is {threads!r}", fix="give a whole number of at least 1", value=threads
            )
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="qstore-async")
        self._free = asyncio.Semaphore(threads)
        self._closed = False

    async def run(self, call: Callable[_Given, _Value], /, *args: _Given.args, **kwargs: _Given.kwargs) -> _Value:
        """The value of a blocking call.

        Raises:
            DatabaseClosedError: The database was closed before the call began.
            TransactionError: The call belongs to a transaction that has ended.
        """
        lane = _LANES.get().get(self)
        if lane is not None:
            return await asyncio.wrap_future(lane.submit(functools.partial(call, *args, **kwargs)))
        await self._free.acquire()
        if self._closed:
            self._free.release()
            raise DatabaseClosedError("the database is closed", fix="Open it again.")
        loop = asyncio.get_running_loop()
        running = self._pool.submit(call, *args, **kwargs)
        # given back when the thread is free, which may be long after the caller was cancelled
        running.add_done_callback(lambda _: self._give_back(loop))
        return await asyncio.wrap_future(running)

    async def iterate(self, start: Callable[[], Iterator[_Value]]) -> AsyncIterator[_Value]:
        """The values of a blocking iterator, each fetched in a thread when it is asked for."""
        values = await self.run(start)
        while True:
            value = await self.run(next, values, _FINISHED)
            if value is _FINISHED:
                return
            yield value  # type: ignore[misc]  # next() gave one of its values, not the mark

    @asynccontextmanager
    async def transaction(self, block: AbstractContextManager[_Value]) -> AsyncIterator[_Value]:
        """A transaction of the calling task and those that it starts: a thread of its own runs all their calls."""
        if self in _LANES.get():
            raise TransactionError("this task is inside a transaction already", fix="End it first: leave its block.")
        lane = _Lane()
        try:
            value = await _to_the_end(lane.submit(block.__enter__))
            token = _LANES.set(MappingProxyType({**_LANES.get(), self: lane}))
            try:
                yield value
            except BaseException as error:
                if not await _to_the_end(lane.submit(functools.partial(block.__exit__, type(error), error, None))):
                    raise
            else:
                await _to_the_end(lane.submit(functools.partial(block.__exit__, None, None, None)))
            finally:
                _LANES.reset(token)
        finally:
            lane.close()

    async def close(self, last: Callable[[], None]) -> None:
        """Refuse further calls, wait for those that run, then make a last one. Idempotent."""
        self._closed = True

        def finish() -> None:
            self._pool.shutdown(wait=True)
            last()

        alone = ThreadPoolExecutor(1, thread_name_prefix="qstore-async-close")
        try:
            await _to_the_end(alone.submit(finish))
        finally:
            alone.shutdown(wait=False)

    def _give_back(self, loop: asyncio.AbstractEventLoop) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(self._free.release)


class _Lane:
    """One thread that makes the calls of one transaction, one after the other."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="qstore-async-transaction")
        self._closed = False

    def submit(self, call: Callable[[], _Value]) -> Future[_Value]:
        if self._closed:
            raise TransactionError(
                "the transaction of this task has ended",
                fix="Await what its block starts inside the block.",
                value=None,
            )
        return self._pool.submit(call)

    def close(self) -> None:
        self._closed = True
        self._pool.shutdown(wait=False)


_LANES: contextvars.ContextVar[Mapping[Workers, _Lane]] = contextvars.ContextVar(
    "qstore_transactions",
    default=MappingProxyType({}),
)


async def _to_the_end(running: Future[_Value]) -> _Value:
    """What a call gives; a cancellation waits until it is over, so that nothing is left half done behind it."""
    waiting = asyncio.wrap_future(running)
    try:
        return await asyncio.shield(waiting)
    except asyncio.CancelledError:
        if not waiting.done():
            await asyncio.wait([waiting])
        raise


class AsyncFace(Generic[_Held_co]):
    """An object whose verbs block, with the same verbs as coroutines.

    Args:
        blocking: The object.
        workers: Where its verbs run.
    """

    def __init__(self, blocking: _Held_co, workers: Workers) -> None:
        self._blocking = blocking
        self._workers = workers

    @property
    def blocking(self) -> _Held_co:
        """The object itself, for what needs no waiting, and for threads."""
        return self._blocking

    def __repr__(self) -> str:
        return f"Async{self._blocking!r}"


def verb(
    method: Callable[Concatenate[_Face, _Given], _Value],
) -> Callable[Concatenate[AsyncFace[_Face], _Given], Coroutine[Any, Any, _Value]]:
    """A method as a coroutine, with its name, parameters and documentation."""

    @functools.wraps(method)
    async def awaited(self: AsyncFace[_Face], /, *args: _Given.args, **kwargs: _Given.kwargs) -> _Value:
        return await self._workers.run(method, self._blocking, *args, **kwargs)

    return awaited


def verb_giving(
    method: Callable[Concatenate[_Face, _Given], _Value], make: Callable[[_Value, Workers], _Made]
) -> Callable[Concatenate[AsyncFace[_Face], _Given], Coroutine[Any, Any, _Made]]:
    """A method as a coroutine whose value is given in its awaitable form."""

    @functools.wraps(method)
    async def awaited(self: AsyncFace[_Face], /, *args: _Given.args, **kwargs: _Given.kwargs) -> _Made:
        return make(await self._workers.run(method, self._blocking, *args, **kwargs), self._workers)

    return awaited


def stream(
    method: Callable[Concatenate[_Face, _Given], Iterable[_Value]],
) -> Callable[Concatenate[AsyncFace[_Face], _Given], AsyncIterator[_Value]]:
    """A method that gives an iterator, for ``async for``."""

    @functools.wraps(method)
    def streamed(self: AsyncFace[_Face], /, *args: _Given.args, **kwargs: _Given.kwargs) -> AsyncIterator[_Value]:
        return self._workers.iterate(lambda: iter(method(self._blocking, *args, **kwargs)))

    return streamed
