"""Products of Pauli strings, and products of fermionic ladder operators as sums of them.

Orbitals become qubits by Jordan and Wigner, Zeitschrift für Physik 47, 631 (1928): a_p = Z_0 … Z_{p-1} (X_p + iY_p)/2,
so that an occupied orbital is a qubit in |1⟩.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Final

_LETTERS: Final = {
    "XY": (1j, "Z"), "YZ": (1j, "X"), "ZX": (1j, "Y"), "YX": (-1j, "Z"), "ZY": (-1j, "X"), "XZ": (-1j, "Y"),
}  # fmt: skip


def pauli_product(left: str, right: str) -> tuple[complex, str]:
    """Phase and letters of the matrix product of two Pauli strings of one length.

    Example:
        >>> pauli_product("XI", "YZ")
        (1j, 'ZZ')
    """
    phase: complex = 1
    letters = []
    for a, b in zip(left, right, strict=True):
        if a == "I" or b == "I":
            letters.append(b if a == "I" else a)
        elif a == b:
            letters.append("I")
        else:
            factor, letter = _LETTERS[a + b]
            phase *= factor
            letters.append(letter)
    return phase, "".join(letters)


def ladder_strings(n_qubits: int, ladder: Iterable[tuple[int, bool]]) -> dict[str, complex]:
    """A product of ladder operators, left to right, as Σ coefficient · Pauli string.

    Args:
        n_qubits: Orbitals.
        ladder: Orbital of each operator, and whether it creates.

    Returns:
        Letters to coefficient; strings whose coefficients cancelled stay, with 0.

    Example:
        >>> ladder_strings(1, [(0, True), (0, False)])
        {'I': (0.5+0j), 'Z': (-0.5+0j)}
    """
    terms: dict[str, complex] = {"I" * n_qubits: 1.0}
    for orbital, creates in ladder:
        rest = "I" * (n_qubits - orbital - 1)
        factors = {"Z" * orbital + "X" + rest: 0.5 + 0j, "Z" * orbital + "Y" + rest: -0.5j if creates else 0.5j}
        grown: dict[str, complex] = {}
        for (left, a), (right, b) in product(terms.items(), factors.items()):
            phase, letters = pauli_product(left, right)
            grown[letters] = grown.get(letters, 0) + phase * a * b
        terms = grown
    return terms
