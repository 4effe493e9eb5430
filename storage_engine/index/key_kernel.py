"""Candidates of a walk as packed keys, compiled: value << 32 | row << 1 | expanded, in ascending arrays and in heaps.

Their order as int64 is that of (value, row).
"""

from __future__ import annotations

import numpy as np

from storage_engine.vectors.simd import bits_of, compiled, insert_key_in_block, load_i64, store_i64


@compiled
def key_of(value, row):  # type: ignore[no-untyped-def]
    """The packed key: its order as int64 is that of (value, row)."""
    bits = bits_of(value)
    if bits < 0:
        bits ^= np.int32(0x7FFFFFFF)
    return (np.int64(bits) << 32) | (np.int64(row) << 1)


@compiled
def insert(keys, blocks, key):  # type: ignore[no-untyped-def]
    """Insert a key into the ascending 8·blocks keys at an address; the largest falls off."""
    for block in range(blocks - 1, -1, -1):
        insert_key_in_block(keys + 64 * block, key)


@compiled
def push(heap, size, key):  # type: ignore[no-untyped-def]
    """Add a key to the binary min-heap of ``size`` keys at an address."""
    place = size
    while place > 0:
        parent = (place - 1) >> 1
        above = load_i64(heap + 8 * parent)
        if above <= key:
            break
        store_i64(heap + 8 * place, above)
        place = parent
    store_i64(heap + 8 * place, key)


@compiled
def pop(heap, size):  # type: ignore[no-untyped-def]
    """Remove the least key of the heap and return it."""
    least = load_i64(heap)
    last = load_i64(heap + 8 * (size - 1))
    size -= 1
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        key = load_i64(heap + 8 * child)
        if child + 1 < size and load_i64(heap + 8 * (child + 1)) < key:
            child += 1
            key = load_i64(heap + 8 * child)
        if key >= last:
            break
        store_i64(heap + 8 * place, key)
        place = child
    store_i64(heap + 8 * place, last)
    return least
