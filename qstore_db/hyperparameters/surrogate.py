"""Suggestions from a quadratic surrogate of the cost, minimised as a QUBO.

Each name of the space becomes bits, one for each of its values (at most :data:`LEVELS` for a range), of which exactly
one is 1. The cost is modelled as a constant, a weight for each bit and one for each pair of bits of different names,
with independent normal priors. A draw from the posterior of these weights (Thompson sampling) is a QUBO; the settings
that minimise it are tried next. This is BOCS (Baptista and Poloczek 2018, arXiv:1806.08838) with a normal instead of a
horseshoe prior, and with the solvers of :mod:`qstore_db.qubo` in the place of its semidefinite program.

The annealing is path-integral Monte Carlo, a classical algorithm on this computer; up to 16 bits everything is compared
instead. No advantage over the other samplers is claimed: the surrogate knows no order between the levels of a range,
and sees at most ``LEVELS`` of its values, so that it suits spaces of choices.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import MissingDependencyError
from qstore_db.hyperparameters.observation import Observation, Outcome
from qstore_db.hyperparameters.space import Settings, Space, Value, generator_for
from qstore_db.qubo.problem import Qubo
from qstore_db.qubo.solving import solve_qubo

LEVELS = 7
"""Values of a range that are told apart."""

_COMPARED_BITS = 16
_PRIOR = 1.0  # standard deviation of a weight; costs are scaled to 1
_NOISE = 0.1  # of what the weights leave unexplained, on the same scale
_DRAWS = 8
_RANDOM_DRAWS = 64


@dataclass(frozen=True, slots=True)
class AnnealedSurrogate:
    """The sampler ``annealing``; the module says what it does. Beyond 16 bits it needs dwave-samplers.

    Trials that failed or were pruned count as the worst that was seen. What was tried is not tried again, as long
    as eight draws from the posterior, or else sixty-four at random, find something new.

    Args:
        random_trials: How many are drawn at random first.
    """

    random_trials: int = 5

    def check(self, space: Space) -> None:
        """See :class:`~qstore_db.hyperparameters.sampling.Sampler`."""
        found = [importlib.util.find_spec(package) for package in ("dimod", "dwave")]
        if len(_Bits(space)) > _COMPARED_BITS and None in found:
            raise MissingDependencyError(
                f"The sampler 'annealing' needs dwave-samplers for a space of {len(_Bits(space))} values",
                fix="pip install 'qstore-db[anneal]', or use the sampler 'random'.",
            )

    def suggest(self, space: Space, seen: Sequence[Observation], number: int, seed: int) -> dict[str, Value]:
        """See :class:`~qstore_db.hyperparameters.sampling.Sampler`. Cost: n² features for n trials, and one QUBO."""
        generator = generator_for(seed, number)
        ended = [one for one in seen if one.outcome is not Outcome.RUNNING]
        finished = [one for one in ended if one.outcome is Outcome.FINISHED]
        if len(finished) < max(2, self.random_trials):
            return space.drawn(generator)
        bits = _Bits(space)
        rows = np.stack([bits.encoded(one.settings) for one in ended])
        costs = _scaled([one.cost if one.outcome is Outcome.FINISHED else None for one in ended])
        tried = {row.tobytes() for row in rows}
        for _ in range(_DRAWS):
            found = bits.lowest(_drawn_weights(bits.features(rows), costs, generator), generator)
            if found.tobytes() not in tried:
                return bits.decoded(found)
        drawn = space.drawn(generator)
        for _ in range(_RANDOM_DRAWS):
            if bits.encoded(drawn).tobytes() not in tried:
                break
            drawn = space.drawn(generator)
        return drawn


class _Bits:
    """The bits of a space: which stands for which value."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._levels = [dimension.levels(LEVELS) for dimension in space.dimensions]
        owners = [number for number, levels in enumerate(self._levels) for _ in levels]
        self._owner = np.array(owners)
        self._left, self._right = np.nonzero(np.triu(self._owner[:, None] != self._owner[None, :], 1))

    def __len__(self) -> int:
        return len(self._owner)

    def encoded(self, settings: Settings) -> NDArray[np.int8]:
        """Bits of settings, int8 (bits,); a value between two levels counts as the nearer one."""
        parts = []
        for dimension, levels in zip(self._space.dimensions, self._levels, strict=True):
            part = np.zeros(len(levels), dtype=np.int8)
            part[_nearest(levels, settings[dimension.name])] = 1
            parts.append(part)
        return np.concatenate(parts)

    def decoded(self, bits: NDArray[np.int8]) -> dict[str, Value]:
        """Settings of bits of which each name has one."""
        chosen = np.flatnonzero(bits)
        first = np.cumsum([0, *(len(levels) for levels in self._levels)])
        return {
            dimension.name: levels[int(place - start)]
            for dimension, levels, place, start in zip(
                self._space.dimensions, self._levels, chosen, first[:-1], strict=True
            )
        }

    def features(self, rows: NDArray[np.int8]) -> NDArray[np.float64]:
        """A constant, the bits and their products, (rows, 1 + bits + pairs)."""
        x = rows.astype(np.float64)
        return np.concatenate([np.ones((len(x), 1)), x, x[:, self._left] * x[:, self._right]], axis=1)

    def lowest(self, weights: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.int8]:
        """Bits, one for each name, of low modelled cost."""
        m = len(self)
        linear, quadratic = weights[1 : 1 + m].copy(), np.zeros((m, m))
        quadratic[self._left, self._right] = weights[1 + m :]
        # Another number of ones than one must cost more than all that it could gain.
        most = np.abs(linear) + np.abs(quadratic).sum(axis=0) + np.abs(quadratic).sum(axis=1)
        penalty = 1.0 + float(most.max())
        same = np.triu(self._owner[:, None] == self._owner[None, :], 1)
        problem = Qubo(linear - penalty, quadratic + 2.0 * penalty * same, penalty * len(self._levels))
        if m <= _COMPARED_BITS:
            found = solve_qubo(problem, "brute_force").bits
        else:
            found = solve_qubo(problem, reads=2, sweeps=250, seed=int(generator.integers(1 << 31))).bits
        return self._mended(found, linear, quadratic + quadratic.T)

    def _mended(
        self, bits: NDArray[np.int8], linear: NDArray[np.float64], both: NDArray[np.float64]
    ) -> NDArray[np.int8]:
        # An annealed answer may have no one or two ones of a name: the best one beside the others stays.
        mended = bits.copy()
        for number in range(len(self._levels)):
            own = np.flatnonzero(self._owner == number)
            if mended[own].sum() != 1:
                mended[own] = 0
                mended[own[int((linear[own] + both[own] @ mended).argmin())]] = 1
        return mended


def _drawn_weights(
    features: NDArray[np.float64], costs: NDArray[np.float64], generator: np.random.Generator
) -> NDArray[np.float64]:
    """Weights drawn from their posterior: a draw from the prior, moved to where it meets the data (Matheron's rule)."""
    prior = generator.normal(0.0, _PRIOR, features.shape[1])
    noise = generator.normal(0.0, _NOISE, len(costs))
    gram = _PRIOR**2 * features @ features.T + _NOISE**2 * np.eye(len(costs))
    explained = np.linalg.solve(gram, costs + noise - features @ prior)
    return np.asarray(prior + _PRIOR**2 * features.T @ explained)


def _scaled(costs: Sequence[float | None]) -> NDArray[np.float64]:
    """Costs moved and scaled to mean 0 and deviation 1; one that is missing counts as the largest."""
    known = np.array([cost for cost in costs if cost is not None])
    values = np.array([known.max() if cost is None else cost for cost in costs], dtype=np.float64)
    deviation = float(values.std())
    return np.asarray((values - values.mean()) / (deviation if deviation > 0 else 1.0))


def _nearest(levels: Sequence[Value], value: Value) -> int:
    if value in levels:
        return levels.index(value)
    numbers = np.array([float(level) for level in levels])  # type: ignore[arg-type]  # only ranges have values between
    return int(np.abs(numbers - float(value)).argmin())  # type: ignore[arg-type]
