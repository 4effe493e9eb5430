import math
import sys

import cirq
import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.gates import GATES
from qstore_db.circuits.interop.from_cirq import from_cirq
from qstore_db.circuits.interop.to_cirq import to_cirq
from qstore_db.circuits.parameters import Data, Weight
from qstore_db.circuits.placement import bind
from qstore_db.errors import InvalidCircuitError, MissingDependencyError
from qstore_db.simulation.unitary import distance_up_to_phase, unitary

WEIGHTS, DATA = np.array([0.3, -1.2, 2.0]), np.array([0.7, -0.4])
seeds = st.integers(0, 2**32)


def q(*numbers):
    return [cirq.LineQubit(number) for number in numbers]


@settings(derandomize=True, deadline=None, max_examples=30)
@given(seed=seeds, n=st.integers(1, 4))
def test_cirq_computes_the_same_unitary_and_the_way_back_keeps_it(random_circuit, tally, seed, n):
    tally["random circuits to Cirq and back, by their unitaries"] += 1
    circuit = random_circuit(seed, n, 15)
    ours = unitary(circuit)
    there = to_cirq(circuit)
    np.testing.assert_allclose(cirq.unitary(there), ours, atol=1e-7)
    back = from_cirq(there)
    assert back.n_qubits == n
    assert distance_up_to_phase(unitary(back), ours) < 1e-12


@settings(derandomize=True, deadline=None, max_examples=15)
@given(seed=seeds)
def test_symbols_survive_both_ways(random_circuit, tally, seed):
    tally["random circuits to Cirq and back, by their unitaries"] += 1
    circuit = random_circuit(seed, 3, 12, symbols=True)
    needed = WEIGHTS[: circuit.number_of_weights], DATA[: circuit.number_of_data]
    ours = unitary(circuit, *needed)
    there = to_cirq(circuit)
    values = {f"w{i}": w for i, w in enumerate(WEIGHTS)} | {f"x{i}": x for i, x in enumerate(DATA)}
    np.testing.assert_allclose(cirq.unitary(cirq.resolve_parameters(there, values)), ours, atol=1e-7)
    back = from_cirq(there)
    assert (back.number_of_weights, back.number_of_data) == (circuit.number_of_weights, circuit.number_of_data)
    assert distance_up_to_phase(unitary(back, *needed), ours) < 1e-12
    assert distance_up_to_phase(unitary(from_cirq(to_cirq(bind(circuit, *needed)))), ours) < 1e-12


@pytest.mark.parametrize("name", sorted(set(GATES) - {"U", "GPI", "GPI2", "MS"}))
def test_gates_come_back_as_themselves(name):
    kind = GATES[name]
    angles = (Weight(0) * 2.0 + 0.5,) * kind.angles
    operation = Operation(name, tuple(range(kind.qubits))[::-1], angles)
    (back,) = from_cirq(to_cirq(Circuit(kind.qubits, (operation,)))).operations
    assert (back.gate, back.qubits) == (operation.gate, operation.qubits)
    for value, wanted in zip(back.angles, operation.angles, strict=True):
        weights = np.array([0.4])
        np.testing.assert_allclose(value.value(weights, weights[None]), wanted.value(weights, weights[None]))


TURNS = [1, -1, 0.5, -0.5, 0.25, 0.3, -1.7, 2]


@pytest.mark.parametrize("turns", TURNS)
def test_powers_of_cirq_gates(turns):
    a, b = q(0, 1)
    kinds = [cirq.X, cirq.Y, cirq.Z, cirq.H, cirq.XX, cirq.YY, cirq.ZZ, cirq.CX, cirq.CZ, cirq.SWAP, cirq.ISWAP]
    circuit = cirq.Circuit(cirq.ry(0.3)(a), cirq.ry(0.5)(b))
    for gate in kinds:
        circuit.append((gate**turns)(*[b, a][: cirq.num_qubits(gate)]))
        if cirq.num_qubits(gate) == 1:
            circuit.append((gate**turns).controlled()(b, a))
    circuit.append(cirq.XPowGate(exponent=turns, global_shift=0.2).controlled()(a, b))
    circuit.append(cirq.ZPowGate(exponent=turns, global_shift=-0.5).controlled()(a, b))
    circuit.append(cirq.rz(turns).controlled(control_values=[0])(a, b))
    assert distance_up_to_phase(unitary(from_cirq(circuit)), cirq.unitary(circuit)) < 1e-6


def test_other_cirq_gates_by_their_decomposition():
    a, b, c = q(0, 1, 2)
    matrix = cirq.testing.random_unitary(4, random_state=1)
    circuit = cirq.Circuit(
        cirq.CCX(c, a, b),
        cirq.CSWAP(b, c, a),
        cirq.CCZ(a, b, c) ** 0.3,
        cirq.FSimGate(0.3, 0.4)(c, b),
        cirq.PhasedXZGate(x_exponent=0.2, z_exponent=0.7, axis_phase_exponent=0.1)(b),
        cirq.MatrixGate(matrix)(c, a),
        cirq.global_phase_operation(1j),
        cirq.global_phase_operation(-1).controlled_by(b),
        cirq.CircuitOperation(cirq.FrozenCircuit(cirq.H(b), cirq.T(b))),
        cirq.H(a).with_tags("kept"),
    )
    assert distance_up_to_phase(unitary(from_cirq(circuit)), cirq.unitary(circuit)) < 1e-6


@settings(derandomize=True, deadline=None, max_examples=15)
@given(seed=seeds)
def test_random_circuits_that_cirq_makes(tally, seed):
    tally["random circuits that Cirq made, by their unitaries"] += 1
    circuit = cirq.testing.random_circuit(q(0, 1, 2), 8, 0.8, random_state=seed)
    got = from_cirq(circuit, qubits=q(0, 1, 2))
    assert distance_up_to_phase(unitary(got), circuit.unitary(qubits_that_should_be_present=q(0, 1, 2))) < 1e-6


def test_the_order_of_qubits_can_be_chosen():
    red, blue = cirq.NamedQubit("red"), cirq.NamedQubit("blue")
    circuit = cirq.Circuit(cirq.CX(red, blue))
    assert from_cirq(circuit).operations[0].qubits == (1, 0)  # blue comes before red
    assert from_cirq(circuit, [red, cirq.NamedQubit("idle"), blue]).operations[0].qubits == (0, 2)
    with pytest.raises(InvalidCircuitError, match="named once"):
        from_cirq(circuit, [red])
    with pytest.raises(InvalidCircuitError, match="named once"):
        from_cirq(circuit, [red, blue, blue])


def test_idle_qubits_stay():
    circuit = Circuit(4, (Operation("X", (1,)),))
    assert from_cirq(to_cirq(circuit)) == circuit
    assert from_cirq(to_cirq(Circuit(2))) == Circuit(2)


def test_what_is_not_a_circuit_of_ours():
    a, b = q(0, 1)
    symbol = sympy.Symbol("w0")
    refused = [
        cirq.Circuit(cirq.measure(a)),
        cirq.Circuit(cirq.reset(a)),
        cirq.Circuit(cirq.depolarize(0.1)(a)),
        cirq.Circuit(cirq.measure(a, key="m"), cirq.X(b).with_classical_controls("m")),
        cirq.Circuit(cirq.X(cirq.LineQid(0, dimension=3)) if False else cirq.IdentityGate(1, (3,))(cirq.LineQid(0, 3))),
        cirq.Circuit(cirq.rx(symbol**2)(a)),
        cirq.Circuit(cirq.rx(sympy.sin(symbol))(a)),
        cirq.Circuit(cirq.rx(sympy.Symbol("theta"))(a)),
    ]
    for circuit in refused:
        with pytest.raises(InvalidCircuitError):
            from_cirq(circuit)


def test_a_linear_expression_is_understood():
    w, x = sympy.symbols("w1 x0")
    circuit = cirq.Circuit(cirq.rx(2 * w - x / 4 + sympy.pi / 2)(q(0)[0]))
    angle = from_cirq(circuit).operations[0].angles[0]
    assert angle.constant == pytest.approx(math.pi / 2)
    assert {type(term): (term.index, term.scale) for term in angle.terms} == {Weight: (1, 2.0), Data: (0, -0.25)}


def test_cirq_is_asked_for_only_when_needed(monkeypatch):
    circuit = to_cirq(Circuit(1))
    monkeypatch.setitem(sys.modules, "cirq", None)
    for convert, given_circuit in ((to_cirq, Circuit(1)), (from_cirq, circuit)):
        with pytest.raises(MissingDependencyError, match="pip install cirq-core"):
            convert(given_circuit)
