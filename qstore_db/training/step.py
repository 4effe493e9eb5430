"""One step of training as a pure function of a state and a minibatch."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qstore_db.gradients.choice import Choice
from qstore_db.gradients.value_source import ValueSource
from qstore_db.models.model import LossGradient, Model
from qstore_db.optimizers.optimizer import Arrays
from qstore_db.training.best_epoch import BestEpoch
from qstore_db.training.decision_log import Decided
from qstore_db.training.gradient_facts import GradientFacts
from qstore_db.training.gradient_log import GradientLog
from qstore_db.training.recipe import CIRCUIT, Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochSums:
    """What an epoch has added up so far.

    Args:
        steps: Steps taken.
        rows: Rows trained on.
        loss: Σ of each row's loss, under the parameters before its step.
        correct: Rows classified rightly under those parameters; ``None`` for a model without classes.
        circuits: Circuits evaluated.
        seconds: Time spent in steps.
        dollars: Cost of the jobs whose results they used.
    """

    steps: int = 0
    rows: int = 0
    loss: float = 0.0
    correct: int | None = 0
    circuits: int = 0
    seconds: float = 0.0
    dollars: float = 0.0


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
        best: The best epoch so far, where the options keep it.
        decisions: What the run decided between epochs.
    """

    parameters: Arrays
    optimizer_state: Arrays
    epoch: int = 1
    sums: EpochSums = field(default_factory=EpochSums)
    steps: int = 0
    circuits: int = 0
    seconds: float = 0.0
    gradient_log: GradientLog = field(default_factory=GradientLog)
    best: BestEpoch | None = None
    decisions: tuple[Decided, ...] = ()


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step found before it moved the parameters.

    Args:
        loss: Mean over the minibatch.
        correct: Rows classified rightly; ``None`` for a model without classes.
        gradient: Numbers of the gradient of all trained parameters.
        circuits: Circuits evaluated.
    """

    loss: float
    correct: int | None
    gradient: GradientFacts
    circuits: int

    @property
    def is_finite(self) -> bool:
        """Whether loss and gradient are numbers."""
        return math.isfinite(self.loss) and math.isfinite(self.gradient.norm)


def start(model: Model, recipe: Recipe, parameters: Arrays | None = None) -> TrainState:
    """The state before the first step: fresh parameters from the run's seed, unless some are given."""
    if parameters is None:
        parameters = recipe.begun(model.initial_parameters(recipe.options.seed))
    return TrainState(parameters=parameters, optimizer_state=recipe.optimizer.init(parameters))


def advance(
    model: Model,
    recipe: Recipe,
    state: TrainState,
    features: NDArray[np.float64],
    targets: NDArray[Any] | None,
) -> tuple[TrainState, StepResult]:
    """Take one step.

    Args:
        model: The model.
        recipe: How gradients are taken and become steps.
        state: Before the step; it is not changed.
        features: What ``model.features`` made of the minibatch, (B, width).
        targets: Of those rows, as the model takes them.

    Returns:
        The state after the step and what the step found. Time is not counted: see :func:`timed`.
    """
    recipe = recipe.at_epoch(state.epoch)
    model = recipe.thinned(model, state.steps)
    found, choice, log, source = _measured(model, recipe, state, features, targets)
    gradients = found.gradients
    facts = GradientFacts.of(gradients, model.spec.layers)
    if math.isfinite(facts.norm):
        taken = gradients.get(CIRCUIT)
        gradients, more = recipe.preconditioned(model, state.parameters, features, gradients, choice, source)
        if choice is not None and choice.method != "adjoint" and taken is not None:
            square = float(np.vdot(taken, taken))
            log = log.after(loss=found.loss, gradient_square=square, circuits=found.circuits + more)
    else:
        more = 0  # nothing to go on with: the caller stops the run
    circuits = found.circuits + more
    result = StepResult(found.loss, found.correct, facts, circuits)
    parameters, optimizer_state = recipe.optimizer.update(gradients, state.optimizer_state, state.parameters)
    rows = len(features)
    sums = replace(
        state.sums,
        steps=state.sums.steps + 1,
        rows=state.sums.rows + rows,
        loss=state.sums.loss + found.loss * rows,
        correct=None if found.correct is None else (state.sums.correct or 0) + found.correct,
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


def measured_gradient(
    model: Model,
    recipe: Recipe,
    state: TrainState,
    features: NDArray[np.float64],
    targets: NDArray[Any] | None,
) -> LossGradient:
    """The gradient that the next step takes, before clipping and direction, without what is frozen; nothing moves.

    Arguments as for :func:`advance`.
    """
    recipe = recipe.at_epoch(state.epoch)
    return _measured(recipe.thinned(model, state.steps), recipe, state, features, targets)[0]


def _measured(
    model: Model,
    recipe: Recipe,
    state: TrainState,
    features: NDArray[np.float64],
    targets: NDArray[Any] | None,
) -> tuple[LossGradient, Choice | None, GradientLog, ValueSource | None]:
    # Of the model and recipe of this step; what ``auto`` chose, the log with that, and where values came from, too.
    choice, log = recipe.chosen(state.gradient_log)
    source = recipe.step_source(state.steps)
    way = recipe.differentiation(state.steps, choice, source)
    found = recipe.gradient(model, state.parameters, features, targets, way)
    if recipe.frozen is not None:
        found = replace(found, gradients=recipe.trained_part(found.gradients))
    return found, choice, log, source


def timed(state: TrainState, seconds: float, dollars: float | None = None) -> TrainState:
    """The state with the time of a step, and with its cost where it has one, added to its epoch."""
    sums = state.sums
    added = replace(sums, seconds=sums.seconds + seconds, dollars=sums.dollars + (dollars or 0.0))
    return replace(state, sums=added)


def next_epoch(
    state: TrainState,
    *,
    optimizer_state: Arrays,
    circuits: int,
    seconds: float,
    best: BestEpoch | None,
    decisions: Iterable[Decided] = (),
) -> TrainState:
    """The state at the start of the next epoch.

    Args:
        state: After the last step of an epoch.
        optimizer_state: Of the optimizer, once it has seen the loss of the epoch.
        circuits: What its validation evaluated.
        seconds: Of the whole epoch, validation included.
        best: The best epoch so far.
        decisions: What was decided at its end.
    """
    return replace(
        state,
        epoch=state.epoch + 1,
        optimizer_state=optimizer_state,
        sums=EpochSums(),
        circuits=state.circuits + circuits,
        seconds=state.seconds + seconds,
        best=best,
        decisions=(*state.decisions, *decisions),
    )
