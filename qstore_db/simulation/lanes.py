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
sets on both sides of that point are read there. Where even that is too much, one ψ is kept and its rotations are taken
back beside those of λ. The gradient of a weight is summed over the lanes of a block in one order, one row a block, and
the rows in the order of the blocks: the same bits for any number of threads.
"""

from __future__ import annotations

import math
from typing import Any

from qstore_db.simulation.angles import block_angles, shared_angles
from qstore_db.simulation.atomics import fetch_add
from qstore_db.simulation.compiled import inlined, part
from qstore_db.simulation.job import (
    AMPLITUDE_GRADIENT,
    GRADIENTS,
    HEAD,
    NORM_EXTREME,
    SLOT,
    STATES_KEPT,
    UNCOMPUTE,
    VALUES,
)
from qstore_db.simulation.kernel_views import program_view, scratch_view
from qstore_db.simulation.packing import DIAGONAL, MASK_COLUMNS, PASS_COLUMNS, SET_COLUMNS
from qstore_db.simulation.readout_sweeps import (
    collect,
    collect_amplitudes,
    cotangent_columns,
    read,
    seed,
    sum_rows,
    write_values,
)
from qstore_db.simulation.simd import lanes, load, multiply, parity, pointer, shifted, splat, store, subtract
from qstore_db.simulation.softmax_head import head_cotangents
from qstore_db.simulation.sweeps import (
    diagonal,
    diagonal_moment,
    fill,
    moment,
    rotate,
    scale,
    uniform_diagonal,
    uniform_tables,
)


@part
def _grow(program: Any, state: Any, scratch: Any) -> None:
    """The growing rotations on a state whose support doubles with each."""
    support = scratch.support
    support[0] = 0
    zero = splat(state, 0.0)
    for g in range(program.grown):
        mask = shifted(program.rotations, MASK_COLUMNS * g)
        x, z, imaginary = mask[0], mask[1], mask[2]
        c = load(scratch.cosines, g)
        for k in range(1 << g):
            p = support[k]
            support[k + (1 << g)] = p ^ x
            s = load(scratch.tangents, 2 * g + parity(z & p))
            here, there = 2 * p, 2 * (p ^ x)
            r, i = load(state, here), load(state, here + 1)
            store(state, here, multiply(c, r))
            store(state, here + 1, multiply(c, i))
            if imaginary:
                store(state, there, multiply(s, r))
                store(state, there + 1, multiply(s, i))
            else:
                store(state, there, multiply(s, i))
                store(state, there + 1, subtract(zero, multiply(s, r)))


@part
def _start_from_amplitudes(job: Any, program: Any, state: Any, scratch: Any, first: int, count: int) -> None:
    """Start vectors, transposed and padded with zeros, times the start factor over the norm (summed in float64)."""
    width = lanes(state)
    amplitudes, norms = pointer(job[SLOT.amplitudes], state), pointer(job[SLOT.norms], scratch.theta)
    columns, parts = job[SLOT.width], job[SLOT.parts]
    norm, lane_row = scratch.norm, scratch.lane
    for lane in range(width):
        norm[lane] = 0.0
    if parts == 1 or columns < 1 << program.n:
        fill(state, 0, 2 << program.n)
    for k in range(columns):
        for side in range(parts):
            for lane in range(width):
                value = amplitudes[((first + min(lane, count - 1)) * columns + k) * parts + side]
                lane_row[lane] = value
                norm[lane] += float(value) * float(value)
            store(state, 2 * k + side, load(lane_row, 0))
    for lane in range(width):
        norm[lane] = math.sqrt(norm[lane])
        lane_row[lane] = scratch.factor[lane] / norm[lane]
    limit = 1e15 if width == 16 else 1e60  # squares beyond it over- or underflow
    for lane in range(count):
        norms[first + lane] = norm[lane]
        if not 1.0 / limit < norm[lane] < limit:
            job[SLOT.status] |= NORM_EXTREME
    scale(state, 0, 2 << program.n, lane_row, 0)


@part
def _start(job: Any, program: Any, state: Any, scratch: Any, first: int, count: int) -> None:
    if program.from_amplitudes:
        _start_from_amplitudes(job, program, state, scratch, first, count)
    else:
        fill(state, 0, 2 << program.n)
        store(state, 0, load(scratch.factors, 0))
        _grow(program, state, scratch)


@part
def _apply(
    program_n: int, one: Any, state: Any, source: int, target: int, rotations: Any, words: Any, tangents: Any,
    products: Any, table: Any, adjoint: int,
) -> None:  # fmt: skip
    """One pass, or its adjoint up to the cosines."""
    if one[8] >= 0:
        uniform_diagonal(state, source, target, program_n, table, one[8], 1.0 - 2.0 * adjoint)
    elif one[0] == DIAGONAL:
        diagonal(state, source, target, one, words, tangents, adjoint, products)
    else:
        rotate(state, source, target, one, rotations, words, tangents, adjoint)


@inlined
def _forward(program: Any, state: Any, stride: int, scratch: Any) -> None:
    """Runs all sets from the start state in row 0; the state after set k stays at row ((k+1)//2)·stride."""
    current, segment = 0, 0
    for k in range(program.set_count):
        one_set = shifted(program.sets, SET_COLUMNS * k)
        target = ((k + 1) >> 1) * stride
        for q in range(one_set[0], one_set[1]):
            one = shifted(program.passes, PASS_COLUMNS * q)
            if one[7]:
                continue
            _apply(
                program.n, one, state, current, target, program.rotations, program.words, scratch.tangents,
                scratch.products, scratch.table, 0
            )  # fmt: skip
            current = target
        if one_set[2]:
            segment += 1
            scale(state, current, 2 << program.n, scratch.factors, segment)


@part
def _set_moments(
    n: int, passes: Any, first: int, last: int, rotations: Any, words: Any, bra: Any, ket: Any, row: int, work: Any,
    signs: Any, moments: Any
) -> None:  # fmt: skip
    for q in range(first, last):
        one = shifted(passes, PASS_COLUMNS * q)
        if one[0] == DIAGONAL:
            diagonal_moment(bra, ket, row, n, one, rotations, work, signs, moments)
        else:
            moment(bra, ket, row, one, rotations, words, moments)


@inlined
def _backward(program: Any, state: Any, stride: int, scratch: Any, to_start: bool, uncompute: bool) -> None:
    """Carries λ back through all sets and reads the moments of every rotation.

    With ``uncompute`` ψ in row 0 is carried back as well. Taking back 1 - i t P by 1 + i t P leaves 1 + t² = 1/cos²:
    one cosine is put right by λ's own scaling rule, the other by scaling ψ too, which is why each set must be a
    segment.
    """
    bra, size = scratch.bra, 2 << program.n
    segment = program.segments - 1
    for k in range(program.set_count - 1, -1, -1):
        one_set = shifted(program.sets, SET_COLUMNS * k)
        before = uncompute or k & 1 == 0
        row = (k >> 1) * stride
        if uncompute and one_set[2]:
            scale(bra, 0, size, scratch.factors, segment)
            scale(state, 0, size, scratch.factors, segment)
            segment -= 1
        if before:
            _set_moments(
                program.n, program.passes, one_set[0], one_set[1], program.rotations, program.words, bra, state, row,
                scratch.work, scratch.signs, scratch.moments
            )  # fmt: skip
            if k == 0 and not to_start:
                break
        if not uncompute and one_set[2]:
            scale(bra, 0, size, scratch.factors, segment)
            segment -= 1
        for q in range(one_set[1] - 1, one_set[0] - 1, -1):
            one = shifted(program.passes, PASS_COLUMNS * q)
            _apply(
                program.n, one, bra, 0, 0, program.rotations, program.words, scratch.tangents, scratch.products,
                scratch.table, 1
            )  # fmt: skip
            if uncompute and k:
                _apply(
                    program.n, one, state, 0, 0, program.rotations, program.words, scratch.tangents,
                    scratch.products, scratch.table, 1
                )  # fmt: skip
        if not before:
            _set_moments(
                program.n, program.passes, one_set[0], one_set[1], program.rotations, program.words, bra, state, row,
                scratch.work, scratch.signs, scratch.moments
            )  # fmt: skip


@inlined
def _block(job: Any, program: Any, scratch: Any, states: Any, worker: int, block: int) -> None:
    """One block forward, backward or both."""
    mode = job[SLOT.mode]
    width = lanes(states)
    first = block * width
    count = min(width, job[SLOT.samples] - first)
    stride = job[SLOT.set_stride]
    state = shifted(states, width * (block * job[SLOT.block_stride] + worker * job[SLOT.worker_stride]))
    uncompute = mode & UNCOMPUTE != 0
    last = 0 if uncompute else (program.set_count >> 1) * stride
    block_angles(job, program, scratch, first, count)
    if mode & STATES_KEPT == 0:
        _start(job, program, state, scratch, first, count)
        _forward(program, state, 0 if uncompute else stride, scratch)
    if mode & VALUES:
        read(program, state, last, scratch)
        write_values(job, program, scratch, first, count)
    if mode & GRADIENTS:
        to_start = mode & AMPLITUDE_GRADIENT != 0
        if mode & HEAD:
            head_cotangents(job, scratch, block, first, count)
        else:
            cotangent_columns(job, scratch, first, count)
        seed(job, program, state, last, scratch)
        _backward(program, state, stride, scratch, to_start, uncompute)
        collect(job, program, scratch, block, first, count)
        if to_start:
            collect_amplitudes(job, scratch, first, count)


@part
def run_blocks(job: Any, like: Any, worker: int) -> None:
    """Takes blocks until none is left; each thread of a job calls it with its own number."""
    program = program_view(job, like)
    scratch = scratch_view(job, like, worker)
    store(scratch.signs, 0, splat(like, 1.0))
    store(scratch.signs, 1, splat(like, -1.0))
    if worker or job[SLOT.mode] & STATES_KEPT == 0:  # the leader has them from the run that kept the states
        shared_angles(job, program, scratch)
        uniform_tables(
            program.passes, program.pass_count, program.words, scratch.tangents, scratch.products, scratch.table
        )
    states = pointer(job[SLOT.states], like)
    while True:
        block = fetch_add(job, SLOT.next_block)
        if block >= job[SLOT.blocks]:
            break
        if job[SLOT.mode] & STATES_KEPT:  # what was written last is still in a near cache
            block = job[SLOT.blocks] - 1 - block
        _block(job, program, scratch, states, worker, block)


@part
def finish(job: Any, like: Any) -> None:
    """Adds the rows of the blocks, in their order."""
    mode, blocks = job[SLOT.mode], job[SLOT.blocks]
    if mode & GRADIENTS:
        numbers = scratch_view(job, like, 0).theta
        sum_rows(
            pointer(job[SLOT.weight_rows], numbers), pointer(job[SLOT.weight_gradient], numbers), blocks,
            job[SLOT.weights]
        )  # fmt: skip
        if mode & HEAD:
            columns = job[SLOT.classes] * (job[SLOT.readouts] + 1) + 2
            sum_rows(pointer(job[SLOT.head_rows], numbers), pointer(job[SLOT.head_gradient], numbers), blocks, columns)
