"""Circuits, angles, gates and observables as values."""

import dataclasses

import cirq
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.circuits.ansatz.hardware_efficient import entangled_pairs, hardware_efficient, number_of_weights
from qstore_db.circuits.circuit import MAX_QUBITS, Circuit, Operation
from qstore_db.circuits.gates import GATES, pauli_matrix
from qstore_db.circuits.observables import PauliString, PauliSum
from qstore_db.circuits.parameters import Angle, Data, Weight, angle
from qstore_db.circuits.readouts import pauli_pairs, readout, single_z
from qstore_db.errors import InvalidCircuitError


def test_angles_add_scale_and_print():
    total = 2 * Weight(0) + Data(1) - Weight(2, 0.5) + 0.25 + Angle((), 0.25)
    assert total == Angle((Weight(0, 2.0), Data(1), Weight(2, -0.5)), 0.5)
    assert (-total) * 2 == Angle((Weight(0, -4.0), Data(1, -2.0), Weight(2, 1.0)), -1.0)
    assert str(total) == "2·w0 + x1 + -0.5·w2 + 0.5"
    assert str(angle(0)) == "0"
    values = total.value(np.array([1.0, 9.0, 3.0]), np.array([[9.0, 5.0], [9.0, 6.0]]))
    assert values.tolist() == [6.0, 7.0]
    assert 1.0 + Weight(0) == Weight(0) + 1.0
    assert 1.0 - Data(0) == Angle((Data(0, -1.0),), 1.0)
    assert 1.0 - Angle((Data(0),), 0.25) == Angle((Data(0, -1.0),), 0.75)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Weight(-1),
        lambda: Weight(1.5),
        lambda: Data(True),
        lambda: Weight(0, float("nan")),
        lambda: Angle((), float("inf")),
        lambda: angle("0.3"),
        lambda: Operation("RX", (0,), ("a",)),
        lambda: Operation("CNOT", (0, 1)),
        lambda: Operation("rx", (0,), (0.1,)),
        lambda: Operation("RX", (0,)),
        lambda: Operation("H", (0,), (0.1,)),
        lambda: Operation("CX", (0,)),
        lambda: Operation("CX", (1, 1)),
        lambda: Operation("H", (-1,)),
        lambda: Operation("H", (0.0,)),
        lambda: Circuit(0),
        lambda: Circuit(MAX_QUBITS + 1),
        lambda: Circuit(2.0),
        lambda: Circuit(1, ["H"]),
        lambda: Circuit(2, [Operation("CX", (0, 2))]),
        lambda: Circuit(2).compose(Circuit(3)),
        lambda: PauliString(""),
        lambda: PauliString("XA"),
        lambda: PauliString.on(2, {2: "X"}),
        lambda: PauliString("X") + PauliString("XX"),
        lambda: PauliString("X") * float("nan"),
        lambda: hardware_efficient(2, -1),
        lambda: hardware_efficient(2, 1, rotations="rz"),
        lambda: hardware_efficient(2, 1, entanglement="ring"),
        lambda: number_of_weights(2, 1, "rz"),
        lambda: readout("x", 2),
    ],
)
def test_wrong_values_are_refused_with_a_fix(make):
    with pytest.raises(InvalidCircuitError) as caught:
        make()
    assert caught.value.fix


def test_values_are_immutable():
    for value in (Operation("H", (0,)), Circuit(1), Weight(0), PauliString("X")):
        name = dataclasses.fields(value)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, name, None)


def bell(turn=0.5, index=0):
    return Circuit(2, [Operation("H", (0,)), Operation("CX", (0, 1)), Operation("RZ", [1], (Weight(index) + turn,))])


def test_digest_names_everything_and_structure_leaves_out_numbers():
    assert bell().digest == bell().digest
    assert bell() == bell()
    assert hash(bell()) == hash(bell())
    different = [bell(0.25), bell(0.5, 1), Circuit(3, bell().operations), bell().then(Operation("X", (0,)))]
    assert len({circuit.digest for circuit in [bell(), *different]}) == 5
    assert bell(0.25).structure == bell().structure
    assert len({circuit.structure for circuit in [bell(), *different]}) == 4
    # Pinned: a digest in a database must mean the same tomorrow.
    assert bell().digest.startswith("68c9c6b38ce6e784")
    assert bell().structure.startswith("126b68cb6b0916c5")


def test_counts_depth_and_composition():
    first = hardware_efficient(3, 2)
    both = first.compose(first, weight_offset=first.number_of_weights)
    assert (first.number_of_weights, both.number_of_weights, both.number_of_data) == (12, 24, 0)
    parallel = [Operation("H", (0,)), Operation("H", (1,)), Operation("CX", (0, 1)), Operation("H", (0,))]
    assert Circuit(3, parallel).depth == 3
    shared = first.compose(first)
    assert shared.number_of_weights == 12
    moved = Circuit(1, [Operation("RX", (0,), (Data(0) + Weight(0),))])
    assert moved.compose(moved, data_offset=2).number_of_data == 3
    assert Circuit(2).depth == 0


def test_matrices_are_unitary_and_those_of_cirq():
    rng = np.random.default_rng(0)
    same = {"H": cirq.H, "S": cirq.S, "T": cirq.T, "CX": cirq.CNOT, "CZ": cirq.CZ, "SWAP": cirq.SWAP, "Y": cirq.Y}
    for name, gate in GATES.items():
        matrices = gate.matrices(*rng.normal(size=(gate.angles, 3)) * 3)
        assert matrices.shape[1:] == (1 << gate.qubits,) * 2
        product = matrices @ matrices.conj().transpose(0, 2, 1)
        assert np.abs(product - np.eye(1 << gate.qubits)).max() < 1e-14
        if name in same:
            assert np.abs(matrices[0] - cirq.unitary(same[name])).max() < 1e-15
    theta, phi, lam = 0.4, -1.2, 2.2
    general = cirq.unitary(cirq.circuits.qasm_output.QasmUGate(theta / np.pi, phi / np.pi, lam / np.pi))
    ours = GATES["U"].matrices(*(np.array([value]) for value in (theta, phi, lam)))[0]
    assert cirq.equal_up_to_global_phase(ours, general, atol=1e-9)


def test_pauli_strings_and_sums():
    string = PauliString.on(4, {0: "X", 2: "Z"})
    assert str(string) == "XIZI"
    assert string.on_qubits == {0: "X", 2: "Z"}
    total = 2 * string - PauliString("YYYY") + PauliSum(((0.5, string),)) * 2
    assert total.terms == ((2.0, string), (-1.0, PauliString("YYYY")), (1.0, string))
    assert (-string).terms == ((-1.0, string),)
    assert np.array_equal(pauli_matrix("XZ"), np.kron([[0, 1], [1, 0]], [[1, 0], [0, -1]]))


@pytest.mark.parametrize("letters", ["I", "Y", "XYZ", "YIYX", "ZZIY"])
def test_masks_say_what_a_string_does_to_basis_states(letters):
    x, z, y = PauliString(letters).masks
    written = np.zeros((1 << len(letters),) * 2, complex)
    for b in range(1 << len(letters)):
        written[b ^ x, b] = 1j**y * (-1) ** (b & z).bit_count()
    assert np.array_equal(written, pauli_matrix(letters))


def test_readouts_have_a_fixed_order():
    strings = [str(string) for string in pauli_pairs(3)]
    assert strings == [
        "XII", "YII", "ZII", "IXI", "IYI", "IZI", "IIX", "IIY", "IIZ",
        "XXI", "YYI", "ZZI", "XIX", "YIY", "ZIZ", "IXX", "IYY", "IZZ",
    ]  # fmt: skip
    assert len(pauli_pairs(6)) == 63
    assert readout("pauli_pairs", 3) == pauli_pairs(3)
    assert [str(string) for string in readout("z", 2)] == [str(s) for s in single_z(2)] == ["ZI", "IZ"]


@given(qubits=st.integers(1, 7), layers=st.integers(0, 3), rotations=st.sampled_from(["ry_rz", "rx_ry_rz"]))
@settings(derandomize=True, deadline=None, max_examples=40)
def test_ansatz_uses_each_weight_once_in_order(qubits, layers, rotations):
    circuit = hardware_efficient(qubits, layers, rotations=rotations, entanglement="full", first_weight=5)
    turns = [operation for operation in circuit.operations if operation.angles]
    assert [turn.angles[0].terms[0].index - 5 for turn in turns] == list(range(len(turns)))
    assert len(turns) == number_of_weights(qubits, layers, rotations)
    assert len(turns) == layers * qubits * (2 if rotations == "ry_rz" else 3)
    assert len(circuit.operations) - len(turns) == layers * qubits * (qubits - 1) // 2


def test_entanglement_patterns():
    assert entangled_pairs(4, "linear") == ((0, 1), (1, 2), (2, 3))
    assert entangled_pairs(4, "circular") == ((0, 1), (1, 2), (2, 3), (3, 0))
    assert entangled_pairs(3, "full") == ((0, 1), (0, 2), (1, 2))
    for pattern in ("linear", "circular", "full"):
        assert entangled_pairs(2, pattern) == ((0, 1),)
        assert entangled_pairs(1, pattern) == ()
