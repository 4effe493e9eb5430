"""The Fubini–Study metric against its definition in fidelities; the block-diagonal form against the exact one."""

import numpy as np
import pytest

from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.gates import GATES
from qstore_db.circuits.parameters import Data, Weight
from qstore_db.errors import InvalidArgumentError, InvalidCircuitError, InvalidVectorError
from qstore_db.gradients.block_metric import block_diagonal_metric, measured_block_metric
from qstore_db.gradients.generators import generator, product, with_single_angles
from qstore_db.gradients.metric_tensor import (
    batch_average,
    metric_tensor,
    quantum_fisher_information,
    state_derivatives,
)
from qstore_db.simulation import reference
from qstore_db.simulation.unitary import distance_up_to_phase, unitary

GENERATED = ("RX", "RY", "RZ", "P", "RXX", "RYY", "RZZ", "CRX", "CRY", "CRZ")


def every_gate(rng, n=3):
    operations = []
    for gate in rng.permutation([*GENERATED, "U", "H", "CX", "T"]):
        kind = GATES[gate]
        terms = [
            Weight(int(rng.integers(4)), float(rng.normal())) + Data(int(rng.integers(2))) * 0.5 + 0.1
            for _ in range(kind.angles)
        ]
        operations.append(Operation(kind.name, rng.permutation(n)[: kind.qubits], terms))
    return Circuit(n, [*operations, Operation("RX", (0,), (Weight(3),)), Operation("RX", (0,), (Data(1),))])


def inputs(rng, n=3):
    return rng.normal(size=4), rng.normal(size=(2, 2)), rng.normal(size=(2, 1 << n))


def states(circuit, weights, data, amplitudes):
    start = amplitudes / np.linalg.norm(amplitudes, axis=1, keepdims=True)
    return reference.state_vector(circuit, weights, data, start)


def fidelity_loss(circuit, weights, data, amplitudes, shift):
    before, after = (states(circuit, one, data, amplitudes) for one in (weights, weights + shift))
    return 1 - np.abs((before.conj() * after).sum(axis=1)) ** 2


def test_the_metric_says_how_fast_fidelity_falls():
    # 1 − |⟨ψ(θ)|ψ(θ + δ)⟩|² = Σ g δ δ + O(δ⁴) after averaging both signs.
    for seed in range(8):
        rng = np.random.default_rng(seed)
        circuit = every_gate(rng)
        weights, data, amplitudes = inputs(rng)
        metric = metric_tensor(circuit, weights, data, amplitudes)
        assert metric.shape == (2, 4, 4)
        for _ in range(4):
            shift = 2e-3 * rng.normal(size=4)
            lost = np.mean(
                [fidelity_loss(circuit, weights, data, amplitudes, sign * shift) for sign in (1, -1)], axis=0
            )
            np.testing.assert_allclose(lost, np.einsum("i,bij,j->b", shift, metric, shift), rtol=2e-3, atol=1e-10)


def test_derivatives_agree_with_differences_of_states():
    for seed in range(4):
        rng = np.random.default_rng(seed)
        circuit = every_gate(rng)
        weights, data, amplitudes = inputs(rng)
        state, derivatives = state_derivatives(circuit, weights, data, amplitudes)
        np.testing.assert_allclose(state, states(with_single_angles(circuit), weights, data, amplitudes), atol=1e-13)
        for index in range(4):
            step = 1e-5 * np.eye(4)[index]
            ahead, behind = (states(circuit, weights + sign * step, data, amplitudes) for sign in (1, -1))
            np.testing.assert_allclose(derivatives[index], (ahead - behind) / 2e-5, atol=1e-9)


def test_the_metric_is_symmetric_without_negative_eigenvalues_and_the_information_four_times_it():
    rng = np.random.default_rng(3)
    circuit = every_gate(rng)
    weights, data, amplitudes = inputs(rng)
    metric = metric_tensor(circuit, weights, data, amplitudes)
    assert np.array_equal(metric, metric.transpose(0, 2, 1))
    assert np.linalg.eigvalsh(metric).min() > -1e-12
    assert np.array_equal(quantum_fisher_information(circuit, weights, data, amplitudes), 4 * metric)
    np.testing.assert_allclose(batch_average(metric), (metric[0] + metric[1]) / 2)
    for wrong in (np.zeros((0, 2, 2)), np.zeros((2, 2))):
        with pytest.raises(InvalidArgumentError):
            batch_average(wrong)


def test_known_metrics():
    # RY(θ₀) RZ(θ₁) from |0⟩: g = diag(1/4, sin²θ₀ / 4), the round sphere of radius one half.
    sphere = Circuit(1, [Operation("RY", (0,), (Weight(0),)), Operation("RZ", (0,), (Weight(1),))])
    metric = metric_tensor(sphere, [0.7, 1.9])[0]
    np.testing.assert_allclose(metric, np.diag([0.25, np.sin(0.7) ** 2 / 4]), atol=1e-14)
    # A phase on an eigenstate moves nothing; a shared weight counts both its places.
    assert metric_tensor(Circuit(1, [Operation("RZ", (0,), (Weight(0),))]), [0.3])[0, 0, 0] == pytest.approx(0.0)
    twice = Circuit(2, [Operation("RX", (0,), (Weight(0),)), Operation("RX", (1,), (Weight(0),))])
    assert metric_tensor(twice, [0.3])[0, 0, 0] == pytest.approx(0.5)


@pytest.mark.parametrize("gate", GENERATED)
def test_generators_generate(gate):
    kind = GATES[gate]
    operation = Operation(gate, range(kind.qubits), (0.83,))
    sum_ = generator(operation, kind.qubits)
    matrix = sum(
        coefficient * unitary(Circuit(kind.qubits, [Operation(letter, (q,)) for q, letter in string.on_qubits.items()]))
        for coefficient, string in sum_.terms
    )
    values, vectors = np.linalg.eigh(matrix)
    exponential = vectors @ np.diag(np.exp(-0.83j * values)) @ vectors.conj().T
    np.testing.assert_allclose(exponential, unitary(Circuit(kind.qubits, [operation])), atol=1e-14)


def test_u_is_three_gates():
    u = Circuit(1, [Operation("U", (0,), (Weight(0), Weight(1), Weight(2)))])
    angles = np.array([0.4, 1.3, -2.2])
    split = with_single_angles(u)
    assert [operation.gate for operation in split.operations] == ["P", "RY", "P"]
    assert distance_up_to_phase(unitary(u, angles), unitary(split, angles)) < 1e-14


def test_blocks_are_those_of_the_exact_metric_where_no_weight_is_shared():
    for qubits, layers, rotations in ((2, 2, "ry_rz"), (3, 2, "rx_ry_rz"), (4, 1, "ry_rz")):
        circuit = hardware_efficient(qubits, layers, rotations=rotations, entanglement="circular")
        weights = np.random.default_rng(qubits).normal(size=circuit.number_of_weights)
        exact = metric_tensor(circuit, weights)[0]
        found, circuits = measured_block_metric(circuit, weights, dtype="float64")
        kinds = 3 if rotations == "rx_ry_rz" else 2
        assert circuits == layers * kinds
        index = np.arange(circuit.number_of_weights)
        level = index // (qubits * kinds) * kinds + index % kinds
        same = level[:, None] == level[None, :]
        np.testing.assert_allclose(found[0], np.where(same, exact, 0.0), atol=1e-12)
        assert layers == 1 or np.abs(exact[~same]).max() > 1e-3
        single, _ = measured_block_metric(circuit, weights)
        np.testing.assert_allclose(single, found, atol=1e-5)


def test_blocks_with_shared_and_scaled_weights_data_and_amplitudes():
    # One level: exact although weight 0 stands in two gates and every angle has data in it.
    rng = np.random.default_rng(4)
    circuit = Circuit(
        4,
        [
            Operation("H", (0,)),
            Operation("RX", (1,), (Data(0),)),
            Operation("CRY", (0, 1), (Weight(0, 0.5) + Data(1),)),
            Operation("RX", (2,), (Weight(0, -2.0) + Weight(1) + Data(0),)),
            Operation("P", (3,), (Weight(2) + 0.3,)),
        ],
    )
    weights, data, amplitudes = rng.normal(size=3), rng.normal(size=(5, 2)), rng.normal(size=(5, 16))
    found, circuits = measured_block_metric(circuit, weights, data, amplitudes, dtype="float64")
    assert circuits == 5
    np.testing.assert_allclose(found, metric_tensor(circuit, weights, data, amplitudes), atol=1e-12)


def test_blocks_of_every_gate_have_no_negative_eigenvalues():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        circuit = every_gate(rng)
        weights, data, amplitudes = inputs(rng)
        found, circuits = measured_block_metric(circuit, weights, data, amplitudes, dtype="float64")
        assert found.shape == (2, 4, 4)
        assert circuits == 2 * len(block_diagonal_metric(circuit).blocks)
        assert np.linalg.eigvalsh(found).min() > -1e-12


def test_what_has_no_metric_is_refused():
    with pytest.raises(InvalidArgumentError, match="do not fit 0 block"):
        measured_block_metric(Circuit(1, [Operation("H", (0,))]), np.zeros(0))
    with pytest.raises(InvalidCircuitError, match="generator of H"):
        generator(Operation("H", (0,)), 1)
    with pytest.raises(InvalidCircuitError, match="need not commute"):
        product(generator(Operation("RX", (0,), (0.1,)), 1), generator(Operation("RY", (0,), (0.1,)), 1))
    turn = Circuit(1, [Operation("RX", (0,), (Weight(0),))])
    with pytest.raises(InvalidVectorError, match="vector 1"):
        metric_tensor(turn, [0.1], amplitudes=np.array([[1.0, 0.0], [0.0, 0.0]]))
    with pytest.raises(InvalidArgumentError, match="weights of shape"):
        metric_tensor(turn, [0.1, 0.2])


def test_a_natural_step_reaches_what_a_plain_one_does_not():
    # Near a pole the plain gradient by the azimuth vanishes as sin θ, and the natural one grows as 1 / sin θ.
    from qstore_db.optimizers.natural import natural_direction

    sphere = Circuit(1, [Operation("RY", (0,), (Weight(0),)), Operation("RZ", (0,), (Weight(1),))])
    metric = metric_tensor(sphere, [0.1, 1.0])[0]
    gradient = np.array([0.0, -np.sin(0.1) * np.sin(1.0)])  # of ⟨X⟩ = sin θ₀ cos θ₁ by the azimuth
    step = natural_direction(gradient, metric, damping=1e-9)
    assert step[1] == pytest.approx(-4 * np.sin(1.0) / np.sin(0.1), rel=1e-4)
