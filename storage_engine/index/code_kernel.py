"""Compiled arithmetic of codes: a row's value for a query, and how far that value can be from the truth.

With ``x̂_j = low_j + step_j c_j`` what the codes of a row stand for, both metrics are one dot product of bytes and a
query of integers ``w_j``, so chosen that ``unit·w_j`` is nearly ``step_j (q_j - low_j)`` or ``step_j q_j``:

    |x̂ - q|² = |q - low|² + Σ (step_j c_j)² - 2 Σ c_j step_j (q_j - low_j)        ⟨x̂, q⟩ = ⟨low, q⟩ + Σ c_j step_j q_j

What rounding the query leaves, ``δ_j = step_j (q_j - low_j) - unit·w_j``, adds ``Σ c_j δ_j``: with codes of 0 … 255
that lies within ``127.5 Σ |δ_j|`` of ``127.5 Σ δ_j``, whatever the row.
"""

from __future__ import annotations

import numpy as np

from storage_engine.vectors.simd import (
    add_code_products,
    compiled,
    load_f32,
    load_i16,
    store_f32,
    store_f64,
    store_i16,
    sum_i16,
    zero_i16,
)

FULL = np.float32(255.0)
MOST = np.float32(32_767)
LARGEST_SUM = (2**31 - 1) / 255  # of the magnitudes of a query's integers, so that no dot product leaves 32 bits
CONSTANT, ERROR, RELATIVE, LENGTH, BLUR, BOUNDS = range(6)
_UNIT32 = 2.0**-23  # twice the unit roundoff of float32: of the one float32 term of a row
_TINY = 2.0**-120  # far above what float32 terms below its normal numbers can lose
_SUMS = 1e-12  # bounds the relative error of a float64 sum of 4,096 terms and of the few operations around it
_SCORES = 2.0**-22  # how far a cosine is moved where it is within rounding of ±1


@compiled
def encode_rows(vectors, norms, low, step, euclidean, terms, codes):  # type: ignore[no-untyped-def]
    """Write codes and terms of float32 rows, divided by their norms unless there are none, to ``codes``.

    The term of a row is kept as :class:`storage_engine.index.codes.Codes` says; its distance from what its codes stand
    for is computed in float64 from the exact quotient and rounded up.
    """
    n, dimension = vectors.shape
    scale = np.float32(1.0) / step
    out = codes.ctypes.data
    for row in range(n):
        norm = norms[row] if norms.shape[0] else np.float32(1.0)
        wide = np.float64(norm)
        total = 0.0
        missed = 0.0
        for j in range(dimension):
            number = vectors[row, j] / norm
            code = min(max(np.floor((number - low[j]) * scale[j] + np.float32(0.5)), np.float32(0.0)), FULL)
            codes[row, j] = np.uint8(code)
            part = np.float64(code) * np.float64(step[j])
            total += part * part
            left = np.float64(vectors[row, j]) / wide - (np.float64(low[j]) + part)
            missed += left * left
        at = out + row * codes.shape[1] + terms
        store_f32(at, np.float32(total) if euclidean else np.float32(0.0))
        length = np.sqrt(missed) * (1.0 + _SUMS)
        lost = np.float32(length)
        if np.float64(lost) < length:  # one up in float32; from zero that is its smallest number
            lost = max(lost * np.float32(1.0 + 2.0**-23), lost + np.float32(1e-45))
        store_f32(at + 4, lost)


@compiled
def code_product(row, stride, query):  # type: ignore[no-untyped-def]
    """``Σ c_j w_j`` of the row of codes and the rounded query at two addresses; int32, exact."""
    a = zero_i16()
    b = zero_i16()
    c = row
    q = query
    end = row + stride
    while c + 64 < end:
        a = add_code_products(a, c, q)
        b = add_code_products(b, c + 64, q + 128)
        c += 128
        q += 256
    if c < end:
        a = add_code_products(a, c, q)
    return sum_i16(a, b)


@compiled
def code_value(row, stride, terms, query):  # type: ignore[no-untyped-def]
    """What the walk over codes orders by, less a constant of the query, of the codes at an address; float32.

    Args: ``terms`` is the offset of the row's own terms, ``query`` the address of the rounded query, before which
    stands the float32 that its integers are multiplied by.
    """
    return load_f32(row + terms) + load_f32(query - 4) * np.float32(code_product(row, stride, query))


@compiled
def round_query(query, low, step, dimension, euclidean, out):  # type: ignore[no-untyped-def]
    """Write the query as int16 for codes to ``out``, and before it what they are to be multiplied by.

    The integers are as large as they may be without a sum of products leaving 32 bits. The places of a row's terms and
    padding stay zero.
    """
    largest = np.float32(0.0)
    total = np.float32(0.0)
    for j in range(dimension):
        number = load_f32(query + 4 * j)
        weight = abs(load_f32(step + 4 * j) * (number - load_f32(low + 4 * j) if euclidean else number))
        largest = max(largest, weight)
        total += weight
    # rounding adds at most 1/2 to each integer, and the float32 sum may be off by its last few digits
    unit = max(largest / MOST, total * np.float32(1.001 / (LARGEST_SUM - 4_096)), np.float32(1e-30))
    scale = np.float32(1.0) / unit
    for j in range(dimension):
        number = load_f32(query + 4 * j)
        weight = load_f32(step + 4 * j) * (number - load_f32(low + 4 * j) if euclidean else number)
        nearest = np.floor(weight * scale + np.float32(0.5))
        store_i16(out + 2 * j, np.int16(min(max(nearest, -MOST), MOST)))
    store_f32(out - 4, -unit - unit if euclidean else -unit)


@compiled
def code_bounds(query, low, step, dimension, euclidean, cosine, rounded, out):  # type: ignore[no-untyped-def]
    """Write to ``out`` what makes rigorous intervals of a code product; false where numbers are too large for that.

    With I the code product, T the row's float32 term, f the factor before the rounded query and r the row's distance
    from its codes, all in float64: ``v = CONSTANT + T + f·I`` is the squared distance of the codes, or minus the inner
    product, to within ``ERROR + RELATIVE·T``; and the row itself is farther or nearer than its codes by at most
    ``r·LENGTH + BLUR`` (of the distance, or of the inner product). Room for the rounding of everything that follows,
    final scores of up to 4,096 float64 terms included, is part of the numbers.
    """
    constant = 0.0
    magnitude = 0.0
    sum_delta = 0.0
    sum_size = 0.0
    sum_weight = 0.0
    reach = 0.0
    length = 0.0
    factor = np.float64(load_f32(rounded - 4))
    unit = -0.5 * factor if euclidean else -factor
    for j in range(dimension):
        q = np.float64(load_f32(query + 4 * j))
        bottom = np.float64(load_f32(low + 4 * j))
        width = np.float64(load_f32(step + 4 * j))
        asked = q - bottom if euclidean else q
        term = asked * asked if euclidean else q * bottom
        constant += term
        magnitude += abs(term)
        weight = width * asked
        delta = weight - unit * np.float64(load_i16(rounded + 2 * j))
        sum_delta += delta
        sum_size += abs(delta)
        sum_weight += abs(weight)
        end = max(abs(bottom), abs(bottom + 255.0 * width))
        reach += end * end
        length += q * q
    middle = 127.5 * sum_delta
    half = 127.5 * sum_size + 255.0 * _SUMS * sum_weight
    reach = np.sqrt(reach)
    length = np.sqrt(length)
    if euclidean:
        store_f64(out + 8 * CONSTANT, constant - 2.0 * middle)
        store_f64(out + 8 * ERROR, 2.0 * half + _SUMS * (magnitude + 2.0**32 * unit) + _TINY)
        store_f64(out + 8 * RELATIVE, _UNIT32)
        store_f64(out + 8 * LENGTH, 1.0 + _SUMS)
        store_f64(out + 8 * BLUR, _SUMS * reach + _TINY)
    else:
        loss = _SUMS + (_SCORES if cosine else 0.0)
        store_f64(out + 8 * CONSTANT, -(constant + middle))
        store_f64(out + 8 * ERROR, half + _SUMS * (magnitude + 2.0**32 * unit) + _TINY)
        store_f64(out + 8 * RELATIVE, 0.0)
        store_f64(out + 8 * LENGTH, length * (1.0 + _SUMS))
        store_f64(out + 8 * BLUR, _SUMS * reach * length + loss * length + _TINY)
    return np.isfinite(constant + half + reach * length) and np.isfinite(factor)


@compiled
def all_values(query, low, step, euclidean, terms, codes, rounded, out):  # type: ignore[no-untyped-def]
    """Write what the walk orders by, of every row of codes, to ``out``: float32 of shape (n,)."""
    asked = rounded.ctypes.data + 64
    round_query(query.ctypes.data, low.ctypes.data, step.ctypes.data, query.shape[0], euclidean, asked)
    base = codes.ctypes.data
    for row in range(codes.shape[0]):
        out[row] = code_value(base + row * codes.shape[1], codes.shape[1], terms, asked)
