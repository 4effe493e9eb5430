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
from storage_engine.metadata.texts import Texts

Reader = Callable[[NDArray[np.int64]], list[Any]]


def reader_of(column: pa.ChunkedArray) -> Reader:
    """A function from positions to values, ``None`` for nulls, the same as Arrow's ``to_pylist`` gives.

    The function keeps the column's buffers alive. Positions are within the column.
    """
    if not _is_plain(column.type):

        def read(at: NDArray[np.int64]) -> list[Any]:
            taken: list[Any] = column.take(pa.array(at)).to_pylist()
            return taken

        return read
    chunks = [chunk for chunk in column.chunks if len(chunk)]
    if len(chunks) == 1:
        return _plain_reader(chunks[0])
    return _chunked_reader(chunks)


def _is_plain(kind: pa.DataType) -> bool:
    tests = pa.types
    return bool(
        tests.is_integer(kind)
        or tests.is_float32(kind)
        or tests.is_float64(kind)
        or tests.is_boolean(kind)
        or tests.is_string(kind)
    )


def _plain_reader(array: pa.Array) -> Reader:
    if pa.types.is_string(array.type):
        plain = _text_reader(array)
    else:
        values = flags(array) if pa.types.is_boolean(array.type) else numbers(array)
        plain = lambda at: values[at].tolist()  # noqa: E731 - as short as what it says
    return plain if not array.null_count else _with_nulls(plain, valid_flags(array))


def _chunked_reader(chunks: list[pa.Array]) -> Reader:
    """The same over several chunks, each prepared when it is first read from."""
    starts = np.cumsum([0, *map(len, chunks[:-1])])
    readers: list[Reader | None] = [None] * len(chunks)

    def read(at: NDArray[np.int64]) -> list[Any]:
        owners = np.searchsorted(starts, at, side="right") - 1
        local = at - starts[owners]
        by_chunk: dict[int, list[int]] = {}
        for place, owner in enumerate(owners.tolist()):
            by_chunk.setdefault(owner, []).append(place)
        values: list[Any] = [None] * len(at)
        for owner, places in by_chunk.items():
            reader = readers[owner]
            if reader is None:
                reader = readers[owner] = _plain_reader(chunks[owner])
            for place, value in zip(places, reader(local[places]), strict=True):
                values[place] = value
        return values

    return read


def _text_reader(array: pa.StringArray) -> Reader:
    _, offset_buffer, text = array.buffers()
    offsets = np.frombuffer(offset_buffer, np.int32)[array.offset : array.offset + len(array) + 1]
    return Texts(offsets, memoryview(text) if text is not None else memoryview(b"")).at


def _with_nulls(plain: Reader, valid: NDArray[np.bool_]) -> Reader:
    def read(at: NDArray[np.int64]) -> list[Any]:
        values = plain(at)
        for place in np.flatnonzero(~valid[at]).tolist():
            values[place] = None
        return values

    return read
