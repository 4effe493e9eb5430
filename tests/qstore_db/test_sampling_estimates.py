"""Expectation values from shots: bases, grouping, standard errors, readout errors."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
from qstore_db.circuits.encodings.angle import angle_encoding
from qstore_db.circuits.observables import PauliString
from qstore_db.circuits.readouts import pauli_pairs
from qstore_db.errors import InvalidArgumentError, InvalidCircuitError
from qstore_db.simulation.channels import amplitude_damping, depolarizing
from qstore_db.simulation.measurement_bases import measurement_bases, parities
from qstore_db.simulation.noise_model import NoiseModel, NoiseRule, ReadoutError
from qstore_db.simulation.noisy_plan import compile_noisy
from qstore_db.simulation.plan import compile_circuit
from qstore_db.simulation.reference import state_vector
from qstore_db.simulation.shot_estimates import estimate_by_shots

texts = st.lists(st.text("IXYZ", min_size=3, max_size=3), min_size=1, max_size=25)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(texts)
def test_every_string_is_read_in_one_basis_that_holds_its_letters(letters):
    strings = [PauliString(text) for text in letters]
    bases = measurement_bases(strings)
    read = [string for basis in bases for string in basis.strings]
    assert sorted(string.letters for string in read) == sorted({text for text in letters if text != "III"})
    for basis in bases:
        for one, other in combinations(basis.strings, 2):
            assert all(a == b or "I" in (a, b) for a, b in zip(one.letters, other.letters, strict=True))
        for string in basis.strings:
            assert all(basis.letters[qubit] == letter for qubit, letter in string.on_qubits.items())


def test_the_readouts_of_a_model_need_three_bases():
    assert [basis.letters for basis in measurement_bases(pauli_pairs(6))] == ["XXXXXX", "YYYYYY", "ZZZZZZ"]


def test_rotated_parities_are_the_expectation_values():
    rng = np.random.default_rng(2)
    circuit = hardware_efficient(4, 2)
    weights = rng.normal(size=circuit.number_of_weights)
    strings = [PauliString("".join(rng.choice(list("IXYZ"), 4))) for _ in range(30)]
    exact = {}
    for basis in measurement_bases(strings):
        chances = np.abs(state_vector(circuit.then(*basis.rotation()), weights)[0]) ** 2
        values = chances @ parities(np.arange(16), basis.strings)
        exact.update(zip(basis.strings, values, strict=True))
    wanted = [string for string in strings if string in exact]
    values = compile_circuit(circuit, wanted).expectations(None, weights, dtype="float64")[0]
    assert np.abs(values - [exact[string] for string in wanted]).max() < 1e-12


@pytest.mark.parametrize(
    "noise",
    [
        None,
        NoiseModel(readout=ReadoutError(0.03, 0.08)),
        NoiseModel(
            [NoiseRule(depolarizing(0.03)), NoiseRule(amplitude_damping(0.05), arity=2)], readout={1: ReadoutError(0.1)}
        ),
    ],
)
def test_means_are_within_their_standard_errors(noise):
    n, rng = 3, np.random.default_rng(4)
    circuit = angle_encoding(n).compose(hardware_efficient(n, 2))
    weights, data = rng.normal(size=circuit.number_of_weights), rng.uniform(0, 3, (4, n))
    observables = [
        *pauli_pairs(n),
        0.5 * PauliString("XIZ") - PauliString("ZZI") * 2.0 + PauliString("III"),
        PauliString("III"),
    ]
    exact = compile_noisy(circuit, observables, noise or NoiseModel()).expectations(data, weights, dtype="float64")
    estimate = estimate_by_shots(circuit, observables, 2000, seed=9, noise=noise, weights=weights, data=data)
    distance = np.abs(estimate.mean - exact)
    assert (distance <= 4.5 * estimate.standard_error + 1e-12).all()
    squares = (distance[:, :-1] / estimate.standard_error[:, :-1]) ** 2
    assert 0.6 < squares.mean() < 1.6
    assert (estimate.mean[:, -1] == 1).all() and (estimate.standard_error[:, -1] == 0).all()
    single = np.sqrt((1 - estimate.mean[:, 0] ** 2) / 1999)
    assert np.allclose(estimate.standard_error[:, 0], single)


def test_estimates_depend_on_seed_and_number_only():
    circuit = angle_encoding(2)
    data = np.array([[0.3, 1.0], [2.0, 0.1]])
    observables = [PauliString("ZX"), PauliString("XX")]
    whole = estimate_by_shots(circuit, observables, 64, seed=1, data=data)
    alone = estimate_by_shots(circuit, observables, 64, seed=1, data=data[1:], sample_numbers=[1])
    assert np.array_equal(whole.mean[1], alone.mean[0])
    assert whole.bases == ("ZX", "XX")


def test_what_gives_no_estimate_is_refused():
    circuit = angle_encoding(2)
    with pytest.raises(InvalidArgumentError, match="spread"):
        estimate_by_shots(circuit, [PauliString("ZZ")], 1, seed=0, data=[[0.0, 0.0]])
    with pytest.raises(InvalidCircuitError):
        estimate_by_shots(circuit, [PauliString("Z")], 10, seed=0, data=[[0.0, 0.0]])
    with pytest.raises(InvalidArgumentError, match="sample numbers"):
        estimate_by_shots(circuit, [PauliString("ZZ")], 10, seed=0, data=[[0.0, 0.0]], sample_numbers=[0, 1])
