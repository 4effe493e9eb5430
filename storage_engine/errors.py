"""The root of all errors of Q-Store, and those of the storage floor.

QStoreError
├── InvalidInputError (ValueError)        the caller's value is wrong; nothing was written
│   ├── InvalidVectorError                NaN, inf, zero under cosine, wrong shape
│   │   └── DimensionMismatchError
│   ├── InvalidIdError                    empty, too long, not text
│   ├── DuplicateIdError                  twice in a batch, or already stored
│   ├── InvalidMetadataError              a column's name or type
│   └── InvalidArgumentError              any other argument (k, metric, name, …)
├── NotFoundError (LookupError)
│   ├── UnknownCollectionError
│   ├── UnknownIdError
│   ├── UnknownColumnError
│   └── UnknownVersionError               never there, or not kept any more
├── AlreadyExistsError
├── TransactionError                      a transaction inside another one, or what cannot be part of one
├── ConflictError                         a transaction meets what others committed meanwhile; nothing was written
└── DatabaseError                         the directory or the handle, not the value
    ├── NotADatabaseError
    ├── UnsafeDirectoryError              others may write to it, or its file system keeps no promise
    ├── FormatTooNewError
    ├── DatabaseLockedError               a second writer
    ├── ReadOnlyError
    ├── DatabaseClosedError
    │   └── ForkedHandleError
    ├── DamagedError                      file and offset; never a wrong row
    ├── WriteFailedError                  refused before the acknowledgement; nothing was stored
    └── CommitUnknownError                the disk failed in the middle; reopening decides
"""

from __future__ import annotations


class QStoreError(Exception):
    """Root of every error that Q-Store raises on purpose.

    Args:
        what: One sentence that names the offending value.
        fix: What the reader can do about it.
        value: The offending value itself, for programs.
    """

    def __init__(self, what: str, *, fix: str = "", value: object = None) -> None:
        self.what = what
        self.fix = fix
        self.value = value
        super().__init__(f"{what.rstrip('.')}. {fix}" if fix else what)


class InvalidInputError(QStoreError, ValueError):
    """A value given by the caller is wrong; nothing was written."""


class InvalidVectorError(InvalidInputError):
    """A vector holds NaN or infinity, has the wrong shape, or is zero where a direction is needed."""


class DimensionMismatchError(InvalidVectorError):
    """A vector's length differs from its collection's dimension."""


class InvalidIdError(InvalidInputError):
    """An id is empty, too long, or not text."""


class DuplicateIdError(InvalidInputError):
    """An id occurs twice in one batch, or is already stored where a new one is required."""


class InvalidMetadataError(InvalidInputError):
    """A metadata column has a reserved name, a wrong length, or a type that conflicts with what is stored."""


class InvalidArgumentError(InvalidInputError):
    """An argument that is neither a vector, an id nor metadata is out of its range."""


class NotFoundError(QStoreError, LookupError):
    """A name or id refers to nothing stored."""


class UnknownCollectionError(NotFoundError):
    """No collection of that name at this version."""


class UnknownIdError(NotFoundError):
    """No row of that id at this version."""


class UnknownColumnError(NotFoundError):
    """No column of that name."""


class UnknownVersionError(NotFoundError):
    """No such version: it is in the future, or it was given up."""


class AlreadyExistsError(QStoreError):
    """A name is taken."""


class TransactionError(QStoreError):
    """A transaction was begun inside another one, or something was asked that cannot be part of one."""


class ConflictError(QStoreError):
    """Another commit changed the same ids, records or collections after the transaction began; nothing was written."""


class DatabaseError(QStoreError):
    """Something is wrong with the directory or the handle rather than with a value."""


class NotADatabaseError(DatabaseError):
    """The path is a file, or a directory that holds something else."""


class UnsafeDirectoryError(DatabaseError):
    """The directory is on a network file system, or every user of the machine may write to it."""


class FormatTooNewError(DatabaseError):
    """The directory needs a feature that this version does not know."""


class DatabaseLockedError(DatabaseError):
    """Another process holds the directory for writing."""


class ReadOnlyError(DatabaseError):
    """A write was asked of a handle opened with ``read_only=True``."""


class DatabaseClosedError(DatabaseError):
    """The handle was closed, or was poisoned by an earlier failure of the disk."""


class ForkedHandleError(DatabaseClosedError):
    """The handle was opened before ``fork``; the child must open its own."""


class DamagedError(DatabaseError):
    """Stored bytes fail their checksum; the message names file and offset."""


class WriteFailedError(DatabaseError):
    """The disk refused a write before it was acknowledged; nothing was stored and the database stays usable."""


class CommitUnknownError(DatabaseError):
    """The disk failed while a commit was being made durable; reopening the database decides whether it is there."""
