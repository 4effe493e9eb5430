import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.gates import GATES
from qstore_db.circuits.parameters import Weight
from qstore_db.circuits.placement import bind
from qstore_db.errors import InvalidArgumentError, InvalidCircuitError, MissingDependencyError
from qstore_db.simulation.unitary import distance_up_to_phase, unitary

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what PennyLane imports
    qml = pytest.importorskip("pennylane", reason="needs the extra sim")

from qstore_db.circuits.interop.from_pennylane import from_pennylane
from qstore_db.circuits.interop.to_pennylane import to_pennylane

WEIGHTS, DATA = np.array([0.3, -1.2, 2.0]), np.array([0.7, -0.4])
seeds = st.integers(0, 2**32)


def script(circuit, *values, **options):
    return qml.tape.make_qscript(to_pennylane(circuit))(*values, **options)


def matrix(found, wires):
    return np.asarray(qml.matrix(found, wire_order=wires))


@settings(derandomize=True, deadline=None, max_examples=30)
@given(seed=seeds, n=st.integers(1, 4))
def test_pennylane_computes_the_same_unitary_and_the_way_back_keeps_it(random_circuit, tally, seed, n):
    tally["random circuits to PennyLane and back, by their unitaries"] += 1
    circuit = random_circuit(seed, n, 15)
    there = script(circuit)
    np.testing.assert_allclose(matrix(there, range(n)), unitary(circuit), atol=1e-12)
    back = from_pennylane(there)
    assert back.n_qubits == n
    assert distance_up_to_phase(unitary(back), unitary(circuit)) < 1e-12


@settings(derandomize=True, deadline=None, max_examples=15)
@given(seed=seeds)
def test_weights_and_data_are_arguments(random_circuit, tally, seed):
    tally["random circuits to PennyLane and back, by their unitaries"] += 1
    circuit = random_circuit(seed, 3, 12, symbols=True)
    needed = WEIGHTS[: circuit.number_of_weights], DATA[: circuit.number_of_data]
    there = script(circuit, *needed)
    np.testing.assert_allclose(matrix(there, range(3)), unitary(circuit, *needed), atol=1e-12)


@pytest.mark.parametrize("name", sorted(set(GATES) - {"GPI", "GPI2", "MS"}))
def test_gates_come_back_as_themselves(name):
    kind = GATES[name]
    operation = Operation(name, tuple(range(kind.qubits))[::-1], [0.3, 0.7, -1.1][: kind.angles])
    back = from_pennylane(script(Circuit(kind.qubits, (operation,))), range(kind.qubits))
    assert back.operations == (operation,)


def test_the_first_wire_is_the_highest_bit():
    circuit = Circuit(3, (Operation("X", (0,)), Operation("CRY", (0, 2), (0.8,))))

    @qml.qnode(qml.device("default.qubit", wires=3))
    def node():
        to_pennylane(circuit)()
        return qml.state()

    np.testing.assert_allclose(node(), unitary(circuit)[:, 0], atol=1e-12)
    assert np.flatnonzero(np.abs(node()) > 1e-9).tolist() == [4, 5]


def test_the_order_of_wires_can_be_chosen():
    found = qml.tape.QuantumScript([qml.CNOT(["b", "a"]), qml.T("c")])
    assert from_pennylane(found).operations[0].qubits == (0, 1)  # by first use
    assert from_pennylane(found, ["a", "c", "b"]).operations[0].qubits == (2, 0)
    assert from_pennylane(found, ["idle", "a", "b", "c"]).n_qubits == 4
    numbered = qml.tape.QuantumScript([qml.CNOT([2, 1]), qml.T(0)])
    assert from_pennylane(numbered).operations[0].qubits == (2, 1)  # sorted
    for wires in (["a", "b"], ["a", "b", "c", "c"]):
        with pytest.raises(InvalidCircuitError, match="named once"):
            from_pennylane(found, wires)
    placed = script(Circuit(2, (Operation("CX", (0, 1)),)), wires=["right", "left"])
    assert list(placed.operations[0].wires) == ["right", "left"]


def test_idle_qubits_stay():
    circuit = Circuit(4, (Operation("X", (1,)),))
    assert from_pennylane(script(circuit)) == circuit


def test_other_operations_by_their_decomposition():
    rotation = np.array([[0.6, 0.8j], [0.8j, 0.6]])
    operations = [
        qml.Rot(0.1, 0.2, 0.3, wires=2),
        qml.U1(0.4, wires=0),
        qml.U2(0.4, 0.9, wires=0),
        qml.SX(1),
        qml.adjoint(qml.SX(0)),
        qml.adjoint(qml.Rot(0.1, 0.2, 0.3, wires=1)),
        qml.CY([2, 0]),
        qml.CH([1, 2]),
        qml.CCZ([0, 1, 2]),
        qml.PauliRot(0.3, "XYZ", wires=[2, 0, 1]),
        qml.MultiRZ(0.7, wires=[0, 2]),
        qml.IsingXY(0.5, wires=[2, 1]),
        qml.QubitUnitary(rotation, wires=1),
        qml.ctrl(qml.RX(0.3, wires=1), control=2, control_values=[0]),
        qml.ctrl(qml.S(0), control=[1, 2]),
        qml.ctrl(qml.GlobalPhase(0.3), control=1),
        qml.GlobalPhase(0.2),
        qml.Barrier([0, 1]),
        qml.QFT(wires=[0, 2, 1]),
        qml.prod(qml.X(0), qml.T(2)),
    ]
    found = qml.tape.QuantumScript(operations)
    theirs = matrix(qml.tape.QuantumScript([one for one in operations if one.name != "Barrier"]), [0, 1, 2])
    assert distance_up_to_phase(unitary(from_pennylane(found)), theirs) < 1e-9


def test_trainable_parameters_become_weights():
    operations = [qml.RX(0.3, 0), qml.Rot(0.1, 0.2, 0.4, wires=1), qml.adjoint(qml.CRZ(0.9, [1, 0])), qml.RY(0.5, 0)]
    found = qml.tape.QuantumScript(operations, trainable_params=[0, 2, 4])
    circuit = from_pennylane(found, trainable_as_weights=True)
    assert circuit.number_of_weights == 3
    values = np.array(found.get_parameters(), float)
    assert values.tolist() == [0.3, 0.2, 0.9]
    assert distance_up_to_phase(unitary(circuit, values), matrix(found, [0, 1])) < 1e-12
    assert from_pennylane(found).number_of_weights == 0
    assert distance_up_to_phase(unitary(bind(circuit, values)), unitary(from_pennylane(found))) < 1e-12
    decomposed = qml.tape.QuantumScript([qml.PauliRot(0.3, "XY", wires=[0, 1])])
    with pytest.raises(InvalidCircuitError, match="no weight goes"):
        from_pennylane(decomposed, trainable_as_weights=True)


def test_pennylane_differentiates_through_the_function():
    circuit = Circuit(1, (Operation("RX", (0,), (Weight(0) * 2.0 + 0.1,)),))

    @qml.qnode(qml.device("default.qubit", wires=1))
    def node(weights):
        to_pennylane(circuit)(weights)
        return qml.expval(qml.PauliZ(0))

    weights = qml.numpy.array([0.4], requires_grad=True)
    np.testing.assert_allclose(qml.grad(node)(weights), [-2 * np.sin(0.9)], atol=1e-12)


def test_a_function_of_the_same_name_is_not_pennylanes():
    class RX(qml.operation.Operation):
        num_wires = 1
        num_params = 1

        @staticmethod
        def compute_decomposition(angle, wires):
            return [qml.RZ(angle, wires)]

    (only,) = from_pennylane(qml.tape.QuantumScript([RX(0.3, wires=0)])).operations
    assert only.gate == "RZ"


def test_pennylane_is_asked_for_only_when_needed(monkeypatch):
    circuit = Circuit(1, (Operation("H", (0,)),))
    found = script(circuit)
    monkeypatch.setitem(sys.modules, "pennylane", None)
    for convert, given_circuit in ((to_pennylane, circuit), (from_pennylane, found)):
        with pytest.raises(MissingDependencyError, match=r"qstore-db\[sim\]"):
            convert(given_circuit)


def test_what_cannot_be_translated():
    with qml.queuing.AnnotatedQueue() as queue:
        qml.Hadamard(0)
        qml.measure(0)
    refused = [
        qml.tape.QuantumScript.from_queue(queue),
        qml.tape.QuantumScript([qml.DepolarizingChannel(0.1, wires=0)]),
        qml.tape.QuantumScript([qml.RX(np.array([0.1, 0.2]), 0)]),
    ]
    for found in refused:
        with pytest.raises(InvalidCircuitError):
            from_pennylane(found)
    f = to_pennylane(Circuit(2, (Operation("RX", (0,), (Weight(1),)),)))
    for values in ((), (np.zeros(1),), (np.zeros(2), None, [0]), (np.zeros(2), None, [0, 0])):
        with pytest.raises(InvalidArgumentError):
            f(*values)
