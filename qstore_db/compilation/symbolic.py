"""Sums of symbolic angles with like terms collected, and when such a sum turns nothing."""

from __future__ import annotations

import math
from typing import Final

from qstore_db.circuits.parameters import Angle, Symbol

NEGLIGIBLE: Final = 1e-12
"""A constant angle this close to a full turn, in radians, counts as one: sums of decimals are rarely exact. It moves no
entry of the unitary by more."""


def collected(value: Angle) -> Angle:
    """The same angle with every weight and data column once, in order of first appearance, and no zero scales.

    Scales are added in floating point and only an exact zero goes away: a weight may be large, so no scale is small.

    Example:
        >>> from qstore_db.circuits.parameters import Weight
        >>> str(collected(Weight(1) + Weight(0) - Weight(1) + 2.0))
        'w0 + 2'
    """
    scales: dict[tuple[type[Symbol], int], float] = {}
    for term in value.terms:
        name = (type(term), term.index)
        scales[name] = scales.get(name, 0.0) + term.scale
    terms = tuple(kind(index, scale) for (kind, index), scale in scales.items() if scale != 0.0)
    return Angle(terms, value.constant)


def is_multiple(value: Angle, period: float) -> bool:
    """Whether the angle has no symbols left and is a whole multiple of ``period``, up to :data:`NEGLIGIBLE`."""
    plain = collected(value)
    return not plain.terms and abs(math.remainder(plain.constant, period)) <= NEGLIGIBLE


def is_zero(value: Angle) -> bool:
    """Whether the angle is 0 for all weights and data, up to :data:`NEGLIGIBLE`."""
    plain = collected(value)
    return not plain.terms and abs(plain.constant) <= NEGLIGIBLE
