"""Single values out of a column as Python objects: what the hits of a search need, ten rows of a million.

Arrow's own ``take`` and ``to_pylist`` take tens of microseconds for ten rows whatever the type. Numbers and text that
lie in one chunk are read from its buffers directly; everything else goes Arrow's way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from storage_engine.filters.arrow_values import flags, numbers, valid_flags

Reader = Callable[[NDArray[np.int64]], list[Any]]


def reader_of(column: pa.ChunkedArray) -> Reader:
    """A function from positions to values, ``None`` for nulls, the same as Arrow's ``to_pylist`` gives.

    The function keeps the column's buffers alive. Positions are within the column.
    """
    kind = column.type
    if column.num_chunks == 1:
        array = column.chunk(0)
        plain: Reader | None = None
        if pa.types.is_integer(kind) or pa.types.is_float32(kind) or pa.types.is_float64(kind):
            values = numbers(array)
            plain = lambda at: values[at].tolist()  # noqa: E731 - as short as what it says
        elif pa.types.is_boolean(kind):
            bits = flags(array)
            plain = lambda at: bits[at].tolist()  # noqa: E731
        elif pa.types.is_string(kind):
            plain = _text_reader(array)
        if plain is not None:
            return plain if not array.null_count else _with_nulls(plain, valid_flags(array))

    def read(at: NDArray[np.int64]) -> list[Any]:
        taken: list[Any] = column.take(pa.array(at)).to_pylist()
        return taken

    return read


def _text_reader(array: pa.StringArray) -> Reader:
    _, offset_buffer, text = array.buffers()
    offsets = np.frombuffer(offset_buffer, np.int32)[array.offset : array.offset + len(array) + 1]
    content = memoryview(text) if text is not None else memoryview(b"")

    def read(at: NDArray[np.int64]) -> list[Any]:
        starts, stops = offsets[at].tolist(), offsets[at + 1].tolist()
        return [str(content[start:stop], "utf-8") for start, stop in zip(starts, stops, strict=True)]

    return read


def _with_nulls(plain: Reader, valid: NDArray[np.bool_]) -> Reader:
    def read(at: NDArray[np.int64]) -> list[Any]:
        values = plain(at)
        for place in np.flatnonzero(~valid[at]).tolist():
            values[place] = None
        return values

    return read
