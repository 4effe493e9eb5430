"""The engine against Cirq, finite differences and the plain state vector, on random asymmetric circuits."""

from itertools import pairwise

import cirq
import numpy as np
import pytest
from cirq_gates import cirq_gate

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.gates import GATES
from qstore_db.circuits.observables import PauliString, PauliSum, terms_of
from qstore_db.circuits.parameters import Angle, Data, Weight
from qstore_db.simulation import lanes_stage, memory, packing, reference
from qstore_db.simulation.plan import compile_circuit

WEIGHTS, COLUMNS, CIRCUITS = 5, 4, 240
DTYPES = ("float64", "float32")


def random_angle(rng):
    """A sum of up to two symbols and, sometimes, a constant; shared weights and columns are frequent."""
    scale = rng.choice([1.0, -0.5, 3.0])
    terms = tuple(
        Weight(int(rng.integers(WEIGHTS)), scale) if rng.random() < 0.5 else Data(int(rng.integers(COLUMNS)), scale)
        for _ in range(rng.integers(0, 3))
    )
    return Angle(terms, float(rng.normal()) if rng.random() < 0.3 or not terms else 0.0)


def random_circuit(rng, n, gates):
    names = [name for name, gate in GATES.items() if gate.qubits <= n]
    operations = []
    for _ in range(gates):
        kind = GATES[str(rng.choice(names))]
        qubits = rng.permutation(n)[: kind.qubits]
        operations.append(Operation(kind.name, qubits, [random_angle(rng) for _ in range(kind.angles)]))
    # Every symbol occurs, so that the number of weights and columns is fixed.
    operations += [Operation("RX", (0,), (Weight(WEIGHTS - 1),)), Operation("RY", (n - 1,), (Data(COLUMNS - 1),))]
    return Circuit(n, [operations[place] for place in rng.permutation(len(operations))])


def random_observables(rng, n):
    def string():
        return PauliString("".join(rng.choice(list("IXYZ"), n)))

    single = [string() for _ in range(rng.integers(1, 6))]
    return (*single, 0.5 * string() - 2.0 * string() + PauliString("I" * n))


def random_case(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 7))
    circuit = random_circuit(rng, n, int(rng.integers(3, 50)))
    observables = random_observables(rng, n)
    samples = int(rng.integers(1, 4)) if seed % 8 else 21
    data, weights = rng.normal(size=(samples, COLUMNS)) * 2, rng.normal(size=WEIGHTS) * 2
    if seed % 5 == 0:  # the reduction's edges
        data, weights = np.pi / 2 * rng.integers(-4, 5, data.shape), np.pi / 2 * rng.integers(-4, 5, WEIGHTS)
    amplitudes = None
    if seed % 3 == 0:
        amplitudes = rng.normal(size=(samples, 1 << n)) * 3
        if seed % 2:
            amplitudes = amplitudes + 1j * rng.normal(size=amplitudes.shape)
    return circuit, observables, data, weights, amplitudes


def normalised(amplitudes):
    return None if amplitudes is None else amplitudes / np.linalg.norm(amplitudes, axis=1, keepdims=True)


def cirq_expectations(circuit, observables, data, weights, amplitudes):
    qubits = cirq.LineQubit.range(circuit.n_qubits)
    simulator = cirq.Simulator(dtype=np.complex128)
    places = {qubit: place for place, qubit in enumerate(qubits)}
    strings = [
        [(c, cirq.PauliString({qubits[q]: letter for q, letter in s.on_qubits.items()})) for c, s in terms_of(o)]
        for o in observables
    ]
    rows = []
    for sample in range(len(data)):
        moments = []
        for operation in circuit.operations:
            on = [qubits[qubit] for qubit in operation.qubits]
            values = [float(angle.value(weights, data[sample : sample + 1])[0]) for angle in operation.angles]
            moments.append(cirq_gate(operation.gate, *values)(*on))
        start = 0 if amplitudes is None else amplitudes[sample].astype(np.complex128)
        state = simulator.simulate(cirq.Circuit(moments), qubit_order=qubits, initial_state=start).final_state_vector
        rows.append(
            [
                sum(c * s.expectation_from_state_vector(state, places, check_preconditions=False).real for c, s in o)
                for o in strings
            ]
        )
    return np.array(rows)


def test_values_agree_with_cirq(compared):
    worst = dict.fromkeys(DTYPES, 0.0)
    for seed in range(CIRCUITS):
        circuit, observables, data, weights, amplitudes = random_case(seed)
        some = slice(0, 2)  # Cirq runs sample by sample
        wanted = cirq_expectations(
            circuit, observables, data[some], weights, None if amplitudes is None else normalised(amplitudes)[some]
        )
        plan = compile_circuit(circuit, observables, amplitude_input=amplitudes is not None)
        for dtype in DTYPES:
            got = plan.expectations(data, weights, amplitudes, dtype=dtype)[some]
            worst[dtype] = max(worst[dtype], float(np.abs(got - wanted).max()))
    compared(f"{CIRCUITS} random circuits against Cirq, largest difference: {worst}")
    assert worst["float64"] < 1e-11
    assert worst["float32"] < 1e-5


def slope_along(case, along, cotangent):
    """d/dt of Σ cotangent · values at inputs + t · along, by Richardson's extrapolation on the plain state vector."""
    circuit, observables, data, weights, amplitudes = case

    def loss(t):
        start = None if amplitudes is None else normalised(amplitudes + t * along[2])
        state = reference.state_vector(circuit, weights + t * along[1], data + t * along[0], start)
        return float((cotangent * reference.expectations(state, observables)).sum())

    h = 5e-4  # error O(h^4), rounding 1e-16 / h
    return (8 * (loss(h / 2) - loss(-h / 2)) - (loss(h) - loss(-h))) / (6 * h)


def test_gradients_agree_with_differences_in_a_random_direction(compared):
    worst = dict.fromkeys(DTYPES, 0.0)
    for seed in range(CIRCUITS):
        circuit, observables, data, weights, amplitudes = random_case(seed)
        rng = np.random.default_rng(10_000 + seed)
        plan = compile_circuit(circuit, observables, amplitude_input=amplitudes is not None)
        cotangent = rng.normal(size=(len(data), len(observables)))
        along = [rng.normal(size=data.shape), rng.normal(size=WEIGHTS), None]
        if amplitudes is not None:
            along[2] = rng.normal(size=amplitudes.shape)
            if np.iscomplexobj(amplitudes):
                along[2] = along[2] + 1j * rng.normal(size=amplitudes.shape)

        wanted = slope_along((circuit, observables, data, weights, amplitudes), along, cotangent)
        for dtype in DTYPES:
            gradients = plan.forward(data, weights, amplitudes, dtype=dtype)[1](cotangent)
            got = (gradients.data * along[0]).sum() + gradients.weights @ along[1]
            if amplitudes is not None:
                got += (gradients.amplitudes.conj() * along[2]).sum().real
            worst[dtype] = max(worst[dtype], abs(got - wanted) / (1 + abs(wanted)))
    compared(f"{CIRCUITS} random gradients against differences, largest relative difference: {worst}")
    assert worst["float64"] < 1e-8
    assert worst["float32"] < 1e-4


@pytest.mark.parametrize("n", [12, 13])
def test_more_cosets_than_one_table_of_words_holds(n):
    rng = np.random.default_rng(n)
    circuit = random_circuit(rng, n, 40).compose(Circuit(n, [Operation("RX", (q,), (0.3 + q,)) for q in range(n)]))
    assert 1 << (n - 1) > 1 << packing.LOW_BITS
    observables = [PauliString("".join(rng.choice(list("IXYZ"), n))) for _ in range(5)]
    data, weights = rng.normal(size=(2, COLUMNS)), rng.normal(size=WEIGHTS)
    amplitudes = rng.normal(size=(2, 1 << n))
    for start in (None, amplitudes):
        plan = compile_circuit(circuit, observables, amplitude_input=start is not None)
        state = reference.state_vector(circuit, weights, data, normalised(start))
        wanted = reference.expectations(state, observables)
        assert np.abs(plan.expectations(data, weights, start, dtype="float64") - wanted).max() < 1e-11


def test_many_rotations_keep_their_scale():
    """600 rotations near ±π/2, where each cosine is 0.71: without new start factors float32 would underflow."""
    rng = np.random.default_rng(3)
    gates = [
        Operation(name, rng.permutation(3)[: GATES[name].qubits], (Weight(0) + float(rng.choice([-1, 1]) * 1.5),))
        for name in rng.choice(["RX", "RY", "RZ", "RXX", "RZZ"], 600)
    ]
    circuit = Circuit(3, gates)
    observables = [PauliString(s) for s in ("ZII", "XYI", "IZX")]
    plan = compile_circuit(circuit, observables)
    assert plan._engine.program.segments > 3
    weights = np.array([0.05])
    wanted = reference.expectations(reference.state_vector(circuit, weights), observables)
    assert np.abs(plan.expectations(None, weights, dtype="float64") - wanted).max() < 1e-11
    assert np.abs(plan.expectations(None, weights, dtype="float32") - wanted).max() < 1e-4
    h = 1e-5
    slope = (
        reference.expectations(reference.state_vector(circuit, weights + h), observables)
        - reference.expectations(reference.state_vector(circuit, weights - h), observables)
    ).sum() / (2 * h)
    _, pullback = plan.forward(None, weights, dtype="float64")
    assert pullback(np.ones((1, 3))).weights[0] == pytest.approx(slope, rel=1e-5)


def test_a_set_with_more_strings_than_a_start_factor_covers():
    """All 1,023 diagonal strings of ten qubits commute: one set on paper, several in memory."""
    n = 10
    rng = np.random.default_rng(4)
    operations = [Operation("H", (q,)) for q in range(n)]
    for mask in range(1, 1 << n):
        members = [q for q in range(n) if mask >> q & 1]
        ladder = [Operation("CX", pair) for pair in pairwise(members)]
        turn = Operation("RZ", (members[-1],), (Data(0) + float(rng.uniform(1.3, 1.6)),))
        operations += [*ladder, turn, *reversed(ladder)]
    circuit = Circuit(n, operations)
    observables = [PauliString("X" + "I" * (n - 1)), PauliString("YX" + "I" * (n - 2))]
    data = np.array([[0.1], [0.0]])
    wanted = reference.expectations(reference.state_vector(circuit, None, data), observables)
    plan = compile_circuit(circuit, observables)
    for dtype, tolerance in (("float64", 1e-11), ("float32", 1e-5)):
        assert np.abs(plan.expectations(data, dtype=dtype) - wanted).max() < tolerance


def test_scratch_space_is_as_large_as_the_kernel_uses(monkeypatch):
    """Writes behind the promised sizes would hit the guard bytes."""
    rng = np.random.default_rng(5)
    guarded = []

    class Guarded(memory.Workspace):
        __slots__ = ("whole",)

        def __init__(self, size):
            self.whole = np.full(size + 128, 7, np.uint8)
            start = -self.whole.__array_interface__["data"][0] % 64
            self.address, self.size = self.whole.__array_interface__["data"][0] + start, size
            guarded.append((self.whole, start, size))

        def array(self, dtype):
            start = -self.whole.__array_interface__["data"][0] % 64
            return self.whole[start : start + self.size].view(dtype)

    monkeypatch.setattr(lanes_stage, "Workspace", Guarded)
    monkeypatch.setattr(memory, "Workspace", Guarded)
    for seed in range(60):
        circuit, observables, data, weights, amplitudes = random_case(seed)
        plan = compile_circuit(circuit, observables, amplitude_input=amplitudes is not None)
        for dtype in ("float32", "float64"):
            plan.expectations(data, weights, amplitudes, dtype=dtype)
            values, pullback = plan.forward(data, weights, amplitudes, dtype=dtype)
            pullback(rng.normal(size=values.shape))
    assert len(guarded) > 200
    for whole, start, size in guarded:
        assert (whole[:start] == 7).all()
        assert (whole[start + size :] == 7).all()


def test_a_sum_without_terms_is_refused():
    from qstore_db.errors import InvalidCircuitError

    with pytest.raises(InvalidCircuitError):
        PauliSum(())
