"""Checks of a batch's values that need no stored state: names, ids, shapes, numbers, JSON.

What passes here is a prepared operation: plain text ids, contiguous float32 vectors, one norm per row, metadata with
checked names. Whether it fits what is stored is decided by :mod:`storage_engine.resolution` under the write lock.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage_engine.batch import JsonValue, PutRows
from storage_engine.errors import (
    DimensionMismatchError,
    DuplicateIdError,
    InvalidArgumentError,
    InvalidIdError,
    InvalidMetadataError,
    InvalidVectorError,
)
from storage_engine.json_text import dump_json
from storage_engine.metadata.types import normalised
from storage_engine.schema import (
    MAX_DIMENSION,
    MAX_HIDDEN_ID_BYTES,
    MAX_ID_BYTES,
    CollectionSchema,
    Metric,
    Role,
)

MAX_RECORD_BYTES = 8 << 20
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")
_HIDDEN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.$-]{0,127}")
_UUID = re.compile(r"[0-9a-f]{32}")
_BLOCK_NUMBERS = 1 << 20


def check_schema(schema: CollectionSchema) -> None:
    """Raise InvalidArgumentError unless every field of ``schema`` is in its range."""
    pattern = _HIDDEN_NAME if schema.role is Role.HIDDEN else _NAME
    if not isinstance(schema.name, str) or pattern.fullmatch(schema.name) is None:
        raise InvalidArgumentError(
            f"{schema.name!r} cannot name a collection",
            fix="Use 1 to 128 of A-Z a-z 0-9 _ . - and begin with a letter or underscore.",
            value=schema.name,
        )
    if _UUID.fullmatch(schema.uuid) is None:
        raise InvalidArgumentError(
            f"{schema.uuid!r} is no collection uuid", fix="Give 32 hexadecimal digits.", value=schema.uuid
        )
    if not isinstance(schema.metric, Metric) or not isinstance(schema.role, Role):
        raise InvalidArgumentError(
            f"metric {schema.metric!r} or role {schema.role!r} is unknown",
            fix=f"Use one of {', '.join(Metric)} and one of {', '.join(Role)}.",
            value=schema.metric,
        )
    graph = schema.graph
    limits = (
        ("dimension", schema.dimension, 1, MAX_DIMENSION),
        ("graph.m", graph.m, 2, 128),
        ("graph.ef_construction", graph.ef_construction, 1, 100_000),
        ("graph.seed", graph.seed, 0, 2**31 - 1),
        ("graph.minimum_rows", graph.minimum_rows, 1, 2**62),
    )
    for what, value, low, high in limits:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise InvalidArgumentError(
                f"{what} is {value!r}", fix=f"Give a whole number from {low} to {high}.", value=value
            )


def checked_ids(ids: Sequence[str], limit: int) -> list[str]:
    """Return the ids as a list of plain strings.

    Args:
        ids: Text, each 1 to ``limit`` bytes in UTF-8, all distinct.
        limit: The greatest length in bytes.

    Raises:
        InvalidIdError: An id is no text, empty, too long or not valid Unicode.
        DuplicateIdError: An id occurs twice.
    """
    if isinstance(ids, str | bytes):
        raise InvalidIdError(f"ids is the single value {ids!r}", fix="Give a list of ids.", value=ids)
    plain = list(ids)
    for row_id in plain:
        if not isinstance(row_id, str):
            raise InvalidIdError(
                f"id {row_id!r} is a {type(row_id).__name__}", fix="Give ids as text, e.g. str(id).", value=row_id
            )
        try:
            size = len(row_id.encode())
        except UnicodeEncodeError as error:
            raise InvalidIdError(
                f"id {row_id!r} is not valid Unicode", fix="Remove lone surrogates.", value=row_id
            ) from error
        if not 1 <= size <= limit:
            shown = row_id if size <= 80 else row_id[:60] + "…"
            raise InvalidIdError(
                f"id {shown!r} has {size} bytes", fix=f"Use 1 to {limit} bytes of UTF-8.", value=row_id
            )
    if len(set(plain)) != len(plain):
        twice = Counter(plain).most_common(1)[0][0]
        raise DuplicateIdError(f"id {twice!r} occurs twice in one batch", fix="Give each id once.", value=twice)
    return [str(row_id) for row_id in plain]


def id_limit(schema: CollectionSchema) -> int:
    """The greatest length of an id of this collection, in bytes."""
    return MAX_HIDDEN_ID_BYTES if schema.role is Role.HIDDEN else MAX_ID_BYTES


@dataclass(frozen=True, slots=True, eq=False)
class PreparedRows:
    """A :class:`PutRows` whose own values are in order."""

    put: PutRows
    ids: list[str]
    vectors: NDArray[np.float32] | None
    norms: NDArray[np.float32] | None
    metadata: pa.Table | None


def prepare_rows(put: PutRows, schema: CollectionSchema) -> PreparedRows:
    """Check everything about the rows that does not depend on stored rows.

    Raises:
        InvalidIdError, DuplicateIdError, InvalidVectorError, DimensionMismatchError, InvalidMetadataError,
        InvalidArgumentError: See the classes; the offending value is named.
    """
    if put.mode not in ("insert", "upsert", "update"):
        raise InvalidArgumentError(f"mode {put.mode!r} is unknown", fix="Use insert, upsert or update.", value=put.mode)
    ids = checked_ids(put.ids, id_limit(schema))
    vectors = norms = None
    if put.vectors is not None:
        vectors = checked_vectors(put.vectors, ids, schema.dimension)
        norms = _norms(put.norms, vectors, ids, schema.metric)
    elif put.mode != "update":
        raise InvalidVectorError(
            f"vectors are missing for mode {put.mode!r}", fix="Give one vector per id, or use mode update."
        )
    elif put.norms is not None:
        raise InvalidVectorError("norms are given without vectors", fix="Give both or neither.")
    metadata = None
    if put.metadata is not None:
        if not isinstance(put.metadata, pa.Table):
            raise InvalidMetadataError(
                f"metadata is a {type(put.metadata).__name__}", fix="Give an Arrow table.", value=put.metadata
            )
        if put.metadata.num_columns and put.metadata.num_rows != len(ids):
            raise InvalidMetadataError(
                f"metadata has {put.metadata.num_rows} rows for {len(ids)} ids",
                fix="Give one metadata row per id.",
                value=put.metadata.num_rows,
            )
        metadata = normalised(put.metadata) if put.metadata.num_columns else None
    return PreparedRows(put, ids, vectors, norms, metadata)


def checked_vectors(given: object, ids: Sequence[str], dimension: int) -> NDArray[np.float32]:
    """Return the vectors as contiguous float32.

    Raises:
        DimensionMismatchError: The second axis is not ``dimension``.
        InvalidVectorError: Not a two-dimensional array of real numbers with one row per id, or NaN or infinity in it
            (also where a float64 number is beyond float32).
    """
    array = np.asarray(given)
    if array.dtype.kind not in "fiu" or array.ndim != 2:
        raise InvalidVectorError(
            f"vectors have shape {array.shape} and type {array.dtype}",
            fix=f"Give real numbers of shape ({len(ids)}, {dimension}).",
            value=array.shape,
        )
    if array.shape[1] != dimension:
        raise DimensionMismatchError(
            f"vectors have {array.shape[1]} numbers each but the collection has dimension {dimension}",
            fix=f"Give vectors of length {dimension}.",
            value=array.shape[1],
        )
    if array.shape[0] != len(ids):
        raise InvalidVectorError(
            f"{array.shape[0]} vectors are given for {len(ids)} ids",
            fix="Give one vector per id.",
            value=array.shape[0],
        )
    with np.errstate(over="ignore"):
        vectors = np.ascontiguousarray(array, dtype=np.float32)
    for start, stop in _blocks(vectors):
        finite = np.isfinite(vectors[start:stop])
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            value = array[start + row, column]
            raise InvalidVectorError(
                f"the vector of id {ids[start + row]!r} holds {value} at position {column}",
                fix="Replace NaN, infinity and numbers beyond float32 before storing.",
                value=float(value),
            )
    return vectors


def _norms(
    given: NDArray[np.float32] | None, vectors: NDArray[np.float32], ids: Sequence[str], metric: Metric
) -> NDArray[np.float32]:
    if given is None:
        norms = euclidean_norms(vectors)
    else:
        norms = np.ascontiguousarray(given, dtype=np.float32)
        if norms.shape != (len(ids),):
            raise InvalidVectorError(
                f"norms have shape {norms.shape} for {len(ids)} ids",
                fix="Give one norm per id.",
                value=norms.shape,
            )
    bad = ~np.isfinite(norms) | (norms < 0)
    if metric is Metric.COSINE:
        bad |= norms == 0
    if bad.any():
        row = int(np.argmax(bad))
        if given is not None:
            raise InvalidVectorError(
                f"the norm of id {ids[row]!r} is {norms[row]}",
                fix="Give finite norms, positive for the cosine metric.",
                value=float(norms[row]),
            )
        what = "is zero, which has no direction" if norms[row] == 0 else "is too long for float32"
        raise InvalidVectorError(
            f"the vector of id {ids[row]!r} {what}",
            fix="Remove or rescale it, or use a collection with metric l2 or ip for zero vectors.",
            value=ids[row],
        )
    return norms


def euclidean_norms(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """|x| of each row, summed in float64 and rounded to float32; infinity where that overflows."""
    norms = np.empty(len(vectors), np.float32)
    with np.errstate(over="ignore"):
        for start, stop in _blocks(vectors):
            wide = vectors[start:stop].astype(np.float64)
            lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide))
            # The smallest float32 stands in where rounding would turn a direction into none.
            norms[start:stop] = np.where(lengths > 0, np.maximum(lengths, np.float64(2.0**-149)), 0)
    return norms


def _blocks(vectors: NDArray[np.float32]) -> list[tuple[int, int]]:
    rows = max(1, _BLOCK_NUMBERS // max(1, vectors.shape[1]))
    return [(start, min(start + rows, len(vectors))) for start in range(0, len(vectors), rows)]


def check_record(table: str, key: str, value: Mapping[str, JsonValue]) -> None:
    """Raise InvalidArgumentError unless all three can be stored."""
    check_key(table, key)
    if not isinstance(value, Mapping):
        raise InvalidArgumentError(
            f"record {key!r} of table {table!r} is a {type(value).__name__}", fix="Give a mapping.", value=value
        )
    size = len(dump_json(dict(value), f"record {key!r} of table {table!r}"))
    if size > MAX_RECORD_BYTES:
        raise InvalidArgumentError(
            f"record {key!r} of table {table!r} has {size} bytes of JSON",
            fix=f"Keep records to {MAX_RECORD_BYTES} bytes; store large data as an attached file.",
            value=size,
        )


def check_key(table: str, key: str) -> None:
    """Raise InvalidArgumentError unless both can name a record."""
    if not isinstance(table, str) or _HIDDEN_NAME.fullmatch(table) is None:
        raise InvalidArgumentError(
            f"{table!r} cannot name a table", fix="Use A-Z a-z 0-9 _ . $ -, at most 128.", value=table
        )
    try:
        checked_ids([key], MAX_HIDDEN_ID_BYTES)
    except InvalidIdError as error:
        raise InvalidArgumentError(f"key of table {table!r}: {error.what}", fix=error.fix, value=key) from error
