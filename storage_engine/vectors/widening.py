"""Rows of float16 or int8 numbers for kernels that compute in float32: one row at a time, exactly, beside the query."""

from __future__ import annotations

import numpy as np

from storage_engine.schema import VectorType
from storage_engine.vectors.simd import (
    compiled,
    float_of,
    load_u8,
    load_u16,
    store_f32,
    widen_bytes,
    widen_halves,
)

HALVES, BYTES = 4, 8
ELEMENTS = {VectorType.FLOAT32: 0, VectorType.FLOAT16: HALVES, VectorType.INT8: BYTES}
"""Type of a row's numbers as the kernels know it; a bit beside those of a metric."""

_UP = np.float32(2.0**112)


@compiled
def widened(row, narrow, dimension, element):  # type: ignore[no-untyped-def]
    """The address of the row at an address as float32 numbers: where they stand, or in the room beside the query.

    Args: ``narrow`` is the address of :class:`storage_engine.vectors.kernels.QueryBlock`'s; the room is overwritten by
    the next row.
    """
    if element == 0:
        return row
    room = narrow + (((dimension + 15) >> 4) * 16 + 32) * 4
    if dimension < 16:
        for j in range(dimension):
            if element == HALVES:
                bits = np.int32(load_u16(row + 2 * j))
                number = float_of(np.int32((bits & 0x7FFF) << 13)) * _UP
                store_f32(room + 4 * j, -number if bits & 0x8000 else number)
            else:
                byte = np.int32(load_u8(row + j))
                store_f32(room + 4 * j, np.float32(byte - 256 if byte > 127 else byte))
        return room
    last = dimension - 16  # the last block may overlap the one before
    j = 0
    while j <= last:
        if element == HALVES:
            widen_halves(row + 2 * j, room + 4 * j)
        else:
            widen_bytes(row + j, room + 4 * j)
        j += 16
        if last < j < dimension:
            j = last
    return room
