"""Pauli errors of many trajectories, pushed through a circuit: which angles and readouts change their sign.

All strings are written in the frame of the start, where Clifford gates are not seen (see ``frame``): an error joins the
trajectory's string, and a rotation or readout whose string anticommutes with it has its sign changed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qstore_db.simulation.compiled import compiled, inlined


@inlined
def _odd(bits: int) -> bool:
    bits ^= bits >> 16
    bits ^= bits >> 8
    bits ^= bits >> 4
    bits ^= bits >> 2
    bits ^= bits >> 1
    return (bits & 1) == 1


@compiled
def push(
    steps: Any, ends: Any, strings: Any, readouts: Any, uniforms: Any, angles: Any, changed: Any, signs: Any
) -> None:
    """Draws the errors of every trajectory.

    Args:
        steps: int64 (steps, 3): a channel as (-1, first outcome, number of outcomes), a rotation as (column of its
            angle, x mask, z mask).
        ends: float64 (outcomes,), running sums of the probabilities of each channel's outcomes; the last is 1.
        strings: int64 (outcomes, 2): x mask and z mask.
        readouts: int64 (readouts, 2), likewise.
        uniforms: float64 (channels, trajectories), in [0, 1).
        angles: float64 (trajectories, columns), negated where a rotation anticommutes with the errors before it.
        changed: bool (trajectories,), overwritten: whether any angle was negated.
        signs: float64 (trajectories, readouts), overwritten: ±1.
    """
    for trajectory in range(uniforms.shape[1]):
        x, z, channel = 0, 0, 0
        changed[trajectory] = False
        for place in range(len(steps)):
            column, first, second = steps[place, 0], steps[place, 1], steps[place, 2]
            if column < 0:
                drawn = uniforms[channel, trajectory]
                channel += 1
                outcome = first
                while drawn >= ends[outcome] and outcome < first + second - 1:
                    outcome += 1
                x ^= strings[outcome, 0]
                z ^= strings[outcome, 1]
            elif (x | z) != 0 and _odd((x & second) ^ (z & first)):
                angles[trajectory, column] = -angles[trajectory, column]
                changed[trajectory] = True
        for readout in range(len(readouts)):
            odd = _odd((x & readouts[readout, 1]) ^ (z & readouts[readout, 0]))
            signs[trajectory, readout] = np.float64(-1.0) if odd else np.float64(1.0)
