"""The face of the query floor: text in, results out, over an engine and what the floors above plug in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from query.binder import Catalog
from query.conditions import selected
from query.duckdb_connection import HardenedConnection, Limits
from query.execution import Execution
from query.functions import Functions
from query.own_statements import parse
from query.parameters import check_names
from query.parser import Parsed, Parser
from query.ports import ModelStatements, Procedure, PythonFunctions, RowScores, ScalarFunction, SystemTable
from query.processor import Processor
from query.relations import ColumnCache
from query.result import QueryResult
from query.statements import Query
from query.system import training_data
from query.system.collections import Collections, Datasets
from query.system.procedures import Procedures
from query.system.reserved_names import RESERVED_TABLE_NAMES
from query.system.versions import Versions
from query.time_travel import PastSnapshots
from storage_engine.engine import Engine
from storage_engine.errors import DatabaseClosedError, InvalidArgumentError
from storage_engine.filters.selection import Selection
from storage_engine.snapshot import CollectionView, Snapshot

_OWN_TABLES: tuple[SystemTable, ...] = (Collections(), Datasets())


@dataclass(frozen=True, slots=True, eq=False)
class _Started:
    connection: HardenedConnection
    parser: Parser
    processor: Processor


class Session:
    """Runs SQL text and conditions against the newest commit of an engine. Safe to use from several threads.

    Args:
        engine: Where the rows are.
        tables: System tables of the floors above.
        procedures: What ``CALL`` can run.
        functions: Scalar functions for queries.
        row_scores: Functions that score the rows of a collection together.
        models: What ``CREATE MODEL`` and ``DROP MODEL`` do; without it they are refused.
        python: What procedures in Python may reach; without it they are refused.
        limits: What one statement may use.

    Raises:
        InvalidArgumentError: Two tables, procedures or functions share a name, or one is not in lower case.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        tables: Sequence[SystemTable] = (),
        procedures: Sequence[Procedure] = (),
        functions: Sequence[ScalarFunction] = (),
        row_scores: Sequence[RowScores] = (),
        models: ModelStatements | None = None,
        python: PythonFunctions | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._engine = engine
        self._procedures = {procedure.name: procedure for procedure in procedures}
        own = (*_OWN_TABLES, Versions(engine), Procedures(self._procedures))
        self._tables = {table.name: table for table in (*own, *tables)}
        self._models = models
        self._python = python
        self._cache = ColumnCache()
        self._past = PastSnapshots(engine)
        self._functions = tuple(functions)
        self._row_scores = tuple(row_scores)
        self._limits = limits or Limits()
        self._lock = Lock()
        self._started: _Started | None = None
        self._closed = False
        _check_plugged(tables, procedures, [*functions, *row_scores])

    @property
    def reserved_names(self) -> frozenset[str]:
        """Lower-case names of system tables: no collection may have one of them, in upper or lower case."""
        return RESERVED_TABLE_NAMES | frozenset(self._tables)

    def execute(self, text: str, parameters: Mapping[str, object] | None = None) -> QueryResult:
        """Run all statements of a text, in order, and return the result of the last.

        Each statement sees what those before it have committed. The text is read and its parameters are checked as a
        whole before the first statement runs; when one fails, those before it have happened.

        Args:
            text: SQL.
            parameters: Values of its ``$names``.

        Raises:
            SqlSyntaxError: With line and column.
            QStoreError: The tree of :mod:`query.errors`, and what procedures raise.
        """
        given = dict(parameters or {})
        if not isinstance(text, str):
            raise InvalidArgumentError(f"The SQL is a {type(text).__name__}", fix="Give a text.", value=text)
        statements = parse(text)
        execution = Execution(
            self._engine, self._parameters_of, self._run, self._procedures, self._models, self._python
        )
        return execution.run(statements, given)

    def selection(
        self,
        view: CollectionView,
        *,
        where: str | None = None,
        filter: Mapping[str, object] | None = None,  # noqa: A002 - the word of the public interface
        parameters: Mapping[str, object] | None = None,
    ) -> Selection | None:
        """Which rows of a collection a condition and a filter select.

        Args:
            view: The collection at a version.
            where: What would stand after WHERE.
            filter: See :func:`query.filter_mapping.parse_filter`.
            parameters: Values of the ``$names`` in ``where``.

        Returns:
            The live slots where both hold; ``None`` where neither is given. The same question about the same rows is
            answered from memory.

        Raises:
            SqlSyntaxError: ``where`` is no condition; with line and column.
            InvalidFilterError: ``filter`` is no filter.
            UnknownColumnError: A column is not there.
        """
        given = dict(parameters or {})
        if where is None:
            check_names([], given)
        return selected(view, self._cache, where, filter, given, self._by_duckdb)

    def mask(
        self,
        view: CollectionView,
        *,
        where: str | None = None,
        filter: Mapping[str, object] | None = None,  # noqa: A002 - the word of the public interface
        parameters: Mapping[str, object] | None = None,
    ) -> NDArray[np.bool_] | None:
        """What :meth:`selection` selects as flags, bool of shape (slot_count,), read-only."""
        found = self.selection(view, where=where, filter=filter, parameters=parameters)
        return None if found is None else found.mask

    def snapshot_at(self, version: int) -> Snapshot:
        """The database as it was at a version; the last few asked for are kept open.

        Raises:
            UnknownVersionError: There is no such version, or it is not kept any more.
        """
        return self._past.reader({})(f"version:{version}")

    def close(self) -> None:
        """Free DuckDB's memory; later calls raise DatabaseClosedError. Idempotent."""
        with self._lock:
            self._closed = True
            self._past.close()
            if self._started is not None:
                self._started.connection.close()

    def _duckdb(self) -> _Started:
        """DuckDB, started by the first statement: opening a database does not wait for it.

        Raises:
            QueryError: It cannot be hardened.
            DatabaseClosedError: The session is closed.
        """
        with self._lock:
            if self._closed:
                raise DatabaseClosedError("The session is closed", fix="Open the database again.")
            if self._started is None:
                connection = HardenedConnection(self._limits)
                functions = Functions(self._functions, connection)
                parser = Parser(connection, functions, self._row_scores)
                self._started = _Started(connection, parser, Processor(connection, functions))
            return self._started

    def _by_duckdb(self, view: CollectionView, text: str, parameters: Mapping[str, object]) -> Selection:
        started = self._duckdb()
        parsed, condition = started.parser.condition(text, view.schema.name)
        check_names([parsed.names.parameters], parameters)
        catalog = self._catalog(self._engine.snapshot())
        return started.processor.selection(parsed, condition, view, catalog, parameters)

    def _catalog(self, snapshot: Snapshot, parameters: Mapping[str, object] | None = None) -> Catalog:
        return Catalog(snapshot, self._tables, self._cache, self._past.reader(parameters or {}))

    def _parameters_of(self, query: Query) -> set[str]:
        """Names of a query's parameters that DuckDB sees.

        Reading is repeated when the query runs: it is remembered, and its tables may have come into being by then.
        """
        names = self._catalog(self._engine.snapshot()).names()
        return set(self._duckdb().parser.query(query, names).parameters)

    def _run(self, query: Query, parameters: Mapping[str, object]) -> QueryResult:
        catalog = self._catalog(self._engine.snapshot(), parameters)
        parsed: Parsed = self._duckdb().parser.query(query, catalog.names())
        return self._duckdb().processor.run(parsed, catalog, parameters)


def _check_plugged(
    tables: Sequence[SystemTable],
    procedures: Sequence[Procedure],
    functions: Sequence[ScalarFunction | RowScores],
) -> None:
    own = [*(table.name for table in _OWN_TABLES), Versions.name, Procedures.name, training_data.NAME]
    for what, names in (
        ("table", own + [table.name for table in tables]),
        ("procedure", [procedure.name for procedure in procedures]),
        ("function", [function.name for function in functions]),
    ):
        for name in names:
            if names.count(name) > 1 or name != name.lower():
                raise InvalidArgumentError(
                    f"The {what} name {name!r} is used twice or is not in lower case", fix="Choose another.", value=name
                )
