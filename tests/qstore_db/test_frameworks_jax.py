# ruff: noqa: E402 - what needs the library is imported behind the skip
import numpy as np
import pytest

jax = pytest.importorskip("jax", reason="needs the extra jax")

import jax.numpy as jnp
from jax.test_util import check_grads

from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
from qstore_db.circuits.encodings.angle import angle_encoding
from qstore_db.circuits.readouts import readout
from qstore_db.errors import InvalidArgumentError, InvalidCircuitError, InvalidVectorError
from qstore_db.frameworks import jax_function
from qstore_db.frameworks.circuit_function import CircuitFunction
from qstore_db.frameworks.jax_function import initial_weights, quantum_function

ANSATZ = hardware_efficient(3, 2)
CIRCUIT = angle_encoding(3).compose(ANSATZ)
READOUTS = readout("pauli_pairs", 3)
rng = np.random.default_rng(3)


@pytest.fixture(params=[False, True], ids=["x32", "x64"])
def precise(request):
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", request.param)
    yield request.param
    jax.config.update("jax_enable_x64", before)


@pytest.fixture
def x64():
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


@pytest.fixture
def calls(monkeypatch):
    """The names of the runs of the simulator, in order."""
    seen = []

    def counted(name, plain):
        def run(self, *given):
            seen.append(name)
            return plain(self, *given)

        return run

    for name in ("values", "gradients", "values_of_each", "gradients_of_each"):
        monkeypatch.setattr(CircuitFunction, name, counted(name, getattr(CircuitFunction, name)))
    return seen


def square(f):
    return lambda *given: (f(*given) ** 2).sum()


def close(one, other, precise=True):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12 if precise else 5e-5)


@pytest.mark.parametrize("lead", [(), (5,), (2, 3), (0,)])
def test_values_and_gradients_by_weights_and_data(precise, lead):
    f = quantum_function(CIRCUIT, READOUTS)
    weights, data = initial_weights(CIRCUIT, seed=0), jnp.asarray(rng.normal(size=(*lead, 3)))
    values = f(weights, data)
    assert values.shape == (*lead, 18)
    assert values.dtype == (np.float64 if precise else np.float32)
    plain = CircuitFunction(CIRCUIT, READOUTS)
    np.testing.assert_allclose(
        values, plain.values(plain.initial_weights(0), [np.asarray(data)], "float64"), atol=1e-12 if precise else 1e-5
    )
    step, tolerance = (1e-6, 1e-7) if precise else (1e-2, 2e-2)
    check_grads(f, (weights, data), 1, modes=["rev"], eps=step, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("complex_valued", [False, True])
def test_gradients_by_amplitudes_go_through_the_norm(precise, complex_valued):
    f = quantum_function(ANSATZ, READOUTS, amplitude_input=True)
    start = rng.normal(size=(4, 5)) + (1j * rng.normal(size=(4, 5)) if complex_valued else 0.0)
    weights, start = initial_weights(ANSATZ, seed=0), jnp.asarray(start)
    assert f(weights, start).dtype == (np.float64 if precise else np.float32)
    step, tolerance = (1e-6, 1e-7) if precise else (1e-2, 2e-2)
    check_grads(f, (weights, start), 1, modes=["rev"], eps=step, atol=tolerance, rtol=tolerance)
    gradient = jax.grad(square(f), 1)(weights, start)
    assert gradient.dtype == start.dtype
    # JAX's gradient of a complex number is dL/dRe - i·dL/dIm; moving along the vector itself changes nothing.
    np.testing.assert_allclose((gradient * start).sum(-1).real, 0.0, atol=1e-12 if precise else 1e-5)
    if complex_valued and precise:
        moved = [square(f)(weights, start.at[0, 0].add(1e-6 * way)) for way in (1, -1, 1j, -1j)]
        wanted = (moved[0] - moved[1] - 1j * (moved[2] - moved[3])) / 2e-6
        np.testing.assert_allclose(gradient[0, 0], wanted, atol=1e-8)


def test_data_and_amplitudes_together(x64):
    f = quantum_function(CIRCUIT, READOUTS, amplitude_input=True)
    given = (
        initial_weights(CIRCUIT, seed=0),
        jnp.asarray(rng.normal(size=(2, 2, 3))),
        jnp.asarray(rng.normal(size=(2, 2, 8))),
    )
    check_grads(f, given, 1, modes=["rev"], eps=1e-6, atol=1e-7, rtol=1e-7)
    mapped = jax.vmap(jax.grad(square(f), (0, 1, 2)), (None, 1, 0))(*given)
    wanted = [jax.grad(square(f), (0, 1, 2))(given[0], given[1][:, k], given[2][k]) for k in range(2)]
    close(mapped, jax.tree.map(lambda *parts: jnp.stack(parts), *wanted))


def test_a_function_of_weights_alone(x64):
    f = quantum_function(ANSATZ, READOUTS)
    several = jnp.asarray(rng.normal(size=(3, 12)))
    close(jax.vmap(f)(several), jnp.stack([f(one) for one in several]))
    close(jax.vmap(jax.grad(square(f)))(several), jnp.stack([jax.grad(square(f))(one) for one in several]))


def test_jit_grad_and_vmap_give_one_result(precise):
    f = quantum_function(CIRCUIT, READOUTS)
    weights, data = initial_weights(CIRCUIT, seed=0), jnp.asarray(rng.normal(size=(7, 3)))
    wanted = jax.value_and_grad(square(f), (0, 1))(weights, data)
    mapped = square(jax.vmap(f, (None, 0)))
    close(jax.jit(jax.value_and_grad(square(f), (0, 1)))(weights, data), wanted, precise)
    close(jax.value_and_grad(mapped, (0, 1))(weights, data), wanted, precise)
    close(jax.jit(jax.value_and_grad(mapped, (0, 1)))(weights, data), wanted, precise)
    each = jax.jit(jax.vmap(jax.grad(square(f), (0, 1)), (None, 0)))(weights, data)
    close((each[0].sum(0), each[1]), wanted[1], precise)


def test_a_batch_is_one_call(calls, x64):
    f = quantum_function(CIRCUIT, READOUTS)
    weights, data = initial_weights(CIRCUIT, seed=0), jnp.asarray(rng.normal(size=(7, 3)))
    several = jnp.stack([weights, weights + 1, weights + 2])
    for run, wanted in (
        (lambda: jax.vmap(f, (None, 0))(weights, data), ["values"]),
        (lambda: jax.vmap(jax.vmap(f, (None, 0)), (0, None))(several, data), ["values_of_each"]),
        (lambda: jax.vmap(f, (0, None))(several, data), ["values_of_each"]),
        (lambda: jax.grad(square(f))(weights, data), ["values", "gradients"]),
        (lambda: jax.grad(square(jax.vmap(f, (None, 0))))(weights, data), ["values", "gradients_of_each"]),
        (lambda: jax.jit(f)(weights, data), ["values"]),
    ):
        calls.clear()
        jax.block_until_ready(run())
        assert calls == wanted


@pytest.mark.parametrize("axes", [(0, None), (None, 1), (0, 0), (1, 2)])
def test_every_axis_may_be_mapped(axes, x64):
    f = quantum_function(CIRCUIT, READOUTS)
    shapes = [[12], [2, 3]]
    for shape, axis in zip(shapes, axes, strict=True):
        if axis is not None:
            shape.insert(axis, 4)
    weights, data = (jnp.asarray(rng.normal(size=shape)) for shape in shapes)
    picked = [
        tuple(one if axis is None else jnp.take(one, k, axis) for one, axis in zip((weights, data), axes, strict=True))
        for k in range(4)
    ]
    close(jax.vmap(f, axes)(weights, data), jnp.stack([f(*one) for one in picked]))
    gradient = jax.grad(square(f), (0, 1))
    wanted = jax.tree.map(lambda *parts: jnp.stack(parts), *(gradient(*one) for one in picked))
    close(jax.vmap(gradient, axes)(weights, data), wanted)


def test_nested_maps_in_either_order(x64):
    f = quantum_function(CIRCUIT, READOUTS)
    weights, data = jnp.asarray(rng.normal(size=(2, 12))), jnp.asarray(rng.normal(size=(3, 3)))
    wanted = jnp.stack([f(one, data) for one in weights])
    close(jax.vmap(jax.vmap(f, (None, 0)), (0, None))(weights, data), wanted)
    close(jax.vmap(jax.vmap(f, (0, None)), (None, 0), out_axes=1)(weights, data), wanted)
    jacobian = jax.jacrev(f, (0, 1))(weights[0], data)
    assert [one.shape for one in jacobian] == [(3, 18, 12), (3, 18, 3, 3)]
    step = 1e-6
    moved = (f(weights[0].at[5].add(step), data) - f(weights[0].at[5].add(-step), data)) / (2 * step)
    np.testing.assert_allclose(jacobian[0][..., 5], moved, atol=1e-8)


def test_a_loop_of_training_inside_jit(x64):
    f = quantum_function(CIRCUIT, READOUTS[:1])
    data = jnp.asarray(rng.normal(size=(6, 3)))

    def step(weights, _):
        loss, gradient = jax.value_and_grad(lambda w: f(w, data).mean())(weights)
        return weights - 0.5 * gradient, loss

    weights = initial_weights(CIRCUIT, seed=0)
    last, losses = jax.jit(lambda start: jax.lax.scan(step, start, length=5))(weights)
    assert (jnp.diff(losses) < 0).all()
    for _ in range(5):
        weights, _ = step(weights, None)
    close(last, weights)


@pytest.mark.parametrize(
    ("weights", "data", "out"),
    [
        ("f4", "f4", "f4"),
        ("f2", "f2", "f2"),
        ("f4", "i4", "f4"),
        ("i4", "i4", "f8"),
        ("f4", "f8", "f8"),
        ("bfloat16", "bfloat16", "bfloat16"),
    ],
)
def test_types_are_promoted_as_jax_does(weights, data, out, x64):
    f = quantum_function(CIRCUIT, READOUTS)
    given = jnp.arange(12).astype(jnp.dtype(weights)), jnp.ones((2, 3), jnp.dtype(data))
    values = f(*given)
    assert values.dtype == jnp.dtype(out)
    exact = f(*(one.astype(np.float64) for one in given))
    np.testing.assert_allclose(
        values.astype(np.float64), exact, atol={2: 1e-2, 4: 2e-6, 8: 1e-14}[values.dtype.itemsize]
    )
    if jnp.issubdtype(given[0].dtype, jnp.floating):
        assert jax.grad(square(f))(*given).dtype == given[0].dtype


def test_only_first_derivatives_backwards():
    f = quantum_function(CIRCUIT, READOUTS)
    weights, data = initial_weights(CIRCUIT, seed=0), jnp.zeros((2, 3))
    for wrong in (
        lambda: jax.grad(lambda w: (jax.grad(square(f))(w, data) ** 2).sum() + w.sum())(weights),
        lambda: jax.grad(lambda x: jax.grad(square(f))(weights, x).sum())(data),
        lambda: jax.jit(jax.jacrev(jax.grad(square(f))))(weights, data),
    ):
        with pytest.raises(InvalidArgumentError, match="differentiated again"):
            wrong()
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(f, (weights, data), (weights, data))


def test_shapes_are_looked_at_when_traced():
    f = quantum_function(CIRCUIT, READOUTS)
    weights, data = initial_weights(CIRCUIT, seed=0), jnp.zeros((2, 3))
    for given in ((weights,), (weights, data[:, :2]), (weights[:4], data), (weights, data, data)):
        with pytest.raises(InvalidArgumentError):
            f(*given)
        with pytest.raises(InvalidArgumentError):
            jax.jit(f).lower(*given)
    with pytest.raises(InvalidVectorError):
        quantum_function(ANSATZ, READOUTS, amplitude_input=True)(weights, jnp.zeros((2, 9)))
    with pytest.raises(InvalidCircuitError):
        quantum_function(CIRCUIT, [])


@pytest.mark.parametrize("wrapped", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_numbers_are_looked_at_when_run(wrapped):
    f = wrapped(quantum_function(CIRCUIT, READOUTS))
    weights, data = initial_weights(CIRCUIT, seed=0), jnp.zeros((2, 3)).at[1, 1].set(jnp.nan)
    with pytest.raises((ValueError, jax.errors.JaxRuntimeError), match="data row 1 is not finite"):
        jax.block_until_ready(f(weights, data))
    start = wrapped(quantum_function(ANSATZ, READOUTS, amplitude_input=True))
    with pytest.raises((ValueError, jax.errors.JaxRuntimeError), match="vector 0 is zero"):
        jax.block_until_ready(start(weights, jnp.zeros((2, 8))))


def test_large_batches_pass_the_host(x64):
    f = jax.jit(jax.value_and_grad(square(quantum_function(CIRCUIT, READOUTS)), (0, 1)))
    data = jnp.asarray(rng.normal(size=(20_000, 3)))
    loss, (_, of_data) = f(initial_weights(CIRCUIT, seed=0), data)
    assert np.isfinite(loss)
    assert of_data.shape == data.shape


def test_start_weights_are_those_of_the_other_frameworks(precise):
    weights = initial_weights(CIRCUIT, seed=4)
    assert weights.dtype == (np.float64 if precise else np.float32)
    np.testing.assert_array_equal(weights, CircuitFunction(CIRCUIT, READOUTS).initial_weights(4).astype(weights.dtype))
    assert jax_function.differentiable(CircuitFunction(CIRCUIT, READOUTS))(weights, jnp.zeros(3)).shape == (18,)
