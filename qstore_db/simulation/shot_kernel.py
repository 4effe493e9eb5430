"""Shots from probabilities in one merge.

The running sums of s + 1 exponential numbers, divided by their total, are s uniform numbers in ascending order
(Devroye, Non-Uniform Random Variate Generation, section V.2), so they meet the running sums of the probabilities in one
walk of 2^n + s steps.
"""

from __future__ import annotations

from typing import Any, Final

from qstore_db.simulation.compiled import compiled

AHEAD: Final = 8
"""Running sums compared at once, without a branch that a processor would have to guess."""

BLOCK: Final = 16
"""Numbers added up before they join the total: sums of different blocks do not wait for each other."""


@compiled
def running_sums(chances: Any, ends: Any) -> tuple[float, float]:
    """Running sums of what is above 0.

    Args:
        chances: float64 (outcomes,).
        ends: float64 (outcomes + 8,), overwritten; the last outcome with a chance and all after it get infinity, so
            that rounding never leads past it.

    Returns:
        The least chance (at most 0), and the sum of what is above 0, NaN if a chance is NaN.
    """
    total, least = 0.0, 0.0
    for start in range(0, chances.size, BLOCK):
        within = 0.0
        for k in range(start, min(start + BLOCK, chances.size)):
            chance = chances[k]
            least = chance if chance < least else least
            within += 0.0 if chance < 0.0 else chance  # keeps NaN
            ends[k] = total + within
        total += within
    last = chances.size - 1
    while last > 0 and not chances[last] > 0.0:
        last -= 1
    for k in range(last, ends.size):
        ends[k] = float("inf")
    return least, total


@compiled
def merge(ends: Any, total: float, spacings: Any, counts: Any) -> None:
    """Adds one to the count of the outcome of every shot.

    Args:
        ends: float64 (outcomes + 8,), from :func:`running_sums`.
        total: Sum of the chances.
        spacings: float64 (shots + 1,), exponential numbers.
        counts: int64 (outcomes,).
    """
    length = 0.0
    for start in range(0, spacings.size, BLOCK):
        within = 0.0
        for k in range(start, min(start + BLOCK, spacings.size)):
            within += spacings[k]
        length += within
    scale = total / length
    outcome, reached = 0, 0.0
    for k in range(spacings.size - 1):
        reached += spacings[k] * scale
        passed = AHEAD
        while passed == AHEAD:
            passed = 0
            for j in range(AHEAD):
                passed += reached >= ends[outcome + j]
            outcome += passed
        counts[outcome] += 1
