"""Spaces, samplers and pruners: values and functions without a database."""

import importlib.util
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.errors import InvalidArgumentError, MissingDependencyError
from qstore_db.hyperparameters import optuna_sampling, surrogate
from qstore_db.hyperparameters.observation import Observation, Outcome
from qstore_db.hyperparameters.pruning import Median, SuccessiveHalving, pruner_named
from qstore_db.hyperparameters.sampling import SAMPLERS, Grid, sampler_named
from qstore_db.hyperparameters.space import Choice, Range, parse_space
from qstore_db.hyperparameters.surrogate import LEVELS, AnnealedSurrogate

TYPES = {"layers": int, "rate": float, "kind": str, "flag": bool}
needs_optuna = pytest.mark.skipif(importlib.util.find_spec("optuna") is None, reason="optuna is not installed")
needs_annealing = pytest.mark.skipif(importlib.util.find_spec("dwave") is None, reason="dwave-samplers is missing")
SPACE = {
    "layers": {"low": 1, "high": 6},
    "rate": {"low": 0.001, "high": 1.0, "log": True},
    "kind": ["a", "b", None],
    "flag": [True, False],
}


def seen(costs, outcome=Outcome.FINISHED):
    return [Observation({}, outcome, costs[-1], tuple(costs))]


def cost_of(found):
    """Least, 0, at 4 layers, rate 0.1, kind b, flag set."""
    return (
        abs(found["layers"] - 4) / 6
        + abs(math.log10(found["rate"]) + 1) / 3
        + (found["kind"] != "b")
        + 0.5 * (not found["flag"])
    )


def searched(name, trials, seed, written=None):
    space = parse_space(SPACE if written is None else written, TYPES)
    sampler = sampler_named(name)
    sampler.check(space)
    done = []
    for number in range(1, trials + 1):
        found = sampler.suggest(space, done, number, seed)
        assert space.holds(found), found
        done.append(Observation(found, Outcome.FINISHED, cost_of(found)))
    return done


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ({}, "The space is"),
        (["layers"], "The space is"),
        ({"layer": [1]}, "cannot vary 'layer'"),
        ({"layers": [1], "Depth": [2]}, "names layers twice"),
        ({"layers": []}, "0 choices"),
        ({"layers": "12"}, "The space of layers is '12'"),
        ({"layers": 3}, "The space of layers is 3"),
        ({"layers": [1, 1]}, "the choice 1 twice"),
        ({"rate": [math.inf]}, "A choice of rate is inf"),
        ({"rate": [[1]]}, "A choice of rate is"),
        ({"kind": {"low": 0, "high": 1}}, "kind has no ranges"),
        ({"layers": {"low": 1}}, "high = None"),
        ({"layers": {"low": 1, "high": 2.5}}, "high = 2.5"),
        ({"layers": {"low": 3, "high": 2}}, "high is below low"),
        ({"rate": {"low": 0, "high": 1, "log": True}}, "log needs low above 0"),
        ({"rate": {"low": 0.1, "high": 1, "log": True, "step": 0.1}}, "exclude each other"),
        ({"rate": {"low": 0.1, "high": 1, "step": 0}}, "step is not above 0"),
        ({"rate": {"low": 0.1, "high": 1, "stepp": 1}}, "has 'stepp'"),
        ({"rate": {"low": 0.1, "high": math.nan}}, "high = nan"),
        ({"rate": {"low": 0.1, "high": 1, "log": 1}}, "log of rate is 1"),
    ],
)
def test_what_is_no_space_is_refused_and_named(written, says):
    with pytest.raises(InvalidArgumentError, match=says):
        parse_space(written, TYPES, {"depth": "layers"})


def test_the_nearest_name_is_offered():
    with pytest.raises(InvalidArgumentError) as caught:
        parse_space({"layerz": [1]}, TYPES)
    assert caught.value.fix.startswith("Did you mean layers?")


def test_the_json_form_round_trips_and_types_are_kept():
    space = parse_space(SPACE, TYPES)
    assert parse_space(space.to_json(), TYPES) == space
    stepped = parse_space({"rate": {"low": 0, "high": 1, "step": 0.25}, "layers": [np.int64(2), 3]}, TYPES)
    assert stepped.dimensions[0].levels(9) == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert stepped.points == 10
    assert type(stepped.dimensions[1].values[0]) is int
    assert Choice("x", (1, True)).holds(True)
    assert not Choice("x", (1,)).holds(True)


@given(st.integers(1, 40), st.integers(0, 40), st.integers(1, 7), st.floats(0, 1, exclude_max=True), st.integers(2, 9))
@settings(derandomize=True, deadline=None, max_examples=80)
def test_whole_ranges_give_what_they_hold(low, width, step, share, most):
    for one in (
        Range("x", low, low + width, step=step, whole=True),
        Range("x", low, low + width, log=True, whole=True),
    ):
        assert type(one.at(share)) is int
        values = {one.at(n / 997) for n in range(997)}
        assert values <= set(range(low, low + width + 1))
        if one.step is not None:
            assert values == set(range(low, low + width + 1, step))
            assert one.count == len(values)
        levels = one.levels(most)
        assert 1 <= len(levels) <= most
        assert levels[0] == low
        assert list(levels) == sorted(set(levels))


def test_a_logarithmic_range_is_even_in_ratios():
    one = Range("x", 0.001, 1.0, log=True)
    drawn = [one.at(share) for share in np.linspace(0, 1, 3001, endpoint=False)]
    assert abs(np.median(drawn) - 10**-1.5) < 1e-3
    assert min(drawn) == 0.001
    assert np.allclose(one.levels(4), [0.001, 0.01, 0.1, 1.0])


def test_a_grid_goes_through_everything_once_and_refuses_a_continuum():
    written = {"layers": {"low": 1, "high": 5, "step": 2}, "kind": ["a", "b"], "flag": [True, False]}
    found = [one.settings for one in searched_grid(written)]
    assert len(found) == 12
    assert len({tuple(one.values()) for one in found}) == 12
    assert found[0] == {"layers": 1, "kind": "a", "flag": True}
    assert found[1] == {"layers": 1, "kind": "a", "flag": False}
    assert found[-1] == {"layers": 5, "kind": "b", "flag": False}
    with pytest.raises(InvalidArgumentError, match="every rate"):
        Grid().check(parse_space(SPACE, TYPES))


def searched_grid(written):
    space = parse_space(written, TYPES)
    return [Observation(Grid().suggest(space, [], number, 0), Outcome.FINISHED) for number in range(1, 13)]


@pytest.mark.parametrize(
    "name",
    ["random", pytest.param("tpe", marks=needs_optuna), pytest.param("annealing", marks=needs_annealing)],
)
def test_a_suggestion_follows_from_seed_number_and_what_was_seen(name):
    first, again = searched(name, 16, 3), searched(name, 16, 3)
    assert first == again
    assert [one.settings for one in searched(name, 16, 4)] != [one.settings for one in first]
    space, sampler = parse_space(SPACE, TYPES), sampler_named(name)
    assert sampler.suggest(space, first[:15], 16, 3) == first[15].settings
    assert len({repr(one.settings) for one in first}) > 8


@pytest.mark.parametrize("name", [pytest.param("tpe", marks=needs_optuna), "annealing"])
def test_samplers_that_learn_find_more_than_chance(name):
    # One space of choices for all, with 96 points of which one is best; 40 trials each, ten seeds.
    written = {"layers": [1, 2, 4, 6], "rate": [0.001, 0.01, 0.1, 1.0], "kind": ["a", "b", None], "flag": [True, False]}

    def later_costs(sampler):
        return np.mean([[one.cost for one in searched(sampler, 40, seed, written)[20:]] for seed in range(10)])

    assert later_costs(name) < 0.75 * later_costs("random")


def test_the_surrogate_does_not_try_twice_what_it_knows():
    written = {"layers": [1, 2, 4, 6], "kind": ["a", "b", None], "flag": [True, False]}
    space = parse_space(written, TYPES)
    done = []
    for number in range(1, 21):
        found = AnnealedSurrogate().suggest(space, done, number, 5)
        done.append(Observation(found, Outcome.FINISHED, cost_of({**found, "rate": 0.1})))
    learned = [repr(one.settings) for one in done[5:]]
    assert len(set(learned)) == 15


@needs_annealing
def test_the_surrogate_meets_the_one_choice_of_each_name_when_it_anneals():
    space = parse_space({**SPACE, "layers": {"low": 1, "high": 60}}, TYPES)
    bits = surrogate._Bits(space)
    assert len(bits) == LEVELS + LEVELS + 3 + 2
    rng = np.random.default_rng(0)
    for _ in range(5):
        weights = rng.normal(size=bits.features(np.zeros((1, len(bits)), np.int8)).shape[1])
        found = bits.lowest(weights, rng)
        assert [int(found[start:stop].sum()) for start, stop in ((0, 7), (7, 14), (14, 17), (17, 19))] == [1] * 4
        assert np.array_equal(bits.encoded(bits.decoded(found)), found)


def test_the_surrogates_optimum_is_the_best_of_all_points():
    space = parse_space({"layers": [1, 2, 3], "kind": ["a", "b", None], "flag": [True, False]}, TYPES)
    bits = surrogate._Bits(space)
    rng = np.random.default_rng(1)
    everything = [
        {"layers": layers, "kind": kind, "flag": flag}
        for layers in (1, 2, 3)
        for kind in ("a", "b", None)
        for flag in (True, False)
    ]
    rows = np.stack([bits.encoded(one) for one in everything])
    for _ in range(20):
        weights = rng.normal(size=bits.features(rows).shape[1])
        best = everything[int((bits.features(rows) @ weights).argmin())]
        assert bits.decoded(bits.lowest(weights, rng)) == best


def test_posterior_weights_meet_the_data():
    rng = np.random.default_rng(2)
    features = rng.integers(0, 2, size=(30, 8)).astype(float)
    truth = rng.normal(size=8)
    drawn = np.mean([surrogate._drawn_weights(features, features @ truth, rng) for _ in range(200)], axis=0)
    assert np.allclose(drawn, truth, atol=0.1)


def test_unknown_names_and_missing_packages_are_typed(monkeypatch):
    with pytest.raises(InvalidArgumentError, match="no sampler 'tpee'"):
        sampler_named("tpee")
    with pytest.raises(InvalidArgumentError, match="no pruner 'mean'"):
        pruner_named("mean")
    assert pruner_named(None) is None
    assert set(SAMPLERS) == {"tpe", "random", "grid", "gp", "annealing"}
    monkeypatch.setattr(optuna_sampling.importlib.util, "find_spec", lambda package: None)
    space = parse_space(SPACE, TYPES)
    for name, package in (("tpe", "optuna"), ("gp", "optuna"), ("annealing", "dwave")):
        with pytest.raises(MissingDependencyError, match=package):
            sampler_named(name).check(space)
    few = parse_space({"flag": [True, False]}, TYPES)
    AnnealedSurrogate().check(few)  # compares everything


def test_the_gaussian_process_says_what_it_lacks():
    space = parse_space(SPACE, TYPES)
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("optuna") is None:
        with pytest.raises(MissingDependencyError, match=r"(torch|optuna) is not installed"):
            sampler_named("gp").check(space)
        return
    found = searched("gp", 14, 0)
    assert found == searched("gp", 14, 0)


def test_the_median_rule():
    others = [one for cost in (1.0, 2.0, 3.0, 4.0, 5.0) for one in seen([cost, cost, cost])]
    rule = Median()
    assert rule.stops([3.5], others)
    assert not rule.stops([3.0], others)
    assert not rule.stops([2.0, 9.0], others)  # its best counts
    assert not rule.stops([9.0], others[:4])  # too few
    assert not rule.stops([9.0], [*others[:4], *seen([1.0], Outcome.PRUNED)])
    assert not rule.stops([9.0] * 4, others)  # none came so far


def test_successive_halving_keeps_the_best_third():
    rule = SuccessiveHalving()
    others = [one for cost in (1.0, 2.0, 3.0, 4.0, 5.0) for one in seen([cost] * 3)]
    assert not rule.stops([1.5], others)  # one of two of six
    assert rule.stops([2.5], others)
    assert not rule.stops([9.0, 9.0], others)  # epoch 2 is no rung
    assert rule.stops([0.0, 0.0, 9.0], others)
    assert not rule.stops([9.0], others[:1])  # two are too few
    assert rule.stops([9.0], [*others[:1], *seen([1.0], Outcome.PRUNED)])  # those that were stopped there count
