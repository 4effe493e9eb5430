"""Compiled: the texts of some rows, joined, so that Python makes strings of them in one go."""

from __future__ import annotations

from storage_engine.vectors.simd import compiled, load_i32, load_i64, load_u8, prefetch


@compiled
def join_texts(offsets, wide, text, count, rows, out):  # type: ignore[no-untyped-def]
    """Write the texts of rows to ``out``, a zero byte between them.

    Args: ``offsets`` is the address of ``count + 1`` ascending numbers, of 64 bits if ``wide`` and of 32 otherwise,
    into the bytes at ``text``; ``rows`` int64 (m,) and ``out`` uint8 are arrays.

    Returns how many bytes were written; minus how many there are, where ``out`` is too small; 0 where a text holds a
    zero byte or a row is not below ``count``.
    """
    total = rows.shape[0] - 1
    for row in rows:
        if row < 0 or row >= count:
            return 0
        if wide:
            prefetch(text + load_i64(offsets + 8 * row))
            total += load_i64(offsets + 8 * (row + 1)) - load_i64(offsets + 8 * row)
        else:
            prefetch(text + load_i32(offsets + 4 * row))
            total += load_i32(offsets + 4 * (row + 1)) - load_i32(offsets + 4 * row)
    if total > out.shape[0]:
        return -total
    place = 0
    for i in range(rows.shape[0]):
        row = rows[i]
        if i:
            out[place] = 0
            place += 1
        start = load_i64(offsets + 8 * row) if wide else load_i32(offsets + 4 * row)
        stop = load_i64(offsets + 8 * (row + 1)) if wide else load_i32(offsets + 4 * (row + 1))
        for at in range(start, stop):
            byte = load_u8(text + at)
            if not byte:
                return 0
            out[place] = byte
            place += 1
    return place
