"""The face of Q-Store: one directory, opened once, spoken to in Python or SQL."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.collection import Collection
from qstore_db.errors import InvalidArgumentError, UnknownCollectionError
from qstore_db.functions import state_writing
from qstore_db.functions.state_operations import UNCHANGED, Unchanged
from qstore_db.hits import Hits
from qstore_db.record import Record
from qstore_db.row_input import MetadataInput
from storage_engine.batch import CreateCollection, WriteBatch
from storage_engine.engine import Engine
from storage_engine.schema import MAX_DIMENSION, CollectionSchema, GraphOptions, Metric, Role

if TYPE_CHECKING:
    from qstore_db.plugins import OpenSession
    from qstore_db.states.contexts import ContextsInput
    from qstore_db.states.measurement import Measurement
    from qstore_db.training.dataset import DatasetInfo
    from qstore_db.training.evaluation import Evaluation
    from qstore_db.training.loader import Loader
    from qstore_db.training.progress import TrainingProgress
    from qstore_db.training.registry import ModelVersion
    from qstore_db.training_run import TrainingRun
    from query.result import QueryResult
    from query.session import Session
    from storage_engine.verify import Finding

DEFAULT_COLLECTION = "default"
_COLLECTION_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")


class QuantumDatabase:
    """An open database. Made by :meth:`open`; a context manager; safe to use from many threads.

    Rows live in collections; ``insert``, ``upsert``, ``update``, ``delete``, ``get``, ``query`` and ``measure`` here
    are those of the collection ``default``, which compares by cosine and is created by the first insert.
    """

    def __init__(self, engine: Engine, *, progress: bool | None = None) -> None:
        self._engine = engine
        self._progress = sys.stderr.isatty() if progress is None else progress
        self._lock = threading.Lock()
        self._opened: OpenSession | None = None

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
    ) -> Self:
        """Open a database directory, or ``":memory:"``.

        Args:
            path: The directory; one directory is one database.
            read_only: Take no lock and never write; :meth:`refresh` moves to the newest commit.
            create: Whether a missing directory is made.
            clock: Where times come from: seconds since the epoch. Ages of states are counted by it.
            sync: ``full``: a commit is on the disk when the call returns. ``normal``: within 100 ms; a power cut may
                take the last commits, a killed process takes none.
            build_threads: Threads that build search graphs; ``None`` takes all cores. Graphs are reproducible with 1.
            progress: Whether training draws a bar on standard error; ``None`` means if that is a terminal.

        Raises:
            NotADatabaseError: The path is a file, holds something else, or is missing and ``create`` is not set.
            DatabaseLockedError: Another process has it open for writing; the message names it.
            FormatTooNewError: It was written by a newer version.
            DamagedError: Its files fail their checksums.
        """
        location = None if os.fspath(path) == ":memory:" else Path(path)
        engine = Engine.open(
            location, read_only=read_only, create=create, clock=clock, sync=sync, build_threads=build_threads
        )
        return cls(engine, progress=progress)

    @property
    def path(self) -> Path | None:
        """The directory; ``None`` for a database in memory."""
        return self._engine.path

    @property
    def version(self) -> int:
        """Number of the newest commit that this handle sees; 0 for an empty database."""
        return self._engine.snapshot().version

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

        Raises:
            AlreadyExistsError: The name is taken.
            InvalidArgumentError: An argument is out of its range.
        """
        graph = GraphOptions(m=m, ef_construction=ef_construction, seed=seed, minimum_rows=minimum_rows)
        schema = self._schema(name, dimension, metric, graph)
        self._engine.commit(WriteBatch([CreateCollection(schema)]))
        return Collection(self._engine, self._session, name)

    def collection(self, name: str) -> Collection:
        """Open a collection, or a data set as one.

        Raises:
            UnknownCollectionError: There is none of that name.
        """
        view = self._engine.snapshot().collection(name)
        if view.schema.role is Role.HIDDEN:
            raise UnknownCollectionError(f"no collection {name!r}", fix="db.collections() lists them", value=name)
        return Collection(self._engine, self._session, name)

    def collections(self) -> list[str]:
        """Names of all collections and data sets, sorted."""
        return [schema.name for schema in self._engine.snapshot().collections() if schema.role is not Role.HIDDEN]

    def drop_collection(self, name: str) -> int:
        """Remove a collection or data set with all its rows and states; returns the version.

        Raises:
            UnknownCollectionError: There is none of that name.
        """
        self.collection(name)
        return state_writing.drop_collection(self._engine, name)

    # The collection "default"

    def insert(
        self,
        ids: str | Sequence[str] | None = None,
        vectors: ArrayLike | Mapping[str, ArrayLike] | None = None,
        metadata: MetadataInput = None,
        *,
        id: str | None = None,  # noqa: A002 - the word users know
        vector: ArrayLike | None = None,
        contexts: ContextsInput | None = None,
        weights: Sequence[float] | None = None,
        coherence_time: float | None = None,
    ) -> int:
        """:meth:`Collection.insert` on ``default``; the first one creates it, as long as its vectors."""
        return self._default(creating=True).insert(
            ids,
            vectors,
            metadata,
            id=id,
            vector=vector,
            contexts=contexts,
            weights=weights,
            coherence_time=coherence_time,
        )

    def upsert(
        self,
        ids: str | Sequence[str] | None = None,
        vectors: ArrayLike | Mapping[str, ArrayLike] | None = None,
        metadata: MetadataInput = None,
        *,
        id: str | None = None,  # noqa: A002 - the word users know
        vector: ArrayLike | None = None,
        contexts: ContextsInput | None = None,
        weights: Sequence[float] | None = None,
        coherence_time: float | None = None,
    ) -> int:
        """:meth:`Collection.upsert` on ``default``."""
        return self._default(creating=True).upsert(
            ids,
            vectors,
            metadata,
            id=id,
            vector=vector,
            contexts=contexts,
            weights=weights,
            coherence_time=coherence_time,
        )

    def update(
        self,
        ids: str | Sequence[str] | None = None,
        vectors: ArrayLike | Mapping[str, ArrayLike] | None = None,
        metadata: MetadataInput = None,
        *,
        id: str | None = None,  # noqa: A002 - the word users know
        vector: ArrayLike | None = None,
        contexts: ContextsInput | None = None,
        weights: Sequence[float] | None = None,
        coherence_time: float | None | Unchanged = UNCHANGED,
    ) -> int:
        """:meth:`Collection.update` on ``default``."""
        return self._default().update(
            ids,
            vectors,
            metadata,
            id=id,
            vector=vector,
            contexts=contexts,
            weights=weights,
            coherence_time=coherence_time,
        )

    def delete(self, ids: str | Sequence[str], *, missing_ok: bool = False) -> int:
        """:meth:`Collection.delete` on ``default``."""
        return self._default().delete(ids, missing_ok=missing_ok)

    @overload
    def get(self, ids: str) -> Record: ...  # type: ignore[overload-overlap]  # one id is one row, though str is a sequence
    @overload
    def get(self, ids: Sequence[str]) -> list[Record]: ...
    def get(self, ids: str | Sequence[str]) -> Record | list[Record]:
        """:meth:`Collection.get` on ``default``."""
        return self._default().get(ids)

    def query(
        self,
        vector: ArrayLike,
        top_k: int = 10,
        *,
        where: str | None = None,
        filter: Mapping[str, object] | None = None,  # noqa: A002 - the word users know
        context: ContextsInput | None = None,
        phases: Mapping[str, float] | None = None,
        coherent_only: bool = False,
        exact: bool = False,
        ef: int | None = None,
        include: Sequence[str] | None = None,
    ) -> Hits | list[Hits]:
        """:meth:`Collection.query` on ``default``."""
        return self._default().query(
            vector,
            top_k,
            where=where,
            filter=filter,
            context=context,
            phases=phases,
            coherent_only=coherent_only,
            exact=exact,
            ef=ef,
            include=include,
        )

    def measure(
        self,
        id: str,  # noqa: A002 - the word users know
        context: ContextsInput | None = None,
        *,
        seed: int | None = None,
        rng: np.random.Generator | None = None,
        postselect: bool = False,
        collapse: bool = False,
    ) -> Measurement:
        """:meth:`Collection.measure` on ``default``."""
        return self._default().measure(id, context, seed=seed, rng=rng, postselect=postselect, collapse=collapse)

    # Training data, models, runs

    def store_training_data(
        self,
        name: str,
        data: ArrayLike,
        labels: ArrayLike | Sequence[int | None] | None = None,
        split: str = "train",
        metadata: MetadataInput = None,
        *,
        append: bool = False,
    ) -> DatasetInfo:
        """Store rows as a split of a data set; :func:`qstore_db.training.dataset.store_training_data`."""
        from qstore_db.training.dataset import store_training_data

        self._check_name(name)
        return store_training_data(self._engine, name, data, labels, split=split, metadata=metadata, append=append)

    def data_loader(
        self,
        name: str,
        *,
        split: str = "train",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int = 0,
        epochs: int = 1,
        drop_last: bool = False,
    ) -> Loader:
        """Minibatches of a stored split, reading only the rows of each; :class:`qstore_db.training.loader.Loader`."""
        from qstore_db.training.loader import data_loader

        return data_loader(
            self._engine,
            name,
            split=split,
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            epochs=epochs,
            drop_last=drop_last,
        )

    def create_model(
        self,
        name: str,
        kind: str = "classifier",
        *,
        qubits: int,
        classes: int,
        layers: int = 2,
        encoding: str = "amplitude",
        reduce: str | None = None,
        rotations: str = "ry_rz",
        entanglement: str = "linear",
        readout: str = "pauli_pairs",
        dtype: str = "float32",
        train_circuit: bool = True,
        or_replace: bool = False,
    ) -> ModelVersion:
        """Register a model, untrained; :class:`qstore_db.models.specification.ModelSpec` explains each option.

        Raises:
            AlreadyExistsError: The name is taken and ``or_replace`` is not set.
            InvalidModelError: An option is out of its range, or the name is malformed.
        """
        from qstore_db.models.specification import ModelSpec
        from qstore_db.training.registration import create_model

        spec = ModelSpec.from_options(
            {
                "kind": kind,
                "qubits": qubits,
                "classes": classes,
                "layers": layers,
                "encoding": encoding,
                "reduce": reduce,
                "rotations": rotations,
                "entanglement": entanglement,
                "readout": readout,
                "dtype": dtype,
                "train_circuit": train_circuit,
            }
        )
        return create_model(self._engine, name, spec, or_replace=or_replace)

    def train(
        self,
        model: str,
        dataset: str,
        *,
        epochs: int = 5,
        batch_size: int = 32,
        optimizer: str = "adam",
        learning_rate: float = 0.01,
        gradient: str = "auto",
        backend: str = "local",
        seed: int = 0,
        shuffle: bool = True,
        split: str = "train",
        validation_split: str | None = None,
        validation_fraction: float = 0.0,
        checkpoint_every: int = 1,
    ) -> TrainingRun:
        """Train a model on a data set; :class:`qstore_db.training.options.TrainingOptions` explains each option.

        Returns:
            The finished run; the model has a new version.

        Raises:
            UnknownModelError, UnknownDatasetError, UnknownBackendError: A name is not there.
            EmptyDatasetError: The split has no rows.
            InvalidLabelError: A row has no label, or one that the model does not know.
            InvalidModelError: The rows do not fit the model.
            InvalidArgumentError: An option is out of its range.
            TrainingInterruptedError: Ctrl-C was pressed; :meth:`resume` continues.
        """
        from qstore_db.training.options import TrainingOptions
        from qstore_db.training.trainer import train
        from qstore_db.training_run import TrainingRun

        options = TrainingOptions(
            epochs=epochs,
            batch_size=batch_size,
            optimizer=optimizer,
            learning_rate=learning_rate,
            gradient=gradient,
            backend=backend,
            seed=seed,
            shuffle=shuffle,
            split=split,
            validation_split=validation_split,
            validation_fraction=validation_fraction,
            checkpoint_every=checkpoint_every,
        )
        run = train(self._engine, model, dataset, options, progress=self._training_progress())
        return TrainingRun(self, run)

    def resume(self, run_id: int) -> TrainingRun:
        """Continue an interrupted run to the same bits as if it had never stopped.

        Raises:
            UnknownRunError: There is no such run.
            InvalidArgumentError: It is finished or being trained, or its data set has changed.
        """
        from qstore_db.training.trainer import resume
        from qstore_db.training_run import TrainingRun

        return TrainingRun(self, resume(self._engine, run_id, progress=self._training_progress()))

    def run(self, run_id: int) -> TrainingRun:
        """A run by its number.

        Raises:
            UnknownRunError: There is no such run.
        """
        from qstore_db.training.registry import find_run
        from qstore_db.training_run import TrainingRun

        return TrainingRun(self, find_run(self._engine.snapshot(), run_id))

    def runs(self) -> list[TrainingRun]:
        """All runs, oldest first."""
        from qstore_db.training.registry import all_runs
        from qstore_db.training_run import TrainingRun

        return [TrainingRun(self, run) for run in all_runs(self._engine.snapshot())]

    def evaluate(self, model: str, dataset: str, split: str = "test", *, version: int | None = None) -> Evaluation:
        """Classify every row of a split and compare with its labels: loss, accuracy, confusion matrix.

        Raises:
            UnknownModelError, UnknownDatasetError: A name is not there.
            EmptyDatasetError: The split has no rows.
            InvalidModelError: The model is not trained.
            InvalidLabelError: A row has no label, or one that the model does not know.
        """
        from qstore_db.training.evaluation import evaluate

        return evaluate(self._engine, self._plugins().trained_models, model, dataset, split=split, version=version)

    def predict(self, model: str, data: ArrayLike, *, version: int | None = None) -> NDArray[np.int64]:
        """Class of each row, int64 (rows,); :func:`qstore_db.training.trained_models.predict`."""
        from qstore_db.training.trained_models import predict

        return predict(self._plugins().trained_models, model, data, version=version)

    def predict_proba(self, model: str, data: ArrayLike, *, version: int | None = None) -> NDArray[np.float64]:
        """Probability of each class for each row, float64 (rows, classes)."""
        from qstore_db.training.trained_models import predict_proba

        return predict_proba(self._plugins().trained_models, model, data, version=version)

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

    def _plugins(self) -> OpenSession:
        # At the first use: a database that is only searched never loads DuckDB or the SQL parser.
        with self._lock:
            if self._opened is None:
                from qstore_db.plugins import open_session

                self._opened = open_session(self._engine, self._progress_bar if self._progress else None)
            return self._opened

    def _session(self) -> Session:
        return self._plugins().session

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
        return Collection(self._engine, self._session, DEFAULT_COLLECTION, new=new)

    def _new_default(self, dimension: int) -> CollectionSchema:
        return self._schema(DEFAULT_COLLECTION, dimension, Metric.COSINE, GraphOptions())

    def _schema(self, name: str, dimension: int, metric: str, graph: GraphOptions) -> CollectionSchema:
        self._check_name(name)
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
        if name.lower() in self._session().reserved_names:
            raise InvalidArgumentError(f"{name!r} is the name of a system table", fix="choose another name", value=name)


def check_integer(name: str, value: object, low: int, high: int) -> None:
    """Refuse what is no integer from ``low`` to ``high``.

    Raises:
        InvalidArgumentError: The message names the argument, the value and the range.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not low <= value <= high:
        raise InvalidArgumentError(f"{name} is {value!r}", fix=f"give an integer from {low:,} to {high:,}", value=value)
