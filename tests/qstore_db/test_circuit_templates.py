import math
from functools import reduce
from itertools import product

import numpy as np
import pytest

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.encodings.basis import basis_state
from qstore_db.circuits.gates import pauli_matrix
from qstore_db.circuits.inverse import inverse
from qstore_db.circuits.observables import PauliString
from qstore_db.circuits.parameters import Weight
from qstore_db.circuits.pauli_rotations import pauli_rotation
from qstore_db.circuits.templates.coupled_cluster import coupled_cluster, excitation
from qstore_db.circuits.templates.entangled_states import bell, ghz, w_state
from qstore_db.circuits.templates.fourier import fourier
from qstore_db.circuits.templates.grover import best_iterations, diffusion, grover, phase_oracle
from qstore_db.circuits.templates.hidden_shift import hidden_shift
from qstore_db.circuits.templates.phase_estimation import phase_estimation
from qstore_db.circuits.templates.qaoa import max_cut_cost, qaoa_max_cut
from qstore_db.errors import InvalidCircuitError
from qstore_db.simulation.reference import expectations, probabilities, state_vector
from qstore_db.simulation.unitary import distance_up_to_phase, unitary


def exponential(hermitian, factor):
    """e^{-i factor H}."""
    values, vectors = np.linalg.eigh(hermitian)
    return (vectors * np.exp(-1j * factor * values)) @ vectors.conj().T


def test_bell_states():
    wanted = {"phi+": [1, 0, 0, 1], "phi-": [1, 0, 0, -1], "psi+": [0, 1, 1, 0], "psi-": [0, 1, -1, 0]}
    for name, amplitudes in wanted.items():
        state = state_vector(bell(name))[0]
        np.testing.assert_allclose(state, np.array(amplitudes) / math.sqrt(2), atol=1e-15)
    with pytest.raises(InvalidCircuitError, match="phi"):
        bell("phi")


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_ghz_and_w_states(n):
    state = state_vector(ghz(n))[0]
    wanted = np.zeros(1 << n)
    wanted[[0, -1]] = math.sqrt(0.5)
    np.testing.assert_allclose(state, wanted, atol=1e-15)
    wanted = np.zeros(1 << n)
    wanted[[1 << qubit for qubit in range(n)]] = math.sqrt(1 / n)
    np.testing.assert_allclose(state_vector(w_state(n))[0], wanted, atol=1e-14)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_fourier_is_the_discrete_fourier_matrix(n):
    size = 1 << n
    index = np.arange(size)
    matrix = np.exp(2j * math.pi * np.outer(index, index) / size) / math.sqrt(size)
    np.testing.assert_allclose(unitary(fourier(n)), matrix, atol=1e-13)
    np.testing.assert_allclose(unitary(inverse(fourier(n))), matrix.conj(), atol=1e-13)
    reversed_bits = [int(f"{k:0{n}b}"[::-1], 2) for k in range(size)]
    np.testing.assert_allclose(unitary(fourier(n, swaps=False)), matrix[reversed_bits], atol=1e-13)


@pytest.mark.parametrize("marked", [["1"], ["10"], ["011"], ["011", "110"], ["10110"], ["0000000", "1010011"]], ids=str)
def test_grover_finds_the_marked_with_the_probability_of_theory(marked):
    n = len(marked[0])
    rounds = best_iterations(n, len(marked))
    theta = math.asin(math.sqrt(len(marked) / 2**n))
    for iterations in {0, 1, rounds}:
        found = probabilities(state_vector(grover(marked, iterations)))[0][[int(bits, 2) for bits in marked]]
        np.testing.assert_allclose(found, math.sin((2 * iterations + 1) * theta) ** 2 / len(marked), atol=1e-12)
    assert grover(marked) == grover(marked, rounds)


def test_grover_oracle_diffusion_and_errors():
    signs = np.ones(8)
    signs[[1, 6]] = -1
    np.testing.assert_allclose(unitary(phase_oracle(["001", "110"])), np.diag(signs), atol=1e-13)
    np.testing.assert_allclose(unitary(diffusion(3)), np.eye(8) - 2 * np.full((8, 8), 1 / 8), atol=1e-13)
    assert [best_iterations(2, 1), best_iterations(8, 1), best_iterations(3, 8)] == [1, 12, 0]
    for marked in ([], ["01", "01"], ["01", "1"], ["0a"], "01"):
        with pytest.raises(InvalidCircuitError):
            phase_oracle(marked)
    with pytest.raises(InvalidCircuitError, match="-1 iterations"):
        grover(["01"], -1)
    with pytest.raises(InvalidCircuitError, match="0 marked"):
        best_iterations(3, 0)


def test_phase_estimation_reads_exact_phases():
    for k in range(16):
        for one_gate in (True, False):
            angle = 2 * math.pi * k / 16
            steps = (angle,) if one_gate else (angle / 3, 2 * angle / 3)
            phase = Circuit(1, (Operation("P", (0,), (step,)) for step in steps))
            found = probabilities(state_vector(phase_estimation(4, phase, basis_state("1"))))[0]
            assert found[2 * k + 1] == pytest.approx(1, abs=1e-12)


def test_phase_estimation_of_a_two_qubit_unitary_and_an_inexact_phase():
    # CRZ(θ) on |10⟩ has eigenvalue e^{-iθ/2}.
    phi = 0.3
    turned = Circuit(2, (Operation("CRZ", (0, 1), (-4 * math.pi * phi,)),))
    found = probabilities(state_vector(phase_estimation(5, turned, basis_state("10"))))[0].reshape(32, 4)[:, 2]
    x = np.arange(32)
    offset = 2 * math.pi * (phi - x / 32)
    theory = (np.sin(16 * offset) / (32 * np.sin(offset / 2))) ** 2
    np.testing.assert_allclose(found, theory, atol=1e-12)
    assert found.argmax() == round(32 * phi)
    with pytest.raises(InvalidCircuitError, match="counting"):
        phase_estimation(0, turned)
    with pytest.raises(InvalidCircuitError, match="places"):
        phase_estimation(2, turned, basis_state("1"))


def test_global_phase_of_the_unitary_counts_in_phase_estimation():
    # RZ(θ)|0⟩ = e^{-iθ/2}|0⟩ where P(θ)|0⟩ = |0⟩.
    rz = phase_estimation(3, Circuit(1, (Operation("RZ", (0,), (-math.pi,)),)))
    assert probabilities(state_vector(rz))[0].argmax() == 0b0100
    p = phase_estimation(3, Circuit(1, (Operation("P", (0,), (-math.pi,)),)))
    assert probabilities(state_vector(p))[0].argmax() == 0


@pytest.mark.parametrize("shift", ["00", "01", "1011", "100110"])
def test_hidden_shift_is_found_with_certainty(shift):
    assert probabilities(state_vector(hidden_shift(shift)))[0][int(shift, 2)] == pytest.approx(1, abs=1e-13)


def test_hidden_shift_needs_pairs():
    with pytest.raises(InvalidCircuitError, match="3 bits"):
        hidden_shift("101")


def test_qaoa_is_the_exponentials_of_cost_and_mixer():
    n, edges = 4, [(0, 1), (1, 3, 0.5), (3, 0), (2, 1, -2.0)]
    cost = max_cut_cost(n, edges)
    matrix = sum(coefficient * pauli_matrix(string.letters) for coefficient, string in cost.terms)
    for index in range(16):
        bits = f"{index:04b}"
        cut = sum((edge[2] if len(edge) > 2 else 1.0) for edge in edges if bits[edge[0]] != bits[edge[1]])
        assert matrix[index, index].real == pytest.approx(cut)
    mixer = sum(pauli_matrix("I" * q + "X" + "I" * (n - q - 1)) for q in range(n))
    gamma_beta = np.array([0.3, -0.7, 1.1, 0.4])
    wanted = np.full(16, 0.25)
    for layer in range(2):
        wanted = exponential(mixer, gamma_beta[2 * layer + 1]) @ exponential(matrix, gamma_beta[2 * layer]) @ wanted
    state = state_vector(qaoa_max_cut(n, edges, 2), gamma_beta)[0]
    assert distance_up_to_phase(state, wanted) < 1e-12
    value = (wanted.conj() @ matrix @ wanted).real
    assert expectations(state[None], [cost])[0, 0] == pytest.approx(value)


def test_qaoa_of_one_edge_reaches_the_cut():
    state = state_vector(qaoa_max_cut(2, [(0, 1)], 1), np.array([math.pi / 2, math.pi / 8]))
    assert expectations(state, [max_cut_cost(2, [(0, 1)])])[0, 0] == pytest.approx(1, abs=1e-12)
    for edges in ([], [(0, 2)], [(1, 1)], [(0, 1, math.inf)]):
        with pytest.raises(InvalidCircuitError):
            qaoa_max_cut(2, edges, 1)
    with pytest.raises(InvalidCircuitError, match="layers"):
        qaoa_max_cut(2, [(0, 1)], -1)


@pytest.mark.parametrize("letters", ["X", "YZ", "XIZY", "IIY", "II"])
def test_pauli_rotation(letters):
    got = unitary(pauli_rotation(PauliString(letters), 0.77))
    assert distance_up_to_phase(got, exponential(pauli_matrix(letters), 0.385)) < 1e-13


def lowering(orbital, n):
    """a_p of Jordan and Wigner, written independently from ladder matrices."""
    factors = [np.diag([1, -1])] * orbital + [np.array([[0, 1], [0, 0]])] + [np.eye(2)] * (n - orbital - 1)
    return reduce(np.kron, factors)


@pytest.mark.parametrize("occupied, virtual", [([0], [1]), ([2], [0]), ([0, 3], [1, 2]), ([1, 0], [2, 3])], ids=str)
def test_excitation_is_the_exponential_of_fermionic_operators(occupied, virtual):
    n, theta = 4, 0.61
    raising = [lowering(orbital, n).T for orbital in virtual]
    ladder = reduce(np.matmul, raising + [lowering(orbital, n) for orbital in reversed(occupied)])
    wanted = exponential(1j * (ladder - ladder.T), theta)  # e^{θ(T - T†)} = e^{-iθ · i(T - T†)}
    got = unitary(excitation(n, occupied, virtual, Weight(0)), np.array([theta]))
    assert distance_up_to_phase(got, wanted) < 1e-12


def test_coupled_cluster_keeps_the_number_of_electrons():
    circuit = coupled_cluster(5, 2)
    assert circuit.number_of_weights == 2 * 3 + 1 * 3
    weights = np.random.default_rng(0).normal(size=9)
    found = probabilities(state_vector(circuit, weights))[0]
    electrons = np.array([sum(bits) for bits in product((0, 1), repeat=5)])
    assert found[electrons == 2].sum() == pytest.approx(1, abs=1e-12)
    assert (found > 1e-6).sum() > 5
    assert probabilities(state_vector(circuit, np.zeros(9)))[0][0b11000] == pytest.approx(1)
    for electrons in (0, 5):
        with pytest.raises(InvalidCircuitError, match="electrons"):
            coupled_cluster(5, electrons)
    for orbitals in (([0], [0]), ([], []), ([0, 1], [2]), ([0], [5])):
        with pytest.raises(InvalidCircuitError, match="excitation"):
            excitation(5, *orbitals, 0.1)
