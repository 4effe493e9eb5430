"""Checks of a batch's values that need no stored state: names, ids, shapes, numbers, JSON.

What passes here is a prepared operation: plain text ids, contiguous vectors in the collection's type, one norm per row,
metadata with checked names. Whether it fits what is stored is decided by :mod:`storage_engine.resolution` under the
write lock.
"""

from __future__ import annotations

import math
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
    VectorType,
)
from storage_engine.vectors.types import StoredVectors, rounded

MAX_RECORD_BYTES = 8 << 20
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")
_HIDDEN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.$-]{0,127}")
_UUID = re.compile(r"[0-9a-f]{32}")
COPIED_BYTES = 8 << 20
_BLOCK_NUMBERS = 1 << 15
_LONGEST = math.nextafter((2 - 2.0**-24) * 2.0**127, 0.0)  # the greatest that float32 does not round to infinity


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
    if not isinstance(schema.dtype, VectorType):
        raise InvalidArgumentError(
            f"dtype {schema.dtype!r} is unknown", fix=f"Use one of {', '.join(VectorType)}.", value=schema.dtype
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
    if not _are_plain(plain, limit):
        _check_each(plain, limit)
        plain = [str(row_id) for row_id in plain]
    if len(plain) > 1 and len(set(plain)) != len(plain):
        twice = Counter(plain).most_common(1)[0][0]
        raise DuplicateIdError(f"id {twice!r} occurs twice in one batch", fix="Give each id once.", value=twice)
    return plain


def _are_plain(ids: list[str], limit: int) -> bool:
    """Whether all ids are ASCII text of a right length: the usual case, seen without a step for each."""
    if not ids or set(map(type, ids)) != {str} or not "".join(ids).isascii():
        return False
    return max(map(len, ids)) <= limit and "" not in ids


def _check_each(ids: list[str], limit: int) -> None:
    for row_id in ids:
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


def id_limit(schema: CollectionSchema) -> int:
    """The greatest length of an id of this collection, in bytes."""
    return MAX_HIDDEN_ID_BYTES if schema.role is Role.HIDDEN else MAX_ID_BYTES


@dataclass(frozen=True, slots=True, eq=False)
class PreparedRows:
    """A :class:`PutRows` whose own values are in order."""

    put: PutRows
    ids: list[str]
    vectors: StoredVectors | None
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
    vectors: StoredVectors | None = None
    norms = None
    if put.vectors is not None:
        given, squares = checked_vectors(put.vectors, ids, schema.dimension)
        vectors = rounded(given, schema.dtype, ids)
        if put.norms is not None:
            norms = _given_norms(put.norms, ids, schema.metric)
        else:
            norms = _norms(vectors, squares if vectors is given else squared_lengths(vectors), ids, schema.metric)
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


def checked_vectors(
    given: object, ids: Sequence[str], dimension: int
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return the vectors as contiguous float32, and the squared length of each.

    Up to ``COPIED_BYTES`` they are a copy of their own, so that log and memory hold the same numbers even if the caller
    changes its array meanwhile. (Larger ones are written to files whose digests would tell.)

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
    if array.dtype == np.float32:
        vectors = array.copy() if array.nbytes <= COPIED_BYTES else np.ascontiguousarray(array)
    else:
        with np.errstate(over="ignore"):
            vectors = np.ascontiguousarray(array, dtype=np.float32)
    squares = squared_lengths(vectors)
    # No square of a float32 is beyond float64, so the sum is finite exactly if every number is.
    if not math.isfinite(float(squares.sum())):
        row = int(np.argmin(np.isfinite(squares)))
        column = int(np.argmin(np.isfinite(vectors[row])))
        value = array[row, column]
        raise InvalidVectorError(
            f"the vector of id {ids[row]!r} holds {value} at position {column}",
            fix="Replace NaN, infinity and numbers beyond float32 before storing.",
            value=float(value),
        )
    return vectors, squares


def _given_norms(given: NDArray[np.float32], ids: Sequence[str], metric: Metric) -> NDArray[np.float32]:
    norms = np.array(given, dtype=np.float32)
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
        raise InvalidVectorError(
            f"the norm of id {ids[row]!r} is {norms[row]}",
            fix="Give finite norms, positive for the cosine metric.",
            value=float(norms[row]),
        )
    return norms


def _norms(
    vectors: StoredVectors, squares: NDArray[np.float64], ids: Sequence[str], metric: Metric
) -> NDArray[np.float32]:
    """|x| of each row, rounded to float32. No direction is rounded to none: its least length is a float32 itself."""
    lengths = np.sqrt(squares)
    bad = lengths > _LONGEST
    if metric is Metric.COSINE:
        bad |= lengths == 0
    if bad.any():
        row = int(np.argmax(bad))
        stored = "" if vectors.dtype == np.float32 else f" as {vectors.dtype}"
        what = f"is zero{stored}, which has no direction" if lengths[row] == 0 else "is too long for float32"
        raise InvalidVectorError(
            f"the vector of id {ids[row]!r} {what}",
            fix="Remove or rescale it, or use a collection with metric l2 or ip for zero vectors.",
            value=ids[row],
        )
    return lengths.astype(np.float32)


def squared_lengths(vectors: StoredVectors) -> NDArray[np.float64]:
    """|x|² of each row in float64. In blocks that stay in the processor's cache."""
    step = max(1, _BLOCK_NUMBERS // max(1, vectors.shape[1]))
    if len(vectors) <= step:
        wide = vectors.astype(np.float64)
        return np.asarray(np.vecdot(wide, wide), np.float64)
    squares = np.empty(len(vectors), np.float64)
    wide = np.empty((step, vectors.shape[1]), np.float64)
    for start in range(0, len(vectors), step):
        block = vectors[start : start + step]
        wide[: len(block)] = block
        np.vecdot(wide[: len(block)], wide[: len(block)], out=squares[start : start + step])
    return squares


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
