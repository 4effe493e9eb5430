"""Values that a caller binds to ``$names``: checked, and turned into what DuckDB can take."""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Collection, Mapping, Sequence

import duckdb
import numpy as np
from numpy.typing import NDArray

from query.errors import InvalidParameterError
from storage_engine.errors import InvalidVectorError

_SCALARS = (
    bool,
    int,
    float,
    str,
    bytes,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    decimal.Decimal,
    uuid.UUID,
)
_MAX_DEPTH = 8


def check_names(wanted: Sequence[Collection[str]], given: Mapping[str, object]) -> None:
    """Check that each parameter of a text has a value, and each value a place.

    Args:
        wanted: Names after ``$`` in each statement.
        given: What the caller bound.

    Raises:
        InvalidParameterError: One is missing or unused, or the text has ``?``.
    """
    names = {name for statement in wanted for name in statement}
    for name in sorted(names - set(given)):
        if name.isdecimal():
            raise InvalidParameterError(
                f"Parameter {name} has no name", fix="Write $name instead of ? or $1, and bind it by name.", value=name
            )
        raise InvalidParameterError(f"Parameter ${name} has no value", fix=f"Pass it: sql(text, {name}=…).", value=name)
    for name in sorted(set(given) - names):
        expected = ", ".join(f"${item}" for item in sorted(names)) or "none"
        raise InvalidParameterError(
            f"The text has no parameter ${name}", fix=f"Leave it out; its parameters are: {expected}.", value=name
        )


def bindable(name: str, value: object) -> object:
    """A value as DuckDB takes it: NumPy scalars and arrays become Python numbers and lists.

    Raises:
        InvalidParameterError: Its type cannot be bound.
    """
    return _bindable(name, value, 0)


def vector(name: str, value: object) -> NDArray[np.float32]:
    """A value as a vector: float32 of shape (d,).

    Raises:
        InvalidVectorError: It is not a list of numbers, or holds NaN, infinity, or a number too large for float32.
    """
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.empty((0, 0))
    if array.ndim != 1 or array.dtype.kind not in "iuf" or not len(array):
        raise InvalidVectorError(
            f"Parameter ${name} is compared with vectors but is no list of numbers: {_shown(value)}",
            fix="Give a one-dimensional array or list of numbers.",
            value=value,
        )
    with np.errstate(over="ignore"):
        result = array.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(result))
    if len(bad):
        raise InvalidVectorError(
            f"Parameter ${name} holds {array[bad[0]]} at position {bad[0]}",
            fix="Give finite numbers that fit into 32 bits.",
            value=value,
        )
    return result


def typed_vector(values: NDArray[np.float32]) -> object:
    """A vector as DuckDB takes it, of type ``FLOAT[d]``."""
    return duckdb.Value(values.tolist(), duckdb.array_type(duckdb.sqltype("FLOAT"), len(values)))


def _bindable(name: str, value: object, depth: int) -> object:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, _SCALARS):
        return value if not isinstance(value, str) else _text(name, value)
    if depth > _MAX_DEPTH:
        raise InvalidParameterError(f"Parameter ${name} is nested deeper than {_MAX_DEPTH} lists", fix="Flatten it.")
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise InvalidParameterError(f"Parameter ${name} has a key that is no text", fix="Use texts as keys.")
        return {key: _bindable(name, item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_bindable(name, item, depth + 1) for item in value]
    if hasattr(value, "__array__"):
        array = np.asarray(value)
        if array.dtype.kind in "biufUM":
            return _bindable(name, array.tolist(), depth + 1)
    raise InvalidParameterError(
        f"Parameter ${name} cannot be bound: it is a {type(value).__name__}",
        fix="Give None, a number, text, bytes, date, time, list, dict or NumPy array.",
        value=value,
    )


def _text(name: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidParameterError(
            f"Parameter ${name} holds half a surrogate pair, which is no character", fix="Take it out.", value=value
        ) from error
    return str(value)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
