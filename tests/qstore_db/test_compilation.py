"""Every pass keeps what the circuit does, for all weights and data, and never makes the circuit larger."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.controlled import controlled
from qstore_db.circuits.gates import GATES
from qstore_db.circuits.inverse import inverse
from qstore_db.circuits.observables import PauliString
from qstore_db.circuits.parameters import Angle, Data, Weight
from qstore_db.circuits.placement import bind
from qstore_db.compilation.cancel_inverses import cancel_inverses
from qstore_db.compilation.commutation import commute
from qstore_db.compilation.drop_identities import drop_identities
from qstore_db.compilation.gather_partners import gather_partners
from qstore_db.compilation.merge_rotations import merge_rotations
from qstore_db.compilation.optimise import PASSES, Optimised, optimise
from qstore_db.compilation.relabelling import in_original_order, relabel
from qstore_db.compilation.remove_swaps import remove_swaps
from qstore_db.compilation.rotations import without_turn
from qstore_db.errors import InvalidArgumentError
from qstore_db.simulation.plan import compile_circuit
from qstore_db.simulation.reference import expectations, probabilities, state_vector
from qstore_db.simulation.unitary import distance_up_to_phase, unitary

WEIGHTS, COLUMNS = 3, 2
SPECIAL = [k * math.pi / 2 for k in range(-8, 9)] + [math.pi / 4, 0.3, -0.3, 1.1]
SYMBOLS = [kind(index, scale) for kind in (Weight, Data) for index in range(2) for scale in (1.0, -1.0, 0.5)]


def angles():
    terms = st.lists(st.sampled_from([*SYMBOLS, Weight(2)]), max_size=2)
    return st.builds(
        lambda terms, constant: Angle(tuple(terms), constant), terms, st.one_of(st.just(0.0), st.sampled_from(SPECIAL))
    )


@st.composite
def circuits(draw, least=1, most=4, gates=tuple(GATES)):
    """Few qubits and few angles, so that partners, inverses and full turns are frequent."""
    n = draw(st.integers(least, most))
    names = [name for name in gates if GATES[name].qubits <= n]
    operations = []
    for _ in range(draw(st.integers(0, 14))):
        kind = GATES[draw(st.sampled_from(names))]
        qubits = draw(st.permutations(range(n)))[: kind.qubits]
        operations.append(Operation(kind.name, qubits, [draw(angles()) for _ in range(kind.angles)]))
        if draw(st.integers(0, 4)) == 0:  # what undoes it, sometimes with gates in between
            place = draw(st.integers(0, len(operations)))
            operations.insert(place, inverse(Circuit(n, operations[-1:])).operations[0])
    return Circuit(n, operations)


def bound(circuit, seed):
    rng = np.random.default_rng(seed)
    weights, data = rng.normal(size=WEIGHTS) * 3, rng.normal(size=COLUMNS) * 3
    return bind(circuit, weights[: circuit.number_of_weights], data[: circuit.number_of_data])


def moved(permutation):
    """The matrix that moves the contents of qubit q to permutation[q], written by bits."""
    n = len(permutation)
    matrix = np.zeros((1 << n, 1 << n))
    for index in range(1 << n):
        bits = format(index, f"0{n}b")
        there = [""] * n
        for qubit, bit in enumerate(bits):
            there[permutation[qubit]] = bit
        matrix[int("".join(there), 2), index] = 1
    return matrix


def assert_same(original, found, seed=0):
    wanted = moved(found.output_permutation) @ unitary(bound(original, seed))
    assert distance_up_to_phase(unitary(bound(found.circuit, seed)), wanted) < 1e-10


def two_qubit(circuit):
    return sum(len(operation.qubits) > 1 for operation in circuit.operations)


@pytest.mark.parametrize("rewrite", [*PASSES, optimise], ids=lambda rewrite: rewrite.__name__)
def test_what_the_circuit_does_is_kept_and_counts_never_grow(rewrite):
    @settings(derandomize=True, deadline=None, max_examples=150)
    @given(circuits(), st.integers(0, 1000))
    def check(circuit, seed):
        found = rewrite(circuit)
        assert_same(circuit, found, seed)
        assert len(found.circuit.operations) <= len(circuit.operations)
        assert two_qubit(found.circuit) <= two_qubit(circuit)
        assert found.circuit.number_of_weights <= circuit.number_of_weights
        assert found.circuit.number_of_data <= circuit.number_of_data
        if rewrite is not remove_swaps and rewrite is not optimise:
            assert found.output_permutation == tuple(range(circuit.n_qubits))

    check()


@settings(derandomize=True, deadline=None, max_examples=100)
@given(circuits())
def test_an_optimised_circuit_is_left_as_it_is_and_not_deeper(circuit):
    found = optimise(circuit)
    again = optimise(found.circuit)
    assert again.circuit == found.circuit
    assert again.output_permutation == tuple(range(circuit.n_qubits))
    assert found.circuit.depth <= circuit.depth
    assert "SWAP" not in {operation.gate for operation in found.circuit.operations}


@settings(derandomize=True, deadline=None, max_examples=60)
@given(circuits(), st.integers(0, 1000), st.data())
def test_relabelled_observables_have_the_same_expectation_values(circuit, seed, data):
    found = optimise(circuit)
    n = circuit.n_qubits
    strings = [PauliString("".join(data.draw(st.sampled_from("IXYZ")) for _ in range(n))) for _ in range(3)]
    observables = [*strings, 0.5 * strings[0] - 2.0 * strings[1] + strings[2]]
    there = [relabel(observable, found.output_permutation) for observable in observables]
    original, rewritten = state_vector(bound(circuit, seed)), state_vector(bound(found.circuit, seed))
    assert np.abs(expectations(original, observables) - expectations(rewritten, there)).max() < 1e-10
    back = in_original_order(probabilities(rewritten), found.output_permutation)
    assert np.abs(back - probabilities(original)).max() < 1e-10


def test_gradients_of_shared_weights_are_kept(random_circuit):
    rng = np.random.default_rng(5)
    smaller = 0
    for seed in range(20):
        # Nothing but the symbols' gates, and twice, so that the passes have work and no weight is lost.
        circuit = random_circuit(seed, 3, 12, symbols=True)
        circuit = circuit.compose(circuit).then(Operation("RX", (0,), (Weight(2) + Data(1),)), Operation("H", (0,)))
        found = optimise(circuit)
        smaller += len(found.circuit.operations) < len(circuit.operations)
        assert found.circuit.number_of_weights == 3
        observable = PauliString("XYZ")
        weights, data = rng.normal(size=3), rng.normal(size=(2, 2))
        results = []
        for run, seen in ((circuit, observable), (found.circuit, relabel(observable, found.output_permutation))):
            values, pullback = compile_circuit(run, [seen]).forward(data, weights, dtype="float64")
            gradients = pullback(np.ones((2, 1)))
            results.append(np.concatenate([values.ravel(), gradients.weights, gradients.data.ravel()]))
        assert np.abs(results[0] - results[1]).max() < 1e-9
    assert smaller >= 10


@settings(derandomize=True, deadline=None, max_examples=300)
@given(circuits(least=2, most=3), st.integers(0, 1000))
def test_gates_said_to_commute_do(circuit, seed):
    for first, second in pairwise(circuit.operations):
        if commute(first, second):
            one = unitary(bound(Circuit(circuit.n_qubits, (first, second)), seed))
            other = unitary(bound(Circuit(circuit.n_qubits, (second, first)), seed))
            assert np.abs(one - other).max() < 1e-12


NOT_OF_PAULIS = {"H", "U", "GPI", "GPI2", "MS"}
SWAPPING = {"SWAP", "ISWAP", "ISWAPDG", "CSWAP"}


@pytest.mark.parametrize("name", sorted(set(GATES) - NOT_OF_PAULIS))
def test_the_commutation_test_misses_no_pair_of_pauli_functions(name):
    """Necessary as well as sufficient at an angle without symmetry, on three qubits in several placements."""
    for other in sorted(set(GATES) - NOT_OF_PAULIS):
        for mine in [(0, 1, 2), (1, 0, 2), (2, 1, 0)]:
            first = Operation(name, mine[: GATES[name].qubits], [0.7] * GATES[name].angles)
            second = Operation(other, (0, 1, 2)[: GATES[other].qubits], [1.3] * GATES[other].angles)
            one, two = unitary(Circuit(3, (first, second))), unitary(Circuit(3, (second, first)))
            same = np.abs(one - two).max() < 1e-12
            if not SWAPPING & {name, other}:
                assert commute(first, second) == same, (first, second)


def names(circuit):
    return [operation.gate for operation in circuit.operations]


def test_symbolic_angles_add():
    circuit = Circuit(
        2, [Operation("RZZ", (0, 1), (Weight(0),)), Operation("RZZ", (1, 0), (Data(0) - Weight(0) + 0.5,))]
    )
    (merged,) = merge_rotations(circuit).circuit.operations
    assert merged.angles == (Angle((Data(0),), 0.5),)


@pytest.mark.parametrize(
    ("gates", "wanted"),
    [
        (["T", "T"], ["S"]), (["S", "S"], ["Z"]), (["Z", "S"], ["SDG"]), (["SDG", "TDG", "T"], ["SDG"]),
        (["T", "S"], ["P"]), (["X", "X"], []), (["Y", "Y"], []), (["T"] * 8, []), (["H", "H"], ["H", "H"]),
    ],
)  # fmt: skip
def test_gates_without_angles_merge_to_gates_without_angles(gates, wanted):
    circuit = Circuit(1, [Operation(gate, (0,)) for gate in gates])
    found = merge_rotations(circuit)
    assert names(found.circuit) == wanted
    assert_same(circuit, found)


def test_controlled_rotations_merge_only_in_one_direction():
    def turned(second):
        return Circuit(2, [Operation("CRZ", (0, 1), (0.4,)), Operation("CRZ", second, (0.5,))])

    assert len(merge_rotations(turned((0, 1))).circuit.operations) == 1
    assert len(optimise(turned((1, 0))).circuit.operations) == 2  # diag(1, 1, e, e*) is not symmetric


def test_inverses_cancel_from_the_inside_out(random_circuit):
    for seed in range(10):
        circuit = random_circuit(seed, 3, 15, symbols=True)
        assert not cancel_inverses(circuit.compose(inverse(circuit))).circuit.operations


def test_gates_move_past_those_they_commute_with():
    circuit = Circuit(
        3,
        [
            Operation("CX", (0, 1)), Operation("RZ", (0,), (Weight(0),)), Operation("CX", (0, 2)),
            Operation("RX", (1,), (Data(0),)), Operation("CX", (0, 1)), Operation("RZ", (0,), (Weight(1),)),
        ],
    )  # fmt: skip
    assert names(cancel_inverses(circuit).circuit) == names(circuit)
    found = optimise(circuit)
    assert sorted(names(found.circuit)) == ["CX", "RX", "RZ"]
    assert sorted(names(gather_partners(circuit).circuit)) == sorted(names(circuit))
    assert_same(circuit, found)


def test_a_gate_that_does_not_commute_is_not_passed():
    circuit = Circuit(2, [Operation("CX", (0, 1)), Operation("RX", (0,), (0.2,)), Operation("CX", (0, 1))])
    assert optimise(circuit).circuit == circuit


@pytest.mark.parametrize(
    ("operation", "wanted"),
    [
        (Operation("RX", (0,), (2 * math.pi,)), []),
        (Operation("RYY", (0, 1), (-4 * math.pi,)), []),
        (Operation("P", (1,), (4 * math.pi,)), []),
        (Operation("P", (1,), (math.pi,)), [("P", (1,))]),
        (Operation("CRY", (1, 0), (4 * math.pi,)), []),
        (Operation("CRY", (1, 0), (-2 * math.pi,)), [("Z", (1,))]),
        (Operation("U", (0,), (0.0, 0.3, -0.3)), []),
        (Operation("U", (0,), (2 * math.pi, 0.3, 0.4)), [("P", (0,))]),
        (Operation("RX", (0,), (Weight(0) - Weight(0),)), []),
        (Operation("RX", (0,), (Weight(0) * 0.0 + 0.1 + 0.2 - 0.3,)), []),
        (Operation("RX", (0,), (1e-9,)), [("RX", (0,))]),
        (Operation("RX", (0,), (Weight(0),)), [("RX", (0,))]),
    ],
)
def test_identities_are_dropped_up_to_phase_and_nothing_else(operation, wanted):
    circuit = Circuit(2, [operation])
    found = drop_identities(circuit)
    assert [(gate.gate, gate.qubits) for gate in found.circuit.operations] == wanted
    assert_same(circuit, found)


def test_the_output_permutation_of_a_cycle():
    circuit = Circuit(3, [Operation("X", (0,)), Operation("SWAP", (0, 1)), Operation("SWAP", (1, 2))])
    found = optimise(circuit)
    assert names(found.circuit) == ["X"]
    # The one starts on qubit 0, ends on qubit 2 of the original, and has never left qubit 0 of the rewritten circuit.
    assert found.output_permutation == (1, 2, 0)
    assert str(relabel(PauliString("IIZ"), found.output_permutation)) == "ZII"


def cycle(n):
    """Different gates, then SWAPs that pass contents along a ring: the inverse is another permutation."""
    gates = [Operation("U", (q,), (0.3 + q, 0.5 * q, 0.2)) for q in range(n)]
    return Circuit(n, [*gates, *(Operation("SWAP", (q, q + 1)) for q in range(n - 1))])


def test_observables_and_amplitudes_follow_a_permutation_that_is_not_its_inverse():
    circuit = cycle(4)
    found = optimise(circuit)
    assert found.output_permutation == (1, 2, 3, 0)
    original, rewritten = state_vector(circuit), state_vector(found.circuit)
    back = in_original_order(rewritten, found.output_permutation)
    assert np.abs(back - original).max() < 1e-12
    observables = [PauliString(letters) for letters in ("ZIII", "IXII", "IIYI", "XYZI", "IZXY")]
    there = [relabel(observable, found.output_permutation) for observable in observables]
    assert np.abs(expectations(rewritten, there) - expectations(original, observables)).max() < 1e-12


def test_permutations_of_two_passes_join_in_order():
    first, begun = cycle(4), remove_swaps(cycle(4))
    second = Circuit(4, [Operation("H", (1,)), Operation("SWAP", (0, 2)), Operation("T", (0,))])
    moved_on = [Operation(g.gate, [begun.output_permutation[q] for q in g.qubits]) for g in second.operations]
    joined = Optimised(begun.circuit.then(*moved_on), begun.output_permutation).followed_by(remove_swaps)
    assert_same(first.compose(second), joined)
    assert "SWAP" not in names(joined.circuit)


def test_a_controlled_rotation_by_a_whole_turn_is_no_identity():
    assert not without_turn(Operation("CRX", (0, 1), (2 * math.pi,)))
    assert without_turn(Operation("RXX", (0, 1), (2 * math.pi,)))
    assert not without_turn(Operation("H", (0,)))


def test_a_controlled_swap_is_not_a_swap():
    fredkin = Circuit(3, controlled(Operation("SWAP", (1, 2)), 0))
    by_hand = Circuit(2, [Operation("CX", (0, 1)), Operation("CX", (1, 0)), Operation("CX", (0, 1))])
    for circuit in (fredkin, by_hand):
        found = optimise(circuit)
        assert found.output_permutation == tuple(range(circuit.n_qubits))
        assert_same(circuit, found)


def test_weights_that_cancel_leave_the_circuit_and_the_others_keep_their_numbers():
    turns = [("RX", Weight(2)), ("RX", -Weight(2)), ("RY", Weight(1))]
    found = optimise(Circuit(1, [Operation(gate, (0,), (value,)) for gate, value in turns]))
    assert found.circuit.number_of_weights == 2
    assert found.circuit.operations[0].angles == (Angle((Weight(1),)),)


@pytest.mark.parametrize("permutation", [(0,), (0, 0), (0, 2), (0, 1, 2)])
def test_what_is_no_permutation_is_refused(permutation):
    with pytest.raises(InvalidArgumentError, match="not a permutation"):
        relabel(PauliString("XZ"), permutation)
    if len(permutation) == 2:
        with pytest.raises(InvalidArgumentError, match="not a permutation"):
            in_original_order(np.zeros(4), permutation)


def test_amplitudes_of_another_width_are_refused():
    with pytest.raises(InvalidArgumentError, match="amplitudes of 2 qubits"):
        in_original_order(np.zeros((3, 8)), (1, 0))
