"""The eigensolver beside exact diagonalisation."""

import numpy as np
import pytest

from qstore_db.algorithms.vqe import least_eigenvalue, minimise_expectation
from qstore_db.chemistry.hartree_fock import hartree_fock
from qstore_db.chemistry.jordan_wigner import electronic_hamiltonian
from qstore_db.chemistry.molecule import Molecule, hydrogen_chain
from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.encodings.angle import angle_encoding
from qstore_db.circuits.observables import PauliString, PauliSum
from qstore_db.circuits.templates.coupled_cluster import coupled_cluster
from qstore_db.errors import InvalidArgumentError, InvalidCircuitError
from qstore_db.optimizers.sgd import Sgd

CHEMICAL_ACCURACY = 1.6e-3  # hartree


def solved(molecule):
    found = hartree_fock(molecule)
    energy = electronic_hamiltonian(found)
    circuit = coupled_cluster(energy.n_qubits, found.electrons)
    return found, energy, minimise_expectation(circuit, energy, tolerance=1e-5)


def test_hydrogen_at_equilibrium():
    found, energy, minimum = solved(hydrogen_chain(2, 0.735))
    assert found.energy == pytest.approx(-1.11700, abs=1e-5)
    assert minimum.values[0] == pytest.approx(found.energy, abs=1e-9)  # it starts at the determinant
    assert minimum.value == pytest.approx(-1.13731, abs=1e-5)
    assert minimum.value == pytest.approx(least_eigenvalue(energy), abs=1e-8)


@pytest.mark.parametrize(
    "molecule",
    [hydrogen_chain(2, 1.8), hydrogen_chain(4, 1.0), Molecule((("He", (0, 0, 0)), ("H", (0, 0, 0.772))), charge=1)],
)
def test_the_energy_lies_between_hartree_fock_and_the_exact_one(molecule):
    found, energy, minimum = solved(molecule)
    exact = least_eigenvalue(energy, ones=found.electrons)
    assert exact - 1e-9 <= minimum.value <= found.energy
    assert minimum.value - exact < CHEMICAL_ACCURACY


def test_a_random_observable_is_bounded_by_its_least_eigenvalue():
    rng = np.random.default_rng(3)
    strings = {"".join(rng.choice(list("IXYZ"), 3)) for _ in range(9)}
    observable = PauliSum(tuple((float(rng.normal()), PauliString(one)) for one in sorted(strings)))
    circuit = hardware_efficient(3, 4, rotations="rx_ry_rz")
    start = rng.normal(size=circuit.number_of_weights)
    minimum = minimise_expectation(circuit, observable, start=start, steps=400)
    exact = least_eigenvalue(observable)
    assert exact - 1e-9 <= minimum.value <= exact + 0.05
    again = minimise_expectation(circuit, observable, start=start, steps=400)
    np.testing.assert_array_equal(minimum.weights, again.weights)
    slower = minimise_expectation(circuit, observable, start=start, steps=3, optimizer=Sgd(0.01))
    assert len(slower.values) == 4
    assert (np.diff(slower.values) < 0).all()


def test_no_step_gives_the_start():
    circuit = hardware_efficient(2, 1)
    minimum = minimise_expectation(circuit, PauliString("ZI"), start=np.full(circuit.number_of_weights, 0.2), steps=0)
    assert minimum.values.tolist() == [minimum.value]
    np.testing.assert_array_equal(minimum.weights, np.full(circuit.number_of_weights, 0.2))


def test_what_cannot_be_searched_is_refused():
    with pytest.raises(InvalidCircuitError, match="0 weight"):
        minimise_expectation(Circuit(1), PauliString("Z"))
    with pytest.raises(InvalidCircuitError, match="data"):
        minimise_expectation(angle_encoding(2).compose(hardware_efficient(2, 1)), PauliString("ZI"))
    with pytest.raises(InvalidArgumentError, match="steps"):
        minimise_expectation(hardware_efficient(1, 1), PauliString("Z"), steps=-1)
    with pytest.raises(InvalidArgumentError, match="13 qubits"):
        least_eigenvalue(PauliString("Z" * 13))
    with pytest.raises(InvalidArgumentError, match="changes the number"):
        least_eigenvalue(PauliString("XI"), ones=1)
    with pytest.raises(InvalidArgumentError, match="3 ones"):
        least_eigenvalue(PauliString("XI"), ones=3)
