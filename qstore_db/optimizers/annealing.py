"""Simulated annealing of parameters, with an optional tunnelling rate for high and narrow barriers.

In round k = 0, 1, … a normally distributed move is proposed, and ΔE is by how much it changes the objective.

    T_k = T0 · cooling^k             Γ_k = Γ0 · cooling^k
    accepted with probability        min(1, e^(−ΔE / T))          thermal: ΔE up to the threshold, or no field
                                     e^(−w √ΔE / Γ)               tunnelling: ΔE above the threshold

ΔE, T and the threshold are in the unit of the objective; w, the width of the barrier, is the Euclidean length of the
move in the unit of the parameters (radians); Γ is in radians times the root of the unit of the objective, so that the
exponent is a pure number. Sources: Metropolis et al., Journal of Chemical Physics 21, 1087 (1953); Kirkpatrick,
Gelatt and Vecchi, Science 220, 671 (1983); for the form of the rate, the transmission through a rectangular barrier,
Das and Chakrabarti, Reviews of Modern Physics 80, 1061 (2008). This is a classical random walk: nothing tunnels, and
no speed-up is claimed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.errors import InvalidArgumentError
from qstore_db.optimizers.optimizer import Arrays
from qstore_db.optimizers.search import POINT, ROUND, checked_point, checked_values, round_of
from qstore_db.optimizers.settings import check_count, check_decay, check_not_negative, check_positive

_VALUE: Final = "value"
_BEST_POINT: Final = "best_point"
_BEST_VALUE: Final = "best_value"


def thermal_probability(rise: float, temperature: float) -> float:
    """min(1, e^(−ΔE/T)).

    Args:
        rise: ΔE, in the unit of the objective.
        temperature: T > 0, in the same unit.
    """
    return 1.0 if rise <= 0.0 else math.exp(-rise / temperature)


def tunnelling_probability(rise: float, width: float, field: float) -> float:
    """e^(−w √ΔE / Γ), and 1 for ΔE ≤ 0.

    Args:
        rise: ΔE, in the unit of the objective.
        width: w, in the unit of the parameters.
        field: Γ > 0, in the unit of the parameters times the root of that of the objective.
    """
    return 1.0 if rise <= 0.0 else math.exp(-width * math.sqrt(rise) / field)


@dataclass(frozen=True, slots=True)
class Annealing:
    """The search; see the module. A round asks for one point; the first for the start.

    The state holds ``point`` (n,) and ``value`` (1,), ``best_point`` (n,) and ``best_value`` (1,) of all points
    visited, and ``round`` (1,).

    Args:
        start_temperature: T0 > 0, in the unit of the objective.
        cooling: In (0, 1).
        stop: Temperature below which the search is done, above 0.
        move: Standard deviation of each element of a move, above 0, in the unit of the parameters.
        field: Γ0 > 0, or ``None`` for thermal moves alone.
        threshold: Rise from which on tunnelling decides, from 0 on, in the unit of the objective; goes with ``field``.
        seed: Of moves and acceptance.

    Raises:
        InvalidArgumentError: A setting is out of range, or only one of ``field`` and ``threshold`` is given.
    """

    start_temperature: float = 1.0
    cooling: float = 0.99
    stop: float = 1e-3
    move: float = 0.3
    field: float | None = None
    threshold: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("start_temperature", "cooling", "stop", "move"):
            check_positive("Annealing", name, getattr(self, name))
        check_decay("Annealing", "cooling", self.cooling)
        check_count("Annealing", "seed", self.seed, 0)
        if (self.field is None) != (self.threshold is None):
            raise InvalidArgumentError(
                f"field is {self.field!r} and threshold {self.threshold!r}: only one of them is given",
                fix="Give both for tunnelling, or none for thermal moves alone.",
                value=self.field,
            )
        if self.field is not None:
            check_positive("Annealing", "field", self.field)
            check_not_negative("Annealing", "threshold", self.threshold)

    def init(self, point: ArrayLike) -> Arrays:
        """The state at a start point."""
        start = checked_point(point)
        unknown = np.full(1, np.nan)
        return {
            POINT: start,
            ROUND: np.zeros(1),
            _VALUE: unknown,
            _BEST_POINT: start.copy(),
            _BEST_VALUE: unknown.copy(),
        }

    def temperature(self, state: Mapping[str, NDArray[np.float64]]) -> float:
        """T of the next move."""
        return float(self.start_temperature * self.cooling ** round_of(state))

    def probability(self, rise: float, width: float, number: int) -> float:
        """Of accepting, in round ``number``, a move of length ``width`` that raises the objective by ``rise``."""
        cooled = self.cooling**number
        if self.field is None or self.threshold is None or rise <= self.threshold:
            return thermal_probability(rise, self.start_temperature * cooled)
        return tunnelling_probability(rise, width, self.field * cooled)

    def ask(self, state: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """The point of the move, or the start."""
        if np.isnan(state[_VALUE][0]):
            return state[POINT][None].copy()
        return (state[POINT] + self._draws(state)[0])[None]

    def tell(self, state: Mapping[str, NDArray[np.float64]], values: ArrayLike) -> Arrays:
        """The state after accepting or refusing the move."""
        value = checked_values(values, 1)
        advanced = dict(state)
        if np.isnan(state[_VALUE][0]):
            return advanced | {_VALUE: value.copy(), _BEST_VALUE: value.copy()}
        move, chance = self._draws(state)
        advanced[ROUND] = state[ROUND] + 1.0
        rise = float(value[0] - state[_VALUE][0])
        if chance >= self.probability(rise, float(np.linalg.norm(move)), round_of(state)):
            return advanced
        advanced |= {POINT: state[POINT] + move, _VALUE: value.copy()}
        if value[0] < state[_BEST_VALUE][0]:
            advanced |= {_BEST_POINT: advanced[POINT].copy(), _BEST_VALUE: value.copy()}
        return advanced

    def is_done(self, state: Mapping[str, NDArray[np.float64]]) -> bool:
        """Whether the temperature has fallen below ``stop``."""
        return self.temperature(state) < self.stop

    def _draws(self, state: Mapping[str, NDArray[np.float64]]) -> tuple[NDArray[np.float64], float]:
        rng = np.random.default_rng((self.seed, round_of(state)))
        return self.move * rng.standard_normal(state[POINT].size), float(rng.random())
