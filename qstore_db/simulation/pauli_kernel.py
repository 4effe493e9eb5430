"""The kernel of exact noise: every row is one register of samples, and maps act on rows.

From amplitudes ψ = a + ib the real array Re ρ_ij + Im ρ_ij = a_j (a_i + b_i) + b_j (b_i - a_i) holds all of ρ, for ρ is
Hermitian. With row and column bit of a qubit as one digit, the sums and differences c00 + c11, c01 + c10, c01 - c10,
c00 - c11 of each qubit give the coefficients of I X Y Z up to the sign (-1)^⌈y/2⌉ of strings with y letters Y, which
the first table carries.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from qstore_db.simulation.compiled import compiled, inlined
from qstore_db.simulation.packing import WEIGHT
from qstore_db.simulation.pauli_program import AFFINE, FROM_AMPLITUDES, MAP_ROWS
from qstore_db.simulation.simd import add, fma, lanes, load, multiply, splat, store, subtract


@compiled
def run(
    program: Any, factors: Any, read_factors: Any, pairs: Any, weights: Any, data: Any, amplitudes: Any, values: Any,
    state: Any, maps: Any, scratch: Any, half: int,
) -> None:  # fmt: skip
    """Values of all samples, block by block.

    Args:
        program: A :class:`~qstore_db.simulation.pauli_program.PauliProgram`.
        factors: Its factors in the dtype of the state.
        read_factors: Likewise.
        pairs: Likewise.
        weights: float64 (weights,).
        data: float64 (samples, columns).
        amplitudes: (samples, 2^n, 1 or 2) of norm 1, dtype of the state; no samples when starting from |0…0⟩.
        values: float64 (samples, columns of the reads), overwritten.
        state: Two states, each ``half`` rows.
        maps: 12 rows a map, work.
        scratch: Rows of one block, work.
        half: Rows of one state.
    """
    width = lanes(state)
    values[:] = 0.0
    for first in range(0, data.shape[0], width):
        count = min(width, data.shape[0] - first)
        make_maps(program, weights, data, first, count, maps)
        if program.from_amplitudes:
            fill(program.n, amplitudes, first, count, state, scratch)
        else:
            grow(program, maps, state, 0)
        now = 0
        for number in range(program.passes.shape[0]):
            then = now if program.passes[number, 1] < 0 else half - now
            run_pass(program, number, factors, pairs, state, now, then, maps, scratch)
            now = then
        _read(program, read_factors, state, now, maps, scratch, first, count, values)


@inlined
def row_of(string: int) -> int:
    """Row of a string, padding included."""
    return string + (string >> 8) + (string >> 16)


@inlined
def make_maps(program: Any, weights: Any, data: Any, first: int, count: int, maps: Any) -> None:
    """The affine map of every qubit and layer in every lane; those without data once a run."""
    width = lanes(maps)
    one = np.empty(MAP_ROWS)
    for m in range(program.map_varies.size):
        if first > 0 and program.map_varies[m] == 0:
            continue
        for lane in range(width):
            if lane == 0 or (program.map_varies[m] == 1 and lane < count):
                _one_map(program, m, weights, data, first + lane, one)
            for k in range(MAP_ROWS):
                maps[(m * MAP_ROWS + k) * width + lane] = one[k]


@inlined
def angle_of(program: Any, j: int, weights: Any, data: Any, sample: int) -> float:
    """Angle j of a sample, radians."""
    theta: float = program.constant[j]
    for e in range(program.term_start[j], program.term_start[j + 1]):
        if program.term_kind[e] == WEIGHT:
            theta += program.term_scale[e] * weights[program.term_index[e]]
        else:
            theta += program.term_scale[e] * data[sample, program.term_index[e]]
    return theta


@inlined
def _one_map(program: Any, m: int, weights: Any, data: Any, sample: int, one: Any) -> None:
    """The product of the elements of map m, as 12 numbers."""
    for k in range(MAP_ROWS):
        one[k] = 1.0 if k in (0, 4, 8) else 0.0
    for e in range(program.map_start[m], program.map_start[m + 1]):
        axis = program.element_kind[e]
        if axis > 0:
            theta = angle_of(program, program.element_index[e], weights, data, sample)
            cosine, sine = math.cos(theta), math.sin(theta)
            b, c = axis % 3, (axis + 1) % 3
            for k in range(4):
                at, by = (3 * b + k, 3 * c + k) if k < 3 else (9 + b, 9 + c)
                old = one[at]
                one[at] = cosine * old - sine * one[by]
                one[by] = sine * old + cosine * one[by]
        else:
            fixed = program.constants[program.element_index[e]]
            for k in range(4):
                at = k if k < 3 else 9
                step = 3 if k < 3 else 1
                x, y, z = one[at], one[at + step], one[at + 2 * step]
                for a in range(3):
                    total = fixed[3 * a] * x + fixed[3 * a + 1] * y + fixed[3 * a + 2] * z
                    one[at + a * step] = total + fixed[9 + a] if k == 3 else total


@inlined
def grow(program: Any, maps: Any, state: Any, at: int) -> None:
    """|0…0⟩ after the first maps: a product of Bloch vectors."""
    for lane in range(lanes(state)):
        state[at * lanes(state) + lane] = 1.0
    size = 1
    for qubit in range(program.n - 1, -1, -1):
        m = program.grown[qubit]
        for letter in range(1, 4):
            for k in range(size):
                value = load(state, at + row_of(k))
                if m < 0:
                    value = value if letter == 3 else subtract(value, value)
                else:
                    row = m * MAP_ROWS
                    value = multiply(value, add(load(maps, row + 3 * letter - 1), load(maps, row + 8 + letter)))
                store(state, at + row_of(letter * size + k), value)
        size *= 4


@inlined
def fill(n: int, amplitudes: Any, first: int, count: int, state: Any, scratch: Any) -> None:
    """Re ρ + Im ρ of every lane, row and column bit of a qubit side by side."""
    width = lanes(state)
    size = 1 << n
    parts = amplitudes.shape[2]
    for i in range(size):
        for lane in range(width):
            sample = first + min(lane, count - 1)
            scratch[2 * i * width + lane] = amplitudes[sample, i, 0]
            scratch[(2 * i + 1) * width + lane] = amplitudes[sample, i, 1] if parts == 2 else 0.0
    for i in range(size):
        a, b = load(scratch, 2 * i), load(scratch, 2 * i + 1)
        plus, minus = add(a, b), subtract(b, a)
        high = spread(i) << 1
        for j in range(size):
            value = fma(load(scratch, 2 * j + 1), minus, multiply(load(scratch, 2 * j), plus))
            store(state, row_of(high | spread(j)), value)


@inlined
def spread(number: int) -> int:
    """Bit k of the number at place 2k."""
    out = 0
    for bit in range(16):
        out |= ((number >> bit) & 1) << (2 * bit)
    return out


@inlined
def run_pass(
    program: Any, number: int, factors: Any, pairs: Any, state: Any, now: int, then: int, maps: Any, scratch: Any
) -> None:
    """One pass from the state at row ``now`` to the one at ``then``; the same where there is no table."""
    kind, table = program.passes[number, 0], program.passes[number, 1]
    base, blocks = program.passes[number, 2], program.passes[number, 3]
    offset, size = program.passes[number, 4], 1 << (2 * program.passes[number, 5])
    entry, entries = program.passes[number, 6], program.passes[number, 7]
    for block in range(blocks):
        start = program.bases[base + block]
        if table >= 0:
            for k in range(size):
                row = start + program.offsets[offset + k]
                factor = splat(state, factors[table + row])
                store(scratch, k, multiply(factor, load(state, now + program.sources[table + row])))
        else:
            for k in range(size):
                store(scratch, k, load(state, now + start + program.offsets[offset + k]))
        if kind == 1:
            for k in range(16):
                total = multiply(splat(state, pairs[entry + 16 * k]), load(scratch, 0))
                for j in range(1, 16):
                    total = fma(splat(state, pairs[entry + 16 * k + j]), load(scratch, j), total)
                store(state, then + start + program.offsets[offset + k], total)
        else:
            for e in range(entry, entry + entries):
                apply_map(program.entries[e, 0], program.entries[e, 1], program.entries[e, 2], maps, scratch, size)
            for k in range(size):
                store(state, then + start + program.offsets[offset + k], load(scratch, k))


@inlined
def apply_map(shift: int, m: int, kind: int, maps: Any, scratch: Any, size: int) -> None:
    """One qubit's map on a block in the scratch rows."""
    step = 1 << shift
    if kind == FROM_AMPLITUDES:
        for q in range(size // 4):
            row = ((q >> shift) << (shift + 2)) | (q & (step - 1))
            c00, c01 = load(scratch, row), load(scratch, row + step)
            c10, c11 = load(scratch, row + 2 * step), load(scratch, row + 3 * step)
            store(scratch, row, add(c00, c11))
            store(scratch, row + step, add(c01, c10))
            store(scratch, row + 2 * step, subtract(c01, c10))
            store(scratch, row + 3 * step, subtract(c00, c11))
        return
    at = m * MAP_ROWS
    xx, xy, xz = load(maps, at), load(maps, at + 1), load(maps, at + 2)
    yx, yy, yz = load(maps, at + 3), load(maps, at + 4), load(maps, at + 5)
    zx, zy, zz = load(maps, at + 6), load(maps, at + 7), load(maps, at + 8)
    x1, y1, z1 = load(maps, at + 9), load(maps, at + 10), load(maps, at + 11)
    for q in range(size // 4):
        row = ((q >> shift) << (shift + 2)) | (q & (step - 1))
        x, y, z = load(scratch, row + step), load(scratch, row + 2 * step), load(scratch, row + 3 * step)
        new_x = fma(xz, z, fma(xy, y, multiply(xx, x)))
        new_y = fma(yz, z, fma(yy, y, multiply(yx, x)))
        new_z = fma(zz, z, fma(zy, y, multiply(zx, x)))
        if kind == AFFINE:
            one = load(scratch, row)
            new_x, new_y, new_z = fma(x1, one, new_x), fma(y1, one, new_y), fma(z1, one, new_z)
        store(scratch, row + step, new_x)
        store(scratch, row + 2 * step, new_y)
        store(scratch, row + 3 * step, new_z)


@inlined
def _read(
    program: Any, factors: Any, state: Any, now: int, maps: Any, scratch: Any, first: int, count: int, values: Any
) -> None:
    """Adds every read of the block; contractions work out the last maps for the strings read."""
    for number in range(program.reads.shape[0]):
        start, size, column = program.reads[number, 0], program.reads[number, 1], program.reads[number, 4]
        contraction, contractions = program.reads[number, 2], program.reads[number, 3]
        if contractions == 0:
            store(scratch, 0, _term(program, factors, state, now, start))
        for level in range(contractions):
            at = program.contractions[contraction + level, 0] * MAP_ROWS
            letter, strings = program.contractions[contraction + level, 1], program.contractions[contraction + level, 2]
            size //= strings
            for k in range(size):
                total = load(maps, at)
                total = subtract(total, total)
                for j in range(strings):
                    weight = load(maps, at + 3 * letter + j) if j < 3 else load(maps, at + 9 + letter)
                    if level == 0:
                        total = fma(weight, _term(program, factors, state, now, start + k * strings + j), total)
                    else:
                        total = fma(weight, load(scratch, k * strings + j), total)
                store(scratch, k, total)
        coefficient = program.coefficients[number]
        for lane in range(count):
            values[first + lane, column] += coefficient * scratch[lane]


@inlined
def _term(program: Any, factors: Any, state: Any, now: int, number: int) -> Any:
    return multiply(splat(state, factors[number]), load(state, now + program.read_rows[number]))
