"""Encodings: exact states, for every width, sign and phase."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.circuits.encodings.amplitude import amplitudes, qubits_for, state_preparation
from qstore_db.circuits.encodings.angle import angle_encoding
from qstore_db.circuits.readouts import pauli_pairs
from qstore_db.errors import InvalidCircuitError, InvalidVectorError
from qstore_db.simulation.plan import compile_circuit
from qstore_db.simulation.reference import state_vector


def fidelity(circuit, wanted):
    return abs(np.vdot(wanted, state_vector(circuit)[0])) ** 2


@given(width=st.integers(1, 70), complex_valued=st.booleans(), zeros=st.floats(0, 0.9), seed=st.integers(0, 10**6))
@settings(derandomize=True, deadline=None, max_examples=120)
def test_state_preparation_is_exact(width, complex_valued, zeros, seed):
    rng = np.random.default_rng(seed)
    vector = rng.normal(size=width) + complex_valued * 1j * rng.normal(size=width)
    vector = np.where(rng.random(width) < zeros, 0, vector)
    if not vector.any():
        vector[-1] = -1
    vector = vector if complex_valued else vector.real
    circuit = state_preparation(vector)
    assert circuit.n_qubits == qubits_for(width)
    assert fidelity(circuit, amplitudes(vector, circuit.n_qubits)[0]) > 1 - 1e-12


@pytest.mark.parametrize("n", range(1, 7))
def test_state_preparation_has_the_least_number_of_rotations(n):
    rng = np.random.default_rng(n)
    real = [operation.gate for operation in state_preparation(rng.normal(size=1 << n)).operations]
    assert real.count("RY") == (1 << n) - 1
    assert "RZ" not in real
    vector = rng.normal(size=1 << n) + 1j * rng.normal(size=1 << n)
    both = [operation.gate for operation in state_preparation(vector).operations]
    assert both.count("RY") == both.count("RZ") == (1 << n) - 1


def test_both_roads_give_the_same_readouts():
    rng = np.random.default_rng(0)
    for vector in (rng.normal(size=13), rng.normal(size=16) + 1j * rng.normal(size=16)):
        prepared = compile_circuit(state_preparation(vector), pauli_pairs(4))
        started = compile_circuit(type(state_preparation(vector))(4), pauli_pairs(4), amplitude_input=True)
        wanted = prepared.expectations(dtype="float64")
        got = started.expectations(amplitudes=vector[None], dtype="float64")
        assert np.abs(got - wanted).max() < 1e-12


def test_amplitudes_pad_and_normalise_without_overflow():
    rows = amplitudes([[3, 4], [1e200, 0], [0, -1e-300]], 2)
    assert rows.tolist() == [[0.6, 0.8, 0, 0], [1, 0, 0, 0], [0, -1, 0, 0]]
    assert amplitudes([1, 1j], 1).dtype == np.complex128
    assert [qubits_for(width) for width in (1, 2, 3, 4, 5, 64, 65)] == [1, 1, 2, 2, 3, 6, 7]


@pytest.mark.parametrize(
    ("vectors", "qubits", "error"),
    [
        ([[0.0, 0.0]], 1, InvalidVectorError),
        ([[1.0, np.nan]], 1, InvalidVectorError),
        ([[1.0, 0.0], [np.inf, 0.0]], 1, InvalidVectorError),
        ([[1.0, 2.0, 3.0]], 1, InvalidVectorError),
        ([[]], 1, InvalidVectorError),
        (np.ones((1, 1, 2)), 1, InvalidVectorError),
        ([[1.0]], 0, InvalidCircuitError),
        ([[1.0]], 25, InvalidCircuitError),
    ],
)
def test_vectors_without_a_state_are_refused(vectors, qubits, error):
    with pytest.raises(error) as caught:
        amplitudes(vectors, qubits)
    assert caught.value.fix


def test_state_preparation_takes_one_vector():
    with pytest.raises(InvalidVectorError, match="one vector"):
        state_preparation(np.eye(2))
    with pytest.raises(InvalidCircuitError):
        qubits_for(0)


@pytest.mark.parametrize("axis", ["X", "Y", "Z"])
def test_angle_encoding_turns_each_qubit_by_its_column(axis):
    circuit = angle_encoding(3, axis=axis, scale=0.5, first_column=1)
    assert circuit.number_of_data == 4
    data = np.array([[9.0, 0.3, -1.0, 2.0]])
    one = {
        "X": lambda t: [np.cos(t), -1j * np.sin(t)],
        "Y": lambda t: [np.cos(t), np.sin(t)],
        "Z": lambda t: [np.exp(-1j * t), 0],
    }[axis]
    wanted = np.ones(1)
    for value in data[0, 1:]:
        wanted = np.kron(wanted, one(0.25 * value))
    assert np.abs(state_vector(circuit, None, data)[0] - wanted).max() < 1e-15


def test_angle_encoding_refuses_other_axes():
    with pytest.raises(InvalidCircuitError):
        angle_encoding(2, axis="W")
    with pytest.raises(InvalidCircuitError):
        angle_encoding(2, scale=float("nan"))
