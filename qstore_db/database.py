"""The face of Q-Store: one directory, opened once, spoken to in Python or SQL."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from qstore_db.collection import Collection
from qstore_db.errors import InvalidArgumentError, UnknownCollectionError
from qstore_db.functions import state_writing
from qstore_db.promise import RECALL
from qstore_db.search.several import MixedHits, search_collections
from qstore_db.sync.pairing import forget_operations
from qstore_db.verbs.default_collection import DefaultCollectionVerbs
from qstore_db.verbs.groups import GroupVerbs
from qstore_db.verbs.models import ModelVerbs
from qstore_db.verbs.studies import StudyVerbs
from qstore_db.verbs.versions import VersionVerbs
from query.system.reserved_names import RESERVED_TABLE_NAMES
from storage_engine.batch import CreateCollection, WriteBatch
from storage_engine.engine import Engine
from storage_engine.schema import (
    CODES,
    MAX_DIMENSION,
    CollectionSchema,
    GraphOptions,
    Metric,
    Role,
    VectorType,
)

if TYPE_CHECKING:
    from qstore_db.sql.plugins import OpenSession
    from qstore_db.training.progress import TrainingProgress
    from query.conditions import Conditions
    from query.result import QueryResult
    from query.session import Session
    from storage_engine.repair import RepairReport
    from storage_engine.verify import Finding

DEFAULT_COLLECTION = "default"
_COLLECTION_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")


class QuantumDatabase(DefaultCollectionVerbs, GroupVerbs, ModelVerbs, StudyVerbs, VersionVerbs):
    """An open database. Made by :meth:`open`; a context manager; safe to use from many threads.

    Rows live in collections; ``insert``, ``upsert``, ``update``, ``delete``, ``get``, ``query`` and ``measure`` here
    are those of the collection ``default``, which compares by cosine and is created by the first insert.
    """

    def __init__(self, engine: Engine, *, progress: bool | None = None, python_procedures: Sequence[str] = ()) -> None:
        self._engine = engine
        self._python_procedures = tuple(python_procedures)
        self._progress = sys.stderr.isatty() if progress is None else progress
        self._lock = threading.Lock()
        self._opened: OpenSession | None = None
        self._selecting: Conditions | None = None

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        read_only: bool = False,
        create: bool = True,
        clock: Callable[[], float] = time.time,
        sync: Literal["full", "normal"] = "full",
        build_threads: int | None = None,
        progress: bool | None = None,
        unsafe_fs: bool = False,
        repair: Literal["prefix", "rows"] | None = None,
        python_procedures: Sequence[str] = (),
    ) -> Self:
        """Open a database directory, or ``":memory:"``.

        Args:
            path: The directory; one directory is one database.
            read_only: Take no lock and never write; :meth:`refresh` moves to the newest commit.
            create: Whether a missing directory is made.
            clock: Where times come from: seconds since the epoch. Ages of states are counted by it.
            sync: ``full``: a commit is on the disk when the call returns. ``normal``: within 100 ms; a power cut may
                take the last commits, a killed process takes none.
            build_threads: Threads that build search graphs; ``None`` takes all cores. Graphs do not depend on it.
            progress: Whether training draws a bar on standard error; ``None`` means if that is a terminal.
            unsafe_fs: Also open a directory on a network file system, where nothing is promised.
            repair: ``prefix``: if commits cannot be read, give them up and keep those before them. ``rows``: also read
                every file, and keep of damaged ones the rows that are proven right. A copy of every changed file goes
                to ``quarantine/``; :attr:`repaired` says what was lost, row by row.
            python_procedures: Modules whose functions SQL may call by ``CREATE PROCEDURE … LANGUAGE python``; none
                unless listed. See :mod:`qstore_db.sql.python_procedures`.

        Raises:
            NotADatabaseError: The path is a file, holds something else, or is missing and ``create`` is not set.
            UnsafeDirectoryError: Every user may write to it, or it is on a network file system.
            DatabaseLockedError: Another process has it open for writing; the message names it.
            FormatTooNewError: It was written by a newer version.
            DamagedError: Its files fail their checksums.
            InvalidArgumentError: ``python_procedures`` is no list of modules.
        """
        if python_procedures:
            from qstore_db.sql.python_procedures import check_modules

            check_modules(python_procedures)
        location = None if os.fspath(path) == ":memory:" else Path(path)
        engine = Engine.open(
            location,
            read_only=read_only,
            create=create,
            clock=clock,
            sync=sync,
            build_threads=build_threads,
            unsafe_fs=unsafe_fs,
            repair=repair,
        )
        return cls(engine, progress=progress, python_procedures=python_procedures)

    @property
    def path(self) -> Path | None:
        """The directory; ``None`` for a database in memory."""
        return self._engine.path

    @property
    def version(self) -> int:
        """Number of the newest commit that this handle sees; 0 for an empty database."""
        return self._engine.snapshot().version

    @property
    def repaired(self) -> RepairReport | None:
        """What ``open(repair=…)`` gave up; ``None`` if nothing was damaged."""
        return self._engine.repaired

    def refresh(self) -> int:
        """Move a read-only handle to the newest commit; returns the version."""
        return self._engine.refresh()

    def close(self) -> None:
        """Release the directory. Nothing has to be saved: every commit is durable already. May be called again."""
        if self._opened is not None:
            self._opened.session.close()
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        if self._engine.closed:
            return f"QuantumDatabase({str(self.path or ':memory:')!r}, closed)"
        mode = ", read only" if self._engine.read_only else ""
        if self._engine.origin is not self._engine:
            mode = ", in the past"
        elif self._engine.sync == "normal":
            mode += ", sync=normal"
        return f"QuantumDatabase({str(self.path or ':memory:')!r}, version {self.version}{mode})"

    # Collections

    def create_collection(
        self,
        name: str,
        dimension: int,
        metric: str = "cosine",
        *,
        m: int = 16,
        ef_construction: int = 200,
        seed: int = 100,
        minimum_rows: int = 2_000,
        recall: float | None = None,
        dtype: str = "float32",
        codes: str = "stored",
    ) -> Collection:
        """Add an empty collection.

        Args:
            name: A letter or ``_``, then up to 127 letters, digits, ``_``, ``.`` or ``-``; not that of a system table.
            dimension: Length of each vector, 1 to 65,536.
            metric: ``cosine``, ``l2`` or ``ip``.
            m: Links of each row and level of the search graph (HNSW's M), 2 to 100.
            ef_construction: How widely the graph's builder looks, 1 to 10,000.
            seed: Of the graph's random levels.
            minimum_rows: From how many rows on a graph is built; fewer are searched exactly.
            recall: What its queries promise unless they say otherwise; see :meth:`Collection.query`.
            dtype: What is stored of each number: ``float32`` as it is; ``float16`` rounded to the nearest one, in half
                the space; ``int8`` whole numbers from -128 to 127, in a quarter. What does not fit is refused, scores
                are computed exactly from what is stored, and vectors are read back as float32. Queries may be any
                float32 numbers. Superposed records need ``float32``.
            codes: Where the bytes are by which graphs are walked (docs/search.md): ``stored`` beside the graph, in a
                quarter of the space of float32 vectors; or ``computed`` from the vectors by each process that
                searches, which costs it that much memory and, with many queries, time at the first of them.

        Raises:
            AlreadyExistsError: The name is taken.
            InvalidArgumentError: An argument is out of its range.
        """
        self._check_name(name)
        graph = GraphOptions(m=m, ef_construction=ef_construction, seed=seed, minimum_rows=minimum_rows)
        schema = self._schema(name, dimension, metric, graph)
        if recall is not None:
            if isinstance(recall, bool) or not 0 < recall <= 1:
                raise InvalidArgumentError(f"recall is {recall!r}", fix="give a share above 0, at most 1", value=recall)
            schema = dataclasses.replace(schema, attributes=((RECALL, repr(float(recall))),))
        if codes not in ("stored", "computed"):
            raise InvalidArgumentError(f"codes is {codes!r}", fix="use 'stored' or 'computed'", value=codes)
        if codes == "computed":
            schema = dataclasses.replace(schema, attributes=((CODES, codes), *schema.attributes))
        schema = dataclasses.replace(schema, dtype=vector_type(dtype))
        self._engine.commit(WriteBatch([CreateCollection(schema)]))
        return Collection(self._engine, self._conditions, name)

    def collection(self, name: str) -> Collection:
        """Open a collection, or a data set as one.

        Raises:
            UnknownCollectionError: There is none of that name.
        """
        view = self._engine.snapshot().collection(name)
        if view.schema.role is Role.HIDDEN:
            raise UnknownCollectionError(f"no collection {name!r}", fix="db.collections() lists them", value=name)
        return Collection(self._engine, self._conditions, name)

    def collections(self) -> list[str]:
        """Names of all collections and data sets, sorted."""
        return [schema.name for schema in self._engine.snapshot().collections() if schema.role is not Role.HIDDEN]

    def drop_collection(self, name: str) -> int:
        """Remove a collection or data set with all its rows, states and what its syncs remember; returns the version.

        Raises:
            UnknownCollectionError: There is none of that name.
        """
        self.collection(name)
        return state_writing.drop_collection(self._engine, name, also=forget_operations)

    def search_collections(
        self,
        collections: Sequence[str],
        vector: ArrayLike | Mapping[str, ArrayLike],
        top_k: int = 10,
        *,
        merge: Literal["score", "rank"] = "score",
        rank_constant: float = 60.0,
        where: str | None = None,
        filter: Mapping[str, object] | None = None,  # noqa: A002 - the word users know
        exact: bool = False,
        recall: float | None = None,
        include: Sequence[str] | None = None,
    ) -> MixedHits:
        """The ``top_k`` best rows of several collections, all read at one version; hits say where each is stored.

        Args:
            collections: Names, each once.
            vector: One for all, or a mapping from name to the vector for that collection.
            top_k: 1 to 10,000.
            merge: ``score``: by the reported scores, as if the rows were in one collection; metric and dimension must
                agree. ``rank``: by 1 / (rank_constant + rank) of each row in its own collection's answer, so that the
                first of each come first, whatever their scores mean. Equal ones stand in the order of ``collections``.
            rank_constant: Of ``rank``, at least 0.
            where: A condition on metadata in SQL, for every collection.
            filter: A condition as a mapping, for every collection.
            exact: As in :meth:`Collection.query`.
            recall: As in :meth:`Collection.query`.
            include: Metadata columns of the answer, null where a collection lacks one; ``None`` means all.

        Raises:
            UnknownCollectionError: There is none of a name.
            InvalidArgumentError: Scores of the collections cannot be compared, or an argument is out of its range.
            InvalidVectorError, DimensionMismatchError: A vector is unusable.
            UnknownColumnError: A collection lacks a column of the condition, or all lack one of ``include``.
        """
        return search_collections(
            self._engine,
            self._conditions,
            collections,
            vector,
            top_k,
            merge=merge,
            rank_constant=rank_constant,
            where=where,
            filter=filter,
            exact=exact,
            recall=recall,
            include=include,
        )

    # SQL and care

    def sql(self, text: str, /, **params: Any) -> QueryResult:
        """Run one or more statements and return the result of the last; docs/sql.md lists them.

        Args:
            text: Statements; ``$name`` stands for a parameter, never pasted into the text.
            params: Values of the parameters: numbers, texts, lists, vectors.

        Raises:
            SqlSyntaxError: With line and column.
            UnknownTableError, UnknownColumnError, UnknownProcedureError: A name is not there.
            UnsupportedStatementError: SQL that exists elsewhere but not here.
            InvalidParameterError: A parameter is missing, unused or cannot be bound.
        """
        return self._session().execute(text, params)

    def verify(self) -> list[Finding]:
        """Check every checksum and invariant of the directory; what ``qstore doctor`` prints."""
        return self._engine.verify()

    @classmethod
    def _over(cls, engine: Engine) -> Self:
        return cls(engine, progress=False)

    def _plugins(self) -> OpenSession:
        # At the first use: a database that is only searched never loads DuckDB or the SQL parser.
        with self._lock:
            if self._opened is None:
                from qstore_db.sql.plugins import open_session
                from qstore_db.sql.python_procedures import AllowedFunctions, DatabaseVerbs

                python = AllowedFunctions(self._python_procedures, DatabaseVerbs.of(self))
                self._opened = open_session(self._engine, self._progress_bar if self._progress else None, python)
            return self._opened

    def _session(self) -> Session:
        return self._plugins().session

    def _conditions(self) -> Conditions:
        with self._lock:
            if self._selecting is None:
                from query.conditions import Conditions

                self._selecting = Conditions(self._session)
            return self._selecting

    def _progress_bar(self) -> TrainingProgress:
        from qstore_db.training.progress import ProgressBar

        return ProgressBar()

    def _training_progress(self) -> TrainingProgress | None:
        return self._progress_bar() if self._progress else None

    def _default(self, *, creating: bool = False) -> Collection:
        new = self._new_default if creating else None
        if new is None and not self._engine.snapshot().has_collection(DEFAULT_COLLECTION):
            raise UnknownCollectionError(
                f"the collection {DEFAULT_COLLECTION!r} is empty and was never written to",
                fix="db.insert creates it; db.collection(name) opens another",
                value=DEFAULT_COLLECTION,
            )
        return Collection(self._engine, self._conditions, DEFAULT_COLLECTION, new=new)

    def _new_default(self, dimension: int) -> CollectionSchema:
        return self._schema(DEFAULT_COLLECTION, dimension, Metric.COSINE, GraphOptions())

    def _schema(self, name: str, dimension: int, metric: str, graph: GraphOptions) -> CollectionSchema:
        check_integer("dimension", dimension, 1, MAX_DIMENSION)
        check_integer("m", graph.m, 2, 100)
        check_integer("ef_construction", graph.ef_construction, 1, 10_000)
        check_integer("seed", graph.seed, 0, 2**31 - 1)
        check_integer("minimum_rows", graph.minimum_rows, 1, 2**31 - 1)
        try:
            measure = Metric(metric)
        except ValueError:
            raise InvalidArgumentError(
                f"there is no metric {metric!r}", fix=f"use one of {', '.join(Metric)}", value=metric
            ) from None
        return CollectionSchema(
            name=name,
            uuid=uuid.uuid4().hex,
            dimension=int(dimension),
            metric=measure,
            role=Role.ITEMS,
            created_at=self._engine.clock(),
            graph=graph,
        )

    def _check_name(self, name: str) -> None:
        if not isinstance(name, str) or not _COLLECTION_NAME.fullmatch(name):
            raise InvalidArgumentError(
                f"{name!r} is no name for a collection",
                fix="use a letter or _, then up to 127 letters, digits, _, . or -",
                value=name,
            )
        if name.lower() in RESERVED_TABLE_NAMES:
            raise InvalidArgumentError(f"{name!r} is the name of a system table", fix="choose another name", value=name)


def check_integer(name: str, value: object, low: int, high: int) -> None:
    """Refuse what is no integer from ``low`` to ``high``.

    Raises:
        InvalidArgumentError: The message names the argument, the value and the range.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not low <= value <= high:
        raise InvalidArgumentError(f"{name} is {value!r}", fix=f"give an integer from {low:,} to {high:,}", value=value)


def vector_type(dtype: object) -> VectorType:
    """The type of a collection's numbers by its name.

    Raises:
        InvalidArgumentError: There is none of that name.
    """
    try:
        return VectorType(dtype)  # type: ignore[arg-type]  # whatever it is, it is looked up
    except ValueError:
        raise InvalidArgumentError(
            f"there is no vector type {dtype!r}", fix=f"use one of {', '.join(VectorType)}", value=dtype
        ) from None
