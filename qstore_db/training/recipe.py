"""What the options of a run mean for its model: which gradient, which steps, which weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qstore_db.backends.backend import Backend
from qstore_db.backends.bounded_cache import CacheLimits
from qstore_db.backends.job_ledger import MemoryLedger
from qstore_db.backends.local_noisy import DEFAULT_NOISE
from qstore_db.backends.named import available_backend, backend_named
from qstore_db.backends.remote import RemoteBackend
from qstore_db.distributed.micro_batches import MICRO_BATCH, Workers, spread_gradient
from qstore_db.errors import InvalidArgumentError, UnsupportedRequestError
from qstore_db.executor.batching import BatchOptions
from qstore_db.executor.executor import Executor
from qstore_db.executor.expectations import BackendExpectations
from qstore_db.executor.options import ExecutorOptions
from qstore_db.gradients.choice import Choice
from qstore_db.gradients.differentiation import (
    ADJOINT,
    Differentiation,
    NoGradient,
    NoisyAdjoint,
    Rule,
    Shifted,
    Simultaneous,
    drawn_subset,
)
from qstore_db.gradients.parameter_shift import shifted_circuits
from qstore_db.gradients.value_source import ValueSource
from qstore_db.models.losses import Loss, loss_named
from qstore_db.models.model import LossGradient, Model
from qstore_db.optimizers.chain import chain
from qstore_db.optimizers.clipping import ClipByGlobalNorm, ClipByValue
from qstore_db.optimizers.descent import Descent
from qstore_db.optimizers.freezing import Freeze, Selection, parse_selection, trained_masks
from qstore_db.optimizers.named import direction_named, schedule_named
from qstore_db.optimizers.natural import natural_direction, without_negative_part
from qstore_db.optimizers.optimizer import Arrays, Transformation
from qstore_db.optimizers.plateau import Plateau
from qstore_db.optimizers.schedules import Schedule
from qstore_db.training.decision_log import joined_layers
from qstore_db.training.gradient_log import GradientLog
from qstore_db.training.options import (
    DAMPING,
    DECAYS,
    PATIENCE,
    SAMPLED_SPSA_STEP,
    SPSA_DIRECTIONS,
    SPSA_STEP,
    SUBSET_SHARE,
    TrainingOptions,
)
from qstore_db.training.provider import ceiling_of, service_of
from qstore_db.training.spreading import check_workers

CIRCUIT: Final = "circuit"
_RULES: Final[Mapping[str, Rule]] = {
    "parameter_shift": "parameter_shift",
    "finite_difference": "finite_difference",
}
_STEP_SEEDS, _VALIDATION_SEEDS, _DROPOUT_SEEDS = 1, 2, 4
"""Shots of steps and of validations, and gates left out, are drawn from seeds that differ here."""


@dataclass(frozen=True, slots=True, eq=False)
class Phase:
    """What trains while some layers have not joined yet.

    Args:
        optimizer: Turns gradients into steps.
        frozen: Takes frozen weights out of gradients; ``None`` where none are.
        trained: Numbers of the circuit's weights that train.
        exact_circuits: Circuits a sample of the exact gradient by parameter shift; 0 where no circuit trains.
    """

    optimizer: Descent
    frozen: Freeze | None
    trained: tuple[int, ...]
    exact_circuits: int


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """How gradients are taken and become steps.

    Args:
        options: Of the run.
        optimizer: Turns gradients into steps.
        frozen: Takes frozen weights out of gradients; ``None`` where none are.
        trained: Numbers of the circuit's weights that train.
        exact_circuits: Circuits a sample of the exact gradient by parameter shift; 0 where no circuit trains.
        loss: What is minimised.
        executor: Where circuits run when the exact simulator does not compute their values directly.
        source: Asked for every value in place of the executor, where it is given.
        workers: Who computes the gradient in micro-batches; ``None`` where it is computed in one piece.
        phases: With ``layerwise``: what trains while one layer has joined, two, … all. The fields above are the last's.
        joining: Numbers of the circuit's weights that begin at 0, as their layers join later.
    """

    options: TrainingOptions
    optimizer: Descent
    frozen: Freeze | None
    trained: tuple[int, ...]
    exact_circuits: int
    loss: Loss
    executor: Executor | None = None
    source: ValueSource | None = None
    workers: Workers | None = None
    phases: tuple[Phase, ...] = ()
    joining: tuple[int, ...] = ()

    def at_epoch(self, epoch: int) -> Recipe:
        """The recipe of an epoch's steps."""
        if not self.phases:
            return self
        phase = self.phases[joined_layers(self.options, len(self.phases), epoch) - 1]
        return replace(
            self,
            optimizer=phase.optimizer,
            frozen=phase.frozen,
            trained=phase.trained,
            exact_circuits=phase.exact_circuits,
        )

    def thinned(self, model: Model, step: int) -> Model:
        """The model of a step: entangling gates left out by chance, the same ones whenever the step is taken.

        Args:
            model: The whole one.
            step: Its number, from 0.
        """
        if self.options.entangler_dropout is None:
            return model
        rng = np.random.default_rng((self.options.seed, _DROPOUT_SEEDS, step))
        places = entanglers(model)
        left_out = rng.random(len(places)) < self.options.entangler_dropout
        return model.without_gates({place for place, out in zip(places, left_out.tolist(), strict=True) if out})

    def begun(self, parameters: Mapping[str, NDArray[np.float64]]) -> Arrays:
        """Fresh parameters as the first step finds them: angles of layers that join later are 0."""
        started = dict(parameters)
        if self.joining:
            started[CIRCUIT] = parameters[CIRCUIT].copy()
            started[CIRCUIT][list(self.joining)] = 0.0
        return started

    def step_source(self, step: int) -> ValueSource | None:
        """Where the values of a step come from; ``None`` for the exact simulator itself."""
        return self._source(_STEP_SEEDS, step)

    def validation_source(self, epoch: int) -> ValueSource | None:
        """The same for the validation after an epoch."""
        return self._source(_VALIDATION_SEEDS, epoch)

    def _source(self, purpose: int, number: int) -> ValueSource | None:
        options = self.options
        if options.is_pure or self.source is not None:
            return self.source
        if self.executor is None:
            raise InvalidArgumentError(
                f"the backend {options.backend!r} needs an executor", fix="Train with db.train.", value=options.backend
            )
        return BackendExpectations(
            self.executor,
            options.backend,
            shots=options.shots,
            seed=(options.seed, purpose, number),
            together=options.is_remote,
        )

    def chosen(self, log: GradientLog) -> tuple[Choice | None, GradientLog]:
        """What ``auto`` takes in the next step, and the log with that; no choice where the options name a gradient."""
        if self.options.gradient != "auto" or not self.exact_circuits:
            return None, log
        if self.options.allows_adjoint and log.decisions:
            return log.history.choice, log  # it stays so, whatever is seen
        return log.chosen(adjoint=self.options.allows_adjoint, exact_circuits=self.exact_circuits)

    def differentiation(self, step: int, choice: Choice | None, source: ValueSource | None) -> Differentiation:
        """How the circuit is differentiated in the step before which ``step`` steps were taken.

        Args:
            step: Its number, from 0.
            choice: Of ``auto``.
            source: Where values come from.
        """
        options = self.options
        if not self.exact_circuits:
            return NoGradient(source)
        way = options.gradient if choice is None else choice.method
        if way in _RULES:
            return Shifted(_RULES[way], self.trained, source)
        if way == "subset":
            return Shifted("parameter_shift", self.trained, source, self._drawn(step))
        if way == "spsa":
            sampled = options.shots is not None
            return Simultaneous(
                seed=options.seed,
                number=step,
                directions=options.spsa_directions or (SPSA_DIRECTIONS if choice is None else choice.directions),
                step=options.spsa_step or (SAMPLED_SPSA_STEP if sampled else SPSA_STEP),
                trained=self.trained,
                source=source,
            )
        return ADJOINT if options.is_pure else NoisyAdjoint(DEFAULT_NOISE())

    def _drawn(self, step: int) -> tuple[int, ...]:
        size = self.options.subset_size or -(-len(self.trained) // SUBSET_SHARE)
        return drawn_subset(self.options.seed, step, self.trained, size)

    def gradient(
        self,
        model: Model,
        parameters: Mapping[str, NDArray[np.float64]],
        features: NDArray[np.float64],
        targets: NDArray[Any] | None,
        way: Differentiation,
    ) -> LossGradient:
        """Loss and gradient of a minibatch, in one piece or by the workers."""
        if self.workers is None:
            return model.loss_and_gradient_of_features(parameters, features, targets, way, self.loss)
        return spread_gradient(self.workers, self.options.micro_batch or MICRO_BATCH, parameters, features, targets)

    def trained_part(self, gradients: Mapping[str, NDArray[np.float64]]) -> Arrays:
        """Gradients without what is frozen."""
        return dict(gradients) if self.frozen is None else self.frozen.masked(gradients)

    def preconditioned(
        self,
        model: Model,
        parameters: Mapping[str, NDArray[np.float64]],
        features: NDArray[np.float64],
        gradients: Arrays,
        choice: Choice | None = None,
        source: ValueSource | None = None,
    ) -> tuple[Arrays, int]:
        """Gradients with that of the circuit made natural where that is asked for, and the circuits it took."""
        if self.options.optimizer != "natural" and not (choice is not None and choice.natural):
            return gradients, 0
        if self.options.metric == "exact":
            metric, circuits = model.exact_metric_of_features(parameters, features), 0
        else:
            metric, circuits = model.metric_of_features(parameters, features, source)
        if source is not None and source.shots is not None:
            metric = without_negative_part(metric)
        damping = DAMPING if self.options.damping is None else self.options.damping
        mask = None if self.frozen is None else self.frozen.trained.get(CIRCUIT)
        natural = natural_direction(gradients[CIRCUIT], metric, damping=damping, trained=mask)
        return {**gradients, CIRCUIT: natural}, circuits


def recipe_for(options: TrainingOptions, model: Model, rows: int, loss: Loss | None = None) -> Recipe:
    """The recipe of a run.

    Args:
        options: Of the run.
        model: The model.
        rows: It is trained on.
        loss: A callable of the caller's, where the options say ``loss = "custom"``.

    Raises:
        InvalidArgumentError: Weights that are to be frozen are not there, the options leave nothing to train that they
            need, a subset is larger than what trains, the warm-up lasts to the end of the run or beyond, a layer
            would never join, there is no gate to drop, the model has no such loss, no classes to balance or no
            accuracy to monitor.
        UnsupportedRequestError: The backend has no room for the model's qubits.
        MissingDependencyError: The backend needs a package that is not installed.
    """
    _check_room(options, model)
    _check_classes(options, model)
    check_workers(options, model)
    if options.entangler_dropout is not None and not entanglers(model):
        raise InvalidArgumentError(
            f"entangler_dropout = {options.entangler_dropout} means nothing for a circuit without entangling gates",
            fix="Leave entangler_dropout out, or use more qubits.",
            value=options.entangler_dropout,
        )
    chosen = loss_named(model.spec.kind, options.loss, loss)
    if options.layerwise is None:
        return _recipe(options, _phase(options, model, rows, options.freeze), chosen)
    layers = model.spec.layers
    _check_layers(options, model)
    later = [f"layer[{joined}:{layers}]" for joined in range(1, layers)]
    phases = tuple(
        _phase(options, model, rows, ", ".join(filter(None, (options.freeze, waiting)))) for waiting in (*later, None)
    )
    each = model.shapes[CIRCUIT][0] // layers
    made = _recipe(options, phases[-1], chosen)
    return replace(made, phases=phases, joining=tuple(range(each, each * layers)))


def entanglers(model: Model) -> list[int]:
    """Places of the circuit's gates on two qubits or more."""
    return [place for place, gate in enumerate(model.plan.circuit.operations) if len(gate.qubits) > 1]


def _recipe(options: TrainingOptions, phase: Phase, loss: Loss) -> Recipe:
    return Recipe(options, phase.optimizer, phase.frozen, phase.trained, phase.exact_circuits, loss)


def _phase(options: TrainingOptions, model: Model, rows: int, freeze: str | None) -> Phase:
    masks = _masks(freeze, model)
    if masks is None and options.layerwise is not None:
        # All phases share one state, whose names depend on the parts of the direction: none may lack its mask.
        masks = {name: np.ones(shape, np.bool_) for name, shape in model.shapes.items()}
    everything = range(model.shapes[CIRCUIT][0])
    trained = tuple(everything) if masks is None else tuple(np.flatnonzero(masks[CIRCUIT]).tolist())
    trains_circuit = model.spec.train_circuit and trained != ()
    if options.subset_size is not None and trains_circuit:
        drawn_subset(0, 0, trained, options.subset_size)
    if options.optimizer == "natural" and not trains_circuit:
        raise InvalidArgumentError(
            "The optimizer 'natural' needs a circuit that trains, and all its weights are frozen",
            fix="Use another optimizer, or freeze less.",
            value=options.freeze,
        )
    frozen = None if masks is None else Freeze(masks)
    steps_per_epoch = -(-rows // options.batch_size)
    optimizer = Descent(_direction(options, frozen), _schedule(options, steps_per_epoch), _plateau(options))
    circuits = shifted_circuits(model.plan.circuit, trained) if trains_circuit else 0
    return Phase(optimizer, frozen, trained, circuits)


@contextmanager
def executor_for(options: TrainingOptions, backend: Backend | None = None) -> Iterator[Executor | None]:
    """The executor of a run, closed at its end; ``None`` where the exact simulator computes values directly.

    Results are not kept: every step asks for others.

    Args:
        options: Of the run.
        backend: Of a run with remote jobs; ``None`` makes the one that the options name, a remote one with a ledger
            that ends with the process.
    """
    if options.is_pure:
        yield None
        return
    batch = BatchOptions()
    if backend is None and options.is_remote:
        backend = RemoteBackend(service_of(options), MemoryLedger(), ceiling=ceiling_of(options))
    elif backend is None:
        backend = backend_named(options.backend)
    if options.is_remote:  # jobs as large as the provider takes
        most = backend.capabilities.max_batch
        batch = BatchOptions(minimum=most, maximum=most)
    nothing_kept = CacheLimits(entries=0, size_bytes=0)
    with Executor(backend, options=ExecutorOptions(batch=batch, result_cache=nothing_kept)) as made:
        yield made


def _check_room(options: TrainingOptions, model: Model) -> None:
    room = available_backend(options.backend).capabilities.max_qubits
    if model.spec.qubits > room:
        raise UnsupportedRequestError(
            f"the backend {options.backend!r} has no room for {model.spec.qubits} qubits",
            fix=f"Use at most {room} qubits, or another backend.",
            value=model.spec.qubits,
        )


def _check_classes(options: TrainingOptions, model: Model) -> None:
    if model.spec.classes is not None:
        return
    asked = {"balanced": options.balanced, "monitor": options.keeps_best and options.monitored.endswith("accuracy")}
    for name, given in asked.items():
        if given:
            raise InvalidArgumentError(
                f"{name} = {getattr(options, name)!r} means nothing for models of kind {model.spec.kind!r}, which have"
                " no classes",
                fix=f"Leave {name} out.",
                value=getattr(options, name),
            )


def _check_layers(options: TrainingOptions, model: Model) -> None:
    needed = (options.layerwise or 0) * (model.spec.layers - 1)
    if not model.spec.train_circuit:
        raise InvalidArgumentError(
            f"layerwise = {options.layerwise} means nothing with train_circuit = False",
            fix="Leave layerwise out.",
            value=options.layerwise,
        )
    if needed >= options.epochs:
        raise InvalidArgumentError(
            f"layerwise = {options.layerwise}: the last of {model.spec.layers} layers would join after epoch {needed},"
            f" and the run has {options.epochs}",
            fix=f"Use epochs = {needed + 1} or more, or fewer epochs a layer.",
            value=options.layerwise,
        )


def _masks(freeze: str | None, model: Model) -> dict[str, NDArray[np.bool_]] | None:
    if not freeze:
        return None
    selection = parse_selection(freeze)
    if not model.spec.train_circuit:
        selection = (*selection, Selection(CIRCUIT))
    return trained_masks(selection, model.shapes, layers=model.spec.layers)


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
