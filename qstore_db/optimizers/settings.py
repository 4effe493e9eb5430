"""Checks of the numbers that optimizers, schedules and searches are set by."""

from __future__ import annotations

import math
from typing import NoReturn, TypeGuard

from qstore_db.errors import InvalidArgumentError


def check_positive(owner: str, name: str, value: object) -> None:
    """Refuse what is not a finite number above 0.

    Raises:
        InvalidArgumentError: It is not; the message names owner, setting and value.
    """
    if not _is_number(value) or value <= 0.0:
        _refuse(owner, name, value, "a finite number above 0")


def check_not_negative(owner: str, name: str, value: object) -> None:
    """Refuse what is not a finite number from 0 on.

    Raises:
        InvalidArgumentError: It is not.
    """
    if not _is_number(value) or value < 0.0:
        _refuse(owner, name, value, "a finite number from 0 on")


def check_decay(owner: str, name: str, value: object) -> None:
    """Refuse what is not a number from 0 to below 1.

    Raises:
        InvalidArgumentError: It is not.
    """
    if not _is_number(value) or not 0.0 <= value < 1.0:
        _refuse(owner, name, value, "a number from 0 to below 1")


def check_factor(owner: str, name: str, value: object) -> None:
    """Refuse what is not a number above 0 and up to 1.

    Raises:
        InvalidArgumentError: It is not.
    """
    if not _is_number(value) or not 0.0 < value <= 1.0:
        _refuse(owner, name, value, "a number above 0 and at most 1")


def check_count(owner: str, name: str, value: object, least: int = 1) -> None:
    """Refuse what is not an integer from ``least`` on.

    Raises:
        InvalidArgumentError: It is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        _refuse(owner, name, value, f"an integer from {least} on")


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _refuse(owner: str, name: str, value: object, wanted: str) -> NoReturn:
    raise InvalidArgumentError(f"{owner}'s {name} is {value!r}", fix=f"Give {name} as {wanted}.", value=value)
