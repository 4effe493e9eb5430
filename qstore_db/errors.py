"""Every error a caller of Q-Store can meet, importable from one place; new here are those of circuits and models.

Each carries ``what`` (one sentence with the value), ``fix`` (what to do) and ``value``.
"""

from __future__ import annotations

from decimal import Decimal

from query.errors import (
    InvalidFilterError,
    InvalidParameterError,
    MissingDependencyError,
    NotPermittedError,
    ProcedureFailedError,
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


class UnknownStudyError(NotFoundError):
    """No hyperparameter study of that name."""


class UnknownBackendError(NotFoundError):
    """No backend of that name."""


class UnknownContextError(NotFoundError):
    """A context that no stored state has."""


class UnknownGroupError(NotFoundError):
    """No entangled group of that name."""


class InvalidLabelError(InvalidInputError):
    """A label is missing, not an integer, or outside 0 … classes - 1."""


class InvalidTargetError(InvalidInputError):
    """A regression target is missing, not a finite number, or of another length than the model's outputs."""


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


class UnknownIndexError(NotFoundError):
    """No index of that name at Pinecone."""


class SyncRefusedError(QStoreError):
    """A collection and an index do not go together, or one of them lost all its rows; nothing was sent or written."""


class RemoteIndexError(QStoreError):
    """A request to a remote index failed for good; the sync can be run again and goes on where it was.

    Args:
        what: One sentence that names the index and what it said.
        fix: What the reader can do about it.
        value: The index.
        retryable: Whether the same request may succeed when it is sent again.
        retry_after_seconds: How long the index asks to wait before that, at least 0.
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


class TrackingError(QStoreError):
    """A tracking store took no more of a run; the run itself is as it was."""


class ExecutionError(QStoreError):
    """A circuit has no result; what is written below this class says why."""


class UnsupportedRequestError(ExecutionError, ValueError):
    """A backend cannot run such a circuit or give such a readout; it was not sent."""


class WorkerLostError(ExecutionError):
    """A worker process ended while it computed a part of a step."""


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


class SubmissionRefusedError(BackendFailedError):
    """A provider certainly did not take a job: sending it again, where ``retryable``, cannot run it twice."""


class SubmissionUnknownError(BackendFailedError):
    """The answer to a job that was sent got lost; the provider may have taken it.

    Look for its tag before sending it again. It is never ``retryable``: whoever only reads that flag must not send the
    job twice.
    """


class BudgetExceededError(ExecutionError):
    """Work on a paid backend would cost more than its ceiling allows; it was not sent.

    Args:
        work: What was about to be sent, as the subject of a sentence.
        estimate: What it would cost, in dollars.
        spent: What the jobs before it count for, open ones included.
        ceiling: What all may cost together.
        fix: What the reader can do about it.
    """

    def __init__(
        self,
        work: str,
        *,
        estimate: Decimal,
        spent: Decimal,
        ceiling: Decimal,
        fix: str = "Raise the ceiling (max_cost_usd of a run), or ask for less: fewer shots, rows or directions.",
    ) -> None:
        super().__init__(
            f"{work} would cost about ${estimate}; ${spent} of a ceiling of ${ceiling} are spent or bound",
            fix=fix,
            value=ceiling,
        )
        self.work, self.estimate, self.spent, self.ceiling = work, estimate, spent, ceiling


class JobUnreachableError(BackendFailedError):
    """A provider has taken a job and cannot be asked about it; the job stays in the ledger and is found again later."""


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
    "BudgetExceededError",
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
    "InvalidTargetError",
    "InvalidVectorError",
    "JobUnreachableError",
    "MissingDependencyError",
    "NotADatabaseError",
    "NotEnoughMemoryError",
    "NotFoundError",
    "NotPermittedError",
    "ProcedureFailedError",
    "QStoreError",
    "QueryError",
    "QueueFullError",
    "ReadOnlyError",
    "RemoteIndexError",
    "ResultTooLargeError",
    "SqlSyntaxError",
    "StatementTimeoutError",
    "SubmissionRefusedError",
    "SubmissionUnknownError",
    "SyncRefusedError",
    "TrackingError",
    "TrainingInterruptedError",
    "TransactionError",
    "UnknownBackendError",
    "UnknownCollectionError",
    "UnknownColumnError",
    "UnknownContextError",
    "UnknownDatasetError",
    "UnknownIdError",
    "UnknownIndexError",
    "UnknownModelError",
    "UnknownProcedureError",
    "UnknownRunError",
    "UnknownStudyError",
    "UnknownTableError",
    "UnknownVersionError",
    "UnsafeDirectoryError",
    "UnsupportedRequestError",
    "UnsupportedStatementError",
    "WriteFailedError",
]
