"""The joint law of entangled records, against the definition written out over all joint outcomes."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.errors import InvalidStateError
from qstore_db.states.entanglement import followed, joint_law, maximal_agreement, parse_strength

NAMES = ("a", "b", "c")


def dense(distributions, strength):
    """r·P_max + (1 − r)·ΠP as an array over all joint outcomes, straight from the definition."""
    table = np.array([[one.get(name, 0.0) for name in NAMES] for one in distributions])
    common = table.min(axis=0)
    m = common.sum()
    n = len(table)
    joint = np.zeros((len(NAMES),) * n)
    for outcome in itertools.product(range(len(NAMES)), repeat=n):
        independent = math.prod(table[i, c] for i, c in enumerate(outcome))
        coupled = common[outcome[0]] if len(set(outcome)) == 1 else 0.0
        if m < 1 - 1e-12:
            coupled += (1 - m) * math.prod((table[i, c] - common[c]) / (1 - m) for i, c in enumerate(outcome))
        joint[outcome] = strength * coupled + (1 - strength) * independent
    return joint


@st.composite
def distributions(draw):
    members = []
    for _ in range(draw(st.integers(2, 3))):
        weights = draw(st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0, 3.0]), min_size=3, max_size=3).filter(any))
        members.append({name: weight / sum(weights) for name, weight in zip(NAMES, weights, strict=True) if weight})
    return members


strengths = st.sampled_from([0.0, 0.3, 0.85, 1.0])


@settings(derandomize=True, deadline=None, max_examples=200)
@given(distributions(), strengths)
def test_the_law_is_the_definition(members, strength):
    law = joint_law(members, strength)
    joint = dense(members, strength)
    assert joint.sum() == pytest.approx(1.0, abs=1e-12)
    for outcome in itertools.product(range(3), repeat=len(members)):
        assert law.probability([NAMES[c] for c in outcome]) == pytest.approx(joint[outcome], abs=1e-12)
    for index, member in enumerate(members):
        found = law.marginal(index)
        assert set(found) == set(member)
        assert all(found[name] == pytest.approx(member[name], abs=1e-12) for name in member)
    same = sum(joint[(c,) * len(members)] for c in range(3))
    assert law.agreement() == pytest.approx(same, abs=1e-12)
    m = maximal_agreement(members)
    product = sum(math.prod(member.get(name, 0.0) for member in members) for name in NAMES)
    assert law.agreement() == pytest.approx(strength * m + (1 - strength) * product, abs=1e-12)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(distributions(), strengths, st.integers(0, 1), st.sampled_from(NAMES), st.booleans())
def test_conditioning_is_bayes_rule_however_often_it_is_done(members, strength, first, context, shown):
    law, joint = joint_law(members, strength), dense(members, strength)
    keep = np.zeros(3, bool)
    keep[NAMES.index(context)] = True
    joint = joint * (keep if shown else ~keep).reshape([3 if axis == first else 1 for axis in range(joint.ndim)])
    if joint.sum() < 1e-9:
        return
    law = law.given(first, context, shown=shown)
    joint /= joint.sum()
    other = 1 - first
    second = NAMES[int(joint.sum(axis=tuple(axis for axis in range(joint.ndim) if axis != other)).argmax())]
    for step in range(2):
        for outcome in itertools.product(range(3), repeat=len(members)):
            assert law.probability([NAMES[c] for c in outcome]) == pytest.approx(joint[outcome], abs=1e-10)
        if step == 0:
            law = law.given(other, second)
            mask = [NAMES.index(second) if axis == other else slice(None) for axis in range(joint.ndim)]
            narrowed = np.zeros_like(joint)
            narrowed[tuple(mask)] = joint[tuple(mask)]
            joint = narrowed / narrowed.sum()
    if len(members) == 3:
        rest = law.without(first)
        assert rest.members == 2
        left = joint.sum(axis=first)
        for outcome in itertools.product(range(3), repeat=2):
            assert rest.probability([NAMES[c] for c in outcome]) == pytest.approx(left[outcome], abs=1e-10)


def test_the_agreement_that_unequal_members_can_reach():
    """The figures of the definition: {.6, .4} beside {.5, .5} that share one label reach .5 at most."""
    members = [{"x": 0.6, "y": 0.4}, {"x": 0.5, "z": 0.5}]
    assert maximal_agreement(members) == 0.5
    assert joint_law(members, 1.0).agreement() == 0.5
    assert joint_law(members, 0.85).agreement() == pytest.approx(0.85 * 0.5 + 0.15 * 0.3, abs=1e-15)
    assert joint_law([{"x": 1.0}, {"y": 1.0}], 1.0).agreement() == 0.0


def test_draws_follow_the_law():
    members = [{"a": 0.5, "b": 0.3, "c": 0.2}, {"b": 0.6, "a": 0.4}]
    law, joint = joint_law(members, 0.7), dense(members, 0.7)
    rng = np.random.default_rng(3)
    counts = np.zeros((3, 3))
    for _ in range(20_000):
        first, second = law.draw(rng)
        counts[NAMES.index(first), NAMES.index(second)] += 1
    possible = joint > 0
    assert not counts[~possible].any()
    chi = ((counts[possible] - 20_000 * joint[possible]) ** 2 / (20_000 * joint[possible])).sum()
    assert chi < 16.8  # the 99 % point of chi-square with 6 - 1 = 5 degrees of freedom is 15.1; seeded


def test_what_cannot_happen_is_refused():
    law = joint_law([{"a": 1.0}, {"a": 0.5, "b": 0.5}], 0.5)
    with pytest.raises(InvalidStateError, match="probability 0"):
        law.given(0, "b")
    with pytest.raises(InvalidStateError, match="probability 1"):
        law.given(0, "a", shown=False)
    for strength in (-0.1, 1.5, math.nan, "1", True, None):
        with pytest.raises(InvalidStateError, match="correlation_strength"):
            parse_strength(strength)


def test_followers_move_by_a_share_of_the_change():
    before, after = {"a": 0.5, "b": 0.5}, {"a": 0.9, "b": 0.1}
    assert followed(before, after, {"a": 0.3, "b": 0.7}, 0.5) == pytest.approx({"a": 0.5, "b": 0.5})
    assert followed(before, after, {"b": 0.1, "x": 0.9}, 0.5) == pytest.approx({"x": 1.0})
    assert followed(before, {"b": 1.0}, {"a": 1.0}, 1.0) == pytest.approx({"a": 1.0})
    assert followed(before, {"x": 1.0}, {"a": 0.2, "b": 0.3}, 1.0) == {"a": 0.2, "b": 0.3}
