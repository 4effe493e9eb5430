"""Choosing assets, against all combinations, and a backtest against the definition."""

from itertools import combinations

import numpy as np
import pytest

from qstore_db.algorithms.portfolio import backtest, select_assets
from qstore_db.errors import InvalidArgumentError


def drawn(seed, periods=40, assets=7):
    rng = np.random.default_rng(seed)
    common = rng.normal(0, 0.01, (periods, 1))
    return common * rng.uniform(0.5, 1.5, assets) + rng.normal(0.001, 0.02, (periods, assets))


@pytest.mark.parametrize(("seed", "k", "aversion"), [(0, 3, 2.0), (1, 1, 0.0), (2, 7, 10.0), (3, 4, 50.0)])
def test_the_choice_is_the_best_of_all(seed, k, aversion):
    returns = drawn(seed)
    mean, covariance = returns.mean(axis=0), np.cov(returns.T)
    objectives = {}
    for places in combinations(range(7), k):
        weights = np.isin(np.arange(7), places) / k
        objectives[places] = aversion * weights @ covariance @ weights - mean @ weights
    found = select_assets(returns, k, risk_aversion=aversion)
    best = min(objectives, key=objectives.__getitem__)
    assert tuple(found.chosen.tolist()) == best
    assert found.objective == pytest.approx(objectives[best])
    assert found.weights.sum() == pytest.approx(1.0)
    assert found.optimal


def test_a_backtest_of_two_assets_by_hand():
    # A window of two periods: the first asset has the higher mean, then the second.
    returns = np.array([[0.10, 0.00], [0.10, 0.00], [0.50, 0.00], [-0.50, 0.20], [0.00, 0.10]])
    found = backtest(returns, 1, risk_aversion=0.0, window=2, cost=0.01)
    assert found.chosen[:, 0].tolist() == [0, 0, 1]
    assert found.turnover.tolist() == [1.0, 0.0, 2.0]
    wanted = [0.99, 0.99 * 1.5, 0.99 * 1.5 * 0.5 * 0.98, 0.99 * 1.5 * 0.5 * 0.98 * 1.1]
    np.testing.assert_allclose(found.values, wanted)


def test_drifted_weights_are_what_a_rebalancing_moves():
    returns = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    found = backtest(returns, 2, risk_aversion=1.0, window=2, cost=0.1)
    assert found.turnover == pytest.approx([1.0, 2 * (2 / 3 - 1 / 2)])
    np.testing.assert_allclose(found.values, found.all_assets)  # both hold everything


def test_the_future_changes_nothing_before_it():
    returns = drawn(4, periods=30)
    changed = returns.copy()
    changed[20:] = drawn(5, periods=10)
    whole, other = (backtest(one, 2, risk_aversion=3.0, window=8, every=3) for one in (returns, changed))
    until = 20 - 8
    np.testing.assert_array_equal(whole.values[: until + 1], other.values[: until + 1])
    np.testing.assert_array_equal(whole.chosen[: until // 3 + 1], other.chosen[: until // 3 + 1])
    assert not np.array_equal(whole.values, other.values)
    assert len(whole.chosen) == len(range(8, 30, 3))


@pytest.mark.parametrize(
    "given",
    [
        {"returns": [[0.1, 0.2]]},
        {"returns": [[0.1, -1.0], [0.0, 0.0]]},
        {"returns": [[0.1, np.nan], [0.0, 0.0]]},
        {"returns": np.zeros((3, 0))},
        {"k": 0},
        {"k": 8},
        {"risk_aversion": -1.0},
    ],
)
def test_what_cannot_be_chosen_from_is_refused(given):
    arguments = {"returns": drawn(0), "k": 2, "risk_aversion": 1.0} | given
    with pytest.raises(InvalidArgumentError):
        select_assets(**arguments)


@pytest.mark.parametrize("given", [{"window": 1}, {"window": 40}, {"every": 0}, {"cost": 0.5}])
def test_what_cannot_be_tested_is_refused(given):
    with pytest.raises(InvalidArgumentError):
        backtest(drawn(0), 2, **({"risk_aversion": 1.0, "window": 10} | given))
