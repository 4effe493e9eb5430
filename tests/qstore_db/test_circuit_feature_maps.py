import math

import numpy as np
import pytest

from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
from qstore_db.circuits.ansatz.strongly_entangling import strongly_entangling
from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.encodings.angle import angle_encoding
from qstore_db.circuits.encodings.basis import basis_columns, basis_encoding, basis_state
from qstore_db.circuits.encodings.iqp import iqp_columns, iqp_columns_vjp, iqp_encoding
from qstore_db.circuits.encodings.reuploading import data_reuploading
from qstore_db.circuits.encodings.zz_feature_map import zz_columns, zz_columns_vjp, zz_feature_map
from qstore_db.circuits.entanglement import entangled_pairs
from qstore_db.circuits.parameters import Data, Weight
from qstore_db.circuits.readouts import pauli_pairs
from qstore_db.errors import InvalidCircuitError, InvalidVectorError
from qstore_db.simulation.plan import compile_circuit
from qstore_db.simulation.reference import state_vector
from qstore_db.simulation.unitary import distance_up_to_phase, unitary

MAPS = [(zz_feature_map, zz_columns, zz_columns_vjp), (iqp_encoding, iqp_columns, iqp_columns_vjp)]
PAIRS = ["linear", "circular", "full", "pairwise", [(2, 0), (1, 3)]]


def bit(index, qubit, n):
    return (index >> (n - 1 - qubit)) & 1


def hadamards(n):
    one = np.array([[1, 1], [1, -1]]) / math.sqrt(2)
    out = np.eye(1)
    for _ in range(n):
        out = np.kron(out, one)
    return out


@pytest.mark.parametrize("entanglement", PAIRS, ids=str)
def test_zz_feature_map_is_its_formula(entanglement):
    n, repetitions = 4, 2
    x = np.random.default_rng(1).uniform(0, 2 * math.pi, n)
    index = np.arange(1 << n)
    phase = sum(2 * x[qubit] * bit(index, qubit, n) for qubit in range(n))
    for i, j in entangled_pairs(n, entanglement):
        phase = phase + 2 * (math.pi - x[i]) * (math.pi - x[j]) * (bit(index, i, n) ^ bit(index, j, n))
    wanted = np.eye(1 << n)
    for _ in range(repetitions):
        wanted = np.diag(np.exp(1j * phase)) @ hadamards(n) @ wanted
    circuit = zz_feature_map(n, repetitions, entanglement=entanglement)
    columns = zz_columns(x[None], entanglement)
    np.testing.assert_allclose(unitary(circuit, data=columns[0]), wanted, atol=1e-12)


@pytest.mark.parametrize("entanglement", PAIRS, ids=str)
def test_iqp_encoding_is_its_formula(entanglement):
    n = 4
    x = np.random.default_rng(2).normal(size=n)
    z = [1 - 2 * bit(np.arange(1 << n), qubit, n) for qubit in range(n)]
    energy = sum(x[i] * z[i] for i in range(n))
    energy = energy + sum(x[i] * x[j] * z[i] * z[j] for i, j in entangled_pairs(n, entanglement))
    once = np.diag(np.exp(-0.5j * energy)) @ hadamards(n)
    circuit = iqp_encoding(n, 3, entanglement=entanglement)
    got = unitary(circuit, data=iqp_columns(x[None], entanglement)[0])
    np.testing.assert_allclose(got, once @ once @ once, atol=1e-12)


@pytest.mark.parametrize("feature_map, columns, vjp", MAPS, ids=["zz", "iqp"])
def test_gradient_by_the_inputs_through_the_products(feature_map, columns, vjp):
    n, pairs = 3, "circular"
    rng = np.random.default_rng(3)
    x = rng.uniform(0, 2, (5, n))
    plan = compile_circuit(feature_map(n, 2, entanglement=pairs), pauli_pairs(n))
    values, pullback = plan.forward(columns(x, pairs), dtype="float64")
    cotangent = rng.normal(size=values.shape)
    gradient = vjp(x, pullback(cotangent).data, pairs)

    def loss(inputs):
        return (cotangent * plan.expectations(columns(inputs, pairs), dtype="float64")).sum()

    step = 1e-5
    for sample, qubit in np.ndindex(x.shape):
        shift = np.zeros_like(x)
        shift[sample, qubit] = step
        assert gradient[sample, qubit] == pytest.approx((loss(x + shift) - loss(x - shift)) / (2 * step), abs=2e-7)


@pytest.mark.parametrize("feature_map, columns, vjp", MAPS, ids=["zz", "iqp"])
def test_feature_maps_count_columns_and_refuse_what_does_not_fit(feature_map, columns, vjp):
    circuit = feature_map(5, entanglement="pairwise", first_column=2)
    assert circuit.number_of_data == 2 + columns(np.zeros((1, 5)), "pairwise").shape[1] == 2 + 5 + 4
    assert min(t.index for o in circuit.operations for a in o.angles for t in a.terms) == 2
    assert feature_map(1).number_of_data == 1
    with pytest.raises(InvalidCircuitError, match="repetitions"):
        feature_map(2, 0)
    with pytest.raises(InvalidCircuitError, match="'star'"):
        feature_map(2, entanglement="star")
    with pytest.raises(InvalidVectorError, match=r"\(3,\)"):
        columns(np.zeros(3))
    with pytest.raises(InvalidVectorError, match=r"\(1, 3\)"):
        vjp(np.zeros((1, 3)), np.zeros((1, 3)))


def test_basis_states_and_their_columns():
    n = 4
    columns = basis_columns(np.arange(16), n)
    states = state_vector(basis_encoding(n), data=columns)
    np.testing.assert_allclose(np.abs(states), np.eye(16), atol=1e-15)
    for index in (0, 5, 11):
        text = f"{index:04b}"
        assert columns[index].tolist() == [int(letter) for letter in text]
        for bits in (text, [int(letter) for letter in text]):
            assert state_vector(basis_state(bits))[0, index] == 1
    for bits in ("", "012", [0, 2], []):
        with pytest.raises(InvalidCircuitError, match="bitstring"):
            basis_state(bits)
    for numbers in ([16], [-1], [0.5], [[1]]):
        with pytest.raises(InvalidVectorError, match="basis indices"):
            basis_columns(numbers, n)


def test_reuploading_repeats_the_data_and_renews_the_weights():
    trainable_input = Circuit(3, (Operation("RX", (0,), (Data(0) + Weight(0),)), Operation("RX", (2,), (Data(1),))))
    layer = hardware_efficient(3, 1)
    circuit = data_reuploading(trainable_input, layer, 3, closing_encoding=True)
    assert (circuit.number_of_data, circuit.number_of_weights) == (2, 3 * 7 + 1)
    rng = np.random.default_rng(4)
    weights, data = rng.normal(size=22), rng.normal(size=2)
    wanted = np.eye(8)
    for r in range(3):
        wanted = unitary(trainable_input, weights[7 * r :], data) @ wanted
        wanted = unitary(layer, weights[7 * r + 1 : 7 * r + 7]) @ wanted
    wanted = unitary(trainable_input, weights[21:], data) @ wanted
    np.testing.assert_allclose(unitary(circuit, weights, data), wanted, atol=1e-12)
    with pytest.raises(InvalidCircuitError, match="4 qubits"):
        data_reuploading(angle_encoding(3), hardware_efficient(4, 1), 2)
    with pytest.raises(InvalidCircuitError, match="repetitions"):
        data_reuploading(angle_encoding(3), layer, 0)


def test_reuploading_reaches_one_frequency_an_upload():
    layer = strongly_entangling(1, 1)
    circuit = data_reuploading(angle_encoding(1, axis="X"), layer, 3)
    weights = np.random.default_rng(5).normal(size=circuit.number_of_weights)
    x = 2 * math.pi * np.arange(16) / 16
    values = compile_circuit(circuit, pauli_pairs(1)).expectations(x[:, None], weights, dtype="float64")
    spectrum = np.abs(np.fft.rfft(values, axis=0)).max(axis=1)
    assert spectrum[3] > 1e-3
    assert spectrum[4:].max() < 1e-12


def test_entangled_pairs():
    assert entangled_pairs(5, "pairwise") == ((0, 1), (2, 3), (1, 2), (3, 4))
    assert sorted(entangled_pairs(6, "pairwise")) == sorted(entangled_pairs(6, "linear"))
    assert entangled_pairs(2, "circular") == ((0, 1),)
    assert entangled_pairs(1, "pairwise") == entangled_pairs(1, "full") == ()
    assert entangled_pairs(3, [(2, 0), (0, 1)]) == ((2, 0), (0, 1))
    for pair in ((0, 3), (1, 1), (0, 1, 2), (-1, 0)):
        with pytest.raises(InvalidCircuitError, match="pair"):
            entangled_pairs(3, [pair])
    mapped = hardware_efficient(3, 2, entanglement=[(2, 0)])
    assert [operation.qubits for operation in mapped.operations if operation.gate == "CX"] == [(2, 0)] * 2


def test_strongly_entangling_layers():
    circuit = strongly_entangling(4, 4, first_weight=5)
    assert circuit.number_of_weights == 5 + 48
    ring = [operation.qubits for operation in circuit.operations if operation.gate == "CX"]
    assert ring[:4] == [(0, 1), (1, 2), (2, 3), (3, 0)]
    assert ring[4:8] == [(0, 2), (1, 3), (2, 0), (3, 1)]
    assert ring[8:12] == [(0, 3), (1, 0), (2, 1), (3, 2)]
    assert ring[12:] == ring[:4]
    assert [operation.gate for operation in circuit.operations[:3]] == ["RZ", "RY", "RZ"]
    indices = [value.terms[0].index for operation in circuit.operations for value in operation.angles]
    assert indices == list(range(5, 53))
    two = strongly_entangling(2, 1, ranges=[1])
    assert [operation.qubits for operation in two.operations if operation.gate == "CX"] == [(0, 1), (1, 0)]
    assert not any(operation.gate == "CX" for operation in strongly_entangling(1, 3).operations)
    for ranges in ([1], [0, 1], [1, 4], [1, 1, 1]):
        with pytest.raises(InvalidCircuitError, match="ranges"):
            strongly_entangling(4, 2, ranges=ranges)
    with pytest.raises(InvalidCircuitError, match="layers"):
        strongly_entangling(4, -1)


def test_one_strongly_entangling_layer_is_a_general_rotation():
    rng = np.random.default_rng(6)
    matrix = np.linalg.qr(rng.normal(size=(2, 2)) + 1j * rng.normal(size=(2, 2)))[0]
    theta = 2 * math.atan2(abs(matrix[1, 0]), abs(matrix[0, 0]))
    total, difference = np.angle(matrix[1, 1] / matrix[0, 0]), np.angle(matrix[1, 0] / -matrix[0, 1])
    weights = np.array([(total - difference) / 2, theta, (total + difference) / 2])
    got = unitary(strongly_entangling(1, 1), weights)
    assert min(distance_up_to_phase(got, matrix), distance_up_to_phase(got, matrix * [[1, -1], [-1, 1]])) < 1e-12
