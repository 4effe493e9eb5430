import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.encodings.zz_feature_map import zz_columns, zz_feature_map
from qstore_db.circuits.gates import GATES
from qstore_db.circuits.interop.from_qiskit import from_qiskit
from qstore_db.circuits.interop.to_qiskit import to_qiskit
from qstore_db.circuits.qasm.reader import from_qasm
from qstore_db.circuits.qasm.writer import to_qasm
from qstore_db.circuits.standard_gates import OURS_ALONE, STANDARD_GATES
from qstore_db.errors import InvalidCircuitError
from qstore_db.simulation.unitary import distance_up_to_phase, unitary

qiskit = pytest.importorskip("qiskit")
pytestmark = pytest.mark.qiskit

seeds = st.integers(0, 2**32)


def qiskit_unitary(circuit):
    """In our order of bits: theirs reversed."""
    from qiskit.quantum_info import Operator

    return Operator(circuit.reverse_bits()).data


@settings(derandomize=True, deadline=None, max_examples=40)
@given(seed=seeds, n=st.integers(1, 4))
def test_qiskit_computes_the_same_unitary_and_the_way_back_is_the_same_circuit(random_circuit, tally, seed, n):
    tally["random circuits to Qiskit and back, by their unitaries"] += 1
    circuit = random_circuit(seed, n, 15)
    there = to_qiskit(circuit)
    np.testing.assert_allclose(qiskit_unitary(there), unitary(circuit), atol=1e-12)
    back = from_qiskit(there)
    if OURS_ALONE & {operation.gate for operation in circuit.operations}:  # those go there in parts
        assert distance_up_to_phase(unitary(back), unitary(circuit)) < 1e-12
    else:
        assert back == circuit


@settings(derandomize=True, deadline=None, max_examples=20)
@given(seed=seeds)
def test_symbols_survive_both_ways(random_circuit, tally, seed):
    tally["random circuits to Qiskit and back, by their unitaries"] += 1
    circuit = random_circuit(seed, 3, 12, symbols=True)
    weights, data = np.array([0.3, -1.2, 2.0]), np.array([0.7, -0.4])
    there = to_qiskit(circuit)
    known = {f"w{i}": w for i, w in enumerate(weights)} | {f"x{i}": x for i, x in enumerate(data)}
    bound = there.assign_parameters({parameter: known[parameter.name] for parameter in there.parameters})
    needed = weights[: circuit.number_of_weights], data[: circuit.number_of_data]
    ours = unitary(circuit, *needed)
    np.testing.assert_allclose(qiskit_unitary(bound), ours, atol=1e-12)
    np.testing.assert_allclose(unitary(from_qiskit(there), *needed), ours, atol=1e-12)


@pytest.mark.parametrize("name", sorted(set(STANDARD_GATES) - {"U", "CX", "phase", "cphase", "cnot"}))
def test_standard_gates_are_those_of_qiskit(name):
    kind = STANDARD_GATES[name]
    angles = [0.7, -1.3, 2.1, 0.4][: kind.angles]
    theirs = qiskit.QuantumCircuit(kind.qubits)
    from qiskit.circuit.library import get_standard_gate_name_mapping, standard_gates

    old = {"u1": "U1Gate", "u2": "U2Gate", "u3": "U3Gate", "cu1": "CU1Gate", "cu3": "CU3Gate"}
    gate = getattr(standard_gates, old[name]) if name in old else type(get_standard_gate_name_mapping()[name])
    theirs.append(gate(*angles), range(kind.qubits))
    got = unitary(from_qiskit(theirs))
    assert distance_up_to_phase(got, qiskit_unitary(theirs)) < 1e-12


@pytest.mark.filterwarnings("ignore::scipy.sparse.SparseEfficiencyWarning")
def test_other_gates_by_their_definition():
    from qiskit.circuit.library import MCXGate, PauliEvolutionGate, UnitaryGate, XGate
    from qiskit.quantum_info import SparsePauliOp, random_unitary

    theirs = qiskit.QuantumCircuit(qiskit.QuantumRegister(2, "a"), qiskit.QuantumRegister(2, "b"))
    theirs.h([0, 2])
    theirs.append(MCXGate(3), [3, 0, 1, 2])
    theirs.append(XGate().control(1, ctrl_state=0), [2, 0])
    theirs.barrier()
    theirs.append(UnitaryGate(random_unitary(4, seed=1)), [3, 1])
    theirs.append(PauliEvolutionGate(SparsePauliOp(["XY", "YX"]), 0.3), [1, 2])
    named = qiskit.QuantumCircuit(1, name="h")
    named.t(0)
    theirs.append(named.to_gate(), [3])  # called h, but not the library's
    theirs.rcccx(0, 1, 2, 3)
    theirs.global_phase = 1.0
    assert distance_up_to_phase(unitary(from_qiskit(theirs)), qiskit_unitary(theirs)) < 1e-10


def test_zz_feature_map_is_qiskits():
    from qiskit.circuit.library import zz_feature_map as theirs

    for entanglement in ("linear", "full", "pairwise", "circular"):
        circuit = theirs(3, reps=2, entanglement=entanglement)
        x = np.array([0.3, 1.2, 2.5])
        bound = circuit.assign_parameters(dict(zip(sorted(circuit.parameters, key=lambda p: p.index), x, strict=True)))
        ours = zz_feature_map(3, 2, entanglement=entanglement)
        got = unitary(ours, data=zz_columns(x[None], entanglement)[0])
        assert distance_up_to_phase(got, qiskit_unitary(bound)) < 1e-12


def test_what_is_not_a_circuit_of_ours():
    from qiskit.circuit import Parameter

    def one(build):
        circuit = qiskit.QuantumCircuit(2, 1)
        build(circuit)
        return circuit

    w = Parameter("w0")
    for build in (
        lambda c: c.measure(0, 0),
        lambda c: c.reset(0),
        lambda c: c.delay(10, 0),
        lambda c: c.initialize([0, 1], 0),
        lambda c: c.rx(w * w, 0),
        lambda c: c.rx(w.sin(), 0),
        lambda c: c.rx(Parameter("theta"), 0),
    ):
        with pytest.raises(InvalidCircuitError):
            from_qiskit(one(build))
    with_if = qiskit.QuantumCircuit(1, 1)
    with with_if.if_test((0, 1)):
        with_if.x(0)
    with pytest.raises(InvalidCircuitError, match="if_else"):
        from_qiskit(with_if)


@settings(derandomize=True, deadline=None, max_examples=20)
@given(seed=seeds, n=st.integers(1, 4))
def test_qiskit_reads_our_qasm_and_we_read_theirs(random_circuit, tally, seed, n):
    tally["random circuits as OpenQASM between us and Qiskit"] += 1
    import qiskit.qasm2
    import qiskit.qasm3

    circuit = random_circuit(seed, n, 15)
    ours = unitary(circuit)
    theirs = qiskit.qasm2.loads(to_qasm(circuit, 2), custom_instructions=qiskit.qasm2.LEGACY_CUSTOM_INSTRUCTIONS)
    assert distance_up_to_phase(qiskit_unitary(theirs), ours) < 1e-9
    for text in (qiskit.qasm2.dumps(to_qiskit(circuit)), qiskit.qasm3.dumps(to_qiskit(circuit))):
        assert distance_up_to_phase(unitary(from_qasm(text)), ours) < 1e-9


def test_symbols_in_qiskits_qasm_3():
    import qiskit.qasm3

    from qstore_db.circuits.parameters import Data, Weight

    circuit = Circuit(1, (Operation("RX", (0,), (Weight(2) * 2.0 - Data(1) + 0.5,)),))
    back = from_qasm(qiskit.qasm3.dumps(to_qiskit(circuit)))
    assert back.number_of_weights == 3
    weights, data = np.array([0, 0, 0.3]), np.array([0, 0.9])
    np.testing.assert_allclose(unitary(back, weights, data), unitary(circuit, weights, data), atol=1e-12)


def test_all_gates_are_in_both():
    assert {name.lower() for name in set(GATES) - OURS_ALONE} <= set(STANDARD_GATES)
    assert "qiskit" in sys.modules
