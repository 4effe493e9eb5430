"""Telling an error of a callback from one of the run itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class CallbackFailedError(Exception):
    """Carries the error ``cause`` of a callback to where the run is checkpointed; users see the cause itself.

    Args:
        cause: What the callback raised.
    """

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


@contextmanager
def told() -> Iterator[None]:
    """Calls of callbacks: what they raise leaves as :class:`CallbackFailedError`; ``KeyboardInterrupt`` as it is."""
    try:
        yield
    except Exception as error:
        raise CallbackFailedError(error) from error
