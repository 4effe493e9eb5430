"""Expectation values where every circuit starts in |0…0⟩: start states are prepared by gates."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from executor_scripting import ScriptedBackend

from qstore_db.backends.backend import Price
from qstore_db.backends.local import local_backend
from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
from qstore_db.circuits.encodings.amplitude import preparation_angles, preparation_by_data, state_preparation
from qstore_db.circuits.encodings.angle import angle_encoding
from qstore_db.circuits.placement import bind
from qstore_db.circuits.readouts import readout
from qstore_db.executor.executor import Executor
from qstore_db.executor.expectations import BackendExpectations, PricedExpectations

QUBITS = 3
CIRCUIT = angle_encoding(QUBITS).compose(hardware_efficient(QUBITS, 1))


def inputs(samples, *, imaginary, angles):
    rng = np.random.default_rng(samples)
    states = rng.normal(size=(samples, 6)) + (1j * rng.normal(size=(samples, 6)) if imaginary else 0)
    return (rng.normal(size=(samples, QUBITS)) if angles else None), states


def without_starts():
    backend = ScriptedBackend("plain")
    backend.capabilities = replace(backend.capabilities, amplitudes=False)
    return backend


@pytest.mark.parametrize("imaginary", [False, True])
@pytest.mark.parametrize("angles", [False, True])
def test_prepared_states_give_the_values_of_loaded_ones(imaginary, angles):
    circuit = CIRCUIT if angles else hardware_efficient(QUBITS, 1)
    data, states = inputs(4, imaginary=imaginary, angles=angles)
    points = np.random.default_rng(0).normal(size=(2, circuit.number_of_weights))
    asked = (circuit, readout("pauli_pairs", QUBITS), points, data, states)
    with Executor(local_backend(), without_starts()) as executor:
        loaded = BackendExpectations(executor, "local").expectations(*asked)
        prepared = BackendExpectations(executor, "plain").expectations(*asked)
    np.testing.assert_allclose(prepared, loaded, atol=1e-12)


@pytest.mark.parametrize("together", [False, True])
def test_bases_together_or_one_by_one_give_the_same_bits(together):
    data, states = inputs(3, imaginary=False, angles=True)
    points = np.random.default_rng(0).normal(size=(2, CIRCUIT.number_of_weights))
    asked = (CIRCUIT, readout("pauli_pairs", QUBITS), points, data, states)
    with Executor(local_backend()) as executor:
        one = BackendExpectations(executor, "local", shots=100, seed=(5,))
        other = BackendExpectations(executor, "local", shots=100, seed=(5,), together=together)
        assert (one.expectations(*asked) == other.expectations(*asked)).all()
        assert one.circuits == other.circuits
        assert (one.expectations(*asked) != other.expectations(*asked)).any() == False  # noqa: E712 - an array


def test_a_priced_source_asks_the_very_same_requests():
    data, states = inputs(3, imaginary=False, angles=True)
    points = np.random.default_rng(0).normal(size=(2, CIRCUIT.number_of_weights))
    observables = readout("pauli_pairs", QUBITS)
    backend = without_starts()
    backend.capabilities = replace(backend.capabilities, seeded=False)
    priced = []

    def price(requests):
        priced.extend(requests)
        return Price(Decimal(sum(request.samples for request in requests)))

    source = PricedExpectations(price, backend.name, backend.capabilities, shots=10)
    assert not source.expectations(CIRCUIT, observables, points, data, states).any()
    with Executor(backend) as executor:
        real = BackendExpectations(executor, backend.name, shots=10)
        assert real.expectations(CIRCUIT, observables, points, data, states).shape == (2, 3, len(observables))
    sent = [request.fingerprint for job in backend.jobs for request in job]
    assert sorted(sent) == sorted(request.fingerprint for request in priced)
    assert (source.circuits, source.dollars, source.shots) == (real.circuits, Decimal(real.circuits), real.shots)


def test_one_circuit_prepares_every_vector():
    vectors = np.random.default_rng(1).normal(size=(3, 8))
    angles, circuit = preparation_angles(vectors, QUBITS), preparation_by_data(QUBITS)
    assert angles.shape == (3, 7)
    for row, vector in zip(angles, vectors, strict=True):
        assert bind(circuit, data=row) == state_preparation(vector)
