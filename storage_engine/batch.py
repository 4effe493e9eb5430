"""The unit of commit: an ordered list of operations over any number of collections and tables.

A batch is a plain value. :meth:`storage_engine.engine.Engine.commit` validates the whole of it against the newest
state, writes one log record, makes it durable, applies it, and only then returns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage_engine.schema import CollectionSchema

JsonValue: TypeAlias = "None | bool | int | float | str | list[JsonValue] | dict[str, JsonValue]"
PutMode: TypeAlias = Literal["insert", "upsert", "update"]


@dataclass(frozen=True, slots=True)
class CreateCollection:
    """Add a collection; its name must be free."""

    schema: CollectionSchema


@dataclass(frozen=True, slots=True)
class DropCollection:
    """Remove a collection with all its rows."""

    name: str


@dataclass(frozen=True, slots=True)
class PutRows:
    """Write rows.

    Args:
        collection: Its name.
        ids: One per row, distinct.
        vectors: float32 of shape (rows, dimension), as the user gave them; ``None`` only with ``update``, which
            then keeps the stored ones. Once resolved, they have the type of their collection.
        norms: float32 of shape (rows,): what a cosine score divides by. ``None`` means the Euclidean norm of each
            vector. A floor above gives 1.0 where the stored vector is already a weighted sum of unit vectors.
        metadata: One Arrow row per id, or ``None``. With ``update`` only the given columns change.
        mode: ``insert`` refuses stored ids, ``upsert`` replaces the whole row, ``update`` refuses unknown ids.
    """

    collection: str
    ids: Sequence[str]
    vectors: NDArray[Any] | None
    norms: NDArray[np.float32] | None = None
    metadata: pa.Table | None = None
    mode: PutMode = "upsert"


@dataclass(frozen=True, slots=True)
class DeleteRows:
    """Remove rows by id. Unknown ids are refused unless ``missing_ok``."""

    collection: str
    ids: Sequence[str]
    missing_ok: bool = False


@dataclass(frozen=True, slots=True)
class PutRecord:
    """Write one record of a keyed table. ``must_be_new`` refuses a key that is taken."""

    table: str
    key: str
    value: Mapping[str, JsonValue]
    must_be_new: bool = False


@dataclass(frozen=True, slots=True)
class DeleteRecord:
    """Remove one record of a keyed table; the key must exist."""

    table: str
    key: str


@dataclass(frozen=True, slots=True)
class FileReference:
    """A finished, synced file in the database directory: written first, named by a commit afterwards.

    Args:
        kind: The folder it lives in: ``ckpt`` or ``metrics``.
        name: ``<uuid><suffix>``, made by the engine.
        length: In bytes.
        sha256: Hexadecimal digest of the whole file.
    """

    kind: str
    name: str
    length: int
    sha256: str


@dataclass(frozen=True, slots=True)
class AttachFile:
    """Make a staged file part of the database. Until then it is swept at the next open."""

    file: FileReference


@dataclass(frozen=True, slots=True)
class DetachFile:
    """Give up an attached file; it is deleted once no manifest needs it."""

    kind: str
    name: str


Operation: TypeAlias = (
    CreateCollection | DropCollection | PutRows | DeleteRows | PutRecord | DeleteRecord | AttachFile | DetachFile
)


@dataclass(slots=True)
class WriteBatch:
    """Operations in order; later ones see earlier ones. Committed whole or not at all."""

    operations: list[Operation] = field(default_factory=list)

    def add(self, *operations: Operation) -> WriteBatch:
        """Append operations and return the batch itself."""
        self.operations.extend(operations)
        return self
