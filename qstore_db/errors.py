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
    ConflictError,
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
    TransactionError,
    UnknownCollectionError,
    UnknownColumnError,
    UnknownIdError,
    UnknownVersionError,
    UnsafeDirectoryError,
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


class UnknownGroupError(NotFoundError):
    """No entangled group of that name."""


class InvalidLabelError(InvalidInputError):
    """A label is missing, not an integer, or outside 0 … classes - 1."""


class InvalidCircuitError(InvalidInputError):
    """A gate names a qubit that is not there, or has the wrong number of angles."""


class InvalidModelError(InvalidInputError):
    """A model's specification contradicts itself or the data."""


class InvalidStateError(InvalidInputError):
    """Context weights, branches or a coherence time are out of their range."""


class PromotionRefusedError(QStoreError):
    """A model's version is not good enough for the alias it was meant to have; nothing was written."""


class EmptyDatasetError(InvalidInputError):
    """There is nothing to train or to evaluate on."""


class TrainingInterruptedError(QStoreError):
    """Training was stopped by Ctrl-C; the run can be resumed."""


class NotEnoughMemoryError(QStoreError, MemoryError):
    """A simulation would need more memory than is free; nothing was allocated."""


class ExecutionError(QStoreError):
    """A circuit has no result; what is written below this class says why."""


class UnsupportedRequestError(ExecutionError, ValueError):
    """A backend cannot run such a circuit or give such a readout; it was not sent."""


class BackendFailedError(ExecutionError):
    """A backend took a job and did not deliver its results.

    Args:
        what: One sentence that names the job and the backend.
        fix: What the reader can do about it.
        value: The job or what the backend said.
        retryable: Whether the same job may succeed when it is sent again.
        retry_after_seconds: How long the backend asks to wait before that, at least 0.
    """

    def __init__(
        self,
        what: str,
        *,
        fix: str = "",
        value: object = None,
        retryable: bool = False,
        retry_after_seconds: float = 0.0,
    ) -> None:
        super().__init__(what, fix=fix, value=value)
        self.retryable = retryable
        self.retry_after_seconds = retry_after_seconds


class DeadlineExceededError(ExecutionError, TimeoutError):
    """The deadline of a request passed before its result was there."""


class QueueFullError(ExecutionError):
    """A request that was not to wait found no room in the executor's queue."""


class ExecutorClosedError(ExecutionError):
    """The executor was closed before the circuit ran, or before it was asked."""


class ForkedExecutorError(ExecutorClosedError):
    """The executor was made before ``fork``; the child must make its own."""


__all__ = [
    "AlreadyExistsError",
    "BackendFailedError",
    "CommitUnknownError",
    "ConflictError",
    "DamagedError",
    "DatabaseClosedError",
    "DatabaseError",
    "DatabaseLockedError",
    "DeadlineExceededError",
    "DimensionMismatchError",
    "DuplicateIdError",
    "EmptyDatasetError",
    "ExecutionError",
    "ExecutorClosedError",
    "ForkedExecutorError",
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
    "QueueFullError",
    "ReadOnlyError",
    "ResultTooLargeError",
    "SqlSyntaxError",
    "StatementTimeoutError",
    "TrainingInterruptedError",
    "TransactionError",
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
    "UnknownVersionError",
    "UnsafeDirectoryError",
    "UnsupportedRequestError",
    "UnsupportedStatementError",
    "WriteFailedError",
]
