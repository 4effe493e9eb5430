"""The gradient through exact noise: one sweep back over the passes, whatever the number of readouts.

Every pass is linear in the state, so with λ the derivative of the loss by the state after it, the derivative by the
state before it is the transposed pass of λ, and that by a map is the sum of λ_a · r_b over the blocks. The states
before all passes are kept for one block of samples at a time.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from qstore_db.simulation.compiled import compiled, inlined
from qstore_db.simulation.packing import WEIGHT
from qstore_db.simulation.pauli_kernel import angle_of, apply_map, fill, grow, make_maps, row_of, run_pass, spread
from qstore_db.simulation.pauli_program import AFFINE, FROM_AMPLITUDES, MAP_ROWS
from qstore_db.simulation.simd import add, fma, lanes, load, multiply, splat, store, subtract


@compiled
def run(
    program: Any, factors: Any, read_factors: Any, pairs: Any, weights: Any, data: Any, amplitudes: Any, cotangent: Any,
    weight_gradient: Any, data_gradient: Any, amplitude_gradient: Any, states: Any, back: Any, maps: Any, slopes: Any,
    scratch: Any, half: int,
) -> None:  # fmt: skip
    """Gradient of Σ cotangent · values over all samples.

    Args:
        program: A program without contractions.
        factors: As for :func:`qstore_db.simulation.pauli_kernel.run`.
        read_factors: Likewise.
        pairs: Likewise.
        weights: Likewise.
        data: Likewise.
        amplitudes: Likewise.
        cotangent: float64 (samples, columns).
        weight_gradient: float64 (weights,), zeros; added to, block after block.
        data_gradient: float64 (samples, data columns), zeros; added to.
        amplitude_gradient: float64, shape of ``amplitudes``, overwritten; through states of norm 1, without the
            division by the norm.
        states: A state for each pass and at least one, ``half`` rows each, work.
        back: Two states, work.
        maps: 12 rows a map, work.
        slopes: 12 rows a map, work.
        scratch: Rows of one block for each of its maps and two more, work.
        half: Rows of one state.
    """
    width = lanes(states)
    passes = program.passes.shape[0]
    for first in range(0, data.shape[0], width):
        count = min(width, data.shape[0] - first)
        make_maps(program, weights, data, first, count, maps)
        if program.from_amplitudes:
            fill(program.n, amplitudes, first, count, states, scratch)
        else:
            grow(program, maps, states, 0)
        for number in range(passes - 1):  # nothing depends on the state after the last pass
            run_pass(program, number, factors, pairs, states, number * half, (number + 1) * half, maps, scratch)
        slopes[:] = 0.0
        back[: half * width] = 0.0
        _seed(program, read_factors, cotangent, first, count, back)
        now = 0
        for number in range(passes - 1, -1, -1):
            then = now
            if program.passes[number, 1] >= 0:
                then = half - now
                if program.passes[number, 8] == 0:
                    back[then * width : (then + half) * width] = 0.0
            _pass_back(program, number, factors, pairs, states, number * half, back, now, then, maps, slopes, scratch)
            now = then
        if program.from_amplitudes:
            _amplitudes_back(program.n, amplitudes, first, count, back, now, amplitude_gradient, scratch)
        else:
            _grow_back(program, maps, states, back, now, slopes)
        _angles_back(program, weights, data, first, count, slopes, weight_gradient, data_gradient)


@inlined
def _seed(program: Any, factors: Any, cotangent: Any, first: int, count: int, back: Any) -> None:
    width = lanes(back)
    for number in range(program.reads.shape[0]):
        place, column = program.reads[number, 0], program.reads[number, 4]
        row = program.read_rows[place]
        for lane in range(count):
            back[row * width + lane] += program.coefficients[number] * factors[place] * cotangent[first + lane, column]


@inlined
def _pass_back(
    program: Any, number: int, factors: Any, pairs: Any, states: Any, at: int, back: Any, now: int, then: int,
    maps: Any, slopes: Any, scratch: Any,
) -> None:  # fmt: skip
    """λ from behind a pass to before it, and what its maps gather."""
    table, base, offset = program.passes[number, 1], program.passes[number, 2], program.passes[number, 4]
    size, entry = 1 << (2 * program.passes[number, 5]), program.passes[number, 6]
    once = program.passes[number, 8] == 1
    for block in range(program.passes[number, 3]):
        start = program.bases[base + block]
        for k in range(size):
            store(scratch, k, load(back, now + start + program.offsets[offset + k]))
        if program.passes[number, 0] == 1:
            _pair_back(pairs, entry, scratch)
        else:
            _maps_back(program, number, factors, states, at + start, start, maps, slopes, scratch)
        for k in range(size):
            row = start + program.offsets[offset + k]
            value = load(scratch, k)
            if table >= 0:
                value = multiply(splat(states, factors[table + row]), value)
                row = program.sources[table + row]
                if not once:  # several strings may read the same one
                    value = add(value, load(back, then + row))
            store(back, then + row, value)


@inlined
def _pair_back(pairs: Any, entry: int, scratch: Any) -> None:
    """λ through a transposed 16 × 16 matrix."""
    for j in range(16):
        total = multiply(splat(scratch, pairs[entry + j]), load(scratch, 0))
        for k in range(1, 16):
            total = fma(splat(scratch, pairs[entry + 16 * k + j]), load(scratch, k), total)
        store(scratch, 16 + j, total)
    for j in range(16):
        store(scratch, j, load(scratch, 16 + j))


@inlined
def _maps_back(
    program: Any, number: int, factors: Any, states: Any, at: int, start: int, maps: Any, slopes: Any, scratch: Any
) -> None:
    """λ of a block through the maps of a pass, last one first; the states before each are worked out again."""
    table, offset = program.passes[number, 1], program.passes[number, 4]
    size, entry, entries = 1 << (2 * program.passes[number, 5]), program.passes[number, 6], program.passes[number, 7]
    for k in range(size):
        row = program.offsets[offset + k]
        if table >= 0:
            value = load(states, at - start + program.sources[table + start + row])
            store(scratch, size + k, multiply(splat(states, factors[table + start + row]), value))
        else:
            store(scratch, size + k, load(states, at + row))
    for e in range(entries - 1):
        here = (e + 1) * size
        for k in range(size):
            store(scratch, here + size + k, load(scratch, here + k))
        shift, m, kind = program.entries[entry + e, 0], program.entries[entry + e, 1], program.entries[entry + e, 2]
        apply_map(shift, m, kind, maps, scratch[(here + size) * lanes(states) :], size)
    for e in range(entries - 1, -1, -1):
        shift, m, kind = program.entries[entry + e, 0], program.entries[entry + e, 1], program.entries[entry + e, 2]
        _map_back(shift, m, kind, maps, slopes, scratch, (e + 1) * size, size)


@inlined
def _map_back(shift: int, m: int, kind: int, maps: Any, slopes: Any, scratch: Any, before: int, size: int) -> None:
    """One qubit's map: λ in rows 0 … size-1 goes back, the products with the rows from ``before`` go to the slopes."""
    step = 1 << shift
    if kind == FROM_AMPLITUDES:
        for q in range(size // 4):
            row = ((q >> shift) << (shift + 2)) | (q & (step - 1))
            one, x = load(scratch, row), load(scratch, row + step)
            y, z = load(scratch, row + 2 * step), load(scratch, row + 3 * step)
            store(scratch, row, add(one, z))
            store(scratch, row + step, add(x, y))
            store(scratch, row + 2 * step, subtract(x, y))
            store(scratch, row + 3 * step, subtract(one, z))
        return
    at = m * MAP_ROWS
    for a in range(3):
        # One row of the slopes at a time keeps the sums in registers.
        dx, dy = load(slopes, at + 3 * a), load(slopes, at + 3 * a + 1)
        dz, d1 = load(slopes, at + 3 * a + 2), load(slopes, at + 9 + a)
        for q in range(size // 4):
            row = ((q >> shift) << (shift + 2)) | (q & (step - 1))
            here = load(scratch, row + (a + 1) * step)
            row += before
            dx = fma(here, load(scratch, row + step), dx)
            dy = fma(here, load(scratch, row + 2 * step), dy)
            dz = fma(here, load(scratch, row + 3 * step), dz)
            if kind == AFFINE:
                d1 = fma(here, load(scratch, row), d1)
        store(slopes, at + 3 * a, dx)
        store(slopes, at + 3 * a + 1, dy)
        store(slopes, at + 3 * a + 2, dz)
        store(slopes, at + 9 + a, d1)
    xx, xy, xz = load(maps, at), load(maps, at + 1), load(maps, at + 2)
    yx, yy, yz = load(maps, at + 3), load(maps, at + 4), load(maps, at + 5)
    zx, zy, zz = load(maps, at + 6), load(maps, at + 7), load(maps, at + 8)
    x1, y1, z1 = load(maps, at + 9), load(maps, at + 10), load(maps, at + 11)
    for q in range(size // 4):
        row = ((q >> shift) << (shift + 2)) | (q & (step - 1))
        x, y, z = load(scratch, row + step), load(scratch, row + 2 * step), load(scratch, row + 3 * step)
        if kind == AFFINE:
            store(scratch, row, fma(z1, z, fma(y1, y, fma(x1, x, load(scratch, row)))))
        store(scratch, row + step, fma(zx, z, fma(yx, y, multiply(xx, x))))
        store(scratch, row + 2 * step, fma(zy, z, fma(yy, y, multiply(xy, x))))
        store(scratch, row + 3 * step, fma(zz, z, fma(yz, y, multiply(xz, x))))


@inlined
def _grow_back(program: Any, maps: Any, states: Any, back: Any, now: int, slopes: Any) -> None:
    """Undoes the growth: one qubit after another, the highest letter first, is summed out of λ."""
    size = 1 << (2 * program.n)
    for qubit in range(program.n):
        size //= 4
        m = program.grown[qubit]
        for letter in range(1, 4):
            if m < 0 and letter < 3:
                continue
            vector = load(maps, 0)
            if m >= 0:
                at = m * MAP_ROWS
                vector = add(load(maps, at + 3 * letter - 1), load(maps, at + 8 + letter))
                slope = load(slopes, at + 3 * letter - 1)
                for k in range(size):
                    slope = fma(load(back, now + row_of(letter * size + k)), load(states, row_of(k)), slope)
                store(slopes, at + 3 * letter - 1, slope)
                store(slopes, at + 8 + letter, slope)
            for k in range(size):
                value = load(back, now + row_of(letter * size + k))
                rest = load(back, now + row_of(k))
                store(back, now + row_of(k), add(rest, value) if m < 0 else fma(vector, value, rest))


@inlined
def _amplitudes_back(
    n: int, amplitudes: Any, first: int, count: int, back: Any, now: int, gradient: Any, scratch: Any
) -> None:
    """From λ by Re ρ_ij + Im ρ_ij to the amplitudes."""
    width = lanes(back)
    size = 1 << n
    parts = amplitudes.shape[2]
    for i in range(size):
        for lane in range(width):
            sample = first + min(lane, count - 1)
            scratch[2 * i * width + lane] = amplitudes[sample, i, 0]
            scratch[(2 * i + 1) * width + lane] = amplitudes[sample, i, 1] if parts == 2 else 0.0
    for i in range(size):
        by_a = load(scratch, 0)
        by_a = subtract(by_a, by_a)
        by_b = by_a
        for j in range(size):
            a, b = load(scratch, 2 * j), load(scratch, 2 * j + 1)
            row = load(back, now + row_of((spread(i) << 1) | spread(j)))
            column = load(back, now + row_of((spread(j) << 1) | spread(i)))
            plus, minus = add(a, b), subtract(a, b)
            by_a = fma(column, plus, fma(row, minus, by_a))
            by_b = subtract(fma(row, plus, by_b), multiply(column, minus))
        store(scratch, 2 * size, by_a)
        store(scratch, 2 * size + 1, by_b)
        for lane in range(count):
            gradient[first + lane, i, 0] = scratch[2 * size * width + lane]
            if parts == 2:
                gradient[first + lane, i, 1] = scratch[(2 * size + 1) * width + lane]


@inlined
def _angles_back(
    program: Any, weights: Any, data: Any, first: int, count: int, slopes: Any, weight_gradient: Any, data_gradient: Any
) -> None:
    """From the slopes of the maps to weights and data, element after element of each map."""
    width = lanes(slopes)
    longest = 0
    for m in range(program.map_varies.size):
        longest = max(longest, program.map_start[m + 1] - program.map_start[m])
    products, slope = np.empty((longest, 3, 4)), np.empty((3, 4))
    for m in range(program.map_varies.size):
        for lane in range(count):
            for a in range(3):
                for k in range(4):
                    place = 3 * a + k if k < 3 else 9 + a
                    slope[a, k] = slopes[(m * MAP_ROWS + place) * width + lane]
            sample = first + lane
            start, stop = program.map_start[m], program.map_start[m + 1]
            for e in range(start, stop):
                _product(program, e, weights, data, sample, products, e - start)
            for e in range(stop - 1, start - 1, -1):
                if program.element_kind[e] == 0:
                    _fixed_back(program.constants[program.element_index[e]], slope)
                else:
                    j = program.element_index[e]
                    theta = angle_of(program, j, weights, data, sample)
                    total = _turn_back(program.element_kind[e], theta, products[e - start], slope)
                    _to_symbols(program, j, total, sample, weight_gradient, data_gradient)


@inlined
def _fixed_back(fixed: Any, slope: Any) -> None:
    """The slope by what is before a fixed element."""
    for k in range(4):
        x, y, z = slope[0, k], slope[1, k], slope[2, k]
        for a in range(3):
            slope[a, k] = fixed[a] * x + fixed[3 + a] * y + fixed[6 + a] * z


@inlined
def _turn_back(axis: int, theta: float, after: Any, slope: Any) -> float:
    """The slope by the angle; the other becomes that by what is before the turn."""
    b, c = axis % 3, (axis + 1) % 3
    cosine, sine = math.cos(theta), math.sin(theta)
    total = 0.0
    for k in range(4):
        total += slope[c, k] * after[b, k] - slope[b, k] * after[c, k]
        old = slope[b, k]
        slope[b, k] = cosine * old + sine * slope[c, k]
        slope[c, k] = cosine * slope[c, k] - sine * old
    return total


@inlined
def _to_symbols(program: Any, j: int, total: float, sample: int, weight_gradient: Any, data_gradient: Any) -> None:
    """Adds the derivative by angle j to those by its weights and data."""
    for term in range(program.term_start[j], program.term_start[j + 1]):
        if program.term_kind[term] == WEIGHT:
            weight_gradient[program.term_index[term]] += program.term_scale[term] * total
        else:
            data_gradient[sample, program.term_index[term]] += program.term_scale[term] * total


@inlined
def _product(program: Any, e: int, weights: Any, data: Any, sample: int, products: Any, place: int) -> None:
    """Element e after the elements before it, as 3 × 4 numbers."""
    for a in range(3):
        for k in range(4):
            products[place, a, k] = products[place - 1, a, k] if place else 1.0 * (a == k)
    one, axis = products[place], program.element_kind[e]
    if axis > 0:
        theta = angle_of(program, program.element_index[e], weights, data, sample)
        cosine, sine = math.cos(theta), math.sin(theta)
        b, c = axis % 3, (axis + 1) % 3
        for k in range(4):
            old = one[b, k]
            one[b, k] = cosine * old - sine * one[c, k]
            one[c, k] = sine * old + cosine * one[c, k]
    else:
        fixed = program.constants[program.element_index[e]]
        for k in range(4):
            x, y, z = one[0, k], one[1, k], one[2, k]
            for a in range(3):
                total = fixed[3 * a] * x + fixed[3 * a + 1] * y + fixed[3 * a + 2] * z
                one[a, k] = total + fixed[9 + a] if k == 3 else total
