# ruff: noqa: E402 - what needs the library is imported behind the skip
import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="needs the extra tensorflow")

from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
from qstore_db.circuits.encodings.angle import angle_encoding
from qstore_db.circuits.readouts import readout
from qstore_db.errors import InvalidArgumentError, InvalidVectorError
from qstore_db.frameworks.circuit_function import CircuitFunction
from qstore_db.frameworks.tensorflow_function import expectations

ANSATZ = hardware_efficient(3, 2)
CIRCUIT = angle_encoding(3).compose(ANSATZ)
READOUTS = readout("pauli_pairs", 3)
rng = np.random.default_rng(4)


def run(function):
    return lambda weights, *inputs: tf.reduce_sum(tf.square(expectations(function, weights, inputs)))


def slope(loss, given, which, place, step):
    moved = []
    for sign in (1, -1):
        parts = [np.array(one) for one in given]
        parts[which][place] += sign * step
        moved.append(complex(loss(*map(tf.constant, parts)).numpy()).real)
    return (moved[0] - moved[1]) / (2 * abs(step))


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "tf.function"])
@pytest.mark.parametrize("kind", ["data", "amplitudes", "complex", "both"])
def test_gradients_are_the_slopes(graph, kind):
    function = CircuitFunction(
        ANSATZ if kind in ("amplitudes", "complex") else CIRCUIT, READOUTS, amplitude_input=kind != "data"
    )
    given = [function.initial_weights(0)]
    if kind in ("data", "both"):
        given.append(rng.normal(size=(2, 2, 3)))
    if kind != "data":
        given.append(rng.normal(size=(2, 2, 5)) + (1j * rng.normal(size=(2, 2, 5)) if kind == "complex" else 0.0))
    loss = run(function)

    def differentiated(*parts):
        with tf.GradientTape() as tape:
            tape.watch(parts)
            value = loss(*parts)
        slopes = tape.gradient(value, parts)
        assert [one.shape for one in slopes] == [one.shape for one in parts]  # also while it is traced
        return slopes

    gradients = (tf.function(differentiated) if graph else differentiated)(*map(tf.constant, given))
    for which, gradient in enumerate(gradients):
        place = (0,) * (given[which].ndim - 1) + (1,)
        assert gradient.shape == given[which].shape
        assert gradient.dtype == given[which].dtype
        found = gradient.numpy()[place]
        np.testing.assert_allclose(found.real, slope(loss, given, which, place, 1e-6), atol=1e-8)
        if np.iscomplexobj(given[which]):  # TensorFlow's is dL/dRe + i·dL/dIm
            np.testing.assert_allclose(found.imag, slope(loss, given, which, place, 1e-6j), atol=1e-8)


def test_axes_known_only_when_it_runs():
    function = CircuitFunction(CIRCUIT, READOUTS)
    weights = tf.constant(function.initial_weights(0))
    signature = [tf.TensorSpec((None, None, 3), tf.float64)]
    traced = tf.function(lambda data: expectations(function, weights, [data]), input_signature=signature)
    assert traced.get_concrete_function().output_shapes.as_list() == [None, None, 18]
    for lead in ((2, 3), (1, 1), (0, 4)):
        data = rng.normal(size=(*lead, 3))
        wanted = function.values(function.initial_weights(0), [data], "float64")
        np.testing.assert_allclose(traced(tf.constant(data)).numpy(), wanted, atol=1e-12)


@pytest.mark.parametrize(("weights", "data", "out"), [("f4", "f4", "f4"), ("f8", "f4", "f8"), ("f2", "f2", "f2")])
def test_types_are_those_of_the_caller(weights, data, out):
    function = CircuitFunction(CIRCUIT, READOUTS)
    values = expectations(
        function, tf.zeros(12, tf.as_dtype(np.dtype(weights))), [tf.ones((2, 3), tf.as_dtype(np.dtype(data)))]
    )
    assert values.dtype == np.dtype(out)


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "tf.function"])
def test_a_second_derivative_is_refused_and_never_left_out(graph):
    function = CircuitFunction(CIRCUIT, READOUTS)

    def twice(weights):
        with tf.GradientTape() as outer:
            outer.watch(weights)
            with tf.GradientTape() as inner:
                inner.watch(weights)
                value = expectations(function, weights, [tf.ones((2, 3), tf.float64)])
            total = tf.reduce_sum(inner.gradient(value, weights)) + tf.reduce_sum(weights**2)
        return outer.gradient(total, weights)

    with pytest.raises(InvalidArgumentError, match="differentiated again"):
        (tf.function(twice, autograph=False) if graph else twice)(tf.constant(function.initial_weights(0)))


def test_what_does_not_fit():
    function = CircuitFunction(CIRCUIT, READOUTS)
    weights = tf.constant(function.initial_weights(0))
    with pytest.raises(InvalidArgumentError, match="3 data column"):
        expectations(function, weights, [tf.zeros((2, 4), tf.float64)])
    wrong = tf.fill((2, 3), np.nan)
    with pytest.raises(InvalidVectorError, match="data row 0 is not finite"):
        expectations(function, weights, [wrong])
    with pytest.raises(tf.errors.OpError, match="data row 0 is not finite"):
        tf.function(lambda: expectations(function, weights, [wrong]), autograph=False)()
