"""Gates and channels in the Pauli basis, where both are real matrices."""

from __future__ import annotations

from itertools import product
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.circuits.gates import pauli_matrix

LETTERS: Final = "IXYZ"
"""Letters by their number."""


def transfer_matrix(kraus: ArrayLike) -> NDArray[np.float64]:
    """The Pauli transfer matrix of ρ → Σ K ρ K†.

    Args:
        kraus: (operators, d, d); one unitary alone is a stack of one.

    Returns:
        float64 (4^n, 4^n), strings in the order II IX IY IZ XI …; entry (i, j) is Tr(P_i Σ K P_j K†)/d.
    """
    operators = np.asarray(kraus, np.complex128)
    d = operators.shape[-1]
    qubits = d.bit_length() - 1
    strings = np.stack([pauli_matrix("".join(letters)) for letters in product(LETTERS, repeat=qubits)])
    images = np.einsum("kab,jbc,kdc->jad", operators, strings, operators.conj(), optimize=True)
    out: NDArray[np.float64] = (np.einsum("iab,jba->ij", strings, images, optimize=True) / d).real
    return np.ascontiguousarray(out)
