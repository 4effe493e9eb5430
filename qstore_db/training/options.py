"""How a model is trained, as one checked value that the registry and every checkpoint repeat."""

from __future__ import annotations

import dataclasses
import difflib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Self

from qstore_db.backends.capabilities import check_reading
from qstore_db.backends.named import backend_entry, full_name
from qstore_db.backends.request import MAX_SHOTS, Reading
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

MONITORS = ("validation_loss", "validation_accuracy", "train_loss", "train_accuracy")
"""What early stopping can watch: numbers of an epoch's row in the table ``metrics``."""

TRACKED = ("entanglement", "expressibility")
"""Numbers of the circuit that a run can follow; see :mod:`qstore_db.training.circuit_tracking`."""

METRICS = ("block_diagonal", "exact")
"""Metrics of the natural gradient."""

DECAYS: Mapping[str, float] = {"step": 0.5, "exponential": 0.9, "plateau": 0.5}
"""Factor of each schedule that has one, where none is given."""

REMOTE_SHOTS = 1000
"""Of each circuit on a remote backend that gives no exact values, where no number is given."""

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
    "early_stopping": (1, 1_000_000),
    "layerwise": (1, 1_000_000),
    "workers": (1, 4096),
    "micro_batch": (1, 1_048_576),
}
_OPTIONAL_NUMBERS = (
    "momentum", "weight_decay", "clip_value", "clip_norm", "decay", "final_rate", "spsa_step", "damping",
    "min_improvement", "max_cost_usd", "entangler_dropout",
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
            where the backend gives them, and for 1,000 on a remote backend that does not.
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
        loss: Name of the loss, see :data:`qstore_db.models.losses.LOSSES`; ``None`` for the default of the model's
            kind, ``"custom"`` for a function that is given beside the options, in Python only.
        balanced: Whether each epoch visits every class equally often, small ones repeatedly: see
            :func:`qstore_db.training.loader.balanced_order`. Needs classes and ``shuffle``.
        keep_best: Whether the version that comes out has the parameters of the best epoch instead of the last.
        early_stopping: Epochs in a row without improvement after which the run ends; it then keeps the best, too.
            ``None``: it goes on to the last epoch.
        monitor: What tells the best epoch, one of ``MONITORS``; ``None``: ``validation_loss``, or ``train_loss`` where
            nothing is validated.
        min_improvement: By how much it must improve to count, from 0 on; ``None`` for 0: any improvement counts.
        layerwise: Epochs after which the circuit's next layer begins to train; before, its angles are 0 and only its
            CX gates are there. ``None``: all train from the start.
        entangler_dropout: Chance, in (0, 1), with which each CX gate of the circuit is left out of a step; validation
            and predictions have them all. ``None`` for none.
        track: Numbers of ``TRACKED`` to measure at the end of each epoch, as text or a list of texts; ``None`` for
            none.
        workers: Processes of Ray that compute the gradient of a step together, in micro-batches: the same bits for any
            number of them. ``None``: this process does.
        micro_batch: Rows of a micro-batch, whose gradients are added in order; ``None``: 64 with ``workers``, and
            without them the step is computed in one piece.
        sdk: The library that speaks with a remote provider; ``None`` for the backend's usual one.
        target: A remote provider's name of the device, such as ``"qpu.forte-1"``; ``None`` for the backend's usual one.
        max_cost_usd: What all jobs of the run may cost together, in United States dollars, from 0 on, by the
            provider's price list. ``None`` is 0: what costs nothing needs no ceiling, and what costs something runs
            only within one that was stated.
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
    loss: str | None = None
    balanced: bool = False
    keep_best: bool = False
    early_stopping: int | None = None
    monitor: str | None = None
    min_improvement: float | None = None
    track: str | None = None
    layerwise: int | None = None
    entangler_dropout: float | None = None
    workers: int | None = None
    micro_batch: int | None = None
    sdk: str | None = None
    target: str | None = None
    max_cost_usd: float | None = None

    def __post_init__(self) -> None:
        self._join_lists()
        self._check_types()
        self._check_tracked()
        object.__setattr__(self, "backend", full_name(self.backend))
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
        self._check_best()
        self._check_spread()

    def _join_lists(self) -> None:
        for name in ("freeze", "track"):
            given: object = getattr(self, name)
            if isinstance(given, list | tuple):
                object.__setattr__(self, name, ", ".join(map(str, given)))

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
        for name in ("validation_split", "loss", "monitor", "sdk", "target"):
            if getattr(self, name) is not None:
                _check_text(name, getattr(self, name))
        for name in ("shuffle", "nesterov", "balanced", "keep_best"):
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise InvalidArgumentError(f"{name} is {value!r}", fix="Use true or false.", value=value)
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

    def _check_tracked(self) -> None:
        if self.track is not None:
            _check_text("track", self.track)
        for item in self.tracked:
            if item not in TRACKED:
                raise InvalidArgumentError(
                    f"track names {item!r}", fix=f"Name {' and '.join(TRACKED)}, or one of them.", value=self.track
                )

    def _check_best(self) -> None:
        if self.entangler_dropout is not None and not 0.0 < self.entangler_dropout < 1.0:
            raise InvalidArgumentError(
                f"entangler_dropout is {self.entangler_dropout}",
                fix="Give a chance above 0 and below 1, or leave it out.",
                value=self.entangler_dropout,
            )
        if self.balanced and not self.shuffle:
            raise InvalidArgumentError(
                "balanced = True means nothing with shuffle = False", fix="Leave shuffle out.", value=True
            )
        if self.monitor is not None and self.monitor not in MONITORS:
            raise InvalidArgumentError(
                f"There is no monitor {self.monitor!r}", fix=f"Use one of {', '.join(MONITORS)}.", value=self.monitor
            )
        if self.min_improvement is not None and self.min_improvement < 0:
            raise InvalidArgumentError(
                f"min_improvement is {self.min_improvement}", fix="Give a number from 0 on.", value=self.min_improvement
            )
        for name in ("monitor", "min_improvement"):
            if getattr(self, name) is not None and not self.keeps_best:
                raise InvalidArgumentError(
                    f"{name} = {getattr(self, name)!r} means nothing without early_stopping or keep_best",
                    fix=f"Leave {name} out, or use early_stopping = <epochs> or keep_best = true.",
                    value=getattr(self, name),
                )
        if self.monitored.startswith("validation") and not self.validates and self.keeps_best:
            raise InvalidArgumentError(
                f"monitor = {self.monitor!r}, but nothing is validated",
                fix="Use validation_split or validation_fraction, or monitor = 'train_loss'.",
                value=self.monitor,
            )

    @property
    def validates(self) -> bool:
        """Whether rows are held out or a split is named to validate on."""
        return self.validation_split is not None or self.validation_fraction > 0

    @property
    def keeps_best(self) -> bool:
        """Whether the best epoch's parameters are kept."""
        return self.keep_best or self.early_stopping is not None

    @property
    def tracked(self) -> tuple[str, ...]:
        """What ``track`` names."""
        return () if self.track is None else tuple(item.strip() for item in self.track.split(","))

    @property
    def monitored(self) -> str:
        """What tells the best epoch."""
        return self.monitor or ("validation_loss" if self.validates else "train_loss")

    @property
    def is_pure(self) -> bool:
        """Whether values are those of pure states that this process computes: no backend is asked."""
        return self.shots is None and self.backend == PURE_BACKEND

    @property
    def is_remote(self) -> bool:
        """Whether circuits are sent to a provider."""
        return backend_entry(self.backend).remote is not None

    @property
    def allows_adjoint(self) -> bool:
        """Whether adjoint gradients are possible."""
        return self.shots is None and "adjoint" in backend_entry(self.backend).capabilities.gradients

    def _check_remote(self) -> None:
        entry = backend_entry(self.backend)
        for name in ("sdk", "target"):
            if getattr(self, name) is not None and entry.remote is None:
                raise InvalidArgumentError(
                    f"{name} = {getattr(self, name)!r} means nothing with backend = {self.backend!r}, which is no"
                    " remote one",
                    fix=f"Leave {name} out.",
                    value=getattr(self, name),
                )
        if entry.remote is not None and self.sdk is not None and self.sdk not in entry.remote.sdks:
            raise InvalidArgumentError(
                f"the backend {self.backend!r} speaks through no {self.sdk!r}",
                fix=f"Use sdk = {' or '.join(map(repr, entry.remote.sdks))}.",
                value=self.sdk,
            )
        if entry.remote is not None and self.shots is None and Reading.EXPECTATIONS not in entry.capabilities.readings:
            object.__setattr__(self, "shots", REMOTE_SHOTS)
        if self.max_cost_usd is not None and self.max_cost_usd < 0:
            raise InvalidArgumentError(
                f"max_cost_usd is {self.max_cost_usd}", fix="Give dollars from 0 on.", value=self.max_cost_usd
            )

    def _check_backend(self) -> None:
        self._check_remote()
        check_reading(self.backend, backend_entry(self.backend).capabilities, self.shots)
        where = f"backend {self.backend!r}" + ("" if self.shots is None else f" with {self.shots} shots")
        for name, value, allowed in (("gradient", "adjoint", self.allows_adjoint), ("metric", "exact", self.is_pure)):
            if getattr(self, name) == value and not allowed:
                raise InvalidArgumentError(
                    f"{name} = {value!r} needs the states themselves, which the {where} does not give",
                    fix=f"Use another {name}, or backend = 'local' without shots.",
                    value=value,
                )

    def _check_spread(self) -> None:
        asked = [name for name in ("workers", "micro_batch") if getattr(self, name) is not None]
        beside = {
            "backend": not self.is_pure,
            "gradient": self.gradient not in ("auto", "adjoint"),
            "entangler_dropout": self.entangler_dropout is not None,
        }
        for name in (name for name, clashes in beside.items() if asked and clashes):
            raise InvalidArgumentError(
                f"{asked[0]} = {getattr(self, asked[0])} means nothing with {name} = {getattr(self, name)!r}:"
                " micro-batches take the adjoint gradient of the whole circuit on the exact simulator",
                fix=f"Leave {asked[0]} out, or {name}.",
                value=getattr(self, asked[0]),
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
        return cls(**named_options(options))  # type: ignore[arg-type]  # each field is checked by __post_init__

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> Self:
        """Options from a TOML file, from its table ``[train]`` if it has one; what it leaves out has its default.

        Raises:
            InvalidArgumentError: The file cannot be read, or an option is unknown or invalid.
            UnknownBackendError: There is no such backend.
        """
        from qstore_db.training.option_sources import from_file

        return cls.from_options(from_file(path))

    @classmethod
    def from_environment(cls, prefix: str = "QSTORE_TRAIN_", environment: Mapping[str, str] | None = None) -> Self:
        """Options from environment variables such as ``QSTORE_TRAIN_LEARNING_RATE``.

        Args:
            prefix: What their names begin with; others are not looked at.
            environment: Variables by name; ``None`` is this process's.

        Raises:
            InvalidArgumentError: A variable names no option, or its value is none.
            UnknownBackendError: There is no such backend.
        """
        from qstore_db.training.option_sources import from_environment

        return cls.from_options(from_environment(os.environ if environment is None else environment, prefix))


def named_options(given: Mapping[str, object], origin: str = "") -> dict[str, object]:
    """Options by their own names, from names as users type them: any letter case, and the ``ALIASES``.

    Args:
        given: By name.
        origin: What the errors say of where they come from.

    Raises:
        InvalidArgumentError: A name is unknown (the nearest one is named), or two mean the same.
    """
    found: dict[str, object] = {}
    for written, value in given.items():
        name = option_name(written)
        if name is None:
            near = difflib.get_close_matches(written.lower(), [*option_names(), *ALIASES], n=1)
            raise InvalidArgumentError(
                f"There is no training option {written!r}{origin}",
                fix=(f"Did you mean {near[0]}? " if near else "") + f"The options are {', '.join(option_names())}.",
                value=written,
            )
        if name in found:
            raise InvalidArgumentError(
                f"The training option {name} is given twice{origin}, once as {written!r}",
                fix=f"Give {name} once.",
                value=written,
            )
        found[name] = value
    return found


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
