"""Choosing k of m assets by mean and variance (Markowitz, Journal of Finance 7, 77 (1952)), and testing it on the past.

With equal weights w = x/k over the chosen assets, x in {0, 1}^m and Σ x = k, the objective

    f(x) = q·wᵀΣw - μᵀw

is a QUBO: μ the mean return of a period, Σ the covariance of returns, q the aversion to risk, in the unit of one over
returns. Nothing here predicts returns: μ and Σ are those of the past, and the backtest shows what that was worth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.errors import InvalidArgumentError
from qstore_db.qubo.exact_count import choose_exactly
from qstore_db.qubo.problem import Qubo, qubo
from qstore_db.qubo.solving import Method

if TYPE_CHECKING:
    from qstore_db.executor.executor import Executor


@dataclass(frozen=True, slots=True, eq=False)
class Portfolio:
    """A choice of assets.

    Args:
        chosen: int64 (k,), ascending.
        weights: float64 (m,), 1/k for each chosen asset.
        mean: μᵀw, per period.
        variance: wᵀΣw, per period squared.
        objective: f of the module.
        optimal: Whether all choices were compared.
    """

    chosen: NDArray[np.int64]
    weights: NDArray[np.float64]
    mean: float
    variance: float
    objective: float
    optimal: bool


def select_assets(
    returns: ArrayLike,
    k: int,
    *,
    risk_aversion: float,
    method: Method | None = None,
    executor: Executor | None = None,
    seed: int = 0,
) -> Portfolio:
    """The k assets with the least objective found.

    Args:
        returns: Relative changes, shape (periods, assets), at least two periods, finite, above -1.
        k: 1 to the number of assets.
        risk_aversion: q, 0 or more.
        method: As for :func:`~qstore_db.qubo.exact_count.choose_exactly`.
        executor: As there.
        seed: As there.

    Raises:
        InvalidArgumentError: Numbers that are no returns, or as there.
        MissingDependencyError: Annealing without dwave-samplers.

    Example:
        >>> calm, wild = [0.01, 0.01, 0.02], [0.3, -0.25, 0.0]
        >>> select_assets(np.transpose([wild, calm]), 1, risk_aversion=5.0).chosen.tolist()
        [1]
    """
    past = _checked(returns)
    if not (np.isfinite(risk_aversion) and risk_aversion >= 0):
        raise InvalidArgumentError(
            f"risk_aversion is {risk_aversion!r}", fix="Give a finite number from 0 on.", value=risk_aversion
        )
    mean, covariance = past.mean(axis=0), np.atleast_2d(np.cov(past, rowvar=False))
    found = choose_exactly(_problem(mean, covariance, k, risk_aversion), k, method=method, executor=executor, seed=seed)
    weights = found.bits / k
    gain, risk = float(mean @ weights), float(weights @ covariance @ weights)
    return Portfolio(np.flatnonzero(found.bits), weights, gain, risk, risk_aversion * risk - gain, found.optimal)


@dataclass(frozen=True, slots=True, eq=False)
class Backtest:
    """What a rule would have earned, after costs; every series starts at 1.

    Args:
        values: Worth of the chosen assets after each period, shape (periods - window + 1,).
        all_assets: Worth of equal weights over all assets, rebalanced at the same times at the same cost.
        chosen: The assets of each rebalancing, int64 (rebalancings, k).
        turnover: Σ |change of weight| at each rebalancing, shape (rebalancings,).
    """

    values: NDArray[np.float64]
    all_assets: NDArray[np.float64]
    chosen: NDArray[np.int64]
    turnover: NDArray[np.float64]


def backtest(
    returns: ArrayLike,
    k: int,
    *,
    risk_aversion: float,
    window: int,
    every: int = 1,
    cost: float = 0.0,
    method: Method | None = None,
    executor: Executor | None = None,
    seed: int = 0,
) -> Backtest:
    """Chooses again and again from the window before, holds, and pays for what it moves.

    The choice before period t sees the periods t - window … t - 1 and nothing later. Between choices weights drift
    with the prices. Buying the first portfolio costs as well.

    Args:
        returns: As for :func:`select_assets`, more periods than ``window``.
        k: As there.
        risk_aversion: As there.
        window: Periods that a choice sees, at least 2.
        every: Periods between choices, at least 1.
        cost: Share of the moved worth that is lost, from 0 to below 0.5.
        method: As there.
        executor: As there.
        seed: As there.

    Raises:
        InvalidArgumentError: As there, or a window, step or cost out of range.
        MissingDependencyError: As there.
    """
    series = _checked(returns)
    if not 2 <= window < len(series) or every < 1 or not 0 <= cost < 0.5:
        raise InvalidArgumentError(
            f"window {window}, every {every}, cost {cost} for {len(series)} periods",
            fix="Use a window from 2 to below the number of periods, every from 1, cost from 0 to below 0.5.",
            value=window,
        )
    chosen: list[NDArray[np.int64]] = []
    ours, everything = _Account(series.shape[1], cost), _Account(series.shape[1], cost)
    even = np.full(series.shape[1], 1.0 / series.shape[1])
    for period in range(window, len(series)):
        if (period - window) % every == 0:
            found = select_assets(
                series[period - window : period],
                k,
                risk_aversion=risk_aversion,
                method=method,
                executor=executor,
                seed=seed,
            )
            chosen.append(found.chosen)
            ours.move_to(found.weights)
            everything.move_to(even)
        ours.live(series[period])
        everything.live(series[period])
    return Backtest(np.array(ours.worths), np.array(everything.worths), np.array(chosen), np.array(ours.moved))


class _Account:
    """Weights and worth over time."""

    def __init__(self, assets: int, cost: float) -> None:
        self._weights = np.zeros(assets)
        self._cost = cost
        self.worths = [1.0]
        self.moved: list[float] = []

    def move_to(self, weights: NDArray[np.float64]) -> None:
        """Buys and sells; the cost is taken from the worth before the next period."""
        self.moved.append(float(np.abs(weights - self._weights).sum()))
        self._weights = weights
        self.worths[-1] *= 1.0 - self._cost * self.moved[-1]

    def live(self, returns: NDArray[np.float64]) -> None:
        """One period."""
        grown = self._weights * (1.0 + returns)
        growth = float(grown.sum())
        self.worths.append(self.worths[-1] * growth)
        self._weights = grown / growth


def _problem(mean: NDArray[np.float64], covariance: NDArray[np.float64], k: int, aversion: float) -> Qubo:
    # x_i² = x_i, so the diagonal takes both terms. A k of 0 is refused when the problem is solved.
    return qubo(aversion * covariance / max(k, 1) ** 2 - np.diag(mean) / max(k, 1))


def _checked(returns: ArrayLike) -> NDArray[np.float64]:
    given = np.array(returns, np.float64)
    if given.ndim != 2 or len(given) < 2 or not given.shape[1] or not np.isfinite(given).all() or (given <= -1).any():
        raise InvalidArgumentError(
            f"an array of shape {given.shape} holds no returns",
            fix="Give (periods, assets), at least two periods, finite and above -1.",
            value=given.shape,
        )
    return given
