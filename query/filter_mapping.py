"""Filters written as mappings, in the manner of Pinecone: ``{"label": {"$in": [1, 2]}, "price": {"$lt": 10}}``."""

from __future__ import annotations

import datetime
from collections.abc import Mapping

import numpy as np

from query.errors import InvalidFilterError
from storage_engine.errors import InvalidArgumentError
from storage_engine.filters.expression import (
    And,
    Comparison,
    Constant,
    InSet,
    IsNull,
    Not,
    Operator,
    Or,
    Predicate,
    Scalar,
)

_COMPARISONS: dict[str, Operator] = {
    "$eq": "=",
    "$ne": "!=",
    "$gt": ">",
    "$gte": ">=",
    "$lt": "<",
    "$lte": "<=",
}
_KNOWN = ", ".join([*_COMPARISONS, "$in", "$nin", "$exists", "$and", "$or", "$not"])
_MAX_DEPTH = 32


def parse_filter(mapping: Mapping[str, object]) -> Predicate:
    """The predicate of a filter mapping.

    Each key is a column with a value (equality) or a mapping of operators, all of which must hold: ``$eq`` ``$ne``
    ``$gt`` ``$gte`` ``$lt`` ``$lte`` compare with one value, ``$in`` ``$nin`` with a list, ``$exists`` takes true or
    false, ``$not`` a mapping of operators. The keys ``$and`` and ``$or`` take a list of filters, ``$not`` one filter.
    ``None`` as a value of ``$eq`` and ``$ne`` means that the column is missing, or not.

    The meaning is that of SQL: a row without the column satisfies neither ``$ne`` nor ``$nin`` nor a ``$not`` of them;
    add ``{"$exists": false}`` by ``$or`` to have it.

    Raises:
        InvalidFilterError: Anything else; the message names the operator or value.
    """
    return _filter(mapping, 0)


def _filter(mapping: object, depth: int) -> Predicate:
    if not isinstance(mapping, Mapping):
        raise InvalidFilterError(
            f"A filter is a mapping, not {_shown(mapping)}", fix='Write {"column": value}.', value=mapping
        )
    _check_depth(depth)
    parts = [_entry(key, value, depth) for key, value in mapping.items()]
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def _entry(key: object, value: object, depth: int) -> Predicate:
    if not isinstance(key, str) or not key:
        raise InvalidFilterError(f"{key!r} is no column name", fix="Use a column's name as key.", value=key)
    if key in {"$and", "$or"}:
        if not isinstance(value, list | tuple) or not value:
            raise InvalidFilterError(
                f"{key} needs a list of filters, not {_shown(value)}",
                fix=f'Write {{"{key}": [{{…}}, {{…}}]}}.',
                value=value,
            )
        operands = tuple(_filter(item, depth + 1) for item in value)
        return And(operands) if key == "$and" else Or(operands)
    if key == "$not":
        return Not(_filter(value, depth + 1))
    if key.startswith("$"):
        raise _unknown(key)
    return _column(key, value, depth)


def _column(column: str, value: object, depth: int) -> Predicate:
    if not isinstance(value, Mapping):
        return _equal(column, "$eq", value)
    _check_depth(depth)
    if not value:
        raise InvalidFilterError(
            f"The filter of column {column!r} is empty", fix='Write {"column": {"$gt": 3}}.', value=value
        )
    parts = [_operator(column, key, item, depth) for key, item in value.items()]
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def _operator(column: str, key: object, value: object, depth: int) -> Predicate:
    if key in {"$eq", "$ne"}:
        return _equal(column, str(key), value)
    if isinstance(key, str) and key in _COMPARISONS:
        scalar = _scalar(key, value)
        if scalar is None:
            raise InvalidFilterError(f"{key} cannot compare with None", fix='Use {"$exists": false}.', value=value)
        return _checked(column, _COMPARISONS[key], scalar)
    if key in {"$in", "$nin"}:
        return _in_list(column, str(key), value)
    if key == "$exists":
        if not isinstance(value, bool | np.bool_):
            raise InvalidFilterError(
                f"$exists takes true or false, not {_shown(value)}", fix="Give True or False.", value=value
            )
        return Not(IsNull(column)) if value else IsNull(column)
    if key == "$not":
        if not isinstance(value, Mapping):
            raise InvalidFilterError(
                f"$not takes a mapping of operators, not {_shown(value)}",
                fix='Write {"$not": {"$gt": 3}}.',
                value=value,
            )
        return Not(_column(column, value, depth + 1))
    raise _unknown(key)


def _equal(column: str, key: str, value: object) -> Predicate:
    scalar = _scalar(key, value)
    if scalar is None:
        return IsNull(column) if key == "$eq" else Not(IsNull(column))
    return _checked(column, _COMPARISONS[key], scalar)


def _in_list(column: str, key: str, value: object) -> Predicate:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, list | tuple | set | frozenset):
        raise InvalidFilterError(
            f"{key} takes a list of values, not {_shown(value)}", fix=f'Write {{"{key}": [1, 2]}}.', value=value
        )
    scalars = tuple(_scalar(key, item) for item in value)
    if None in scalars:
        raise InvalidFilterError(f"{key} cannot hold None", fix='Use {"$exists": false}, joined by "$or".', value=value)
    try:
        found: Predicate = InSet(column, scalars) if scalars else Constant(value=False)
    except InvalidArgumentError as error:
        raise InvalidFilterError(error.what, fix=error.fix, value=error.value) from error
    return found if key == "$in" else Not(found)


def _checked(column: str, operator: Operator, value: Scalar) -> Predicate:
    try:
        return Comparison(column, operator, value)
    except InvalidArgumentError as error:
        raise InvalidFilterError(error.what, fix=error.fix, value=error.value) from error


def _scalar(key: str, value: object) -> Scalar:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(
        value, bool | int | float | str | bytes | datetime.date | datetime.time | datetime.timedelta
    ):
        return value
    raise InvalidFilterError(
        f"{key} cannot compare with {_shown(value)}",
        fix="Give a number, text, bool, date or time; for several values use $in.",
        value=value,
    )


def _check_depth(depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise InvalidFilterError(f"The filter is nested deeper than {_MAX_DEPTH}", fix="Flatten it.")


def _unknown(key: object) -> InvalidFilterError:
    return InvalidFilterError(f"{key!r} is no filter operator", fix=f"Known operators: {_KNOWN}.", value=key)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
