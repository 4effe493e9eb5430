"""A variational quantum classifier: encoding, circuit, readouts, linear head, softmax.

For a row x, reduced and encoded, the circuit with weights θ prepares |ψ(x, θ)⟩. Its readouts are expectation values of
Pauli strings, z_m = ⟨ψ|P_m|ψ⟩ ∈ [−1, 1]; the scores of the classes are u = 8 W z + b; the loss is the mean softmax
cross-entropy. The derivative by W and b is that of a linear layer; the derivative by θ is the simulator's adjoint sweep
with the cotangent ∂loss/∂z = 8 Wᵀ ∂loss/∂u, one sweep for all readouts. Other ways to differentiate the readouts get
the same cotangent: the chain rule goes through the loss, and no loss is ever shifted.

Not claimed: any advantage over a classical model. With amplitude encoding each readout is a quadratic form of the
normalised row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.circuits.ansatz.hardware_efficient import hardware_efficient
from qstore_db.circuits.circuit import Circuit
from qstore_db.circuits.encodings.angle import angle_encoding
from qstore_db.circuits.readouts import readout
from qstore_db.errors import EmptyDatasetError, InvalidModelError, InvalidVectorError
from qstore_db.gradients.block_metric import measured_block_metric
from qstore_db.gradients.differentiation import ADJOINT, Adjoint, Differentiation, NoGradient
from qstore_db.gradients.metric_tensor import batch_average, metric_tensor
from qstore_db.gradients.value_source import ValueSource
from qstore_db.models import linear_head
from qstore_db.models.losses import checked_labels, cross_entropy, cross_entropy_gradient, softmax
from qstore_db.models.model import LossGradient, Parameters
from qstore_db.models.reduction import Reduction
from qstore_db.models.specification import ModelSpec
from qstore_db.simulation.plan import Plan, compile_circuit

PREDICTION_ROWS = 256


@dataclass(frozen=True, slots=True)
class Classifier:
    """A model of kind ``"classifier"``: immutable, without parameters of its own, safe to use from several threads.

    Args:
        spec: What the model is.
        reduction: How its rows are shortened, fitted on training rows for the same specification.

    Raises:
        InvalidModelError: The reduction does not fit the specification.

    Example:
        >>> from qstore_db.models.reduction import fit_reduction
        >>> rows = np.array([[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0]])
        >>> spec = ModelSpec(qubits=2, classes=2, layers=1)
        >>> model = Classifier(spec, fit_reduction(spec, rows))
        >>> parameters = model.initial_parameters(seed=0)
        >>> round(model.loss_and_gradient(parameters, rows, [0, 1]).loss, 3)
        0.693
    """

    spec: ModelSpec
    reduction: Reduction
    plan: Plan = field(init=False, repr=False, compare=False)
    shapes: Mapping[str, tuple[int, ...]] = field(init=False, repr=False, compare=False)
    """Shape of each parameter: ``circuit`` (weights,), ``head_weights`` (K, M), ``head_bias`` (K,)."""

    def __post_init__(self) -> None:
        spec, width = self.spec, self.reduction.width
        if width > spec.capacity or (spec.encoding == "angle" and width != spec.qubits):
            raise InvalidModelError(
                f"The reduction gives {width} features, but {spec.encoding} encoding on {spec.qubits} qubits takes"
                f" {spec.capacity}",
                fix="Fit the reduction with the same specification.",
                value=width,
            )
        observables = readout(spec.readout, spec.qubits)
        circuit = _circuit(spec)
        shapes = {
            "circuit": (circuit.number_of_weights,),
            "head_weights": (spec.classes, len(observables)),
            "head_bias": (spec.classes,),
        }
        object.__setattr__(self, "shapes", shapes)
        object.__setattr__(
            self, "plan", compile_circuit(circuit, observables, amplitude_input=spec.encoding == "amplitude")
        )

    def initial_parameters(self, seed: int) -> Parameters:
        """Start values from ``numpy.random.default_rng(seed)``.

        ``circuit``: uniform in [−π, π), in the order of the ansatz's weights. ``head_weights`` and ``head_bias``: zero,
        so that the first loss is log K whatever the seed.
        """
        rng = np.random.default_rng(seed)
        return {
            "circuit": rng.uniform(-np.pi, np.pi, self.shapes["circuit"]),
            "head_weights": np.zeros(self.shapes["head_weights"]),
            "head_bias": np.zeros(self.shapes["head_bias"]),
        }

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
        self, parameters: Mapping[str, NDArray[np.float64]], rows: ArrayLike, labels: ArrayLike
    ) -> LossGradient:
        """Mean cross-entropy of a minibatch and its derivative.

        Args:
            parameters: As :meth:`initial_parameters`.
            rows: (B, reduction.dimension), B ≥ 1.
            labels: (B,), integers in 0 … K − 1.

        Returns:
            Gradients of ``head_weights`` and ``head_bias``, and of ``circuit`` unless the specification freezes it.

        Raises:
            EmptyDatasetError: There are no rows.
            InvalidLabelError: A label is no class, or their number is not that of the rows.
            InvalidModelError: A parameter is missing or of another shape.
            DimensionMismatchError: As :meth:`features`.
            InvalidVectorError: As :meth:`features`.
        """
        return self.loss_and_gradient_of_features(parameters, self.features(rows), labels)

    def loss_and_gradient_of_features(
        self,
        parameters: Mapping[str, NDArray[np.float64]],
        features: NDArray[np.float64],
        labels: ArrayLike,
        differentiation: Differentiation = ADJOINT,
    ) -> LossGradient:
        """As :meth:`loss_and_gradient`, from what :meth:`features` returned: the same bits.

        Args:
            parameters: As there.
            features: (B, reduction.width).
            labels: As there.
            differentiation: How the readouts are differentiated by the circuit's weights; nothing is, where the
                specification freezes the circuit.
        """
        self._check(parameters)
        if not len(features):
            raise EmptyDatasetError("The minibatch has no rows", fix="Give at least one row.", value=0)
        classes = checked_labels(labels, len(features), self.spec.classes)
        weights, bias = parameters["head_weights"], parameters["head_bias"]
        data, amplitudes = self._inputs(features)
        way = differentiation if self.spec.train_circuit or isinstance(differentiation, NoGradient) else NoGradient()
        if isinstance(way, Adjoint):
            return self._adjoint_step(parameters, data, amplitudes, classes)
        values, pullback = way.forward(self.plan, data, parameters["circuit"], amplitudes, self.spec.dtype)
        logits = linear_head.fast_scores(values, weights, bias)
        outer = cross_entropy_gradient(logits, classes)
        by_weights, by_bias, by_values = linear_head.gradients(values, weights, outer)
        gradients: Parameters = {"head_weights": by_weights, "head_bias": by_bias}
        of_circuit = pullback(by_values)
        if of_circuit.weights is not None:
            gradients["circuit"] = of_circuit.weights
        return LossGradient(
            loss=float(cross_entropy(logits, classes).mean()),
            correct=int(np.count_nonzero(logits.argmax(axis=1) == classes)),
            gradients=gradients,
            circuits=len(features) + of_circuit.circuits,
        )

    def _adjoint_step(
        self,
        parameters: Mapping[str, NDArray[np.float64]],
        data: NDArray[np.float64] | None,
        amplitudes: NDArray[np.float64] | None,
        classes: NDArray[np.int64],
    ) -> LossGradient:
        # The simulator computes head and loss between its sweeps: one call, and the states never leave the cache.
        step = self.plan.head_step(
            data,
            parameters["circuit"],
            amplitudes,
            matrix=linear_head.READOUT_SCALE * parameters["head_weights"],
            bias=parameters["head_bias"],
            labels=classes,
            dtype=self.spec.dtype,
        )
        return LossGradient(
            loss=step.loss,
            correct=step.correct,
            gradients={
                "head_weights": linear_head.READOUT_SCALE * step.matrix,
                "head_bias": step.bias,
                "circuit": step.weights,
            },
            circuits=len(classes),
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

    def logits(self, parameters: Mapping[str, NDArray[np.float64]], rows: ArrayLike) -> NDArray[np.float64]:
        """Scores of the classes.

        Args:
            parameters: As :meth:`initial_parameters`.
            rows: (B, reduction.dimension); B may be 0.

        Returns:
            (B, K). Equal parameters and an equal row give equal bits, whatever the other rows are.

        Raises:
            InvalidModelError: A parameter is missing or of another shape.
            DimensionMismatchError: As :meth:`features`.
            InvalidVectorError: As :meth:`features`.
        """
        return self.logits_of_features(parameters, self.features(rows))

    def logits_of_features(
        self,
        parameters: Mapping[str, NDArray[np.float64]],
        features: NDArray[np.float64],
        source: ValueSource | None = None,
    ) -> NDArray[np.float64]:
        """As :meth:`logits`, from what :meth:`features` returned: the same bits; or with readouts from elsewhere."""
        self._check(parameters)
        result = np.empty((len(features), self.spec.classes))
        for part in _parts(len(features)):
            values = self._readouts(parameters["circuit"], features[part], source)
            result[part] = linear_head.scores(values, parameters["head_weights"], parameters["head_bias"])
        return result

    def readouts(self, parameters: Mapping[str, NDArray[np.float64]], rows: ArrayLike) -> NDArray[np.float64]:
        """Expectation values of the circuit's observables, (B, M), in their order; the head is not applied.

        Equal parameters and an equal row give equal bits, whatever the other rows are. Raises as :meth:`logits`.
        """
        self._check(parameters)
        features = self.features(rows)
        result = np.empty((len(features), self.shapes["head_weights"][1]))
        for part in _parts(len(features)):
            result[part] = self._readouts(parameters["circuit"], features[part])
        return result

    def predict_proba(self, parameters: Mapping[str, NDArray[np.float64]], rows: ArrayLike) -> NDArray[np.float64]:
        """Softmax of :meth:`logits`, (B, K); each row sums to one within rounding. Raises as :meth:`logits`."""
        return softmax(self.logits(parameters, rows))

    def predict(self, parameters: Mapping[str, NDArray[np.float64]], rows: ArrayLike) -> NDArray[np.int64]:
        """Class of the largest score, (B,); the smallest class on a tie. Raises as :meth:`logits`."""
        classes: NDArray[np.int64] = self.logits(parameters, rows).argmax(axis=1).astype(np.int64)
        return classes

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


def _circuit(spec: ModelSpec) -> Circuit:
    ansatz = hardware_efficient(spec.qubits, spec.layers, rotations=spec.rotations, entanglement=spec.entanglement)
    return ansatz if spec.encoding == "amplitude" else angle_encoding(spec.qubits).compose(ansatz)


def _parts(rows: int) -> Iterator[slice]:
    return (slice(start, start + PREDICTION_ROWS) for start in range(0, rows, PREDICTION_ROWS))
