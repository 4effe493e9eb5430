"""Optimizers, directions and schedules by the names that users give them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from qstore_db.errors import InvalidArgumentError
from qstore_db.optimizers.adam import Adam, AdamW, ScaleByAdam
from qstore_db.optimizers.chain import chain
from qstore_db.optimizers.descent import FixedRate
from qstore_db.optimizers.optimizer import Transformation
from qstore_db.optimizers.rmsprop import RmsProp, ScaleByRms
from qstore_db.optimizers.schedules import Constant, CosineDecay, ExponentialDecay, Schedule, StepDecay, WarmUp
from qstore_db.optimizers.sgd import Momentum, Sgd
from qstore_db.optimizers.weight_decay import AddDecayedWeights

OPTIMIZERS: Mapping[str, Callable[[float], FixedRate]] = {"adam": Adam, "adamw": AdamW, "rmsprop": RmsProp, "sgd": Sgd}
"""Name to a function from the learning rate to an optimizer."""

DIRECTIONS: Final = ("adam", "adamw", "natural", "rmsprop", "sgd")
"""Names of directions; ``natural`` is that of ``sgd``, along a gradient that was made natural before."""

SCHEDULES: Final = ("constant", "cosine", "exponential", "plateau", "step")
"""Names of schedules; the rates of ``plateau`` are constant but for what the loss lowers them by."""

ADAMW_DECAY: Final = 0.01


def optimizer_named(name: str, *, learning_rate: float) -> FixedRate:
    """The optimizer of that name, its other settings at their defaults.

    Raises:
        InvalidArgumentError: There is none of that name, or the learning rate is out of range.

    Example:
        >>> optimizer_named("adam", learning_rate=0.01)
        Adam(learning_rate=0.01, beta1=0.9, beta2=0.999, epsilon=1e-08)
    """
    make = OPTIMIZERS.get(name)
    if make is None:
        raise _unknown("optimizer", name, OPTIMIZERS)
    return make(learning_rate)


def direction_named(
    name: str, *, momentum: float | None = None, nesterov: bool = False, weight_decay: float | None = None
) -> Transformation:
    """What an optimizer of that name turns gradients into.

    Args:
        name: One of ``DIRECTIONS``.
        momentum: Of ``sgd``, ``rmsprop`` and ``natural``; none if left out. Adam has its own.
        nesterov: Whether to look ahead along it.
        weight_decay: Decoupled, of all but ``adam``; 0.01 for ``adamw`` and none for the others if left out.

    Raises:
        InvalidArgumentError: There is no such direction, it does not take a setting that is given, or one is out of
            range.
    """
    if name not in DIRECTIONS:
        raise _unknown("optimizer", name, DIRECTIONS)
    if name in {"adam", "adamw"}:
        if momentum is not None or nesterov:
            raise InvalidArgumentError(
                f"The optimizer {name!r} takes no momentum: its first moment is one",
                fix="Leave momentum and nesterov out, or use 'sgd' or 'rmsprop'.",
                value=momentum,
            )
        if name == "adam" and weight_decay is not None:
            raise InvalidArgumentError(
                "The optimizer 'adam' takes no weight_decay", fix="Use 'adamw'.", value=weight_decay
            )
        if name == "adam":
            return ScaleByAdam()
        return chain(ScaleByAdam(), AddDecayedWeights(ADAMW_DECAY if weight_decay is None else weight_decay))
    parts: list[Transformation] = [ScaleByRms()] if name == "rmsprop" else []
    parts.append(Momentum(0.0 if momentum is None else momentum, nesterov))
    if weight_decay is not None:
        parts.append(AddDecayedWeights(weight_decay))
    return chain(*parts)


def schedule_named(
    name: str,
    *,
    learning_rate: float,
    warmup_steps: int = 0,
    total_steps: int,
    decay: float = 0.5,
    decay_steps: int = 1,
    final_rate: float = 0.0,
) -> Schedule:
    """The rates of a run.

    Args:
        name: One of ``SCHEDULES``.
        learning_rate: The highest rate, above 0.
        warmup_steps: Steps of a linear rise at the start; 0 for none.
        total_steps: Of the run; ``cosine`` ends there.
        decay: Factor of ``step`` and ``exponential``, in (0, 1].
        decay_steps: Steps in which these lower the rate by the factor.
        final_rate: Where ``cosine`` ends.

    Raises:
        InvalidArgumentError: There is no such schedule, or a number is out of range.

    Example:
        >>> schedule_named("cosine", learning_rate=0.1, total_steps=10).rate(5)
        0.05
    """
    schedule: Schedule
    match name:
        case "constant" | "plateau":
            schedule = Constant(learning_rate)
        case "step":
            schedule = StepDecay(learning_rate, decay_steps, decay)
        case "exponential":
            schedule = ExponentialDecay(learning_rate, decay_steps, decay)
        case "cosine":
            schedule = CosineDecay(learning_rate, max(1, total_steps - warmup_steps), final_rate)
        case _:
            raise _unknown("schedule", name, SCHEDULES)
    return WarmUp(schedule, warmup_steps) if warmup_steps else schedule


def _unknown(what: str, name: str, known: Mapping[str, object] | tuple[str, ...]) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"There is no {what} {name!r}", fix=f"Use one of {', '.join(sorted(known))}.", value=name
    )
