"""What a row says, spelled the same on both sides: its vector as float32, its metadata as Pinecone can hold it.

Pinecone keeps strings, booleans, numbers (as doubles) and lists of strings, and strips nulls. So a row's content is
its vector and its metadata without nulls, with every number as a double; two rows are equal if their digests are.
What would not come back as it was is refused here, before anything is sent.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from qstore_db.errors import InvalidIdError, InvalidMetadataError, InvalidVectorError
from storage_engine.snapshot import CollectionView

MAX_ID_CHARACTERS: Final = 512
MAX_METADATA_BYTES: Final = 40 * 1024
LARGEST_EXACT: Final = 2**53
ABSENT: Final = "-"
"""Stands where a digest would: there is no such row."""

Value: TypeAlias = str | bool | int | float | list[str]


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A row as either side tells it.

    Args:
        id: Its id.
        vector: float32 (dimension,).
        metadata: Without nulls.
    """

    id: str
    vector: NDArray[np.float32]
    metadata: Mapping[str, Value]

    def digest(self) -> str:
        """32 hexadecimal digits, equal for equal content; ``3`` equals ``3.0``, and ``0.0`` equals ``-0.0``."""
        values = {name: _canonical(value) for name, value in self.metadata.items()}
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        numbers = (self.vector + np.float32(0)).astype("<f4", copy=False).tobytes()
        return hashlib.blake2b(numbers + text.encode(), digest_size=16).hexdigest()


def local_rows(view: CollectionView, slots: Sequence[int] | NDArray[np.int64]) -> list[Row]:
    """Stored rows as Pinecone could hold them, in the order given.

    Raises:
        InvalidIdError: An id that is not ASCII, is too long or holds a NUL character.
        InvalidVectorError: A vector of zeros.
        InvalidMetadataError: A value, name or size that Pinecone has no place for; names row, column and value.
    """
    ids = view.ids_at(slots)
    vectors = view.vectors_at(slots)
    columns = view.values_at(slots)
    rows = []
    for position, row_id in enumerate(ids):
        given = {name: values[position] for name, values in columns.items() if values[position] is not None}
        _check_id(row_id)
        if not vectors[position].any():
            raise InvalidVectorError(
                f"the vector of row {row_id!r} is zero, which Pinecone refuses",
                fix="Delete the row, or give it a vector.",
                value=row_id,
            )
        rows.append(Row(row_id, vectors[position], sendable(row_id, given)))
    return rows


def sendable(row_id: str, metadata: Mapping[str, Any]) -> dict[str, Value]:
    """Metadata checked against what Pinecone holds exactly.

    Args:
        row_id: For messages.
        metadata: Without nulls.

    Raises:
        InvalidMetadataError: A nested value, a list of anything but strings, an integer beyond 2^53, NaN or infinity,
            a time, bytes, a decimal; a name that begins with ``$``; more than 40 KiB as JSON.
    """
    for name, value in metadata.items():
        reason = _why_not(value)
        if name.startswith("$"):
            reason = "in a column whose name begins with '$'"
        if reason is not None:
            raise InvalidMetadataError(
                f"row {row_id!r} has {reason} in column {name!r} ({_shown(value)}); Pinecone cannot hold it",
                fix="Keep strings, booleans, numbers up to 2^53 and lists of strings in a collection that is synced; "
                "put the rest into one of its own.",
                value=value,
            )
    size = len(json.dumps(metadata, ensure_ascii=False, separators=(",", ":")).encode())
    if size > MAX_METADATA_BYTES:
        raise InvalidMetadataError(
            f"the metadata of row {row_id!r} has {size:,} bytes as JSON; Pinecone takes {MAX_METADATA_BYTES:,}",
            fix="Shorten it, or keep long texts elsewhere.",
            value=row_id,
        )
    return dict(metadata)


def metadata_table(rows: Sequence[Row], columns: Mapping[str, pa.DataType]) -> pa.Table | None:
    """Metadata of pulled rows, one Arrow row each; ``None`` if they have none.

    A number is a double at Pinecone. It becomes an integer where the collection's column holds integers and every one
    of the batch is whole; otherwise the column holds doubles.

    Args:
        rows: What Pinecone told.
        columns: The collection's metadata columns.

    Raises:
        InvalidMetadataError: A key holds several types, or another one than the collection's column.
    """
    names = list(dict.fromkeys(name for row in rows for name in row.metadata))
    if not names:
        return None
    return pa.table({name: _column(name, rows, columns.get(name)) for name in names})


def _column(name: str, rows: Sequence[Row], stored: pa.DataType | None) -> pa.Array:
    values: list[Any] = [row.metadata.get(name) for row in rows]
    kinds = {_kind(value) for value in values if value is not None}
    if len(kinds) > 1:
        odd = next(
            row.id for row in rows if name in row.metadata and _kind(row.metadata[name]) != _kind_of_first(values)
        )
        raise InvalidMetadataError(
            f"the index holds {' and '.join(sorted(kinds))} under the key {name!r}, row {odd!r} for one",
            fix="Give the key one type at Pinecone; a column has one.",
            value=name,
        )
    if kinds == {"number"}:
        return _numbers([None if value is None else float(value) for value in values], stored)
    kind = {"text": pa.string(), "boolean": pa.bool_(), "list of texts": pa.list_(pa.string())}[kinds.pop()]
    return pa.array(values, kind)


def _numbers(values: Sequence[float | None], stored: pa.DataType | None) -> pa.Array:
    """In the type of the stored column where that holds every one of them exactly, as doubles otherwise."""
    given = [value for value in values if value is not None]
    if stored is not None and pa.types.is_integer(stored) and all(map(_is_whole, given)):
        whole = pa.array([None if value is None else int(value) for value in values], pa.int64())
        try:
            return whole.cast(stored)
        except pa.ArrowInvalid:  # beyond a narrow type: the column becomes wider
            return whole
    if stored is not None and pa.types.is_float32(stored) and all(_is_single(value) for value in given):
        return pa.array(values, pa.float32())
    return pa.array(values, pa.float64())


def _is_single(value: float) -> bool:
    with np.errstate(over="ignore"):
        return float(np.float32(value)) == value


def _kind_of_first(values: Sequence[Any]) -> str:
    return next(_kind(value) for value in values if value is not None)


def _kind(value: Value) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "text"
    return "list of texts" if isinstance(value, list) else "number"


def _is_whole(value: float) -> bool:
    return value.is_integer() and abs(value) <= LARGEST_EXACT


def _canonical(value: Value) -> Value:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return float(value) + 0.0


def _why_not(value: Any) -> str | None:
    if isinstance(value, str | bool):
        return None
    if isinstance(value, int):
        return None if abs(value) <= LARGEST_EXACT else "an integer beyond 2^53"
    if isinstance(value, float):
        return None if math.isfinite(value) else "a number that is not finite"
    if isinstance(value, list):
        return None if all(isinstance(item, str) for item in value) else "a list of something else than texts"
    return f"a {type(value).__name__}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _check_id(row_id: str) -> None:
    if not row_id.isascii() or len(row_id) > MAX_ID_CHARACTERS or "\x00" in row_id:
        raise InvalidIdError(
            f"the id {row_id!r} cannot be one of Pinecone's",
            fix=f"Use at most {MAX_ID_CHARACTERS} ASCII characters without NUL.",
            value=row_id,
        )
