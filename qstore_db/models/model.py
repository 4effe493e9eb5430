"""What the trainer asks of a model, and the values that pass between them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.gradients.differentiation import ADJOINT, Differentiation
from qstore_db.gradients.value_source import ValueSource
from qstore_db.models.losses import Loss
from qstore_db.models.reduction import Reduction
from qstore_db.models.specification import ModelSpec
from qstore_db.simulation.plan import Plan

Parameters: TypeAlias = dict[str, NDArray[np.float64]]
"""Trainable arrays by name, all float64."""


@dataclass(frozen=True, slots=True)
class LossGradient:
    """A minibatch seen by a model.

    Args:
        loss: Mean of the loss over the minibatch.
        correct: How many rows the parameters classify rightly *before* any step is taken; ``None`` for a model without
            classes.
        gradients: Derivative of ``loss`` by each trainable array, float64. Arrays that are frozen are absent.
        circuits: How many circuits were evaluated: one a row for the readouts, and those that the gradient took. The
            adjoint sweep of the simulator takes none.
    """

    loss: float
    correct: int | None
    gradients: Parameters
    circuits: int


class Model(Protocol):
    """A function of rows and parameters, with the derivative of its loss: what every kind of model is for a trainer.

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

    @property
    def plan(self) -> Plan:
        """Its circuit and readouts, compiled."""
        ...

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of each parameter; ``circuit`` is one of them."""
        ...

    def initial_parameters(self, seed: int) -> Parameters:
        """Start values; the same seed gives the same bits."""
        ...

    def features(self, rows: ArrayLike) -> NDArray[np.float64]:
        """Rows as users store them, (B, d), reduced to what the circuit encodes, (B, width)."""
        ...

    def checked_targets(self, targets: ArrayLike | None, features: NDArray[np.float64]) -> NDArray[Any]:
        """Targets of a minibatch as a loss is given them."""
        ...

    def loss_and_gradient(
        self,
        parameters: Mapping[str, NDArray[np.float64]],
        rows: ArrayLike,
        targets: ArrayLike | None,
        *,
        loss: Loss | None = None,
    ) -> LossGradient:
        """Mean loss over a minibatch and its derivative by the trainable arrays; ``None``: the kind's default loss."""
        ...

    def loss_and_gradient_of_features(
        self,
        parameters: Mapping[str, NDArray[np.float64]],
        features: NDArray[np.float64],
        targets: ArrayLike | None,
        differentiation: Differentiation = ADJOINT,
        loss: Loss | None = None,
    ) -> LossGradient:
        """The same from features that the caller kept, the same bits; or with another gradient of the circuit."""
        ...

    def outputs_of_features(
        self,
        parameters: Mapping[str, NDArray[np.float64]],
        features: NDArray[np.float64],
        source: ValueSource | None = None,
    ) -> NDArray[np.float64]:
        """Outputs (B, K); each row's bits do not depend on the other rows; or with readouts from another source."""
        ...

    def without_gates(self, places: Collection[int]) -> Self:
        """The same model with a circuit that lacks the gates, without angles, at these places."""
        ...

    def count_correct(self, outputs: NDArray[np.float64], targets: NDArray[Any]) -> int | None:
        """How many rows are classified rightly; ``None`` for a model without classes."""
        ...

    def readouts(self, parameters: Mapping[str, NDArray[np.float64]], rows: ArrayLike) -> NDArray[np.float64]:
        """Expectation values of the circuit's observables, (B, M)."""
        ...

    def metric_of_features(
        self,
        parameters: Mapping[str, NDArray[np.float64]],
        features: NDArray[np.float64],
        source: ValueSource | None = None,
    ) -> tuple[NDArray[np.float64], int]:
        """The block-diagonal metric of the circuit's weights over a minibatch, and the circuits it took."""
        ...

    def exact_metric_of_features(
        self, parameters: Mapping[str, NDArray[np.float64]], features: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """The whole metric, (weights, weights), over a minibatch."""
        ...
