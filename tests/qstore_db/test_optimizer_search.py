"""Searches without gradients: SPSA, Rotosolve, annealing."""

import math

import numpy as np
import pytest

from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.observables import PauliString
from qstore_db.circuits.parameters import Data, Weight
from qstore_db.errors import InvalidArgumentError, InvalidCircuitError
from qstore_db.optimizers.annealing import Annealing, thermal_probability, tunnelling_probability
from qstore_db.optimizers.rotosolve import Rotosolve
from qstore_db.optimizers.search import minimize
from qstore_db.optimizers.spsa import Spsa, gain_for
from qstore_db.simulation import reference
from qstore_db.simulation.plan import compile_circuit
from qstore_db.training.checkpoints import pack, unpack

ANSATZ = hardware_efficient(3, 2, entanglement="circular")
ENERGY = PauliString("ZZI") + 0.5 * PauliString("IXX") - 0.8 * PauliString("YIZ") + 0.3 * PauliString("IIX")
PLAN = compile_circuit(ANSATZ, [ENERGY])
START = np.random.default_rng(5).uniform(-np.pi, np.pi, ANSATZ.number_of_weights)


def energy(points):
    return np.array([PLAN.expectations(weights=point, dtype="float64")[0, 0] for point in points])


def bowl(points):
    return ((points - np.array([0.5, -1.0, 2.0])) ** 2).sum(axis=1)


SEARCHES = {
    "spsa": Spsa(gain=0.1, averages=2, seed=3),
    "spsa with blocking": Spsa(gain=0.3, blocking=0.05, seed=3),
    "rotosolve": Rotosolve(ANSATZ),
    "annealing": Annealing(start_temperature=0.2, cooling=0.97, stop=1e-4, move=0.2, seed=3),
    "tunnelling": Annealing(start_temperature=0.2, cooling=0.97, move=0.3, field=0.5, threshold=0.3, seed=3),
}
table = pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES.keys())


@table
def test_an_energy_falls(search):
    found = minimize(search, energy, START, rounds=150)
    assert energy(found.point[None])[0] < energy(START[None])[0] - 0.7


@table
def test_continuing_from_a_stored_state_changes_no_bit(search):
    whole = minimize(search, energy, START, rounds=21)
    half = minimize(search, energy, START, rounds=8)
    stored, _ = unpack(pack(half.state, {}), name="x")
    continued = minimize(search, energy, state=stored, rounds=13)
    assert {name: array.tobytes() for name, array in continued.state.items()} == {
        name: array.tobytes() for name, array in whole.state.items()
    }
    assert continued.evaluations + half.evaluations == whole.evaluations


@table
def test_asking_and_telling_change_nothing_in_place(search):
    state = minimize(search, energy, START, rounds=4).state
    before = {name: array.tobytes() for name, array in state.items()}
    points = search.ask(state)
    assert points.tobytes() == search.ask(state).tobytes()
    search.tell(state, energy(points))
    points += 1.0
    assert before == {name: array.tobytes() for name, array in state.items()}


@table
def test_values_that_do_not_fit_are_refused(search):
    state = search.init(START)
    count = len(search.ask(state))
    for values in (np.zeros(count + 1), np.full(count, np.nan)):
        with pytest.raises(InvalidArgumentError, match="finite"):
            search.tell(state, values)
    for start in (np.zeros((2, 2)), [], [np.inf] * ANSATZ.number_of_weights):
        with pytest.raises(InvalidArgumentError):
            search.init(start)
    for wrong in ({}, {"start": START, "state": state}):
        with pytest.raises(InvalidArgumentError, match="start or state"):
            minimize(search, energy, rounds=1, **wrong)
    with pytest.raises(InvalidArgumentError, match="rounds"):
        minimize(search, energy, START, rounds=0)


def test_spsa_takes_the_step_of_its_formula():
    search = Spsa(gain=0.4, perturbation=0.2, stability=3.0, averages=3, seed=9)
    state = search.init([0.1, 0.2, 0.3])
    for number in range(3):
        points = search.ask(state).reshape(3, 2, 3)
        width = 0.2 / (number + 1) ** 0.101
        deltas = (points[:, 0] - points[:, 1]) / (2 * width)
        np.testing.assert_allclose(np.abs(deltas), 1.0, atol=1e-12)
        np.testing.assert_allclose(points.mean(axis=1), np.broadcast_to(state["point"], (3, 3)), atol=1e-15)
        values = bowl(points.reshape(-1, 3)).reshape(3, 2)
        estimate = np.mean(
            [(high - low) / (2 * width) * delta for (high, low), delta in zip(values, deltas, strict=True)], axis=0
        )
        expected = state["point"] - 0.4 / (3.0 + number + 1) ** 0.602 * estimate
        state = search.tell(state, values.ravel())
        np.testing.assert_allclose(state["point"], expected, atol=1e-14)
    rounds = {search.ask({**state, "round": np.array([float(number)])}).tobytes() for number in range(20)}
    assert len(rounds) == 20


def test_spsa_estimates_have_no_bias_for_a_quadratic():
    # All eight signs of Δ weigh the same: their mean is the gradient exactly where the third derivative vanishes.
    point, width = np.array([0.1, 0.2, 0.3]), 0.5
    signs = np.array(np.meshgrid(*[[-1.0, 1.0]] * 3)).reshape(3, -1).T
    estimates = [(bowl((point + width * s)[None]) - bowl((point - width * s)[None])) / (2 * width) * s for s in signs]
    np.testing.assert_allclose(np.mean(estimates, axis=0), 2 * (point - np.array([0.5, -1.0, 2.0])), atol=1e-13)


def test_blocking_refuses_steps_that_rise_too_far_and_counts_what_it_asks():
    search = Spsa(gain=0.6, perturbation=0.5, blocking=0.0, seed=1)
    visited = []

    def watched(points):
        visited.extend(points)
        return bowl(points)

    start = np.array([0.0, 0.0, 0.0])
    state = search.init(start)
    values = []
    for _ in range(40):
        points = search.ask(state)
        state = search.tell(state, watched(points))
        values.append(float(state["value"][0]))
        assert bowl(state["point"][None])[0] == state["value"][0] or np.isnan(state["value"][0])
    assert np.isfinite(values).all()
    assert values == sorted(values, reverse=True)
    assert len(set(values)) > 2
    refused = [point for point in visited if bowl(point[None])[0] > values[0]]
    assert refused


def test_the_first_gain_moves_as_far_as_asked():
    gain = gain_for(0.2, 4.0, stability=10.0)
    assert gain / 11.0**0.602 * 4.0 == pytest.approx(0.2)
    with pytest.raises(InvalidArgumentError, match="gradient_size"):
        gain_for(0.2, 0.0)


def test_rotosolve_finds_the_least_value_along_each_weight():
    state = Rotosolve(ANSATZ).init(START)
    search = Rotosolve(ANSATZ)
    for weight in range(ANSATZ.number_of_weights):
        asked = search.ask(state)
        state = search.tell(state, energy(asked))
        grid = np.repeat(state["point"][None], 721, axis=0)
        grid[:, weight] += np.linspace(-np.pi, np.pi, 721)
        assert energy(state["point"][None])[0] <= energy(grid).min() + 1e-12
        assert -np.pi < state["point"][weight] <= np.pi


def test_rotosolve_comes_near_the_ground_state():
    dense = np.zeros((8, 8), complex)
    basis = np.eye(8, dtype=complex)
    for coefficient, string in ENERGY.terms:
        letters = Circuit(3, [Operation(letter, (qubit,)) for qubit, letter in string.on_qubits.items()])
        dense += coefficient * reference.state_vector(letters, amplitudes=basis).T
    lowest = np.linalg.eigvalsh(dense)[0]
    best = min(
        energy(minimize(Rotosolve(ANSATZ), energy, start, rounds=180).point[None])[0]
        for start in np.random.default_rng(1).uniform(-np.pi, np.pi, (3, ANSATZ.number_of_weights))
    )
    assert lowest - 1e-9 <= best < lowest + 0.05 * abs(lowest)


def test_rotosolve_keeps_a_weight_that_does_nothing():
    circuit = Circuit(1, [Operation("RZ", (0,), (Weight(0),))])
    found = minimize(Rotosolve(circuit), lambda points: np.ones(len(points)), [0.7], rounds=1)
    assert found.point.tolist() == [0.7]


@pytest.mark.parametrize(
    ("operations", "word"),
    [
        ([Operation("RX", (0,), (Weight(0),)), Operation("RY", (1,), (Weight(0),))], "more than one"),
        ([Operation("RX", (0,), (Weight(0, 2.0),))], "scaled by 2"),
        ([Operation("CRX", (0, 1), (Weight(0),))], "gate CRX"),
        ([Operation("RX", (0,), (Weight(1),))], "weight 0 does not occur"),
        ([Operation("RX", (0,), (Data(0),))], "weight 0 does not occur"),
        ([Operation("RX", (0,), (Weight(0) + Weight(0),))], "more than one"),
    ],
)
def test_rotosolve_refuses_circuits_it_has_no_formula_for(operations, word):
    with pytest.raises(InvalidCircuitError, match=word):
        Rotosolve(Circuit(2, operations))


def test_rotosolve_takes_negated_weights_and_sums_with_data():
    circuit = Circuit(1, [Operation("RX", (0,), (Weight(0, -1.0) + Data(0) + 0.4,))])
    plan = compile_circuit(circuit, [PauliString("Z")])
    data = np.array([[0.2], [1.1], [-0.4]])

    def mean(points):
        return [plan.expectations(data, point, dtype="float64").mean() for point in points]

    found = minimize(Rotosolve(circuit), mean, [0.3], rounds=1)
    grid = mean(np.linspace(-np.pi, np.pi, 2001)[:, None])
    assert mean(found.point[None])[0] <= min(grid) + 1e-12


def test_rotosolve_finds_out_a_loss_that_is_no_expectation():
    with pytest.raises(InvalidArgumentError, match="no sinusoid of weight"):
        minimize(Rotosolve(ANSATZ), lambda points: np.exp(3 * energy(points)), START, rounds=20)


def test_acceptance_follows_the_stated_formulas():
    assert thermal_probability(-1.0, 0.1) == 1.0
    assert thermal_probability(0.5, 0.25) == pytest.approx(math.exp(-2.0))
    assert tunnelling_probability(4.0, 0.5, 2.0) == pytest.approx(math.exp(-0.5))
    search = Annealing(start_temperature=0.5, cooling=0.5, field=2.0, threshold=1.0)
    assert search.probability(0.9, 9.0, 1) == pytest.approx(math.exp(-0.9 / 0.25))
    assert search.probability(4.0, 0.5, 1) == pytest.approx(math.exp(-0.5 * 2.0 / 1.0))
    assert search.probability(0.0, 9.0, 3) == 1.0
    thermal = Annealing(start_temperature=0.5, cooling=0.5)
    assert thermal.probability(4.0, 0.5, 1) == pytest.approx(math.exp(-4.0 / 0.25))


def test_moves_are_accepted_as_often_as_the_formula_says():
    # Every move from the point rises by one and is refused or accepted on its own, with seeds 0 … 1999.
    accepted = 0
    for seed in range(2000):
        search = Annealing(start_temperature=0.8, cooling=0.999, seed=seed)
        state = search.tell(search.init([0.0]), [0.0])
        accepted += search.tell(state, [1.0])["value"][0] == 1.0
    share = math.exp(-1 / 0.8)
    assert abs(accepted / 2000 - share) < 4 * math.sqrt(share * (1 - share) / 2000)


def test_annealing_ends_when_it_is_cold_and_remembers_the_best_point():
    search = Annealing(start_temperature=1.0, cooling=0.9, stop=0.1, move=0.4, seed=2)
    stood = []
    state = search.init([0.0, 0.0, 0.0])
    while not search.is_done(state):
        state = search.tell(state, bowl(search.ask(state)))
        stood.append(float(state["value"][0]))
    assert state["best_value"][0] == min(stood) < stood[-1]
    found = minimize(search, bowl, [0.0, 0.0, 0.0], rounds=1000)
    assert search.is_done(found.state)
    assert found.evaluations == 1 + math.floor(math.log(0.1) / math.log(0.9)) + 1
    best = found.state["best_value"][0]
    assert best <= found.state["value"][0]
    assert bowl(found.state["best_point"][None])[0] == best


@pytest.mark.parametrize(
    "wrong",
    [
        {"cooling": 1.0},
        {"cooling": 0.0},
        {"stop": 0.0},
        {"start_temperature": -1.0},
        {"field": 1.0},
        {"threshold": 1.0},
        {"field": 0.0, "threshold": 1.0},
        {"seed": -1},
    ],
)
def test_annealing_settings_out_of_range_are_refused(wrong):
    with pytest.raises(InvalidArgumentError):
        Annealing(**wrong)


@pytest.mark.parametrize(
    "wrong", [{"gain": 0}, {"perturbation": -1.0}, {"averages": 0}, {"blocking": -0.1}, {"stability": -1.0}]
)
def test_spsa_settings_out_of_range_are_refused(wrong):
    with pytest.raises(InvalidArgumentError):
        Spsa(**wrong)
