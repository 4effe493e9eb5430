"""Errors of the query floor; the root and the tree it joins stand in :mod:`storage_engine.errors`."""

from __future__ import annotations

from storage_engine.errors import InvalidInputError, NotFoundError, QStoreError


class QueryError(QStoreError):
    """A statement was understood by nobody, or could not be run."""


class SqlSyntaxError(QueryError, InvalidInputError):
    """The text is not SQL that we know.

    Args:
        what: What stands there and what was expected.
        line: Line of the offending token, from 1; 0 where it is unknown.
        column: Column of the offending token, from 1; 0 where it is unknown.
        fix: What to write instead.
    """

    def __init__(self, what: str, *, line: int = 0, column: int = 0, fix: str = "") -> None:
        self.line = line
        self.column = column
        place = f" (line {line}, column {column})" if line else ""
        super().__init__(f"{what}{place}", fix=fix)


class UnsupportedStatementError(QueryError, InvalidInputError):
    """A statement that exists elsewhere but not here, such as ``INSERT`` or ``ATTACH``."""


class InvalidFilterError(QueryError, InvalidInputError):
    """A filter mapping uses an operator or a value that has no meaning."""


class UnknownTableError(QueryError, NotFoundError):
    """No collection or system table of that name."""


class UnknownProcedureError(QueryError, NotFoundError):
    """No procedure of that name."""


class InvalidParameterError(QueryError, InvalidInputError):
    """A bound parameter is missing, unused, or of a type that cannot be bound."""


class StatementTimeoutError(QueryError):
    """A statement ran past its deadline and was stopped; it changed nothing."""


class ResultTooLargeError(QueryError):
    """A statement would return more rows than a result may hold."""


class NotPermittedError(QueryError):
    """A statement needs a permission that the database was opened without; nothing was done."""


class ProcedureFailedError(QueryError):
    """A procedure in Python raised an error of its own, which is the cause, or returned what is no result."""


class MissingDependencyError(QStoreError, ImportError):
    """An optional package is needed for this call; ``fix`` is the command that installs it."""
