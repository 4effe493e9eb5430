"""The face of Q-Store for programs with an event loop: the same verbs, awaitable.

    db = await AsyncQuantumDatabase.open("clothes.qdb")
    hits = await db.collection("items").query(vector)

Each verb is one line here and is documented where it is defined; :mod:`qstore_db.async_calls` says how they run.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, Self

from qstore_db.async_calls import AsyncFace, Workers, stream, verb, verb_giving
from qstore_db.collection import Collection
from qstore_db.database import QuantumDatabase
from qstore_db.search.records import Records
from qstore_db.search.verbs import Search

if TYPE_CHECKING:
    from pathlib import Path

    from storage_engine.transaction import Transaction

_Given = ParamSpec("_Given")


class AsyncSearch(AsyncFace[Search]):
    """The verbs of :class:`qstore_db.search.verbs.Search`, awaitable."""

    within = verb(Search.within)
    at_least = verb(Search.at_least)
    groups = verb(Search.groups)
    page = verb(Search.page)
    pages = stream(Search.pages)
    diverse = verb(Search.diverse)
    annealed = verb(Search.annealed)
    reranked = verb(Search.reranked)
    gram = verb(Search.gram)
    gram_blocks = stream(Search.gram_blocks)
    text = verb(Search.text)
    hybrid = verb(Search.hybrid)


class AsyncRecords(AsyncFace[Records]):
    """The verbs of :class:`qstore_db.search.records.Records`, awaitable."""

    insert = verb(Records.insert)
    upsert = verb(Records.upsert)
    delete = verb(Records.delete)
    get: Callable[..., Coroutine[Any, Any, Any]] = verb(Records.get)  # gives one record, or a list of them
    query = verb(Records.query)


class AsyncCollection(AsyncFace[Collection]):
    """The verbs of :class:`qstore_db.Collection`, awaitable. What needs no waiting is that of :attr:`blocking`."""

    insert = verb(Collection.insert)
    upsert = verb(Collection.upsert)
    update = verb(Collection.update)
    delete = verb(Collection.delete)
    get: Callable[..., Coroutine[Any, Any, Any]] = verb(Collection.get)  # gives one record, or a list of them
    query = verb(Collection.query)
    measure = verb(Collection.measure)
    create_entangled_group = verb(Collection.create_entangled_group)
    sync = verb(Collection.sync)
    build_graph = verb(Collection.build_graph)
    build_filter_graph = verb(Collection.build_filter_graph)
    drop_filter_graph = verb(Collection.drop_filter_graph)

    @property
    def name(self) -> str:
        """Its name."""
        return self._blocking.name

    @property
    def search(self) -> AsyncSearch:
        """Searches beyond the nearest k rows."""
        return AsyncSearch(self._blocking.search, self._workers)

    @property
    def records(self) -> AsyncRecords:
        """Records of several vectors."""
        return AsyncRecords(self._blocking.records, self._workers)


def _opening(
    blocking: Callable[_Given, QuantumDatabase],
) -> Callable[_Given, Coroutine[Any, Any, AsyncQuantumDatabase]]:
    @functools.wraps(blocking)
    async def opened(*args: _Given.args, **kwargs: _Given.kwargs) -> AsyncQuantumDatabase:
        database: list[QuantumDatabase] = []
        workers = Workers()
        try:
            await workers.run(lambda: database.append(blocking(*args, **kwargs)))
        except BaseException:

            def close() -> None:  # a cancelled call may still have opened the database, and nobody else would close it
                for one in database:
                    one.close()

            await workers.close(close)
            raise
        return AsyncQuantumDatabase._with(database[0], workers, owns=True)

    return opened


def _shown(database: QuantumDatabase, workers: Workers) -> AsyncQuantumDatabase:
    return AsyncQuantumDatabase._with(database, workers, owns=False)


class AsyncQuantumDatabase(AsyncFace[QuantumDatabase]):
    """A database whose verbs are those of :class:`qstore_db.QuantumDatabase`, awaitable. Made by :meth:`open`.

    It belongs to the event loop that first awaits one of its verbs; ``async with`` closes it. As many calls run at once
    as there are threads. Cancelling a call that has not begun means that it never does; one that has begun runs to its
    end, so a cancelled commit may have been made.

    Args:
        database: An open database, which this one closes.
        threads: How many calls run at once; ``None`` means the cores and 4 more, at most 32.

    Raises:
        InvalidArgumentError: ``threads`` is below 1.
    """

    def __init__(self, database: QuantumDatabase, *, threads: int | None = None) -> None:
        super().__init__(database, Workers(threads))
        self._owns_workers = True

    open = staticmethod(_opening(QuantumDatabase.open))

    insert = verb(QuantumDatabase.insert)
    upsert = verb(QuantumDatabase.upsert)
    update = verb(QuantumDatabase.update)
    delete = verb(QuantumDatabase.delete)
    get: Callable[..., Coroutine[Any, Any, Any]] = verb(QuantumDatabase.get)  # gives one record, or a list of them
    query = verb(QuantumDatabase.query)
    measure = verb(QuantumDatabase.measure)
    create_entangled_group = verb(QuantumDatabase.create_entangled_group)
    measure_entangled_group = verb(QuantumDatabase.measure_entangled_group)
    dissolve_entangled_group = verb(QuantumDatabase.dissolve_entangled_group)
    entangled_groups = verb(QuantumDatabase.entangled_groups)

    create_collection = verb_giving(QuantumDatabase.create_collection, AsyncCollection)
    drop_collection = verb(QuantumDatabase.drop_collection)
    collections = verb(QuantumDatabase.collections)
    search_collections = verb(QuantumDatabase.search_collections)
    sql = verb(QuantumDatabase.sql)
    refresh = verb(QuantumDatabase.refresh)
    verify = verb(QuantumDatabase.verify)

    at = verb_giving(QuantumDatabase.at, _shown)
    versions = verb(QuantumDatabase.versions)
    tag = verb(QuantumDatabase.tag)
    untag = verb(QuantumDatabase.untag)
    tags = verb(QuantumDatabase.tags)
    pins = verb(QuantumDatabase.pins)
    unpin = verb(QuantumDatabase.unpin)
    set_retention = verb(QuantumDatabase.set_retention)
    vacuum = verb(QuantumDatabase.vacuum)

    store_training_data = verb(QuantumDatabase.store_training_data)
    data_loader = stream(QuantumDatabase.data_loader)
    create_model = verb(QuantumDatabase.create_model)
    train = verb(QuantumDatabase.train)
    fine_tune = verb(QuantumDatabase.fine_tune)
    resume = verb(QuantumDatabase.resume)
    jobs = verb(QuantumDatabase.jobs)
    run = verb(QuantumDatabase.run)
    runs = verb(QuantumDatabase.runs)
    search_hyperparameters = verb(QuantumDatabase.search_hyperparameters)
    resume_search = verb(QuantumDatabase.resume_search)
    trials_like = verb(QuantumDatabase.trials_like)
    study = verb(QuantumDatabase.study)
    studies = verb(QuantumDatabase.studies)
    evaluate = verb(QuantumDatabase.evaluate)
    promote = verb(QuantumDatabase.promote)
    demote = verb(QuantumDatabase.demote)
    aliases = verb(QuantumDatabase.aliases)
    predict = verb(QuantumDatabase.predict)
    predict_proba = verb(QuantumDatabase.predict_proba)
    features = verb(QuantumDatabase.features)
    decode = verb(QuantumDatabase.decode)
    extract_features = verb(QuantumDatabase.extract_features)
    stepper = verb(QuantumDatabase.stepper)  # the loop that it is for blocks

    @property
    def path(self) -> Path | None:
        """The directory; ``None`` for a database in memory."""
        return self._blocking.path

    @property
    def version(self) -> int:
        """Number of the newest commit that this handle sees."""
        return self._blocking.version

    @property
    def search(self) -> AsyncSearch:
        """Searches of the collection ``default`` beyond the nearest k rows."""
        return AsyncSearch(self._blocking.search, self._workers)

    @property
    def records(self) -> AsyncRecords:
        """Records of several vectors in the collection ``default``, which the first one creates."""
        return AsyncRecords(self._blocking.records, self._workers)

    def collection(self, name: str) -> AsyncCollection:
        """Open a collection; needs no waiting. As :meth:`qstore_db.QuantumDatabase.collection`."""
        return AsyncCollection(self._blocking.collection(name), self._workers)

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Make all that this task, and tasks that it starts, write in the block one commit, or nothing if it raises.

        ``async with db.transaction(): …``. The calls of the block run one after the other; a cancelled block writes
        nothing. Otherwise as :meth:`qstore_db.QuantumDatabase.transaction`.

        Raises:
            TransactionError: This task is in a transaction already, or a task that the block started calls on after it.
            ConflictError: At the end: another commit changed what the block wrote. Nothing was written; run it again.
        """
        return self._workers.transaction(self._blocking.transaction())

    async def close(self) -> None:
        """Wait for the calls that run, then release the directory. Calls that wait for a thread are refused.

        May be called again. A database made by :meth:`at` lets go of its version only.
        """
        if self._owns_workers:
            await self._workers.close(self._blocking.close)
        else:
            self._blocking.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @classmethod
    def _with(cls, database: QuantumDatabase, workers: Workers, *, owns: bool) -> Self:
        made = cls.__new__(cls)
        AsyncFace.__init__(made, database, workers)
        made._owns_workers = owns
        return made
