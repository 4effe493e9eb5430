import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.backends.ionq.translation import PLAIN, plain
from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.gates import GATES, pauli_matrix
from qstore_db.circuits.interop.from_ionq import from_ionq
from qstore_db.circuits.interop.to_ionq import to_ionq
from qstore_db.circuits.parameters import Weight
from qstore_db.errors import InvalidCircuitError
from qstore_db.simulation.unitary import distance_up_to_phase, unitary


def program(*gates, qubits=3, gateset="qis"):
    return {"gateset": gateset, "qubits": qubits, "circuit": list(gates)}


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


@settings(derandomize=True, deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 4))
def test_there_and_back_is_the_same_unitary(random_circuit, tally, seed, n):
    tally["random circuits to IonQ's JSON and back, by their unitaries"] += 1
    circuit = random_circuit(seed, n, 12)
    assert distance_up_to_phase(unitary(from_ionq(to_ionq(circuit))), unitary(circuit)) < 1e-12


@settings(derandomize=True, deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 4))
def test_plain_gates_do_the_same_as_all_gates(random_circuit, seed, n):
    circuit = random_circuit(seed, n, 12)
    written = plain(circuit)
    assert {operation.gate for operation in written.operations} <= PLAIN
    assert distance_up_to_phase(unitary(written), unitary(circuit)) < 1e-12


@pytest.mark.parametrize("name", sorted(GATES))
def test_every_gate_in_plain_gates(name):
    gate = GATES[name]
    circuit = Circuit(3, [Operation(name, (2, 0, 1)[: gate.qubits], (0.3, -1.1, 2.2)[: gate.angles])])
    assert distance_up_to_phase(unitary(plain(circuit)), unitary(circuit)) < 1e-12


def test_plain_gates_keep_gates_that_cancel():
    folded = Circuit(2, [Operation("CX", (0, 1))] * 3)
    assert plain(folded) == folded


@pytest.mark.parametrize("name", ["GPI", "GPI2", "MS", "RZZ"])
def test_native_gates_are_written_in_turns(name):
    gate = GATES[name]
    circuit = Circuit(2, [Operation(name, (1, 0)[: gate.qubits], (0.3, -1.1, 2.2)[: gate.angles])])
    written = to_ionq(circuit, gateset="native")
    assert written["gateset"] == "native"
    np.testing.assert_allclose(unitary(from_ionq(written)), unitary(circuit), atol=1e-14)
    first = written["circuit"][0]
    assert first.get("phase", first.get("angle", 0)) != 0.3  # radians would stay as they are


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
    found = unitary(from_ionq(program(fields)))
    assert distance_up_to_phase(found, expected) < 1e-12


@pytest.mark.parametrize(
    ("terms", "coefficients"), [(["XIZ"], [0.4]), (["XX", "ZZ", "YY"], [0.3, -0.2, 0.9]), (["YXZ", "III"], [1.0, 5.0])]
)
def test_pauli_exponentials(terms, coefficients):
    targets = [2, 0, 1][: len(terms[0])]
    found = unitary(
        from_ionq(
            program({"gate": "pauliexp", "targets": targets, "terms": terms, "coefficients": coefficients, "time": 0.6})
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


@pytest.mark.parametrize(
    "wrong",
    [
        {"qubits": 1},
        program(qubits="2"),
        program("h"),
        program({"gate": "nothing", "target": 0}),
        program({"gate": "h"}),
        program({"gate": "h", "targets": []}),
        program({"gate": "h", "target": 3}),
        program({"gate": "rx", "target": 0}),
        program({"gate": "rx", "target": 0, "rotation": "1"}),
        program({"gate": "rx", "target": 0, "rotation": float("nan")}),
        program({"gate": "cnot", "target": 0}),
        program({"gate": "x", "target": 0, "control": 0}),
        program({"gate": "swap", "targets": [0]}),
        program({"gate": "pauliexp", "targets": [0, 1], "terms": ["XX", "ZI"], "coefficients": [1, 1], "time": 1}),
        program({"gate": "pauliexp", "targets": [0], "terms": ["XX"], "coefficients": [1], "time": 1}),
        program({"gate": "h", "target": 0}, gateset="native"),
        program({"gate": "gpi", "target": 0, "phase": 0.1}),
        program({"gate": "ms", "targets": [0, 1], "phases": [0]}, gateset="native"),
        program(gateset="else"),
    ],
    ids=range(19),
)
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(InvalidCircuitError):
        from_ionq(wrong)


def test_symbols_and_other_gates_are_not_written():
    with pytest.raises(InvalidCircuitError, match="not a number"):
        to_ionq(Circuit(1, [Operation("RX", (0,), (Weight(0),))]))
    with pytest.raises(InvalidCircuitError, match="native"):
        to_ionq(Circuit(1, [Operation("H", (0,))]), gateset="native")
