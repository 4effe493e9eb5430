"""A circuit as a JAX function.

The states are computed by Q-Store's own simulator on the processor, behind ``jax.pure_callback``: the function may
stand under ``jit``, ``grad`` and ``vmap``, and one call of the simulator serves the whole batch of a ``vmap``, nested
ones too, and however many vectors of weights it holds. On other devices JAX copies arrays to the host and back.
"""

# mypy: disable-error-code="import-not-found", allow-untyped-decorators
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.observables import Observable
from qstore_db.errors import InvalidArgumentError, MissingDependencyError
from qstore_db.frameworks.circuit_function import (
    SECOND_DERIVATIVE,
    SECOND_DERIVATIVE_FIX,
    Array,
    CircuitFunction,
)
from qstore_db.simulation.plan import Precision

try:
    import jax
    import jax.numpy as jnp
except ImportError as error:
    raise MissingDependencyError("JAX is not installed", fix="pip install 'qstore-db[jax]'") from error


class Expectations(Protocol):
    """Weights and inputs to the values of all readouts."""

    def __call__(self, weights: Any, *inputs: Any) -> jax.Array:
        """Shape (…, readouts)."""
        ...


def quantum_function(
    circuit: Circuit, observables: Sequence[Observable], *, amplitude_input: bool = False
) -> Expectations:
    """Expectation values of a circuit as a pure function, differentiable by its weights and by its inputs.

    ``f(weights, data)``, ``f(weights, amplitudes)``, ``f(weights, data, amplitudes)`` or ``f(weights)``: weights
    (weights,), data (…, columns) in radians where the circuit has data columns, amplitudes (…, width) where
    ``amplitude_input`` is set, padded with zeros and divided by their norm. The result is (…, readouts) in the type to
    which JAX promotes the arguments (the real one of complex amplitudes); the simulation is in float64 where that is
    float64, which takes ``jax_enable_x64``, else in float32.

    The function is meant for reverse mode: its gradient runs the circuit once more, there and back in one sweep.
    Forward mode is refused by JAX, a second derivative with an ``InvalidArgumentError`` when it is traced. Shapes are
    checked when the function is traced too; numbers that are not finite, and zero amplitudes, are seen only when it
    runs, and come as JAX's own error (``JaxRuntimeError`` under ``jit``, else ``ValueError``) with the text of ours.

    Args:
        circuit: Any circuit.
        observables: What is read, at least one, each for the circuit's qubits.
        amplitude_input: Whether each sample brings its start state.

    Raises:
        InvalidCircuitError: No observables, or one for another number of qubits.

    Example:
        >>> from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
        >>> from qstore_db.circuits.encodings.angle import angle_encoding
        >>> from qstore_db.circuits.readouts import readout
        >>> circuit = angle_encoding(4).compose(hardware_efficient(4, 2))
        >>> f = quantum_function(circuit, readout("z", 4))
        >>> jax.jit(f)(initial_weights(circuit, seed=0), jnp.zeros((5, 4))).shape
        (5, 4)
    """
    return differentiable(CircuitFunction(circuit, observables, amplitude_input=amplitude_input))


def initial_weights(circuit: Circuit, *, seed: int) -> jax.Array:
    """Start values uniform in [−π, π), (weights,): the same numbers as in PyTorch and Keras, in JAX's default type."""
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.uniform(-np.pi, np.pi, circuit.number_of_weights))


def differentiable(function: CircuitFunction) -> Expectations:
    """What :func:`quantum_function` returns, for a circuit function that is there already."""
    rule = _with_rule(function)

    def values(weights: Any, *inputs: Any) -> jax.Array:
        given = [jnp.asarray(one) for one in (weights, *inputs)]
        function.leading_shape(given[0].shape, [one.shape for one in given[1:]])
        out = jnp.result_type(*(one.real.dtype if jnp.iscomplexobj(one) else one.dtype for one in given))
        if not jnp.issubdtype(out, jnp.floating):
            out = jnp.result_type(float)
        real = np.dtype(np.float64 if out == np.float64 else np.float32)
        cast = [one.astype(np.result_type(real, np.complex64) if jnp.iscomplexobj(one) else real) for one in given]
        found: jax.Array = rule(cast[0], tuple(cast[1:])).astype(out)
        return found

    return values


def _with_rule(function: CircuitFunction) -> Any:
    """The function with its rule: arguments of one real precision, weights and a tuple of inputs."""

    def run(weights: Any, *inputs: Any) -> Array:
        return _values(function, weights, *inputs)

    def sweep(weights: Any, cotangent: Any, *inputs: Any) -> tuple[Array, ...]:
        return _gradients(function, weights, cotangent, *inputs)

    @jax.custom_vjp
    def values(weights: jax.Array, inputs: tuple[jax.Array, ...]) -> jax.Array:
        lead = inputs[0].shape[:-1] if inputs else ()
        result = jax.ShapeDtypeStruct((*lead, function.number_of_readouts), weights.dtype)
        found: jax.Array = jax.pure_callback(run, result, weights, *inputs, vmap_method="expand_dims")
        return found

    @jax.custom_jvp
    def gradients(weights: jax.Array, inputs: tuple[jax.Array, ...], cotangent: jax.Array) -> tuple[jax.Array, ...]:
        result = tuple(jax.ShapeDtypeStruct(one.shape, one.dtype) for one in (weights, *inputs))
        found: tuple[jax.Array, ...] = jax.pure_callback(
            sweep, result, weights, cotangent, *inputs, vmap_method="expand_dims"
        )
        return found

    @gradients.defjvp
    def refused(primals: Any, tangents: Any) -> NoReturn:
        raise InvalidArgumentError(SECOND_DERIVATIVE, fix=SECOND_DERIVATIVE_FIX, value=len(tangents))

    def forward(weights: jax.Array, inputs: tuple[jax.Array, ...]) -> Any:
        return values(weights, inputs), (weights, inputs)

    def backward(residuals: Any, cotangent: jax.Array) -> Any:
        of_weights, *of_inputs = gradients(*residuals, cotangent)
        return of_weights, tuple(of_inputs)

    values.defvjp(forward, backward)
    return values


def _values(function: CircuitFunction, weights: Any, *inputs: Any) -> Array:
    """Runs on the host; each ``vmap`` around has put one axis before all others, of size 1 where nothing varies."""
    mapped, samples, arrays = _spread(weights, inputs)
    vectors = np.asarray(weights)
    if vectors.size == vectors.shape[-1]:
        found = function.values(vectors.reshape(-1), arrays, _precision(vectors))
    else:
        found = function.values_of_each(*_groups(vectors, arrays, mapped), _precision(vectors))
    return found.astype(vectors.dtype).reshape(*mapped, *samples, function.number_of_readouts)


def _gradients(function: CircuitFunction, weights: Any, cotangent: Any, *inputs: Any) -> tuple[Array, ...]:
    mapped, samples, arrays = _spread(weights, (*inputs, cotangent))
    *arrays, outer = arrays
    vectors = np.asarray(weights)
    if math.prod(mapped) == 1:
        found = function.gradients(vectors.reshape(-1), arrays, outer, _precision(vectors))
    else:
        # Each place of the mapped axes wants a gradient of its own for the weights, also where all share one vector.
        each, groups = _groups(vectors, [*arrays, outer], mapped)
        found = function.gradients_of_each(each, groups[:-1], groups[-1], _precision(vectors))
    of_weights, *of_inputs = found
    return (
        of_weights.reshape(*mapped, vectors.shape[-1]).astype(vectors.dtype),
        # JAX's cotangent of a complex number is dL/dRe - i·dL/dIm.
        *(
            one.conj().astype(given.dtype).reshape(*mapped, *samples, one.shape[-1])
            for one, given in zip(of_inputs, arrays, strict=True)
        ),
    )


def _spread(weights: Any, arrays: Sequence[Any]) -> tuple[tuple[int, ...], tuple[int, ...], list[NDArray[Any]]]:
    """The mapped axes, the axes of samples, and all arrays with both in full."""
    depth = np.ndim(weights) - 1
    given = [np.asarray(one) for one in arrays]
    mapped = np.broadcast_shapes(np.shape(weights)[:depth], *(one.shape[:depth] for one in given))
    samples = given[0].shape[depth:-1] if given else ()
    full = [np.broadcast_to(one, (*mapped, *samples, one.shape[-1])) for one in given]
    return mapped, samples, full


def _groups(
    weights: NDArray[Any], arrays: Sequence[NDArray[Any]], mapped: tuple[int, ...]
) -> tuple[NDArray[Any], list[NDArray[Any]]]:
    """One vector of weights for each place of the mapped axes, (P, weights), and arrays as (P, S, width)."""
    places = math.prod(mapped)
    each = np.broadcast_to(weights, (*mapped, weights.shape[-1])).reshape(places, -1)
    return each, [one.reshape(places, math.prod(one.shape[len(mapped) : -1]), one.shape[-1]) for one in arrays]


def _precision(weights: NDArray[Any]) -> Precision:
    return "float64" if weights.dtype == np.float64 else "float32"
