"""Metadata as Pinecone takes it, and the filters over it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

MAX_METADATA_BYTES: Final = 40 * 1024


class Refused(Exception):  # noqa: N818 - answered with status 400, never seen by users
    """A request that Pinecone answers with ``INVALID_ARGUMENT``."""


def taken(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Metadata as it is stored: nulls stripped, numbers as doubles.

    Raises:
        Refused: A name begins with ``$``, a value is nested or a list of anything but strings, or it is too large.
    """
    if given is None:
        return {}
    kept = {name: value for name, value in given.items() if value is not None}
    for name, value in kept.items():
        listed = isinstance(value, list) and all(isinstance(item, str) for item in value)
        if not (listed or isinstance(value, str | bool | int | float)):
            raise Refused(
                f"Metadata value must be a string, number, boolean or list of strings, got '{value}' for field '{name}'"
            )
        if name.startswith("$"):
            raise Refused(f"Metadata key cannot begin with '$': {name}")
    size = len(json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode())
    if size > MAX_METADATA_BYTES:
        raise Refused(
            f"metadata size is {size} bytes, which exceeds the limit of {MAX_METADATA_BYTES} bytes per vector"
        )
    return {name: float(value) if _is_number(value) else value for name, value in kept.items()}


def matches(metadata: Mapping[str, Any], condition: Mapping[str, Any] | None) -> bool:
    """Whether a row's metadata fulfils a filter: all of its fields must.

    Raises:
        Refused: An operator that Pinecone does not know.
    """
    return all(_holds(metadata, name, wanted) for name, wanted in (condition or {}).items())


def _holds(metadata: Mapping[str, Any], name: str, wanted: Any) -> bool:
    if name == "$and":
        return all(matches(metadata, one) for one in wanted)
    if name == "$or":
        return any(matches(metadata, one) for one in wanted)
    operators = wanted if isinstance(wanted, dict) else {"$eq": wanted}
    for operator, operand in operators.items():
        test = _TESTS.get(operator)
        if test is None:
            raise Refused(f"{operator} is not a valid operator")
        if not test(metadata.get(name), operand):
            return False
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _equals(value: Any, operand: Any) -> bool:
    if isinstance(value, list):
        return operand in value
    return type(value) is type(_as_stored(operand)) and bool(value == operand)


def _as_stored(operand: Any) -> Any:
    return float(operand) if _is_number(operand) else operand


def _ordered(compare: Callable[[float, float], bool]) -> Callable[[Any, Any], bool]:
    return lambda value, operand: _is_number(value) and _is_number(operand) and compare(value, operand)


_TESTS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "$eq": _equals,
    "$ne": lambda value, operand: not _equals(value, operand),
    "$gt": _ordered(lambda value, operand: value > operand),
    "$gte": _ordered(lambda value, operand: value >= operand),
    "$lt": _ordered(lambda value, operand: value < operand),
    "$lte": _ordered(lambda value, operand: value <= operand),
    "$in": lambda value, operand: any(_equals(value, one) for one in operand),
    "$nin": lambda value, operand: not any(_equals(value, one) for one in operand),
    "$exists": lambda value, operand: (value is not None) == operand,
}
