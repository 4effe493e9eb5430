"""Restricted Hartree-Fock: the best single determinant of doubly filled orbitals.

Source: Szabo and Ostlund, Modern Quantum Chemistry, section 3.4 (Roothaan's equations).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qstore_db.chemistry.gaussian_integrals import orbital_integrals
from qstore_db.chemistry.molecule import Molecule
from qstore_db.errors import InvalidArgumentError

_ROUNDS: Final = 500
_TOLERANCE: Final = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class HartreeFock:
    """The determinant, and the integrals over its orbitals; hartree.

    Args:
        energy: Total, nuclear repulsion included.
        nuclear_repulsion: That part.
        electrons: They fill the first ``electrons / 2`` orbitals.
        orbital_energies: Ascending, shape (m,).
        core: One-electron integrals over the orbitals, shape (m, m).
        repulsion: (pq|rs) over the orbitals, shape (m, m, m, m).
    """

    energy: float
    nuclear_repulsion: float
    electrons: int
    orbital_energies: NDArray[np.float64]
    core: NDArray[np.float64]
    repulsion: NDArray[np.float64]


def hartree_fock(molecule: Molecule) -> HartreeFock:
    """Iterates from the orbitals of the bare nuclei until the density stands still.

    Raises:
        InvalidArgumentError: It did not within 500 rounds, as can happen far from equilibrium.

    Example:
        >>> from qstore_db.chemistry.molecule import hydrogen_chain
        >>> round(hartree_fock(hydrogen_chain(2, 0.735)).energy, 5)
        -1.117
    """
    given = orbital_integrals(molecule)
    values, vectors = np.linalg.eigh(given.overlap)
    orthogonal = vectors / np.sqrt(values) @ vectors.T
    density = np.zeros_like(given.core)
    filled = molecule.electrons // 2
    for _ in range(_ROUNDS):
        direct = np.einsum("pqrs,rs->pq", given.repulsion, density)
        exchange = np.einsum("prqs,rs->pq", given.repulsion, density)
        fock = given.core + direct - exchange / 2
        energies, inner = np.linalg.eigh(orthogonal @ fock @ orthogonal)
        orbitals = orthogonal @ inner
        renewed = 2 * orbitals[:, :filled] @ orbitals[:, :filled].T
        change = float(np.abs(renewed - density).max())
        total = float((density * (given.core + fock)).sum() / 2)
        density = renewed
        if change < _TOLERANCE:
            break
    else:
        raise InvalidArgumentError(
            f"Hartree-Fock did not settle: the density still moves by {change:.2g}",
            fix="Bring the atoms closer to their equilibrium.",
            value=change,
        )
    turned = given.repulsion
    for _ in range(4):  # each turns the first axis and moves it last
        turned = np.tensordot(turned, orbitals, axes=(0, 0))
    return HartreeFock(
        total + molecule.nuclear_repulsion,
        molecule.nuclear_repulsion,
        molecule.electrons,
        energies,
        orbitals.T @ given.core @ orbitals,
        turned,
    )
