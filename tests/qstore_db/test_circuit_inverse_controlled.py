import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.controlled import controlled, controlled_circuit, multi_controlled_phase, multi_controlled_z
from qstore_db.circuits.gates import GATES
from qstore_db.circuits.inverse import inverse
from qstore_db.circuits.parameters import Data, Weight
from qstore_db.circuits.placement import bind, on_qubits
from qstore_db.errors import InvalidArgumentError, InvalidCircuitError
from qstore_db.simulation.unitary import distance_up_to_phase, unitary

seeds = st.integers(0, 2**32)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(seed=seeds, n=st.integers(1, 4))
def test_the_inverse_undoes_the_circuit_exactly(random_circuit, seed, n):
    circuit = random_circuit(seed, n, 25, symbols=True)
    weights, data = np.array([0.3, -1.2, 2.0]), np.array([0.7, -0.4])
    product = unitary(circuit.compose(inverse(circuit)), weights, data)
    np.testing.assert_allclose(product, np.eye(1 << n), atol=1e-12)


@pytest.mark.parametrize("name", sorted(GATES))
def test_every_gate_under_a_control_is_the_block_matrix_with_its_phase(name):
    kind = GATES[name]
    angles = [0.7, -1.3, 2.1][: kind.angles]
    alone = unitary(Circuit(kind.qubits, (Operation(name, range(kind.qubits), angles),)))
    size = len(alone)
    wanted = np.eye(2 * size, dtype=complex)
    wanted[size:, size:] = alone
    operation = Operation(name, range(1, kind.qubits + 1), angles)
    got = unitary(Circuit(kind.qubits + 1, controlled(operation, 0)))
    np.testing.assert_allclose(got, wanted, atol=1e-13)


def test_a_control_below_its_target():
    got = unitary(controlled_circuit(Circuit(1, (Operation("RY", (0,), (0.4,)),)), 1, [0], 2))
    np.testing.assert_allclose(got, unitary(Circuit(2, (Operation("CRY", (1, 0), (0.4,)),))), atol=1e-14)


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5])
def test_multi_controlled_phase(m):
    rng = np.random.default_rng(m)
    qubits = tuple(int(qubit) for qubit in rng.permutation(m + 1)[:m])
    steps = multi_controlled_phase(0.9, qubits)
    assert sum(step.gate == "P" for step in steps) == 2**m - 1
    assert sum(step.gate == "CX" for step in steps) == 2**m - 2
    index = np.arange(1 << (m + 1))
    ones = np.all([(index >> (m - qubit)) & 1 for qubit in qubits], axis=0)
    np.testing.assert_allclose(unitary(Circuit(m + 1, steps)), np.diag(np.where(ones, np.exp(0.9j), 1)), atol=1e-13)
    signs = unitary(Circuit(m + 1, multi_controlled_z(qubits)))
    np.testing.assert_allclose(signs, np.diag(np.where(ones, -1.0, 1.0)), atol=1e-13)


def test_controls_that_cannot_be():
    with pytest.raises(InvalidCircuitError, match="its own control"):
        controlled(Operation("X", (1,)), 1)
    with pytest.raises(InvalidCircuitError, match="different qubits"):
        multi_controlled_z([])
    with pytest.raises(InvalidCircuitError, match="different qubits"):
        multi_controlled_phase(0.1, [0, 0])


def test_placement_keeps_the_order_of_qubits():
    circuit = Circuit(2, (Operation("CX", (0, 1)), Operation("RY", (1,), (0.3,))))
    placed = on_qubits(circuit, [2, 0], 3)
    assert [operation.qubits for operation in placed.operations] == [(2, 0), (0,)]
    with pytest.raises(InvalidCircuitError, match="places"):
        on_qubits(circuit, [1, 1], 3)
    with pytest.raises(InvalidCircuitError, match="acts on qubit 3"):
        on_qubits(circuit, [3, 0], 3)


def test_bind_gives_every_angle_its_number():
    circuit = Circuit(1, (Operation("RX", (0,), (Weight(1) * 2.0 + Data(0) * -1.0 + 0.25,)),))
    bound = bind(circuit, [9.0, 0.5], [0.125])
    assert bound.operations[0].angles[0].constant == 2 * 0.5 - 0.125 + 0.25
    assert (bound.number_of_weights, bound.number_of_data) == (0, 0)
    with pytest.raises(InvalidArgumentError, match=r"2 weight\(s\)"):
        bind(circuit, [0.5], [0.1])
    with pytest.raises(InvalidArgumentError, match="data column"):
        bind(circuit, [0.5, 0.5])


def test_dense_unitaries_are_bounded_and_compared_up_to_phase():
    with pytest.raises(InvalidCircuitError, match="13 qubits"):
        unitary(Circuit(13))
    one = unitary(Circuit(1, (Operation("T", (0,)),)))
    assert distance_up_to_phase(one, np.exp(1.3j) * one) < 1e-15
    assert distance_up_to_phase(one, unitary(Circuit(1, (Operation("S", (0,)),)))) > 0.3
