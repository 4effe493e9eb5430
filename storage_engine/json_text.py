"""JSON as the log and the sealed tables keep it: UTF-8, exact, and refused where JSON would bend a value."""

from __future__ import annotations

import json
from typing import Any

from storage_engine.errors import InvalidArgumentError

_MAX_DEPTH = 100


def dump_json(value: Any, where: str) -> bytes:
    """The value as compact JSON in UTF-8, keys in their own order, such that :func:`json.loads` gives it back equal.

    Args:
        value: ``None``, bool, int, finite float, str, and lists and dicts (with text keys) of them.
        where: What it belongs to, for the error.

    Raises:
        InvalidArgumentError: Something that JSON cannot express: NaN or infinity, keys that are not text, other types,
            text with lone surrogates, integers of thousands of digits, more than 100 levels.
    """
    try:
        _check(value, 0)
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (ValueError, TypeError) as error:
        raise InvalidArgumentError(
            f"{where} cannot be stored: {error}",
            fix="Give null, booleans, finite numbers, text, and lists and objects (with text keys) of them.",
            value=value,
        ) from error


def _check(value: Any, depth: int) -> None:
    """What ``json.dumps`` would change silently."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"it is nested deeper than {_MAX_DEPTH} levels")
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise TypeError(f"the key {key!r} is not text")
            _check(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check(inner, depth + 1)
    elif value is not None and not isinstance(value, (str, int, float)):
        raise TypeError(f"{value!r} is a {type(value).__name__}")
