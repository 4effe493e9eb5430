"""Unitary coupled cluster: fermionic excitations as rotations about Pauli strings.

Source: Peruzzo et al., Nature Communications 5, 4213 (2014); orbitals become qubits by Jordan and Wigner (1928), so
that a_p = Z_0 … Z_{p-1} (X_p + iY_p)/2 and an occupied orbital is a qubit in |1⟩. One Trotter step: the product of the
excitations' exponentials in the stated order, not the exponential of their sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.observables import PauliString
from qstore_db.circuits.parameters import AngleLike, Weight, angle
from qstore_db.circuits.pauli_products import ladder_strings
from qstore_db.circuits.pauli_rotations import pauli_rotation
from qstore_db.errors import InvalidCircuitError


def excitation(n_qubits: int, occupied: Sequence[int], virtual: Sequence[int], theta: AngleLike) -> Circuit:
    """exp(θ (T - T†)) for T = a†_v1 … a†_vk a_ok … a_o1: moves k electrons from ``occupied`` to ``virtual``.

    T - T† is i times a sum of 2^{2k-1} commuting Pauli strings, so the product of their rotations is exact.

    Args:
        n_qubits: Spin orbitals.
        occupied: o1 … ok, different.
        virtual: v1 … vk, different from each other and from the occupied ones.
        theta: Radians; may hold weights and data.

    Raises:
        InvalidCircuitError: Not k and k different orbitals of 0 … n-1.

    Example:
        >>> excitation(2, [0], [1], Weight(0)).number_of_weights
        1
    """
    orbitals = (*occupied, *virtual)
    valid = all(orbital in range(n_qubits) for orbital in orbitals)
    if not occupied or len(occupied) != len(virtual) or len(set(orbitals)) != len(orbitals) or not valid:
        raise InvalidCircuitError(
            f"an excitation from {tuple(occupied)} to {tuple(virtual)} is not one of {n_qubits} orbital(s)",
            fix=f"Give as many occupied as virtual orbitals, all different, from 0 to {n_qubits - 1}.",
            value=orbitals,
        )
    circuit = Circuit(n_qubits)
    for letters, coefficient in _anti_hermitian_terms(n_qubits, occupied, virtual):
        # exp(θ · i c P) = exp(-i/2 · (-2 c θ) P)
        circuit = circuit.compose(pauli_rotation(PauliString(letters), angle(theta) * (-2.0 * coefficient)))
    return circuit


def coupled_cluster(n_qubits: int, electrons: int, *, first_weight: int = 0) -> Circuit:
    """The reference state with orbitals 0 … e-1 occupied, then all single and all double excitations.

    One weight an excitation: singles ordered by occupied, then virtual orbital; then doubles by the pair of occupied
    and the pair of virtual ones. Spin is not looked at: all excitations are there, e(n-e) singles and C(e,2)·C(n-e,2)
    doubles.

    Args:
        n_qubits: Spin orbitals.
        electrons: e, 1 … n-1.
        first_weight: Index of the first weight.

    Raises:
        InvalidCircuitError: ``electrons`` is out of range.

    Example:
        >>> coupled_cluster(4, 2).number_of_weights
        5
    """
    if electrons not in range(1, n_qubits):
        raise InvalidCircuitError(
            f"{electrons!r} electrons in {n_qubits} orbital(s) leave nothing to excite",
            fix=f"Give 1 to {n_qubits - 1} electrons.",
            value=electrons,
        )
    circuit = Circuit(n_qubits, (Operation("X", (orbital,)) for orbital in range(electrons)))
    moves = [
        move
        for size in (1, 2)
        for move in product(combinations(range(electrons), size), combinations(range(electrons, n_qubits), size))
    ]
    for place, (occupied, virtual) in enumerate(moves):
        circuit = circuit.compose(excitation(n_qubits, occupied, virtual, Weight(first_weight + place)))
    return circuit


def _anti_hermitian_terms(n: int, occupied: Sequence[int], virtual: Sequence[int]) -> list[tuple[str, float]]:
    """Pauli strings P and real c with T - T† = i Σ c P."""
    ladder = [(orbital, True) for orbital in virtual] + [(orbital, False) for orbital in reversed(occupied)]
    terms = ladder_strings(n, ladder)
    # T† has the conjugate coefficients on the same strings, so T - T† keeps twice the imaginary part.
    return [(letters, 2 * value.imag) for letters, value in terms.items() if value.imag]
