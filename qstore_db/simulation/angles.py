"""The angles of a run as the tangents the sweeps need.

θ is reduced to r + kπ with -π/2 ≤ r ≤ π/2. The rotation by kπ is the Pauli string to the power k; it moves to the end
of the circuit, past later rotations and readouts, whose signs it flips where the strings anticommute. So each lane
carries the product of all such strings as a pair of masks, and each rotation a sign a lane.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qstore_db.simulation.compiled import inlined
from qstore_db.simulation.packing import DATA, WEIGHT
from qstore_db.simulation.simd import lanes
from qstore_db.simulation.turns import turn, turn_from_zero


class Angles(NamedTuple):
    """What all samples share, and the state of one block.

    Args:
        shared: float64 (R,): the part of each angle that all samples share.
        start: float64 (segments · lanes,): products of the cosines of the uniform rotations.
        start_x: int64 (lanes,): x mask of the strings moved out of the uniform rotations.
        start_z: int64 (lanes,).
        factor: float64 (segments · lanes,): product of the cosines of each segment in the block.
        x: int64 (lanes,): mask of the strings moved to the end in the block.
        z: int64 (lanes,).
        theta: float64 (lanes,), work.
        columns: float64 (data columns · lanes,): the block's data, transposed.
    """

    shared: NDArray[np.float64]
    start: NDArray[np.float64]
    start_x: NDArray[np.int64]
    start_z: NDArray[np.int64]
    factor: NDArray[np.float64]
    x: NDArray[np.int64]
    z: NDArray[np.int64]
    theta: NDArray[np.float64]
    columns: NDArray[np.float64]


@inlined
def shared_angles(program: Any, weights: Any, data_columns: int, tangents: Any, signs: Any) -> Any:
    """Everything that does not depend on the data; fills tangents and signs of the uniform rotations."""
    total, width = program.rotations.shape[0], lanes(tangents)
    out = Angles(
        np.empty(total), np.ones(program.segments * width), np.zeros(width, np.int64), np.zeros(width, np.int64),
        np.empty(program.segments * width), np.empty(width, np.int64), np.empty(width, np.int64), np.empty(width),
        np.empty(data_columns * width),
    )  # fmt: skip
    for j in range(total):
        out.shared[j] = program.constant[j]
        for e in range(program.term_start[j], program.term_start[j + 1]):
            if program.term_kind[e] == WEIGHT:
                out.shared[j] += program.term_scale[e] * weights[program.term_index[e]]
    for j in range(program.grown, program.uniform):
        for lane in range(out.theta.size):
            out.theta[lane] = out.shared[j]
        x, z, segment = program.rotations[j, 0], program.rotations[j, 1], program.rotations[j, 3]
        turn(out.theta, x, z, out.start_x, out.start_z, out.start, segment, tangents, signs, j)
    return out


@inlined
def _lane_angle(program: Any, angles: Any, j: int) -> None:
    """Angle j of every lane."""
    for lane in range(angles.theta.size):
        angles.theta[lane] = angles.shared[j]
    for e in range(program.term_start[j], program.term_start[j + 1]):
        if program.term_kind[e] == DATA:
            scale, place = program.term_scale[e], program.term_index[e] * angles.theta.size
            for lane in range(angles.theta.size):
                angles.theta[lane] += scale * angles.columns[place + lane]


@inlined
def block_angles(
    program: Any, angles: Any, data: Any, first: int, count: int, tangents: Any, signs: Any, cosines: Any, factors: Any
) -> None:
    """Tangents, signs and start factors of the block of samples ``first … first + count - 1``.

    Lanes past the last sample repeat it.
    """
    width = angles.theta.size
    for lane in range(width):
        sample = first + min(lane, count - 1)
        angles.x[lane] = angles.start_x[lane]
        angles.z[lane] = angles.start_z[lane]
        for column in range(data.shape[1]):
            angles.columns[column * width + lane] = data[sample, column]
    for place in range(angles.factor.size):
        angles.factor[place] = angles.start[place]
    for j in range(program.grown):
        _lane_angle(program, angles, j)
        turn_from_zero(angles.theta, cosines, tangents, signs, j)
    for j in range(program.uniform, program.rotations.shape[0]):
        _lane_angle(program, angles, j)
        x, z, segment = program.rotations[j, 0], program.rotations[j, 1], program.rotations[j, 3]
        turn(angles.theta, x, z, angles.x, angles.z, angles.factor, segment, tangents, signs, j)
    for place in range(angles.factor.size):
        factors[place] = angles.factor[place]
