"""Compiled distances between rows of the same collection, through codes or through float32 numbers.

Building a graph compares a row with many others (:func:`asked_value`: the row that asks is rounded to 16 bits once, as
the query of a walk is) and candidates with each other (:func:`pair_value`: both through their codes, so that nothing
has to be prepared).
"""

from __future__ import annotations

import numpy as np

from storage_engine.index.code_kernel import code_value
from storage_engine.vectors.code_simd import (
    add_code_squares,
    add_masked_code_squares,
    add_stepped_products,
    add_stepped_squares,
)
from storage_engine.vectors.simd import (
    add_product,
    add_square,
    compiled,
    load_f32,
    prefetch,
    sum_f16,
    sum_i16,
    zero_f16,
    zero_i16,
)

BY_DISTANCE, BY_PRODUCT, BY_CODES = range(3)  # how a search compares the row that asks with others
EQUAL_STEPS, STEPS, CODED_PRODUCTS, DISTANCES, PRODUCTS = range(5)  # how two rows are compared


@compiled
def squared(x, y, dimension):  # type: ignore[no-untyped-def]
    """``Σ (x - y)²`` of the float32 rows at two addresses; exactly 0 for equal rows."""
    a = zero_f16()
    b = zero_f16()
    whole = dimension >> 4
    k = 0
    while k + 1 < whole:
        a = add_square(a, x + 64 * k, y + 64 * k)
        b = add_square(b, x + 64 * k + 64, y + 64 * k + 64)
        k += 2
    if k < whole:
        a = add_square(a, x + 64 * k, y + 64 * k)
    total = sum_f16(a, b)
    for j in range(whole << 4, dimension):
        step = load_f32(x + 4 * j) - load_f32(y + 4 * j)
        total += step * step
    return total


@compiled
def product(x, y, dimension):  # type: ignore[no-untyped-def]
    """``Σ x y`` of the float32 rows at two addresses."""
    a = zero_f16()
    b = zero_f16()
    whole = dimension >> 4
    k = 0
    while k + 1 < whole:
        a = add_product(a, x + 64 * k, y + 64 * k)
        b = add_product(b, x + 64 * k + 64, y + 64 * k + 64)
        k += 2
    if k < whole:
        a = add_product(a, x + 64 * k, y + 64 * k)
    total = sum_f16(a, b)
    for j in range(whole << 4, dimension):
        total += load_f32(x + 4 * j) * load_f32(y + 4 * j)
    return total


@compiled
def squared_codes(x, y, dimension, tail):  # type: ignore[no-untyped-def]
    """``Σ (c - c')²`` of the codes at two addresses, exact but for the rounding to float32.

    Args: ``tail`` is the address of 32 bytes, 255 for each code beyond the last whole 32, else 0.
    """
    a = zero_i16()
    b = zero_i16()
    whole = dimension >> 5
    k = 0
    while k + 1 < whole:
        a = add_code_squares(a, x + 32 * k, y + 32 * k)
        b = add_code_squares(b, x + 32 * k + 32, y + 32 * k + 32)
        k += 2
    if k < whole:
        a = add_code_squares(a, x + 32 * k, y + 32 * k)
    if dimension & 31:
        b = add_masked_code_squares(b, x + 32 * whole, y + 32 * whole, tail)
    return np.float32(sum_i16(a, b))


@compiled
def stepped_squares(x, y, dimension, step):  # type: ignore[no-untyped-def]
    """``Σ (step (c - c'))²`` of the codes at two addresses; steps are padded with zeros to whole 16."""
    a = zero_f16()
    b = zero_f16()
    for k in range((dimension + 15) >> 4):
        a = add_stepped_squares(a, x + 16 * k, y + 16 * k, step + 64 * k)
    return sum_f16(a, b)


@compiled
def stepped_products(x, y, dimension, step, low):  # type: ignore[no-untyped-def]
    """``Σ (low + step c)(low + step c')`` of the codes at two addresses; steps and lows are padded with zeros."""
    a = zero_f16()
    b = zero_f16()
    for k in range((dimension + 15) >> 4):
        a = add_stepped_products(a, x + 16 * k, y + 16 * k, step + 64 * k, low + 64 * k)
    return sum_f16(a, b)


@compiled
def pair_value(x, y, dimension, paired, tail, step, low):  # type: ignore[no-untyped-def]
    """How far two rows are from each other, for comparing with other such values only; symmetric; float32."""
    if paired == EQUAL_STEPS:
        return squared_codes(x, y, dimension, tail)
    if paired == STEPS:
        return stepped_squares(x, y, dimension, step)
    if paired == CODED_PRODUCTS:
        return -stepped_products(x, y, dimension, step, low)
    if paired == DISTANCES:
        return squared(x, y, dimension)
    return -product(x, y, dimension)


@compiled
def asked_value(at, stride, terms, query, dimension, asked):  # type: ignore[no-untyped-def]
    """What a search orders by: the row at an address for the row that asks; float32."""
    if asked == BY_CODES:
        return code_value(at, stride, terms, query)
    if asked == BY_DISTANCE:
        return squared(at, query, dimension)
    return -product(at, query, dimension)


@compiled
def fetch(at, size):  # type: ignore[no-untyped-def]
    """Ask for all cache lines of the row at an address."""
    for line in range(at, at + size, 64):
        prefetch(line)
