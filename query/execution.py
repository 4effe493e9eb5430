"""Runs the statements of a text: queries, calls, and what creates and drops models and procedures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

import pyarrow as pa

from query.errors import QueryError, UnsupportedStatementError
from query.parameters import check_names
from query.ports import ModelStatements, Procedure, PythonFunctions
from query.procedures import binding, stored
from query.result import QueryResult
from query.statements import (
    Argument,
    Call,
    CreateModel,
    CreateProcedure,
    DropModel,
    DropProcedure,
    Query,
    Statement,
)
from storage_engine.batch import DeleteRecord, PutRecord, WriteBatch
from storage_engine.engine import Engine

_RUNNING: ContextVar[tuple[tuple[int, str], ...]] = ContextVar("running_procedures", default=())
"""Stored procedures that run, outermost first, each with the identity of its engine."""


@dataclass(frozen=True, slots=True)
class Execution:
    """Runs statements, each of which sees what those before it have committed.

    Args:
        engine: The database.
        parameters_of: Names of a query's parameters; refuses what is no query.
        run_query: Its rows, at the newest commit.
        built_in: Procedures of the floors above, by name.
        models: What ``CREATE MODEL`` and ``DROP MODEL`` do.
        python: What procedures in Python may reach.
    """

    engine: Engine
    parameters_of: Callable[[Query], set[str]]
    run_query: Callable[[Query, Mapping[str, object]], QueryResult]
    built_in: Mapping[str, Procedure]
    models: ModelStatements | None
    python: PythonFunctions | None = None

    def run(self, statements: Sequence[Statement], given: Mapping[str, object]) -> QueryResult:
        """Run all of them and return what the last one shows.

        Parameters of the whole text are checked before the first statement runs; when one fails, those before it have
        happened.
        """
        created = {statement.name for statement in statements if isinstance(statement, CreateProcedure)}
        check_names([self._parameters(statement, created) for statement in statements], given)
        results = [self._run(statement, given) for statement in statements]
        return results[-1]

    def _parameters(self, statement: Statement, created: set[str]) -> set[str]:
        match statement:
            case Query():
                return self.parameters_of(statement) | statement.parameters
            case Call(name=name, arguments=arguments):
                if name not in created:
                    binding.find(statement, self._procedures())
                return binding.parameter_names(arguments)
            case CreateModel(options=options, training_query=query):
                inner = set() if query is None else self._parameters(query, created)
                return binding.parameter_names(options) | inner
            case CreateProcedure():
                self._check(statement, created)
                return set()
            case DropModel() | DropProcedure():
                return set()

    def _run(self, statement: Statement, parameters: Mapping[str, object]) -> QueryResult:
        match statement:
            case Query():
                return self.run_query(statement, parameters)
            case Call():
                procedure = binding.find(statement, self._procedures())
                return QueryResult(procedure.call(binding.bind(statement, procedure, parameters)))
            case CreateModel():
                return QueryResult(self._create_model(statement, parameters))
            case DropModel(name=name, if_exists=if_exists):
                return QueryResult(self._model_statements().drop_model(name, if_exists=if_exists))
            case CreateProcedure():
                return self._create_procedure(statement)
            case DropProcedure():
                return self._drop_procedure(statement)

    def _create_model(self, statement: CreateModel, parameters: Mapping[str, object]) -> pa.Table:
        models = self._model_statements()
        query = statement.training_query
        rows = None if query is None else self.run_query(query, parameters).arrow()
        return models.create_model(
            statement.name,
            _options(statement.options, parameters),
            or_replace=statement.or_replace,
            if_not_exists=statement.if_not_exists,
            training_rows=rows,
        )

    def _create_procedure(self, statement: CreateProcedure) -> QueryResult:
        snapshot = self.engine.snapshot()
        operation = stored.creation(snapshot, statement, self.built_in, self.engine.clock())
        return self._committed(operation, statement.name, "created")

    def _drop_procedure(self, statement: DropProcedure) -> QueryResult:
        snapshot = self.engine.snapshot()
        absent = statement.name not in {*snapshot.table(stored.TABLE), *self.built_in}
        if statement.if_exists and absent:
            return _status(statement.name, "absent")
        return self._committed(stored.removal(snapshot, statement.name, self.built_in), statement.name, "dropped")

    def _committed(self, operation: PutRecord | DeleteRecord, name: str, status: str) -> QueryResult:
        self.engine.commit(WriteBatch([operation]))
        return _status(name, status)

    def _check(self, definition: CreateProcedure, created: set[str]) -> None:
        """Refuse a definition that could never run."""
        declared = stored.declared(definition)
        if definition.target is not None:
            self._python_functions().check(definition.target, [argument.name for argument in declared])
            return
        used = [self._parameters(statement, created | {definition.name}) for statement in definition.statements]
        stored.check_parameters(definition, sorted(set().union(*used)))
        if any(isinstance(part, Call) and part.name == definition.name for part in definition.statements):
            raise _endless((definition.name, definition.name))

    def _procedures(self) -> dict[str, Procedure]:
        found: dict[str, Procedure] = dict(self.built_in)
        for name, definition in stored.definitions(self.engine.snapshot()).items():
            found.setdefault(name, stored.StoredProcedure(definition, self._run_stored))
        return found

    def _run_stored(self, definition: CreateProcedure, arguments: Mapping[str, object]) -> pa.Table:
        # What runs is known to the thread: a procedure in Python may come back through a statement of its own.
        running = _RUNNING.get()
        here = (id(self.engine), definition.name)
        if here in running:
            raise _endless([name for engine, name in (*running, here) if engine == id(self.engine)])
        token = _RUNNING.set((*running, here))
        try:
            if definition.target is not None:
                return self._python_functions().call(definition.name, definition.target, arguments)
            results = [self._run(statement, arguments) for statement in definition.statements]
            return results[-1].arrow()
        finally:
            _RUNNING.reset(token)

    def _python_functions(self) -> PythonFunctions:
        if self.python is None:
            raise UnsupportedStatementError(
                "Procedures in Python are not available here", fix="Open the database with qstore_db."
            )
        return self.python

    def _model_statements(self) -> ModelStatements:
        if self.models is None:
            raise UnsupportedStatementError(
                "CREATE MODEL and DROP MODEL are not available here", fix="Open the database with qstore_db."
            )
        return self.models


def _endless(calls: Sequence[str]) -> QueryError:
    return QueryError(
        f"The procedure {calls[-1]!r} calls itself: {' → '.join(calls)}",
        fix="Nothing in a procedure can end such a call; take it out.",
        value=calls[-1],
    )


def _status(name: str, status: str) -> QueryResult:
    return QueryResult(pa.table({"procedure": [name], "status": [status]}))


def _options(options: Sequence[Argument], parameters: Mapping[str, object]) -> dict[str, object]:
    return {str(option.name): binding.fill(option.value, parameters) for option in options}
