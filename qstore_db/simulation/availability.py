"""Whether compiled code can be made here."""

from __future__ import annotations

from qstore_db.errors import MissingDependencyError


def require_numba(what: str) -> None:
    """Refuse what only compiled code computes where Numba is missing; plans have an engine without it.

    Raises:
        MissingDependencyError: Numba cannot be imported.
    """
    try:
        import numba  # noqa: F401 - that it is there is all that is asked
    except ImportError as error:
        raise MissingDependencyError(
            f"numba is not installed, and {what} are computed by compiled code",
            fix="pip install numba; expectation values and their gradients work without it",
        ) from error
