"""Gates that are made of others, and the identities that define the gates of trapped ions."""

import math

import numpy as np
import pytest

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.composite import COMPOSITE, basic, parts
from qstore_db.circuits.gates import GATES, pauli_matrix
from qstore_db.circuits.parameters import Data, Weight
from qstore_db.simulation.unitary import unitary


@pytest.mark.parametrize("name", sorted(COMPOSITE))
def test_the_parts_are_the_gate_global_phase_included(name):
    kind = GATES[name]
    rng = np.random.default_rng(0)
    for _ in range(5):
        qubits = rng.permutation(3)[: kind.qubits]
        angles = [Weight(0) * 2.0 - Data(0) + value for value in rng.normal(size=kind.angles)]
        operation = Operation(name, qubits, angles)
        weights, data = rng.normal(size=1), rng.normal(size=1)
        if not kind.angles:
            weights = data = None
        whole, spelled = (unitary(Circuit(3, steps), weights, data) for steps in ((operation,), parts(operation)))
        np.testing.assert_allclose(spelled, whole, atol=1e-14)
        assert not {step.gate for step in parts(operation)} & COMPOSITE
    assert list(basic([operation, Operation("H", (1,))])) == [*parts(operation), Operation("H", (1,))]


def ions(gate, qubits, *angles):
    return unitary(Circuit(2 if len(qubits) == 2 else 1, (Operation(gate, qubits, angles),)))


@pytest.mark.parametrize("theta", [0.0, 0.7, -2.1, math.pi, 5.0])
def test_a_turn_about_z_is_two_gpi_and_never_one(theta):
    turn = ions("RZ", (0,), theta)
    np.testing.assert_allclose(ions("GPI", (0,), theta / 2) @ ions("GPI", (0,), 0.0), turn, atol=1e-14)
    assert abs(np.trace(ions("GPI", (0,), theta / 2).conj().T @ turn)) < 1e-14


def test_the_gates_of_ions_are_turns_about_tilted_axes():
    phi, psi, theta = 0.4, -1.3, 0.9
    x, y = pauli_matrix("X"), pauli_matrix("Y")
    tilted = [math.cos(angle) * x + math.sin(angle) * y for angle in (phi, psi)]
    np.testing.assert_allclose(ions("GPI", (0,), phi), tilted[0], atol=1e-15)
    np.testing.assert_allclose(
        ions("GPI2", (0,), phi), math.cos(math.pi / 4) * (np.eye(2) - 1j * tilted[0]), atol=1e-15
    )
    generator = np.kron(tilted[0], tilted[1])
    wanted = math.cos(theta / 2) * np.eye(4) - 1j * math.sin(theta / 2) * generator
    np.testing.assert_allclose(ions("MS", (0, 1), phi, psi, theta), wanted, atol=1e-15)
    # At a quarter turn |00⟩ becomes a Bell state.
    np.testing.assert_allclose(abs(ions("MS", (0, 1), 0.0, 0.0, math.pi / 2)[:, 0]) ** 2, [0.5, 0, 0, 0.5], atol=1e-15)
