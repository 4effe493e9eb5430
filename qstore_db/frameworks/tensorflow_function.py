"""A circuit as a TensorFlow function, eager or inside ``tf.function``; what the Keras layer runs on that backend.

The states are computed by Q-Store's own simulator on the processor, behind ``tf.numpy_function``: it stands in graphs
of this process, and is neither compiled by XLA nor written into a SavedModel.
"""

# mypy: disable-error-code="import-not-found, import-untyped", allow-untyped-decorators
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import InvalidArgumentError, MissingDependencyError
from qstore_db.frameworks.circuit_function import SECOND_DERIVATIVE, SECOND_DERIVATIVE_FIX, CircuitFunction
from qstore_db.simulation.plan import Precision

try:
    import tensorflow as tf
except ImportError as error:
    raise MissingDependencyError("TensorFlow is not installed", fix="pip install 'qstore-db[tensorflow]'") from error


def expectations(function: CircuitFunction, weights: tf.Tensor, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
    """Expectation values, differentiable once by weights and inputs.

    Args:
        function: The circuit and its readouts.
        weights: Shape (weights,), radians.
        inputs: Data (…, columns) and amplitudes (…, width), each where the circuit takes it; leading axes may be
            unknown until the run.

    Returns:
        Shape (…, readouts), in the widest type among weights and inputs (the real one of complex amplitudes).

    Raises:
        InvalidArgumentError: A shape does not fit, a weight is not finite; or, when it is traced, a second derivative.
        InvalidVectorError: Amplitudes of a width that does not fit, zero or not finite ones, data that are not finite.
        tf.errors.OpError: With the text of the error, where numbers are wrong inside ``tf.function``.
    """
    given = [tf.convert_to_tensor(one) for one in (weights, *inputs)]
    lead = function.leading_shape(tuple(given[0].shape), [tuple(one.shape) for one in given[1:]])
    out = np.result_type(*(one.dtype.real_dtype.as_numpy_dtype for one in given))
    real = tf.float64 if out == np.float64 else tf.float32
    cast = [tf.cast(one, _complex(real) if one.dtype.is_complex else real) for one in given]
    values = _with_rule(function, lead, "float64" if real == tf.float64 else "float32")(*cast)
    return tf.cast(values, out)


def _with_rule(function: CircuitFunction, lead: tuple[int | None, ...], precision: Precision) -> Any:
    kind: Any = np.dtype(precision)

    def run(weights: NDArray[Any], *inputs: NDArray[Any]) -> NDArray[Any]:
        return function.values(weights, inputs, precision).astype(kind)

    def sweep(cotangent: NDArray[Any], weights: NDArray[Any], *inputs: NDArray[Any]) -> list[NDArray[Any]]:
        found = function.gradients(weights, inputs, cotangent, precision)
        return [one.astype(given.dtype) for one, given in zip(found, (weights, *inputs), strict=True)]

    @tf.custom_gradient
    def gradients(cotangent: tf.Tensor, *given: tf.Tensor) -> Any:
        found = tf.numpy_function(sweep, (cotangent, *given), [one.dtype for one in given])
        for one, like in zip(found, given, strict=True):
            one.set_shape(like.shape)

        def refused(*cotangents: tf.Tensor) -> NoReturn:
            raise InvalidArgumentError(SECOND_DERIVATIVE, fix=SECOND_DERIVATIVE_FIX, value=len(cotangents))

        return found, refused

    @tf.custom_gradient
    def values(*given: tf.Tensor) -> Any:
        found = tf.numpy_function(run, given, kind)
        found.set_shape((*lead, function.number_of_readouts))
        return found, lambda cotangent: gradients(cotangent, *given)

    return values


def _complex(real: tf.DType) -> tf.DType:
    return tf.complex128 if real == tf.float64 else tf.complex64
