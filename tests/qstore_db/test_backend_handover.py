"""The backend that chooses a simulator by the size of a circuit, and where ``local`` changes its engine."""

from importlib.util import find_spec

import numpy as np
import pytest

from qstore_db.backends import handover, local
from qstore_db.backends.batched import BatchedSimulator
from qstore_db.backends.handover import Handover
from qstore_db.backends.local import StateVectorEngine
from qstore_db.backends.request import ExecutionRequest
from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
from qstore_db.circuits.encodings.angle import angle_encoding
from qstore_db.circuits.observables import PauliString
from qstore_db.circuits.readouts import pauli_pairs

needs_qsim = pytest.mark.skipif(find_spec("qsimcirq") is None, reason="qsimcirq is not installed")


def request(n, **what):
    circuit = angle_encoding(n).compose(hardware_efficient(n, 2, rotations="rx_ry_rz"))
    rng = np.random.default_rng(n)
    weights, data = rng.uniform(-3, 3, circuit.number_of_weights), rng.uniform(0, 3, (3, n))
    return ExecutionRequest(circuit, weights=weights, data=data, **what)


@needs_qsim
def test_large_circuits_are_handed_over_and_their_results_say_so(monkeypatch):
    monkeypatch.setattr(handover, "QSIM_FROM_QUBITS", 4)
    asked = [request(n, observables=pauli_pairs(n)) for n in (5, 3, 4, 2)]
    *found, chances, counts = Handover().run([*asked, request(5), request(5, shots=10, seed=1)])
    assert [one.backend for one in found] == ["qsim", "local", "qsim", "local"]
    assert (chances.backend, counts.backend) == ("local", "local")  # where qsim gains nothing
    exact = BatchedSimulator(StateVectorEngine()).run(asked)
    for one, other in zip(found, exact, strict=True):
        np.testing.assert_allclose(one.values, other.values, atol=2e-5)


def test_without_qsim_everything_stays_here(monkeypatch):
    monkeypatch.setattr(handover, "find_spec", lambda name: None)
    monkeypatch.setattr(handover, "QSIM_FROM_QUBITS", 3)
    alone = Handover()
    (found,) = alone.run([request(4)])
    assert found.backend == "local"
    assert "qsim" not in alone.identity
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1.0)


def test_local_gives_the_same_values_on_both_sides_of_its_crossover(monkeypatch):
    asked = request(6, observables=(*pauli_pairs(6), 0.5 * PauliString("XYZIXY") + PauliString("ZZIIII")))
    by_lanes = BatchedSimulator(StateVectorEngine()).run([asked])[0].values
    monkeypatch.setattr(local, "STATES_FROM_QUBITS", 6)
    by_states = BatchedSimulator(StateVectorEngine()).run([asked])[0].values
    np.testing.assert_allclose(by_states, by_lanes, atol=1e-13)
    assert not np.array_equal(by_states, by_lanes)  # two engines
    alone = ExecutionRequest(asked.circuit, observables=asked.observables, weights=asked.weights, data=asked.data[1:2])
    np.testing.assert_array_equal(BatchedSimulator(StateVectorEngine()).run([alone])[0].values[0], by_states[1])
