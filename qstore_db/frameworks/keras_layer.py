"""A circuit as a Keras 3 layer, on the backends torch, jax and tensorflow."""

# mypy: disable-error-code="import-not-found", allow-subclassing-any, allow-untyped-decorators
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.circuit_json import (
    circuit_from_json,
    circuit_to_json,
    observable_from_json,
    observable_to_json,
)
from qstore_db.circuits.observables import Observable
from qstore_db.errors import InvalidArgumentError, InvalidCircuitError, MissingDependencyError
from qstore_db.frameworks.circuit_function import CircuitFunction

try:
    import keras
except ImportError as error:
    raise MissingDependencyError("Keras is not installed", fix="pip install 'qstore-db[keras]'") from error


@keras.saving.register_keras_serializable(package="qstore_db")
class QuantumLayer(keras.layers.Layer):
    """Expectation values of a circuit, differentiable by its weights and by its inputs.

    ``layer(data)``, ``layer(amplitudes)`` or ``layer([data, amplitudes])``: one tensor (batch, …, columns) where the
    circuit has data columns, in radians, then one (batch, …, width) where ``amplitude_input`` is set, padded with zeros
    and divided by its norm. The result is (batch, …, readouts) in the layer's compute type; the simulation is in
    float64 under the policy ``"float64"``, else in float32. Q-Store's simulator runs on the processor.

    ``model.save("net.keras")`` writes the circuit's JSON form and the weights; a process that has imported this file
    loads it. On the backend tensorflow the layer stands in ``tf.function``, but neither in XLA nor in a SavedModel.

    Args:
        circuit: A circuit with data columns, unless ``amplitude_input`` is set.
        observables: What is read, at least one, each for the circuit's qubits.
        amplitude_input: Whether each sample brings its start state.
        seed: Start of the weights, uniform in [−π, π), the same numbers as in PyTorch and JAX; None draws one, as
            Keras's initializers do, which ``get_config`` then holds.
        **options: Those of every Keras layer: ``name``, ``dtype``, ``trainable``.

    Raises:
        InvalidCircuitError: No observables, one for another number of qubits, or a circuit without any input.

    Example:
        >>> from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
        >>> from qstore_db.circuits.encodings.angle import angle_encoding
        >>> from qstore_db.circuits.readouts import readout
        >>> circuit = angle_encoding(4).compose(hardware_efficient(4, 2))
        >>> net = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4), QuantumLayer(circuit, readout("z", 4))])
        >>> net.output_shape
        (None, 4)
    """

    def __init__(
        self,
        circuit: Circuit,
        observables: Sequence[Observable],
        *,
        amplitude_input: bool = False,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.function = CircuitFunction(circuit, observables, amplitude_input=amplitude_input)
        if not self.function.inputs:
            raise InvalidCircuitError(
                "a circuit without data columns and amplitudes is no Keras layer, which must have an input",
                fix="Give the circuit a data column, or set amplitude_input=True.",
                value=circuit.number_of_data,
            )
        self.seed = int(keras.initializers.RandomUniform().seed) if seed is None else seed
        self._run = _run(self.function)
        # XLA compiles no call of Python; JAX's jit has a place for it.
        self.supports_jit = keras.backend.backend() != "tensorflow"

    def build(self, input_shape: Any) -> None:
        """Makes the weights.

        Raises:
            InvalidArgumentError: The inputs do not fit the circuit.
            InvalidVectorError: Amplitudes do not fit it.
        """
        self._leading_shape(input_shape)
        self.circuit_weights = self.add_weight(
            shape=(self.function.number_of_weights,),
            initializer=lambda shape, dtype=None: keras.ops.convert_to_tensor(
                self.function.initial_weights(self.seed).reshape(shape), dtype=dtype
            ),
            name="circuit_weights",
        )
        self.built = True

    def call(self, inputs: Any) -> Any:
        """The expectation values, (batch, …, readouts); see the class."""
        values = self._run(keras.ops.convert_to_tensor(self.circuit_weights), _listed(inputs))
        return keras.ops.cast(values, self.compute_dtype)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """The shape of the values, with None where that of the inputs has it."""
        return (*self._leading_shape(input_shape), self.function.number_of_readouts)

    def get_config(self) -> dict[str, Any]:
        """The circuit's JSON form, the observables' and the other arguments; :meth:`from_config` is the inverse."""
        return {
            **super().get_config(),
            "circuit": circuit_to_json(self.function.circuit),
            "observables": [observable_to_json(one) for one in self.function.observables],
            "amplitude_input": self.function.amplitude_input,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The layer that :meth:`get_config` described, its weights not included.

        Raises:
            InvalidCircuitError: The circuit or an observable is not what ``get_config`` wrote.
        """
        given = dict(config)
        circuit = circuit_from_json(given.pop("circuit"))
        observables = [observable_from_json(one) for one in given.pop("observables")]
        return cls(circuit, observables, **given)

    def _leading_shape(self, given: Any) -> tuple[int | None, ...]:
        several = len(self.function.inputs) > 1
        shapes = [tuple(shape) for shape in given] if several else [tuple(given)]
        return self.function.leading_shape((self.function.number_of_weights,), shapes)


def _listed(inputs: Any) -> list[Any]:
    return list(inputs) if isinstance(inputs, list | tuple) else [inputs]


def _run(function: CircuitFunction) -> Callable[[Any, Sequence[Any]], Any]:
    """Weights and inputs of Keras's backend to the values."""
    backend = keras.backend.backend()
    if backend == "torch":
        from qstore_db.frameworks import torch_layer

        return lambda weights, inputs: torch_layer.expectations(function, weights, inputs)
    if backend == "jax":
        from qstore_db.frameworks.jax_function import differentiable

        run = differentiable(function)
        return lambda weights, inputs: run(weights, *inputs)
    if backend == "tensorflow":
        from qstore_db.frameworks import tensorflow_function

        return lambda weights, inputs: tensorflow_function.expectations(function, weights, inputs)
    raise InvalidArgumentError(
        f"Keras runs on {backend!r}, on which no circuit is differentiated",
        fix="Set KERAS_BACKEND to 'torch', 'jax' or 'tensorflow' before Keras is imported.",
        value=backend,
    )
