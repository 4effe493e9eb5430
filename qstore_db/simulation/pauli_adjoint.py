"""The gradient through exact noise: one sweep back over the passes, whatever the number of readouts.

Every pass is linear in the state, so with λ the derivative of the loss by the state after it, the derivative by the
state before it is the transposed pass of λ, and that by a map is the sum of λ_a · r_b over the blocks. The states
before all passes and after the last are kept for one block of samples at a time, and λ takes the places of those that
have served. Angles come last, in all lanes at
once, through the products of elements that the forward run left.
"""

from __future__ import annotations

from typing import Any

from qstore_db.simulation.compiled import compiled_without_counts, inlined
from qstore_db.simulation.packing import WEIGHT
from qstore_db.simulation.pauli_kernel import (
    apply_map,
    contract,
    entry_of,
    fill,
    grow,
    make_maps,
    map_row,
    row_of,
    run_pass,
    spread,
)
from qstore_db.simulation.pauli_program import AFFINE, FROM_AMPLITUDES, MAP_ROWS
from qstore_db.simulation.simd import add, fma, fnma, lanes, load, multiply, splat, store, subtract


@compiled_without_counts
def run(
    program: Any, factors: Any, read_factors: Any, pairs: Any, weights: Any, data: Any, amplitudes: Any, cotangent: Any,
    weight_gradient: Any, data_gradient: Any, amplitude_gradient: Any, states: Any, turns: Any, maps: Any,
    slopes: Any, scratch: Any, half: int,
) -> None:  # fmt: skip
    """Gradient of Σ cotangent · values over all samples.

    Args:
        program: A :class:`~qstore_db.simulation.pauli_program.PauliProgram`.
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
        states: Two states more than passes, ``half`` rows each, work.
        turns: Two rows an angle, work.
        maps: 12 rows an element, work.
        slopes: 12 rows a map, work.
        scratch: Rows of one block for each of its maps and one more, and twice those of the longest read, work.
        half: Rows of one state.
    """
    width = lanes(states)
    passes = program.passes.shape[0]
    for first in range(0, data.shape[0], width):
        count = min(width, data.shape[0] - first)
        make_maps(program, weights, data, first, count, turns, maps)
        if program.from_amplitudes:
            fill(program.n, amplitudes, first, count, states, scratch)
        else:
            grow(program, maps, states, 0)
        for number in range(passes):
            run_pass(program, number, factors, pairs, states, number * half, (number + 1) * half, maps, scratch)
        slopes[:] = 0.0
        now = (passes + 1) * half
        states[now * width : (now + half) * width] = 0.0
        _reads_back(program, read_factors, cotangent, first, count, states, now - half, now, maps, slopes, scratch)
        for number in range(passes - 1, -1, -1):
            then = now
            if program.passes[number, 1] >= 0:  # the states behind the pass have served, λ goes to one of their places
                then = (number + 1) * half if now > (number + 1) * half else now + half
                if program.passes[number, 8] == 0:
                    states[then * width : (then + half) * width] = 0.0
            _pass_back(program, number, factors, pairs, states, number * half, now, then, maps, slopes, scratch)
            now = then
        if program.from_amplitudes:
            _amplitudes_back(program.n, amplitudes, first, count, states, now, amplitude_gradient, scratch)
        else:
            _grow_back(program, maps, states, now, slopes)
        _angles_back(program, first, count, turns, maps, slopes, scratch, weight_gradient, data_gradient)


@inlined
def _reads_back(
    program: Any, factors: Any, cotangent: Any, first: int, count: int, states: Any, at: int, now: int, maps: Any,
    slopes: Any, scratch: Any,
) -> None:  # fmt: skip
    """λ of the state at row ``at``, added to the zeros from row ``now``; slopes of the maps worked out for reads."""
    width = lanes(states)
    for number in range(program.reads.shape[0]):
        top = contract(program, number, factors, states, at, maps, scratch)
        column, coefficient = program.reads[number, 4], program.coefficients[number]
        for lane in range(width):
            scratch[top * width + lane] = coefficient * cotangent[first + lane, column] if lane < count else 0.0
        _contraction_back(program, number, top, maps, slopes, scratch)
        start = program.reads[number, 0]
        for k in range(program.reads[number, 1]):
            row = now + program.read_rows[start + k]
            store(states, row, fma(splat(states, factors[start + k]), load(scratch, k), load(states, row)))


@inlined
def _contraction_back(program: Any, number: int, top: int, maps: Any, slopes: Any, scratch: Any) -> None:
    """From the derivative by a read's value in row ``top`` to those by its strings in the first rows."""
    size = 1
    first = program.reads[number, 2]
    for level in range(first + program.reads[number, 3] - 1, first - 1, -1):
        m, letter, strings = (
            program.contractions[level, 0], program.contractions[level, 1], program.contractions[level, 2]
        )  # fmt: skip
        below = top - size * strings
        for j in range(strings):
            entry = entry_of(letter, j)
            weight, slope = load(maps, map_row(program, m) + entry), load(slopes, m * MAP_ROWS + entry)
            for k in range(size):
                here = load(scratch, top + k)
                slope = fma(here, load(scratch, below + k * strings + j), slope)
                store(scratch, below + k * strings + j, multiply(weight, here))
            store(slopes, m * MAP_ROWS + entry, slope)
        top = below
        size *= strings


@inlined
def _pass_back(
    program: Any, number: int, factors: Any, pairs: Any, states: Any, at: int, now: int, then: int,
    maps: Any, slopes: Any, scratch: Any,
) -> None:  # fmt: skip
    """λ from behind a pass to before it, and what its maps gather."""
    table, base, offset = program.passes[number, 1], program.passes[number, 2], program.passes[number, 4]
    size, entry = 1 << (2 * program.passes[number, 5]), program.passes[number, 6]
    once = program.passes[number, 8] == 1
    for block in range(program.passes[number, 3]):
        start = program.bases[base + block]
        for k in range(size):
            store(scratch, k, load(states, now + start + program.offsets[offset + k]))
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
                    value = add(value, load(states, then + row))
            store(states, then + row, value)


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
        apply_map(program, entry + e, maps, scratch, (e + 1) * size, (e + 2) * size, size)
    for e in range(entries - 1, -1, -1):
        _map_back(program, entry + e, maps, slopes, scratch, (e + 1) * size, size)


@inlined
def _map_back(program: Any, entry: int, maps: Any, slopes: Any, scratch: Any, before: int, size: int) -> None:
    """One qubit's map: λ in rows 0 … size-1 goes back, the products with the rows from ``before`` go to the slopes."""
    shift, m, kind = program.entries[entry, 0], program.entries[entry, 1], program.entries[entry, 2]
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
    if kind == AFFINE:
        _shift_back(shift, map_row(program, m) + 9, m * MAP_ROWS + 9, maps, slopes, scratch, before, size)
    at = map_row(program, m)
    xx, xy, xz = load(maps, at), load(maps, at + 1), load(maps, at + 2)
    yx, yy, yz = load(maps, at + 3), load(maps, at + 4), load(maps, at + 5)
    zx, zy, zz = load(maps, at + 6), load(maps, at + 7), load(maps, at + 8)
    at = m * MAP_ROWS
    # Nine sums and nine factors stay in registers; one pass over the rows serves both.
    dxx, dxy, dxz = load(slopes, at), load(slopes, at + 1), load(slopes, at + 2)
    dyx, dyy, dyz = load(slopes, at + 3), load(slopes, at + 4), load(slopes, at + 5)
    dzx, dzy, dzz = load(slopes, at + 6), load(slopes, at + 7), load(slopes, at + 8)
    for q in range(size // 4):
        row = ((q >> shift) << (shift + 2)) | (q & (step - 1))
        x, y, z = load(scratch, row + step), load(scratch, row + 2 * step), load(scratch, row + 3 * step)
        here = load(scratch, before + row + step)
        dxx, dyx, dzx = fma(x, here, dxx), fma(y, here, dyx), fma(z, here, dzx)
        here = load(scratch, before + row + 2 * step)
        dxy, dyy, dzy = fma(x, here, dxy), fma(y, here, dyy), fma(z, here, dzy)
        here = load(scratch, before + row + 3 * step)
        dxz, dyz, dzz = fma(x, here, dxz), fma(y, here, dyz), fma(z, here, dzz)
        store(scratch, row + step, fma(zx, z, fma(yx, y, multiply(xx, x))))
        store(scratch, row + 2 * step, fma(zy, z, fma(yy, y, multiply(xy, x))))
        store(scratch, row + 3 * step, fma(zz, z, fma(yz, y, multiply(xz, x))))
    store(slopes, at, dxx)
    store(slopes, at + 1, dxy)
    store(slopes, at + 2, dxz)
    store(slopes, at + 3, dyx)
    store(slopes, at + 4, dyy)
    store(slopes, at + 5, dyz)
    store(slopes, at + 6, dzx)
    store(slopes, at + 7, dzy)
    store(slopes, at + 8, dzz)


@inlined
def _shift_back(shift: int, at: int, slope: int, maps: Any, slopes: Any, scratch: Any, before: int, size: int) -> None:
    """What an affine map adds to X, Y and Z: its part in the derivative by the row without a letter, and its slopes."""
    step = 1 << shift
    x1, y1, z1 = load(maps, at), load(maps, at + 1), load(maps, at + 2)
    dx, dy, dz = load(slopes, slope), load(slopes, slope + 1), load(slopes, slope + 2)
    for q in range(size // 4):
        row = ((q >> shift) << (shift + 2)) | (q & (step - 1))
        x, y, z = load(scratch, row + step), load(scratch, row + 2 * step), load(scratch, row + 3 * step)
        here = load(scratch, before + row)
        dx, dy, dz = fma(x, here, dx), fma(y, here, dy), fma(z, here, dz)
        store(scratch, row, fma(z1, z, fma(y1, y, fma(x1, x, load(scratch, row)))))
    store(slopes, slope, dx)
    store(slopes, slope + 1, dy)
    store(slopes, slope + 2, dz)


@inlined
def _grow_back(program: Any, maps: Any, states: Any, now: int, slopes: Any) -> None:
    """Undoes the growth: one qubit after another, the highest letter first, is summed out of λ."""
    size = 1 << (2 * program.n)
    for qubit in range(program.n):
        size //= 4
        m = program.grown[qubit]
        if m < 0:
            for k in range(size):
                row = now + row_of(k)
                store(states, row, add(load(states, row), load(states, now + row_of(3 * size + k))))
            continue
        at = map_row(program, m)
        vx, vy = add(load(maps, at + 2), load(maps, at + 9)), add(load(maps, at + 5), load(maps, at + 10))
        vz = add(load(maps, at + 8), load(maps, at + 11))
        dx = subtract(vx, vx)
        dy, dz = dx, dx
        for k in range(size):
            row, here = now + row_of(k), load(states, row_of(k))
            x, y = load(states, now + row_of(size + k)), load(states, now + row_of(2 * size + k))
            z = load(states, now + row_of(3 * size + k))
            dx, dy, dz = fma(x, here, dx), fma(y, here, dy), fma(z, here, dz)
            store(states, row, fma(vz, z, fma(vy, y, fma(vx, x, load(states, row)))))
        at = m * MAP_ROWS
        # The map acts on ⟨Z⟩ = 1: what Z gives and what is added have the same slope.
        store(slopes, at + 2, dx)
        store(slopes, at + 5, dy)
        store(slopes, at + 8, dz)
        store(slopes, at + 9, dx)
        store(slopes, at + 10, dy)
        store(slopes, at + 11, dz)


@inlined
def _amplitudes_back(
    n: int, amplitudes: Any, first: int, count: int, states: Any, now: int, gradient: Any, scratch: Any
) -> None:
    """From λ by Re ρ_ij + Im ρ_ij to the amplitudes."""
    width = lanes(states)
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
            row = load(states, now + row_of((spread(i) << 1) | spread(j)))
            column = load(states, now + row_of((spread(j) << 1) | spread(i)))
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
    program: Any, first: int, count: int, turns: Any, maps: Any, slopes: Any, scratch: Any, weight_gradient: Any,
    data_gradient: Any,
) -> None:  # fmt: skip
    """From the slopes of the maps to weights and data, element after element of each map, the last one first."""
    for m in range(program.map_varies.size):
        start = program.map_start[m]
        for e in range(program.map_start[m + 1] - 1, start - 1, -1):
            if program.element_kind[e] == 0:
                _fixed_back(program.constants[program.element_index[e]], slopes, m * MAP_ROWS)
            else:
                j = program.element_index[e]
                total = _turn_back(program.element_kind[e], j, turns, maps, e * MAP_ROWS, slopes, m * MAP_ROWS)
                store(scratch, 0, total)
                _to_symbols(program, j, scratch, first, count, weight_gradient, data_gradient)


@inlined
def _fixed_back(fixed: Any, slopes: Any, at: int) -> None:
    """The slope by what is before a fixed element."""
    for k in range(4):
        x, y = load(slopes, at + entry_of(0, k)), load(slopes, at + entry_of(1, k))
        z = load(slopes, at + entry_of(2, k))
        for a in range(3):
            total = fma(splat(slopes, fixed[3 + a]), y, multiply(splat(slopes, fixed[a]), x))
            store(slopes, at + entry_of(a, k), fma(splat(slopes, fixed[6 + a]), z, total))


@inlined
def _turn_back(axis: int, j: int, turns: Any, maps: Any, after: int, slopes: Any, at: int) -> Any:
    """The slope by the angle; the other becomes that by what is before the turn."""
    cosine, sine = load(turns, 2 * j), load(turns, 2 * j + 1)
    b, c = axis % 3, (axis + 1) % 3
    total = subtract(cosine, cosine)
    for k in range(4):
        row_b, row_c = entry_of(b, k), entry_of(c, k)
        x, y = load(slopes, at + row_b), load(slopes, at + row_c)
        total = fma(y, load(maps, after + row_b), fnma(x, load(maps, after + row_c), total))
        store(slopes, at + row_b, fma(sine, y, multiply(cosine, x)))
        store(slopes, at + row_c, fnma(sine, x, multiply(cosine, y)))
    return total


@inlined
def _to_symbols(
    program: Any, j: int, totals: Any, first: int, count: int, weight_gradient: Any, data_gradient: Any
) -> None:
    """Adds the derivatives by angle j, one a lane, to those by its weights and data."""
    for term in range(program.term_start[j], program.term_start[j + 1]):
        index, scale = program.term_index[term], program.term_scale[term]
        if program.term_kind[term] == WEIGHT:
            total = 0.0
            for lane in range(count):
                total += totals[lane]
            weight_gradient[index] += scale * total
        else:
            for lane in range(count):
                data_gradient[first + lane, index] += scale * totals[lane]
