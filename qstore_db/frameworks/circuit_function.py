"""A circuit as a function of arrays, with its vector-Jacobian product: what the layers of all frameworks share.

``values = f(weights, *inputs)``: the inputs are data (…, columns), where the circuit has data columns, then amplitudes
(…, width), where each sample brings its start state. All leading axes are samples; the values are (…, readouts), the
leading axes kept. Only NumPy arrays come in and go out; float32, float64, complex64 and complex128 ones are meant.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Final, NoReturn, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.observables import Observable
from qstore_db.circuits.weights_as_data import weights_as_data
from qstore_db.errors import InvalidArgumentError, InvalidVectorError
from qstore_db.simulation.plan import Gradients, Plan, Precision, compile_circuit

Array: TypeAlias = NDArray[Any]
Shape: TypeAlias = tuple[int | None, ...]
"""Sizes of axes; None where a framework knows one only when it runs."""

SECOND_DERIVATIVE: Final = "a circuit's gradient was differentiated again, and only first derivatives are computed"
SECOND_DERIVATIVE_FIX: Final = (
    "Take the first derivative alone (no create_graph=True, no grad of grad); for curvature of the states use"
    " qstore_db.gradients.metric_tensor."
)


class CircuitFunction:
    """A compiled circuit with its readouts; immutable, copied by sharing, and never pickled.

    Args:
        circuit: Any circuit.
        observables: At least one, each for the circuit's qubits.
        amplitude_input: Whether each sample brings its start state; else all start from |0…0⟩.

    Raises:
        InvalidCircuitError: No observables, or one for another number of qubits.

    Example:
        >>> from qstore_db.circuits.encodings.angle import angle_encoding
        >>> from qstore_db.circuits.readouts import readout
        >>> turn = CircuitFunction(angle_encoding(2), readout("z", 2))
        >>> turn.values(np.zeros(0), [np.zeros((5, 3, 2))], "float64").shape
        (5, 3, 2)
    """

    def __init__(self, circuit: Circuit, observables: Sequence[Observable], *, amplitude_input: bool = False) -> None:
        self.circuit: Final = circuit
        self.observables: Final = tuple(observables)
        self.amplitude_input: Final = amplitude_input
        self.plan: Final = compile_circuit(circuit, self.observables, amplitude_input=amplitude_input)
        self.inputs: Final = (
            *(("data",) if circuit.number_of_data else ()),
            *(("amplitudes",) if amplitude_input else ()),
        )

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise InvalidArgumentError(
            "a layer with a compiled circuit was asked to pickle itself",
            fix="Save its weights (torch.save(layer.state_dict(), path), model.save in Keras) and build it again.",
            value=self.circuit.digest,
        )

    @property
    def number_of_weights(self) -> int:
        """Length of the vector of weights."""
        return self.plan.number_of_weights

    @property
    def number_of_readouts(self) -> int:
        """Length of the last axis of the values."""
        return self.plan.number_of_readouts

    def initial_weights(self, seed: int) -> NDArray[np.float64]:
        """Uniform in [−π, π) from ``numpy.random.default_rng(seed)``, as models of Q-Store start; (weights,)."""
        return np.random.default_rng(seed).uniform(-np.pi, np.pi, self.number_of_weights)

    def leading_shape(self, weights: Shape, inputs: Sequence[Shape]) -> Shape:
        """The axes that hold samples.

        Args:
            weights: Shape of the weights.
            inputs: Shape of each input.

        Raises:
            InvalidArgumentError: Another number of inputs, weights or data of another width, or leading axes that
                differ.
            InvalidVectorError: Amplitudes wider than 2^n, or of no width.
        """
        if weights != (self.number_of_weights,):
            raise InvalidArgumentError(
                f"weights of shape {weights} do not fit a circuit of {self.number_of_weights} weight(s)",
                fix=f"Give an array of shape ({self.number_of_weights},).",
                value=weights,
            )
        if len(inputs) != len(self.inputs):
            wanted = " and ".join(self.inputs) or "nothing"
            raise InvalidArgumentError(
                f"{len(inputs)} input(s) were given to a circuit that takes {wanted}",
                fix=f"Give {wanted}, in this order.",
                value=len(inputs),
            )
        for name, shape in zip(self.inputs, inputs, strict=True):
            self._check_width(name, shape)
        leads = [shape[:-1] for shape in inputs]
        if len(leads) == 2 and not _agree(*leads):
            raise InvalidArgumentError(
                f"data of shape {inputs[0]} and amplitudes of shape {inputs[1]} are not for the same samples",
                fix="Give both the same leading axes.",
                value=tuple(inputs),
            )
        return leads[0] if leads else ()

    def _check_width(self, name: str, shape: Shape) -> None:
        size = 1 << self.circuit.n_qubits
        columns = self.plan.number_of_data
        if name == "data" and (not shape or shape[-1] != columns):
            raise InvalidArgumentError(
                f"data of shape {shape} do not fit a circuit of {columns} data column(s)",
                fix=f"Give an array of shape (…, {columns}).",
                value=shape,
            )
        if name == "amplitudes" and (not shape or shape[-1] is None or not 1 <= shape[-1] <= size):
            raise InvalidVectorError(
                f"amplitudes of shape {shape} do not fit the {size} amplitudes of the circuit",
                fix=f"Give an array of shape (…, width) with width from 1 to {size}.",
                value=shape,
            )

    def values(self, weights: Array, inputs: Sequence[Array], precision: Precision) -> NDArray[np.float64]:
        """The expectation values.

        Args:
            weights: Shape (weights,), radians, shared by all samples.
            inputs: Data (…, columns), radians, and amplitudes (…, width), each where the circuit takes it.
            precision: Arithmetic of the states.

        Returns:
            Shape (…, readouts), float64.

        Raises:
            InvalidArgumentError: As :meth:`leading_shape`, or a weight is not finite.
            InvalidVectorError: As :meth:`leading_shape`, data are not finite, or an amplitude vector is zero or not
                finite.
            NotEnoughMemoryError: The states do not fit.
        """
        lead, data, amplitudes = self._flat(weights.shape, inputs)
        found = self.plan.expectations(data, _doubles(weights), amplitudes, dtype=precision)
        return found.reshape(*lead, self.number_of_readouts)

    def forward(
        self, weights: Array, inputs: Sequence[Array], precision: Precision, *, input_gradients: bool
    ) -> tuple[NDArray[np.float64], Callable[[Array], tuple[Array | None, ...]]]:
        """The values as in :meth:`values`, and the function from their cotangent to the gradients.

        Args:
            weights: As in :meth:`values`; copied.
            inputs: As in :meth:`values`; copied.
            precision: As in :meth:`values`.
            input_gradients: Whether gradients of the inputs are wanted besides those of the weights.

        Returns:
            The values, and a function that may be called several times and holds working memory as long as it lives:
            cotangent (…, readouts) to the gradient of the weights, then of each input in its own shape (None where not
            wanted). Of complex amplitudes dL/dRe + i·dL/dIm.
        """
        lead, data, amplitudes = self._flat(weights.shape, inputs)
        found, pullback = self.plan.forward(
            data, _doubles(weights), amplitudes, dtype=precision, input_gradients=input_gradients
        )
        shapes = [given.shape for given in inputs]

        def pull(cotangent: Array) -> tuple[Array | None, ...]:
            return self._shaped(pullback(self._rows_of(cotangent)), shapes)

        return found.reshape(*lead, self.number_of_readouts), pull

    def gradients(
        self, weights: Array, inputs: Sequence[Array], cotangent: Array, precision: Precision
    ) -> tuple[Array, ...]:
        """The gradient of Σ cotangent · values by the weights, then by each input, as :meth:`forward` gives it.

        One sweep there and back; for frameworks that keep nothing between the two but arrays.
        """
        _, data, amplitudes = self._flat(weights.shape, inputs)
        flat = self._rows_of(cotangent)
        _, found = self.plan.gradients(data, _doubles(weights), amplitudes, cotangent=flat, dtype=precision)
        return self._shaped(found, [given.shape for given in inputs])

    def values_of_each(self, weights: Array, inputs: Sequence[Array], precision: Precision) -> NDArray[np.float64]:
        """:meth:`values` for P vectors of weights, each with samples of its own, in one run.

        Args:
            weights: Shape (P, weights).
            inputs: Shapes (P, S, columns) and (P, S, width), each where the circuit takes it.
            precision: As in :meth:`values`.

        Returns:
            Shape (P, S, readouts); S is 1 for a circuit without inputs.
        """
        samples, rows, amplitudes = self._rows(weights, inputs)
        found = self._each.expectations(rows, None, amplitudes, dtype=precision)
        return found.reshape(len(weights), samples, self.number_of_readouts)

    def gradients_of_each(
        self, weights: Array, inputs: Sequence[Array], cotangent: Array, precision: Precision
    ) -> tuple[Array, ...]:
        """:meth:`gradients` for P vectors of weights, each with samples of its own, in one run.

        Args:
            weights: Shape (P, weights).
            inputs: As in :meth:`values_of_each`.
            cotangent: Shape (P, S, readouts).
            precision: As in :meth:`values`.

        Returns:
            The gradient of each vector of weights, (P, weights), summed over its samples; then of each input.
        """
        samples, rows, amplitudes = self._rows(weights, inputs)
        flat = self._rows_of(cotangent)
        _, found = self._each.gradients(rows, None, amplitudes, cotangent=flat, dtype=precision)
        table = found.data if found.data is not None else np.zeros((len(flat), 0))
        columns = self.plan.number_of_data
        of_weights = table[:, columns:].reshape(len(weights), samples, self.number_of_weights).sum(axis=1)
        parts = Gradients(of_weights, table[:, :columns], found.amplitudes)
        return self._shaped(parts, [given.shape for given in inputs])

    @cached_property
    def _each(self) -> Plan:
        # Weights that differ from sample to sample are data columns behind the others.
        turned = weights_as_data(self.circuit)
        return compile_circuit(turned, self.observables, amplitude_input=self.amplitude_input)

    def _flat(
        self, weights: tuple[int, ...], inputs: Sequence[Array]
    ) -> tuple[tuple[int, ...], Array | None, Array | None]:
        self.leading_shape(weights, [given.shape for given in inputs])
        lead = inputs[0].shape[:-1] if inputs else ()
        named = {
            name: given.reshape(math.prod(lead), given.shape[-1])
            for name, given in zip(self.inputs, inputs, strict=True)
        }
        if "data" in named:
            named["data"] = _doubles(named["data"])
        return lead, named.get("data"), named.get("amplitudes")

    def _rows_of(self, cotangent: Array) -> Array:
        return _doubles(cotangent.reshape(-1, self.number_of_readouts))

    def _rows(self, weights: Array, inputs: Sequence[Array]) -> tuple[int, Array | None, Array | None]:
        samples = inputs[0].shape[1] if inputs else 1
        _, data, amplitudes = self._flat(weights.shape[1:], inputs)
        rows = np.repeat(_doubles(weights), samples, axis=0)
        if data is not None:
            rows = np.concatenate((data, rows), axis=1)
        return samples, rows if rows.shape[1] else None, amplitudes

    def _shaped(self, found: Gradients, shapes: Sequence[tuple[int, ...]]) -> tuple[Any, ...]:
        named = {"data": found.data, "amplitudes": found.amplitudes}
        of_inputs = [named[name] for name in self.inputs]
        return (
            found.weights,
            *(None if one is None else one.reshape(shape) for one, shape in zip(of_inputs, shapes, strict=True)),
        )


def _doubles(given: Array) -> NDArray[np.float64]:
    # What the simulator computes with outside its states; in this type it takes an array without looking at it twice.
    return np.asarray(given, np.float64)


def _agree(one: Shape, other: Shape) -> bool:
    return len(one) == len(other) and all(
        left == right or left is None or right is None for left, right in zip(one, other, strict=True)
    )
