"""Choosing k of m candidates that are relevant and unlike each other, as a QUBO.

With relevances r_i and similarities S_ij of the candidates, both brought to [0, 1], and a weight d of diversity,

    gain(x) = (1 − d)·Σ_i r_i x_i − d·(2 / (k − 1))·Σ_{i<j} S_ij x_i x_j,        Σ_i x_i = k,

so that both sums have at most k terms' worth. The constraint enters as A·(Σ x_i − k)², A = 1.25·max(1 − d, 2d), more
than one candidate too many or too few can gain. An annealed answer of another count is mended greedily, which the
result says, and then single candidates are exchanged for others while that gains.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import InvalidArgumentError
from qstore_db.qubo.problem import Qubo
from qstore_db.qubo.solving import MAX_BRUTE_FORCE, Method, solve_qubo


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """Which candidates were chosen.

    Args:
        chosen: int64 (k,), ascending.
        gain: As the module defines it.
        energy: Of the QUBO: −gain where the count is k.
        method: What solved it.
        repaired: Whether the solver's answer had another count and was mended.
    """

    chosen: NDArray[np.int64]
    gain: float
    energy: float
    method: str
    repaired: bool


def select_diverse(
    relevance: NDArray[np.float64],
    similarity: NDArray[np.float64],
    k: int,
    *,
    diversity: float = 0.5,
    method: Method | None = None,
    tunneling_strength: float = 1.0,
    seed: int = 0,
) -> Selection:
    """Choose k candidates.

    Args:
        relevance: (m,), finite; brought to [0, 1] by its own least and largest value.
        similarity: (m, m), symmetric, finite; brought to [0, 1] likewise, its diagonal does not count.
        k: 1 to m.
        diversity: d in [0, 1]: 0 takes the k most relevant, 1 looks at nothing but how unlike they are.
        method: As in :func:`~qstore_db.qubo.solving.solve_qubo`; ``None`` compares everything where there are at most
            20 candidates and anneals otherwise.
        tunneling_strength: As there.
        seed: As there.

    Raises:
        InvalidArgumentError: Shapes that do not fit, numbers that are not finite, or an argument out of its range.
        MissingDependencyError: Annealing without dwave-samplers.
    """
    m = len(relevance)
    if similarity.shape != (m, m) or not 1 <= k <= m:
        raise InvalidArgumentError(
            f"k is {k}, for {m} relevances and similarities of shape {similarity.shape}",
            fix="Give k from 1 to the number of candidates, and a square matrix of their similarities.",
            value=k,
        )
    if not 0 <= diversity <= 1:
        raise InvalidArgumentError(f"diversity is {diversity!r}", fix="Give a number from 0 to 1.", value=diversity)
    if not (np.isfinite(relevance).all() and np.isfinite(similarity).all()):
        raise InvalidArgumentError("A relevance or similarity is not finite", fix="Give finite numbers.")
    gains = _Gains.of(relevance, similarity, k, diversity)
    chosen_method: Method = method or ("brute_force" if m <= MAX_BRUTE_FORCE else "path_integral")
    # Gains are of the order of 1; a twentieth of that is told apart before the exchanges.
    solution = solve_qubo(
        gains.problem(k, diversity),
        chosen_method,
        tunneling_strength=tunneling_strength,
        temperature=0.05,
        reads=2,
        sweeps=250,
        seed=seed,
    )
    bits = solution.bits.astype(bool)
    repaired = int(bits.sum()) != k
    while int(bits.sum()) != k:
        bits = gains.nearer(bits, k)
    if not solution.optimal:
        bits = gains.exchanged(bits)
    gain = gains.gain(bits)
    return Selection(np.flatnonzero(bits), gain, -gain, solution.method, repaired)


@dataclass(frozen=True, slots=True, eq=False)
class _Gains:
    """The weighted relevances (m,) and similarities of pairs (m, m), diagonal 0."""

    single: NDArray[np.float64]
    pair: NDArray[np.float64]

    @classmethod
    def of(cls, relevance: NDArray[np.float64], similarity: NDArray[np.float64], k: int, diversity: float) -> _Gains:
        outside = ~np.eye(len(relevance), dtype=bool)
        pair = np.where(outside, _unit((similarity + similarity.T) / 2, outside), 0.0)
        return cls((1.0 - diversity) * _unit(relevance), diversity * 2.0 / max(1, k - 1) * pair)

    def problem(self, k: int, diversity: float) -> Qubo:
        penalty = 1.25 * max(1.0 - diversity, 2.0 * diversity)
        m = len(self.single)
        linear = -self.single + penalty * (1.0 - 2.0 * k)
        return Qubo(linear, np.triu(self.pair + 2.0 * penalty * np.ones((m, m)), 1), penalty * k * k)

    def gain(self, bits: NDArray[np.bool_]) -> float:
        return float(self.single[bits].sum() - self.pair[np.ix_(bits, bits)].sum() / 2.0)

    def nearer(self, bits: NDArray[np.bool_], k: int) -> NDArray[np.bool_]:
        """One candidate more or fewer, whichever brings most or costs least; the first one on a tie."""
        marginal = self.single - self.pair[:, bits].sum(axis=1)
        changed = bits.copy()
        if bits.sum() < k:
            free = np.flatnonzero(~bits)
            changed[free[marginal[free].argmax()]] = True
        else:
            taken = np.flatnonzero(bits)
            changed[taken[marginal[taken].argmin()]] = False
        return changed

    def exchanged(self, bits: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The exchange of one candidate for another that gains most, again and again until none gains."""
        while bits.any() and not bits.all():
            inside, outside = np.flatnonzero(bits), np.flatnonzero(~bits)
            marginal = self.single - self.pair[:, bits].sum(axis=1)
            # A newcomer is not beside the one that it replaces.
            change = marginal[outside] - marginal[inside][:, None] + self.pair[np.ix_(inside, outside)]
            best = int(change.argmax())
            if change.flat[best] <= 1e-12:
                break
            bits = bits.copy()
            bits[inside[best // len(outside)]], bits[outside[best % len(outside)]] = False, True
        return bits


def _unit(values: NDArray[np.float64], where: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Values moved and scaled to [0, 1]; all 0 where they are equal."""
    counted = values if where is None else values[where]
    if not counted.size:
        return np.zeros_like(values)
    low, high = float(counted.min()), float(counted.max())
    return np.zeros_like(values) if high <= low else (values - low) / (high - low)
