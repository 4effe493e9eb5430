"""One step of training as a pure function of a state and a minibatch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from qstore_db.models.classifier import Classifier
from qstore_db.optimizers.clipping import global_norm
from qstore_db.optimizers.optimizer import Arrays, Optimizer
from qstore_db.training.gradient_log import GradientLog
from qstore_db.training.recipe import CIRCUIT, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochSums:
    """What an epoch has added up so far.

    Args:
        steps: Steps taken.
        rows: Rows trained on.
        loss: Σ of each row's loss, under the parameters before its step.
        correct: Rows classified rightly under those parameters.
        circuits: Circuits evaluated.
        seconds: Time spent in steps.
    """

    steps: int = 0
    rows: int = 0
    loss: float = 0.0
    correct: int = 0
    circuits: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainState:
    """All that changes while a run trains; a checkpoint holds it whole.

    No generator is in it: every random number of a run is drawn from the run's seed and the number of an epoch.

    Args:
        parameters: Of the model.
        optimizer_state: Of the optimizer.
        epoch: The epoch that the next step belongs to, from 1; one more than the run's epochs when all is done.
        sums: Of that epoch.
        steps: Steps taken in the whole run.
        circuits: Circuits evaluated in the whole run.
        seconds: Time spent in finished epochs.
        gradient_log: What the automatic choice of gradients saw and decided.
    """

    parameters: Arrays
    optimizer_state: Arrays
    epoch: int = 1
    sums: EpochSums = field(default_factory=EpochSums)
    steps: int = 0
    circuits: int = 0
    seconds: float = 0.0
    gradient_log: GradientLog = field(default_factory=GradientLog)


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step found before it moved the parameters.

    Args:
        loss: Mean over the minibatch.
        correct: Rows classified rightly.
        gradient_norm: Euclidean norm over all trained parameters.
        circuits: Circuits evaluated.
    """

    loss: float
    correct: int
    gradient_norm: float
    circuits: int

    @property
    def is_finite(self) -> bool:
        """Whether loss and gradient are numbers."""
        return math.isfinite(self.loss) and math.isfinite(self.gradient_norm)


def start(classifier: Classifier, optimizer: Optimizer, seed: int, parameters: Arrays | None = None) -> TrainState:
    """The state before the first step: fresh parameters from the seed, unless some are given."""
    if parameters is None:
        parameters = classifier.initial_parameters(seed)
    return TrainState(parameters=parameters, optimizer_state=optimizer.init(parameters))


def advance(
    classifier: Classifier,
    recipe: Recipe,
    state: TrainState,
    features: NDArray[np.float64],
    labels: NDArray[np.int64],
) -> tuple[TrainState, StepResult]:
    """Take one step.

    Args:
        classifier: The model.
        recipe: How gradients are taken and become steps.
        state: Before the step; it is not changed.
        features: What ``classifier.features`` made of the minibatch, (B, width).
        labels: (B,).

    Returns:
        The state after the step and what the step found. Time is not counted: see :func:`timed`.
    """
    choice, log = recipe.chosen(state.gradient_log)
    source = recipe.step_source(state.steps)
    way = recipe.differentiation(state.steps, choice, source)
    found = classifier.loss_and_gradient_of_features(state.parameters, features, labels, way)
    gradients = recipe.trained_part(found.gradients)
    norm = global_norm(gradients)
    if math.isfinite(norm):
        taken = gradients.get(CIRCUIT)
        gradients, more = recipe.preconditioned(classifier, state.parameters, features, gradients, choice, source)
        if choice is not None and choice.method != "adjoint" and taken is not None:
            square = float(np.vdot(taken, taken))
            log = log.after(loss=found.loss, gradient_square=square, circuits=found.circuits + more)
    else:
        more = 0  # nothing to go on with: the caller stops the run
    circuits = found.circuits + more
    result = StepResult(found.loss, found.correct, norm, circuits)
    parameters, optimizer_state = recipe.optimizer.update(gradients, state.optimizer_state, state.parameters)
    rows = len(labels)
    sums = replace(
        state.sums,
        steps=state.sums.steps + 1,
        rows=state.sums.rows + rows,
        loss=state.sums.loss + found.loss * rows,
        correct=state.sums.correct + found.correct,
        circuits=state.sums.circuits + circuits,
    )
    moved = replace(
        state,
        parameters=parameters,
        optimizer_state=optimizer_state,
        sums=sums,
        steps=state.steps + 1,
        circuits=state.circuits + circuits,
        gradient_log=log,
    )
    return moved, result


def timed(state: TrainState, seconds: float) -> TrainState:
    """The state with the time of a step added to its epoch."""
    return replace(state, sums=replace(state.sums, seconds=state.sums.seconds + seconds))


def next_epoch(state: TrainState, *, optimizer_state: Arrays, circuits: int, seconds: float) -> TrainState:
    """The state at the start of the next epoch.

    Args:
        state: After the last step of an epoch.
        optimizer_state: Of the optimizer, once it has seen the loss of the epoch.
        circuits: What its validation evaluated.
        seconds: Of the whole epoch, validation included.
    """
    return replace(
        state,
        epoch=state.epoch + 1,
        optimizer_state=optimizer_state,
        sums=EpochSums(),
        circuits=state.circuits + circuits,
        seconds=state.seconds + seconds,
    )
