import json
import math
import warnings

import cirq
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.gates import pauli_matrix
from qstore_db.circuits.interop.from_ionq import from_ionq
from qstore_db.circuits.interop.to_cirq import to_cirq
from qstore_db.circuits.interop.to_ionq import to_ionq
from qstore_db.circuits.interop.to_qiskit import to_qiskit
from qstore_db.circuits.parameters import Weight
from qstore_db.errors import InvalidCircuitError
from qstore_db.simulation.unitary import distance_up_to_phase, unitary

seeds = st.integers(0, 2**32)


def through_text(record):
    return json.loads(json.dumps(record))


def qis(*entries, qubits=3):
    return {"gateset": "qis", "qubits": qubits, "circuit": list(entries)}


def controlled_matrix(matrix, n, controls, target):
    """On n qubits, qubit 0 the highest bit, written out without any circuit."""
    out = np.eye(1 << n, dtype=complex)
    for column in range(1 << n):
        bits = [column >> (n - 1 - q) & 1 for q in range(n)]
        if all(bits[c] for c in controls):
            out[:, column] = 0
            for value in (0, 1):
                row = column & ~(1 << (n - 1 - target)) | value << (n - 1 - target)
                out[row, column] = matrix[value, bits[target]]
    return out


def cirq_ionq():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("cirq_ionq", reason="needs cirq-ionq")


def qiskit_ionq():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("qiskit_ionq", reason="needs qiskit-ionq")


def same(found, wanted, tolerance=1e-9):
    assert distance_up_to_phase(unitary(found), wanted) < tolerance


@settings(derandomize=True, deadline=None, max_examples=40)
@given(seed=seeds, n=st.integers(1, 4))
def test_circuits_come_back_with_the_same_unitary(random_circuit, tally, seed, n):
    tally["random circuits as IonQ's JSON and back, by their unitaries"] += 1
    circuit = random_circuit(seed, n, 15)
    back = from_ionq(through_text(to_ionq(circuit)))
    assert back.n_qubits == n
    same(back, unitary(circuit), 1e-11)


def test_native_gates_are_in_turns():
    circuit = Circuit(
        3,
        (
            Operation("GPI", (2,), (math.pi / 2,)),
            Operation("GPI2", (0,), (-math.pi,)),
            Operation("MS", (2, 0), (math.pi, math.pi / 2, math.pi / 2)),
            Operation("RZZ", (1, 2), (math.pi / 4,)),
        ),
    )
    record = to_ionq(circuit, gateset="native")
    assert record["gateset"] == "native"
    assert record["circuit"] == [
        {"gate": "gpi", "target": 2, "phase": 0.25},
        {"gate": "gpi2", "target": 0, "phase": -0.5},
        {"gate": "ms", "targets": [2, 0], "phases": [0.5, 0.25], "angle": 0.25},
        {"gate": "zz", "targets": [1, 2], "angle": 0.125},
    ]
    same(from_ionq(through_text(record)), unitary(circuit), 1e-12)


@pytest.mark.parametrize("package", [cirq_ionq, qiskit_ionq], ids=["cirq", "qiskit"])
def test_native_gates_are_those_of_both_packages(package):
    module = package()
    if module.__name__ == "cirq_ionq":
        gates = [
            (module.GPIGate(phi=0.13), {"gate": "gpi", "target": 0, "phase": 0.13}),
            (module.GPI2Gate(phi=0.13), {"gate": "gpi2", "target": 0, "phase": 0.13}),
            (
                module.MSGate(phi0=0.1, phi1=0.3, theta=0.2),
                {"gate": "ms", "targets": [0, 1], "phases": [0.1, 0.3], "angle": 0.2},
            ),
            (module.MSGate(phi0=0.1, phi1=0.3), {"gate": "ms", "targets": [0, 1], "phases": [0.1, 0.3]}),
            (module.ZZGate(theta=0.2), {"gate": "zz", "targets": [0, 1], "phase": 0.2}),
        ]
        matrices = [(cirq.unitary(gate), entry) for gate, entry in gates]
    else:
        from qiskit import QuantumCircuit
        from qiskit.quantum_info import Operator

        gates = [
            (module.GPIGate(0.13), {"gate": "gpi", "target": 0, "phase": 0.13}),
            (module.GPI2Gate(0.13), {"gate": "gpi2", "target": 0, "phase": 0.13}),
            (module.MSGate(0.1, 0.3, 0.2), {"gate": "ms", "targets": [0, 1], "phases": [0.1, 0.3], "angle": 0.2}),
            (module.ZZGate(0.2), {"gate": "zz", "targets": [0, 1], "angle": 0.2}),
        ]
        matrices = []
        for gate, entry in gates:
            circuit = QuantumCircuit(gate.num_qubits)
            circuit.append(gate.definition.to_gate() if gate.definition else gate, range(gate.num_qubits))
            matrices.append((Operator(circuit.reverse_bits()).data, entry))
    for matrix, entry in matrices:
        qubits = len(matrix).bit_length() - 1
        same(from_ionq({"gateset": "native", "qubits": qubits, "circuit": [entry]}), matrix)


CIRQ_GATES = {"H", "X", "Y", "Z", "S", "T", "RX", "RY", "RZ", "CX", "SWAP", "RXX", "RYY", "RZZ"}


@settings(derandomize=True, deadline=None, max_examples=20)
@given(seed=seeds)
def test_cirq_writes_the_same_circuit(random_circuit, tally, seed):
    tally["random circuits as IonQ's JSON by Cirq's package"] += 1
    cirq_ionq()
    from cirq_ionq.serializer import Serializer

    whole = random_circuit(seed, 3, 30)
    circuit = Circuit(3, [one for one in whole.operations if one.gate in CIRQ_GATES] + [Operation("H", (2,))])
    theirs = Serializer().serialize_single_circuit(to_cirq(circuit))
    same(from_ionq(through_text(theirs.input)), unitary(circuit), 1e-7)


def test_cirqs_plain_gates_are_written_as_ours():
    cirq_ionq()
    from cirq_ionq.serializer import Serializer

    gates = [("H", (0,)), ("SDG", (1,)), ("CX", (2, 0)), ("T", (2,)), ("SWAP", (0, 1)), ("Y", (1,)), ("X", (2,))]
    circuit = Circuit(3, [Operation(gate, qubits) for gate, qubits in gates])
    theirs = Serializer().serialize_single_circuit(to_cirq(circuit))
    assert through_text(theirs.input) == to_ionq(circuit)


def test_pauli_exponentials_of_cirq():
    cirq_ionq()
    from cirq_ionq.serializer import Serializer

    a, b, c = cirq.LineQubit.range(3)
    phasor = cirq.PauliStringPhasor(cirq.X(a) * cirq.Y(c), exponent_neg=0.3, exponent_pos=-0.1)
    other = cirq.PauliStringPhasor(cirq.Z(b) * cirq.X(a), exponent_neg=0.2)
    circuit = cirq.Circuit(cirq.H.on_each(a, b, c), phasor, other)
    theirs = Serializer().serialize_single_circuit(circuit)
    assert sum(entry["gate"] == "pauliexp" for entry in theirs.input["circuit"]) == 2
    same(from_ionq(through_text(theirs.input)), cirq.unitary(circuit), 1e-7)


def qiskit_input(circuit):
    from qiskit_ionq.helpers import qiskit_circ_to_ionq_circ

    entries, _, _ = qiskit_circ_to_ionq_circ(circuit)
    return through_text({"gateset": "qis", "qubits": circuit.num_qubits, "circuit": entries})


def qiskit_unitary(circuit):
    from qiskit.quantum_info import Operator

    return Operator(circuit.reverse_bits()).data


@pytest.mark.qiskit
def test_every_gate_of_qiskits_package():
    qiskit_ionq()
    import qiskit

    theirs = qiskit.QuantumCircuit(4)
    for qubit in range(4):
        theirs.h(qubit)
    theirs.x(0), theirs.y(1), theirs.z(2), theirs.s(3), theirs.sdg(0), theirs.t(1), theirs.tdg(2)
    theirs.sx(0), theirs.sxdg(3), theirs.p(0.3, 1), theirs.rx(0.4, 2), theirs.ry(0.5, 3), theirs.rz(0.6, 0)
    theirs.cx(3, 1), theirs.cy(1, 2), theirs.cz(0, 3), theirs.ch(2, 0), theirs.cp(0.7, 3, 0), theirs.csx(1, 3)
    theirs.crx(0.2, 3, 1), theirs.cry(0.3, 0, 2), theirs.crz(0.4, 2, 1), theirs.swap(0, 2)
    theirs.ccx(3, 0, 1), theirs.mcx([0, 2, 3], 1), theirs.mcp(0.8, [3, 1], 0)
    theirs.rxx(0.3, 0, 3), theirs.ryy(0.4, 1, 3), theirs.rzz(0.5, 2, 0), theirs.id(0), theirs.barrier()
    same(from_ionq(qiskit_input(theirs)), qiskit_unitary(theirs))


@pytest.mark.qiskit
@pytest.mark.filterwarnings("ignore::scipy.sparse.SparseEfficiencyWarning")
def test_pauli_evolution_of_qiskit():
    qiskit_ionq()
    import qiskit
    from qiskit.circuit.library import PauliEvolutionGate
    from qiskit.quantum_info import SparsePauliOp

    theirs = qiskit.QuantumCircuit(3)
    theirs.h(1)
    theirs.append(PauliEvolutionGate(SparsePauliOp(["XY", "YX", "II"], [0.5, -0.3, 2.0]), 0.7), [2, 0])
    theirs.append(PauliEvolutionGate(SparsePauliOp(["XIZ"], [1.5]), 0.2), [0, 1, 2])
    same(from_ionq(qiskit_input(theirs)), qiskit_unitary(theirs))


@pytest.mark.qiskit
def test_qiskits_plain_gates_are_written_as_ours():
    qiskit_ionq()
    gates = [("H", (0,)), ("SDG", (1,)), ("T", (2,)), ("CZ", (2, 0)), ("SWAP", (0, 1)), ("CCX", (2, 0, 1))]
    circuit = Circuit(3, [Operation(gate, qubits) for gate, qubits in gates])
    circuit = circuit.then(
        Operation("CP", (2, 1), (0.3,)), Operation("RXX", (1, 0), (0.4,)), Operation("CRY", (0, 2), (0.5,))
    )
    assert qiskit_input(to_qiskit(circuit)) == to_ionq(circuit)


@pytest.mark.parametrize(
    ("entry", "wanted"),
    [
        ({"gate": "not", "target": 2, "controls": [1]}, [Operation("CX", (1, 2))]),
        ({"gate": "x", "targets": [0], "control": 2}, [Operation("CX", (2, 0))]),
        ({"gate": "z", "targets": [1], "rotation": 0.3}, [Operation("P", (1,), (0.3,))]),
        ({"gate": "v", "target": 1}, [Operation("RX", (1,), (math.pi / 2,))]),
        ({"gate": "vi", "target": 1}, [Operation("RX", (1,), (-math.pi / 2,))]),
        ({"gate": "xx", "targets": [2, 0], "rotation": 1}, [Operation("RXX", (2, 0), (1.0,))]),
    ],
)
def test_other_spellings(entry, wanted):
    same(from_ionq(qis(entry)), unitary(Circuit(3, wanted)), 1e-12)


@pytest.mark.parametrize(
    ("gate", "matrix"),
    [
        ({"gate": "v"}, np.array([[1 + 1j, 1 - 1j], [1 - 1j, 1 + 1j]]) / 2),
        ({"gate": "vi"}, np.array([[1 - 1j, 1 + 1j], [1 + 1j, 1 - 1j]]) / 2),
        ({"gate": "z", "rotation": 0.7}, np.diag([1, np.exp(0.7j)])),
        ({"gate": "rz", "rotation": 0.7}, np.diag([np.exp(-0.35j), np.exp(0.35j)])),
        ({"gate": "t"}, np.diag([1, np.exp(0.25j * math.pi)])),
        ({"gate": "not"}, np.array([[0, 1], [1, 0]])),
        ({"gate": "si"}, np.diag([1, -1j])),
    ],
    ids=lambda value: value["gate"] if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("controls", [[], [2], [2, 0]], ids=len)
def test_phases_show_under_controls(gate, matrix, controls):
    fields = {**gate, "targets": [1], **({"controls": controls} if controls else {})}
    expected = controlled_matrix(matrix, 3, controls, 1)
    found = unitary(from_ionq(qis(fields)))
    assert distance_up_to_phase(found, expected) < 1e-12


@pytest.mark.parametrize(
    ("terms", "coefficients"), [(["XIZ"], [0.4]), (["XX", "ZZ", "YY"], [0.3, -0.2, 0.9]), (["YXZ", "III"], [1.0, 5.0])]
)
def test_pauli_exponentials(terms, coefficients):
    targets = [2, 0, 1][: len(terms[0])]
    found = unitary(
        from_ionq(
            qis({"gate": "pauliexp", "targets": targets, "terms": terms, "coefficients": coefficients, "time": 0.6})
        )
    )
    sum_ = np.zeros((8, 8), complex)
    for term, coefficient in zip(terms, coefficients, strict=True):
        letters = ["I"] * 3
        for letter, target in zip(reversed(term), targets, strict=True):  # the right-most letter, the first target
            letters[target] = letter
        sum_ += coefficient * pauli_matrix("".join(letters))
    values, vectors = np.linalg.eigh(sum_)
    expected = (vectors * np.exp(-0.6j * values)) @ vectors.conj().T
    assert distance_up_to_phase(found, expected) < 1e-12


def test_without_a_gate_set_qis_is_meant():
    assert from_ionq({"qubits": 1, "circuit": [{"gate": "h", "target": 0}]}) == Circuit(1, (Operation("H", (0,)),))


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"qubits": 2, "circuits": []},
        qis() | {"gateset": "other"},
        {"qubits": 1},
        qis(qubits="2"),
        qis("h"),
        qis({"gate": 1, "target": 0}),
        qis({"gate": "meas", "targets": [0]}),
        qis({"gate": "gpi", "target": 0, "phase": 0.1}),
        qis({"gate": "h", "target": 3}),
        qis({"gate": "h"}),
        qis({"gate": "h", "targets": []}),
        qis({"gate": "swap", "targets": [0]}),
        qis({"gate": "h", "target": "0"}),
        qis({"gate": "rx", "target": 0}),
        qis({"gate": "rx", "target": 0, "rotation": "1"}),
        qis({"gate": "rx", "target": 0, "rotation": math.nan}),
        qis({"gate": "cnot", "target": 0}),
        qis({"gate": "cnot", "target": 0, "control": 0}),
        qis({"gate": "pauliexp", "targets": [0], "terms": ["X", "Z"], "coefficients": [1.0, 1.0], "time": 1.0}),
        qis({"gate": "pauliexp", "targets": [0, 1], "terms": ["XX", "ZI"], "coefficients": [1, 1], "time": 1}),
        qis({"gate": "pauliexp", "targets": [0], "terms": ["XX"], "coefficients": [1.0], "time": 1.0}),
        qis({"gate": "pauliexp", "targets": [0], "terms": ["X"], "coefficients": [], "time": 1.0}),
        qis({"gate": "h", "target": 0}) | {"gateset": "native"},
        {"gateset": "native", "qubits": 2, "circuit": [{"gate": "ms", "targets": [0, 1], "phases": [0.1]}]},
        {"gateset": "native", "qubits": 2, "circuit": [{"gate": "zz", "targets": [0, 1]}]},
    ],
)
def test_what_is_no_circuit_of_ionqs(record):
    with pytest.raises(InvalidCircuitError):
        from_ionq(record)


def test_what_ionq_does_not_take():
    with pytest.raises(InvalidCircuitError, match=r"not a number.*bind"):
        to_ionq(Circuit(1, (Operation("RX", (0,), (Weight(0),)),)))
    with pytest.raises(InvalidCircuitError, match="native gate"):
        to_ionq(Circuit(1, (Operation("H", (0,)),)), gateset="native")
    assert np.allclose(unitary(from_ionq(to_ionq(Circuit(2)))), np.eye(4))
