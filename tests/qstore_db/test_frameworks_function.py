"""The part that all frameworks share; needs none of them."""

import copy
import importlib
import pickle
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
from qstore_db.circuits.circuit import Circuit, Operation
from qstore_db.circuits.encodings.angle import angle_encoding
from qstore_db.circuits.observables import PauliString
from qstore_db.circuits.readouts import readout
from qstore_db.errors import InvalidArgumentError, InvalidCircuitError, InvalidVectorError, MissingDependencyError
from qstore_db.frameworks.circuit_function import CircuitFunction
from qstore_db.simulation import reference

rng = np.random.default_rng(5)


def function(*, amplitudes: bool = False, data: bool = True) -> CircuitFunction:
    circuit = hardware_efficient(3, 2)
    return CircuitFunction(
        angle_encoding(3).compose(circuit) if data else circuit,
        readout("pauli_pairs", 3),
        amplitude_input=amplitudes,
    )


def inputs(f: CircuitFunction, *lead: int) -> list[np.ndarray]:
    widths = {"data": 3, "amplitudes": 5}
    return [rng.normal(size=(*lead, widths[name])) for name in f.inputs]


KINDS = [
    {"data": True, "amplitudes": False},
    {"data": False, "amplitudes": True},
    {"data": True, "amplitudes": True},
    {"data": False, "amplitudes": False},
]


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_those_of_the_plain_simulator(kind):
    f = function(**kind)
    given_inputs = inputs(f, 4, 2)
    values = f.values(f.initial_weights(0), given_inputs, "float64")
    assert values.shape == ((4, 2, 18) if f.inputs else (18,))
    named = {name: one.reshape(8, one.shape[-1]) for name, one in zip(f.inputs, given_inputs, strict=True)}
    start = None
    if "amplitudes" in named:
        start = np.zeros((8, 8))
        start[:, :5] = named["amplitudes"] / np.linalg.norm(named["amplitudes"], axis=1, keepdims=True)
    state = reference.state_vector(f.circuit, f.initial_weights(0), named.get("data"), start)
    wanted = reference.expectations(state, f.observables)
    np.testing.assert_allclose(values.reshape(-1, 18), wanted, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_both_roads_to_a_gradient_give_the_same_bits(kind):
    f = function(**kind)
    weights, given_inputs = f.initial_weights(1), inputs(f, 4, 2)
    values, pull = f.forward(weights, given_inputs, "float64", input_gradients=True)
    cotangent = rng.normal(size=values.shape)
    ours, again = pull(cotangent), pull(cotangent)
    swept = f.gradients(weights, given_inputs, cotangent, "float64")
    assert len(ours) == len(swept) == 1 + len(f.inputs)
    for one, two, three, like in zip(ours, again, swept, (weights, *given_inputs), strict=True):
        assert one.shape == like.shape
        np.testing.assert_array_equal(one, two)
        np.testing.assert_array_equal(one, three)


def test_gradients_of_inputs_only_where_wanted():
    f = function()
    _, pull = f.forward(f.initial_weights(0), inputs(f, 4), "float64", input_gradients=False)
    of_weights, of_data = pull(np.ones((4, 18)))
    assert of_weights.any()
    assert of_data is None


@settings(derandomize=True, deadline=None, max_examples=15)
@given(
    kind=st.sampled_from(KINDS),
    places=st.integers(0, 4),
    samples=st.integers(0, 3),
    seed=st.integers(0, 2**32),
)
def test_many_vectors_of_weights_in_one_run(kind, places, samples, seed):
    f = function(**kind)
    draw = np.random.default_rng(seed)
    each = draw.normal(size=(places, f.number_of_weights))
    samples = samples if f.inputs else 1
    given_inputs = [draw.normal(size=(places, samples, {"data": 3, "amplitudes": 5}[name])) for name in f.inputs]
    cotangent = draw.normal(size=(places, samples, 18))
    values = f.values_of_each(each, given_inputs, "float64")
    assert values.shape == (places, samples, 18)
    found = f.gradients_of_each(each, given_inputs, cotangent, "float64")
    assert [one.shape for one in found] == [each.shape, *(one.shape for one in given_inputs)]
    for place in range(places):
        alone = [one[place] for one in given_inputs]
        wanted = f.values(each[place], alone, "float64").reshape(samples, 18)
        np.testing.assert_allclose(values[place], wanted, atol=1e-12)
        gradients = f.gradients(each[place], alone, cotangent[place], "float64")
        for one, other in zip(found, gradients, strict=True):
            np.testing.assert_allclose(one[place], other, atol=1e-12)


def test_a_circuit_without_weights():
    f = CircuitFunction(angle_encoding(2), readout("z", 2))
    rows = rng.normal(size=(5, 2))
    of_weights, of_data = f.gradients(np.zeros(0), [rows], np.ones((5, 2)), "float64")
    assert of_weights.shape == (0,)
    np.testing.assert_allclose(of_data, -np.sin(rows), atol=1e-12)
    found = f.gradients_of_each(np.zeros((5, 0)), [rows[:, None]], np.ones((5, 1, 2)), "float64")
    assert found[0].shape == (5, 0)
    np.testing.assert_allclose(found[1][:, 0], -np.sin(rows), atol=1e-12)


def test_start_weights_are_those_of_models():
    f = function()
    np.testing.assert_array_equal(f.initial_weights(3), np.random.default_rng(3).uniform(-np.pi, np.pi, 12))


@pytest.mark.parametrize(
    ("weights", "shapes", "error", "words"),
    [
        ((11,), [(3,), (5,)], InvalidArgumentError, "12 weight"),
        ((12, 1), [(3,), (5,)], InvalidArgumentError, "12 weight"),
        ((12,), [(3,)], InvalidArgumentError, "takes data and amplitudes"),
        ((12,), [(4, 2), (4, 5)], InvalidArgumentError, "3 data column"),
        ((12,), [(), (5,)], InvalidArgumentError, "3 data column"),
        ((12,), [(4, 3), (4, 9)], InvalidVectorError, "8 amplitudes"),
        ((12,), [(4, 3), (4, 0)], InvalidVectorError, "8 amplitudes"),
        ((12,), [(4, 3), (4, None)], InvalidVectorError, "8 amplitudes"),
        ((12,), [(4, 3), (5, 5)], InvalidArgumentError, "same samples"),
        ((12,), [(4, 1, 3), (4, 5)], InvalidArgumentError, "same samples"),
    ],
)
def test_shapes_that_do_not_fit(weights, shapes, error, words):
    with pytest.raises(error, match=words):
        function(amplitudes=True).leading_shape(weights, shapes)


def test_axes_that_are_not_known_yet_fit():
    assert function(amplitudes=True).leading_shape((12,), [(None, 2, 3), (4, None, 5)]) == (None, 2)


def test_nothing_to_read_and_the_wrong_width_are_refused():
    with pytest.raises(InvalidCircuitError, match="no observables"):
        CircuitFunction(Circuit(1), [])
    with pytest.raises(InvalidCircuitError, match="2 qubit"):
        CircuitFunction(Circuit(1, (Operation("H", (0,)),)), [PauliString("ZZ")])


def test_copies_share_and_pickling_is_refused():
    f = function()
    assert copy.deepcopy([f])[0] is f
    with pytest.raises(InvalidArgumentError, match="pickle"):
        pickle.dumps(f)


@pytest.mark.parametrize(
    ("library", "room", "extra"),
    [
        ("torch", "torch_layer", "torch"),
        ("torch", "torch_encodings", "torch"),
        ("jax", "jax_function", "jax"),
        ("keras", "keras_layer", "keras"),
        ("keras", "keras_encodings", "keras"),
        ("tensorflow", "tensorflow_function", "tensorflow"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(library, room, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"qstore_db.frameworks.{room}", raising=False)
    with pytest.raises(MissingDependencyError, match=rf"qstore-db\[{extra}\]"):
        importlib.import_module(f"qstore_db.frameworks.{room}")
