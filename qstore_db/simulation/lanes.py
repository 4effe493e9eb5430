"""The kernel: any circuit, samples in SIMD lanes, forward and adjoint gradient.

A block is one register of samples (16 in float32, 8 in float64); every sample of a block meets the same instructions,
nothing is shuffled, and each lane is computed alone: a sample's result does not depend on its place or on its
neighbours.

A rotation exp(-i θ/2 P) is applied as 1 - i t P with t = tan(θ/2), two fused operations an amplitude, θ reduced to
[-π/2, π/2] (see ``angles``). The cosines are multiplied into the start state; after every ``packing.SEGMENT``
rotations a new factor keeps the numbers in range. Stored ψ and λ carry reciprocal factors, so their products need
none.

Gradient by the adjoint method (Jones and Gacon, arXiv:2009.02823): with λ = Σ_m c_m P_m ψ carried backwards, dL/dθ_j
= Im⟨λ|P_j|ψ⟩. Strings of a set commute, so all are read at one point, and ψ is kept after every second set only: the
sets on both sides of that point are read there. The gradient of a weight is summed over the lanes of a block in
order, one row a block.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qstore_db.simulation.angles import block_angles, shared_angles
from qstore_db.simulation.compiled import compiled, inlined
from qstore_db.simulation.packing import DIAGONAL, WEIGHT
from qstore_db.simulation.simd import add, fma, lanes, load, multiply, parity, splat, store, subtract
from qstore_db.simulation.sweeps import (
    accumulate,
    diagonal,
    diagonal_moment,
    fill,
    moment,
    overlap,
    rotate,
    scale,
    uniform_diagonal,
    uniform_tables,
    walsh_hadamard,
)

VALUES: Final = 1
"""Mode bit: run forward and write the values."""
GRADIENTS: Final = 2
"""Mode bit: run backward and write the gradients."""
STATES_KEPT: Final = 4
"""Mode bit: ``states`` still holds what a run with VALUES and the same inputs stored; do not run forward again."""
AMPLITUDE_GRADIENT: Final = 8
"""Mode bit: carry λ back to the start."""


class Scratch(NamedTuple):
    """Working memory of a call, rows of one register.

    Args:
        tangents: 2R rows: + and - of each rotation's tangent (sine for growing ones).
        turned: R rows: the sign of each rotation's string.
        moments: R rows: Im⟨λ|P|ψ⟩.
        reads: 2Q rows: expectation values of the read terms, later their ± coefficients.
        cosines: Of the growing rotations.
        factors: Start factor of each segment.
        signs: +1 and -1.
        lane: One row.
        products: 64 rows for diagonals.
        table: (amplitudes of uniform diagonals, 2): their complex numbers.
        work: 2^n rows.
        bra: 2·2^n rows: λ.
    """

    tangents: NDArray[np.floating]
    turned: NDArray[np.floating]
    moments: NDArray[np.floating]
    reads: NDArray[np.floating]
    cosines: NDArray[np.floating]
    factors: NDArray[np.floating]
    signs: NDArray[np.floating]
    lane: NDArray[np.floating]
    products: NDArray[np.floating]
    table: NDArray[np.floating]
    work: NDArray[np.floating]
    bra: NDArray[np.floating]


@inlined
def _carve(program: Any, memory: Any, table: Any) -> Any:
    width = lanes(memory)
    total, reads = program.rotations.shape[0], program.reads.shape[0]
    o = 2 * total * width
    a = o + total * width
    b = a + total * width
    c = b + 2 * reads * width
    d = c + program.grown * width
    e = d + program.segments * width
    f = e + 2 * width
    g = f + width
    h = g + 64 * width
    i = h + (width << program.n)
    out = Scratch(
        memory[:o], memory[o:a], memory[a:b], memory[b:c], memory[c:d], memory[d:e], memory[e:f], memory[f:g],
        memory[g:h], table, memory[h:i], memory[i : i + (2 * width << program.n)],
    )  # fmt: skip
    one = memory.dtype.type(1)
    store(out.signs, 0, splat(memory, one))
    store(out.signs, 1, splat(memory, -one))
    return out


@inlined
def _grow(program: Any, state: Any, row: int, support: Any, scratch: Any) -> None:
    """The growing rotations on a state whose support doubles with each."""
    zero = splat(state, state.dtype.type(0))
    for g in range(program.grown):
        x, z, imaginary = program.rotations[g, 0], program.rotations[g, 1], program.rotations[g, 2]
        c = load(scratch.cosines, g)
        for k in range(1 << g):
            p = support[k]
            support[k + (1 << g)] = p ^ x
            s = load(scratch.tangents, 2 * g + parity(z & p))
            here, there = row + 2 * p, row + 2 * (p ^ x)
            r, i = load(state, here), load(state, here + 1)
            store(state, here, multiply(c, r))
            store(state, here + 1, multiply(c, i))
            if imaginary:
                store(state, there, multiply(s, r))
                store(state, there + 1, multiply(s, i))
            else:
                store(state, there, multiply(s, i))
                store(state, there + 1, subtract(zero, multiply(s, r)))


@inlined
def _start_from_zero(program: Any, state: Any, row: int, support: Any, scratch: Any) -> None:
    fill(state, row, 2 << program.n)
    store(state, row, load(scratch.factors, 0))
    _grow(program, state, row, support, scratch)


@inlined
def _start_from_amplitudes(
    program: Any, state: Any, row: int, amplitudes: Any, first: int, count: int, norm: Any, factor: Any, lane_row: Any
) -> None:
    """Start vectors, transposed and padded with zeros, times the start factor over the norm (summed in float64)."""
    width = lanes(state)
    for lane in range(width):
        norm[lane] = 0.0
    parts = amplitudes.shape[2]
    if parts == 1 or amplitudes.shape[1] < 1 << program.n:
        fill(state, row, 2 << program.n)
    for k in range(amplitudes.shape[1]):
        for part in range(parts):
            for lane in range(width):
                value = amplitudes[first + min(lane, count - 1), k, part]
                lane_row[lane] = value
                norm[lane] += np.float64(value) * np.float64(value)
            store(state, row + 2 * k + part, load(lane_row, 0))
    for lane in range(width):
        norm[lane] = math.sqrt(norm[lane])
        lane_row[lane] = factor[lane] / norm[lane]
    scale(state, row, 2 << program.n, lane_row, 0)


@inlined
def _forward(program: Any, state: Any, row: int, stride: int, scratch: Any) -> None:
    """Runs all sets from the start state at ``row``; the state after set k stays at ``row + ((k+1)//2)·stride``."""
    unit = state.dtype.type(1)
    current, segment = row, 0
    for k in range(program.sets.shape[0]):
        target = row + ((k + 1) >> 1) * stride
        for q in range(program.sets[k, 0], program.sets[k, 1]):
            one = program.passes[q]
            if one[7]:
                continue
            if one[8] >= 0:
                uniform_diagonal(state, current, target, program.n, scratch.table, one[8], unit)
            elif one[0] == DIAGONAL:
                diagonal(state, current, target, one, program.words, scratch.tangents, 0, scratch.products)
            else:
                rotate(state, current, target, one, program.rotations, program.words, scratch.tangents, 0)
            current = target
        if program.sets[k, 2]:
            segment += 1
            scale(state, current, 2 << program.n, scratch.factors, segment)


@compiled
def _set_moments(program: Any, k: int, state: Any, row: int, scratch: Any) -> None:
    for q in range(program.sets[k, 0], program.sets[k, 1]):
        one = program.passes[q]
        if one[0] == DIAGONAL:
            diagonal_moment(
                scratch.bra, state, row, program.n, one, program.rotations, scratch.work, scratch.signs, scratch.moments
            )
        else:
            moment(scratch.bra, state, row, one, program.rotations, program.words, scratch.moments)


@inlined
def _backward(program: Any, state: Any, row: int, stride: int, scratch: Any, to_start: bool) -> None:
    """Carries λ back through all sets and reads the moments of every rotation."""
    bra = scratch.bra
    minus = -bra.dtype.type(1)
    segment = program.segments - 1
    for k in range(program.sets.shape[0] - 1, -1, -1):
        if k & 1 == 0:
            _set_moments(program, k, state, row + (k >> 1) * stride, scratch)
            if k == 0 and not to_start:
                break
        if program.sets[k, 2]:
            scale(bra, 0, 2 << program.n, scratch.factors, segment)
            segment -= 1
        for q in range(program.sets[k, 1] - 1, program.sets[k, 0] - 1, -1):
            one = program.passes[q]
            if one[8] >= 0:
                uniform_diagonal(bra, 0, 0, program.n, scratch.table, one[8], minus)
            elif one[0] == DIAGONAL:
                diagonal(bra, 0, 0, one, program.words, scratch.tangents, 1, scratch.products)
            else:
                rotate(bra, 0, 0, one, program.rotations, program.words, scratch.tangents, 1)
        if k & 1:
            _set_moments(program, k, state, row + (k >> 1) * stride, scratch)


@inlined
def _read(program: Any, state: Any, row: int, scratch: Any) -> None:
    """Row q of ``scratch.reads`` becomes the expectation value of read term q, without scale and sign."""
    out, work = scratch.reads, scratch.work
    if program.diagonal_reads:
        for k in range(1 << program.n):
            r, i = load(state, row + 2 * k), load(state, row + 2 * k + 1)
            store(work, k, fma(r, r, multiply(i, i)))
        walsh_hadamard(work, program.n)
        for q in range(program.diagonal_reads):
            store(out, q, load(work, program.reads[q, 1]))
    for q in range(program.read_passes.shape[0]):
        overlap(state, row, program.read_passes[q], program.reads, program.words, out)
    for q in range(program.diagonal_reads, program.reads.shape[0]):
        half = load(out, q)
        store(out, q, add(half, half))


@inlined
def _write_values(program: Any, angles: Any, values: Any, first: int, count: int, reads: Any) -> None:
    width = angles.theta.size
    for lane in range(count):
        for column in range(values.shape[1]):
            values[first + lane, column] = 0.0
    for q in range(program.reads.shape[0]):
        x, z, column = program.reads[q, 0], program.reads[q, 1], program.reads[q, 3]
        for lane in range(count):
            sign = 1.0 - 2.0 * (parity(x & angles.z[lane]) ^ parity(z & angles.x[lane]))
            values[first + lane, column] += program.read_scale[q] * sign * reads[q * width + lane]


@inlined
def _seed(
    program: Any, angles: Any, state: Any, row: int, cotangent: Any, first: int, count: int, scratch: Any
) -> None:
    """λ = Σ_q c_q P_q ψ; the diagonal part is one Walsh-Hadamard transform of the coefficients."""
    width = angles.theta.size
    bra, work, coefficients = scratch.bra, scratch.work, scratch.reads
    for q in range(program.reads.shape[0]):
        x, z, column = program.reads[q, 0], program.reads[q, 1], program.reads[q, 3]
        for lane in range(width):
            sign = 1.0 - 2.0 * (parity(x & angles.z[lane]) ^ parity(z & angles.x[lane]))
            c = program.read_scale[q] * sign * cotangent[first + lane, column] if lane < count else 0.0
            coefficients[2 * q * width + lane] = c
            coefficients[(2 * q + 1) * width + lane] = -c
    if program.diagonal_reads:
        fill(work, 0, 1 << program.n)
        for q in range(program.diagonal_reads):
            z = program.reads[q, 1]
            store(work, z, add(load(work, z), load(coefficients, 2 * q)))
        walsh_hadamard(work, program.n)
        for k in range(1 << program.n):
            w = load(work, k)
            store(bra, 2 * k, multiply(w, load(state, row + 2 * k)))
            store(bra, 2 * k + 1, multiply(w, load(state, row + 2 * k + 1)))
    else:
        fill(bra, 0, 2 << program.n)
    for q in range(program.read_passes.shape[0]):
        accumulate(state, row, bra, program.read_passes[q], program.reads, program.words, coefficients)


@inlined
def _collect(
    program: Any, theta: Any, moments: Any, turned: Any, weight_row: Any, data_gradient: Any, first: int, count: int
) -> None:
    """From moments to the gradients of weights (one row) and of the block's data, in order of rotations and lanes."""
    width = theta.size
    for m in range(weight_row.size):
        weight_row[m] = 0.0
    of_data = data_gradient.shape[0] > 0
    if of_data:
        for lane in range(count):
            for m in range(data_gradient.shape[1]):
                data_gradient[first + lane, m] = 0.0
    for j in range(program.rotations.shape[0]):
        whole = 0.0
        for lane in range(width):
            theta[lane] = moments[j * width + lane] * turned[j * width + lane]
            whole += theta[lane]
        for e in range(program.term_start[j], program.term_start[j + 1]):
            m = program.term_index[e]
            if program.term_kind[e] == WEIGHT:
                weight_row[m] += program.term_scale[e] * whole
            elif of_data:
                for lane in range(count):
                    data_gradient[first + lane, m] += program.term_scale[e] * theta[lane]


@inlined
def _collect_amplitudes(
    angles: Any, bra: Any, amplitudes: Any, norm: Any, values: Any, cotangent: Any, out: Any, first: int, count: int
) -> None:
    """(2λ - 2⟨ψ|λ⟩ψ)/‖a‖ with ψ = a/‖a‖: what only changes the length of a is taken out; ⟨ψ|λ⟩ = Σ_m c_m value_m."""
    width = angles.theta.size
    for lane in range(count):
        expected = 0.0
        for m in range(values.shape[1]):
            expected += cotangent[first + lane, m] * values[first + lane, m]
        angles.theta[lane] = 2.0 * expected / (norm[lane] * norm[lane])
        angles.factor[lane] *= 2.0 / norm[lane]
    for k in range(amplitudes.shape[1]):
        for part in range(amplitudes.shape[2]):
            place = (2 * k + part) * width
            for lane in range(count):
                along = angles.theta[lane] * amplitudes[first + lane, k, part]
                out[first + lane, k, part] = angles.factor[lane] * bra[place + lane] - along


@compiled
def run(
    program: Any, weights: Any, data: Any, amplitudes: Any, norms: Any, values: Any, cotangent: Any, weight_rows: Any,
    data_gradient: Any, amplitude_gradient: Any, states: Any, table: Any, memory: Any, first_block: int,
    last_block: int, mode: int, block_stride: int, set_stride: int,
) -> None:  # fmt: skip
    """Blocks ``first_block … last_block - 1`` forward, backward or both.

    Args:
        program: A :class:`~qstore_db.simulation.packing.Program`.
        weights: float64 (weights,), radians.
        data: float64 (B, columns), radians.
        amplitudes: (B, width ≤ 2^n, 1 or 2 parts) in the kernel's dtype; shape (0, 0, 1) for |0…0⟩.
        norms: float64 (B,): Euclidean norm of each start vector, written with VALUES, read with STATES_KEPT.
        values: float64 (B, readouts), written with VALUES, read for the gradient of amplitudes.
        cotangent: float64 (B, readouts).
        weight_rows: float64 (blocks, weights): one row of weight gradients a block.
        data_gradient: float64 (B, columns), or of size 0 when not wanted.
        amplitude_gradient: like ``amplitudes``, or of size 0.
        states: Flat, 64-byte aligned, in the kernel's dtype: ``kept_states`` states of 2·2^n rows a block, one when
            only the last is needed.
        table: (``program.tabled``, 2): the uniform diagonals, written without STATES_KEPT, read with it.
        memory: Flat, aligned: ``scratch_rows`` rows.
        first_block: Block b holds samples b·lanes ….
        last_block: One past the last.
        mode: Sum of the mode bits of this module.
        block_stride: Rows of ``states`` from one block to the next; 0 when blocks share them.
        set_stride: Rows from one kept state to the next; 0 when only the last one is needed.
    """
    width = lanes(states)
    scratch = _carve(program, memory, table)
    angles = shared_angles(program, weights, data.shape[1], scratch.tangents, scratch.turned)
    if not mode & STATES_KEPT:
        uniform_tables(program.passes, program.words, scratch.tangents, scratch.products, table)
    support = np.zeros(1 << program.grown, np.int64)
    norm = np.ones(width)
    for block in range(first_block, last_block):
        first = block * width
        count = min(width, values.shape[0] - first)
        row = (block - first_block) * block_stride
        last = row + (program.sets.shape[0] >> 1) * set_stride
        block_angles(
            program, angles, data, first, count, scratch.tangents, scratch.turned, scratch.cosines, scratch.factors
        )
        if mode & STATES_KEPT:
            if program.from_amplitudes:
                for lane in range(count):
                    norm[lane] = norms[first + lane]
        else:
            if program.from_amplitudes:
                _start_from_amplitudes(
                    program, states, row, amplitudes, first, count, norm, angles.factor, scratch.lane
                )
                for lane in range(count):
                    norms[first + lane] = norm[lane]
            else:
                _start_from_zero(program, states, row, support, scratch)
            _forward(program, states, row, set_stride, scratch)
        if mode & VALUES:
            _read(program, states, last, scratch)
            _write_values(program, angles, values, first, count, scratch.reads)
        if mode & GRADIENTS:
            to_start = mode & AMPLITUDE_GRADIENT != 0
            _seed(program, angles, states, last, cotangent, first, count, scratch)
            _backward(program, states, row, set_stride, scratch, to_start)
            _collect(
                program, angles.theta, scratch.moments, scratch.turned, weight_rows[block], data_gradient, first, count
            )
            if to_start:
                _collect_amplitudes(
                    angles, scratch.bra, amplitudes, norm, values, cotangent, amplitude_gradient, first, count
                )
