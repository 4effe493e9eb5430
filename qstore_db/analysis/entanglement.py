"""Entanglement of pure states: Schmidt decomposition, entropy, and the Meyer-Wallach measure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.errors import InvalidArgumentError, InvalidVectorError

NORM_TOLERANCE: Final = 1e-4
"""How far a squared norm may be from 1: what a long circuit in float32 loses. States are divided by their norm."""


def schmidt_coefficients(states: ArrayLike, qubits: Sequence[int]) -> NDArray[np.float64]:
    """The numbers s_k ≥ 0 of |ψ⟩ = Σ_k s_k |a_k⟩⊗|b_k⟩, with orthonormal a_k on ``qubits`` and b_k on the others.

    By singular value decomposition; with k the smaller number of qubits of the two sides, cost 2^(n+k) a state.

    Args:
        states: Shape (…, 2^n), qubit 0 the highest bit of the last index; normalised.
        qubits: Any subset, in any order.

    Returns:
        Shape (…, 2^k), descending; the squares add up to 1.

    Raises:
        InvalidVectorError: The last axis is no power of two, or a state is not finite or not normalised.
        InvalidArgumentError: A qubit is not there or named twice.

    Example:
        >>> schmidt_coefficients([0.6, 0.0, 0.0, 0.8], [0]).round(12).tolist()
        [0.8, 0.6]
    """
    psi, n = _checked(states)
    inside = _subset(qubits, n)
    lead = psi.shape[:-1]
    axes = [len(lead) + qubit for qubit in inside]
    front = list(range(len(lead), len(lead) + len(inside)))
    spread = np.moveaxis(psi.reshape(lead + (2,) * n), axes, front)
    matrices = spread.reshape((*lead, 1 << len(inside), 1 << (n - len(inside))))
    found: NDArray[np.float64] = np.linalg.svd(matrices, compute_uv=False)
    return found


def entanglement_entropy(states: ArrayLike, qubits: Sequence[int]) -> NDArray[np.float64]:
    """The von Neumann entropy of the reduced state of ``qubits``, -Σ s_k² log₂ s_k², in bits.

    0 for a product of the two sides; at most the number of qubits of the smaller side; the same for a subset and its
    complement, and 0 for none or all of the qubits.

    Args:
        states: Shape (…, 2^n), pure and normalised. The entropy of a mixed state is no measure of entanglement and is
            not computed here.
        qubits: Any subset, in any order.

    Returns:
        Shape (…); one number for one state, as an array of no axes.

    Raises:
        InvalidVectorError: As :func:`schmidt_coefficients`.
        InvalidArgumentError: As :func:`schmidt_coefficients`.

    Example:
        >>> float(entanglement_entropy(np.sqrt([0.5, 0.0, 0.0, 0.5]), [0]).round(12))
        1.0
    """
    weights = schmidt_coefficients(states, qubits) ** 2
    logarithms = np.log2(weights, out=np.zeros_like(weights), where=weights > 0)
    # Rounding may leave a product state at -1e-16.
    return np.asarray(np.maximum(-(weights * logarithms).sum(axis=-1), 0.0))


def meyer_wallach(states: ArrayLike) -> NDArray[np.float64]:
    """Q = 2 (1 - (1/n) Σ_q tr ρ_q²), the mean mixedness of the single qubits.

    0 for products of single qubits and only for them, 1 when every qubit is maximally mixed (Bell, GHZ). It does not
    tell how the entanglement is shared: two Bell pairs score as much as GHZ of four qubits. Source: Meyer and Wallach,
    Journal of Mathematical Physics 43, 4273 (2002), in the form of Brennen, quant-ph/0305094.

    Args:
        states: Shape (…, 2^n), pure and normalised.

    Returns:
        Shape (…).

    Raises:
        InvalidVectorError: As :func:`schmidt_coefficients`.

    Example:
        >>> float(meyer_wallach(np.sqrt([0.5, 0.0, 0.0, 0.5])).round(12))
        1.0
    """
    psi, n = _checked(states)
    purity = np.zeros(psi.shape[:-1])
    for qubit in range(n):
        halves = np.moveaxis(psi.reshape((*psi.shape[:-1], 1 << qubit, 2, -1)), -2, -3)
        halves = halves.reshape((*psi.shape[:-1], 2, -1))
        reduced = halves @ halves.conj().swapaxes(-1, -2)
        purity += (reduced.real**2 + reduced.imag**2).sum(axis=(-1, -2))
    return np.asarray(np.maximum(2.0 * (1.0 - purity / n), 0.0))


def _checked(states: ArrayLike) -> tuple[NDArray[np.complex128], int]:
    psi = np.asarray(states, np.complex128)
    width = psi.shape[-1] if psi.ndim else 0
    if width < 2 or width & (width - 1):
        raise InvalidVectorError(
            f"an array of shape {psi.shape} holds no states of qubits",
            fix="Give 2^n amplitudes along the last axis.",
            value=psi.shape,
        )
    squares = (psi.real**2 + psi.imag**2).sum(axis=-1)
    if not np.all(np.abs(squares - 1.0) <= NORM_TOLERANCE):
        worst = float(squares.flat[int(np.argmax(np.abs(squares - 1.0)))])
        raise InvalidVectorError(
            f"a state has squared norm {worst:.6g}, not 1",
            fix="Divide every state by its norm; leave out those that are zero or not finite.",
            value=worst,
        )
    return psi / np.sqrt(squares)[..., None], width.bit_length() - 1


def _subset(qubits: Sequence[int], n: int) -> tuple[int, ...]:
    chosen = tuple(qubits)
    if len(set(chosen)) != len(chosen) or any(qubit not in range(n) for qubit in chosen):
        raise InvalidArgumentError(
            f"{chosen} are not different qubits of 0 … {n - 1}",
            fix="Name qubits of the state, each once.",
            value=chosen,
        )
    return chosen
