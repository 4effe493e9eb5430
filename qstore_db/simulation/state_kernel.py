"""The kernel of single states: gates applied one after the other to 2^n amplitudes, real and imaginary parts apart.

A state is split in two real arrays so that the loops over neighbouring amplitudes become SIMD code. Bit p of an index
belongs to qubit n-1-p. Loops run over the pairs (or quadruples) of amplitudes that a gate joins.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from qstore_db.simulation.compiled import compiled, inlined
from qstore_db.simulation.simd import fma, fnma, lanes, load, multiply, splat, store, subtract
from qstore_db.simulation.string_kernel import read_strings

MATRIX: Final = 0
"""Code: the product of gates on one qubit; (bit, first factor, factors)."""
DIAGONAL: Final = 1
"""Code: the same where all factors are diagonal."""
CONTROLLED: Final = 2
"""Code: the same where another bit is 1; (bit, first factor, factors, control bit)."""
SWAP: Final = 3
"""Code: (bit, other bit)."""
FLIP: Final = 4
"""Code: CX; (target bit, control bit)."""
SIGN: Final = 5
"""Code: CZ; (bit, other bit)."""
PARITY: Final = 6
"""Code: RZZ; (bit, other bit, angle)."""
PHASE: Final = 7
"""Code: CP; (bit, other bit, angle)."""
PAIR: Final = 8
"""Code: RXX, or RYY where the last number is 1; (bit, other bit, angle, Y)."""
GATHER: Final = 9
"""Code: amplitude k becomes amplitude table[k]; (number of the table)."""

FIXED: Final = 0
"""Factor: a constant matrix; (number)."""
RX: Final = 1
RY: Final = 2
RZ: Final = 3
P: Final = 4
U: Final = 5
"""Factors with angles; (number of the first angle)."""


@compiled
def _matrix(factors: Any, first: int, count: int, fixed: Any, theta: Any, m: Any) -> None:
    """The product of factors, the first one acting first, into m: float64 (8,), rows of re, im."""
    m[:] = 0.0
    m[0] = m[6] = 1.0
    g = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    for place in range(first, first + count):
        kind, at = factors[place, 0], factors[place, 1]
        if kind == FIXED:
            f = fixed[at]
            g = (f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7])
        elif kind == P:
            g = (1.0, 0.0, 0.0, 0.0, 0.0, 0.0, math.cos(theta[at]), math.sin(theta[at]))
        else:
            c, s = math.cos(theta[at] / 2), math.sin(theta[at] / 2)
            if kind == RX:
                g = (c, 0.0, 0.0, -s, 0.0, -s, c, 0.0)
            elif kind == RY:
                g = (c, 0.0, -s, 0.0, s, 0.0, c, 0.0)
            elif kind == RZ:
                g = (c, -s, 0.0, 0.0, 0.0, 0.0, c, s)
            else:
                a, b = theta[at + 1], theta[at + 2]
                g = (
                    c, 0.0, -math.cos(b) * s, -math.sin(b) * s, math.cos(a) * s, math.sin(a) * s,
                    math.cos(a + b) * c, math.sin(a + b) * c,
                )  # fmt: skip
        for column in range(0, 4, 2):
            ar, ai, br, bi = m[column], m[column + 1], m[column + 4], m[column + 5]
            m[column] = g[0] * ar - g[1] * ai + g[2] * br - g[3] * bi
            m[column + 1] = g[0] * ai + g[1] * ar + g[2] * bi + g[3] * br
            m[column + 4] = g[4] * ar - g[5] * ai + g[6] * br - g[7] * bi
            m[column + 5] = g[4] * ai + g[5] * ar + g[6] * bi + g[7] * br


@inlined
def _turn_pair(re: Any, im: Any, a: Any, b: Any, m: Any) -> None:
    ar, ai, br, bi = re[a], im[a], re[b], im[b]
    re[a] = m[0] * ar - m[1] * ai + m[2] * br - m[3] * bi
    im[a] = m[0] * ai + m[1] * ar + m[2] * bi + m[3] * br
    re[b] = m[4] * ar - m[5] * ai + m[6] * br - m[7] * bi
    im[b] = m[4] * ai + m[5] * ar + m[6] * bi + m[7] * br


@inlined
def _combined(a: Any, b: Any, c: Any, d: Any, p: Any, q: Any, r: Any, t: Any) -> Any:
    """a·p - b·q + c·r - d·t of registers."""
    return fnma(d, t, fma(c, r, fnma(b, q, multiply(a, p))))


@inlined
def _combined_other(a: Any, b: Any, c: Any, d: Any, p: Any, q: Any, r: Any, t: Any) -> Any:
    """a·q + b·p + c·t + d·r of registers."""
    return fma(d, r, fma(c, t, fma(b, p, multiply(a, q))))


@inlined
def _turn_rows(re: Any, im: Any, a: int, b: int, m: Any) -> None:
    ar, ai, br, bi = load(re, a), load(im, a), load(re, b), load(im, b)
    store(re, a, _combined(m[0], m[1], m[2], m[3], ar, ai, br, bi))
    store(im, a, _combined_other(m[0], m[1], m[2], m[3], ar, ai, br, bi))
    store(re, b, _combined(m[4], m[5], m[6], m[7], ar, ai, br, bi))
    store(im, b, _combined_other(m[4], m[5], m[6], m[7], ar, ai, br, bi))


@inlined
def _registers(re: Any, m: Any) -> Any:
    return (
        splat(re, m[0]), splat(re, m[1]), splat(re, m[2]), splat(re, m[3]), splat(re, m[4]), splat(re, m[5]),
        splat(re, m[6]), splat(re, m[7]),
    )  # fmt: skip


@compiled
def _turn(re: Any, im: Any, bit: int, m: Any) -> None:
    """One matrix on one bit, eight numbers of the state's type; by registers where the bit is high enough."""
    width = lanes(re)
    if 1 << bit >= width:
        stride, wide = (1 << bit) // width, _registers(re, m)
        for start in range(0, re.size // width, 2 * stride):
            for k in range(start, start + stride):
                _turn_rows(re, im, k, k + stride, wide)
        return
    # Unsigned: Numba counts negative indices from the end, and tests each signed one for that.
    step, size = np.uint64(1 << bit), np.uint64(re.size)
    begin = np.uint64(0)
    while begin < size:
        for place in range(begin, begin + step):
            _turn_pair(re, im, place, place + step, m)
        begin += step + step


@inlined
def _times(re: Any, im: Any, k: Any, c: Any, s: Any) -> None:
    real = re[k]
    re[k] = c * real - s * im[k]
    im[k] = c * im[k] + s * real


@inlined
def _times_row(re: Any, im: Any, k: int, c: Any, s: Any) -> None:
    real, imaginary = load(re, k), load(im, k)
    store(re, k, fnma(s, imaginary, multiply(c, real)))
    store(im, k, fma(s, real, multiply(c, imaginary)))


@compiled
def _scale(re: Any, im: Any, bit: int, m: Any) -> None:
    """A diagonal matrix on one bit."""
    width = lanes(re)
    if 1 << bit >= width:
        stride = (1 << bit) // width
        first, second, third, fourth = splat(re, m[0]), splat(re, m[1]), splat(re, m[6]), splat(re, m[7])
        for start in range(0, re.size // width, 2 * stride):
            for k in range(start, start + stride):
                _times_row(re, im, k, first, second)
                _times_row(re, im, k + stride, third, fourth)
        return
    step, size = np.uint64(1 << bit), np.uint64(re.size)
    begin = np.uint64(0)
    while begin < size:
        for place in range(begin, begin + step):
            _times(re, im, place, m[0], m[1])
            _times(re, im, place + step, m[6], m[7])
        begin += step + step


@inlined
def _exchange(re: Any, im: Any, a: Any, b: Any) -> None:
    real, imaginary = re[a], im[a]
    re[a], im[a] = re[b], im[b]
    re[b], im[b] = real, imaginary


@inlined
def _exchange_rows(re: Any, im: Any, a: int, b: int) -> None:
    real, imaginary = load(re, a), load(im, a)
    store(re, a, load(re, b))
    store(im, a, load(im, b))
    store(re, b, real)
    store(im, b, imaginary)


@inlined
def _rotate_pair(re: Any, im: Any, a: Any, b: Any, c: Any, s: Any) -> None:
    """exp(-iθ/2 · ±flip): a and b become c·a - i·s·b and c·b - i·s·a."""
    ar, ai, br, bi = re[a], im[a], re[b], im[b]
    re[a], im[a] = c * ar + s * bi, c * ai - s * br
    re[b], im[b] = c * br + s * ai, c * bi - s * ar


@inlined
def _rotate_rows(re: Any, im: Any, a: int, b: int, c: Any, s: Any) -> None:
    ar, ai, br, bi = load(re, a), load(im, a), load(re, b), load(im, b)
    store(re, a, fma(s, bi, multiply(c, ar)))
    store(im, a, fnma(s, br, multiply(c, ai)))
    store(re, b, fma(s, ai, multiply(c, br)))
    store(im, b, fnma(s, ar, multiply(c, bi)))


@compiled
def _quadruple_rows(
    re: Any, im: Any, code: int, one: int, other: int, both_y: bool, m: Any, cosine: Any, sine: Any
) -> None:
    """As :func:`_quadruples` where a register lies within one value of both bits."""
    width = lanes(re)
    wide, c, s, less = _registers(re, m), splat(re, cosine), splat(re, sine), splat(re, -sine)
    none = splat(re, cosine - cosine)
    first, second = (1 << one) // width, (1 << other) // width
    low, high = min(first, second), max(first, second)
    for outer in range(0, re.size // width, 2 * high):
        for middle in range(outer, outer + high, 2 * low):
            for k in range(middle, middle + low):
                a, b, both = k | first, k | second, k | first | second
                if code == FLIP:
                    _exchange_rows(re, im, b, both)
                elif code == CONTROLLED:
                    _turn_rows(re, im, b, both, wide)
                elif code == SIGN:
                    store(re, both, subtract(none, load(re, both)))
                    store(im, both, subtract(none, load(im, both)))
                elif code == SWAP:
                    _exchange_rows(re, im, a, b)
                elif code == PHASE:
                    _times_row(re, im, both, c, s)
                elif code == PARITY:
                    _times_row(re, im, k, c, less)
                    _times_row(re, im, a, c, s)
                    _times_row(re, im, b, c, s)
                    _times_row(re, im, both, c, less)
                else:
                    _rotate_rows(re, im, k, both, c, less if both_y else s)
                    _rotate_rows(re, im, a, b, c, s)


@compiled
def _quadruples(
    re: Any, im: Any, code: int, one: int, other: int, both_y: bool, m: Any, cosine: Any, sine: Any
) -> None:
    """A gate on two bits; k has both bits 0, a the first, b the other, and both the two."""
    if 1 << min(one, other) >= lanes(re):
        _quadruple_rows(re, im, code, one, other, both_y, m, cosine, sine)
        return
    first, second = np.uint64(1 << one), np.uint64(1 << other)
    low, high, size = min(first, second), max(first, second), np.uint64(re.size)
    outer = np.uint64(0)
    while outer < size:
        middle = outer
        while middle < outer + high:
            for k in range(middle, middle + low):
                a, b, both = k | first, k | second, k | first | second
                if code == FLIP:
                    _exchange(re, im, b, both)
                elif code == CONTROLLED:
                    _turn_pair(re, im, b, both, m)
                elif code == SIGN:
                    re[both], im[both] = -re[both], -im[both]
                elif code == SWAP:
                    _exchange(re, im, a, b)
                elif code == PHASE:
                    _times(re, im, both, cosine, sine)
                elif code == PARITY:
                    _times(re, im, k, cosine, -sine)
                    _times(re, im, a, cosine, sine)
                    _times(re, im, b, cosine, sine)
                    _times(re, im, both, cosine, -sine)
                else:
                    _rotate_pair(re, im, k, both, cosine, -sine if both_y else sine)
                    _rotate_pair(re, im, a, b, cosine, sine)
            middle += low + low
        outer += high + high


@compiled
def _apply(steps: Any, factors: Any, fixed: Any, tables: Any, theta: Any, state: Any, spare: Any, m: Any) -> Any:
    """All steps on one state of shape (2, 2^n); returns the array that holds the result, ``state`` or ``spare``."""
    kind = state.dtype.type
    for place in range(len(steps)):
        step = steps[place]
        code = step[0]
        re, im = state[0], state[1]
        if code == GATHER:
            table = tables[step[1]]
            other_re, other_im = spare[0], spare[1]
            for k in range(re.size):
                other_re[k] = re[table[k]]
                other_im[k] = im[table[k]]
            state, spare = spare, state
            continue
        cosine, sine = kind(0), kind(0)
        if code <= CONTROLLED:
            _matrix(factors, step[2], step[3], fixed, theta, m)
        elif code == PHASE:
            cosine, sine = kind(math.cos(theta[step[3]])), kind(math.sin(theta[step[3]]))
        elif code in (PARITY, PAIR):
            cosine, sine = kind(math.cos(theta[step[3]] / 2)), kind(math.sin(theta[step[3]] / 2))
        narrow = (kind(m[0]), kind(m[1]), kind(m[2]), kind(m[3]), kind(m[4]), kind(m[5]), kind(m[6]), kind(m[7]))
        if code == MATRIX:
            _turn(re, im, step[1], narrow)
        elif code == DIAGONAL:
            _scale(re, im, step[1], narrow)
        else:
            other = step[4] if code == CONTROLLED else step[2]
            _quadruples(re, im, code, step[1], other, step[4] == 1, narrow, cosine, sine)
    return state


@compiled
def _apply_groups(
    steps: Any, groups: Any, inside: Any, bases: Any, factors: Any, fixed: Any, tables: Any, theta: Any, state: Any,
    piece: Any, m: Any,
) -> None:  # fmt: skip
    """The steps of every group on every piece of the state: fetched, turned in the cache, put back."""
    re, im, near_re, near_im = state[0], state[1], piece[0], piece[1]
    for group in range(len(groups)):
        chosen = steps[groups[group, 0] : groups[group, 1]]
        places = inside[group]
        for number in range(bases.shape[1]):
            base = bases[group, number]
            for k in range(places.size):
                near_re[k] = re[base + places[k]]
                near_im[k] = im[base + places[k]]
            _apply(chosen, factors, fixed, tables, theta, piece, piece, m)
            for k in range(places.size):
                re[base + places[k]] = near_re[k]
                im[base + places[k]] = near_im[k]


@compiled
def _final(
    steps: Any, groups: Any, inside: Any, bases: Any, factors: Any, fixed: Any, tables: Any, theta: Any, state: Any,
    spare: Any, m: Any,
) -> Any:  # fmt: skip
    """The array that holds the final state."""
    if len(groups) == 0:
        return _apply(steps, factors, fixed, tables, theta, state, spare, m)
    _apply_groups(steps, groups, inside, bases, factors, fixed, tables, theta, state, spare, m)
    return state


@compiled
def _begin(state: Any, start: Any, row: int) -> None:
    state[:] = 0
    if start.shape[0] == 0:
        state[0, 0] = 1
        return
    for k in range(start.shape[1]):
        state[0, k] = start[row, k, 0]
        if start.shape[2] == 2:
            state[1, k] = start[row, k, 1]


@compiled
def amplitudes(
    steps: Any, groups: Any, inside: Any, bases: Any, factors: Any, fixed: Any, tables: Any, angles: Any, start: Any,
    state: Any, spare: Any, out: Any,
) -> None:  # fmt: skip
    """The final states.

    Args:
        steps: int64 (steps, 5), codes and their numbers.
        groups: As in :class:`qstore_db.simulation.state_program.StateProgram`, with the two after it.
        inside: Likewise.
        bases: Likewise.
        factors: int64 (factors, 2).
        fixed: float64 (matrices, 8).
        tables: int32 (tables, 2^n).
        angles: float64 (samples, angles), radians.
        start: (samples, width, 1 or 2) in the type of the state, of norm 1; (0, 0, 0) for |0…0⟩.
        state: (2, 2^n), working memory.
        spare: The same again where there are tables; (2, 2^GROUP_BITS) where there are groups.
        out: (samples, 2^n, 2) in the type of the state.
    """
    m = np.empty(8)
    for row in range(len(angles)):
        _begin(state, start, row)
        found = _final(steps, groups, inside, bases, factors, fixed, tables, angles[row], state, spare, m)
        for k in range(found.shape[1]):
            out[row, k, 0] = found[0, k]
            out[row, k, 1] = found[1, k]


@compiled
def probabilities(
    steps: Any, groups: Any, inside: Any, bases: Any, factors: Any, fixed: Any, tables: Any, angles: Any, start: Any,
    state: Any, spare: Any, out: Any,
) -> None:  # fmt: skip
    """|ψ_k|² of the final states into float64 (samples, 2^n); other arguments as for :func:`amplitudes`."""
    m = np.empty(8)
    for row in range(len(angles)):
        _begin(state, start, row)
        found = _final(steps, groups, inside, bases, factors, fixed, tables, angles[row], state, spare, m)
        for k in range(found.shape[1]):
            real, imaginary = float(found[0, k]), float(found[1, k])
            out[row, k] = real * real + imaginary * imaginary


@compiled
def expectations(
    steps: Any, groups: Any, inside: Any, bases: Any, factors: Any, fixed: Any, tables: Any, angles: Any, start: Any,
    state: Any, spare: Any, strings: Any, signs: Any, chances: Any, out: Any,
) -> None:  # fmt: skip
    """Values of Pauli strings into float64 (samples, strings); other arguments as here and for ``read_strings``."""
    m = np.empty(8)
    for row in range(len(angles)):
        _begin(state, start, row)
        found = _final(steps, groups, inside, bases, factors, fixed, tables, angles[row], state, spare, m)
        read_strings(found, strings, signs, chances, out[row])
