"""Values of Pauli strings read from states, against dense matrices and the batched engine."""

import numpy as np
import pytest

from qstore_db.backends.request import ExecutionRequest
from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.observables import PauliString
from qstore_db.errors import InvalidCircuitError, NotEnoughMemoryError
from qstore_db.simulation import memory, reference, string_kernel
from qstore_db.simulation.plan import compile_circuit
from qstore_db.simulation.state_vector import expectations

LETTERS = {
    "I": np.eye(2),
    "X": np.array([[0, 1], [1, 0]]),
    "Y": np.array([[0, -1j], [1j, 0]]),
    "Z": np.diag([1, -1]),
}
CASES = 120


def dense(string):
    matrix = np.eye(1)
    for letter in string.letters:
        matrix = np.kron(matrix, LETTERS[letter])
    return matrix


def drawn(rng, n):
    return PauliString("".join(rng.choice(list("IXYZ"), n)))


def test_values_agree_with_dense_matrices(random_circuit, compared):
    worst = {"float64": 0.0, "float32": 0.0}
    for seed in range(CASES):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(1, 8))
        circuit = random_circuit(seed, n, int(rng.integers(0, 50)), symbols=True)
        weights, data = rng.normal(size=circuit.number_of_weights), rng.normal(size=(3, circuit.number_of_data))
        observables = [drawn(rng, n), 0.5 * drawn(rng, n) + drawn(rng, n) * -1.5, drawn(rng, n)]
        psi = reference.state_vector(circuit, weights, data, None)
        matrices = [sum(c * dense(s) for c, s in getattr(one, "terms", ((1.0, one),))) for one in observables]
        wanted = np.stack([np.einsum("bi,ij,bj->b", psi.conj(), m, psi).real for m in matrices], axis=1)
        for dtype, so_far in worst.items():
            found = expectations(circuit, observables, weights, data, dtype=dtype)
            worst[dtype] = max(so_far, abs(found - wanted).max())
    compared(f"{CASES} random circuits, values of strings against dense matrices, largest difference: {worst}")
    assert worst["float64"] < 1e-12
    assert worst["float32"] < 5e-6


def test_strings_across_blocks_agree_with_the_batched_engine():
    n = string_kernel.BLOCK.bit_length() + 1  # four blocks
    circuit = hardware_efficient(n, 2, rotations="rx_ry_rz")
    rng = np.random.default_rng(4)
    weights = rng.uniform(-3, 3, circuit.number_of_weights)
    strings = [drawn(rng, n) for _ in range(40)]
    strings += [PauliString.on(n, {q: letter}) for q in range(n) for letter in "XYZ"]
    wanted = compile_circuit(circuit, strings).expectations(None, weights, dtype="float64")
    np.testing.assert_allclose(expectations(circuit, strings, weights), wanted, atol=1e-12)


def test_start_states_count():
    circuit = Circuit(2, (Operation("CX", (0, 1)),))
    start = np.array([[0.0, 0.0, 1.0, 0.0], [3.0, 0.0, 4.0, 0.0]])
    found = expectations(circuit, [PauliString("ZI"), PauliString("ZZ"), PauliString("YY")], amplitudes=start)
    np.testing.assert_allclose(found, [[-1, 1, 0], [9 / 25 - 16 / 25, 1, -24 / 25]], atol=1e-15)


def test_what_cannot_be_read_is_refused(monkeypatch):
    with pytest.raises(InvalidCircuitError, match="no observables"):
        expectations(Circuit(2), [])
    for given, message in (
        (PauliString("ZZ"), "stands alone"),
        ("ZZ", "stands alone"),
        (["ZZ"], "'ZZ' is no observable"),
    ):
        for read in (expectations, compile_circuit):
            with pytest.raises(InvalidCircuitError, match=message):
                read(Circuit(2), given)
        with pytest.raises(InvalidCircuitError, match=message):
            ExecutionRequest(Circuit(2), given)
    with pytest.raises(InvalidCircuitError, match="3 qubit"):
        expectations(Circuit(2), [PauliString("ZZZ")])
    monkeypatch.setattr(memory, "available", lambda: 1 << 20)
    with pytest.raises(NotEnoughMemoryError):
        expectations(Circuit(24), [PauliString("Z" * 24)])
