"""Trajectories against the exact value, and the two roads against each other."""

import numpy as np
import pytest

from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.gates import GATES
from qstore_db.circuits.observables import PauliString
from qstore_db.circuits.parameters import Data, Weight
from qstore_db.errors import InvalidArgumentError
from qstore_db.simulation import channels
from qstore_db.simulation import density_matrix as dense
from qstore_db.simulation.noise_model import NoiseModel, NoiseRule, ReadoutError
from qstore_db.simulation.trajectories import estimate_by_trajectories

PAULI = NoiseModel(
    [NoiseRule(channels.depolarizing(0.1)), NoiseRule(channels.pauli_channel({"XY": 0.06, "ZI": 0.08}))],
    readout={1: ReadoutError(0.05, 0.1)},
)
DAMPED = NoiseModel(
    [
        NoiseRule(channels.thermal_relaxation(20.0, 15.0, 2.0, 0.1)),
        NoiseRule(
            channels.kraus_channel(
                np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))[0][:, :4].reshape(2, 4, 4)
            )
        ),
    ]
)


def every_gate(rng, n):
    """Every gate once, in random order on random qubits."""
    operations = []
    for name in rng.permutation(list(GATES)):
        kind = GATES[str(name)]
        angles = [Weight(0, 0.4) + Data(int(rng.integers(2))) for _ in range(kind.angles)]
        operations.append(Operation(kind.name, rng.permutation(n)[: kind.qubits], angles))
    return Circuit(n, operations)


def setting(seed):
    rng = np.random.default_rng(seed)
    strings = [PauliString("".join(rng.choice(list("IXYZ"), 3))) for _ in range(4)]
    return every_gate(rng, 3), [*strings, strings[0] * 2.0 - strings[1]], {
        "weights": rng.normal(size=1),
        "data": rng.normal(size=(2, 2)),
    }  # fmt: skip


def test_both_roads_give_the_same_trajectories_for_pauli_noise():
    for seed in range(6):
        circuit, observables, given = setting(seed)
        given["amplitudes"] = np.random.default_rng(seed).normal(size=(2, 8)) if seed % 2 else None
        one, other = (
            estimate_by_trajectories(
                circuit, observables, PAULI, seed=seed, trajectories=300, road=road, dtype="float64", **given
            )
            for road in ("frames", "states")
        )
        assert np.abs(one.mean - other.mean).max() < 1e-12
        assert np.abs(one.standard_error - other.standard_error).max() < 1e-12


@pytest.mark.parametrize(("noise", "trajectories"), [(PAULI, 4000), (DAMPED, 800)])
def test_the_mean_is_within_four_standard_errors_of_the_exact_value(noise, trajectories):
    distances = []
    for seed in range(4):
        circuit, observables, given = setting(seed)
        exact = dense.expectations(dense.density_matrix(circuit, noise, **given), observables, noise)
        estimate = estimate_by_trajectories(circuit, observables, noise, seed=seed, trajectories=trajectories, **given)
        assert estimate.trajectories == trajectories
        distance = np.abs(estimate.mean - exact)
        assert (distance <= 4 * estimate.standard_error + 1e-6).all()
        moved = estimate.standard_error > 1e-6
        distances.append((distance[moved] / estimate.standard_error[moved]) ** 2)
    assert 0.4 < np.concatenate(distances).mean() < 2.0  # the standard error is neither too small nor too large


def test_a_sample_depends_on_seed_and_number_only():
    circuit, observables, given = setting(1)
    whole = estimate_by_trajectories(circuit, observables, DAMPED, seed=5, trajectories=40, **given)
    alone = estimate_by_trajectories(
        circuit, observables, DAMPED, seed=5, trajectories=40, weights=given["weights"], data=given["data"][1:],
        sample_numbers=[1],
    )  # fmt: skip
    assert np.array_equal(whole.mean[1], alone.mean[0])
    other = estimate_by_trajectories(circuit, observables, DAMPED, seed=6, trajectories=40, **given)
    assert not np.array_equal(whole.mean, other.mean)


def test_what_gives_no_estimate_is_refused():
    circuit, observables, given = setting(1)
    for wrong in ({"trajectories": 1}, {"seed": -1}, {"road": "frames"}, {"road": "fast"}, {"sample_numbers": [0]}):
        with pytest.raises(InvalidArgumentError):
            estimate_by_trajectories(circuit, observables, DAMPED, **{"seed": 0, **given, **wrong})
