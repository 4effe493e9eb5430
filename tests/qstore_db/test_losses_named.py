"""Every named loss against finite differences and closed forms; callables of the caller's."""

import math

import numpy as np
import pytest

from qstore_db.errors import InvalidArgumentError, InvalidTargetError
from qstore_db.models.losses import CUSTOM, LOSSES, checked_targets, checked_values, default_loss, loss_named

ROWS, WIDTH = 7, 4
CASES = [(kind, name) for kind, losses in LOSSES.items() for name in losses]


def given(kind, seed):
    rng = np.random.default_rng(seed)
    if kind == "classifier":
        return 2.0 * rng.normal(size=(ROWS, WIDTH)), rng.integers(0, WIDTH, ROWS)
    if kind == "regressor":
        return rng.normal(size=(ROWS, WIDTH)), rng.normal(size=(ROWS, WIDTH))
    return rng.uniform(size=(ROWS, 1)), rng.uniform(0.1, 3.0, (ROWS, 1))


@pytest.mark.parametrize(("kind", "name"), CASES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_derivative_is_that_of_the_loss(kind, name, seed):
    outputs, targets = given(kind, seed)
    before = outputs.copy()
    losses, derivative = LOSSES[kind][name](outputs, targets)
    assert losses.shape == (ROWS,) and derivative.shape == outputs.shape
    assert (losses >= 0).all() and np.array_equal(outputs, before)
    step = 1e-6
    for column in range(outputs.shape[1]):
        moved = np.zeros_like(outputs)
        moved[:, column] = step
        above, below = (LOSSES[kind][name](outputs + sign * moved, targets)[0] for sign in (1, -1))
        np.testing.assert_allclose(derivative[:, column], (above - below) / (2 * step), atol=2e-9)


def test_closed_forms_by_hand():
    scores, classes = np.array([[0.0, math.log(3.0)], [2.0, 0.5]]), np.array([1, 1])
    losses = {name: loss(scores, classes)[0] for name, loss in LOSSES["classifier"].items()}
    np.testing.assert_allclose(losses["cross_entropy"][0], -math.log(0.75))
    np.testing.assert_allclose(losses["fidelity"][0], 0.25)
    np.testing.assert_allclose(losses["hinge"], [max(0.0, 1 - math.log(3.0)), 2.5])
    np.testing.assert_allclose(losses["mse"][1], (2.0**2 + 0.5**2) / 2)
    assert LOSSES["regressor"]["mse"](np.array([[1.0, 2.0]]), np.array([[0.0, 4.0]]))[0] == 2.5
    fidelities, squares = np.array([[0.9], [0.5]]), np.array([[4.0], [2.0]])
    np.testing.assert_allclose(LOSSES["autoencoder"]["fidelity"](fidelities, squares)[0], [0.1, 0.5])
    np.testing.assert_allclose(LOSSES["autoencoder"]["mse"](fidelities, squares)[0], [0.4, 1.0])


def test_hinge_is_flat_where_the_margin_is_kept():
    losses, derivative = LOSSES["classifier"]["hinge"](np.array([[3.0, 0.0, 1.0]]), np.array([0]))
    assert losses.tolist() == [0.0] and not derivative.any()


def test_large_scores_overflow_nowhere():
    scores = np.array([[1e4, -1e4], [-1e4, 1e4]])
    for loss in LOSSES["classifier"].values():
        found, derivative = loss(scores, np.array([0, 0]))
        assert np.isfinite(found).all() and np.isfinite(derivative).all()


def test_names_lead_to_losses_and_unknown_ones_to_a_fix():
    assert loss_named("classifier", None) is default_loss("classifier") is LOSSES["classifier"]["cross_entropy"]
    assert loss_named("regressor", "mse") is LOSSES["regressor"]["mse"]
    assert default_loss("autoencoder") is LOSSES["autoencoder"]["fidelity"]
    with pytest.raises(InvalidArgumentError, match=r"kind 'regressor' have no loss 'hinge'.*'mse'.*db.train"):
        loss_named("regressor", "hinge")
    own = LOSSES["classifier"]["mse"]
    assert loss_named("classifier", CUSTOM, own) is own
    with pytest.raises(InvalidArgumentError, match=r"no database stores.*db.resume"):
        loss_named("classifier", CUSTOM)
    with pytest.raises(InvalidArgumentError, match="begun with loss = 'mse'"):
        loss_named("classifier", "mse", own)


@pytest.mark.parametrize(
    "found",
    [
        None,
        np.zeros(3),
        (np.zeros(3),),
        (np.zeros(2), np.zeros((3, 2))),
        (np.zeros(3), np.zeros((2, 3))),
        (np.zeros(3, complex), np.zeros((3, 2))),
        (0.5, np.zeros((3, 2))),
    ],
)
def test_what_is_no_loss_is_refused(found):
    with pytest.raises(InvalidArgumentError, match=r"3 rows of 2 outputs.*\(losses, derivative\) of shapes \(3,\)"):
        checked_values(found, 3, 2)


def test_values_come_back_as_float64():
    losses, derivative = checked_values((np.ones(2, np.float32), np.ones((2, 1), np.int64)), 2, 1)
    assert losses.dtype == derivative.dtype == np.float64


def test_targets_are_checked():
    assert checked_targets([1, 2], 2, 1).tolist() == [[1.0], [2.0]]
    assert checked_targets(np.ones((2, 3), np.float32), 2, 3).dtype == np.float64
    with pytest.raises(InvalidTargetError, match=r"shape \(2,\).*2 rows and 3 output"):
        checked_targets([1.0, 2.0], 2, 3)
    with pytest.raises(InvalidTargetError, match="row 1 is nan"):
        checked_targets([1.0, float("nan")], 2, 1)
    with pytest.raises(InvalidTargetError, match="not real numbers"):
        checked_targets(["a", "b"], 2, 1)
