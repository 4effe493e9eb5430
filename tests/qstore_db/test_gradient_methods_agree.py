"""Every gradient against dense matrices and against the others, on random circuits with shared parameters."""

import itertools
import math

import numpy as np
import pytest

from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.gates import pauli_matrix
from qstore_db.circuits.observables import PauliString
from qstore_db.circuits.parameters import Data, Weight
from qstore_db.errors import InvalidArgumentError, InvalidCircuitError
from qstore_db.gradients.adjoint import adjoint_jacobian
from qstore_db.gradients.differentiation import Adjoint, NoGradient, Shifted, Simultaneous
from qstore_db.gradients.finite_difference import finite_difference
from qstore_db.gradients.parameter_shift import parameter_shift
from qstore_db.gradients.shared_plan import SharedPlan
from qstore_db.gradients.spsa import spsa
from qstore_db.gradients.subset import of_weights, random_subset
from qstore_db.simulation.plan import compile_circuit

N = 3
OBSERVABLES = (PauliString("ZXI"), 0.7 * PauliString("IYZ") - PauliString("XII"), PauliString("IIZ"))
CIRCUITS = 25


# -- an oracle that shares nothing with the package but the definition of the gates ----------------------------


def rotation(letters, theta):
    pauli = pauli_matrix(letters)
    eye = np.eye(len(pauli))
    return (
        np.cos(theta / 2) * eye - 1j * np.sin(theta / 2) * pauli,
        -0.5 * np.sin(theta / 2) * eye - 0.5j * np.cos(theta / 2) * pauli,
    )


def general(theta, phi, lam):
    c, s, ep, el = np.cos(theta / 2), np.sin(theta / 2), np.exp(1j * phi), np.exp(1j * lam)
    return (
        np.array([[c, -el * s], [ep * s, ep * el * c]]),
        [
            0.5 * np.array([[-s, -el * c], [ep * c, -ep * el * s]]),
            1j * np.array([[0, 0], [ep * s, ep * el * c]]),
            1j * np.array([[0, -el * s], [0, ep * el * c]]),
        ],
    )


def gate_and_derivatives(gate, angles):
    if gate == "U":
        return general(*angles)
    if gate == "P":
        phase = np.exp(1j * angles[0])
        return np.diag([1, phase]), [np.diag([0, 1j * phase])]
    if gate.startswith("CR"):
        inner, derivative = rotation(gate[2], angles[0])
        whole, change = np.eye(4, dtype=complex), np.zeros((4, 4), complex)
        whole[2:, 2:], change[2:, 2:] = inner, derivative
        return whole, [change]
    if gate.startswith("R"):
        matrix, derivative = rotation(gate[1:], angles[0])
        return matrix, [derivative]
    half = math.sqrt(0.5)
    fixed = {
        "H": np.array([[half, half], [half, -half]]),
        "CX": np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]]),
        "T": np.diag([1, np.exp(0.25j * np.pi)]),
    }
    return fixed[gate], []


def embedded(matrix, qubits):
    """On all qubits, element by element."""
    out = np.zeros((1 << N, 1 << N), complex)
    for row, column in itertools.product(range(1 << N), repeat=2):
        bits = [(row >> (N - 1 - q) & 1, column >> (N - 1 - q) & 1) for q in range(N)]
        if all(left == right for q, (left, right) in enumerate(bits) if q not in qubits):
            place = [sum(bits[q][side] << (len(qubits) - 1 - k) for k, q in enumerate(qubits)) for side in (0, 1)]
            out[row, column] = matrix[place[0], place[1]]
    return out


def dense_states(circuit, weights, row, start):
    """The state, and its derivative by each weight and data column, by the product rule."""
    state, changes = start.astype(complex), {}
    for operation in circuit.operations:
        values = [
            a.constant + sum(t.scale * (weights if isinstance(t, Weight) else row)[t.index] for t in a.terms)
            for a in operation.angles
        ]
        matrix, derivatives = gate_and_derivatives(operation.gate, values)
        whole = embedded(matrix, operation.qubits)
        changes = {symbol: whole @ change for symbol, change in changes.items()}
        for angle, derivative in zip(operation.angles, derivatives, strict=True):
            kicked = embedded(derivative, operation.qubits) @ state
            for term in angle.terms:
                symbol = (type(term).__name__, term.index)
                changes[symbol] = changes.get(symbol, 0) + term.scale * kicked
        state = whole @ state
    return state, changes


def dense_jacobian(circuit, weights, data, starts):
    by_weight = np.zeros((len(data), len(OBSERVABLES), circuit.number_of_weights))
    by_data = np.zeros((len(data), len(OBSERVABLES), circuit.number_of_data))
    values = np.zeros((len(data), len(OBSERVABLES)))
    for sample, (row, start) in enumerate(zip(data, starts, strict=True)):
        state, changes = dense_states(circuit, weights, row, start)
        for readout, observable in enumerate(OBSERVABLES):
            terms = getattr(observable, "terms", ((1.0, observable),))
            matrix = sum(coefficient * pauli_matrix(string.letters) for coefficient, string in terms)
            values[sample, readout] = np.vdot(state, matrix @ state).real
            for (kind, index), change in changes.items():
                table = by_weight if kind == "Weight" else by_data
                table[sample, readout, index] = 2 * np.vdot(state, matrix @ change).real
    return values, by_weight, by_data


def random_circuit(rng, length=14):
    """Shared weights, sums, scales, and data in any gate."""
    kinds = ["RX", "RY", "RZ", "P", "U", "RXX", "RYY", "RZZ", "CRX", "CRY", "CRZ", "H", "CX", "T"]
    operations = []
    for gate in rng.choice(kinds, length):
        angles = {"U": 3, "H": 0, "CX": 0, "T": 0}.get(gate, 1)
        qubits = 2 if gate in {"RXX", "RYY", "RZZ", "CRX", "CRY", "CRZ", "CX"} else 1
        terms = [
            Weight(int(rng.integers(4)), float(rng.choice([1.0, -1.0, 0.5])))
            + Data(int(rng.integers(2)), float(rng.normal()))
            + float(rng.normal())
            for _ in range(angles)
        ]
        operations.append(Operation(str(gate), rng.permutation(N)[:qubits], terms))
    operations += [Operation("RX", (0,), (Weight(3),)), Operation("RY", (1,), (Data(1),))]
    return Circuit(N, operations)


def inputs(rng, samples=2):
    data, weights = rng.normal(size=(samples, 2)), rng.normal(size=4) * 2
    amplitudes = rng.normal(size=(samples, 1 << N)) + 1j * rng.normal(size=(samples, 1 << N))
    return data, weights, amplitudes / np.linalg.norm(amplitudes, axis=1, keepdims=True)


def combined(gradient, data, weights, amplitudes):
    runs = [
        compile_circuit(circuit, OBSERVABLES, amplitude_input=True).expectations(
            data, weights, amplitudes, dtype="float64"
        )
        for circuit in gradient.circuits
    ]
    return gradient.combine(runs)


def test_shift_difference_and_adjoint_agree_with_dense_matrices(compared):
    worst = {"adjoint": 0.0, "shift": 0.0, "difference": 0.0}
    for seed in range(CIRCUITS):
        rng = np.random.default_rng(seed)
        circuit = random_circuit(rng)
        data, weights, amplitudes = inputs(rng)
        values, by_weight, by_data = dense_jacobian(circuit, weights, data, amplitudes)
        seen, exact = adjoint_jacobian(circuit, OBSERVABLES, weights, data, amplitudes)
        np.testing.assert_allclose(seen, values, atol=1e-12)
        found = {
            "adjoint": exact,
            "shift": combined(parameter_shift(circuit), data, weights, amplitudes),
            "difference": combined(finite_difference(circuit), data, weights, amplitudes),
        }
        for name, jacobian in found.items():
            error = max(np.abs(jacobian.weights - by_weight).max(), np.abs(jacobian.data - by_data).max())
            worst[name] = max(worst[name], float(error))
    compared(f"{CIRCUITS} random circuits, largest difference from dense derivatives: {worst}")
    assert worst["adjoint"] < 1e-11
    assert worst["shift"] < 1e-11
    assert worst["difference"] < 1e-8


class AllSigns:
    """Stands for a generator: gives every combination of signs once, in order."""

    def __init__(self, size):
        self._bits = list(itertools.product((0, 1), repeat=size))

    def integers(self, low, high, shape):
        assert (low, high, shape) == (0, 2, (len(self._bits), len(self._bits[0])))
        return np.array(self._bits)


def test_the_mean_over_all_spsa_directions_has_a_bias_of_second_order():
    rng = np.random.default_rng(7)
    circuit = random_circuit(rng)
    data, weights, amplitudes = inputs(rng)
    size = circuit.number_of_weights + circuit.number_of_data
    _, exact = adjoint_jacobian(circuit, OBSERVABLES, weights, data, amplitudes)

    def bias(step):
        gradient = spsa(circuit, rng=AllSigns(size), step=step, directions=2**size)
        assert len(gradient.circuits) == 2 ** (size + 1)
        found = combined(gradient, data, weights, amplitudes)
        return max(np.abs(found.weights - exact.weights).max(), np.abs(found.data - exact.data).max())

    assert bias(0.01) < 1e-3
    assert bias(0.02) / bias(0.01) == pytest.approx(4.0, rel=0.02)


def test_spsa_repeats_with_its_generator_and_takes_two_circuits_a_direction():
    circuit = random_circuit(np.random.default_rng(0))
    once, twice, other = (spsa(circuit, rng=np.random.default_rng(seed), directions=3) for seed in (1, 1, 2))
    assert len(once.circuits) == 6
    assert once.circuits == twice.circuits
    assert once.circuits != other.circuits
    assert spsa(Circuit(1, [Operation("RX", (0,), (0.3,))]), rng=np.random.default_rng(0)).circuits == ()
    for wrong in ({"step": 0.0}, {"step": math.inf}, {"directions": 0}, {"directions": True}):
        with pytest.raises(InvalidArgumentError):
            spsa(circuit, rng=np.random.default_rng(0), **wrong)


class Chosen:
    """Stands for a generator: draws the given subset."""

    def __init__(self, subset):
        self._subset = subset

    def choice(self, number, size, replace):
        assert (len(self._subset), replace) == (size, False)
        return np.array(self._subset)


@pytest.mark.parametrize("method", [parameter_shift, finite_difference])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_mean_over_all_subsets_is_the_whole_gradient(method, size):
    rng = np.random.default_rng(11)
    circuit = random_circuit(rng, length=8)
    data, weights, amplitudes = inputs(rng)
    whole = method(circuit)
    exact = combined(whole, data, weights, amplitudes)
    subsets = list(itertools.combinations(range(4), size))
    estimates = []
    for subset in subsets:
        part = random_subset(whole, size, rng=Chosen(subset), data=True)
        found = combined(part, data, weights, amplitudes)
        np.testing.assert_allclose(found.data, exact.data, atol=1e-12)
        left_out = [index for index in range(4) if index not in subset]
        assert (found.weights[:, :, left_out] == 0).all()
        estimates.append(found.weights)
    np.testing.assert_allclose(np.mean(estimates, axis=0), exact.weights, atol=1e-12)


def test_subsets_save_the_circuits_that_nothing_needs():
    circuit = hardware_efficient(3, 2)
    whole = parameter_shift(circuit)
    part = random_subset(whole, 5, rng=np.random.default_rng(0))
    assert (len(whole.circuits), len(part.circuits)) == (24, 10)
    assert (np.count_nonzero(part.weights.any(axis=1)), part.weights.max()) == (5, 0.5 * 12 / 5)
    chosen = {
        np.flatnonzero(random_subset(whole, 1, rng=np.random.default_rng(seed)).weights.any(axis=1))[0]
        for seed in range(60)
    }
    assert len(chosen) > 8
    assert of_weights(whole, np.zeros(12)).circuits == ()
    for size in (0, 13, 2.0, True):
        with pytest.raises(InvalidArgumentError, match="subset"):
            random_subset(whole, size, rng=np.random.default_rng(0))
    with pytest.raises(InvalidArgumentError, match="factors"):
        of_weights(whole, np.ones(3))


# -- through a loss --------------------------------------------------------------------------------------------


def loss_and_cotangent(values):
    """A loss that is far from linear in the values."""
    total = np.exp(values.sum(axis=1))
    return float((total + (values**3).sum(axis=1)).sum()), total[:, None] + 3 * values**2


def dense_loss_gradient(circuit, weights, data, starts):
    values, by_weight, _ = dense_jacobian(circuit, weights, data, starts)
    return np.einsum("bm,bmi->i", loss_and_cotangent(values)[1], by_weight)


def through_loss(way, plan, data, weights, amplitudes, dtype="float64"):
    values, pullback = way.forward(plan, data, weights, amplitudes, dtype)
    return pullback(loss_and_cotangent(values)[1])


def test_the_chain_rule_goes_through_the_loss():
    for seed in range(6):
        rng = np.random.default_rng(100 + seed)
        circuit = random_circuit(rng)
        data, weights, amplitudes = inputs(rng, samples=3)
        plan = compile_circuit(circuit, OBSERVABLES, amplitude_input=True)
        exact = dense_loss_gradient(circuit, weights, data, amplitudes)
        scale = np.abs(exact).max()
        shifts = len(of_weights(parameter_shift(circuit)).circuits)
        for way, circuits, tolerance in [
            (Adjoint(), 0, 1e-11),
            (Shifted("parameter_shift"), 3 * shifts, 1e-11),
            (Shifted("finite_difference"), 3 * 4 * len(set(np.flatnonzero(exact))), 1e-7),
        ]:
            found = through_loss(way, plan, data, weights, amplitudes)
            np.testing.assert_allclose(found.weights, exact, atol=tolerance * scale, err_msg=str(way))
            assert found.circuits == circuits
            single = through_loss(way, plan, data, weights, amplitudes, "float32")
            np.testing.assert_allclose(single.weights, exact, atol=3e-4 * scale, err_msg=str(way))
    # Shifting the loss itself would be another number.
    shifted = sum(
        0.5
        * sign
        * loss_and_cotangent(dense_jacobian(circuit, weights + sign * np.pi / 2 * np.eye(4)[3], data, amplitudes)[0])[0]
        for sign in (1, -1)
    )
    assert abs(shifted - exact[3]) > 0.05 * scale


def test_simultaneous_estimates_average_to_the_gradient_and_repeat():
    rng = np.random.default_rng(3)
    circuit = random_circuit(rng)
    data, weights, amplitudes = inputs(rng)
    plan = compile_circuit(circuit, OBSERVABLES, amplitude_input=True)
    exact = dense_loss_gradient(circuit, weights, data, amplitudes)
    many = through_loss(Simultaneous(seed=1, number=0, directions=4096, step=0.01), plan, data, weights, amplitudes)
    spread = np.sqrt(np.sum(exact**2) / 4096)
    assert np.abs(many.weights - exact).max() < 4 * spread + 1e-2
    assert many.circuits == 2 * 4096 * 2
    few = [Simultaneous(seed=seed, number=number) for seed, number in ((1, 5), (1, 5), (1, 6), (2, 5))]
    found = [through_loss(way, plan, data, weights, amplitudes).weights.tobytes() for way in few]
    assert found[0] == found[1]
    assert len(set(found)) > 1
    for wrong in ({"step": -0.1}, {"directions": 0}):
        with pytest.raises(InvalidArgumentError):
            Simultaneous(seed=0, number=0, **wrong)


def test_weights_that_do_not_train_cost_nothing_and_get_zero():
    circuit = hardware_efficient(N, 2)
    plan = compile_circuit(circuit, OBSERVABLES)
    weights = np.random.default_rng(0).normal(size=12)
    exact = through_loss(Adjoint(), plan, None, weights, None).weights
    trained = (0, 7, 11)
    for rule, circuits in (("parameter_shift", 6), ("finite_difference", 12)):
        found = through_loss(Shifted(rule, trained), plan, None, weights, None)
        assert found.circuits == circuits
        np.testing.assert_allclose(found.weights[list(trained)], exact[list(trained)], atol=1e-8)
        assert np.count_nonzero(found.weights) == 3
        assert through_loss(Shifted(rule, ()), plan, None, weights, None).circuits == 0
    estimate = through_loss(Simultaneous(seed=0, number=0, trained=trained), plan, None, weights, None).weights
    assert set(np.flatnonzero(estimate)) == set(trained)
    nothing = through_loss(NoGradient(), plan, None, weights, None)
    assert (nothing.weights, nothing.circuits) == (None, 0)


def test_circuits_that_differ_in_constants_share_a_plan():
    rng = np.random.default_rng(9)
    circuit = random_circuit(rng)
    data, weights, amplitudes = inputs(rng)
    gradient = parameter_shift(circuit)
    shared = SharedPlan(gradient.circuits, OBSERVABLES, amplitude_input=True)
    assert len(shared) == len(gradient.circuits)
    runs = list(shared.values(data, weights, amplitudes, dtype="float64"))
    for one, run in zip(gradient.circuits, runs, strict=True):
        plan = compile_circuit(one, OBSERVABLES, amplitude_input=True)
        np.testing.assert_allclose(run, plan.expectations(data, weights, amplitudes, dtype="float64"), atol=1e-13)
    for circuits in (
        (),
        (circuit, circuit.then(Operation("H", (0,)))),
        (hardware_efficient(1, 1), hardware_efficient(2, 1)),
    ):
        with pytest.raises(InvalidCircuitError):
            SharedPlan(circuits, OBSERVABLES, amplitude_input=True)
    other = Circuit(N, [*circuit.operations[:-1], Operation("RY", (1,), (Data(0),))])
    with pytest.raises(InvalidCircuitError, match="more than constants"):
        SharedPlan((circuit, other), OBSERVABLES, amplitude_input=True)


def test_a_jacobian_needs_no_data_and_no_weights():
    turn = Circuit(1, [Operation("RX", (0,), (0.4,))])
    values, jacobian = adjoint_jacobian(turn, (PauliString("Z"),), [])
    assert values[0, 0] == pytest.approx(math.cos(0.4))
    assert (jacobian.weights.shape, jacobian.data.shape) == ((1, 1, 0), (1, 1, 0))
    with pytest.raises(InvalidArgumentError, match="weights of shape"):
        adjoint_jacobian(turn, (PauliString("Z"),), [1.0])
