"""Atoms in space whose minimal basis is one s orbital each: hydrogen and helium."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import InvalidArgumentError

BOHR_IN_ANGSTROM: Final = 0.529177210903
"""CODATA 2018."""

CHARGES: Final = {"H": 1, "He": 2}

Atom: TypeAlias = tuple[str, tuple[float, float, float]]
"""Symbol and place in ångström."""


@dataclass(frozen=True, slots=True)
class Molecule:
    """Nuclei at rest and a number of electrons.

    Args:
        atoms: At least one; ``"H"`` and ``"He"``, at different places.
        charge: Of the whole, in elementary charges; the number of electrons must come out even and above 0.

    Raises:
        InvalidArgumentError: Another element, a place that is not finite or taken, or an odd or negative number of
            electrons, or more than two for every atom.

    Example:
        >>> Molecule((("H", (0, 0, 0)), ("H", (0, 0, 0.735)))).electrons
        2
    """

    atoms: tuple[Atom, ...]
    charge: int = 0

    def __post_init__(self) -> None:
        unknown = [symbol for symbol, _ in self.atoms if symbol not in CHARGES]
        if not self.atoms or unknown:
            raise InvalidArgumentError(
                f"a molecule of {[symbol for symbol, _ in self.atoms]} has orbitals that are not known here",
                fix=f"Use atoms of {', '.join(CHARGES)}: others need p orbitals.",
                value=unknown,
            )
        places = np.array([place for _, place in self.atoms], np.float64)
        gaps = np.linalg.norm(places[:, None] - places[None], axis=-1) + np.eye(len(places))
        if places.shape != (len(self.atoms), 3) or not np.isfinite(gaps).all() or (gaps < 1e-3).any():
            raise InvalidArgumentError(
                f"the places {places.tolist()} are no molecule",
                fix="Give three finite numbers for each atom, in ångström, at least 0.001 apart.",
                value=places.tolist(),
            )
        if self.electrons <= 0 or self.electrons % 2 or self.electrons > 2 * len(self.atoms):
            raise InvalidArgumentError(
                f"{self.electrons} electron(s) do not fill pairs of {len(self.atoms)} orbital(s)",
                fix="Choose a charge that leaves an even number, at most two for each atom.",
                value=self.charge,
            )

    @property
    def electrons(self) -> int:
        """Protons less the charge."""
        return sum(CHARGES[symbol] for symbol, _ in self.atoms) - self.charge

    @property
    def places(self) -> NDArray[np.float64]:
        """Shape (atoms, 3), in bohr."""
        return np.array([place for _, place in self.atoms], np.float64) / BOHR_IN_ANGSTROM

    @property
    def nuclear_repulsion(self) -> float:
        """Σ Z_a Z_b / |R_a - R_b| over pairs, in hartree."""
        places, charges = self.places, [CHARGES[symbol] for symbol, _ in self.atoms]
        return float(
            sum(
                charges[a] * charges[b] / np.linalg.norm(places[a] - places[b])
                for a in range(len(charges))
                for b in range(a)
            )
        )


def hydrogen_chain(atoms: int, spacing: float) -> Molecule:
    """Hydrogen atoms on a line.

    Args:
        atoms: An even number, at least 2.
        spacing: Between neighbours, in ångström.

    Raises:
        InvalidArgumentError: As for :class:`Molecule`.
    """
    return Molecule(tuple(("H", (0.0, 0.0, spacing * n)) for n in range(atoms)))
