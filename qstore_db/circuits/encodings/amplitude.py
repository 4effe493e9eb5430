"""Amplitude encoding: a vector of up to 2^n numbers becomes the amplitudes of n qubits, exactly.

The state is ψ = a/‖a‖ with a padded by zeros to 2^n; only the direction of the vector survives, its length does not.
Two roads give the same state: :func:`amplitudes` for a simulator that starts from amplitudes, and
:func:`state_preparation`, a circuit that a device can run, and :func:`preparation_by_data`, the same for many vectors.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.circuits.circuit import MAX_QUBITS, Circuit, Operation
from qstore_db.circuits.parameters import Data
from qstore_db.circuits.placement import bind
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
    (angles,) = preparation_angles(given[None], qubits)
    return bind(preparation_by_data(qubits, has_phases=len(angles) > (1 << qubits) - 1), data=angles)


def preparation_by_data(n_qubits: int, *, has_phases: bool = False) -> Circuit:
    """The circuit of :func:`state_preparation` with its angles as data columns: one circuit for every vector.

    Args:
        n_qubits: 1 … 24.
        has_phases: Whether the vectors are complex: then RZ follow.

    Returns:
        With 2^n - 1 data columns, twice as many with phases, in the order of :func:`preparation_angles`.
    """
    operations: list[Operation] = []
    for gate in ("RY", "RZ") if has_phases else ("RY",):
        for qubit in range(n_qubits):
            columns = sum(len(one.angles) for one in operations)
            operations += _uniformly_controlled(gate, qubit, columns)
    return Circuit(n_qubits, operations)


def preparation_angles(vectors: ArrayLike, n_qubits: int) -> NDArray[np.float64]:
    """The angles that prepare the state of each vector, in radians.

    Args:
        vectors: Shape (samples, width), as for :func:`amplitudes`.
        n_qubits: 1 … 24.

    Returns:
        Shape (samples, 2^n - 1), or twice as many columns where a vector has an imaginary part. Cost: samples · n · 2^n
        additions.

    Raises:
        InvalidVectorError: As in :func:`amplitudes`.
    """
    states = amplitudes(vectors, n_qubits)
    has_phases = bool(np.iscomplexobj(states) and np.any(states.imag))
    moduli = np.abs(states) if has_phases else states.real
    parts = [_turned(_tree_angles(moduli, n_qubits, qubit)) for qubit in range(n_qubits)]
    if has_phases:
        phases = np.angle(states)
        for qubit in range(n_qubits):
            halves = phases.reshape(len(phases), 1 << qubit, 2, -1).mean(axis=3)
            parts.append(_turned(halves[:, :, 1] - halves[:, :, 0]))
    return np.concatenate(parts, axis=1)


def _tree_angles(values: NDArray[np.float64], qubits: int, qubit: int) -> NDArray[np.float64]:
    """RY angles of ``qubit`` for every pattern of the qubits before it; the last qubit carries the signs."""
    branches = values.reshape(len(values), 1 << qubit, 2, -1)
    pair = branches[..., 0] if qubit == qubits - 1 else np.linalg.norm(branches, axis=3)
    angles: NDArray[np.float64] = 2 * np.arctan2(pair[:, :, 1], pair[:, :, 0])
    return angles


def _gray(count: int) -> NDArray[np.int64]:
    index = np.arange(count)
    gray: NDArray[np.int64] = index ^ (index >> 1)
    return gray


def _turned(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotations' angles: the Walsh transform of the wanted ones in Gray-code order (eq. 3 of the source).

    By butterflies, so that the bits of a row do not depend on the rows beside it.
    """
    rows, count = angles.shape
    turned: NDArray[np.float64] = angles / count
    width = 1
    while width < count:
        pairs = turned.reshape(rows, -1, 2, width)
        turned = np.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], axis=2)
        width *= 2
    ordered: NDArray[np.float64] = turned.reshape(rows, count)[:, _gray(count)]
    return ordered


def _uniformly_controlled(gate: str, target: int, first_column: int) -> list[Operation]:
    """``gate(angle[pattern])`` on ``target`` for every bit pattern of the qubits before it (qubit 0 the highest bit).

    Its angles are data columns from ``first_column`` on; the CX after step i acts from the qubit whose Gray-code bit
    changes there.
    """
    count = 1 << target
    gray = _gray(count)
    operations: list[Operation] = []
    for step in range(count):
        operations.append(Operation(gate, (target,), (Data(first_column + step),)))
        if count > 1:
            changed = int(gray[step] ^ gray[(step + 1) % count]).bit_length() - 1
            operations.append(Operation("CX", (target - 1 - changed, target)))
    return operations
