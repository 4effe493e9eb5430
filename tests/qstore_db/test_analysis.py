"""Sizes, light cones and entanglement against closed forms and brute force."""

import math
from itertools import pairwise

import numpy as np
import pytest

from qstore_db.analysis.entanglement import entanglement_entropy, meyer_wallach, schmidt_coefficients
from qstore_db.analysis.light_cone import light_cone
from qstore_db.analysis.size import circuit_size, critical_path
from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.observables import PauliString
from qstore_db.circuits.templates.entangled_states import bell, ghz, w_state
from qstore_db.errors import InvalidArgumentError, InvalidCircuitError, InvalidVectorError
from qstore_db.simulation.reference import expectations, state_vector


def haar_states(count, n, seed):
    rng = np.random.default_rng(seed)
    raw = rng.normal(size=(count, 1 << n)) + 1j * rng.normal(size=(count, 1 << n))
    return raw / np.linalg.norm(raw, axis=1, keepdims=True)


def reduced(state, qubits, n):
    """The reduced density matrix, element by element over the bits of both indices."""
    rest = [qubit for qubit in range(n) if qubit not in qubits]
    rho = np.zeros((1 << len(qubits),) * 2, complex)

    def part(index, chosen):
        return int("".join(format(index, f"0{n}b")[qubit] for qubit in chosen) or "0", 2)

    for row in range(1 << n):
        for column in range(1 << n):
            if part(row, rest) == part(column, rest):
                rho[part(row, qubits), part(column, qubits)] += state[row] * state[column].conj()
    return rho


def entropy_of(rho):
    values = np.linalg.eigvalsh(rho)
    values = values[values > 1e-15]
    return -(values * np.log2(values)).sum()


def binary_entropy(p):
    return -p * math.log2(p) - (1 - p) * math.log2(1 - p)


def test_entropy_of_any_subset_equals_that_of_the_reduced_density_matrix():
    n = 4
    for number, state in enumerate(haar_states(3, n, 1)):
        for mask in range(1 << n):
            qubits = [qubit for qubit in range(n) if mask >> qubit & 1]
            order = list(np.random.default_rng(number).permutation(qubits))
            got = entanglement_entropy(state, [int(qubit) for qubit in order])
            assert got == pytest.approx(entropy_of(reduced(state, qubits, n)), abs=1e-10)
            others = [qubit for qubit in range(n) if qubit not in qubits]
            assert got == pytest.approx(float(entanglement_entropy(state, others)), abs=1e-10)


def test_entropy_and_meyer_wallach_of_known_states():
    for circuit in (bell(), ghz(3), ghz(5)):
        (state,) = state_vector(circuit)
        for size in range(1, circuit.n_qubits):
            assert entanglement_entropy(state, range(size)) == pytest.approx(1.0, abs=1e-12)
        assert meyer_wallach(state) == pytest.approx(1.0, abs=1e-12)
    for n in (2, 3, 6):
        (state,) = state_vector(w_state(n))
        for size in range(1, n):
            assert entanglement_entropy(state, range(size)) == pytest.approx(binary_entropy(size / n), abs=1e-10)
        assert meyer_wallach(state) == pytest.approx(4 * (n - 1) / n**2, abs=1e-10)
    (product,) = state_vector(Circuit(3, [Operation("U", (q,), (0.3 + q, 0.7, -q)) for q in range(3)]))
    assert entanglement_entropy(product, [0, 2]) == pytest.approx(0.0, abs=1e-12)
    assert meyer_wallach(product) == pytest.approx(0.0, abs=1e-12)


def test_two_bell_pairs_are_entangled_across_and_not_between():
    pair = np.sqrt([0.5, 0.0, 0.0, 0.5])
    state = np.kron(pair, pair)  # qubits 0-1 and 2-3
    assert entanglement_entropy(state, [0, 1]) == 0.0
    assert entanglement_entropy(state, [0, 2]) == pytest.approx(2.0)
    assert entanglement_entropy(state, [1]) == pytest.approx(1.0)
    assert meyer_wallach(state) == pytest.approx(1.0)


def test_one_entangled_qubit_is_the_first_one_named():
    state = np.kron([1.0, 0.0], np.sqrt([0.5, 0.0, 0.0, 0.5]))  # qubit 0 stands apart
    assert [float(entanglement_entropy(state, [qubit]).round(9)) for qubit in range(3)] == [0.0, 1.0, 1.0]


def test_meyer_wallach_equals_the_purities_of_reduced_density_matrices():
    n = 4
    for state in haar_states(3, n, 2):
        purity = np.mean([np.trace(reduced(state, [q], n) @ reduced(state, [q], n)).real for q in range(n)])
        assert meyer_wallach(state) == pytest.approx(2 * (1 - purity), abs=1e-12)


def test_averages_over_haar_random_states():
    n, count = 6, 2000
    states = haar_states(count, n, 3)
    for size in (1, 2, 3):
        small, large = 1 << size, 1 << (n - size)
        # Page, Physical Review Letters 71, 1291 (1993), in bits
        page = (sum(1 / k for k in range(large + 1, small * large + 1)) - (small - 1) / (2 * large)) / math.log(2)
        found = entanglement_entropy(states, range(size))
        assert found.shape == (count,)
        assert abs(found.mean() - page) < 5 * found.std() / math.sqrt(count)
    found = meyer_wallach(states)
    wanted = (2**n - 2) / (2**n + 1)
    assert abs(found.mean() - wanted) < 5 * found.std() / math.sqrt(count)


def test_schmidt_coefficients_rebuild_the_purity_and_keep_leading_axes():
    states = haar_states(6, 3, 4).reshape(2, 3, 8)
    found = schmidt_coefficients(states, [1])
    assert found.shape == (2, 3, 2)
    assert np.abs((found**2).sum(axis=-1) - 1).max() < 1e-12
    assert np.all(np.diff(found, axis=-1) <= 0)
    rho = reduced(states[1, 2], [1], 3)
    assert (found[1, 2] ** 4).sum() == pytest.approx(np.trace(rho @ rho).real)
    assert entanglement_entropy(states, []).tolist() == np.zeros((2, 3)).tolist()


@pytest.mark.parametrize(
    "states", [[1.0, 0.0, 0.0], [1.0], 1.0, [1.0, 1.0], [0.0, 0.0], [math.nan, 1.0], [[1.0, 0.0], [math.inf, 0.0]]]
)
def test_what_is_no_state_is_refused(states):
    with pytest.raises(InvalidVectorError):
        entanglement_entropy(states, [0])
    with pytest.raises(InvalidVectorError):
        meyer_wallach(states)


@pytest.mark.parametrize("qubits", [[0, 0], [2], [-1]])
def test_a_subset_that_is_none_is_refused(qubits):
    with pytest.raises(InvalidArgumentError, match="different qubits"):
        entanglement_entropy([1.0, 0.0, 0.0, 0.0], qubits)


def longest_chain(circuit):
    """By brute force: the longest chain that ends with each gate, over all pairs of gates that share a qubit."""
    longest = []
    for place, operation in enumerate(circuit.operations):
        before = [
            longest[earlier]
            for earlier in range(place)
            if set(circuit.operations[earlier].qubits) & set(operation.qubits)
        ]
        longest.append(1 + max(before, default=0))
    return max(longest, default=0)


def test_sizes_against_brute_force(random_circuit):
    for seed in range(30):
        circuit = random_circuit(seed, 4, seed)
        size = circuit_size(circuit)
        assert size.depth == longest_chain(circuit) == circuit.depth
        path = critical_path(circuit)
        assert len(path) == size.depth
        assert list(path) == sorted(path)
        for earlier, later in pairwise(path):
            assert set(circuit.operations[earlier].qubits) & set(circuit.operations[later].qubits)
        pairs = Circuit(4, [operation for operation in circuit.operations if len(operation.qubits) > 1])
        assert size.two_qubit_depth == longest_chain(pairs)
        assert size.gates == sum(size.by_name.values()) == sum(size.by_arity.values()) == seed
        assert size.two_qubit_gates == size.gates - size.by_arity.get(1, 0) == len(pairs.operations)


def test_the_size_of_an_ansatz():
    size = circuit_size(hardware_efficient(3, 2))
    assert size.by_name == {"CX": 4, "RY": 6, "RZ": 6}
    assert size.by_arity == {1: 12, 2: 4}
    assert (size.gates, size.two_qubit_gates, size.two_qubit_depth) == (16, 4, 4)
    assert circuit_size(Circuit(2)).depth == 0
    assert critical_path(Circuit(2)) == ()


def test_gates_outside_the_light_cone_change_nothing(random_circuit):
    outside = 0
    rng = np.random.default_rng(7)
    for seed in range(60):
        circuit = random_circuit(seed, 5, 14)
        letters = ["I"] * 5
        letters[rng.integers(5)] = str(rng.choice(list("XYZ")))
        string = PauliString("".join(letters))
        observable = string if seed % 2 else 0.5 * string + 0.0 * PauliString("ZZZZZ") + PauliString("IIIII")
        cone = light_cone(circuit, observable)
        start = haar_states(2, 5, seed)
        wanted = expectations(state_vector(circuit, amplitudes=start), [observable])
        assert np.abs(expectations(state_vector(cone.circuit, amplitudes=start), [observable]) - wanted).max() < 1e-12
        # Other gates in their places change nothing either.
        changed = [
            operation if place in cone.operations else Operation("U", operation.qubits[:1], (0.3, 0.4, 0.5))
            for place, operation in enumerate(circuit.operations)
        ]
        other = state_vector(Circuit(5, changed), amplitudes=start)
        assert np.abs(expectations(other, [observable]) - wanted).max() < 1e-12
        # Nor does what happens to the other qubits before the circuit.
        apart = [Operation("U", (q,), (1.0, 2.0, 3.0)) for q in range(5) if q not in cone.qubits]
        earlier = state_vector(Circuit(5, [*apart, *circuit.operations]), amplitudes=start)
        assert np.abs(expectations(earlier, [observable]) - wanted).max() < 1e-12
        outside += len(circuit.operations) - len(cone.operations)
    assert outside > 100


def test_the_light_cone_of_a_ladder():
    cone = light_cone(ghz(4), PauliString("ZIII"))
    assert cone.operations == (0, 1)
    assert cone.qubits == (0, 1)
    assert cone.circuit.n_qubits == 4
    assert light_cone(ghz(4), PauliString("IZII")).qubits == (0, 1, 2)
    assert light_cone(ghz(4), PauliString("IIIZ")).operations == (0, 1, 2, 3)
    assert light_cone(ghz(4), PauliString("IIII")).operations == ()
    with pytest.raises(InvalidCircuitError, match="2 qubit"):
        light_cone(ghz(3), PauliString("ZZ"))
