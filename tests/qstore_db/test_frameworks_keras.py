"""The Keras layer on the backend that is in force; the last test runs all others on the other installed backends."""

# ruff: noqa: E402 - what needs the library is imported behind the skip
import json
import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

BACKENDS = [name for name in ("torch", "jax", "tensorflow") if find_spec(name)]
if not BACKENDS:
    pytest.skip("needs the extra torch, jax or tensorflow beside keras", allow_module_level=True)
os.environ.setdefault("KERAS_BACKEND", BACKENDS[0])
keras = pytest.importorskip("keras", reason="needs the extra keras")

from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
from qstore_db.circuits.encodings.amplitude import amplitudes
from qstore_db.circuits.encodings.angle import angle_encoding
from qstore_db.circuits.observables import PauliString
from qstore_db.circuits.readouts import readout
from qstore_db.errors import InvalidArgumentError, InvalidCircuitError, InvalidVectorError
from qstore_db.frameworks import keras_layer
from qstore_db.frameworks.circuit_function import CircuitFunction
from qstore_db.frameworks.keras_encodings import AmplitudeEncoding, AngleEncoding
from qstore_db.frameworks.keras_layer import QuantumLayer
from qstore_db.simulation.state_vector import states

# Keras reads tensors of PyTorch in a way that NumPy 2 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

ANSATZ = hardware_efficient(3, 2)
CIRCUIT = angle_encoding(3).compose(ANSATZ)
READOUTS = readout("pauli_pairs", 3)
rng = np.random.default_rng(2)


def rows(*shape):
    return rng.normal(size=shape).astype(np.float32)


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def net(seed=0, run_eagerly=False):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(3, activation="tanh"),
            QuantumLayer(CIRCUIT, READOUTS, seed=seed),
            keras.layers.Dense(2),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.3), loss=loss, run_eagerly=run_eagerly)
    # XLA has no place for a call of Python; Keras asks before it compiles for an accelerator.
    assert model.layers[1].supports_jit == (keras.backend.backend() != "tensorflow")
    return model


@pytest.mark.parametrize("lead", [(5,), (2, 3), (0,)])
def test_values_are_those_of_the_circuit(lead):
    layer, data = QuantumLayer(CIRCUIT, READOUTS, seed=0), rows(*lead, 3)
    values = layer(data)
    assert tuple(values.shape) == (*lead, 18)
    wanted = CircuitFunction(CIRCUIT, READOUTS)
    np.testing.assert_allclose(array(values), wanted.values(wanted.initial_weights(0), [data], "float64"), atol=1e-5)
    np.testing.assert_allclose(layer.get_weights()[0], wanted.initial_weights(0), rtol=1e-6)


def test_data_and_amplitudes_are_a_list():
    layer, data, start = QuantumLayer(CIRCUIT, READOUTS, amplitude_input=True, seed=0), rows(4, 3), rows(4, 6)
    wanted = layer.function.values(layer.function.initial_weights(0), [data, start], "float64")
    np.testing.assert_allclose(array(layer([data, start])), wanted, atol=1e-5)
    first, second = keras.Input((3,)), keras.Input((6,))
    model = keras.Model([first, second], layer([first, second]))
    assert model.output_shape == (None, 18)
    np.testing.assert_allclose(model.predict([data, start], verbose=0), wanted, atol=1e-5)


@pytest.mark.parametrize("run_eagerly", [False, True])
def test_a_net_learns_by_fit(run_eagerly):
    data = rows(64, 5)
    labels = (data[:, 0] * data[:, 1] > 0).astype(int)
    model = net(run_eagerly=run_eagerly)
    before = [np.array(one) for one in model.get_weights()]
    history = model.fit(data, labels, epochs=15, batch_size=20, verbose=0).history["loss"]
    assert history[-1] < history[0] - 0.02
    assert all((one != other).any() for one, other in zip(before, model.get_weights(), strict=True))


def test_one_step_is_down_the_slope():
    data, labels = rows(32, 5), rng.integers(0, 2, 32)
    model = net()
    circuit = model.layers[1]
    (before,) = circuit.get_weights()

    def loss(weights):
        circuit.set_weights([weights])
        return float(model.evaluate(data, labels, batch_size=32, verbose=0))

    step = 2e-2
    slope = [(loss(before + step * one) - loss(before - step * one)) / (2 * step) for one in np.eye(12)]
    circuit.set_weights([before])
    model.fit(data, labels, epochs=1, batch_size=32, verbose=0)
    np.testing.assert_allclose((before - circuit.get_weights()[0]) / 0.3, slope, atol=2e-3)


def test_a_saved_net_answers_the_same(tmp_path):
    data, model = rows(8, 5), net(seed=None)
    model.save(tmp_path / "net.keras")
    other = keras.saving.load_model(tmp_path / "net.keras")
    np.testing.assert_array_equal(other.predict(data, verbose=0), model.predict(data, verbose=0))
    assert other.layers[1].function.circuit == CIRCUIT
    model.save_weights(tmp_path / "net.weights.h5")
    fresh = net(seed=5)
    fresh.load_weights(tmp_path / "net.weights.h5")
    np.testing.assert_array_equal(fresh.predict(data, verbose=0), model.predict(data, verbose=0))


def test_a_configuration_comes_back_equal():
    sums = [PauliString("XIZ") * 0.1 + PauliString("ZZZ"), PauliString("IYI")]
    layer = QuantumLayer(CIRCUIT, sums, amplitude_input=True, name="circuit", dtype="float16", trainable=False)
    config = json.loads(json.dumps(layer.get_config()))
    other = QuantumLayer.from_config(config)
    assert other.function.circuit == CIRCUIT
    assert other.function.observables == tuple(sums)
    assert other.get_config() == layer.get_config()
    assert (other.name, other.compute_dtype, other.trainable) == ("circuit", "float16", False)
    layer.build([(None, 3), (None, 8)])
    other.build([(None, 3), (None, 8)])
    np.testing.assert_array_equal(other.get_weights()[0], layer.get_weights()[0])  # the drawn seed is kept
    with pytest.raises(InvalidCircuitError):
        QuantumLayer.from_config(config | {"circuit": {}})


def test_seeds_are_drawn_as_keras_does():
    keras.utils.set_random_seed(3)
    one = QuantumLayer(CIRCUIT, READOUTS).seed
    assert isinstance(one, int)
    assert one != QuantumLayer(CIRCUIT, READOUTS).seed
    keras.utils.set_random_seed(3)
    assert one == QuantumLayer(CIRCUIT, READOUTS).seed


def test_types_follow_the_policy():
    data = rows(4, 3)
    exact = array(QuantumLayer(CIRCUIT, READOUTS, seed=0)(data))
    half = QuantumLayer(CIRCUIT, READOUTS, seed=0, dtype="mixed_float16")
    assert half(data).dtype == QuantumLayer(CIRCUIT, READOUTS, dtype="float16")(data).dtype
    np.testing.assert_allclose(array(half(data)), exact, atol=2e-2)
    if keras.backend.backend() != "jax":  # which has float64 with jax_enable_x64 only
        fine = QuantumLayer(CIRCUIT, READOUTS, seed=0, dtype="float64")
        wanted = fine.function.values(fine.function.initial_weights(0), [data.astype(float)], "float64")
        np.testing.assert_allclose(array(fine(data)), wanted, atol=1e-12)


def test_encodings_prepare_the_states_of_the_circuits():
    data = rows(2, 3, 5)
    found = array(AmplitudeEncoding(3)(data))
    np.testing.assert_allclose(found, amplitudes(data.reshape(6, 5), 3).reshape(2, 3, 8), atol=1e-6)
    angles = rows(2, 3, 4)
    turned = array(AngleEncoding(4, scale=1.5)(angles))
    wanted = states(angle_encoding(4, scale=1.5), data=angles.reshape(6, 4), dtype="float64").real
    np.testing.assert_allclose(turned, wanted.reshape(2, 3, 16), atol=1e-6)
    assert np.isnan(array(AmplitudeEncoding(2)(np.zeros((1, 3), np.float32)))).any()


def test_encodings_in_a_net(tmp_path):
    apart = keras.Sequential(
        [
            keras.Input((3,)),
            AngleEncoding(3, scale=0.5),
            AmplitudeEncoding(3),
            QuantumLayer(ANSATZ, READOUTS, amplitude_input=True, seed=1),
        ]
    )
    inside = QuantumLayer(angle_encoding(3, scale=0.5).compose(ANSATZ), READOUTS, seed=1)
    data = rows(6, 3)
    assert apart.output_shape == (None, 18)
    np.testing.assert_allclose(apart.predict(data, verbose=0), array(inside(data)), atol=1e-5)
    apart.save(tmp_path / "net.keras")
    again = keras.saving.load_model(tmp_path / "net.keras")
    np.testing.assert_array_equal(again.predict(data, verbose=0), apart.predict(data, verbose=0))
    with pytest.raises(InvalidVectorError):
        AngleEncoding(3)(rows(2, 4))
    with pytest.raises(InvalidVectorError):
        AmplitudeEncoding(1)(rows(2, 4))


def test_what_does_not_fit():
    with pytest.raises(InvalidCircuitError, match="must have an input"):
        QuantumLayer(ANSATZ, READOUTS)
    with pytest.raises(InvalidArgumentError, match="3 data column"):
        QuantumLayer(CIRCUIT, READOUTS)(rows(4, 2))
    with pytest.raises(InvalidVectorError, match="8 amplitudes"):
        QuantumLayer(ANSATZ, READOUTS, amplitude_input=True)(rows(4, 9))
    for start in (np.zeros((2, 4), np.float32), np.full((2, 4), np.nan, np.float32)):
        with pytest.raises(Exception, match="is no state"):
            array(QuantumLayer(ANSATZ, READOUTS, amplitude_input=True)(start))


def test_another_backend_is_refused(monkeypatch):
    monkeypatch.setattr(keras_layer.keras.backend, "backend", lambda: "openvino")
    with pytest.raises(InvalidArgumentError, match="'openvino'"):
        QuantumLayer(CIRCUIT, READOUTS)


@pytest.mark.slow
@pytest.mark.skipif("QSTORE_KERAS_ONCE" in os.environ, reason="this is the other backend")
@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != os.environ["KERAS_BACKEND"]])
def test_the_other_backends(backend):
    environment = os.environ | {"KERAS_BACKEND": backend, "QSTORE_KERAS_ONCE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert "." * 12 in done.stdout, done.stdout  # they did run
