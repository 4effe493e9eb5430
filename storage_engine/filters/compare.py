"""Exact comparisons of stored numbers with one value: no integer is ever rounded to a float, nor the other way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from storage_engine.filters.expression import Operator

Number: TypeAlias = int | float | Fraction
_FEW = 16  # up to so many values, one pass each is cheaper than sorting them


def compare_integers(array: NDArray[Any], operator: Operator, value: Number) -> NDArray[np.bool_]:
    """``array operator value`` by the mathematical value, for any integer type and any number but NaN."""
    limits = np.iinfo(array.dtype)
    if isinstance(value, float) and math.isinf(value):
        above = value > 0  # every integer lies below +inf and above -inf
        return _all(array, operator == "!=" or operator in (("<", "<=") if above else (">", ">=")))
    floor = math.floor(value)
    whole = floor == value
    if operator in {"=", "!="}:
        if not whole or not limits.min <= floor <= limits.max:
            return _all(array, operator == "!=")
        same: NDArray[np.bool_] = array == array.dtype.type(floor)
        return same if operator == "=" else ~same
    # x < v  ⇔  x <= (v - 1 if v is whole else ⌊v⌋);  x <= v  ⇔  x <= ⌊v⌋;  the other two are their negations
    bound = floor - 1 if whole and operator in {"<", ">="} else floor
    if bound >= limits.max:
        below = _all(array, True)
    elif bound < limits.min:
        below = _all(array, False)
    else:
        below = array <= array.dtype.type(bound)
    return below if operator in {"<", "<="} else ~below


def compare_floats(array: NDArray[Any], operator: Operator, value: Number) -> NDArray[np.bool_]:
    """``array operator value`` by the mathematical value. A stored NaN is greater than every number, as in DuckDB."""
    stored = array if array.dtype == np.float64 else array.astype(np.float64)
    near = _nearest_float(value)
    if operator in {"=", "!="}:
        same = stored == near if near == value else _all(array, False)
        return same if operator == "=" else ~same
    # between near and value there is no float64: with near > value, x <= value is x < near; with near < value,
    # x < value is x <= near
    strict = near > value or (near == value and operator in {"<", ">="})
    below = stored < near if strict else stored <= near
    return below if operator in {"<", "<="} else ~below


def integers_in(array: NDArray[Any], values: Sequence[Number]) -> NDArray[np.bool_]:
    """True where an integer equals one of the values."""
    limits = np.iinfo(array.dtype)
    whole = {int(v) for v in values if not (isinstance(v, float) and math.isinf(v)) and int(v) == v}
    return _in(array, np.array(sorted(v for v in whole if limits.min <= v <= limits.max), array.dtype))


def floats_in(array: NDArray[Any], values: Sequence[Number]) -> NDArray[np.bool_]:
    """True where a float equals one of the values exactly."""
    stored = array.astype(np.float64, copy=False)
    exact = {near for value in values if (near := _nearest_float(value)) == value}
    return _in(stored, np.array(sorted(exact), np.float64))


def _nearest_float(value: Number) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _in(array: NDArray[Any], wanted: NDArray[Any]) -> NDArray[np.bool_]:
    if wanted.size > _FEW:
        return np.isin(array, wanted)
    found = _all(array, False)
    for value in wanted:
        found |= array == value
    return found


def _all(array: NDArray[Any], flag: bool) -> NDArray[np.bool_]:
    return np.full(array.shape, flag)
