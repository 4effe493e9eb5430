"""Fermionic sums as observables of qubits; the mapping is that of :mod:`qstore_db.circuits.pauli_products`."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Final, TypeAlias

from qstore_db.chemistry.hartree_fock import HartreeFock
from qstore_db.circuits.observables import PauliString, PauliSum
from qstore_db.circuits.pauli_products import ladder_strings
from qstore_db.errors import InvalidCircuitError

Ladder: TypeAlias = tuple[tuple[int, bool], ...]
"""A product of ladder operators from left to right: spin orbital, and whether it creates."""

_SMALLEST: Final = 1e-12
"""Coefficients below it, in the unit of the sum, are taken for rounding."""


def jordan_wigner(n_qubits: int, terms: Iterable[tuple[float, Ladder]]) -> PauliSum:
    """Σ coefficient · product of ladder operators as a sum of Pauli strings.

    Args:
        n_qubits: Spin orbitals.
        terms: The sum must be Hermitian.

    Raises:
        InvalidCircuitError: It is not, or nothing is left of it.

    Example:
        >>> str(jordan_wigner(1, [(1.0, ((0, True), (0, False)))]))
        '0.5·I + -0.5·Z'
    """
    found: dict[str, complex] = {}
    for coefficient, ladder in terms:
        for letters, value in ladder_strings(n_qubits, ladder).items():
            found[letters] = found.get(letters, 0) + coefficient * value
    kept = {letters: value for letters, value in found.items() if abs(value) > _SMALLEST}
    wrong = [letters for letters, value in kept.items() if abs(value.imag) > _SMALLEST]
    if wrong or not kept:
        raise InvalidCircuitError(
            f"the fermionic sum is not Hermitian: {wrong[0]} has the coefficient {kept[wrong[0]]}"
            if wrong
            else "nothing is left of the fermionic sum",
            fix="Give each term with its adjoint.",
            value=wrong,
        )
    return PauliSum(tuple((value.real, PauliString(letters)) for letters, value in sorted(kept.items())))


def electronic_hamiltonian(orbitals: HartreeFock) -> PauliSum:
    """The energy of the electrons in the orbitals, nuclear repulsion included, in hartree.

    H = E_nuc + Σ h_pq a†_pσ a_qσ + ½ Σ (pq|rs) a†_pσ a†_rτ a_sτ a_qσ. Spin orbital 2p is orbital p with spin up, 2p + 1
    with spin down, so the Hartree-Fock determinant has its ones on the first qubits, as
    :func:`~qstore_db.circuits.templates.coupled_cluster.coupled_cluster` starts.
    """
    m = len(orbitals.core)
    n = 2 * m
    terms: list[tuple[float, Ladder]] = [(orbitals.nuclear_repulsion, ())]
    for p, q in product(range(m), repeat=2):
        terms += [(float(orbitals.core[p, q]), ((2 * p + s, True), (2 * q + s, False))) for s in (0, 1)]
    for p, q, r, s in product(range(m), repeat=4):
        half = float(orbitals.repulsion[p, q, r, s]) / 2
        for up, down in product((0, 1), repeat=2):
            first, second, third, last = 2 * p + up, 2 * r + down, 2 * s + down, 2 * q + up
            if first != second and third != last:
                terms.append((half, ((first, True), (second, True), (third, False), (last, False))))
    return jordan_wigner(n, terms)
