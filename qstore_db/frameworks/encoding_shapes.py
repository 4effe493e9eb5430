"""What encoding layers of all frameworks check before they look at a number."""

from __future__ import annotations

from qstore_db.circuits.circuit import MAX_QUBITS
from qstore_db.errors import InvalidCircuitError, InvalidVectorError


def checked_qubits(n_qubits: int) -> int:
    """The number of qubits.

    Raises:
        InvalidCircuitError: It is not an integer from 1 to 24.
    """
    if isinstance(n_qubits, bool) or not isinstance(n_qubits, int) or not 1 <= n_qubits <= MAX_QUBITS:
        raise InvalidCircuitError(
            f"an encoding on {n_qubits!r} qubits", fix=f"Use an integer from 1 to {MAX_QUBITS}.", value=n_qubits
        )
    return n_qubits


def checked_width(shape: tuple[int | None, ...], least: int, most: int) -> int:
    """The last axis of the rows.

    Raises:
        InvalidVectorError: It is missing, not known before the run, or outside ``least`` … ``most``.
    """
    width = shape[-1] if shape else None
    if width is None or not least <= width <= most:
        wanted = str(least) if least == most else f"{least} to {most}"
        raise InvalidVectorError(
            f"rows of shape {shape} do not fit an encoding of {wanted} number(s)",
            fix=f"Give an array of shape (…, width) with width {wanted}.",
            value=shape,
        )
    return width
