"""SWAP removal under noise: the same probabilities as before, or an error."""

import numpy as np
import pytest

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.observables import PauliString
from qstore_db.compilation.noisy_swaps import remove_swaps_with_noise
from qstore_db.compilation.relabelling import in_original_order, relabel
from qstore_db.errors import InvalidArgumentError, InvalidCircuitError
from qstore_db.simulation import density_matrix
from qstore_db.simulation.channels import amplitude_damping, depolarizing
from qstore_db.simulation.noise_model import NoiseModel, NoiseRule, ReadoutError

GATES = ("RX", "RY", "CX", "RZZ", "H", "SWAP")
CIRCUITS = 40
OTHERS = [gate for gate in GATES if gate != "SWAP"]


def random_circuit(rng, n, length):
    operations = []
    for _ in range(length):
        gate = str(rng.choice(GATES))
        qubits = rng.permutation(n)[: 2 if gate in ("CX", "RZZ", "SWAP") else 1]
        operations.append(Operation(gate, qubits, rng.normal(size=int(gate[0] == "R"))))
    return Circuit(n, operations)


def outcome(circuit, noise):
    rho = density_matrix.density_matrix(circuit, noise)
    return rho, density_matrix.probabilities(rho, noise)


def assert_same(circuit, noise):
    found, moved = remove_swaps_with_noise(circuit, noise)
    (rho, before), (there, after) = outcome(circuit, noise), outcome(found.circuit, moved)
    assert abs(in_original_order(after, found.output_permutation) - before).max() < 1e-12
    string = PauliString("XYZ"[: circuit.n_qubits])
    was = density_matrix.expectations(rho, [string], noise)
    now = density_matrix.expectations(there, [relabel(string, found.output_permutation)], moved)
    assert abs(was - now).max() < 1e-12
    return found


def test_rules_for_all_places_and_readout_errors_follow(compared):
    for seed in range(CIRCUITS):
        rng = np.random.default_rng(seed)
        circuit = random_circuit(rng, 3, 14)
        rules = [
            NoiseRule(amplitude_damping(0.2), gates=OTHERS),
            NoiseRule(depolarizing(0.1, 2), gates=["CX", "RZZ"]),
        ]
        readout = {0: ReadoutError(0.1, 0.02), 2: ReadoutError(0.0, 0.3)}
        found = assert_same(circuit, NoiseModel(rules, readout=readout))
        assert all(operation.gate != "SWAP" for operation in found.circuit.operations)
    compared(f"{CIRCUITS} random noisy circuits before and after SWAP removal")


def test_rules_for_certain_places_follow_or_are_refused():
    results = {"same": 0, "refused": 0}
    for seed in range(120):
        rng = np.random.default_rng(seed)
        circuit = random_circuit(rng, 3, 6)
        rules = [
            NoiseRule(amplitude_damping(0.3), gates=["RX", "RY"], places=[(int(rng.integers(3)),)]),
            NoiseRule(depolarizing(0.2, 2), gates=["CX"], places=[tuple(rng.permutation(3)[:2].tolist())]),
        ]
        noise = NoiseModel(rules, readout={1: ReadoutError(0.25)})
        try:
            assert_same(circuit, noise)
            results["same"] += 1
        except InvalidCircuitError as error:
            assert "only sometimes" in str(error)
            results["refused"] += 1
    assert results["same"] > 40
    assert results["refused"] > 3


def test_the_noise_of_a_swap_is_not_dropped_silently():
    circuit = Circuit(2, (Operation("H", (0,)), Operation("SWAP", (0, 1))))
    with pytest.raises(InvalidCircuitError, match=r"depolarizing follows the SWAP on \(0, 1\)"):
        remove_swaps_with_noise(circuit, NoiseModel([NoiseRule(depolarizing(0.1))]))


def test_a_channel_on_two_qubits_is_not_given_to_a_gate_on_three():
    with pytest.raises(InvalidArgumentError, match="cannot follow the gate 'CCX'"):
        NoiseRule(depolarizing(0.1, 2), gates=["CCX"])
    struck = NoiseRule(depolarizing(0.1), gates=["CCX"]).strikes(Operation("CCX", (2, 0, 1)))
    assert struck == ((2,), (0,), (1,))
    assert NoiseRule(depolarizing(0.1), arity=3).strikes(Operation("CX", (0, 1))) == ()
