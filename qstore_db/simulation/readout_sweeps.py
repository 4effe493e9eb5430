"""The ends of a sweep: expectation values from ψ, λ from the cotangent, gradients from moments and from λ.

Values, cotangents and data columns of a block are kept with one float64 number a lane, and turned into rows of the
caller's arrays at the end.
"""

from __future__ import annotations

from typing import Any

from qstore_db.simulation.compiled import part
from qstore_db.simulation.job import COTANGENT_NOT_FINITE, DATA_GRADIENT, SLOT
from qstore_db.simulation.packing import MASK_COLUMNS, PASS_COLUMNS, WEIGHT
from qstore_db.simulation.simd import add, fma, lanes, load, multiply, pointer, shifted, splat, store, subtract
from qstore_db.simulation.sweeps import accumulate, fill, overlap, walsh_hadamard
from qstore_db.simulation.wide import lane_sum, load_wide, narrowed, signed, splat_wide, widened


@part
def read(program: Any, state: Any, row: int, scratch: Any) -> None:
    """Row q of ``scratch.reads`` becomes the expectation value of read term q, without scale and sign."""
    out, work = scratch.reads, scratch.work
    if program.diagonal_reads:
        for k in range(1 << program.n):
            r, i = load(state, row + 2 * k), load(state, row + 2 * k + 1)
            store(work, k, fma(r, r, multiply(i, i)))
        walsh_hadamard(work, program.n)
        for q in range(program.diagonal_reads):
            store(out, q, load(work, program.reads[MASK_COLUMNS * q + 1]))
    for q in range(program.read_pass_count):
        overlap(state, row, shifted(program.read_passes, PASS_COLUMNS * q), program.reads, program.words, out)
    for q in range(program.diagonal_reads, program.read_count):
        half = load(out, q)
        store(out, q, add(half, half))


@part
def write_values(job: Any, program: Any, scratch: Any, first: int, count: int) -> None:
    """Values of the readouts, with scales and the signs of strings that angles moved to the end."""
    like, out, readouts = scratch.tangents, scratch.values, job[SLOT.readouts]
    width = lanes(like)
    for column in range(readouts):
        store(out, column, splat_wide(like, 0.0))
    for q in range(program.read_count):
        mask = shifted(program.reads, MASK_COLUMNS * q)
        value = signed(widened(like, load(scratch.reads, q)), mask[0], mask[1], scratch.x, scratch.z)
        total = load_wide(like, out, mask[3])
        store(out, mask[3], fma(splat_wide(like, program.read_scale[q]), value, total))
    values = pointer(job[SLOT.values], out)
    for lane in range(count):
        for column in range(readouts):
            values[(first + lane) * readouts + column] = out[column * width + lane]


@part
def cotangent_columns(job: Any, scratch: Any, first: int, count: int) -> None:
    """The block's cotangent, 0 in lanes past the last sample."""
    like, out, readouts = scratch.tangents, scratch.cotangents, job[SLOT.readouts]
    width = lanes(like)
    cotangent = pointer(job[SLOT.cotangent], out)
    doubt = 0.0
    for lane in range(width):
        for column in range(readouts):
            value = cotangent[(first + lane) * readouts + column] if lane < count else 0.0
            doubt += value - value
            out[column * width + lane] = value
    if doubt != 0.0:
        job[SLOT.status] |= COTANGENT_NOT_FINITE


@part
def seed(job: Any, program: Any, state: Any, row: int, scratch: Any) -> None:
    """λ = Σ_q c_q P_q ψ; the diagonal part is one Walsh-Hadamard transform of the coefficients."""
    like, bra, work, coefficients = scratch.tangents, scratch.bra, scratch.work, scratch.reads
    zero = splat(like, 0.0)
    for q in range(program.read_count):
        mask = shifted(program.reads, MASK_COLUMNS * q)
        cotangent = multiply(splat_wide(like, program.read_scale[q]), load_wide(like, scratch.cotangents, mask[3]))
        c = narrowed(like, signed(cotangent, mask[0], mask[1], scratch.x, scratch.z))
        store(coefficients, 2 * q, c)
        store(coefficients, 2 * q + 1, subtract(zero, c))
    if program.diagonal_reads:
        fill(work, 0, 1 << program.n)
        for q in range(program.diagonal_reads):
            z = program.reads[MASK_COLUMNS * q + 1]
            store(work, z, add(load(work, z), load(coefficients, 2 * q)))
        walsh_hadamard(work, program.n)
        for k in range(1 << program.n):
            w = load(work, k)
            store(bra, 2 * k, multiply(w, load(state, row + 2 * k)))
            store(bra, 2 * k + 1, multiply(w, load(state, row + 2 * k + 1)))
    else:
        fill(bra, 0, 2 << program.n)
    for q in range(program.read_pass_count):
        one = shifted(program.read_passes, PASS_COLUMNS * q)
        accumulate(state, row, bra, one, program.reads, program.words, coefficients)


@part
def collect(job: Any, program: Any, scratch: Any, block: int, first: int, count: int) -> None:
    """From moments to the gradients of weights (one row) and of the block's data, in order of rotations."""
    like, slopes = scratch.tangents, scratch.slopes
    width, weights, columns = lanes(like), job[SLOT.weights], job[SLOT.columns]
    row = shifted(pointer(job[SLOT.weight_rows], slopes), block * weights)
    for m in range(weights):
        row[m] = 0.0
    of_data = job[SLOT.mode] & DATA_GRADIENT != 0
    if of_data:
        for m in range(columns):
            store(slopes, m, splat_wide(like, 0.0))
    for j in range(program.rotation_count):
        slope = widened(like, multiply(load(scratch.moments, j), load(scratch.turned, j)))
        whole = lane_sum(slope)
        for e in range(program.term_start[j], program.term_start[j + 1]):
            m, factor = program.term_index[e], program.term_scale[e]
            if program.term_kind[e] == WEIGHT:
                row[m] += factor * whole
            elif of_data:
                store(slopes, m, fma(splat_wide(like, factor), slope, load_wide(like, slopes, m)))
    if of_data:
        out = pointer(job[SLOT.data_gradient], slopes)
        for lane in range(count):
            for m in range(columns):
                out[(first + lane) * columns + m] = slopes[m * width + lane]


@part
def collect_amplitudes(job: Any, scratch: Any, first: int, count: int) -> None:
    """(2λ - 2⟨ψ|λ⟩ψ)/‖a‖ with ψ = a/‖a‖: what only changes the length of a is taken out; ⟨ψ|λ⟩ = Σ_m c_m value_m."""
    like, theta, readouts = scratch.bra, scratch.theta, job[SLOT.readouts]
    width, columns, parts = lanes(like), job[SLOT.width], job[SLOT.parts]
    amplitudes, out = pointer(job[SLOT.amplitudes], like), pointer(job[SLOT.amplitude_gradient], like)
    norms, values = pointer(job[SLOT.norms], theta), pointer(job[SLOT.values], theta)
    for lane in range(count):
        norm, expected = norms[first + lane], 0.0
        for m in range(readouts):
            expected += scratch.cotangents[m * width + lane] * values[(first + lane) * readouts + m]
        theta[lane] = 2.0 * expected / (norm * norm)
        scratch.factor[lane] *= 2.0 / norm
    for k in range(columns):
        for side in range(parts):
            row = (2 * k + side) * width
            for lane in range(count):
                place = ((first + lane) * columns + k) * parts + side
                along = theta[lane] * amplitudes[place]
                out[place] = scratch.factor[lane] * scratch.bra[row + lane] - along


@part
def sum_rows(rows: Any, out: Any, count: int, columns: int) -> None:
    """Adds ``count`` rows in their order."""
    for m in range(columns):
        out[m] = 0.0
    for row in range(count):
        for m in range(columns):
            out[m] += rows[row * columns + m]
