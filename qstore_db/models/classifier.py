"""A variational quantum classifier: encoding, circuit, readouts, linear head, softmax.

The scores of the classes are u = 8 W z + b with the readouts z, expectation values of Pauli strings in [−1, 1]; the
default loss is the mean softmax cross-entropy. See :mod:`qstore_db.models.circuit_model` for the derivative.

Not claimed: any advantage over a classical model. With amplitude encoding each readout is a quadratic form of the
normalised row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.gradients.value_source import ValueSource
from qstore_db.models import linear_head
from qstore_db.models.losses import Loss, checked_labels, cross_entropy_loss, softmax
from qstore_db.models.model import LossGradient
from qstore_db.models.readout_model import ReadoutModel


@dataclass(frozen=True, slots=True)
class Classifier(ReadoutModel):
    """A model of kind ``"classifier"``; parameters ``circuit``, ``head_weights`` (K, M), ``head_bias`` (K,).

    Args:
        spec: What the model is.
        reduction: How its rows are shortened, fitted on training rows for the same specification.

    Raises:
        InvalidModelError: The reduction does not fit the specification.

    Example:
        >>> from qstore_db.models.reduction import fit_reduction
        >>> from qstore_db.models.specification import ModelSpec
        >>> rows = np.array([[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0]])
        >>> spec = ModelSpec(qubits=2, classes=2, layers=1)
        >>> model = Classifier(spec, fit_reduction(spec, rows))
        >>> parameters = model.initial_parameters(seed=0)
        >>> round(model.loss_and_gradient(parameters, rows, [0, 1]).loss, 3)
        0.693
    """

    def checked_targets(self, targets: ArrayLike | None, features: NDArray[np.float64]) -> NDArray[np.int64]:
        """Classes as int64 (B,).

        Raises:
            InvalidLabelError: A label is no integer from 0 to K − 1, or their number is not that of the rows.
        """
        return checked_labels(() if targets is None else targets, len(features), self.spec.width)

    def count_correct(self, outputs: NDArray[np.float64], targets: NDArray[Any]) -> int:
        """How many rows have the largest score at their class; the smallest class on a tie."""
        return int(np.count_nonzero(outputs.argmax(axis=1) == targets))

    def _one_sweep(
        self,
        parameters: Mapping[str, NDArray[np.float64]],
        data: NDArray[np.float64] | None,
        amplitudes: NDArray[np.float64] | None,
        targets: NDArray[Any],
        loss: Loss,
    ) -> LossGradient | None:
        # The simulator computes head and loss between its sweeps: one call, and the states never leave the cache.
        if loss is not cross_entropy_loss:
            return None
        step = self.plan.head_step(
            data,
            parameters["circuit"],
            amplitudes,
            matrix=linear_head.READOUT_SCALE * parameters["head_weights"],
            bias=parameters["head_bias"],
            labels=targets,
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
            circuits=len(targets),
        )

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
        return self.outputs_of_features(parameters, features, source)

    def predict_proba(self, parameters: Mapping[str, NDArray[np.float64]], rows: ArrayLike) -> NDArray[np.float64]:
        """Softmax of :meth:`logits`, (B, K); each row sums to one within rounding. Raises as :meth:`logits`.

        Only cross-entropy makes them estimates of probabilities; after ``mse`` or ``hinge`` they are not calibrated.
        """
        return softmax(self.logits(parameters, rows))

    def predict(self, parameters: Mapping[str, NDArray[np.float64]], rows: ArrayLike) -> NDArray[np.int64]:
        """Class of the largest score, (B,); the smallest class on a tie. Raises as :meth:`logits`."""
        classes: NDArray[np.int64] = self.logits(parameters, rows).argmax(axis=1).astype(np.int64)
        return classes
