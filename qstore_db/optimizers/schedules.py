"""Rates as functions of the number of steps taken.

They are pure, so that a run that is continued has the rates it would have had. Step 0 is the first. What depends on
the loss is :mod:`qstore_db.optimizers.plateau`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from qstore_db.optimizers.settings import check_count, check_factor, check_not_negative, check_positive


class Schedule(Protocol):
    """The rate of every step."""

    def rate(self, step: int) -> float:
        """The rate of the step before which ``step`` steps were taken; not negative."""
        ...


@dataclass(frozen=True, slots=True)
class Constant:
    """The same rate for every step.

    Args:
        start: The rate, above 0.

    Raises:
        InvalidArgumentError: It is not a finite number above 0.
    """

    start: float

    def __post_init__(self) -> None:
        check_positive("The schedule", "learning_rate", self.start)

    def rate(self, step: int) -> float:
        """``start``."""
        return self.start


@dataclass(frozen=True, slots=True)
class StepDecay:
    """start · factor^⌊step / every⌋.

    Args:
        start: Rate of the first step, above 0.
        every: Steps between two reductions, at least 1.
        factor: In (0, 1].

    Raises:
        InvalidArgumentError: A number is out of range.
    """

    start: float
    every: int
    factor: float

    def __post_init__(self) -> None:
        check_positive("The schedule", "learning_rate", self.start)
        check_count("The schedule", "every", self.every)
        check_factor("The schedule", "factor", self.factor)

    def rate(self, step: int) -> float:
        """See the class."""
        return float(self.start * self.factor ** (step // self.every))


@dataclass(frozen=True, slots=True)
class ExponentialDecay:
    """start · factor^(step / every): the same as :class:`StepDecay` at multiples of ``every``, without jumps.

    Args:
        start: Rate of the first step, above 0.
        every: Steps in which the rate falls by the factor, at least 1.
        factor: In (0, 1].

    Raises:
        InvalidArgumentError: A number is out of range.
    """

    start: float
    every: int
    factor: float

    def __post_init__(self) -> None:
        check_positive("The schedule", "learning_rate", self.start)
        check_count("The schedule", "every", self.every)
        check_factor("The schedule", "factor", self.factor)

    def rate(self, step: int) -> float:
        """See the class."""
        return float(self.start * self.factor ** (step / self.every))


@dataclass(frozen=True, slots=True)
class CosineDecay:
    """final + (start − final) · (1 + cos(π · step / steps)) / 2, and ``final`` from then on.

    Source: Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017, equation 5,
        without restarts.

    Args:
        start: Rate of the first step, above 0.
        steps: Steps after which ``final`` is reached, at least 1.
        final: From 0 on.

    Raises:
        InvalidArgumentError: A number is out of range.
    """

    start: float
    steps: int
    final: float = 0.0

    def __post_init__(self) -> None:
        check_positive("The schedule", "learning_rate", self.start)
        check_count("The schedule", "steps", self.steps)
        check_not_negative("The schedule", "final rate", self.final)

    def rate(self, step: int) -> float:
        """See the class."""
        if step >= self.steps:
            return self.final
        return self.final + (self.start - self.final) * (1.0 + math.cos(math.pi * step / self.steps)) / 2.0


@dataclass(frozen=True, slots=True)
class PowerDecay:
    """gain / (stability + step + 1)^exponent: the gains of stochastic approximation.

    Source: J. C. Spall, "Implementation of the simultaneous perturbation algorithm for stochastic optimization", IEEE
        Transactions on
    Aerospace and Electronic Systems 34, 817 (1998), with exponent 0.602 for steps and 0.101 for perturbations.

    Args:
        gain: Above 0.
        stability: Spall's A, from 0 on: about a tenth of the steps that are planned.
        exponent: Above 0.

    Raises:
        InvalidArgumentError: A number is out of range.
    """

    gain: float
    stability: float = 0.0
    exponent: float = 0.602

    def __post_init__(self) -> None:
        check_positive("The schedule", "gain", self.gain)
        check_not_negative("The schedule", "stability", self.stability)
        check_positive("The schedule", "exponent", self.exponent)

    def rate(self, step: int) -> float:
        """See the class."""
        return float(self.gain / (self.stability + step + 1) ** self.exponent)


@dataclass(frozen=True, slots=True)
class WarmUp:
    """A rise to another schedule: for ``steps`` steps (step + 1) / (steps + 1) of its first rate, then the schedule.

    Args:
        then: The schedule that follows.
        steps: At least 1.

    Raises:
        InvalidArgumentError: ``steps`` is not an integer from 1 on.
    """

    then: Schedule
    steps: int

    def __post_init__(self) -> None:
        check_count("The schedule", "warm-up", self.steps)

    def rate(self, step: int) -> float:
        """See the class."""
        if step >= self.steps:
            return self.then.rate(step - self.steps)
        return self.then.rate(0) * (step + 1) / (self.steps + 1)
