"""Basis encoding: bits as a basis state."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.circuits.circuit import MAX_QUBITS, Circuit, Operation
from qstore_db.circuits.parameters import Data
from qstore_db.errors import InvalidCircuitError, InvalidVectorError


def basis_state(bits: str | Sequence[int]) -> Circuit:
    """The circuit |0…0⟩ → |b_0 b_1 … ⟩: X on every qubit whose bit is 1.

    Args:
        bits: A string such as ``"011"`` or a sequence of 0 and 1; the first bit is qubit 0's.

    Raises:
        InvalidCircuitError: Something else than 0 and 1, none, or more than 24.

    Example:
        >>> basis_state("011").operations
        (Operation(gate='X', qubits=(1,), angles=()), Operation(gate='X', qubits=(2,), angles=()))
    """
    return Circuit(len(bits), (Operation("X", (qubit,)) for qubit, bit in enumerate(checked_bits(bits)) if bit))


def basis_encoding(n_qubits: int, *, first_column: int = 0) -> Circuit:
    """The circuit ⊗_q RX(π x_q): for x_q of 0 and 1 the basis state |x_0 … x_{n-1}⟩, up to a global phase.

    One circuit for all samples, where :func:`basis_state` is one circuit a bitstring. Between 0 and 1 it is an angle
    encoding.

    Args:
        n_qubits: Qubits, and data columns used.
        first_column: Data column of qubit 0; qubit q reads column ``first_column + q``.

    Example:
        >>> basis_encoding(3).number_of_data
        3
    """
    return Circuit(
        n_qubits, (Operation("RX", (qubit,), (Data(first_column + qubit, math.pi),)) for qubit in range(n_qubits))
    )


def basis_columns(numbers: ArrayLike, n_qubits: int) -> NDArray[np.float64]:
    """The data columns of :func:`basis_encoding` for basis indices: their bits, qubit 0 the highest.

    Args:
        numbers: Shape (samples,), integers in 0 … 2^n - 1.
        n_qubits: 1 … 24.

    Returns:
        Shape (samples, n), float64, 0 or 1.

    Raises:
        InvalidCircuitError: ``n_qubits`` is out of range.
        InvalidVectorError: The numbers are no integers in range, or not one axis.

    Example:
        >>> basis_columns([5], 4).tolist()
        [[0.0, 1.0, 0.0, 1.0]]
    """
    if not 1 <= n_qubits <= MAX_QUBITS:
        raise InvalidCircuitError(
            f"{n_qubits} qubits are outside 1 … {MAX_QUBITS}", fix="Change n_qubits.", value=n_qubits
        )
    given = np.asarray(numbers)
    whole = given.ndim == 1 and np.issubdtype(given.dtype, np.integer)
    if not whole or (given.size and not 0 <= given.min() <= given.max() < 1 << n_qubits):
        raise InvalidVectorError(
            f"an array of {given.dtype} of shape {given.shape} is not a list of basis indices of {n_qubits} qubit(s)",
            fix=f"Give integers from 0 to {(1 << n_qubits) - 1}.",
            value=given.shape,
        )
    shifts = np.arange(n_qubits - 1, -1, -1)
    bits: NDArray[np.float64] = ((given[:, None].astype(np.int64) >> shifts) & 1).astype(np.float64)
    return bits


def checked_bits(bits: str | Sequence[int]) -> tuple[int, ...]:
    """The bits as integers.

    Raises:
        InvalidCircuitError: Something else than 0 and 1, or none.
    """
    allowed = {"0": 0, "1": 1} if isinstance(bits, str) else {0: 0, 1: 1}
    if not len(bits) or any(bit not in allowed for bit in bits):
        raise InvalidCircuitError(
            f"{bits!r} is not a bitstring", fix="Write 0 and 1 only, at least one, such as '011'.", value=bits
        )
    return tuple(int(bit) for bit in bits)
