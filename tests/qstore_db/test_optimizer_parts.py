"""Clipping, schedules, plateaus, freezing and the natural direction."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.errors import InvalidArgumentError
from qstore_db.optimizers.adam import AdamW
from qstore_db.optimizers.chain import chain
from qstore_db.optimizers.clipping import ClipByGlobalNorm, ClipByValue, global_norm
from qstore_db.optimizers.descent import Descent
from qstore_db.optimizers.freezing import Freeze, parse_selection, trained_masks
from qstore_db.optimizers.named import direction_named, schedule_named
from qstore_db.optimizers.natural import natural_direction
from qstore_db.optimizers.plateau import Plateau
from qstore_db.optimizers.schedules import (
    Constant,
    CosineDecay,
    ExponentialDecay,
    PowerDecay,
    StepDecay,
    WarmUp,
)

SHAPES = {"circuit": (12,), "head_weights": (3, 5), "head_bias": (3,)}
ARRAYS = {name: np.arange(1.0, 1 + math.prod(shape)).reshape(shape) for name, shape in SHAPES.items()}


def test_clipping_by_norm_keeps_the_direction_and_what_is_short():
    clipped, _ = ClipByGlobalNorm(2.0).update(ARRAYS, {}, ARRAYS)
    assert global_norm(clipped) == pytest.approx(2.0, abs=1e-14)
    ratios = np.concatenate([(clipped[name] / ARRAYS[name]).ravel() for name in ARRAYS])
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-14)
    short, _ = ClipByGlobalNorm(1e6).update(ARRAYS, {}, ARRAYS)
    assert all(short[name].tobytes() == ARRAYS[name].tobytes() for name in ARRAYS)
    broken, _ = ClipByGlobalNorm(1.0).update({"w": np.array([np.nan])}, {}, {"w": np.zeros(1)})
    assert np.isnan(broken["w"][0])


def test_clipping_by_value_is_elementwise():
    clipped, _ = ClipByValue(2.0).update({"w": np.array([-5.0, -1.0, 2.5])}, {}, {"w": np.zeros(3)})
    assert clipped["w"].tolist() == [-2.0, -1.0, 2.0]


def test_schedules_at_known_steps():
    assert [Constant(0.1).rate(step) for step in (0, 9)] == [0.1, 0.1]
    assert [StepDecay(1.0, 3, 0.5).rate(step) for step in (0, 2, 3, 5, 6)] == [1.0, 1.0, 0.5, 0.5, 0.25]
    assert [ExponentialDecay(1.0, 4, 0.0625).rate(step) for step in (0, 1, 2, 4)] == [1.0, 0.5, 0.25, 0.0625]
    assert [CosineDecay(1.0, 4, 0.2).rate(step) for step in (0, 2, 4, 9)] == [1.0, pytest.approx(0.6), 0.2, 0.2]
    assert PowerDecay(2.0, 3.0, 0.5).rate(0) == 1.0
    assert PowerDecay(2.0, 3.0, 0.5).rate(12) == 0.5
    warm = WarmUp(StepDecay(1.0, 2, 0.5), 3)
    assert [warm.rate(step) for step in range(8)] == [0.25, 0.5, 0.75, 1.0, 1.0, 0.5, 0.5, 0.25]


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    name=st.sampled_from(["constant", "step", "exponential", "cosine", "plateau"]),
    warmup=st.integers(0, 20),
    decay=st.floats(0.05, 1.0),
    every=st.integers(1, 10),
)
def test_after_the_warm_up_rates_never_rise_and_never_pass_the_first(name, warmup, decay, every):
    schedule = schedule_named(
        name, learning_rate=0.3, warmup_steps=warmup, total_steps=50, decay=decay, decay_steps=every, final_rate=0.01
    )
    rates = [schedule.rate(step) for step in range(60)]
    assert all(0 < rate <= 0.3 for rate in rates)
    assert rates[:warmup] == sorted(rates[:warmup])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
    assert rates[warmup] == 0.3


def test_a_plateau_waits_then_lowers_then_waits_again():
    watch = Plateau(factor=0.1, patience=2, threshold=0.01)
    state = watch.init()
    factors = []
    for loss in (1.0, 0.995, 0.98, 0.98, 0.975, 0.5, math.nan, 0.5):
        state = watch.observe(loss, state)
        factors.append(round(watch.factor_in(state), 12))
    assert factors == [1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.01]
    falling = Plateau(factor=0.5, patience=1, threshold=0.1)
    state = falling.observe(-1.0, falling.init())
    assert falling.factor_in(falling.observe(-1.05, state)) == 0.5
    assert falling.factor_in(falling.observe(-1.2, state)) == 1.0


def test_the_rate_of_a_step_is_known_before_and_after_it():
    optimizer = Descent(direction_named("sgd"), StepDecay(1.0, 1, 0.5), Plateau(0.1, 1))
    point = {"w": np.zeros(1)}
    state = optimizer.init(point)
    for expected in (1.0, 0.5, 0.25):
        assert optimizer.rate(state) == expected
        moved, state = optimizer.update({"w": np.ones(1)}, state, point)
        assert moved["w"][0] == -expected
        assert optimizer.rate(state, taken=1) == expected
    for _ in range(2):
        state = optimizer.observe(1.0, state)
    assert optimizer.rate(state) == pytest.approx(0.0125)


def masks_of(text, layers=3):
    return trained_masks(parse_selection(text), SHAPES, layers=layers)


def test_freezing_by_name_layer_and_index():
    masks = masks_of("head_bias, layer[1], circuit[0:2], head_weights[2]")
    assert masks["head_bias"].tolist() == [False] * 3
    assert masks["circuit"].tolist() == [False, False, True, True] + [False] * 4 + [True] * 4
    assert masks["head_weights"].tolist() == [[True] * 5, [True] * 5, [False] * 5]
    assert masks_of("layer[0:2]")["circuit"].tolist() == [False] * 8 + [True] * 4
    frozen = Freeze(masks)
    kept = frozen.masked(ARRAYS)
    assert set(kept) == {"circuit", "head_weights"}
    assert kept["circuit"].tolist() == [0, 0, 3, 4, 0, 0, 0, 0, 9, 10, 11, 12]
    assert frozen.masked({"circuit": np.full(12, np.nan)})["circuit"][0] == 0.0
    with pytest.raises(InvalidArgumentError, match="does not fit"):
        frozen.masked({"circuit": np.zeros(3)})


def test_frozen_weights_keep_their_bits_whatever_the_optimizer():
    masks = masks_of("circuit[3:9], head_bias")
    for name in ("adam", "adamw", "sgd", "rmsprop"):
        optimizer = Descent(chain(direction_named(name), Freeze(masks)), Constant(0.1))
        point, state = ARRAYS, optimizer.init(ARRAYS)
        for _ in range(3):
            point, state = optimizer.update(Freeze(masks).masked(ARRAYS), state, point)
        for array in SHAPES:
            same = point[array] == ARRAYS[array]
            assert (same == ~masks[array]).all(), (name, array)
    moved, _ = AdamW(0.1).update(ARRAYS, AdamW(0.1).init(ARRAYS), ARRAYS)
    assert (moved["circuit"] != ARRAYS["circuit"]).all()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "selects no weights"),
        ("head bias", "selects no weights"),
        ("layer", "selects no weights"),
        ("circuit[-1]", "selects no weights"),
        ("circuit[5:5]", "empty range"),
        ("body", "'body'"),
        ("circuit[12]", "there are 12"),
        ("layer[2:4]", "there are 3"),
        ("circuit, head_weights, head_bias", "Every weight"),
    ],
)
def test_selections_that_mean_nothing_are_refused(text, word):
    with pytest.raises(InvalidArgumentError, match=word):
        masks_of(text)


def test_the_natural_direction_solves_the_damped_equation():
    rng = np.random.default_rng(2)
    root = rng.normal(size=(5, 3))
    metric, gradient = root @ root.T, rng.normal(size=5)
    direction = natural_direction(gradient, metric, damping=0.01)
    np.testing.assert_allclose((metric + 0.01 * np.eye(5)) @ direction, gradient, atol=1e-12)
    mask = np.array([True, False, True, True, False])
    part = natural_direction(gradient, metric, damping=0.01, trained=mask)
    assert part[~mask].tolist() == [0.0, 0.0]
    inner = metric[np.ix_(mask, mask)] + 0.01 * np.eye(3)
    np.testing.assert_allclose(inner @ part[mask], gradient[mask], atol=1e-12)
    assert natural_direction(gradient, metric, trained=np.zeros(5, bool)).tolist() == [0.0] * 5


def test_a_natural_step_does_not_depend_on_how_the_angle_is_scaled():
    # With θ = s φ the gradient is scaled by s and the metric by s²; the step in θ is the same.
    gradient, metric = np.array([0.7]), np.array([[0.25]])
    for scale in (0.5, 3.0):
        step = natural_direction(scale * gradient, scale**2 * metric, damping=1e-12)
        assert scale * step[0] == pytest.approx(natural_direction(gradient, metric, damping=1e-12)[0])


@pytest.mark.parametrize(
    ("gradient", "metric", "damping"),
    [
        (np.zeros(2), np.zeros((3, 3)), 0.1),
        (np.zeros((2, 1)), np.zeros((2, 2)), 0.1),
        (np.array([np.nan]), np.eye(1), 0.1),
        (np.zeros(1), np.full((1, 1), np.inf), 0.1),
        (np.zeros(1), np.eye(1), 0.0),
    ],
)
def test_natural_directions_of_nonsense_are_refused(gradient, metric, damping):
    with pytest.raises(InvalidArgumentError):
        natural_direction(gradient, metric, damping=damping)
