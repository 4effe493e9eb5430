"""One table of first-order optimizers, and what holds for each of them."""

import math

import numpy as np
import pytest

from qstore_db.errors import InvalidArgumentError
from qstore_db.optimizers.adam import Adam, AdamW, ScaleByAdam
from qstore_db.optimizers.chain import Chain, chain
from qstore_db.optimizers.clipping import ClipByGlobalNorm, ClipByValue
from qstore_db.optimizers.descent import Descent
from qstore_db.optimizers.named import DIRECTIONS, OPTIMIZERS, direction_named, schedule_named
from qstore_db.optimizers.plateau import Plateau
from qstore_db.optimizers.rmsprop import RmsProp
from qstore_db.optimizers.schedules import Constant, CosineDecay, PowerDecay, WarmUp
from qstore_db.optimizers.sgd import Momentum, Sgd
from qstore_db.optimizers.weight_decay import AddDecayedWeights
from qstore_db.training.checkpoints import pack, unpack

TABLE = {
    "sgd": Sgd(0.1),
    "momentum": Sgd(0.03, momentum=0.8),
    "nesterov": Sgd(0.03, momentum=0.8, nesterov=True),
    "adam": Adam(0.05),
    "adamw": AdamW(0.05, weight_decay=1e-4),
    "rmsprop": RmsProp(0.01),
    "rmsprop with momentum": RmsProp(0.003, momentum=0.8),
    "clipped adam with cosine": Descent(chain(ClipByGlobalNorm(1.0), ScaleByAdam()), CosineDecay(0.05, 2000, 0.001)),
    "clipped sgd with warm-up": Descent(chain(ClipByValue(2.0), Momentum(0.8)), WarmUp(Constant(0.03), 10)),
    "plateau": Descent(ScaleByAdam(), Constant(0.05), Plateau(0.9, 5)),
    "spall": Descent(Momentum(0.0), PowerDecay(0.5, 10.0)),
}
STEEP = {  # where the curvature is large, rates are below 2 / curvature
    "sgd": Sgd(0.01),
    "momentum": Sgd(0.005, momentum=0.8),
    "nesterov": Sgd(0.005, momentum=0.8, nesterov=True),
    "spall": Descent(Momentum(0.0), PowerDecay(0.1, 10.0, 0.3)),
}
MINIMUM = {"a": np.array([1.5, -0.5]), "b": np.array([[0.25], [2.0]])}
CURVATURE = {"a": np.array([1.0, 4.0]), "b": np.array([[2.0], [0.5]])}

table = pytest.mark.parametrize("optimizer", TABLE.values(), ids=TABLE.keys())


def quadratic(point):
    loss = sum(float((CURVATURE[name] * (value - MINIMUM[name]) ** 2).sum()) for name, value in point.items())
    return loss, {name: 2 * CURVATURE[name] * (value - MINIMUM[name]) for name, value in point.items()}


def rosenbrock(point):
    x, y = point["x"]
    loss = (1 - x) ** 2 + 10 * (y - x * x) ** 2
    return loss, {"x": np.array([-2 * (1 - x) - 40 * x * (y - x * x), 20 * (y - x * x)])}


def descend(optimizer, function, point, steps, state=None):
    state = optimizer.init(point) if state is None else state
    for _ in range(steps):
        loss, gradient = function(point)
        point, state = optimizer.update(gradient, state, point)
        if isinstance(optimizer, Descent):
            state = optimizer.observe(loss, state)
    return point, state


def bits(arrays):
    return {name: (array.dtype.name, array.shape, array.tobytes()) for name, array in arrays.items()}


@table
def test_a_quadratic_is_minimised(optimizer):
    point, _ = descend(optimizer, quadratic, {name: np.zeros_like(value) for name, value in MINIMUM.items()}, 2000)
    assert quadratic(point)[0] < 1e-3


@table
def test_the_valley_of_rosenbrock_is_followed(optimizer):
    start = {"x": np.array([-0.5, 0.5])}
    name = next(name for name, value in TABLE.items() if value is optimizer)
    point, _ = descend(STEEP.get(name, optimizer), rosenbrock, start, 3000)
    assert rosenbrock(point)[0] < 0.02 * rosenbrock(start)[0]
    np.testing.assert_allclose(point["x"], 1.0, atol=0.4)


@table
def test_stopping_and_continuing_through_a_file_changes_no_bit(optimizer):
    start = {name: np.full_like(value, 0.3) for name, value in MINIMUM.items()}
    whole, state = descend(optimizer, quadratic, start, 23)
    half, middle = descend(optimizer, quadratic, start, 11)
    arrays, _ = unpack(pack(middle, {}), name="x")
    assert bits(arrays) == bits(middle)
    continued, last = descend(optimizer, quadratic, half, 12, arrays)
    assert bits(continued) == bits(whole)
    assert bits(last) == bits(state)


@table
def test_nothing_is_changed_in_place_and_all_is_float64(optimizer):
    point = {name: np.full_like(value, 0.3) for name, value in MINIMUM.items()}
    _, state = descend(optimizer, quadratic, point, 2)
    gradient = quadratic(point)[1]
    before = [bits(arrays) for arrays in (gradient, state, point)]
    once = [bits(arrays) for arrays in optimizer.update(gradient, state, point)]
    twice = [bits(arrays) for arrays in optimizer.update(gradient, state, point)]
    assert before == [bits(arrays) for arrays in (gradient, state, point)]
    assert once == twice
    assert {kind for arrays in once for kind, _, _ in arrays.values()} == {"float64"}
    assert set(once[1]) == set(state)


@table
def test_a_parameter_without_gradient_stays_and_a_wrong_one_is_refused(optimizer):
    point = {"a": np.ones(2), "b": np.ones((2, 1))}
    state = optimizer.init(point)
    moved, _ = optimizer.update({"a": np.ones(2)}, state, point)
    assert moved["b"].tobytes() == point["b"].tobytes()
    assert (moved["a"] < 1).all()
    if optimizer is not TABLE["clipped sgd with warm-up"]:  # clipping comes first there, and takes any array
        with pytest.raises(InvalidArgumentError):
            optimizer.update({"c": np.ones(2)}, state, point)
    with pytest.raises(InvalidArgumentError):
        optimizer.update({"a": np.ones(3)}, state, point)


def by_hand(kind, gradients, start=1.0):
    """One parameter, written with plain numbers; rates and settings as in the test."""
    theta, m, v, velocity = start, 0.0, 0.0, 0.0
    for t, g in enumerate(gradients, 1):
        if kind == "adamw":
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            step = (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.999**t)) + 1e-8)
            theta = theta - 0.1 * step - 0.1 * 0.2 * theta
        elif kind == "rmsprop":
            v = 0.9 * v + 0.1 * g * g
            theta -= 0.1 * g / (math.sqrt(v) + 1e-8)
        elif kind == "rmsprop with momentum":
            v = 0.9 * v + 0.1 * g * g
            velocity = 0.5 * velocity + g / (math.sqrt(v) + 1e-8)
            theta -= 0.1 * velocity
        elif kind == "momentum":
            velocity = 0.5 * velocity + g
            theta -= 0.1 * velocity
        else:
            velocity = 0.5 * velocity + g
            theta -= 0.1 * (g + 0.5 * velocity)
    return theta


@pytest.mark.parametrize(
    ("kind", "optimizer"),
    [
        ("adamw", AdamW(0.1, weight_decay=0.2)),
        ("rmsprop", RmsProp(0.1)),
        ("rmsprop with momentum", RmsProp(0.1, momentum=0.5)),
        ("momentum", Sgd(0.1, momentum=0.5)),
        ("nesterov", Sgd(0.1, momentum=0.5, nesterov=True)),
    ],
)
def test_steps_agree_with_plain_loops(kind, optimizer):
    gradients = np.random.default_rng(4).normal(size=30) * 3
    point = {"w": np.array([1.0])}
    state = optimizer.init(point)
    for gradient in gradients:
        point, state = optimizer.update({"w": np.array([gradient])}, state, point)
    assert point["w"][0] == pytest.approx(by_hand(kind, gradients.tolist()), abs=1e-13)


def test_decoupled_decay_enters_no_moment_and_equals_an_l2_penalty_for_plain_descent():
    point = {"w": np.array([2.0])}
    decayed = Descent(chain(Momentum(0.0), AddDecayedWeights(0.3)), Constant(0.1))
    moved, _ = decayed.update({"w": np.array([1.0])}, decayed.init(point), point)
    penalised, _ = Sgd(0.1).update({"w": np.array([1.0 + 0.3 * 2.0])}, {}, point)
    assert moved["w"].tolist() == penalised["w"].tolist()
    adamw, adam = AdamW(0.1, weight_decay=0.3), Adam(0.1)
    with_decay = adamw.update({"w": np.array([1.0])}, adamw.init(point), point)[1]
    without = adam.update({"w": np.array([1.0])}, adam.init(point), point)[1]
    assert with_decay["0/first_moment/w"].tolist() == without["first_moment/w"].tolist()


def test_chains_act_from_left_to_right_and_keep_states_apart():
    point = {"w": np.zeros(2)}
    gradient = {"w": np.array([3.0, 4.0])}
    clipped_then_doubled = chain(ClipByGlobalNorm(1.0), Momentum(0.5), Momentum(0.25))
    state = clipped_then_doubled.init(point)
    assert set(state) == {"1/velocity/w", "2/velocity/w"}
    first, state = clipped_then_doubled.update(gradient, state, point)
    np.testing.assert_allclose(first["w"], [0.6, 0.8])
    second, _ = clipped_then_doubled.update(gradient, state, point)
    np.testing.assert_allclose(second["w"], (0.25 + 1.5) * np.array([0.6, 0.8]))
    assert chain().update(gradient, {}, point)[0] == gradient
    assert isinstance(chain(), Chain)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: Sgd(0.0), "learning_rate"),
        (lambda: Sgd(0.1, momentum=1.0), "momentum"),
        (lambda: Sgd(0.1, nesterov=True), "nesterov"),
        (lambda: RmsProp(0.1, decay=1.0), "decay"),
        (lambda: RmsProp(0.1, epsilon=0.0), "epsilon"),
        (lambda: AdamW(0.1, weight_decay=-1.0), "weight_decay"),
        (lambda: AdamW("fast"), "learning_rate"),
        (lambda: ClipByValue(0.0), "largest"),
        (lambda: ClipByGlobalNorm(math.nan), "largest"),
        (lambda: direction_named("lion"), "lion"),
        (lambda: direction_named("adam", momentum=0.5), "momentum"),
        (lambda: direction_named("adam", weight_decay=0.5), "adamw"),
        (lambda: direction_named("rmsprop", nesterov=True), "nesterov"),
        (lambda: schedule_named("linear", learning_rate=0.1, total_steps=1), "linear"),
    ],
)
def test_settings_out_of_range_are_named(make, word):
    with pytest.raises(InvalidArgumentError, match=word):
        make()


def test_directions_by_name_are_those_of_the_optimizers():
    for name, make in OPTIMIZERS.items():
        assert direction_named(name).update(
            {"w": np.array([0.5])}, direction_named(name).init({"w": np.zeros(1)}), {"w": np.ones(1)}
        )[0]["w"].tolist() == [
            pytest.approx(
                (
                    1
                    - make(0.1).update({"w": np.array([0.5])}, make(0.1).init({"w": np.zeros(1)}), {"w": np.ones(1)})[
                        0
                    ]["w"][0]
                )
                / 0.1
            )
        ]
    assert set(DIRECTIONS) == {*OPTIMIZERS, "natural"}
