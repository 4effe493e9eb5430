"""The angles of a run as the tangents the sweeps need.

θ is reduced to r + kπ with -π/2 ≤ r ≤ π/2. The rotation by kπ is the Pauli string to the power k; it moves to the end
of the circuit, past later rotations and readouts, whose signs it flips where the strings anticommute. So each lane
carries the product of all such strings as a pair of masks, and each rotation a sign a lane.
"""

from __future__ import annotations

from typing import Any

from qstore_db.simulation.compiled import part
from qstore_db.simulation.job import DATA_NOT_FINITE, SLOT, WEIGHTS_NOT_FINITE
from qstore_db.simulation.packing import DATA, MASK_COLUMNS, WEIGHT
from qstore_db.simulation.simd import fma, lanes, pointer, shifted, store
from qstore_db.simulation.turns import turn, turn_from_zero
from qstore_db.simulation.wide import load_wide, narrowed, splat_wide


@part
def shared_angles(job: Any, program: Any, scratch: Any) -> None:
    """Everything that does not depend on the data; fills tangents and signs of the uniform rotations."""
    like, theta = scratch.tangents, scratch.theta
    weights = pointer(job[SLOT.weight_values], theta)
    doubt = 0.0
    for m in range(job[SLOT.weights]):
        doubt += weights[m] - weights[m]  # 0 where finite, else NaN
    if doubt != 0.0:
        job[SLOT.status] |= WEIGHTS_NOT_FINITE
    for segment in range(program.segments):
        store(scratch.start, segment, splat_wide(like, 1.0))
    for lane in range(lanes(like)):
        scratch.start_x[lane] = 0
        scratch.start_z[lane] = 0
    for j in range(program.rotation_count):
        shared = program.constant[j]
        for e in range(program.term_start[j], program.term_start[j + 1]):
            if program.term_kind[e] == WEIGHT:
                shared += program.term_scale[e] * weights[program.term_index[e]]
        scratch.shared[j] = shared
    for j in range(program.grown, program.uniform):
        store(theta, 0, splat_wide(like, scratch.shared[j]))
        mask = shifted(program.rotations, MASK_COLUMNS * j)
        turn(
            theta, mask[0], mask[1], scratch.start_x, scratch.start_z, scratch.start, mask[3], scratch.tangents,
            scratch.turned, j
        )  # fmt: skip


@part
def _lane_angle(
    like: Any, shared: Any, starts: Any, kinds: Any, indices: Any, scales: Any, columns: Any, theta: Any, j: int
) -> None:
    """Angle j of every lane."""
    total = splat_wide(like, shared[j])
    for e in range(starts[j], starts[j + 1]):
        if kinds[e] == DATA:
            total = fma(splat_wide(like, scales[e]), load_wide(like, columns, indices[e]), total)
    store(theta, 0, total)


@part
def block_angles(job: Any, program: Any, scratch: Any, first: int, count: int) -> None:
    """Tangents, signs and start factors of the block of samples ``first … first + count - 1``.

    Lanes past the last sample repeat it.
    """
    like, columns = scratch.tangents, job[SLOT.columns]
    width = lanes(like)
    data = pointer(job[SLOT.data], scratch.theta)
    doubt = 0.0
    for lane in range(width):
        sample = first + min(lane, count - 1)
        scratch.x[lane] = scratch.start_x[lane]
        scratch.z[lane] = scratch.start_z[lane]
        for column in range(columns):
            value = data[sample * columns + column]
            doubt += value - value
            scratch.columns[column * width + lane] = value
    if doubt != 0.0:
        job[SLOT.status] |= DATA_NOT_FINITE
    for segment in range(program.segments):
        store(scratch.factor, segment, load_wide(like, scratch.start, segment))
    for j in range(program.grown):
        _lane_angle(
            like, scratch.shared, program.term_start, program.term_kind, program.term_index, program.term_scale,
            scratch.columns, scratch.theta, j
        )  # fmt: skip
        turn_from_zero(scratch.theta, scratch.cosines, scratch.tangents, scratch.turned, j)
    for j in range(program.uniform, program.rotation_count):
        _lane_angle(
            like, scratch.shared, program.term_start, program.term_kind, program.term_index, program.term_scale,
            scratch.columns, scratch.theta, j
        )  # fmt: skip
        mask = shifted(program.rotations, MASK_COLUMNS * j)
        turn(
            scratch.theta, mask[0], mask[1], scratch.x, scratch.z, scratch.factor, mask[3], scratch.tangents,
            scratch.turned, j
        )  # fmt: skip
    for segment in range(program.segments):
        store(scratch.factors, segment, narrowed(like, load_wide(like, scratch.factor, segment)))
