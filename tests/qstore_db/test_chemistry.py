"""Integrals, Hartree-Fock and Jordan-Wigner against published numbers, quadrature and dense fermions."""

from itertools import product

import numpy as np
import pytest

from qstore_db.chemistry.gaussian_integrals import orbital_integrals
from qstore_db.chemistry.hartree_fock import hartree_fock
from qstore_db.chemistry.jordan_wigner import electronic_hamiltonian, jordan_wigner
from qstore_db.chemistry.molecule import BOHR_IN_ANGSTROM, Molecule, hydrogen_chain
from qstore_db.circuits.observables import terms_of
from qstore_db.errors import InvalidArgumentError, InvalidCircuitError

PAULI = {
    "I": np.eye(2),
    "X": np.array([[0, 1], [1, 0]]),
    "Y": np.array([[0, -1j], [1j, 0]]),
    "Z": np.diag([1, -1]),
}


def kron(factors):
    out = np.eye(1)
    for factor in factors:
        out = np.kron(out, factor)
    return out


def dense(observable):
    return sum(c * kron([PAULI[letter] for letter in string.letters]) for c, string in terms_of(observable))


def lowering(n, p):
    """a_p by its definition on occupations: removes an electron, with the sign of those before it."""
    matrix = np.zeros((1 << n, 1 << n))
    for occupied in product((0, 1), repeat=n):
        if occupied[p]:
            to = list(occupied)
            to[p] = 0
            places = [int("".join(map(str, bits)), 2) for bits in (to, occupied)]
            matrix[places[0], places[1]] = (-1) ** sum(occupied[:p])
    return matrix


def test_integrals_are_those_of_the_textbook():
    """Szabo and Ostlund, section 3.5.2: H2 at 1.4 bohr, four digits."""
    found = orbital_integrals(hydrogen_chain(2, 1.4 * BOHR_IN_ANGSTROM))
    assert found.overlap[0, 0] == pytest.approx(1.0, abs=1e-6)
    assert found.overlap[0, 1] == pytest.approx(0.6593, abs=1e-4)
    assert found.core[0, 0] == pytest.approx(-1.1204, abs=1e-4)
    assert found.core[0, 1] == pytest.approx(-0.9584, abs=1e-4)
    repulsion = {(0, 0, 0, 0): 0.7746, (0, 0, 1, 1): 0.5697, (1, 0, 0, 0): 0.4441, (1, 0, 1, 0): 0.2970}
    for place, value in repulsion.items():
        assert found.repulsion[place] == pytest.approx(value, abs=1e-4)


def test_the_overlap_agrees_with_quadrature():
    molecule = Molecule((("He", (0.1, 0.0, -0.2)), ("H", (0.5, 0.3, 0.4))), charge=1)
    found = orbital_integrals(molecule)
    bare = orbital_integrals(Molecule((("He", (0.1, 0.0, -0.2)), ("H", (0.5, 0.3, 60.0))), charge=1))
    assert abs(bare.overlap[0, 1]) < 1e-12
    axis, step = np.linspace(-9, 9, 145, retstep=True)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)

    def orbital(exponents, place):
        squared = ((grid - place) ** 2).sum(axis=-1)
        return sum(
            weight * (2 * a / np.pi) ** 0.75 * np.exp(-a * squared)
            for weight, a in zip((0.15432897, 0.53532814, 0.44463454), exponents, strict=True)
        )

    waves = [
        orbital(exponents, place)
        for exponents, place in zip(
            ((6.36242139, 1.15892300, 0.31364979), (3.42525091, 0.62391373, 0.16885540)), molecule.places, strict=True
        )
    ]
    overlap = (waves[0] * waves[1]).sum() * step**3
    assert found.overlap[0, 1] == pytest.approx(overlap, abs=2e-4)


@pytest.mark.parametrize(
    ("atoms", "charge", "energy"),
    [
        ((("H", (0, 0, 0)), ("H", (0, 0, 0.735))), 0, -1.116998997),  # published with the bond length
        ((("He", (0, 0, 0)),), 0, -2.807784),  # Hehre, Stewart and Pople: helium in STO-3G
    ],
)
def test_hartree_fock_energies(atoms, charge, energy):
    assert hartree_fock(Molecule(atoms, charge)).energy == pytest.approx(energy, abs=1e-5)


def test_energies_do_not_depend_on_where_the_molecule_is():
    rng = np.random.default_rng(0)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    atoms = [("H", (0.0, 0.0, 0.0)), ("He", (0.0, 0.4, 0.7)), ("H", (0.9, 0.0, 0.1))]
    shift = rng.normal(size=3)
    moved = tuple((symbol, tuple(turn @ np.array(place) + shift)) for symbol, place in atoms)
    assert hartree_fock(Molecule(moved)).energy == pytest.approx(hartree_fock(Molecule(tuple(atoms))).energy, abs=1e-10)


def test_ladder_operators_are_fermions():
    n = 3
    for p, q in product(range(n), repeat=2):
        made = dense(jordan_wigner(n, [(0.7, ((p, True), (q, False))), (0.7, ((q, True), (p, False)))]))
        wanted = lowering(n, p).T @ lowering(n, q)
        np.testing.assert_allclose(made, 0.7 * (wanted + wanted.T), atol=1e-12)


def test_the_hamiltonian_is_the_sum_of_its_fermions():
    found = hartree_fock(Molecule((("He", (0, 0, 0)), ("H", (0, 0.2, 0.772))), charge=1))
    n = 2 * len(found.core)
    a = [lowering(n, p) for p in range(n)]
    wanted = found.nuclear_repulsion * np.eye(1 << n)
    for p, q in product(range(2), repeat=2):
        for s in (0, 1):
            wanted = wanted + found.core[p, q] * a[2 * p + s].T @ a[2 * q + s]
    for p, q, r, s in product(range(2), repeat=4):
        for up, down in product((0, 1), repeat=2):
            product_of = a[2 * p + up].T @ a[2 * r + down].T @ a[2 * s + down] @ a[2 * q + up]
            wanted = wanted + 0.5 * found.repulsion[p, q, r, s] * product_of
    made = dense(electronic_hamiltonian(found))
    np.testing.assert_allclose(made, wanted, atol=1e-10)
    reference = int("1100", 2)
    assert made[reference, reference].real == pytest.approx(found.energy, abs=1e-10)


@pytest.mark.parametrize(
    ("atoms", "charge"),
    [
        ((), 0),
        ((("Li", (0, 0, 0)),), 0),
        ((("H", (0, 0, 0)),), 0),
        ((("H", (0, 0, 0)), ("H", (0, 0, 0))), 0),
        ((("H", (0, 0, 0)), ("H", (0, 0, float("nan")))), 0),
        ((("H", (0, 0, 0)), ("H", (0, 0, 1))), -4),
    ],
)
def test_what_is_no_molecule_is_refused(atoms, charge):
    with pytest.raises(InvalidArgumentError):
        Molecule(atoms, charge)


def test_what_is_not_hermitian_is_refused():
    with pytest.raises(InvalidCircuitError, match="not Hermitian"):
        jordan_wigner(2, [(1.0, ((0, True), (1, False)))])
    with pytest.raises(InvalidCircuitError, match="nothing is left"):
        jordan_wigner(2, [(1.0, ((0, True), (0, True)))])
