"""The gates: how many qubits and angles each has, and its matrix.

Matrices are written for the gate's own qubits with the first one as the left-most bit, that is the higher bit of the
matrix index; a controlled gate has its control first. Angles are radians.

    RX RY RZ            exp(-i θ/2 · X), …                          RXX RYY RZZ   exp(-i θ/2 · X⊗X), …
    P                   diag(1, e^{iθ})                             CRX CRY CRZ   the rotation where the control is 1
    U(θ, φ, λ)          [[cos θ/2, -e^{iλ} sin θ/2], [e^{iφ} sin θ/2, e^{i(φ+λ)} cos θ/2]]
    S T SDG TDG         P(π/2), P(π/4) and their inverses
    CP                  diag(1, 1, 1, e^{iθ})                       CCX CSWAP     X and SWAP where the controls are 1
    ISWAP               exp(i π/4 · (X⊗X + Y⊗Y)), and its inverse ISWAPDG

The gates of trapped ions, with X_φ = cos φ X + sin φ Y; IonQ writes their angles in turns, here they are radians:
    GPI(φ)              X_φ = [[0, e^{-iφ}], [e^{iφ}, 0]]
    GPI2(φ)             exp(-i π/4 · X_φ)
    MS(φ₀, φ₁, θ)       exp(-i θ/2 · X_φ₀⊗X_φ₁): entangles fully at θ = π/2, IonQ's quarter turn
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Matrix: TypeAlias = NDArray[np.complex128]

_PAULI: Final[Mapping[str, Matrix]] = MappingProxyType(
    {
        "I": np.eye(2, dtype=np.complex128),
        "X": np.array([[0, 1], [1, 0]], np.complex128),
        "Y": np.array([[0, -1j], [1j, 0]], np.complex128),
        "Z": np.array([[1, 0], [0, -1]], np.complex128),
    }
)


@dataclass(frozen=True, slots=True)
class Gate:
    """One kind of gate.

    Args:
        name: Upper case.
        qubits: Number of qubits it acts on, 1 to 3.
        angles: Number of angles it takes.
        matrices: Angles, each of shape (samples,), to matrices of shape (samples, 2**qubits, 2**qubits).
        clifford: Whether it maps Pauli strings to Pauli strings (and so costs nothing at run time).
    """

    name: str
    qubits: int
    angles: int
    matrices: Callable[..., Matrix]
    clifford: bool = False


def pauli_matrix(letters: str) -> Matrix:
    """The Kronecker product of the named Pauli matrices, first letter as the left-most factor."""
    out: Matrix = np.eye(1, dtype=np.complex128)
    for letter in letters:
        out = np.kron(out, _PAULI[letter]).astype(np.complex128)
    return out


def _fixed(matrix: object) -> Callable[..., Matrix]:
    constant = np.array(matrix, np.complex128)
    return lambda: constant[None]


def _rotation(letters: str) -> Callable[..., Matrix]:
    generator = pauli_matrix(letters)
    identity = np.eye(len(generator), dtype=np.complex128)

    def matrices(theta: NDArray[np.float64]) -> Matrix:
        half = theta[:, None, None] / 2
        out: Matrix = np.cos(half) * identity - 1j * np.sin(half) * generator
        return out

    return matrices


def _controlled(inner: Callable[..., Matrix]) -> Callable[..., Matrix]:
    def matrices(theta: NDArray[np.float64]) -> Matrix:
        out = np.zeros((theta.size, 4, 4), np.complex128)
        out[:, 0, 0] = out[:, 1, 1] = 1.0
        out[:, 2:, 2:] = inner(theta)
        return out

    return matrices


def _phase(theta: NDArray[np.float64]) -> Matrix:
    out = np.zeros((theta.size, 2, 2), np.complex128)
    out[:, 0, 0] = 1.0
    out[:, 1, 1] = np.exp(1j * theta)
    return out


def _general(theta: NDArray[np.float64], phi: NDArray[np.float64], lam: NDArray[np.float64]) -> Matrix:
    out = np.empty((theta.size, 2, 2), np.complex128)
    cosine, sine = np.cos(theta / 2), np.sin(theta / 2)
    out[:, 0, 0] = cosine
    out[:, 0, 1] = -np.exp(1j * lam) * sine
    out[:, 1, 0] = np.exp(1j * phi) * sine
    out[:, 1, 1] = np.exp(1j * (phi + lam)) * cosine
    return out


def _controlled_phase(theta: NDArray[np.float64]) -> Matrix:
    out = np.zeros((theta.size, 4, 4), np.complex128)
    out[:, (0, 1, 2), (0, 1, 2)] = 1.0
    out[:, 3, 3] = np.exp(1j * theta)
    return out


def _tilted(phi: NDArray[np.float64]) -> Matrix:
    # cos φ X + sin φ Y
    out = np.zeros((phi.size, 2, 2), np.complex128)
    out[:, 0, 1] = np.exp(-1j * phi)
    out[:, 1, 0] = np.exp(1j * phi)
    return out


def _quarter(phi: NDArray[np.float64]) -> Matrix:
    out: Matrix = _ROOT_HALF * (np.eye(2) - 1j * _tilted(phi))
    return out


def _moelmer_soerensen(phi: NDArray[np.float64], other: NDArray[np.float64], theta: NDArray[np.float64]) -> Matrix:
    generator = np.einsum("sij,skl->sikjl", _tilted(phi), _tilted(other)).reshape(-1, 4, 4)
    half = theta[:, None, None] / 2
    out: Matrix = np.cos(half) * np.eye(4) - 1j * np.sin(half) * generator
    return out


_ROOT_HALF: Final = np.sqrt(0.5)
_CX = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]]
_SWAP = [[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]]
_ISWAP = [[1, 0, 0, 0], [0, 0, 1j, 0], [0, 1j, 0, 0], [0, 0, 0, 1]]
_ISWAPDG = [[1, 0, 0, 0], [0, 0, -1j, 0], [0, -1j, 0, 0], [0, 0, 0, 1]]
_CCX = np.eye(8)[[0, 1, 2, 3, 4, 5, 7, 6]]
_CSWAP = np.eye(8)[[0, 1, 2, 3, 4, 6, 5, 7]]

GATES: Final[Mapping[str, Gate]] = MappingProxyType(
    {
        gate.name: gate
        for gate in (
            Gate("H", 1, 0, _fixed([[_ROOT_HALF, _ROOT_HALF], [_ROOT_HALF, -_ROOT_HALF]]), clifford=True),
            *(Gate(letter, 1, 0, _fixed(_PAULI[letter]), clifford=True) for letter in "XYZ"),
            Gate("S", 1, 0, _fixed([[1, 0], [0, 1j]]), clifford=True),
            Gate("SDG", 1, 0, _fixed([[1, 0], [0, -1j]]), clifford=True),
            Gate("T", 1, 0, _fixed([[1, 0], [0, np.exp(0.25j * np.pi)]])),
            Gate("TDG", 1, 0, _fixed([[1, 0], [0, np.exp(-0.25j * np.pi)]])),
            *(Gate(f"R{letter}", 1, 1, _rotation(letter)) for letter in "XYZ"),
            Gate("P", 1, 1, _phase),
            Gate("U", 1, 3, _general),
            Gate("CX", 2, 0, _fixed(_CX), clifford=True),
            Gate("CZ", 2, 0, _fixed(np.diag([1, 1, 1, -1])), clifford=True),
            Gate("SWAP", 2, 0, _fixed(_SWAP), clifford=True),
            *(Gate(f"R{letter}{letter}", 2, 1, _rotation(letter * 2)) for letter in "XYZ"),
            *(Gate(f"CR{letter}", 2, 1, _controlled(_rotation(letter))) for letter in "XYZ"),
            Gate("CP", 2, 1, _controlled_phase),
            Gate("ISWAP", 2, 0, _fixed(_ISWAP), clifford=True),
            Gate("ISWAPDG", 2, 0, _fixed(_ISWAPDG), clifford=True),
            Gate("GPI", 1, 1, _tilted),
            Gate("GPI2", 1, 1, _quarter),
            Gate("MS", 2, 3, _moelmer_soerensen),
            Gate("CCX", 3, 0, _fixed(_CCX)),
            Gate("CSWAP", 3, 0, _fixed(_CSWAP)),
        )
    }
)
