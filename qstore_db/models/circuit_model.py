"""What every model of one trained circuit shares: encoding, circuit, readouts, and the chain rule through a loss.

For a row x, reduced and encoded, the circuit with weights θ prepares |ψ(x, θ)⟩. Its readouts are expectation values
z_m = ⟨ψ|O_m|ψ⟩; a head makes outputs u of them; the loss is a function of outputs and targets. The derivative by θ is
the simulator's adjoint sweep with the cotangent ∂loss/∂z, one sweep for all readouts. Other ways to differentiate the
readouts get the same cotangent: the chain rule goes through the loss, and no loss is ever shifted.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.encodings.angle import angle_encoding
from qstore_db.circuits.observables import Observable
from qstore_db.errors import EmptyDatasetError, InvalidModelError, InvalidVectorError
from qstore_db.gradients.block_metric import measured_block_metric
from qstore_db.gradients.differentiation import ADJOINT, Adjoint, Differentiation, NoGradient
from qstore_db.gradients.metric_tensor import batch_average, metric_tensor
from qstore_db.gradients.value_source import ValueSource
from qstore_db.models.losses import Loss, checked_values, default_loss
from qstore_db.models.model import LossGradient, Parameters
from qstore_db.models.reduction import Reduction
from qstore_db.models.specification import ModelSpec
from qstore_db.simulation.plan import Plan, compile_circuit

PREDICTION_ROWS = 256


@dataclass(frozen=True, slots=True)
class CircuitModel(ABC):
    """Immutable, without parameters of its own, safe to use from several threads; see :mod:`qstore_db.models.model`.

    Args:
        spec: What the model is.
        reduction: How its rows are shortened, fitted on training rows for the same specification.

    Raises:
        InvalidModelError: The reduction does not fit the specification.
    """

    spec: ModelSpec
    reduction: Reduction
    plan: Plan = field(init=False, repr=False, compare=False)
    shapes: Mapping[str, tuple[int, ...]] = field(init=False, repr=False, compare=False)
    """Shape of each parameter: ``circuit`` (weights,), and those of the head."""

    def __post_init__(self) -> None:
        spec, width = self.spec, self.reduction.width
        if width > spec.capacity or (spec.encoding == "angle" and width != spec.qubits):
            raise InvalidModelError(
                f"The reduction gives {width} features, but {spec.encoding} encoding on {spec.qubits} qubits takes"
                f" {spec.capacity}",
                fix="Fit the reduction with the same specification.",
                value=width,
            )
        observables = self._observables()
        circuit = circuit_of(spec)
        shapes = {"circuit": (circuit.number_of_weights,), **self._head_shapes(len(observables))}
        object.__setattr__(self, "shapes", shapes)
        object.__setattr__(
            self, "plan", compile_circuit(circuit, observables, amplitude_input=spec.encoding == "amplitude")
        )

    # -- what a kind of model says -----------------------------------------------------------------------------------

    @abstractmethod
    def _observables(self) -> tuple[Observable, ...]:
        """The readouts, in their order."""

    @abstractmethod
    def _head_shapes(self, readouts: int) -> Mapping[str, tuple[int, ...]]:
        """Shapes of the parameters that are not the circuit's."""

    @abstractmethod
    def _head(
        self, parameters: Mapping[str, NDArray[np.float64]], values: NDArray[np.float64], *, training: bool
    ) -> NDArray[np.float64]:
        """Outputs (B, K) of readouts (B, M); outside of training a row's bits must not depend on the other rows."""

    @abstractmethod
    def _head_gradients(
        self,
        parameters: Mapping[str, NDArray[np.float64]],
        values: NDArray[np.float64],
        outer: NDArray[np.float64],
    ) -> tuple[Parameters, NDArray[np.float64]]:
        """From the derivative (B, K) by the outputs: those by the head's parameters, and that by the readouts."""

    @abstractmethod
    def checked_targets(self, targets: ArrayLike | None, features: NDArray[np.float64]) -> NDArray[Any]:
        """The targets of rows as a loss is given them; see :class:`qstore_db.models.losses.Loss`."""

    def count_correct(self, outputs: NDArray[np.float64], targets: NDArray[Any]) -> int | None:
        """How many rows are classified rightly; ``None`` where a model has no classes."""
        return None

    def _one_sweep(
        self,
        parameters: Mapping[str, NDArray[np.float64]],
        data: NDArray[np.float64] | None,
        amplitudes: NDArray[np.float64] | None,
        targets: NDArray[Any],
        loss: Loss,
    ) -> LossGradient | None:
        """Loss and adjoint gradient in one call of the simulator, where it knows the loss."""
        return None

    def without_gates(self, places: Collection[int]) -> Self:
        """The same model with a circuit that lacks the gates at these places; parameters keep their shapes.

        Args:
            places: Positions in the circuit's operations, of gates without angles.

        Raises:
            InvalidModelError: A place is that of no gate, or of one with angles.
        """
        circuit = self.plan.circuit
        for place in places:
            if not 0 <= place < len(circuit.operations) or circuit.operations[place].angles:
                raise InvalidModelError(
                    f"Gate {place} of the circuit is not there, or has angles",
                    fix="Name gates without angles by their place.",
                    value=place,
                )
        kept = tuple(gate for place, gate in enumerate(circuit.operations) if place not in places)
        thinned = copy.copy(self)
        plan = compile_circuit(
            Circuit(circuit.n_qubits, kept), self.plan.observables, amplitude_input=self.plan.amplitude_input
        )
        object.__setattr__(thinned, "plan", plan)
        return thinned

    # -- what all have -------------------------------------------------------------------------------------------------

    def initial_parameters(self, seed: int) -> Parameters:
        """Start values from ``numpy.random.default_rng(seed)``.

        ``circuit``: uniform in [−π, π), in the order of the ansatz's weights. The head's are zero, so that the first
        loss does not depend on the seed.
        """
        rng = np.random.default_rng(seed)
        start = {"circuit": rng.uniform(-np.pi, np.pi, self.shapes["circuit"])}
        return start | {name: np.zeros(shape) for name, shape in self.shapes.items() if name != "circuit"}

    def features(self, rows: ArrayLike) -> NDArray[np.float64]:
        """What the circuit encodes: the reduced rows, before padding and normalising.

        Pure and independent of the parameters, so that a caller may keep them; a row's bits do not depend on the other
        rows.

        Args:
            rows: As users store them, (B, reduction.dimension).

        Returns:
            (B, reduction.width).

        Raises:
            DimensionMismatchError: The rows have another length.
            InvalidVectorError: A row is not finite, or has no direction for amplitude encoding; the message names it.
        """
        features = self.reduction.apply(rows)
        if self.spec.encoding == "amplitude":
            zero = np.flatnonzero(~features.any(axis=1))
            if zero.size:
                after = f" after reduce = {self.spec.reduce!r}" if self.spec.reduce else ""
                raise InvalidVectorError(
                    f"Row {int(zero[0])} is zero{after}, so it has no direction and cannot become amplitudes",
                    fix="Remove the row, or use encoding = 'angle'.",
                    value=int(zero[0]),
                )
        return features

    def loss_and_gradient(
        self,
        parameters: Mapping[str, NDArray[np.float64]],
        rows: ArrayLike,
        targets: ArrayLike | None,
        *,
        loss: Loss | None = None,
    ) -> LossGradient:
        """Mean loss of a minibatch and its derivative.

        Args:
            parameters: As :meth:`initial_parameters`.
            rows: (B, reduction.dimension), B ≥ 1.
            targets: Of the rows, as the kind of model takes them: classes (B,), numbers (B, outputs), or ``None``.
            loss: ``None`` for the kind's default.

        Returns:
            Gradients of the head, and of ``circuit`` unless the specification freezes it.

        Raises:
            EmptyDatasetError: There are no rows.
            InvalidLabelError: A label is no class, or their number is not that of the rows.
            InvalidTargetError: A target is no finite number, or of another length.
            InvalidModelError: A parameter is missing or of another shape.
            InvalidArgumentError: The loss returned something else than a loss does.
            DimensionMismatchError: As :meth:`features`.
            InvalidVectorError: As :meth:`features`.
        """
        return self.loss_and_gradient_of_features(parameters, self.features(rows), targets, loss=loss)

    def loss_and_gradient_of_features(
        self,
        parameters: Mapping[str, NDArray[np.float64]],
        features: NDArray[np.float64],
        targets: ArrayLike | None,
        differentiation: Differentiation = ADJOINT,
        loss: Loss | None = None,
    ) -> LossGradient:
        """As :meth:`loss_and_gradient`, from what :meth:`features` returned: the same bits.

        Args:
            parameters: As there.
            features: (B, reduction.width).
            targets: As there.
            differentiation: How the readouts are differentiated by the circuit's weights; nothing is, where the
                specification freezes the circuit.
            loss: As there.
        """
        self._check(parameters)
        if not len(features):
            raise EmptyDatasetError("The minibatch has no rows", fix="Give at least one row.", value=0)
        wanted = self.checked_targets(targets, features)
        chosen = default_loss(self.spec.kind) if loss is None else loss
        data, amplitudes = self._inputs(features)
        way = differentiation if self.spec.train_circuit or isinstance(differentiation, NoGradient) else NoGradient()
        if isinstance(way, Adjoint):
            found = self._one_sweep(parameters, data, amplitudes, wanted, chosen)
            if found is not None:
                return found
        values, pullback = way.forward(self.plan, data, parameters["circuit"], amplitudes, self.spec.dtype)
        outputs = self._head(parameters, values, training=True)
        losses, derivative = checked_values(chosen(outputs, wanted), *outputs.shape)
        gradients, by_values = self._head_gradients(parameters, values, derivative / len(losses))
        of_circuit = pullback(by_values)
        if of_circuit.weights is not None:
            gradients["circuit"] = of_circuit.weights
        return LossGradient(
            loss=float(losses.mean()),
            correct=self.count_correct(outputs, wanted),
            gradients=gradients,
            circuits=len(features) + of_circuit.circuits,
        )

    def metric_of_features(
        self,
        parameters: Mapping[str, NDArray[np.float64]],
        features: NDArray[np.float64],
        source: ValueSource | None = None,
    ) -> tuple[NDArray[np.float64], int]:
        """The block-diagonal Fubini–Study metric of the circuit's weights, averaged over rows.

        Args:
            parameters: As :meth:`initial_parameters`.
            features: What :meth:`features` returned, (B, reduction.width), B ≥ 1.
            source: Where expectation values come from; the exact simulator if ``None``.

        Returns:
            (weights, weights), and how many circuits it took: see :mod:`qstore_db.gradients.block_metric`.

        Raises:
            InvalidModelError: A parameter is missing or of another shape.
        """
        self._check(parameters)
        data, amplitudes = self._inputs(features)
        metric, circuits = measured_block_metric(
            self.plan.circuit, parameters["circuit"], data, amplitudes, dtype=self.spec.dtype, source=source
        )
        return batch_average(metric), circuits

    def exact_metric_of_features(
        self, parameters: Mapping[str, NDArray[np.float64]], features: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """The whole metric, (weights, weights), averaged over rows: see :mod:`qstore_db.gradients.metric_tensor`.

        Args and errors as for :meth:`metric_of_features`.

        Raises:
            NotEnoughMemoryError: The derivatives of all states do not fit.
        """
        self._check(parameters)
        data, amplitudes = self._inputs(features)
        return batch_average(metric_tensor(self.plan.circuit, parameters["circuit"], data, amplitudes))

    def outputs_of_features(
        self,
        parameters: Mapping[str, NDArray[np.float64]],
        features: NDArray[np.float64],
        source: ValueSource | None = None,
    ) -> NDArray[np.float64]:
        """Outputs of the head, (B, K), from what :meth:`features` returned.

        Equal parameters and an equal row give equal bits, whatever the other rows are.

        Args:
            parameters: As :meth:`initial_parameters`.
            features: (B, reduction.width); B may be 0.
            source: Where readouts come from; the exact simulator if ``None``.

        Raises:
            InvalidModelError: A parameter is missing or of another shape.
        """
        self._check(parameters)
        result = np.empty((len(features), self.spec.width))
        for part in _parts(len(features)):
            values = self._readouts(parameters["circuit"], features[part], source)
            result[part] = self._head(parameters, values, training=False)
        return result

    def readouts(self, parameters: Mapping[str, NDArray[np.float64]], rows: ArrayLike) -> NDArray[np.float64]:
        """Expectation values of the circuit's observables, (B, M), in their order; the head is not applied.

        Equal parameters and an equal row give equal bits, whatever the other rows are.

        Raises:
            InvalidModelError: A parameter is missing or of another shape.
            DimensionMismatchError: As :meth:`features`.
            InvalidVectorError: As :meth:`features`.
        """
        self._check(parameters)
        features = self.features(rows)
        result = np.empty((len(features), self.plan.number_of_readouts))
        for part in _parts(len(features)):
            result[part] = self._readouts(parameters["circuit"], features[part])
        return result

    def _inputs(self, features: NDArray[np.float64]) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
        return (None, features) if self.spec.encoding == "amplitude" else (features, None)

    def _readouts(
        self, weights: NDArray[np.float64], features: NDArray[np.float64], source: ValueSource | None = None
    ) -> NDArray[np.float64]:
        data, amplitudes = self._inputs(features)
        if source is not None:
            plan = self.plan
            found = source.expectations(plan.circuit, plan.observables, weights[None], data, amplitudes)
            values: NDArray[np.float64] = found[0]
            return values
        return self.plan.expectations(data, weights, amplitudes, dtype=self.spec.dtype)

    def _check(self, parameters: Mapping[str, NDArray[np.float64]]) -> None:
        for name, shape in self.shapes.items():
            if name not in parameters:
                raise InvalidModelError(
                    f"The parameter {name!r} is missing", fix="Give what initial_parameters returns.", value=name
                )
            if parameters[name].shape != shape:
                raise InvalidModelError(
                    f"The parameter {name!r} has shape {parameters[name].shape} instead of {shape}",
                    fix="Give the parameters of a model with the same specification.",
                    value=parameters[name].shape,
                )


def circuit_of(spec: ModelSpec) -> Circuit:
    """The circuit of a specification: the encoding of a row, where it is by angles, and the ansatz."""
    ansatz = hardware_efficient(spec.qubits, spec.layers, rotations=spec.rotations, entanglement=spec.entanglement)
    return ansatz if spec.encoding == "amplitude" else angle_encoding(spec.qubits).compose(ansatz)


def _parts(rows: int) -> Iterator[slice]:
    return (slice(start, start + PREDICTION_ROWS) for start in range(0, rows, PREDICTION_ROWS))
