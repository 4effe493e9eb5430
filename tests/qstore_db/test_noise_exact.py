"""Exact noise against Cirq's density matrix simulator, on random asymmetric circuits with random noise."""

import cirq
import numpy as np
import pytest
from cirq_gates import cirq_gate

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.gates import GATES
from qstore_db.circuits.observables import PauliString, terms_of
from qstore_db.circuits.parameters import Data, Weight
from qstore_db.errors import InvalidArgumentError, InvalidCircuitError, InvalidVectorError, NotEnoughMemoryError
from qstore_db.gradients.parameter_shift import parameter_shift
from qstore_db.simulation import channels, memory
from qstore_db.simulation import density_matrix as dense
from qstore_db.simulation.noise_model import NoiseModel, NoiseRule, ReadoutError
from qstore_db.simulation.noisy_plan import compile_noisy
from qstore_db.simulation.plan import compile_circuit

WEIGHTS, COLUMNS, CIRCUITS = 4, 3, 70
CORRELATED = np.linalg.qr(np.random.default_rng(5).normal(size=(8, 8)))[0][:, :4].reshape(2, 4, 4)
# Each channel beside Cirq's own, in Cirq's convention.
CHANNELS = (
    (channels.depolarizing(0.08), cirq.depolarize(0.06)),
    (channels.depolarizing_from_error_probability(0.05, 2), cirq.depolarize(0.05, n_qubits=2)),
    (channels.amplitude_damping(0.07), cirq.amplitude_damp(0.07)),
    (channels.generalized_amplitude_damping(0.1, 0.3), cirq.generalized_amplitude_damp(0.7, 0.1)),
    (channels.phase_damping(0.12), cirq.phase_damp(0.12)),
    (channels.bit_flip(0.03), cirq.bit_flip(0.03)),
    (channels.phase_flip(0.1), cirq.phase_flip(0.1)),
    (channels.pauli_channel({"X": 0.1, "Y": 0.05}), cirq.asymmetric_depolarize(0.1, 0.05, 0.0)),
    (channels.kraus_channel(CORRELATED), cirq.KrausChannel(list(CORRELATED))),
    (channels.depolarizing(1.0), cirq.depolarize(0.75)),
)
THEIRS = dict(CHANNELS)


def random_circuit(rng, n, gates):
    names = [name for name, gate in GATES.items() if gate.qubits <= n]

    def angle():
        symbol = Weight(int(rng.integers(WEIGHTS)), 0.7) if rng.random() < 0.5 else Data(int(rng.integers(COLUMNS)))
        return symbol + 0.3 if rng.random() < 0.8 else float(rng.normal())

    operations = [Operation("RX", (0,), (Weight(WEIGHTS - 1),)), Operation("RY", (n - 1,), (Data(COLUMNS - 1),))]
    for _ in range(gates):
        kind = GATES[str(rng.choice(names))]
        operations.append(
            Operation(kind.name, rng.permutation(n)[: kind.qubits], [angle() for _ in range(kind.angles)])
        )
    return Circuit(n, [operations[place] for place in rng.permutation(len(operations))])


def random_noise(rng, n):
    rules = []
    for _ in range(rng.integers(1, 4)):
        channel = CHANNELS[rng.integers(len(CHANNELS))][0]
        places = (
            [tuple(rng.permutation(n)[: channel.n_qubits].tolist()) for _ in range(6)] if rng.random() < 0.3 else None
        )
        gates = list(rng.choice([name for name, gate in GATES.items() if channel.n_qubits == 1 or gate.qubits == 2], 8))
        rules.append(NoiseRule(channel, gates=gates if rng.random() < 0.4 else None, places=places if n > 1 else None))
    readout = {0: ReadoutError(0.1, 0.03), n - 1: ReadoutError(0.02)} if rng.random() < 0.5 else None
    return NoiseModel(rules, readout=readout)


def random_case(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 5))
    circuit, noise = random_circuit(rng, n, int(rng.integers(1, 16))), random_noise(rng, n)
    strings = [PauliString("".join(rng.choice(list("IXYZ"), n))) for _ in range(4)]
    observables = (*strings, 0.5 * strings[0] - 2.0 * strings[1] + PauliString("I" * n))
    samples = int(rng.integers(1, 20))
    weights, data = rng.normal(size=WEIGHTS), rng.normal(size=(samples, COLUMNS))
    start = None
    if rng.random() < 0.4:
        start = rng.normal(size=(samples, int(rng.integers(1, 2**n + 1))))
        start = start + 1j * rng.normal(size=start.shape) if rng.random() < 0.5 else start
    return circuit, noise, observables, weights, data, start


def cirq_state(circuit, noise, weights, row, start):
    qubits = cirq.LineQubit.range(circuit.n_qubits)
    steps = []
    for operation in circuit.operations:
        angles = [float(one.value(weights, row[None])[0]) for one in operation.angles]
        steps.append(cirq_gate(operation.gate, *angles).on(*(qubits[qubit] for qubit in operation.qubits)))
        for channel, place in noise.after(operation):
            steps.append(THEIRS[channel].on(*(qubits[qubit] for qubit in place)))
    psi = np.zeros(2**circuit.n_qubits, np.complex128)
    psi[: 1 if start is None else len(start)] = 1.0 if start is None else start / np.linalg.norm(start)
    simulator = cirq.DensityMatrixSimulator(dtype=np.complex128)
    return simulator.simulate(cirq.Circuit(steps), qubit_order=qubits, initial_state=psi).final_density_matrix


def reported_mean(rho, string, noise):
    """Rotates into the basis, misreads the outcomes one qubit after another, averages their product."""
    n, kept = string.n_qubits, string.on_qubits
    turn = np.eye(1)
    for qubit in range(n):
        to_z = {"X": [[1, 1], [1, -1]], "Y": [[1, -1j], [1, 1j]]}.get(kept.get(qubit))
        turn = np.kron(turn, np.eye(2) if to_z is None else np.array(to_z) / np.sqrt(2))
    chances = np.diag(turn @ rho @ turn.conj().T).real
    confusion = np.eye(1)
    for qubit in range(n):
        error = noise.readout_error(qubit)
        confusion = np.kron(confusion, np.eye(2) if error is None else error.matrix)
    chances = confusion @ chances
    values = [(-1) ** sum(k >> (n - 1 - qubit) & 1 for qubit in kept) for k in range(2**n)]
    return chances @ values, chances


def test_random_circuits_agree_with_cirq():
    contracted = 0
    for seed in range(CIRCUITS):
        circuit, noise, observables, weights, data, start = random_case(seed)
        rho = dense.density_matrix(circuit, noise, weights, data, start)
        plan = compile_noisy(circuit, observables, noise, amplitude_input=start is not None)
        values = plan.expectations(data, weights, start, dtype="float64")
        contracted += len(plan._program.contractions) > 0
        assert np.abs(values - dense.expectations(rho, observables, noise)).max() < 1e-12
        assert np.abs(values - plan.expectations(data, weights, start)).max() < 2e-5
        chances = plan.probabilities(data, weights, start)
        assert np.abs(chances - dense.probabilities(rho, noise)).max() < 1e-12
        sample = len(data) - 1
        theirs = cirq_state(circuit, noise, weights, data[sample], None if start is None else start[sample])
        assert np.abs(rho[sample] - theirs).max() < 1e-10
        for column, observable in enumerate(observables):
            mean = sum(factor * reported_mean(theirs, string, noise)[0] for factor, string in terms_of(observable))
            assert abs(values[sample, column] - mean) < 1e-10
        assert (
            np.abs(chances[sample] - reported_mean(theirs, PauliString("I" * circuit.n_qubits), noise)[1]).max() < 1e-10
        )
    print(f"{CIRCUITS} random noisy circuits agree with Cirq")
    assert contracted > 5  # both ways of reading were met


def test_density_matrices_stay_states():
    for seed in range(20):
        circuit, noise, _, weights, data, start = random_case(seed)
        rho = dense.density_matrix(circuit, noise, weights, data, start)
        assert np.abs(np.trace(rho, axis1=1, axis2=2) - 1).max() < 1e-12
        assert np.abs(rho - rho.conj().swapaxes(1, 2)).max() < 1e-12
        assert np.linalg.eigvalsh(rho).min() > -1e-12


def test_without_noise_it_is_the_plan():
    circuit, _, observables, weights, data, _ = random_case(4)
    clean = compile_circuit(circuit, observables).expectations(data, weights, dtype="float64")
    noisy = compile_noisy(circuit, observables, NoiseModel()).expectations(data, weights, dtype="float64")
    assert np.abs(clean - noisy).max() < 1e-12


def test_probabilities_in_another_basis():
    circuit, noise, _, weights, data, _ = random_case(8)
    n = circuit.n_qubits
    basis = "XYZX"[:n]
    chances = compile_noisy(circuit, [PauliString(basis)], noise).probabilities(data, weights, basis=basis)
    for row in range(len(data)):
        rho = dense.density_matrix(circuit, noise, weights, data[row : row + 1])[0]
        assert np.abs(chances[row] - reported_mean(rho, PauliString(basis), noise)[1]).max() < 1e-12


def test_a_sample_does_not_depend_on_its_batch():
    circuit, noise, observables, weights, data, _ = random_case(1)
    rows = np.concatenate([data, np.random.default_rng(0).normal(size=(37, COLUMNS))])
    plan = compile_noisy(circuit, observables, noise)
    whole = plan.expectations(rows, weights)
    for row in (0, 17, len(rows) - 1):
        assert np.array_equal(plan.expectations(rows[row : row + 1], weights)[0], whole[row])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_gradient_of_a_sample_does_not_depend_on_its_batch(dtype):
    circuit, noise, observables, weights, data, _ = random_case(1)
    rows = np.concatenate([data, np.random.default_rng(0).normal(size=(37, COLUMNS))])
    plan = compile_noisy(circuit, observables, noise)
    values, pullback = plan.forward(rows, weights, dtype=dtype)
    cotangent = np.random.default_rng(1).normal(size=values.shape)
    whole = pullback(cotangent)
    alone = [plan.forward(rows[[row]], weights, dtype=dtype)[1](cotangent[[row]]) for row in range(len(rows))]
    assert np.array_equal(np.concatenate([one.data for one in alone]), whole.data)
    assert np.abs(np.sum([one.weights for one in alone], axis=0) - whole.weights).max() < 1e-12


def test_eight_qubits_fill_padded_rows():
    n = 8
    steps = [Operation("RY", (q,), (Data(q),)) for q in range(n)]
    for layer in range(2):
        steps += [Operation("RZ", (q,), (Weight(layer * n + q),)) for q in range(n)]
        steps += [Operation("RX", (q,), (Weight(layer * n + q, -0.7),)) for q in range(n)]
        steps += [Operation("CX", (q, (q + 3) % n)) for q in range(n)]
    circuit = Circuit(n, steps)
    noise = NoiseModel(
        [NoiseRule(channels.amplitude_damping(0.05), arity=1), NoiseRule(channels.depolarizing(0.04, 2))]
    )
    rng = np.random.default_rng(2)
    weights, data = rng.normal(size=2 * n), rng.normal(size=(2, n))
    observables = [PauliString("XIZYIIIX"), PauliString("ZZZZZZZZ"), PauliString("IIIIIIIY")]
    rho = dense.density_matrix(circuit, noise, weights, data)
    plan = compile_noisy(circuit, observables, noise)
    values, pullback = plan.forward(data, weights, dtype="float64")
    assert np.abs(values - dense.expectations(rho, observables)).max() < 1e-12
    cotangent = rng.normal(size=values.shape)
    gradient = pullback(cotangent)
    for index in (0, n - 1, n + 3):
        step = 1e-5 * np.eye(2 * n)[index]
        ahead, behind = (plan.expectations(data, weights + one, dtype="float64") for one in (step, -step))
        assert abs((cotangent * (ahead - behind)).sum() / 2e-5 - gradient.weights[index]) < 1e-7
    step = np.zeros(data.shape)
    step[1, 5] = 1e-5
    ahead, behind = (plan.expectations(data + one, weights, dtype="float64") for one in (step, -step))
    assert abs((cotangent * (ahead - behind)).sum() / 2e-5 - gradient.data[1, 5]) < 1e-7


def test_the_parameter_shift_rule_holds_with_noise():
    circuit, noise, observables, weights, data, _ = random_case(12)
    gradient = parameter_shift(circuit)

    def values(one, given):
        return compile_noisy(one, observables, noise).expectations(data[:2], given, dtype="float64")

    jacobian = gradient.combine([values(one, weights) for one in gradient.circuits]).weights
    for index in range(WEIGHTS):
        step = np.zeros(WEIGHTS)
        step[index] = 1e-5
        slope = (values(circuit, weights + step) - values(circuit, weights - step)) / 2e-5
        assert np.abs(jacobian[:, :, index] - slope).max() < 1e-8


@pytest.mark.parametrize("seed", range(30))
def test_gradients_agree_with_finite_differences(seed):
    """Of weights, data and amplitudes, real and complex; with misread outcomes and channels on two qubits."""
    circuit, noise, observables, weights, data, start = random_case(seed)
    plan = compile_noisy(circuit, observables, noise, amplitude_input=start is not None)
    values, pullback = plan.forward(data, weights, start, dtype="float64")
    cotangent, step = np.random.default_rng(seed).normal(size=values.shape), 1e-5
    gradient = pullback(cotangent)

    def loss(weights, data, start):
        return (cotangent * plan.expectations(data, weights, start, dtype="float64")).sum()

    def slope(place, of):
        given = [weights, data, start]
        ahead, behind = (
            loss(*(one + sign * place if k == of else one for k, one in enumerate(given))) for sign in (1, -1)
        )
        return (ahead - behind) / (2 * step)

    for index in range(WEIGHTS):
        assert abs(slope(step * np.eye(WEIGHTS)[index], 0) - gradient.weights[index]) < 1e-7
    place = np.zeros(data.shape)
    place[-1, seed % COLUMNS] = step
    assert abs(slope(place, 1) - gradient.data[-1, seed % COLUMNS]) < 1e-7
    if start is not None:
        place = np.zeros(start.shape)
        place[-1, -1] = step
        assert abs(slope(place, 2) - gradient.amplitudes[-1, -1].real) < 1e-7
        if np.iscomplexobj(start):
            assert abs(slope(1j * place, 2) - gradient.amplitudes[-1, -1].imag) < 1e-7


def test_the_gradient_in_float32_and_its_refusals():
    circuit, noise, observables, weights, data, _ = random_case(12)
    plan = compile_noisy(circuit, observables, noise)
    values, exact = plan.forward(data, weights, dtype="float64")
    near = plan.forward(data, weights, input_gradients=False)[1](np.ones(values.shape))
    assert np.abs(near.weights - exact(np.ones(values.shape)).weights).max() < 1e-3
    assert near.data is None
    for wrong in (np.ones((1, 1)), np.full(values.shape, np.nan)):
        with pytest.raises(InvalidArgumentError, match="cotangent"):
            exact(wrong)


def test_what_does_not_fit_is_refused(monkeypatch):
    circuit, noise, observables, weights, data, _ = random_case(0)
    plan = compile_noisy(circuit, observables, noise)
    with pytest.raises(InvalidArgumentError, match="weights"):
        plan.expectations(data, weights[:-1])
    with pytest.raises(InvalidVectorError, match="row 0"):
        plan.expectations(data * np.nan, weights)
    with pytest.raises(InvalidArgumentError, match="amplitudes"):
        plan.expectations(data, weights, np.ones((len(data), 2)))
    with pytest.raises(InvalidArgumentError, match="float16"):
        plan.expectations(data, weights, dtype="float16")
    with pytest.raises(InvalidArgumentError, match="basis"):
        plan.probabilities(data, weights, basis="I" * circuit.n_qubits)
    with pytest.raises(InvalidCircuitError, match="observable"):
        compile_noisy(circuit, [], noise)
    with pytest.raises(InvalidCircuitError, match="observable"):
        compile_noisy(circuit, [PauliString("Z" * 9)], noise)
    with pytest.raises(InvalidCircuitError, match="13"):
        compile_noisy(Circuit(13), [PauliString("Z" * 13)], noise)
    with pytest.raises(InvalidCircuitError, match="13"):
        dense.density_matrix(Circuit(13), noise)
    monkeypatch.setattr(memory, "available", lambda: 1 << 20)
    with pytest.raises(NotEnoughMemoryError, match="GiB"):
        dense.density_matrix(Circuit(11), noise)
    with pytest.raises(NotEnoughMemoryError, match="GiB"):
        compile_noisy(Circuit(11), [PauliString("Z" * 11)], noise)
