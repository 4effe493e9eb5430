"""The kernel of exact noise: every row is one register of samples, and maps act on rows.

From amplitudes ψ = a + ib the real array Re ρ_ij + Im ρ_ij = a_j (a_i + b_i) + b_j (b_i - a_i) holds all of ρ, for ρ is
Hermitian. With row and column bit of a qubit as one digit, the sums and differences c00 + c11, c01 + c10, c01 - c10,
c00 - c11 of each qubit give the coefficients of I X Y Z up to the sign (-1)^⌈y/2⌉ of strings with y letters Y, which
the first table carries.
"""

from __future__ import annotations

import math
from typing import Any

from qstore_db.simulation.compiled import compiled_without_counts, inlined
from qstore_db.simulation.packing import WEIGHT
from qstore_db.simulation.pauli_program import AFFINE, FROM_AMPLITUDES, MAP_ROWS
from qstore_db.simulation.simd import add, fma, fnma, lanes, load, multiply, splat, store, subtract


@compiled_without_counts
def run(
    program: Any, factors: Any, read_factors: Any, pairs: Any, weights: Any, data: Any, amplitudes: Any, values: Any,
    state: Any, turns: Any, maps: Any, scratch: Any, half: int,
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
        turns: Two rows an angle, work.
        maps: 12 rows an element, work.
        scratch: Rows of one block, and twice those of the longest read, work.
        half: Rows of one state.
    """
    width = lanes(state)
    values[:] = 0.0
    for first in range(0, data.shape[0], width):
        count = min(width, data.shape[0] - first)
        make_maps(program, weights, data, first, count, turns, maps)
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
def make_maps(program: Any, weights: Any, data: Any, first: int, count: int, turns: Any, maps: Any) -> None:
    """The map of every element with those before it on its qubit and layer, in every lane; see :func:`map_row`.

    What no data column takes part in is made once a run. Lanes without a sample repeat the last one.
    """
    _make_turns(program, weights, data, first, count, turns)
    for m in range(program.map_varies.size):
        if first > 0 and program.map_varies[m] == 0:
            continue
        for e in range(program.map_start[m], program.map_start[m + 1]):
            at = e * MAP_ROWS
            for k in range(MAP_ROWS):
                if e == program.map_start[m]:
                    store(maps, at + k, splat(maps, 1.0 if k in (0, 4, 8) else 0.0))
                else:
                    store(maps, at + k, load(maps, at - MAP_ROWS + k))
            if program.element_kind[e] > 0:
                _turn(program.element_kind[e], program.element_index[e], turns, maps, at)
            else:
                _fixed(program.constants[program.element_index[e]], maps, at)


@inlined
def map_row(program: Any, m: int) -> int:
    """First of the 12 rows of map m: those of its last element."""
    row: int = (program.map_start[m + 1] - 1) * MAP_ROWS
    return row


@inlined
def _make_turns(program: Any, weights: Any, data: Any, first: int, count: int, turns: Any) -> None:
    """Cosine and sine of every angle in every lane; those without data once a run."""
    width = lanes(turns)
    for j in range(program.constant.size):
        varies = False
        for term in range(program.term_start[j], program.term_start[j + 1]):
            varies = varies or program.term_kind[term] != WEIGHT
        if first > 0 and not varies:
            continue
        cosine, sine = 0.0, 0.0
        for lane in range(width):
            if lane == 0 or (varies and lane < count):
                theta = _angle(program, j, weights, data, first + lane)
                cosine, sine = math.cos(theta), math.sin(theta)
            turns[2 * j * width + lane], turns[(2 * j + 1) * width + lane] = cosine, sine


@inlined
def _angle(program: Any, j: int, weights: Any, data: Any, sample: int) -> float:
    """Angle j of a sample, radians."""
    theta: float = program.constant[j]
    for e in range(program.term_start[j], program.term_start[j + 1]):
        if program.term_kind[e] == WEIGHT:
            theta += program.term_scale[e] * weights[program.term_index[e]]
        else:
            theta += program.term_scale[e] * data[sample, program.term_index[e]]
    return theta


@inlined
def _turn(axis: int, j: int, turns: Any, maps: Any, at: int) -> None:
    """The map in the rows from ``at``, then a turn about an axis by angle j."""
    cosine, sine = load(turns, 2 * j), load(turns, 2 * j + 1)
    b, c = axis % 3, (axis + 1) % 3
    for k in range(4):
        row_b, row_c = at + entry_of(b, k), at + entry_of(c, k)
        x, y = load(maps, row_b), load(maps, row_c)
        store(maps, row_b, fnma(sine, y, multiply(cosine, x)))
        store(maps, row_c, fma(sine, x, multiply(cosine, y)))


@inlined
def _fixed(fixed: Any, maps: Any, at: int) -> None:
    """The map in the rows from ``at``, then a fixed one."""
    for k in range(4):
        x, y, z = load(maps, at + entry_of(0, k)), load(maps, at + entry_of(1, k)), load(maps, at + entry_of(2, k))
        for a in range(3):
            total = fma(splat(maps, fixed[3 * a + 1]), y, multiply(splat(maps, fixed[3 * a]), x))
            total = fma(splat(maps, fixed[3 * a + 2]), z, total)
            store(maps, at + entry_of(a, k), add(total, splat(maps, fixed[9 + a])) if k == 3 else total)


@inlined
def entry_of(a: int, k: int) -> int:
    """Place among the 12 numbers of a map of what letter k gives to letter a; k = 3 is what is added."""
    return 3 * a + k if k < 3 else 9 + a


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
                    row = map_row(program, m)
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
                apply_map(program, e, maps, scratch, 0, 0, size)
            for k in range(size):
                store(state, then + start + program.offsets[offset + k], load(scratch, k))


@inlined
def apply_map(program: Any, entry: int, maps: Any, scratch: Any, source: int, target: int, size: int) -> None:
    """One qubit's map on a block in the scratch rows from ``source``, to those from ``target`` (may be the same)."""
    shift, m, kind = program.entries[entry, 0], program.entries[entry, 1], program.entries[entry, 2]
    step = 1 << shift
    if kind == FROM_AMPLITUDES:
        for q in range(size // 4):
            row = source + (((q >> shift) << (shift + 2)) | (q & (step - 1)))
            c00, c01 = load(scratch, row), load(scratch, row + step)
            c10, c11 = load(scratch, row + 2 * step), load(scratch, row + 3 * step)
            row += target - source
            store(scratch, row, add(c00, c11))
            store(scratch, row + step, add(c01, c10))
            store(scratch, row + 2 * step, subtract(c01, c10))
            store(scratch, row + 3 * step, subtract(c00, c11))
        return
    at = map_row(program, m)
    xx, xy, xz = load(maps, at), load(maps, at + 1), load(maps, at + 2)
    yx, yy, yz = load(maps, at + 3), load(maps, at + 4), load(maps, at + 5)
    zx, zy, zz = load(maps, at + 6), load(maps, at + 7), load(maps, at + 8)
    x1, y1, z1 = load(maps, at + 9), load(maps, at + 10), load(maps, at + 11)
    for q in range(size // 4):
        row = source + (((q >> shift) << (shift + 2)) | (q & (step - 1)))
        x, y, z = load(scratch, row + step), load(scratch, row + 2 * step), load(scratch, row + 3 * step)
        new_x = fma(xz, z, fma(xy, y, multiply(xx, x)))
        new_y = fma(yz, z, fma(yy, y, multiply(yx, x)))
        new_z = fma(zz, z, fma(zy, y, multiply(zx, x)))
        one = load(scratch, row)
        if kind == AFFINE:
            new_x, new_y, new_z = fma(x1, one, new_x), fma(y1, one, new_y), fma(z1, one, new_z)
        row += target - source
        if source != target:
            store(scratch, row, one)
        store(scratch, row + step, new_x)
        store(scratch, row + 2 * step, new_y)
        store(scratch, row + 3 * step, new_z)


@inlined
def _read(
    program: Any, factors: Any, state: Any, now: int, maps: Any, scratch: Any, first: int, count: int, values: Any
) -> None:
    """Adds every read of the block."""
    width = lanes(state)
    for number in range(program.reads.shape[0]):
        top = contract(program, number, factors, state, now, maps, scratch)
        column, coefficient = program.reads[number, 4], program.coefficients[number]
        for lane in range(count):
            values[first + lane, column] += coefficient * scratch[top * width + lane]


@inlined
def contract(program: Any, number: int, factors: Any, state: Any, now: int, maps: Any, scratch: Any) -> int:
    """One read: its last maps are worked out for the strings that it needs.

    The strings that are read stand in the first scratch rows, what each contraction makes of them behind them.

    Returns:
        The scratch row of the value, the last one.
    """
    start, size = program.reads[number, 0], program.reads[number, 1]
    for k in range(size):
        value = load(state, now + program.read_rows[start + k])
        store(scratch, k, multiply(splat(state, factors[start + k]), value))
    below = 0
    for level in range(program.reads[number, 2], program.reads[number, 2] + program.reads[number, 3]):
        at = map_row(program, program.contractions[level, 0])
        letter, strings = program.contractions[level, 1], program.contractions[level, 2]
        above = below + size
        size //= strings
        for k in range(size):
            total = multiply(load(maps, at + entry_of(letter, 0)), load(scratch, below + k * strings))
            for j in range(1, strings):
                total = fma(load(maps, at + entry_of(letter, j)), load(scratch, below + k * strings + j), total)
            store(scratch, above + k, total)
        below = above
    return below
