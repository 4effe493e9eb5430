"""The types in which a collection may keep its numbers: what is stored of a number, and how it is read back.

A number is rounded to the collection's type when it is written, or refused; from then on the rounded number is the
vector. It is read back as float32, which holds every float16 and int8 exactly, and scores are computed from it in the
same way as from float32 numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from storage_engine.errors import InvalidVectorError
from storage_engine.schema import VectorType

StoredVectors: TypeAlias = NDArray[Any]
"""Rows of vectors in the type of their collection: float32, float16 or int8."""

CODE = {VectorType.FLOAT32: 0, VectorType.FLOAT16: 1, VectorType.INT8: 2}
"""The type's number in files."""

_NUMPY: dict[VectorType, np.dtype[np.generic]] = {
    VectorType.FLOAT32: np.dtype("<f4"),
    VectorType.FLOAT16: np.dtype("<f2"),
    VectorType.INT8: np.dtype("i1"),
}
_KINDS = {dtype: kind for kind, dtype in _NUMPY.items()}
_BLOCK_NUMBERS = 1 << 20
_LARGEST_HALF = 65_504


def numpy_type(kind: VectorType) -> np.dtype[np.generic]:
    """The NumPy type of numbers in files, little-endian."""
    return _NUMPY[kind]


def number_bytes(kind: VectorType) -> int:
    """Bytes a number: 4, 2 or 1."""
    return _NUMPY[kind].itemsize


def type_of(vectors: StoredVectors) -> VectorType:
    """The type of rows.

    Raises:
        ValueError: It is none of ours.
    """
    kind = _KINDS.get(vectors.dtype)
    if kind is None:
        raise ValueError(f"no collection holds vectors of type {vectors.dtype}")
    return kind


def is_stored_type(vectors: NDArray[np.generic]) -> bool:
    """Whether a collection may keep rows of this type."""
    return vectors.dtype in _KINDS


def type_of_code(code: int) -> VectorType:
    """Inverse of :data:`CODE`.

    Raises:
        ValueError: No type has this number.
    """
    for kind, known in CODE.items():
        if known == code:
            return kind
    raise ValueError(f"no vector type has number {code}")


def as_float32(vectors: StoredVectors) -> NDArray[np.float32]:
    """The same numbers as float32; no copy where they are."""
    return vectors.astype(np.float32, copy=False)


def rounded(vectors: NDArray[np.float32], kind: VectorType, ids: Sequence[str]) -> StoredVectors:
    """What a collection of this type stores of finite float32 rows.

    float16: each number rounded to the nearest float16, ties to even (IEEE 754). int8: whole numbers from -128 to 127
    as they are.

    Args:
        vectors: float32 of shape (n, d), finite.
        kind: The collection's.
        ids: One for each row, for messages.

    Raises:
        InvalidVectorError: A number that the type has no place for; names the id, the number and its position.
    """
    if kind is VectorType.FLOAT32:
        return vectors
    if kind is VectorType.FLOAT16:
        with np.errstate(over="ignore", under="ignore"):
            halves = vectors.astype(np.float16)
        bad = ~np.isfinite(halves)
        if bad.any():
            fix = f"Scale the vectors below {_LARGEST_HALF}, or use a collection of dtype float32."
            raise _refused(vectors, bad, ids, "beyond float16", fix)
        return halves
    bytes_ = np.empty(vectors.shape, np.int8)
    step = max(1, _BLOCK_NUMBERS // max(1, vectors.shape[1]))
    for start in range(0, len(vectors), step):
        part = vectors[start : start + step]
        bad = ~((part >= -128) & (part <= 127) & (np.floor(part) == part))
        if bad.any():
            fix = "Quantize the vectors to whole numbers from -128 to 127, or use a collection of dtype float16."
            raise _refused(part, bad, ids[start:], "no whole number from -128 to 127", fix)
        bytes_[start : start + step] = part
    return bytes_


def _refused(
    vectors: NDArray[np.float32], bad: NDArray[np.bool_], ids: Sequence[str], why: str, fix: str
) -> InvalidVectorError:
    row, column = np.argwhere(bad)[0].tolist()
    value = float(vectors[row, column])
    return InvalidVectorError(
        f"the vector of id {ids[row]!r} holds {value:.9g} at position {column}, {why}", fix=fix, value=value
    )
