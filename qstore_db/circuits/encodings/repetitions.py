"""How often an encoding is repeated."""

from __future__ import annotations

from qstore_db.errors import InvalidCircuitError


def checked_repetitions(repetitions: int) -> int:
    """The number, if it is one from 1 on.

    Raises:
        InvalidCircuitError: Below 1, or no integer.
    """
    if isinstance(repetitions, bool) or not isinstance(repetitions, int) or repetitions < 1:
        raise InvalidCircuitError(
            f"{repetitions!r} repetitions are not a number from 1 on", fix="Repeat once or more.", value=repetitions
        )
    return repetitions
