"""How a model is trained, as one checked value that the registry and every checkpoint repeat."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Self

from qstore_db.errors import InvalidArgumentError, UnknownBackendError
from qstore_db.optimizers.named import optimizer_named

BACKENDS: Mapping[str, str] = {"local": "batched state-vector simulator in this process, exact expectation values"}
"""Name and description of every place where circuits can run."""

GRADIENTS = ("auto", "adjoint")
"""Ways to differentiate. ``auto`` chooses; on the local simulator it always chooses ``adjoint``."""

ALIASES: Mapping[str, str] = {
    "n_epochs": "epochs",
    "gradient_method": "gradient",
    "checkpoint_interval": "checkpoint_every",
}
"""Other names of options that :meth:`TrainingOptions.from_options` accepts."""

_GRADIENT_ALIASES = {"adaptive": "auto"}
_RANGES: Mapping[str, tuple[int, int]] = {
    "epochs": (1, 1_000_000),
    "batch_size": (1, 1_048_576),
    "seed": (0, 2**63 - 1),
    "checkpoint_every": (1, 1_000_000),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """Everything about a run except the model and the data.

    Args:
        epochs: Passes over the training rows, at least 1.
        batch_size: Rows per step, at least 1; the last step of an epoch takes what is left.
        optimizer: By name; ``"adam"``.
        learning_rate: Step size of the optimizer, above 0.
        gradient: One of ``GRADIENTS``; the alias ``"adaptive"`` means ``"auto"``.
        backend: One of ``BACKENDS``.
        seed: Of the initial parameters, the random projection, the validation rows and every epoch's order.
        shuffle: Whether each epoch visits the rows in an order of its own.
        split: The split that is trained on.
        validation_split: A split to validate on after each epoch, or ``None``.
        validation_fraction: Share of the rows of ``split``, class by class, that is held out for validation, in
            [0, 1). Not together with ``validation_split``.
        checkpoint_every: Epochs between checkpoints; the end of a run always writes one.

    Raises:
        InvalidArgumentError: An option is of the wrong type or out of its range.
        UnknownBackendError: There is no such backend.
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

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            _check_integer(name, getattr(self, name), low, high)
        for name in ("learning_rate", "validation_fraction"):
            object.__setattr__(self, name, _number(name, getattr(self, name)))
        for name in ("optimizer", "gradient", "backend", "split"):
            _check_text(name, getattr(self, name))
        if self.validation_split is not None:
            _check_text("validation_split", self.validation_split)
        if not isinstance(self.shuffle, bool):
            raise InvalidArgumentError(f"shuffle is {self.shuffle!r}", fix="Use true or false.", value=self.shuffle)
        optimizer_named(self.optimizer, learning_rate=self.learning_rate)
        object.__setattr__(self, "gradient", _GRADIENT_ALIASES.get(self.gradient, self.gradient))
        if self.gradient not in GRADIENTS:
            raise InvalidArgumentError(
                f"There is no gradient method {self.gradient!r}",
                fix=f"Use one of {', '.join(map(repr, GRADIENTS))}.",
                value=self.gradient,
            )
        _check_backend(self.backend)
        self._check_validation()

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


def _check_backend(name: str) -> None:
    if name not in BACKENDS:
        raise UnknownBackendError(
            f"There is no backend {name!r}",
            fix=f"Use one of {', '.join(map(repr, BACKENDS))}; this version has no hardware backend and no remote"
            " simulator.",
            value=name,
        )


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
