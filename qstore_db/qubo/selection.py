"""Choosing k of m candidates that are relevant and unlike each other, as a QUBO.

With relevances r_i and similarities S_ij of the candidates, both brought to [0, 1], and a weight d of diversity,

    gain(x) = (1 − d)·Σ_i r_i x_i − d·(2 / (k − 1))·Σ_{i<j} S_ij x_i x_j,        Σ_i x_i = k,

so that both sums have at most k terms' worth. :mod:`qstore_db.qubo.exact_count` keeps the count, with the penalty
A = 1.25·max(1 − d, 2d), more than one candidate too many or too few can gain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import InvalidArgumentError
from qstore_db.qubo.exact_count import choose_exactly, method_for
from qstore_db.qubo.problem import Qubo
from qstore_db.qubo.solving import Method

if TYPE_CHECKING:
    from qstore_db.executor.executor import Executor


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """Which candidates were chosen.

    Args:
        chosen: int64 (k,), ascending.
        gain: As the module defines it.
        energy: Of the QUBO at the choice, which is −gain because the count is k.
        method: What solved it; ``all`` where every candidate is chosen and nothing was solved.
        repaired: Whether the solver's answer had another count and was mended.
        circuits: How many were run.
    """

    chosen: NDArray[np.int64]
    gain: float
    energy: float
    method: str
    repaired: bool
    circuits: int = 0


def select_diverse(
    relevance: NDArray[np.float64],
    similarity: NDArray[np.float64],
    k: int,
    *,
    diversity: float = 0.5,
    method: Method | None = None,
    tunneling_strength: float | None = None,
    executor: Executor | None = None,
    backend: str | None = None,
    shots: int | None = None,
    seed: int = 0,
) -> Selection:
    """Choose k candidates.

    Args:
        relevance: (m,), finite; brought to [0, 1] by its own least and largest value.
        similarity: (m, m), symmetric, finite; brought to [0, 1] likewise, its diagonal does not count.
        k: 1 to m.
        diversity: d in [0, 1]: 0 takes the k most relevant, 1 looks at nothing but how unlike they are.
        method: As in :func:`~qstore_db.qubo.solving.solve_qubo`. ``None``: annealing if ``tunneling_strength`` is
            given, QAOA if ``executor`` is; otherwise everything is compared where there are at most 20 candidates, and
            annealed beyond.
        tunneling_strength: As there.
        executor: As there.
        backend: As there.
        shots: As there.
        seed: As there; without meaning where everything is compared.

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
    outside = ~np.eye(m, dtype=bool)
    single = (1.0 - diversity) * _unit(relevance)
    pair = np.where(outside, _unit((similarity + similarity.T) / 2, outside), 0.0)
    problem = Qubo(-single, np.triu(diversity * 2.0 / max(1, k - 1) * pair, 1))
    chosen = method_for(m, tunneling_strength, executor) if method is None else method
    walks = chosen == "path_integral"
    found = choose_exactly(
        problem,
        k,
        method=chosen,
        penalty=1.25 * max(1.0 - diversity, 2.0 * diversity),
        tunneling_strength=tunneling_strength,
        # Gains are of the order of 1; a twentieth of that is told apart before the exchanges.
        temperature=0.05 if walks else None,
        reads=2 if walks else None,
        sweeps=250 if walks else None,
        executor=executor,
        backend=backend,
        shots=shots,
        seed=seed,
    )
    gain = -found.energy
    return Selection(np.flatnonzero(found.bits), gain, -gain, found.method, found.repaired, found.circuits)


def _unit(values: NDArray[np.float64], where: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Values moved and scaled to [0, 1]; all 0 where they are equal."""
    counted = values if where is None else values[where]
    if not counted.size:
        return np.zeros_like(values)
    low, high = float(counted.min()), float(counted.max())
    return np.zeros_like(values) if high <= low else (values - low) / (high - low)
