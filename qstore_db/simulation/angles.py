"""The angles of a run as the tangents the sweeps need.

θ is reduced to r + kπ with -π/2 ≤ r ≤ π/2. The rotation by kπ is the Pauli string to the power k; it moves to the end of
the circuit, past later rotations and readouts, whose signs it flips where the strings anticommute. So each lane carries
the product of all such strings as a pair of masks, and each rotation a sign a lane.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qstore_db.simulation.compiled import compiled, inlined
from qstore_db.simulation.packing import DATA, WEIGHT
from qstore_db.simulation.simd import parity

_PI_HIGH: Final = 3.141592653589793
_PI_LOW: Final = 1.2246467991473532e-16


class Angles(NamedTuple):
    """What all samples share, and the state of one block.

    Args:
        shared: float64 (R,): the part of each angle that all samples share.
        per_lane: int64 (R,): 1 where the angle has data.
        shared_tangent: float64 (R,): tan(r/2) of ``shared``.
        shared_cosine: float64 (R,).
        shared_odd: int64 (R,): k mod 2.
        start: float64 (segments,): products of the cosines that all lanes share.
        moved: int64 (2,): x and z mask of the strings moved out of the rotations before the first data angle.
        sign: float64 (R, lanes).
        factor: float64 (segments, lanes): product of the cosines of each segment.
        x: int64 (lanes,): mask of the strings moved to the end.
        z: int64 (lanes,).
        theta: float64 (lanes,), work.
        tangent: float64 (lanes,), work.
        cosine: float64 (lanes,), work.
        odd: int64 (lanes,), work.
    """

    shared: NDArray[np.float64]
    per_lane: NDArray[np.int64]
    shared_tangent: NDArray[np.float64]
    shared_cosine: NDArray[np.float64]
    shared_odd: NDArray[np.int64]
    start: NDArray[np.float64]
    moved: NDArray[np.int64]
    sign: NDArray[np.float64]
    factor: NDArray[np.float64]
    x: NDArray[np.int64]
    z: NDArray[np.int64]
    theta: NDArray[np.float64]
    tangent: NDArray[np.float64]
    cosine: NDArray[np.float64]
    odd: NDArray[np.int64]


@compiled
def reduce_angles(theta: Any, tangent: Any, cosine: Any, odd: Any) -> None:
    """tan(r/2), cos(r/2) and k mod 2, to rounding; Taylor polynomials on [-π/4, π/4], which LLVM vectorises."""
    for j in range(theta.size):
        k = math.floor(theta[j] * (1 / math.pi) + 0.5)
        y = 0.5 * ((theta[j] - k * _PI_HIGH) - k * _PI_LOW)
        w = y * y
        s = 1 / 6227020800 - w / 1307674368000
        s = 1 / 120 + w * (-1 / 5040 + w * (1 / 362880 + w * (-1 / 39916800 + w * s)))
        c = 1 / 479001600 - w / 87178291200
        c = 1 / 24 + w * (-1 / 720 + w * (1 / 40320 + w * (-1 / 3628800 + w * c)))
        cosine[j] = 1 + w * (-1 / 2 + w * c)
        tangent[j] = y * (1 + w * (-1 / 6 + w * s)) / cosine[j]
        odd[j] = int(k) & 1


@inlined
def shared_angles(program: Any, weights: Any, width: int, tangents: Any) -> Angles:
    """Everything that does not depend on the data; fills the tangents of the uniform rotations in every lane."""
    total = program.rotations.shape[0]
    out = Angles(
        np.empty(total), np.zeros(total, np.int64), np.empty(total), np.empty(total), np.empty(total, np.int64),
        np.ones(program.segments), np.zeros(2, np.int64), np.ones((total, width)), np.empty((program.segments, width)),
        np.empty(width, np.int64), np.empty(width, np.int64), np.empty(width), np.empty(width), np.empty(width),
        np.empty(width, np.int64),
    )  # fmt: skip
    for j in range(total):
        out.shared[j] = program.constant[j]
        for e in range(program.term_start[j], program.term_start[j + 1]):
            if program.term_kind[e] == WEIGHT:
                out.shared[j] += program.term_scale[e] * weights[program.term_index[e]]
            else:
                out.per_lane[j] = 1
    reduce_angles(out.shared, out.shared_tangent, out.shared_cosine, out.shared_odd)
    x_moved, z_moved = 0, 0
    for j in range(program.grown, program.uniform):
        x, z, segment = program.rotations[j, 0], program.rotations[j, 1], program.rotations[j, 3]
        sign = 1.0 - 2.0 * (parity(x & z_moved) ^ parity(z & x_moved))
        out.start[segment] *= out.shared_cosine[j]
        if out.shared_odd[j]:
            x_moved ^= x
            z_moved ^= z
        for lane in range(width):
            out.sign[j, lane] = sign
            tangents[2 * j * width + lane] = sign * out.shared_tangent[j]
            tangents[(2 * j + 1) * width + lane] = -sign * out.shared_tangent[j]
    out.moved[0], out.moved[1] = x_moved, z_moved
    return out


@compiled
def _lane_angles(program: Any, angles: Any, j: int, data: Any, first: int, count: int) -> None:
    """Angle j of every lane, reduced; lanes past the last sample repeat it."""
    theta = angles.theta
    for lane in range(theta.size):
        theta[lane] = angles.shared[j]
    for e in range(program.term_start[j], program.term_start[j + 1]):
        if program.term_kind[e] == DATA:
            for lane in range(theta.size):
                theta[lane] += program.term_scale[e] * data[first + min(lane, count - 1), program.term_index[e]]
    reduce_angles(theta, angles.tangent, angles.cosine, angles.odd)


@inlined
def block_angles(
    program: Any, angles: Any, data: Any, first: int, count: int, tangents: Any, cosines: Any, factors: Any
) -> None:
    """Tangents, signs and start factors of the block of samples ``first … first + count - 1``."""
    width = angles.theta.size
    for lane in range(width):
        angles.x[lane] = angles.moved[0]
        angles.z[lane] = angles.moved[1]
        for segment in range(program.segments):
            angles.factor[segment, lane] = angles.start[segment]
    for j in range(program.grown):  # on |0…0⟩: cosine and sine as they are, nothing moves to the end
        _lane_angles(program, angles, j, data, first, count)
        for lane in range(width):
            cosine = angles.cosine[lane]
            sine = cosine * angles.tangent[lane]
            if angles.odd[lane]:
                cosine, sine = -sine, cosine
            cosines[j * width + lane] = cosine
            tangents[2 * j * width + lane] = sine
            tangents[(2 * j + 1) * width + lane] = -sine
    for j in range(program.uniform, program.rotations.shape[0]):
        x, z, segment = program.rotations[j, 0], program.rotations[j, 1], program.rotations[j, 3]
        if angles.per_lane[j]:
            _lane_angles(program, angles, j, data, first, count)
        else:
            for lane in range(width):
                angles.tangent[lane] = angles.shared_tangent[j]
                angles.cosine[lane] = angles.shared_cosine[j]
                angles.odd[lane] = angles.shared_odd[j]
        for lane in range(width):
            sign = 1.0 - 2.0 * (parity(x & angles.z[lane]) ^ parity(z & angles.x[lane]))
            angles.sign[j, lane] = sign
            tangents[2 * j * width + lane] = sign * angles.tangent[lane]
            tangents[(2 * j + 1) * width + lane] = -sign * angles.tangent[lane]
            angles.factor[segment, lane] *= angles.cosine[lane]
            angles.x[lane] ^= -angles.odd[lane] & x
            angles.z[lane] ^= -angles.odd[lane] & z
    for segment in range(program.segments):
        for lane in range(width):
            factors[segment * width + lane] = angles.factor[segment, lane]
