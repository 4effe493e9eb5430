"""What the trainer asks of a model, and the values that pass between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.gradients.differentiation import ADJOINT, Differentiation
from qstore_db.gradients.value_source import ValueSource
from qstore_db.models.reduction import Reduction
from qstore_db.models.specification import ModelSpec

Parameters: TypeAlias = dict[str, NDArray[np.float64]]
"""Trainable arrays by name, all float64."""


@dataclass(frozen=True, slots=True)
class LossGradient:
    """A minibatch seen by a model.

    Args:
        loss: Mean of the loss over the minibatch.
        correct: How many rows the parameters classify rightly *before* any step is taken.
        gradients: Derivative of ``loss`` by each trainable array, float64. Arrays that are frozen are absent.
        circuits: How many circuits were evaluated: one a row for the readouts, and those that the gradient took. The
            adjoint sweep of the simulator takes none.
    """

    loss: float
    correct: int
    gradients: Parameters
    circuits: int


class Model(Protocol):
    """A function of rows and parameters, with the derivative of its loss.

    An implementation is immutable, keeps no parameters, and may be used from several threads.
    """

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        ...

    @property
    def reduction(self) -> Reduction:
        """How its rows are shortened; fitted on training rows."""
        ...

    def initial_parameters(self, seed: int) -> Parameters:
        """Start values; the same seed gives the same bits."""
        ...

    def features(self, rows: ArrayLike) -> NDArray[np.float64]:
        """Rows as users store them, (B, d), reduced to what the circuit encodes, (B, width)."""
        ...

    def loss_and_gradient(
        self, parameters: Mapping[str, NDArray[np.float64]], rows: ArrayLike, labels: ArrayLike
    ) -> LossGradient:
        """Mean loss over a minibatch and its derivative by the trainable arrays."""
        ...

    def loss_and_gradient_of_features(
        self,
        parameters: Mapping[str, NDArray[np.float64]],
        features: NDArray[np.float64],
        labels: ArrayLike,
        differentiation: Differentiation = ADJOINT,
    ) -> LossGradient:
        """The same from features that the caller kept, the same bits; or with another gradient of the circuit."""
        ...

    def logits(self, parameters: Mapping[str, NDArray[np.float64]], rows: ArrayLike) -> NDArray[np.float64]:
        """Scores of the classes, (B, K); each row's bits do not depend on the other rows."""
        ...

    def logits_of_features(
        self,
        parameters: Mapping[str, NDArray[np.float64]],
        features: NDArray[np.float64],
        source: ValueSource | None = None,
    ) -> NDArray[np.float64]:
        """The same from features that the caller kept, the same bits; or with readouts from another source."""
        ...

    def predict_proba(self, parameters: Mapping[str, NDArray[np.float64]], rows: ArrayLike) -> NDArray[np.float64]:
        """Probabilities of the classes, (B, K); each row sums to one."""
        ...

    def predict(self, parameters: Mapping[str, NDArray[np.float64]], rows: ArrayLike) -> NDArray[np.int64]:
        """The most probable class of each row, (B,); the smallest class on a tie."""
        ...
