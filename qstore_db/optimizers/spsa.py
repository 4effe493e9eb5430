"""SPSA: descent along gradients that two evaluations estimate, however many parameters there are.

Source: J. C. Spall, "Implementation of the simultaneous perturbation algorithm for stochastic optimization", IEEE
Transactions on Aerospace and Electronic Systems 34, 817 (1998). With a random Δ of elements ±1,

    ĝ = [f(θ + c_k Δ) − f(θ − c_k Δ)] / (2 c_k) · Δ        θ ← θ − a_k ĝ
    a_k = a / (A + k + 1)^0.602                             c_k = c / (k + 1)^0.101

The bias of ĝ is O(c²); its variance does not vanish where f has no noise, because Δ is random.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.gradients.directions import random_signs
from qstore_db.optimizers.optimizer import Arrays
from qstore_db.optimizers.schedules import PowerDecay
from qstore_db.optimizers.search import POINT, ROUND, checked_point, checked_values, round_of
from qstore_db.optimizers.settings import check_count, check_not_negative, check_positive

_CANDIDATE: Final = "candidate"
_VALUE: Final = "value"


@dataclass(frozen=True, slots=True)
class Spsa:
    """The search; see the module.

    A round asks for 2 · ``averages`` points, in the order + − + − …. With ``blocking`` a step is taken only if it
    raises the objective by no more than that; this takes one more point, asked for in a round of its own, and one at
    the start.

    The state holds ``point`` (n,) and ``round`` (1,), and with blocking ``candidate`` (n,), which is being judged
    unless it equals the point, and ``value`` (1,), of the point.

    Args:
        gain: a > 0; :func:`gain_for` finds one.
        perturbation: c > 0, in the unit of the parameters; with noise about its standard deviation.
        stability: A ≥ 0, about a tenth of the rounds planned.
        step_exponent: 0.602, or 1 for the fastest decay that still converges.
        perturbation_exponent: 0.101, or 1/6.
        averages: Estimates that are averaged in a round, at least 1; the variance falls by this factor.
        blocking: Largest rise of the objective that is accepted, from 0 on; ``None`` accepts all. Spall takes twice the
            standard deviation of the noise.
        seed: Of the random vectors.

    Raises:
        InvalidArgumentError: A setting is out of range.
    """

    gain: float = 0.1
    perturbation: float = 0.1
    stability: float = 0.0
    step_exponent: float = 0.602
    perturbation_exponent: float = 0.101
    averages: int = 1
    blocking: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("gain", "perturbation", "step_exponent", "perturbation_exponent"):
            check_positive("SPSA", name, getattr(self, name))
        check_not_negative("SPSA", "stability", self.stability)
        check_count("SPSA", "averages", self.averages)
        check_count("SPSA", "seed", self.seed, 0)
        if self.blocking is not None:
            check_not_negative("SPSA", "blocking", self.blocking)

    def init(self, point: ArrayLike) -> Arrays:
        """The state at a start point."""
        start = checked_point(point)
        state: Arrays = {POINT: start, ROUND: np.zeros(1)}
        if self.blocking is not None:
            state |= {_CANDIDATE: start.copy(), _VALUE: np.full(1, np.nan)}
        return state

    def ask(self, state: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """The perturbed points, or the candidate that is to be judged."""
        if self._judges(state):
            return state[_CANDIDATE][None].copy()
        width, random = self._perturbations(state)
        pairs = state[POINT] + width * np.stack((random, -random), axis=1)
        points: NDArray[np.float64] = pairs.reshape(-1, pairs.shape[-1])
        return points

    def tell(self, state: Mapping[str, NDArray[np.float64]], values: ArrayLike) -> Arrays:
        """The state after the round."""
        if self._judges(state):
            return self._judged(state, float(checked_values(values, 1)[0]))
        width, random = self._perturbations(state)
        pairs = checked_values(values, 2 * self.averages).reshape(-1, 2)
        slopes = (pairs[:, 0] - pairs[:, 1]) / (2.0 * width)
        estimate = (slopes[:, None] * random).mean(axis=0)
        rate = PowerDecay(self.gain, self.stability, self.step_exponent).rate(round_of(state))
        moved = state[POINT] - rate * estimate
        advanced = dict(state) | {ROUND: state[ROUND] + 1.0}
        return advanced | ({POINT: moved} if self.blocking is None else {_CANDIDATE: moved})

    def is_done(self, state: Mapping[str, NDArray[np.float64]]) -> bool:
        """Never: the number of rounds ends it."""
        return False

    def _perturbations(self, state: Mapping[str, NDArray[np.float64]]) -> tuple[float, NDArray[np.float64]]:
        number = round_of(state)
        width = PowerDecay(self.perturbation, 0.0, self.perturbation_exponent).rate(number)
        return width, random_signs(self.seed, number, self.averages, state[POINT].size)

    def _judges(self, state: Mapping[str, NDArray[np.float64]]) -> bool:
        if self.blocking is None:
            return False
        return bool(np.isnan(state[_VALUE][0]) or (state[_CANDIDATE] != state[POINT]).any())

    def _judged(self, state: Mapping[str, NDArray[np.float64]], value: float) -> Arrays:
        known = float(state[_VALUE][0])
        if self.blocking is not None and value > known + self.blocking:
            return dict(state) | {_CANDIDATE: state[POINT].copy()}
        return dict(state) | {POINT: state[_CANDIDATE].copy(), _VALUE: np.full(1, value)}


def gain_for(first_step: float, gradient_size: float, *, stability: float = 0.0, step_exponent: float = 0.602) -> float:
    """Spall's choice of a: the first step moves each parameter by about ``first_step``.

    Args:
        first_step: In the unit of the parameters, above 0.
        gradient_size: Mean |ĝ_i| of a few estimates at the start, above 0.
        stability: A, as in :class:`Spsa`.
        step_exponent: As in :class:`Spsa`.

    Raises:
        InvalidArgumentError: A number is out of range.

    Example:
        >>> gain_for(0.1, 2.0)
        0.05
    """
    check_positive("SPSA", "first_step", first_step)
    check_positive("SPSA", "gradient_size", gradient_size)
    check_not_negative("SPSA", "stability", stability)
    check_positive("SPSA", "step_exponent", step_exponent)
    return float(first_step * (stability + 1.0) ** step_exponent / gradient_size)
