"""Sweeps over all amplitudes of one block of samples, compiled for float32 and float64.

A state is 2·2^n rows of one register each: row 2k is the real part of amplitude k in every lane, row 2k + 1 the
imaginary part. All arguments that hold numbers are pointers; ``one`` points to a row of ``Program.passes``.
"""

from __future__ import annotations

from typing import Any

from qstore_db.simulation import passes
from qstore_db.simulation.compiled import inlined, part
from qstore_db.simulation.packing import DIAGONAL_STRINGS, MASK_COLUMNS, PASS_COLUMNS, REAL
from qstore_db.simulation.simd import add, fma, fnma, lanes, load, multiply, parity, shifted, splat, store, subtract


@part
def walsh_hadamard(rows: Any, n: int) -> None:
    """In place: row k becomes Σ_j (-1)^popcount(j & k) · row j; two qubits a sweep."""
    count = 1 << n
    qubit = 0
    while qubit + 1 < n:
        half = 1 << qubit
        for start in range(0, count, 4 * half):
            for k in range(start, start + half):
                a, b, c, d = load(rows, k), load(rows, k + half), load(rows, k + 2 * half), load(rows, k + 3 * half)
                s, t, u, v = add(a, b), subtract(a, b), add(c, d), subtract(c, d)
                store(rows, k, add(s, u))
                store(rows, k + half, add(t, v))
                store(rows, k + 2 * half, subtract(s, u))
                store(rows, k + 3 * half, subtract(t, v))
        qubit += 2
    if qubit < n:
        half = 1 << qubit
        for k in range(half):
            a, b = load(rows, k), load(rows, k + half)
            store(rows, k, add(a, b))
            store(rows, k + half, subtract(a, b))


@part
def scale(state: Any, row: int, count: int, factors: Any, factor_row: int) -> None:
    """Multiplies ``count`` rows by one register of factors."""
    factor = load(factors, factor_row)
    for p in range(count):
        store(state, row + p, multiply(factor, load(state, row + p)))


@part
def fill(state: Any, row: int, count: int) -> None:
    """Sets ``count`` rows to zero."""
    zero = splat(state, 0.0)
    for p in range(count):
        store(state, row + p, zero)


@inlined
def rotate(state: Any, source: int, target: int, one: Any, masks: Any, words: Any, tangents: Any, flip: int) -> None:
    """The rotations of one pass of real or imaginary strings; ``flip`` = 1 applies the adjoint."""
    passes.rotate(
        state, source, state, target, tangents, one[2], flip, masks, words, one[3], one[4], one[5], one[6], one[1],
        one[0] != REAL
    )  # fmt: skip


@inlined
def moment(bra: Any, ket: Any, ket_row: int, one: Any, masks: Any, words: Any, out: Any) -> None:
    """Im⟨λ|P|ψ⟩ of the strings of one pass."""
    passes.moment(
        bra, 0, ket, ket_row, out, one[2], 0, masks, words, one[3], one[4], one[5], one[6], one[1], one[0] != REAL
    )  # fmt: skip


@inlined
def overlap(state: Any, row: int, one: Any, masks: Any, words: Any, out: Any) -> None:
    """⟨ψ|P|ψ⟩/2 of the strings of one pass."""
    passes.overlap(
        state, row, state, row, out, one[2], 0, masks, words, one[3], one[4], one[5], one[6], one[1], one[0] != REAL
    )  # fmt: skip


@inlined
def accumulate(state: Any, row: int, bra: Any, one: Any, masks: Any, words: Any, factors: Any) -> None:
    """λ ← λ + Σ c P ψ over the strings of one pass."""
    passes.accumulate(
        state, row, bra, 0, factors, one[2], 0, masks, words, one[3], one[4], one[5], one[6], one[1], one[0] != REAL
    )  # fmt: skip


@part
def products(tangents: Any, first: int, strings: int, out: Any) -> None:
    """Π_g (1 - i s_g t_g) of up to four diagonal strings for every sign pattern c: rows 2c and 2c + 1."""
    store(out, 0, splat(out, 1.0))
    store(out, 1, splat(out, 0.0))
    for g in range(strings):
        half = 1 << g
        t = load(tangents, 2 * (first + g))
        for c in range(half):
            r, i = load(out, 2 * c), load(out, 2 * c + 1)
            store(out, 2 * c, fma(t, i, r))
            store(out, 2 * c + 1, fnma(t, r, i))
            store(out, 2 * (c + half), fnma(t, i, r))
            store(out, 2 * (c + half) + 1, fma(t, r, i))


@part
def diagonal(state: Any, source: int, target: int, one: Any, words: Any, tangents: Any, flip: int, table: Any) -> None:
    """All diagonal strings of a pass, eight a sweep in two groups of four; ``flip`` = 1 applies the adjoint."""
    second = shifted(table, 32 * lanes(state))
    low, high = one[3], one[5]
    for start in range(0, one[1], DIAGONAL_STRINGS):
        here = min(4, one[1] - start)
        more = min(4, one[1] - start - here)
        products(tangents, one[2] + start, here, table)
        turn, turn_more = 2 * ((1 << here) - 1) * flip, 0
        if more > 0:
            products(tangents, one[2] + start + 4, more, second)
            turn_more = 2 * ((1 << more) - 1) * flip
        row = 0
        for h in range(one[6]):
            upper = words[high + h]
            for k in range(one[4]):
                word = words[low + k] ^ upper
                c = turn ^ (word & 31)
                r, i = load(state, source + row), load(state, source + row + 1)
                x, y = load(table, c), load(table, c + 1)
                u, v = fnma(i, y, multiply(r, x)), fma(r, y, multiply(i, x))
                if more > 0:
                    c = turn_more ^ (word >> 5)
                    x, y = load(second, c), load(second, c + 1)
                    u, v = fnma(v, y, multiply(u, x)), fma(u, y, multiply(v, x))
                store(state, target + row, u)
                store(state, target + row + 1, v)
                row += 2
        low += one[4]
        high += one[6]
        source = target


@part
def uniform_diagonal(state: Any, source: int, target: int, n: int, table: Any, place: int, sign: Any) -> None:
    """A diagonal that is the same in every lane: one complex number an amplitude, its conjugate for ``sign`` = -1."""
    for p in range(1 << n):
        r, i = load(state, source + 2 * p), load(state, source + 2 * p + 1)
        x, y = splat(state, table[2 * (place + p)]), splat(state, sign * table[2 * (place + p) + 1])
        store(state, target + 2 * p, fnma(i, y, multiply(r, x)))
        store(state, target + 2 * p + 1, fma(r, y, multiply(i, x)))


@part
def uniform_tables(rows: Any, count: int, words: Any, tangents: Any, work: Any, table: Any) -> None:
    """Fills the tables of the uniform diagonals among ``count`` passes from the tangents of lane 0."""
    width = lanes(work)
    second = shifted(work, 32 * width)
    for q in range(count):
        one = shifted(rows, PASS_COLUMNS * q)
        if one[8] < 0:
            continue
        low, high = one[3], one[5]
        for start in range(0, one[1], DIAGONAL_STRINGS):
            here = min(4, one[1] - start)
            more = min(4, one[1] - start - here)
            products(tangents, one[2] + start, here, work)
            if more > 0:
                products(tangents, one[2] + start + 4, more, second)
            place = 2 * one[8]
            for h in range(one[6]):
                for k in range(one[4]):
                    word = words[low + k] ^ words[high + h]
                    c = (word & 31) * width
                    x, y = work[c], work[c + width]
                    if more > 0:
                        c = (word >> 5) * width
                        u, v = second[c], second[c + width]
                        x, y = x * u - y * v, x * v + y * u
                    if start:
                        u, v = table[place], table[place + 1]
                        x, y = x * u - y * v, x * v + y * u
                    table[place] = x
                    table[place + 1] = y
                    place += 2
            low += one[4]
            high += one[6]


@part
def diagonal_moment(
    bra: Any, ket: Any, ket_row: int, n: int, one: Any, masks: Any, work: Any, signs: Any, out: Any
) -> None:
    """Im⟨λ|Z…|ψ⟩: up to three strings one by one, more by one Walsh-Hadamard transform of Im(λ* ψ)."""
    first = one[2]
    if one[1] > 3:
        for k in range(1 << n):
            product = multiply(load(bra, 2 * k), load(ket, ket_row + 2 * k + 1))
            store(work, k, fnma(load(bra, 2 * k + 1), load(ket, ket_row + 2 * k), product))
        walsh_hadamard(work, n)
        for g in range(one[1]):
            store(out, first + g, load(work, masks[MASK_COLUMNS * (first + g) + 1]))
        return
    for g in range(one[1]):
        z = masks[MASK_COLUMNS * (first + g) + 1]
        total = splat(out, 0.0)
        for k in range(1 << n):
            product = multiply(load(bra, 2 * k), load(ket, ket_row + 2 * k + 1))
            product = fnma(load(bra, 2 * k + 1), load(ket, ket_row + 2 * k), product)
            total = fma(product, load(signs, parity(z & k)), total)
        store(out, first + g, total)
