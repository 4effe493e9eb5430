"""Channels against their closed forms, Cirq's conventions and the laws of density matrices."""

import json

import cirq
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.errors import InvalidArgumentError
from qstore_db.simulation.channels import (
    amplitude_damping,
    bit_flip,
    bit_phase_flip,
    channel_from_json,
    depolarizing,
    depolarizing_from_average_fidelity,
    depolarizing_from_error_probability,
    generalized_amplitude_damping,
    kraus_channel,
    pauli_channel,
    phase_damping,
    phase_flip,
    thermal_relaxation,
)

chance = st.floats(0, 1)


def every_channel(p, q, seed):
    rng = np.random.default_rng(seed)
    matrix = np.linalg.qr(rng.normal(size=(12, 12)) + 1j * rng.normal(size=(12, 12)))[0]
    return [
        depolarizing(p), depolarizing(p, 2), bit_flip(p), phase_flip(p), bit_phase_flip(p), amplitude_damping(p),
        generalized_amplitude_damping(p, q), phase_damping(p),
        thermal_relaxation(10.0, 20.0 * (q + 1e-3) / 1.001, 3 * p, q),
        pauli_channel({"X": p / 2, "Z": q / 2}), pauli_channel({"XY": p / 2, "ZI": q / 2}),
        depolarizing_from_error_probability(p, 2), kraus_channel(matrix[:, :4].reshape(3, 4, 4)),
    ]  # fmt: skip


def random_state(rng, d):
    matrix = rng.normal(size=(d, d)) + 1j * rng.normal(size=(d, d))
    rho = matrix @ matrix.conj().T
    return rho / np.trace(rho)


def act(channel, rho):
    return sum(k @ rho @ k.conj().T for k in channel.kraus)


@settings(derandomize=True, deadline=None, max_examples=25)
@given(chance, chance, st.integers(0, 10**6))
def test_every_channel_keeps_trace_hermiticity_and_positivity_and_survives_json(p, q, seed):
    rng = np.random.default_rng(seed)
    for channel in every_channel(p, q, seed):
        d = 2**channel.n_qubits
        assert np.abs(np.einsum("kba,kbc->ac", channel.kraus.conj(), channel.kraus) - np.eye(d)).max() < 1e-12
        out = act(channel, random_state(rng, d))
        assert abs(np.trace(out) - 1) < 1e-12
        assert np.abs(out - out.conj().T).max() < 1e-12
        assert np.linalg.eigvalsh(out).min() > -1e-12
        again = channel_from_json(json.loads(json.dumps(channel.to_json())))
        assert again == channel and hash(again) == hash(channel)
        assert np.array_equal(again.kraus, channel.kraus)


@settings(derandomize=True, deadline=None, max_examples=25)
@given(chance, chance, st.integers(0, 10**6))
def test_closed_forms(p, q, seed):
    rho = random_state(np.random.default_rng(seed), 2)
    two = random_state(np.random.default_rng(seed), 4)
    assert np.allclose(act(depolarizing(p), rho), (1 - p) * rho + p * np.eye(2) / 2, atol=1e-14)
    assert np.allclose(act(depolarizing(p, 2), two), (1 - p) * two + p * np.eye(4) / 4, atol=1e-14)
    decayed = np.array(
        [[rho[0, 0] + p * rho[1, 1], np.sqrt(1 - p) * rho[0, 1]], [np.sqrt(1 - p) * rho[1, 0], (1 - p) * rho[1, 1]]]
    )
    assert np.allclose(act(amplitude_damping(p), rho), decayed, atol=1e-14)
    dephased = rho * np.array([[1, np.sqrt(1 - p)], [np.sqrt(1 - p), 1]])
    assert np.allclose(act(phase_damping(p), rho), dephased, atol=1e-14)
    warm = act(generalized_amplitude_damping(p, q), rho)
    assert np.isclose(warm[1, 1], (1 - p) * rho[1, 1] + p * q, atol=1e-14)


def test_thermal_relaxation_has_both_time_constants():
    rho = random_state(np.random.default_rng(3), 2)
    for t1, t2, excited in ((50.0, 70.0, 0.0), (50.0, 100.0, 0.2), (np.inf, 3.0, 0.0)):
        out = act(thermal_relaxation(t1, t2, 1.5, excited), rho)
        assert np.isclose(abs(out[0, 1]), abs(rho[0, 1]) * np.exp(-1.5 / t2), rtol=1e-13)
        assert np.isclose(out[1, 1], excited + (rho[1, 1] - excited) * np.exp(-1.5 / t1), rtol=1e-13)
    twice = act(thermal_relaxation(50.0, 70.0, 0.75), act(thermal_relaxation(50.0, 70.0, 0.75), rho))
    assert np.allclose(twice, act(thermal_relaxation(50.0, 70.0, 1.5), rho), atol=1e-14)


def test_converters_agree_with_cirq_and_with_the_fidelity_they_name():
    rng = np.random.default_rng(0)
    for n in (1, 2):
        rho = random_state(rng, 2**n)
        theirs = sum(k @ rho @ k.conj().T for k in cirq.kraus(cirq.depolarize(0.07, n_qubits=n)))
        assert np.allclose(act(depolarizing_from_error_probability(0.07, n), rho), theirs, atol=1e-13)
        channel, d = depolarizing_from_average_fidelity(0.97, n), 2**n
        entanglement = sum(abs(np.trace(k)) ** 2 for k in channel.kraus) / d**2
        assert np.isclose((d * entanglement + 1) / (d + 1), 0.97)


@pytest.mark.parametrize(
    ("make", "arguments", "named"),
    [
        (depolarizing, (1.34,), "1.34"),
        (depolarizing, (0.1, 3), "3"),
        (depolarizing, (float("nan"),), "nan"),
        (amplitude_damping, (-0.1,), "-0.1"),
        (phase_damping, (True,), "True"),
        (thermal_relaxation, (10.0, 20.1, 1.0), "20.1"),
        (thermal_relaxation, (0.0, 1.0, 1.0), "t1"),
        (thermal_relaxation, (1.0, 1.0, -1.0), "-1.0"),
        (pauli_channel, ({"X": 0.6, "Y": 0.6},), "1.2"),
        (pauli_channel, ({"I": 0.5, "X": 0.4},), "0.9"),
        (pauli_channel, ({"X": 0.5, "XY": 0.4},), "XY"),
        (kraus_channel, ([[[1, 0], [0, 0.9]]],), "trace"),
        (kraus_channel, (np.eye(3)[None],), "shape"),
        (depolarizing_from_average_fidelity, (0.2,), "0.2"),
        (channel_from_json, ({"name": "depolarizing", "q": 0.1},), "depolarizing"),
        (channel_from_json, ({"name": "thermal_relaxation", "t1": 0.1},), "thermal_relaxation"),
    ],
)
def test_what_is_no_channel_is_refused_with_its_value(make, arguments, named):
    with pytest.raises(InvalidArgumentError, match=named):
        make(*arguments)
