"""``auto`` as pure logic: which gradient, when it changes, and what is said about it."""

from itertools import pairwise

import pytest

from qstore_db.errors import InvalidArgumentError
from qstore_db.gradients.choice import Choice, History, Policy, choose, record

POLICY = Policy(refresh_every=5, window=6, stalled=0.01, noisy=4.0, most_directions=8)


def play(
    policy,
    steps,
    *,
    adjoint=False,
    exact_circuits=100,
    loss=lambda step: 0.9**step,
    square=lambda choice: 1.0,
    cost=None,
):
    """Takes steps; returns the choices, the decisions and the history."""
    history, choices, log = History(), [], []
    for step in range(steps):
        choice, history, decision = choose(policy, history, adjoint=adjoint, exact_circuits=exact_circuits)
        choices.append(choice)
        if decision is not None:
            log.append(decision)
        spent = (cost or (lambda c: 2 * c.directions if c.method == "spsa" else exact_circuits))(choice)
        history = record(policy, history, loss=loss(step), gradient_square=square(choice), circuits=spent)
    return choices, log, history


def test_adjoint_where_the_backend_allows_it_and_nothing_else():
    choices, log, history = play(POLICY, 40, adjoint=True, loss=lambda step: 1.0, cost=lambda choice: 0)
    assert set(choices) == {Choice("adjoint")}
    assert [(one.step, one.before, one.circuits) for one in log] == [(0, None, 0)]
    assert "backend gives adjoint" in log[0].reason
    assert history.circuits == 0


def test_spsa_with_an_exact_refresh_every_few_steps():
    choices, log, history = play(POLICY, 12)
    exact = [step for step, choice in enumerate(choices) if choice.method == "parameter_shift"]
    assert exact == [0, 5, 10]
    assert all(choice == Choice("spsa", directions=1) for step, choice in enumerate(choices) if step not in exact)
    assert [one.step for one in log] == [0, 1, 5, 6, 10, 11]
    assert ["refresh" in one.reason for one in log] == [True, False] * 3
    assert history.circuits == 3 * 100 + 9 * 2
    assert [one.circuits for one in log] == [0, 100, 108, 208, 216, 316]
    for earlier, later in pairwise(log):
        assert later.before == earlier.after
        assert later.before != later.after


def test_the_exact_gradient_where_spsa_would_cost_as_much():
    choices, log, _ = play(POLICY, 12, exact_circuits=2)
    assert set(choices) == {Choice("parameter_shift")}
    assert "takes 2 circuits, SPSA 2" in log[0].reason


def test_the_natural_gradient_once_the_window_improves_by_less_than_one_percent():
    choices, log, _ = play(POLICY, 20, loss=lambda step: max(0.5, 1.0 - 0.1 * step))
    first = next(step for step, choice in enumerate(choices) if choice.natural)
    # Losses 1 … 0.5, 0.5, …: steps 5 to 10 are the first six with means of halves less than one per cent apart.
    assert first == 11
    assert all(choice == Choice("parameter_shift", natural=True) for choice in choices[first:])
    assert log[-1].step == first
    assert "improved the loss by 0.00%, less than 1.00%" in log[-1].reason


def test_no_phase_ends_before_its_window_is_full():
    choices, _, _ = play(POLICY, 6, loss=lambda step: 1.0)
    assert not any(choice.natural for choice in choices)
    assert play(POLICY, 7, loss=lambda step: 1.0)[0][6].natural
    rising = play(POLICY, 7, loss=lambda step: 1.0 + step)[0]
    assert rising[6].natural
    below_zero = play(POLICY, 30, loss=lambda step: -1.0 - step)[0]
    assert not any(choice.natural for choice in below_zero)


def test_more_averaging_where_the_variance_is_high_and_less_where_it_is_low():
    def noisy(choice):
        return 1.0 if choice.method == "parameter_shift" else 1.0 + 20.0 / choice.directions

    choices, log, history = play(POLICY, 60, square=noisy)
    directions = [choice.directions for choice in choices if choice.method == "spsa"]
    assert directions == sorted(directions)
    # 20 / D is above the limit of 4 for D = 1, 2, 4 and not for 8; a quarter of the limit is below it.
    assert (directions[0], directions[-1], history.directions) == (1, 8, 8)
    doubled = [one for one in log if "relative variance" in one.reason]
    assert [one.after.directions for one in doubled] == [2, 4, 8]
    assert "variance 20 asks for 2 direction(s) (limit 4)" in doubled[0].reason

    history = play(POLICY, 60, square=lambda choice: 1.0 if choice.method == "parameter_shift" else 1.5)[2]
    assert history.directions == 1
    capped = Policy(refresh_every=5, window=6, noisy=0.5, most_directions=4)
    assert play(capped, 80, square=noisy)[2].directions == 4


def test_the_history_is_bounded_and_nothing_is_drawn():
    history = play(POLICY, 500)[2]
    assert (history.steps, len(history.losses)) == (500, 6)
    assert len(history.squares) <= 6
    assert play(POLICY, 37)[0] == play(POLICY, 37)[0]


def test_a_step_needs_a_choice_and_a_policy_its_ranges():
    with pytest.raises(InvalidArgumentError, match="choice"):
        record(POLICY, History(), loss=1.0, gradient_square=1.0, circuits=1)
    for wrong in (
        {"refresh_every": 1},
        {"window": 1},
        {"stalled": 0.0},
        {"noisy": 0.0},
        {"most_directions": 0},
        {"window": 2.0},
    ):
        with pytest.raises(InvalidArgumentError, match=next(iter(wrong))):
            Policy(**wrong)
