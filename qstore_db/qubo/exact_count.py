"""QUBOs over assignments with exactly k ones: E(x) least subject to Σ x_i = k.

The constraint enters as A·(Σ x_i - k)² with A = 1.25·max_i (|Q_ii| + Σ_j |Q_ij|), or what the caller knows to be
enough: more than any flip can gain, so the least energy of the whole has exactly k ones. A solver that ends elsewhere
is mended flip by flip, which the answer says; where nothing is proven, ones and zeros are then exchanged while that
lowers E.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import InvalidArgumentError
from qstore_db.qubo.problem import Qubo
from qstore_db.qubo.solving import MAX_BRUTE_FORCE, Method, solve_qubo

if TYPE_CHECKING:
    from qstore_db.executor.executor import Executor


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """k of m.

    Args:
        bits: int8 (m,), k of them 1.
        energy: Of the problem without the penalty.
        method: What solved it; ``all`` where k is m and nothing is left to solve.
        optimal: Whether nothing better can exist: only where everything was compared, or k is m.
        repaired: Whether the solver's answer had another count.
        circuits: How many were run.
    """

    bits: NDArray[np.int8]
    energy: float
    method: str
    optimal: bool
    repaired: bool
    circuits: int = 0


def choose_exactly(
    problem: Qubo,
    k: int,
    *,
    method: Method | None = None,
    penalty: float | None = None,
    tunneling_strength: float | None = None,
    temperature: float | None = None,
    reads: int | None = None,
    sweeps: int | None = None,
    executor: Executor | None = None,
    backend: str | None = None,
    shots: int | None = None,
    seed: int = 0,
) -> Choice:
    """The assignment of least energy found among those with k ones.

    Args:
        problem: On m variables.
        k: 1 to m.
        method: As for :func:`~qstore_db.qubo.solving.solve_qubo`. ``None``: annealing if ``tunneling_strength`` is
            given, QAOA if ``executor`` is; otherwise everything is compared up to 20 variables, and annealed beyond.
        penalty: A > 0, above what one flip among about k ones can gain; the smaller, the easier for solvers that walk.
            ``None`` is that of the module.
        tunneling_strength: As there.
        temperature: As there.
        reads: As there.
        sweeps: As there.
        executor: As there.
        backend: As there.
        shots: As there.
        seed: As there; without meaning where everything is compared.

    Raises:
        InvalidArgumentError: ``k`` is out of range, or as there.
        MissingDependencyError: Annealing without dwave-samplers.
    """
    m = problem.variables
    if isinstance(k, bool) or k not in range(1, m + 1):
        raise InvalidArgumentError(f"{k!r} of {m} cannot be chosen", fix=f"Choose 1 to {m}.", value=k)
    if penalty is not None and not (np.isfinite(penalty) and penalty > 0):
        raise InvalidArgumentError(f"penalty is {penalty!r}", fix="Give a number above 0.", value=penalty)
    chosen = method_for(m, tunneling_strength, executor) if method is None else method
    if k == m:
        every = np.ones(m, np.int8)
        return Choice(every, float(problem.energy(every)), "all", optimal=True, repaired=False)
    both = problem.quadratic + problem.quadratic.T
    weight = penalty or 1.25 * float((np.abs(problem.linear) + np.abs(both).sum(axis=1)).max()) or 1.0
    whole = Qubo(
        problem.linear + weight * (1.0 - 2.0 * k),
        problem.quadratic + np.triu(np.full((m, m), 2.0 * weight), 1),
        problem.offset + weight * k * k,
    )
    found = solve_qubo(
        whole,
        chosen,
        tunneling_strength=tunneling_strength,
        temperature=temperature,
        reads=reads,
        sweeps=sweeps,
        executor=executor,
        backend=backend,
        shots=shots,
        seed=None if chosen == "brute_force" else seed,
    )
    bits = found.bits.astype(np.int8)
    repaired = int(bits.sum()) != k
    while int(bits.sum()) != k:
        change = (1.0 - 2.0 * bits) * (problem.linear + both @ bits)
        free = np.flatnonzero(bits == (1 if bits.sum() > k else 0))
        bits[free[change[free].argmin()]] ^= 1
    if not found.optimal:
        bits = _exchanged(problem.linear, both, bits)
    return Choice(bits, float(problem.energy(bits)), found.method, found.optimal, repaired, found.circuits)


def method_for(variables: int, tunneling_strength: float | None, executor: Executor | None) -> Method:
    """The method that the arguments of :func:`choose_exactly` ask for."""
    if tunneling_strength is not None:
        return "path_integral"
    if executor is not None:
        return "qaoa"
    return "brute_force" if variables <= MAX_BRUTE_FORCE else "path_integral"


def _exchanged(linear: NDArray[np.float64], both: NDArray[np.float64], bits: NDArray[np.int8]) -> NDArray[np.int8]:
    """The exchange of a one for a zero that lowers the energy most, again and again until none does."""
    bits = bits.copy()
    while bits.any() and not bits.all():
        field = linear + both @ bits
        ones, zeros = np.flatnonzero(bits), np.flatnonzero(bits == 0)
        change = field[zeros] - field[ones][:, None] - both[np.ix_(ones, zeros)]
        best = int(change.argmin())
        if change.flat[best] >= -1e-12 * (1.0 + np.abs(field).max()):
            break
        bits[ones[best // len(zeros)]], bits[zeros[best % len(zeros)]] = 0, 1
    return bits
