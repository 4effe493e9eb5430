"""Encodings as Keras layers: rows to start states of a ``QuantumLayer`` with ``amplitude_input=True``.

Operations of ``keras.ops`` without weights: they run on every backend of Keras, compiled or not.
"""

# mypy: disable-error-code="import-not-found", allow-subclassing-any, allow-untyped-decorators
from __future__ import annotations

from typing import Any

from qstore_db.errors import MissingDependencyError
from qstore_db.frameworks.encoding_shapes import checked_qubits, checked_width

try:
    import keras
    from keras import ops
except ImportError as error:
    raise MissingDependencyError("Keras is not installed", fix="pip install 'qstore-db[keras]'") from error


@keras.saving.register_keras_serializable(package="qstore_db")
class AmplitudeEncoding(keras.layers.Layer):
    """Real rows of up to 2^n numbers, padded with zeros and divided by their norm: (…, width) to (…, 2^n).

    A row of zeros has no direction: it becomes not-a-number, which a ``QuantumLayer`` refuses to start from. (Compiled
    code cannot look at numbers and raise.)

    Args:
        n_qubits: 1 … 24.
        **options: Those of every Keras layer.

    Raises:
        InvalidCircuitError: Another number of qubits.

    Example:
        >>> states = AmplitudeEncoding(2)(ops.convert_to_tensor([[3.0, 4.0, 0.0]]))
        >>> [round(value, 3) for value in ops.convert_to_numpy(states)[0].tolist()]
        [0.6, 0.8, 0.0, 0.0]
    """

    def __init__(self, n_qubits: int, **options: Any) -> None:
        super().__init__(**options)
        self.n_qubits = checked_qubits(n_qubits)

    def call(self, inputs: Any) -> Any:
        """The states.

        Raises:
            InvalidVectorError: Rows longer than 2^n.
        """
        width = checked_width(tuple(inputs.shape), 1, 1 << self.n_qubits)
        # A direction does not change with the length, so the largest part may count as a constant.
        largest = ops.stop_gradient(ops.max(ops.abs(inputs), axis=-1, keepdims=True))
        scaled = inputs / largest
        states = scaled / ops.sqrt(ops.sum(ops.square(scaled), axis=-1, keepdims=True))
        before = [(0, 0)] * (len(inputs.shape) - 1)
        return ops.pad(states, [*before, (0, (1 << self.n_qubits) - width)])

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """The shape of the states."""
        checked_width(tuple(input_shape), 1, 1 << self.n_qubits)
        return (*input_shape[:-1], 1 << self.n_qubits)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {**super().get_config(), "n_qubits": self.n_qubits}


@keras.saving.register_keras_serializable(package="qstore_db")
class AngleEncoding(keras.layers.Layer):
    """Each number turns a qubit: (…, n) to the real amplitudes (…, 2^n) of ⊗_q RY(scale · x_q)|0⟩.

    The same states as the circuit :func:`qstore_db.circuits.encodings.angle.angle_encoding` prepares. Cost 2^n numbers
    a row: to turn many qubits put the encoding's gates into the layer's circuit.

    Args:
        n_qubits: 1 … 24.
        scale: Radians per unit of the input.
        **options: Those of every Keras layer.

    Raises:
        InvalidCircuitError: Another number of qubits.

    Example:
        >>> states = AngleEncoding(2, scale=3.0)(ops.convert_to_tensor([[1.0, 0.0]]))
        >>> [round(value, 3) for value in ops.convert_to_numpy(states)[0].tolist()]
        [0.071, 0.0, 0.997, 0.0]
    """

    def __init__(self, n_qubits: int, *, scale: float = 1.0, **options: Any) -> None:
        super().__init__(**options)
        self.n_qubits, self.scale = checked_qubits(n_qubits), scale

    def call(self, inputs: Any) -> Any:
        """The states.

        Raises:
            InvalidVectorError: Another width than n.
        """
        checked_width(tuple(inputs.shape), self.n_qubits, self.n_qubits)
        half = inputs * (self.scale / 2)
        turned = ops.stack((ops.cos(half), ops.sin(half)), axis=-1)
        states = turned[..., 0, :]
        for qubit in range(1, self.n_qubits):  # earlier qubits are the higher bits
            both = ops.expand_dims(states, -1) * ops.expand_dims(turned[..., qubit, :], -2)
            states = ops.reshape(both, (*ops.shape(states)[:-1], 2 << qubit))
        return states

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """The shape of the states."""
        checked_width(tuple(input_shape), self.n_qubits, self.n_qubits)
        return (*input_shape[:-1], 1 << self.n_qubits)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return {**super().get_config(), "n_qubits": self.n_qubits, "scale": self.scale}
