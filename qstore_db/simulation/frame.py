"""Pauli strings as bit masks, and the Clifford frame that lets Clifford gates cost nothing at run time.

The simulator keeps φ with ψ = C φ, C the product of the Clifford gates met so far. A Clifford gate only changes C,
which is kept by what C† P C is for the 2n strings X_q, Z_q (a stabiliser tableau: Aaronson and Gottesman, Physical
Review A 70, 052328 (2004), in the Heisenberg picture). Every other gate is a rotation about a Pauli string P, which
acts on φ as the rotation about C† P C; a readout P of ψ is the readout C† P C of φ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PauliMask:
    """The operator i^phase X^x Z^z; bit n-1-q of a mask belongs to qubit q, so masks act on basis indices.

    Args:
        x: Qubits with a bit flip.
        z: Qubits with a sign flip (it acts first).
        phase: Power of i, 0 … 3.
    """

    x: int
    z: int
    phase: int = 0

    def __mul__(self, other: PauliMask) -> PauliMask:
        swapped = 2 * (self.z & other.x).bit_count()
        return PauliMask(self.x ^ other.x, self.z ^ other.z, (self.phase + other.phase + swapped) & 3)

    def times_i(self, power: int) -> PauliMask:
        """i^power times the operator."""
        return PauliMask(self.x, self.z, (self.phase + power) & 3)

    def anticommutes(self, other: PauliMask) -> bool:
        """Whether the two operators anticommute; otherwise they commute."""
        return bool(((self.x & other.z).bit_count() + (self.z & other.x).bit_count()) & 1)

    @property
    def imaginary(self) -> bool:
        """Whether the matrix is purely imaginary (an odd number of Y); a Hermitian string is either that or real."""
        return bool(self.phase & 1)

    @property
    def sign(self) -> float:
        """The sign in P = sign · (X^x Z^z or i X^x Z^z)."""
        return -1.0 if self.phase & 2 else 1.0


class CliffordFrame:
    """C† X_q C and C† Z_q C for every qubit q, starting from C = 1."""

    def __init__(self, n_qubits: int) -> None:
        bits = [1 << (n_qubits - 1 - qubit) for qubit in range(n_qubits)]
        self._x = [PauliMask(bit, 0) for bit in bits]
        self._z = [PauliMask(0, bit) for bit in bits]

    def apply(self, gate: str, qubits: tuple[int, ...]) -> None:
        """C ← gate · C.

        Raises:
            ValueError: The gate is not Clifford.
        """
        x, z, a, b = self._x, self._z, qubits[0], qubits[-1]
        match gate:
            case "H":
                x[a], z[a] = z[a], x[a]
            case "X":
                z[a] = z[a].times_i(2)
            case "Y":
                x[a], z[a] = x[a].times_i(2), z[a].times_i(2)
            case "Z":
                x[a] = x[a].times_i(2)
            case "S":  # S† X S = -Y = -i X Z
                x[a] = (x[a] * z[a]).times_i(3)
            case "SDG":
                x[a] = (x[a] * z[a]).times_i(1)
            case "CX":
                x[a], z[b] = x[a] * x[b], z[a] * z[b]
            case "CZ":
                x[a], x[b] = x[a] * z[b], x[b] * z[a]
            case "SWAP":
                x[a], x[b] = x[b], x[a]
                z[a], z[b] = z[b], z[a]
            case _:
                raise ValueError(f"{gate} is not a Clifford gate")

    def image(self, letters: Mapping[int, str]) -> PauliMask:
        """C† P C of the string with the given letter on each named qubit."""
        out = PauliMask(0, 0)
        for qubit, letter in letters.items():
            if letter in "XY":
                out *= self._x[qubit]
            if letter in "YZ":
                out *= self._z[qubit]
            if letter == "Y":  # Y = i X Z
                out = out.times_i(1)
        return out
