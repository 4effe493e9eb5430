"""Arrow arrays as NumPy arrays without copies, and without the detour through pandas that Arrow's own way may take."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_DTYPES: dict[pa.DataType, type[np.generic]] = {
    pa.int8(): np.int8,
    pa.int16(): np.int16,
    pa.int32(): np.int32,
    pa.int64(): np.int64,
    pa.uint8(): np.uint8,
    pa.uint16(): np.uint16,
    pa.uint32(): np.uint32,
    pa.uint64(): np.uint64,
    pa.float16(): np.float16,
    pa.float32(): np.float32,
    pa.float64(): np.float64,
}


def valid_flags(array: pa.Array) -> NDArray[np.bool_]:
    """True where the array holds a value; bool of shape (n,)."""
    bitmap = None if array.null_count == 0 else array.buffers()[0]
    if bitmap is None:
        return np.full(len(array), array.null_count == 0 and not pa.types.is_null(array.type))
    return _bits(bitmap, array.offset, len(array))


def flags(array: pa.BooleanArray) -> NDArray[np.bool_]:
    """The values of a boolean array; what stands at nulls is arbitrary."""
    return _bits(array.buffers()[1], array.offset, len(array))


def numbers(array: pa.Array) -> NDArray[Any]:
    """The values of an array of integers, floats, dates, times, timestamps or durations, as stored.

    Temporal values are integers in their own unit (days for date32, milliseconds for date64). What stands at nulls is
    arbitrary.
    """
    dtype = _DTYPES.get(array.type)
    if dtype is None:
        dtype = np.int32 if array.type.bit_width == 32 else np.int64
    if len(array) == 0:
        return np.empty(0, dtype)
    return np.frombuffer(array.buffers()[1], dtype, count=array.offset + len(array))[array.offset :]


def _bits(buffer: pa.Buffer | None, offset: int, length: int) -> NDArray[np.bool_]:
    if buffer is None or length == 0:
        return np.zeros(length, np.bool_)
    first, skipped = divmod(offset, 8)
    packed = np.frombuffer(buffer, np.uint8, count=-(-(offset + length) // 8) - first, offset=first)
    return np.unpackbits(packed, count=skipped + length, bitorder="little")[skipped:].view(np.bool_)
