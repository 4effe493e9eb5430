"""Every error a caller of Q-Store can meet, importable from one place; new here are those of circuits and models.

Each carries ``what`` (one sentence with the value), ``fix`` (what to do) and ``value``.
"""

from __future__ import annotations

from query.errors import (
    InvalidFilterError,
    InvalidParameterError,
    MissingDependencyError,
    QueryError,
    ResultTooLargeError,
    SqlSyntaxError,
    StatementTimeoutError,
    UnknownProcedureError,
    UnknownTableError,
    UnsupportedStatementError,
)
from storage_engine.errors import (
    AlreadyExistsError,
    CommitUnknownError,
    DamagedError,
    DatabaseClosedError,
    DatabaseError,
    DatabaseLockedError,
    DimensionMismatchError,
    DuplicateIdError,
    ForkedHandleError,
    FormatTooNewError,
    InvalidArgumentError,
    InvalidIdError,
    InvalidInputError,
    InvalidMetadataError,
    InvalidVectorError,
    NotADatabaseError,
    NotFoundError,
    QStoreError,
    ReadOnlyError,
    UnknownCollectionError,
    UnknownColumnError,
    UnknownIdError,
    WriteFailedError,
)


class UnknownModelError(NotFoundError):
    """No model of that name in the registry."""


class UnknownDatasetError(NotFoundError):
    """No data set of that name."""


class UnknownRunError(NotFoundError):
    """No training run of that number."""


class UnknownBackendError(NotFoundError):
    """No backend of that name."""


class UnknownContextError(NotFoundError):
    """A context that no stored state has."""


class InvalidLabelError(InvalidInputError):
    """A label is missing, not an integer, or outside 0 … classes - 1."""


class InvalidCircuitError(InvalidInputError):
    """A gate names a qubit that is not there, or has the wrong number of angles."""


class InvalidModelError(InvalidInputError):
    """A model's specification contradicts itself or the data."""


class InvalidStateError(InvalidInputError):
    """Context weights, branches or a coherence time are out of their range."""


class EmptyDatasetError(InvalidInputError):
    """There is nothing to train or to evaluate on."""


class TrainingInterruptedError(QStoreError):
    """Training was stopped by Ctrl-C; the run can be resumed."""


class NotEnoughMemoryError(QStoreError, MemoryError):
    """A simulation would need more memory than is free; nothing was allocated."""


__all__ = [
    "AlreadyExistsError",
    "CommitUnknownError",
    "DamagedError",
    "DatabaseClosedError",
    "DatabaseError",
    "DatabaseLockedError",
    "DimensionMismatchError",
    "DuplicateIdError",
    "EmptyDatasetError",
    "ForkedHandleError",
    "FormatTooNewError",
    "InvalidArgumentError",
    "InvalidCircuitError",
    "InvalidFilterError",
    "InvalidIdError",
    "InvalidInputError",
    "InvalidLabelError",
    "InvalidMetadataError",
    "InvalidModelError",
    "InvalidParameterError",
    "InvalidStateError",
    "InvalidVectorError",
    "MissingDependencyError",
    "NotADatabaseError",
    "NotEnoughMemoryError",
    "NotFoundError",
    "QStoreError",
    "QueryError",
    "ReadOnlyError",
    "ResultTooLargeError",
    "SqlSyntaxError",
    "StatementTimeoutError",
    "TrainingInterruptedError",
    "UnknownBackendError",
    "UnknownCollectionError",
    "UnknownColumnError",
    "UnknownContextError",
    "UnknownDatasetError",
    "UnknownIdError",
    "UnknownModelError",
    "UnknownProcedureError",
    "UnknownRunError",
    "UnknownTableError",
    "UnsupportedStatementError",
    "WriteFailedError",
]
