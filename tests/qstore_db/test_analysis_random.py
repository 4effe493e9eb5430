"""Expressibility and gradient variances against closed forms, and their repeatability."""

import math

import numpy as np
import pytest

from qstore_db.analysis.barren_plateau import barren_plateau_probe, gradient_variance
from qstore_db.analysis.expressibility import expressibility_kl, expressibility_score, fidelities
from qstore_db.analysis.haar import divergence_from_haar, haar_bias, log2_haar_masses
from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.observables import PauliString
from qstore_db.circuits.parameters import Data, Weight
from qstore_db.circuits.weights_as_data import rows, weights_as_data
from qstore_db.errors import InvalidArgumentError, InvalidCircuitError
from qstore_db.simulation.reference import expectations, state_vector


def haar_fidelities(count, n, seed):
    rng = np.random.default_rng(seed)
    raw = rng.normal(size=(2, count, 1 << n)) + 1j * rng.normal(size=(2, count, 1 << n))
    one, other = raw / np.linalg.norm(raw, axis=2, keepdims=True)
    return np.abs((one.conj() * other).sum(axis=1)) ** 2


def test_haar_masses():
    for n in (1, 2, 5):
        edges = np.linspace(0, 1, 11)
        survival = (1 - edges) ** (2**n - 1)
        assert 2 ** log2_haar_masses(n, 10) == pytest.approx(survival[:-1] - survival[1:], rel=1e-9)
    assert np.isfinite(log2_haar_masses(12, 75)).all()
    assert (2 ** log2_haar_masses(12, 75)).sum() == pytest.approx(1.0)


def test_the_divergence_by_hand():
    # One qubit is uniform: with all fidelities in one half, the other half is missing, one bit.
    assert divergence_from_haar([0.1, 0.2, 0.3], 1, 2) == pytest.approx(1.0)
    assert divergence_from_haar([0.1, 0.9], 1, 2) == pytest.approx(0.0)
    assert divergence_from_haar([1.0, 1.0], 1, 4) == pytest.approx(2.0)  # the upper edge is in the last part
    p, q = np.array([0.25, 0.75]), np.array([1 - 0.5**3, 0.5**3])
    wanted = (p * np.log2(p / q)).sum()
    assert divergence_from_haar([0.1, 0.6, 0.7, 0.8], 2, 2) == pytest.approx(wanted)


def test_haar_random_states_score_the_bias_and_nothing_else():
    for n, pairs, bins in ((1, 400, 20), (2, 300, 75), (4, 500, 30)):
        found = [divergence_from_haar(haar_fidelities(pairs, n, seed), n, bins) for seed in range(200)]
        bias = haar_bias(n, pairs, bins)
        assert abs(np.mean(found) - bias) < 5 * np.std(found) / math.sqrt(len(found))
    # Every bin well filled: (bins - 1) / (2 pairs ln 2).
    assert haar_bias(1, 20_000, 10) == pytest.approx(9 / (40_000 * math.log(2)), rel=0.01)
    assert haar_bias(3, 100, 1) == 0.0
    assert 0 < haar_bias(12, 5000, 75) < 0.01


def test_the_idle_circuit_is_the_least_expressive():
    # Sim et al. find 4.30 nats for 75 bins with one qubit: ln 75 = 4.317.
    assert expressibility_kl(Circuit(1), seed=0) * math.log(2) == pytest.approx(math.log(75))
    assert expressibility_kl(Circuit(3), seed=0, bins=10) == pytest.approx(7 * math.log2(10))
    assert expressibility_score(Circuit(1), seed=0, bins=2) == pytest.approx(0.5)


def test_one_rotation_about_z_after_h_follows_the_arcsine_law():
    """F = cos²(Δ/2) with Δ uniform: the share below x is 1 - (2/π) arccos √x, whatever the histogram."""
    circuit = Circuit(1, [Operation("H", (0,)), Operation("RZ", (0,), (Weight(0),))])
    found = np.sort(fidelities(circuit, pairs=20_000, seed=3))
    law = 1 - 2 / math.pi * np.arccos(np.sqrt(found))
    assert np.abs(law - np.arange(1, 20_001) / 20_000).max() < 1.95 / math.sqrt(20_000)  # Kolmogorov, 0.1 %
    edges = np.linspace(0, 1, 76)
    shares = np.diff(1 - 2 / math.pi * np.arccos(np.sqrt(edges)))
    wanted = (shares * np.log2(shares * 75)).sum()
    got = expressibility_kl(circuit, seed=3, pairs=50_000)
    assert got == pytest.approx(wanted, abs=0.01)


def test_more_expressive_circuits_score_higher_and_a_general_rotation_is_nearly_haar():
    def layered(layers):
        return hardware_efficient(3, layers, rotations="rx_ry_rz", entanglement="circular")

    shallow, deep = (expressibility_kl(layered(layers), seed=5, pairs=2000, bins=40) for layers in (1, 4))
    assert deep < 0.5 * shallow
    assert deep < 2 * haar_bias(3, 2000, 40)
    assert expressibility_score(layered(4), seed=5, pairs=2000, bins=40) == 1 / (1 + deep)


def test_equal_seeds_give_equal_numbers_and_others_do_not():
    circuit = hardware_efficient(2, 2).then(Operation("RX", (0,), (Data(0),)))
    found = [fidelities(circuit, pairs=50, seed=seed, data=[0.4]) for seed in (1, 1, 2)]
    assert found[0].tolist() == found[1].tolist() != found[2].tolist()
    assert fidelities(circuit, pairs=20, seed=1, data=[0.4]).shape == (20,)
    assert np.abs(fidelities(circuit, pairs=5, seed=1, data=[0.4], span=1e-9) - 1).max() < 1e-9


def test_weights_as_data_run_as_one_batch(random_circuit):
    for seed in range(10):
        circuit = random_circuit(seed, 3, 20, symbols=True)
        rng = np.random.default_rng(seed)
        weights, data = rng.normal(size=(4, circuit.number_of_weights)), rng.normal(size=circuit.number_of_data)
        together = state_vector(weights_as_data(circuit), data=rows(data, weights))
        assert weights_as_data(circuit).number_of_weights == 0
        for row, state in zip(weights, together, strict=True):
            assert np.abs(state_vector(circuit, row, data[None])[0] - state).max() < 1e-12


def product_family(letters):
    def family(n):
        turns = [Operation("RY", (qubit,), (Weight(qubit),)) for qubit in range(n)]
        return Circuit(n, turns), PauliString(letters(n))

    return family


def test_a_global_observable_of_a_product_has_variance_two_to_the_minus_n():
    """⟨Z…Z⟩ = Π cos w, so ∂₀ has the variance E[sin²] E[cos²]^(n-1) = 2^-n; ⟨Z₀⟩ = cos w₀ keeps 1/2."""
    probe = barren_plateau_probe(product_family(lambda n: "Z" * n), (1, 2, 3, 4, 5), seed=3, samples=4000)
    for n, found in zip(probe.qubits, probe.variances, strict=True):
        assert abs(found.variance - 2.0**-n) < 4.5 * found.standard_error
        assert found.samples == 4000
    assert probe.slope == pytest.approx(-1.0, abs=0.05)
    local = barren_plateau_probe(product_family(lambda n: "Z" + "I" * (n - 1)), (2, 4, 6), seed=4, samples=4000)
    assert all(abs(found.variance - 0.5) < 4.5 * found.standard_error for found in local.variances)
    assert local.slope == pytest.approx(0.0, abs=0.05)


def test_the_standard_error_is_that_of_repeated_runs():
    circuit, observable = product_family(lambda n: "Z" * n)(2)
    found = [gradient_variance(circuit, observable, seed=seed, samples=100) for seed in range(300)]
    spread = np.std([one.variance for one in found])
    assert np.mean([one.standard_error for one in found]) == pytest.approx(spread, rel=0.15)


def test_the_gradient_is_that_of_the_named_weight_at_the_given_data():
    circuit = hardware_efficient(2, 2).then(Operation("CRY", (0, 1), (Weight(3) * 0.5 + Data(1),)))
    observable, data, step = 2.0 * PauliString("ZX") - PauliString("IY"), np.array([0.3, -0.8]), 1e-5
    found = gradient_variance(circuit, observable, seed=9, weight=3, samples=50, data=data)
    weights = np.random.default_rng(9).uniform(0, 2 * math.pi, (50, circuit.number_of_weights))
    slopes = []
    for row in weights:
        shift = step * np.eye(len(row))[3]
        up, down = (expectations(state_vector(circuit, row + s, data[None]), [observable]) for s in (shift, -shift))
        slopes.append(float((up - down)[0, 0]) / (2 * step))
    assert found.variance == pytest.approx(np.var(slopes, ddof=1), rel=1e-6)


def test_deep_random_circuits_have_a_plateau_and_a_gradient_that_is_zero_has_no_slope():
    def family(n):
        circuit = hardware_efficient(n, 4 * n, rotations="rx_ry_rz", entanglement="circular")
        return circuit, PauliString("ZZ" + "I" * (n - 2))

    probe = barren_plateau_probe(family, (2, 4, 6), seed=1, samples=150, weight=4)
    assert probe.slope < -0.5
    idle = barren_plateau_probe(product_family(lambda n: "I" * (n - 1) + "Z"), (2, 3), seed=1, samples=20)
    assert math.isnan(idle.slope)


def test_sizes_draw_from_streams_of_their_own():
    family = product_family(lambda n: "Z" * n)
    few = barren_plateau_probe(family, (2, 4), seed=1, samples=10)
    more = barren_plateau_probe(family, (4, 3, 2), seed=1, samples=10)
    assert few.variances == (more.variances[2], more.variances[0])


@pytest.mark.parametrize(
    "options",
    [{"pairs": 0}, {"bins": 0}, {"seed": -1}, {"span": 0.0}, {"span": math.inf}, {"pairs": True}, {"bins": 2.5}],
)
def test_expressibility_refuses_numbers_out_of_range(options):
    with pytest.raises(InvalidArgumentError):
        expressibility_kl(hardware_efficient(2, 1), **({"seed": 1} | options))


def test_data_must_fit():
    circuit = Circuit(1, [Operation("RX", (0,), (Data(0) + Weight(0),))])
    for data in (None, [0.1, 0.2], [math.nan], [[0.1]]):
        with pytest.raises(InvalidArgumentError, match="sample"):
            expressibility_kl(circuit, seed=1, data=data)
        with pytest.raises(InvalidArgumentError, match="sample"):
            gradient_variance(circuit, PauliString("Z"), seed=1, data=data)


@pytest.mark.parametrize("values", [[], [1.1], [-0.1], [math.nan]])
def test_what_are_no_fidelities_is_refused(values):
    with pytest.raises(InvalidArgumentError, match="fidelities"):
        divergence_from_haar(values, 1, 2)


def test_haar_masses_refuse_what_no_state_vector_holds():
    with pytest.raises(InvalidArgumentError, match="25"):
        log2_haar_masses(25, 10)


@pytest.mark.parametrize("options", [{"samples": 1}, {"seed": -1}, {"weight": 2}, {"weight": -1}, {"span": -1.0}])
def test_gradient_variance_refuses_numbers_out_of_range(options):
    circuit, observable = product_family(lambda n: "Z" * n)(2)
    with pytest.raises(InvalidArgumentError):
        gradient_variance(circuit, observable, **({"seed": 1} | options))


@pytest.mark.parametrize("sizes", [(), (2,), (2, 2), (0, 2), (2, 2.5)])
def test_the_probe_needs_different_sizes(sizes):
    with pytest.raises(InvalidArgumentError):
        barren_plateau_probe(product_family(lambda n: "Z" * n), sizes, seed=1)


def test_an_observable_for_other_qubits_is_refused():
    with pytest.raises(InvalidCircuitError):
        gradient_variance(hardware_efficient(2, 1), PauliString("Z"), seed=1)
