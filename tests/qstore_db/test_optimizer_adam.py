"""Adam against numbers worked by hand and against an independent loop; names; refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qstore_db.errors import InvalidArgumentError
from qstore_db.optimizers.adam import Adam
from qstore_db.optimizers.named import OPTIMIZERS, optimizer_named

# α = 0.1, β₁ = 0.5, β₂ = 0.75, ε = 0.25, gradients 2, -1, 0 from θ = 1:
# t  m                        v                          m̂ = m/(1-.5^t)   v̂ = v/(1-.75^t)      θ
# 1  .5·0 + .5·2 = 1          .75·0 + .25·4 = 1          1/.5 = 2         1/.25 = 4            1 - .1·2/(2+.25)
# 2  .5·1 + .5·(-1) = 0       .75·1 + .25·1 = 1          0                1/.4375              as before
# 3  .5·0 + 0 = 0             .75·1 + 0 = .75            0                                     as before
# then gradient 4:
# 4  2                        .5625 + 4 = 4.5625         2/.9375          4.5625/.68359375     …
GRADIENTS = (2.0, -1.0, 0.0, 4.0)
FIRST = (1.0, 0.0, 0.0, 2.0)
SECOND = (1.0, 1.0, 0.75, 4.5625)
AFTER_ONE = 1.0 - 0.2 / 2.25
THETA = (
    AFTER_ONE,
    AFTER_ONE,
    AFTER_ONE,
    AFTER_ONE - 0.1 * (2 / 0.9375) / (math.sqrt(4.5625 / 0.68359375) + 0.25),
)


def test_the_table_worked_by_hand():
    adam = Adam(learning_rate=0.1, beta1=0.5, beta2=0.75, epsilon=0.25)
    parameters = {"w": np.array([1.0])}
    state = adam.init(parameters)
    for step, (gradient, first, second, theta) in enumerate(zip(GRADIENTS, FIRST, SECOND, THETA, strict=True), 1):
        parameters, state = adam.update({"w": np.array([gradient])}, state, parameters)
        assert state["step"].tolist() == [step]
        assert state["first_moment/w"][0] == pytest.approx(first, abs=1e-15)
        assert state["second_moment/w"][0] == pytest.approx(second, abs=1e-15)
        assert parameters["w"][0] == pytest.approx(theta, abs=1e-15)


def test_many_steps_agree_with_a_plain_loop():
    rng = np.random.default_rng(3)
    adam = Adam(learning_rate=0.02)
    start = rng.normal(size=(2, 3))
    parameters, state = {"w": start}, adam.init({"w": start})
    m, v, theta = [0.0] * 6, [0.0] * 6, start.ravel().tolist()
    for t in range(1, 41):
        gradient = rng.normal(size=(2, 3)) * 10.0 ** rng.integers(-6, 6)
        parameters, state = adam.update({"w": gradient}, state, parameters)
        for i, g in enumerate(gradient.ravel().tolist()):
            m[i] = 0.9 * m[i] + 0.1 * g
            v[i] = 0.999 * v[i] + 0.001 * g * g
            theta[i] -= 0.02 * (m[i] / (1 - 0.9**t)) / (math.sqrt(v[i] / (1 - 0.999**t)) + 1e-8)
    np.testing.assert_allclose(parameters["w"].ravel(), theta, rtol=0, atol=1e-13)


def test_the_minimum_of_a_quadratic_is_found():
    adam = Adam(learning_rate=0.05)
    goal = np.array([1.5, -0.5, 3.0])
    parameters = {"w": np.zeros(3)}
    state = adam.init(parameters)
    for _ in range(2000):
        parameters, state = adam.update({"w": 2 * (parameters["w"] - goal)}, state, parameters)
    np.testing.assert_allclose(parameters["w"], goal, atol=1e-4)


def test_update_changes_nothing_in_place_and_repeats_to_the_bit():
    rng = np.random.default_rng(0)
    parameters = {"a": rng.normal(size=4), "b": rng.normal(size=(2, 2))}
    gradients = {name: rng.normal(size=value.shape) for name, value in parameters.items()}
    adam = Adam()
    _, state = adam.update(gradients, adam.init(parameters), parameters)
    copies = [{name: value.copy() for name, value in arrays.items()} for arrays in (gradients, state, parameters)]
    once, twice = (adam.update(gradients, state, parameters) for _ in range(2))
    for kept, arrays in zip(copies, (gradients, state, parameters), strict=True):
        assert all(kept[name].tobytes() == arrays[name].tobytes() for name in kept)
    for left, right in zip(once, twice, strict=True):
        assert {name: value.tobytes() for name, value in left.items()} == {
            name: value.tobytes() for name, value in right.items()
        }
        assert all(value.dtype == np.float64 for value in left.values())


def test_a_parameter_without_gradient_stays():
    adam = Adam()
    parameters = {"circuit": np.ones(2), "head": np.ones(2)}
    moved, state = adam.update({"head": np.ones(2)}, adam.init(parameters), parameters)
    assert moved["circuit"].tolist() == [1.0, 1.0]
    assert moved["head"][0] < 1.0
    assert state["first_moment/circuit"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", 0.0),
        ("learning_rate", -0.1),
        ("learning_rate", math.nan),
        ("learning_rate", math.inf),
        ("learning_rate", "fast"),
        ("learning_rate", True),
        ("epsilon", 0.0),
        ("beta1", 1.0),
        ("beta1", -0.1),
        ("beta2", 1.5),
        ("beta2", math.nan),
    ],
)
def test_a_setting_out_of_range_is_named(name, value):
    with pytest.raises(InvalidArgumentError, match=name) as caught:
        Adam(**{name: value})
    assert repr(value) in caught.value.what


def test_gradients_that_do_not_fit_are_refused():
    adam = Adam()
    parameters = {"w": np.zeros(2)}
    state = adam.init(parameters)
    with pytest.raises(InvalidArgumentError, match="'other'"):
        adam.update({"other": np.zeros(2)}, state, parameters)
    with pytest.raises(InvalidArgumentError, match=r"shape \(3,\)"):
        adam.update({"w": np.zeros(3)}, state, parameters)
    with pytest.raises(InvalidArgumentError, match="moments"):
        adam.update({"w": np.zeros(3)}, state, {"w": np.zeros(3)})


def test_optimizers_by_name():
    assert optimizer_named("adam", learning_rate=0.5) == Adam(learning_rate=0.5)
    assert set(OPTIMIZERS) == {"adam", "adamw", "rmsprop", "sgd"}
    with pytest.raises(InvalidArgumentError, match=r"no optimizer 'adamm'.*adam"):
        optimizer_named("adamm", learning_rate=0.5)
    with pytest.raises(InvalidArgumentError, match="learning_rate"):
        optimizer_named("adam", learning_rate=-1.0)
