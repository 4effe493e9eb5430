"""What the options of a run mean for its model: which gradient, which steps, which weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import InvalidArgumentError
from qstore_db.gradients.differentiation import ADJOINT, Differentiation, NoGradient, Rule, Shifted, Simultaneous
from qstore_db.models.classifier import Classifier
from qstore_db.optimizers.chain import chain
from qstore_db.optimizers.clipping import ClipByGlobalNorm, ClipByValue
from qstore_db.optimizers.descent import Descent
from qstore_db.optimizers.freezing import Freeze, Selection, parse_selection, trained_masks
from qstore_db.optimizers.named import direction_named, schedule_named
from qstore_db.optimizers.natural import natural_direction
from qstore_db.optimizers.optimizer import Arrays, Transformation
from qstore_db.optimizers.plateau import Plateau
from qstore_db.optimizers.schedules import Schedule
from qstore_db.training.options import DAMPING, DECAYS, PATIENCE, SPSA_DIRECTIONS, SPSA_STEP, TrainingOptions

CIRCUIT: Final = "circuit"
_RULES: Final[Mapping[str, Rule]] = {
    "parameter_shift": "parameter_shift",
    "finite_difference": "finite_difference",
}


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """How gradients are taken and become steps.

    Args:
        options: Of the run.
        optimizer: Turns gradients into steps.
        frozen: Takes frozen weights out of gradients; ``None`` where none are.
        trained: Numbers of the circuit's weights that train; ``None`` for all.
    """

    options: TrainingOptions
    optimizer: Descent
    frozen: Freeze | None
    trained: tuple[int, ...] | None

    def differentiation(self, step: int) -> Differentiation:
        """How the circuit is differentiated in the step before which ``step`` steps were taken."""
        options = self.options
        if self.trained == ():
            return NoGradient()
        if options.gradient in _RULES:
            return Shifted(_RULES[options.gradient], self.trained)
        if options.gradient == "spsa":
            return Simultaneous(
                seed=options.seed,
                number=step,
                directions=options.spsa_directions or SPSA_DIRECTIONS,
                step=options.spsa_step or SPSA_STEP,
                trained=self.trained,
            )
        return ADJOINT  # "auto" too: the local simulator always allows it

    def trained_part(self, gradients: Mapping[str, NDArray[np.float64]]) -> Arrays:
        """Gradients without what is frozen."""
        return dict(gradients) if self.frozen is None else self.frozen.masked(gradients)

    def preconditioned(
        self,
        classifier: Classifier,
        parameters: Mapping[str, NDArray[np.float64]],
        features: NDArray[np.float64],
        gradients: Arrays,
    ) -> tuple[Arrays, int]:
        """Gradients with that of the circuit made natural where the options ask for it, and the circuits it took."""
        if self.options.optimizer != "natural":
            return gradients, 0
        metric, circuits = classifier.metric_of_features(parameters, features)
        damping = DAMPING if self.options.damping is None else self.options.damping
        mask = None if self.frozen is None else self.frozen.trained.get(CIRCUIT)
        natural = natural_direction(gradients[CIRCUIT], metric, damping=damping, trained=mask)
        return {**gradients, CIRCUIT: natural}, circuits


def recipe_for(options: TrainingOptions, classifier: Classifier, rows: int) -> Recipe:
    """The recipe of a run.

    Args:
        options: Of the run.
        classifier: The model.
        rows: It is trained on.

    Raises:
        InvalidArgumentError: Weights that are to be frozen are not there, the options leave nothing to train that they
            need, or the warm-up lasts to the end of the run or beyond.
    """
    masks = _masks(options, classifier)
    trained = None if masks is None else tuple(np.flatnonzero(masks[CIRCUIT]).tolist())
    trains_circuit = classifier.spec.train_circuit and trained != ()
    if options.optimizer == "natural" and not trains_circuit:
        raise InvalidArgumentError(
            "The optimizer 'natural' needs a circuit that trains, and all its weights are frozen",
            fix="Use another optimizer, or freeze less.",
            value=options.freeze,
        )
    frozen = None if masks is None else Freeze(masks)
    steps_per_epoch = -(-rows // options.batch_size)
    optimizer = Descent(_direction(options, frozen), _schedule(options, steps_per_epoch), _plateau(options))
    return Recipe(options, optimizer, frozen, trained)


def _masks(options: TrainingOptions, classifier: Classifier) -> dict[str, NDArray[np.bool_]] | None:
    if options.freeze is None:
        return None
    selection = parse_selection(options.freeze)
    if not classifier.spec.train_circuit:
        selection = (*selection, Selection(CIRCUIT))
    return trained_masks(selection, classifier.shapes, layers=classifier.spec.layers)


def _direction(options: TrainingOptions, frozen: Freeze | None) -> Transformation:
    parts: list[Transformation] = []
    if options.clip_value is not None:
        parts.append(ClipByValue(options.clip_value))
    if options.clip_norm is not None:
        parts.append(ClipByGlobalNorm(options.clip_norm))
    parts.append(
        direction_named(
            options.optimizer,
            momentum=options.momentum,
            nesterov=options.nesterov,
            weight_decay=options.weight_decay,
        )
    )
    if frozen is not None:
        parts.append(frozen)  # weight decay moves what has no gradient
    return chain(*parts)


def _schedule(options: TrainingOptions, steps_per_epoch: int) -> Schedule:
    total = options.epochs * steps_per_epoch
    if options.warmup_steps >= total:
        raise InvalidArgumentError(
            f"warmup_steps = {options.warmup_steps}, but the run takes {total} step(s) in all",
            fix="Use fewer steps of warm-up, or train longer.",
            value=options.warmup_steps,
        )
    return schedule_named(
        options.schedule,
        learning_rate=options.learning_rate,
        warmup_steps=options.warmup_steps,
        total_steps=total,
        decay=options.decay or DECAYS.get(options.schedule, 1.0),
        decay_steps=(options.decay_epochs or 1) * steps_per_epoch,
        final_rate=options.final_rate or 0.0,
    )


def _plateau(options: TrainingOptions) -> Plateau | None:
    if options.schedule != "plateau":
        return None
    return Plateau(options.decay or DECAYS["plateau"], options.patience or PATIENCE)
