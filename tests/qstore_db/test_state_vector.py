"""The engine of single states against the plain state vector, and shots drawn from it."""

import numpy as np
import pytest

from qstore_db.backends.local import local_backend
from qstore_db.backends.request import ExecutionRequest
from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.parameters import Data, Weight
from qstore_db.errors import InvalidArgumentError, InvalidVectorError, NotEnoughMemoryError
from qstore_db.executor.executor import Executor
from qstore_db.simulation import reference, state_program, state_vector
from qstore_db.simulation.sampling import sample_counts
from qstore_db.simulation.state_vector import probabilities, states

CIRCUITS = 150
LIMITS = {"float64": 1e-12, "float32": 2e-6}


def started(seed, rng, n):
    if seed % 3:
        return None
    rows = rng.normal(size=(3, 1 << n))
    return rows if seed % 2 else rows + 1j * rng.normal(size=rows.shape)


def test_random_circuits_agree_with_the_plain_state_vector(random_circuit, compared):
    worst = dict.fromkeys(LIMITS, 0.0)
    for seed in range(CIRCUITS):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(1, 8))
        circuit = random_circuit(seed, n, int(rng.integers(0, 60)), symbols=True)
        circuit = circuit.then(Operation("RX", (0,), (Weight(2) + Data(1),)))
        weights, data, start = rng.normal(size=3), rng.normal(size=(3, 2)), started(seed, rng, n)
        given = None if start is None else start / np.linalg.norm(start, axis=1, keepdims=True)
        wanted = reference.state_vector(circuit, weights, data, given)
        for dtype in LIMITS:
            found = states(circuit, weights, data, start, dtype=dtype)
            chances = probabilities(circuit, weights, data, start, dtype=dtype)
            assert chances.dtype == np.float64
            worst[dtype] = max(worst[dtype], abs(found - wanted).max(), abs(chances - abs(wanted) ** 2).max())
    compared(f"{CIRCUITS} random states against the plain state vector, largest difference: {worst}")
    assert all(worst[dtype] < limit for dtype, limit in LIMITS.items())


def test_steps_in_groups_do_the_same(random_circuit, monkeypatch):
    monkeypatch.setattr(state_program, "TABLE_QUBITS", 6)
    monkeypatch.setattr(state_program, "GROUP_BITS", 7)
    state_program.state_program.cache_clear()
    most = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(7, 10))
        circuit = random_circuit(seed, n, int(rng.integers(0, 70)), symbols=True)
        circuit = circuit.then(Operation("RX", (0,), (Weight(2) + Data(1),)))
        weights, data, start = rng.normal(size=3), rng.normal(size=(3, 2)), started(seed, rng, n)
        given = None if start is None else start / np.linalg.norm(start, axis=1, keepdims=True)
        wanted = reference.state_vector(circuit, weights, data, given)
        most = max(most, len(state_program.state_program(circuit).groups))
        for dtype, limit in LIMITS.items():
            assert abs(states(circuit, weights, data, start, dtype=dtype) - wanted).max() < limit
    state_program.state_program.cache_clear()
    assert most > 5


def test_fourteen_qubits_and_an_empty_circuit():
    circuit = hardware_efficient(14, 2, rotations="rx_ry_rz", entanglement="circular")
    weights = np.random.default_rng(5).normal(size=circuit.number_of_weights)
    assert abs(states(circuit, weights) - reference.state_vector(circuit, weights)).max() < 1e-13
    assert probabilities(Circuit(15))[0, 0] == 1.0


def test_a_row_does_not_depend_on_its_company():
    circuit = Circuit(5, [Operation("RY", (q,), (Data(q),)) for q in range(5)]).compose(hardware_efficient(5, 3))
    rng = np.random.default_rng(1)
    weights, data = rng.normal(size=30), rng.normal(size=(17, 5))
    together = probabilities(circuit, weights, data)
    for row in range(17):
        assert (probabilities(circuit, weights, data[row : row + 1])[0] == together[row]).all()


def test_runs_of_moves_become_tables_and_long_registers_do_without(random_circuit, monkeypatch):
    moves = [Operation("CX", (q, q + 1)) for q in range(4)] + [Operation("X", (2,)), Operation("SWAP", (0, 3))]
    circuit = Circuit(5, [*[Operation("RX", (q,), (0.1 + q,)) for q in range(5)], *moves])
    program = state_program.state_program(circuit)
    assert len(program.tables) == 1
    wanted = reference.state_vector(circuit)
    assert abs(states(circuit) - wanted).max() < 1e-14
    monkeypatch.setattr(state_program, "TABLE_QUBITS", 4)
    longer = circuit.then(Operation("H", (0,)))
    assert len(state_program.state_program(longer).tables) == 0
    assert abs(states(longer) - reference.state_vector(longer)).max() < 1e-14


def test_what_does_not_fit_is_refused_before_it_is_taken(monkeypatch):
    def none_left(size):
        raise NotEnoughMemoryError("too large", value=size)

    monkeypatch.setattr(state_vector, "require", none_left)
    with pytest.raises(NotEnoughMemoryError) as caught:
        probabilities(Circuit(24))
    assert caught.value.value >= 3 * (1 << 24) * 8


@pytest.mark.parametrize(
    "arguments, error",
    [
        ({"weights": [1.0]}, InvalidArgumentError),
        ({"dtype": "float16"}, InvalidArgumentError),
        ({"data": [[1.0]]}, InvalidArgumentError),
        ({"amplitudes": [[0.0, 0.0]]}, InvalidVectorError),
        ({"amplitudes": [[np.nan, 1.0]]}, InvalidVectorError),
    ],
)
def test_wrong_inputs_are_refused(arguments, error):
    with pytest.raises(error):
        states(Circuit(1, (Operation("H", (0,)),)), **arguments)


def chi_square(counts, chances):
    """Standardised: about 0 ± 1 for counts drawn with these chances."""
    expected = counts.sum() * chances
    kept = expected > 5
    degrees = kept.sum() - 1
    return (((counts - expected)[kept] ** 2 / expected[kept]).sum() - degrees) / np.sqrt(2 * degrees)


@pytest.mark.parametrize("dtype", sorted(LIMITS))
@pytest.mark.parametrize("shots", [20_000, 5_000_000])  # one number a shot, and one an outcome
def test_shots_of_the_local_backend_are_distributed_as_the_state_says(dtype, shots):
    circuit = hardware_efficient(6, 2)
    weights = np.random.default_rng(3).normal(size=circuit.number_of_weights)
    wanted = abs(reference.state_vector(circuit, weights)[0]) ** 2
    with Executor(local_backend(dtype=dtype)) as executor:
        request = ExecutionRequest(circuit, shots=shots, seed=11, weights=weights)
        (counts,) = executor.run(request).counts
        (again,) = executor.run(ExecutionRequest(circuit, shots=shots, seed=11, weights=weights)).counts
    assert counts.shots == shots
    assert (np.diff(counts.outcomes) > 0).all()
    assert (counts.numbers == again.numbers).all()
    assert abs(chi_square(counts.dense(), wanted)) < 4
    assert abs(chi_square(counts.dense(), np.roll(wanted, 1))) > 100


def test_counts_of_many_qubits_take_a_walk_over_them():
    chances = probabilities(hardware_efficient(16, 1), np.full(32, 0.7))[0]
    counts = sample_counts(chances, 1024, np.random.default_rng(0))
    assert counts.sum() == 1024
    assert (chances[counts > 0] > 0).all()
