"""Amplitude encoding: a vector of up to 2^n numbers becomes the amplitudes of n qubits, exactly.

The state is ψ = a/‖a‖ with a padded by zeros to 2^n; only the direction of the vector survives, its length does not.
Two roads give the same state: :func:`amplitudes` for a simulator that starts from amplitudes, and
:func:`state_preparation`, a circuit that a device can run.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.circuits.circuit import MAX_QUBITS, Circuit, Operation
from qstore_db.errors import InvalidCircuitError, InvalidVectorError


def qubits_for(width: int) -> int:
    """The fewest qubits whose 2^n amplitudes hold ``width`` numbers; at least one.

    Raises:
        InvalidCircuitError: ``width`` is below 1.
    """
    if width < 1:
        raise InvalidCircuitError(f"a vector of {width} numbers has no state", fix="Give at least one.", value=width)
    return max(1, (width - 1).bit_length())


def amplitudes(vectors: ArrayLike, n_qubits: int) -> NDArray[np.float64] | NDArray[np.complex128]:
    """Each vector padded with zeros to 2^n and divided by its Euclidean norm.

    Args:
        vectors: Shape (samples, width) with width ≤ 2^n, real or complex; one vector of shape (width,) is one sample.
        n_qubits: 1 … 24.

    Returns:
        Shape (samples, 2^n), float64 or complex128, each row of norm 1 (to rounding).

    Raises:
        InvalidVectorError: A vector is zero, not finite, or longer than 2^n.

    Example:
        >>> amplitudes([[3.0, 4.0, 0.0]], 2).tolist()
        [[0.6, 0.8, 0.0, 0.0]]
    """
    if not 1 <= n_qubits <= MAX_QUBITS:
        raise InvalidCircuitError(
            f"{n_qubits} qubits are outside 1 … {MAX_QUBITS}", fix="Change n_qubits.", value=n_qubits
        )
    given = np.asarray(vectors)
    rows = np.atleast_2d(given.astype(np.complex128 if np.iscomplexobj(given) else np.float64))
    if rows.ndim != 2 or not 1 <= rows.shape[1] <= 1 << n_qubits:
        raise InvalidVectorError(
            f"an array of shape {given.shape} does not fit the {1 << n_qubits} amplitudes of {n_qubits} qubit(s)",
            fix=f"Give rows of 1 to {1 << n_qubits} numbers, or reduce them first.",
            value=given.shape,
        )
    largest = np.abs(rows).max(axis=1)
    for row, size in enumerate(largest):
        if not (math.isfinite(size) and size > 0):
            raise InvalidVectorError(
                f"vector {row} is {'zero' if size == 0 else 'not finite'} and so has no direction",
                fix="Remove it or give it finite values that are not all zero.",
                value=row,
            )
    rows = rows / largest[:, None]  # so that squares neither overflow nor vanish
    out = np.zeros((rows.shape[0], 1 << n_qubits), rows.dtype)
    out[:, : rows.shape[1]] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return out


def state_preparation(vector: ArrayLike, n_qubits: int | None = None) -> Circuit:
    """A circuit of RY, RZ and CX that takes |0…0⟩ to the vector's state, up to a global phase.

    Uniformly controlled rotations, qubit 0 first: Möttönen, Vartiainen, Bergholm and Salomaa, Quantum Information and
    Computation 5, 467 (2005). A real vector, signs included, takes 2^n - 1 RY; a complex one 2^n - 1 RZ besides. Each
    group of 2^k rotations takes 2^k CX (none for k = 0).

    Args:
        vector: Shape (width,), real or complex, finite, not zero.
        n_qubits: Qubits of the circuit; by default the fewest that hold the vector.

    Raises:
        InvalidVectorError: As in :func:`amplitudes`.

    Example:
        >>> sum(operation.gate == "RY" for operation in state_preparation([1.0, -2.0, 3.0, 4.0]).operations)
        3
    """
    given = np.asarray(vector)
    if given.ndim != 1:
        raise InvalidVectorError(
            f"an array of shape {given.shape} is not one vector", fix="Give one vector.", value=given.shape
        )
    qubits = qubits_for(given.size) if n_qubits is None else n_qubits
    state = amplitudes(given, qubits)[0]
    operations: list[Operation] = []
    complex_valued = bool(np.iscomplexobj(state) and np.any(state.imag))
    moduli = np.abs(state) if complex_valued else state.real
    for qubit in range(qubits):
        operations += _uniformly_controlled("RY", qubit, _tree_angles(moduli, qubits, qubit))
    if complex_valued:
        phases = np.angle(state)
        for qubit in range(qubits):
            halves = phases.reshape(1 << qubit, 2, -1).mean(axis=2)
            operations += _uniformly_controlled("RZ", qubit, halves[:, 1] - halves[:, 0])
    return Circuit(qubits, operations)


def _tree_angles(values: NDArray[np.float64], qubits: int, qubit: int) -> NDArray[np.float64]:
    """RY angles of ``qubit`` for every pattern of the qubits before it; the last qubit carries the signs."""
    branches = values.reshape(1 << qubit, 2, -1)
    pair = branches[:, :, 0] if qubit == qubits - 1 else np.linalg.norm(branches, axis=2)
    angles: NDArray[np.float64] = 2 * np.arctan2(pair[:, 1], pair[:, 0])
    return angles


def _uniformly_controlled(gate: str, target: int, angles: NDArray[np.float64]) -> list[Operation]:
    """``gate(angles[pattern])`` on ``target`` for every bit pattern of the qubits before it (qubit 0 the highest bit).

    The rotations' angles are the Walsh transform of the wanted ones in Gray-code order (eq. 3 of the source); the CX
    after step i acts from the qubit whose Gray-code bit changes there.
    """
    count = angles.size
    index = np.arange(count)
    gray = index ^ (index >> 1)
    signs = 1.0 - 2.0 * (np.bitwise_count(index[:, None] & gray[None, :]) & 1)
    turned = signs.T @ angles / count
    operations: list[Operation] = []
    for step in range(count):
        operations.append(Operation(gate, (target,), (float(turned[step]),)))
        if count > 1:
            changed = int(gray[step] ^ gray[(step + 1) % count]).bit_length() - 1
            operations.append(Operation("CX", (target - 1 - changed, target)))
    return operations
