"""How a model is trained, as one checked value that the registry and every checkpoint repeat."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Self

from qstore_db.backends.capabilities import check_reading
from qstore_db.backends.named import backend_entry
from qstore_db.backends.request import MAX_SHOTS
from qstore_db.errors import InvalidArgumentError
from qstore_db.gradients.directions import check_directions
from qstore_db.optimizers.freezing import parse_selection
from qstore_db.optimizers.named import direction_named, schedule_named
from qstore_db.optimizers.settings import check_factor, check_positive

GRADIENTS = ("auto", "adjoint", "parameter_shift", "spsa", "finite_difference", "subset")
"""Ways to differentiate. ``auto`` chooses, ``adjoint`` wherever that is possible; see
:mod:`qstore_db.gradients.choice`."""

PURE_BACKEND = "local"
"""The simulator of pure states, which training uses without an executor in between."""

METRICS = ("block_diagonal", "exact")
"""Metrics of the natural gradient."""

DECAYS: Mapping[str, float] = {"step": 0.5, "exponential": 0.9, "plateau": 0.5}
"""Factor of each schedule that has one, where none is given."""

PATIENCE = 3
SPSA_DIRECTIONS = 1
SPSA_STEP = 0.1
SAMPLED_SPSA_STEP = 0.3
"""With shots, whose noise is divided by the step: a third of the noise, for a bias nine times as large."""

DAMPING = 0.01
SUBSET_SHARE = 4
"""``gradient = "subset"`` draws a quarter of the weights where no number is given."""

ALIASES: Mapping[str, str] = {
    "n_epochs": "epochs",
    "gradient_method": "gradient",
    "checkpoint_interval": "checkpoint_every",
    "shots_per_circuit": "shots",
}
"""Other names of options that :meth:`TrainingOptions.from_options` accepts."""

_GRADIENT_ALIASES = {"adaptive": "auto", "random_subset": "subset"}
_OPTIMIZER_ALIASES = {"natural_gradient": "natural", "qng": "natural"}
_RANGES: Mapping[str, tuple[int, int]] = {
    "epochs": (1, 1_000_000),
    "batch_size": (1, 1_048_576),
    "seed": (0, 2**63 - 1),
    "checkpoint_every": (1, 1_000_000),
    "warmup_steps": (0, 1_000_000_000),
}
_OPTIONAL_RANGES: Mapping[str, tuple[int, int]] = {
    "decay_epochs": (1, 1_000_000),
    "patience": (1, 1_000_000),
    "spsa_directions": (1, 4096),
    "subset_size": (1, 1_000_000),
    "shots": (2, MAX_SHOTS),
    "threads": (1, 2),
}
_OPTIONAL_NUMBERS = (
    "momentum", "weight_decay", "clip_value", "clip_norm", "decay", "final_rate", "spsa_step", "damping"
)  # fmt: skip
_GOES_WITH: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "momentum": ("optimizer", ("sgd", "rmsprop", "natural")),
    "nesterov": ("optimizer", ("sgd", "rmsprop", "natural")),
    "weight_decay": ("optimizer", ("adamw", "sgd", "rmsprop", "natural")),
    "damping": ("optimizer", ("natural",)),
    "metric": ("optimizer", ("natural",)),
    "decay": ("schedule", ("step", "exponential", "plateau")),
    "decay_epochs": ("schedule", ("step", "exponential")),
    "final_rate": ("schedule", ("cosine",)),
    "patience": ("schedule", ("plateau",)),
    "spsa_directions": ("gradient", ("spsa",)),
    "spsa_step": ("gradient", ("spsa",)),
    "subset_size": ("gradient", ("subset",)),
}
"""Options that mean nothing without another one: which, and its values that give them a meaning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """Everything about a run except the model and the data.

    Args:
        epochs: Passes over the training rows, at least 1.
        batch_size: Rows per step, at least 1; the last step of an epoch takes what is left.
        optimizer: ``"adam"``, ``"adamw"``, ``"sgd"``, ``"rmsprop"``, or ``"natural"``: ``sgd`` along the natural
            gradient of the circuit, with the metric of the minibatch; ``"natural_gradient"`` and ``"qng"`` mean it too.
        learning_rate: Step size of the optimizer, above 0; the highest one where a schedule lowers it.
        gradient: How the circuit is differentiated: one of ``GRADIENTS``; the alias ``"adaptive"`` means ``"auto"``.
        backend: Where the circuits of training and validation run: the name of a backend, see the table ``backends``.
        shots: Measurements of each circuit, from which expectation values are estimated; ``None`` for exact values,
            where the backend gives them.
        seed: Of the initial parameters, the random projection, the validation rows and every epoch's order.
        shuffle: Whether each epoch visits the rows in an order of its own.
        split: The split that is trained on.
        validation_split: A split to validate on after each epoch, or ``None``.
        validation_fraction: Share of the rows of ``split``, class by class, that is held out for validation, in
            [0, 1). Not together with ``validation_split``.
        checkpoint_every: Epochs between checkpoints; the end of a run always writes one.
        momentum: Of ``sgd``, ``rmsprop`` and ``natural``, in [0, 1); ``None`` for none.
        nesterov: Whether to look ahead along the momentum.
        weight_decay: Decoupled pull of all trained weights to zero, per unit of the rate; not for ``adam``. ``None``:
            0.01 for ``adamw``, none for the others.
        clip_value: Largest absolute value of an element of the gradient, or ``None``.
        clip_norm: Largest norm of the gradient of all weights together, or ``None``; applied after ``clip_value``.
        schedule: ``"constant"``, ``"step"``, ``"exponential"``, ``"cosine"`` or ``"plateau"``, which watches the
            validation loss, or the training loss where nothing is validated.
        warmup_steps: Steps in which the rate rises linearly to the first one of the schedule; 0 for none.
        decay: Factor of ``step``, ``exponential`` and ``plateau``, in (0, 1]; ``None`` for that of ``DECAYS``.
        decay_epochs: Epochs in which ``step`` and ``exponential`` lower the rate by the factor; ``None`` for 1.
        final_rate: Where ``cosine`` ends with the last step, from 0 on; ``None`` for 0.
        patience: Epochs without improvement before ``plateau`` lowers the rate; ``None`` for 3.
        freeze: Weights that do not train, as text or a list of texts: names, indices, layers, such as
            ``"head_bias, circuit[0:6], layer[0]"``; see :mod:`qstore_db.optimizers.freezing`. ``None`` for none.
        spsa_directions: Estimates that ``gradient = "spsa"`` averages in each step; ``None`` for 1.
        spsa_step: Its perturbation of each angle, in radians; ``None`` for 0.1, with shots 0.3.
        damping: What ``natural`` adds to the diagonal of the metric, above 0; ``None`` for 0.01.
        metric: That of ``natural``, one of ``METRICS``: ``"exact"`` on the exact simulator only. ``None`` for
            ``"block_diagonal"``.
        subset_size: How many of the trained circuit weights ``gradient = "subset"`` draws in each step; ``None`` for a
            quarter of them.
        threads: That compute a step on the local simulator, 1 or 2: the same bits either way. ``None``: 2 where a
            second processor has little to do. The second thread works on large batches only, and spins between steps.

    Raises:
        InvalidArgumentError: An option is of the wrong type or out of its range, or means nothing beside the others.
        UnknownBackendError: There is no such backend.
        UnsupportedRequestError: The backend gives no exact values and there are no shots, or not so many.
    """

    epochs: int = 5
    batch_size: int = 32
    optimizer: str = "adam"
    learning_rate: float = 0.01
    gradient: str = "auto"
    backend: str = "local"
    seed: int = 0
    shuffle: bool = True
    split: str = "train"
    validation_split: str | None = None
    validation_fraction: float = 0.0
    checkpoint_every: int = 1
    momentum: float | None = None
    nesterov: bool = False
    weight_decay: float | None = None
    clip_value: float | None = None
    clip_norm: float | None = None
    schedule: str = "constant"
    warmup_steps: int = 0
    decay: float | None = None
    decay_epochs: int | None = None
    final_rate: float | None = None
    patience: int | None = None
    freeze: str | None = None
    spsa_directions: int | None = None
    spsa_step: float | None = None
    damping: float | None = None
    shots: int | None = None
    subset_size: int | None = None
    metric: str | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        self._check_types()
        object.__setattr__(self, "gradient", _GRADIENT_ALIASES.get(self.gradient, self.gradient))
        object.__setattr__(self, "optimizer", _OPTIMIZER_ALIASES.get(self.optimizer, self.optimizer))
        if self.gradient not in GRADIENTS:
            raise InvalidArgumentError(
                f"There is no gradient method {self.gradient!r}",
                fix=f"Use one of {', '.join(map(repr, GRADIENTS))}.",
                value=self.gradient,
            )
        self._check_backend()
        self._check_validation()
        self._check_optimization()

    def _check_types(self) -> None:
        for name, (low, high) in _RANGES.items():
            _check_integer(name, getattr(self, name), low, high)
        for name, (low, high) in _OPTIONAL_RANGES.items():
            if getattr(self, name) is not None:
                _check_integer(name, getattr(self, name), low, high)
        for name in ("learning_rate", "validation_fraction", *_OPTIONAL_NUMBERS):
            if getattr(self, name) is not None or name not in _OPTIONAL_NUMBERS:
                object.__setattr__(self, name, _number(name, getattr(self, name)))
        for name in ("optimizer", "gradient", "backend", "split", "schedule"):
            _check_text(name, getattr(self, name))
        if self.validation_split is not None:
            _check_text("validation_split", self.validation_split)
        for name in ("shuffle", "nesterov"):
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise InvalidArgumentError(f"{name} is {value!r}", fix="Use true or false.", value=value)
        given: object = self.freeze
        if isinstance(given, list | tuple):
            object.__setattr__(self, "freeze", ", ".join(map(str, given)))
        if self.freeze is not None:
            _check_text("freeze", self.freeze)
            parse_selection(self.freeze)

    def _check_optimization(self) -> None:
        # Makes what the run will make of the options, so that each refusal comes from where the numbers are used.
        direction_named(self.optimizer)
        schedule_named(self.schedule, learning_rate=self.learning_rate, total_steps=1)
        for name, (other, values) in _GOES_WITH.items():
            value = getattr(self, name)
            if value is not None and value is not False and getattr(self, other) not in values:
                raise InvalidArgumentError(
                    f"{name} = {value!r} means nothing with {other} = {getattr(self, other)!r}",
                    fix=f"Leave {name} out, or use {other} = {' or '.join(map(repr, values))}.",
                    value=value,
                )
        direction_named(self.optimizer, momentum=self.momentum, nesterov=self.nesterov, weight_decay=self.weight_decay)
        if self.decay is not None:
            check_factor("The schedule", "decay", self.decay)
        schedule_named(
            self.schedule,
            learning_rate=self.learning_rate,
            total_steps=1,
            decay=1.0 if self.decay is None else self.decay,
            final_rate=self.final_rate or 0.0,
        )
        for name in ("clip_value", "clip_norm", "damping"):
            if getattr(self, name) is not None:
                check_positive("Training", name, getattr(self, name))
        if self.metric is not None and self.metric not in METRICS:
            raise InvalidArgumentError(
                f"There is no metric {self.metric!r}", fix=f"Use one of {', '.join(METRICS)}.", value=self.metric
            )
        if self.spsa_step is not None:
            check_directions(self.spsa_step, 1)

    @property
    def is_pure(self) -> bool:
        """Whether values are those of pure states that this process computes: no backend is asked."""
        return self.shots is None and self.backend == PURE_BACKEND

    @property
    def allows_adjoint(self) -> bool:
        """Whether adjoint gradients are possible."""
        return self.shots is None and "adjoint" in backend_entry(self.backend).capabilities.gradients

    def _check_backend(self) -> None:
        check_reading(self.backend, backend_entry(self.backend).capabilities, self.shots)
        where = f"backend {self.backend!r}" + ("" if self.shots is None else f" with {self.shots} shots")
        for name, value, allowed in (("gradient", "adjoint", self.allows_adjoint), ("metric", "exact", self.is_pure)):
            if getattr(self, name) == value and not allowed:
                raise InvalidArgumentError(
                    f"{name} = {value!r} needs the states themselves, which the {where} does not give",
                    fix=f"Use another {name}, or backend = 'local' without shots.",
                    value=value,
                )

    def _check_validation(self) -> None:
        if not 0.0 <= self.validation_fraction < 1.0:
            raise InvalidArgumentError(
                f"validation_fraction is {self.validation_fraction}",
                fix="Give a share from 0 (none) to below 1.",
                value=self.validation_fraction,
            )
        if self.validation_split is not None and self.validation_fraction:
            raise InvalidArgumentError(
                f"Both validation_split = {self.validation_split!r} and validation_fraction ="
                f" {self.validation_fraction} are given",
                fix="Give one of them.",
                value=self.validation_split,
            )
        if self.validation_split == self.split:
            raise InvalidArgumentError(
                f"The split {self.split!r} is named for training and for validation",
                fix="Name another split, or hold rows out with validation_fraction.",
                value=self.split,
            )

    def to_json(self) -> dict[str, int | float | str | bool | None]:
        """All options by name, as JSON values; :meth:`from_options` is its inverse."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @classmethod
    def from_options(cls, options: Mapping[str, object]) -> Self:
        """Options as users type them: any letter case of names, and the ``ALIASES``.

        Raises:
            InvalidArgumentError: An option is unknown, given twice under two names, or invalid.
            UnknownBackendError: There is no such backend.

        Example:
            >>> TrainingOptions.from_options({"n_epochs": 3, "gradient_method": "adaptive"}).gradient
            'auto'
        """
        record: dict[str, object] = {}
        for given, value in options.items():
            name = option_name(given)
            if name is None:
                raise InvalidArgumentError(
                    f"There is no training option {given!r}",
                    fix=f"The options are {', '.join(option_names())}.",
                    value=given,
                )
            if name in record:
                raise InvalidArgumentError(
                    f"The training option {name} is given twice, once as {given!r}",
                    fix=f"Give {name} once.",
                    value=given,
                )
            record[name] = value
        return cls(**record)  # type: ignore[arg-type]  # each field is checked by __post_init__


def option_names() -> list[str]:
    """The names of all training options."""
    return [field.name for field in dataclasses.fields(TrainingOptions)]


def option_name(given: str) -> str | None:
    """The training option that a user means by ``given``, or ``None``."""
    name = ALIASES.get(given.lower(), given.lower())
    return name if name in option_names() else None


def _check_integer(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidArgumentError(
            f"{name} is {value!r}", fix=f"Give {name} as an integer from {low} to {high}.", value=value
        )


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise InvalidArgumentError(f"{name} is {value!r}", fix=f"Give {name} as text.", value=value)


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or not math.isfinite(value):
        raise InvalidArgumentError(f"{name} is {value!r}", fix=f"Give {name} as a finite number.", value=value)
    return float(value)
