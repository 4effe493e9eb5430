"""Who gets whose content: every case of the three-way comparison, and what is remembered of a row."""

import itertools

import pytest

from qstore_db.sync.content import ABSENT
from qstore_db.sync.merging import UNKNOWN_ROW, Action, Agreed, Decision, Echo, decide

BOTH = Agreed("a", "a")


@pytest.mark.parametrize(
    ("agreed", "local", "remote", "direction", "prefer", "wanted"),
    [
        (BOTH, "a", "a", "both", "local", Decision(Action.NOTHING)),
        (BOTH, "b", "a", "both", "local", Decision(Action.PUSH)),
        (BOTH, "b", "a", "push", "remote", Decision(Action.PUSH)),
        (BOTH, "b", "a", "pull", "local", Decision(Action.LEAVE)),
        (BOTH, "a", "b", "both", "local", Decision(Action.PULL)),
        (BOTH, "a", "b", "pull", "local", Decision(Action.PULL)),
        (BOTH, "a", "b", "push", "local", Decision(Action.LEAVE)),
        (BOTH, "b", "b", "both", "local", Decision(Action.AGREE)),
        (BOTH, ABSENT, "a", "both", "local", Decision(Action.PUSH)),
        (BOTH, "a", ABSENT, "both", "local", Decision(Action.PULL)),
        (BOTH, ABSENT, ABSENT, "push", "local", Decision(Action.AGREE)),
        (BOTH, "b", "c", "both", "local", Decision(Action.PUSH, conflict=True)),
        (BOTH, "b", "c", "both", "remote", Decision(Action.PULL, conflict=True)),
        (BOTH, "b", "c", "both", "neither", Decision(Action.LEAVE, conflict=True)),
        (BOTH, "b", "c", "push", "local", Decision(Action.PUSH, conflict=True)),
        (BOTH, "b", "c", "push", "remote", Decision(Action.LEAVE, conflict=True)),
        (BOTH, "b", "c", "pull", "local", Decision(Action.LEAVE, conflict=True)),
        (BOTH, "b", "c", "pull", "remote", Decision(Action.PULL, conflict=True)),
        (BOTH, ABSENT, "c", "both", "local", Decision(Action.PUSH, conflict=True)),
        (BOTH, "b", ABSENT, "both", "remote", Decision(Action.PULL, conflict=True)),
        (UNKNOWN_ROW, "a", ABSENT, "push", "local", Decision(Action.PUSH)),
        (UNKNOWN_ROW, ABSENT, "a", "pull", "local", Decision(Action.PULL)),
        (UNKNOWN_ROW, "a", "a", "push", "local", Decision(Action.AGREE)),
        (UNKNOWN_ROW, "a", "b", "both", "local", Decision(Action.PUSH, conflict=True)),
        # A pulled vector that was rounded here is no change of either side.
        (Agreed("rounded", "a"), "rounded", "a", "both", "local", Decision(Action.NOTHING)),
    ],
)
def test_every_case(agreed, local, remote, direction, prefer, wanted):
    assert decide(agreed, local, remote, direction, prefer, now=0.0) == wanted


def test_what_the_index_showed_a_moment_ago_is_no_change_there():
    agreed = Agreed("b", "b", (), (Echo("a", until=10.0),))
    assert decide(agreed, "b", "a", "both", "remote", now=9.9) == Decision(Action.NOTHING)
    assert decide(agreed, "b", "a", "both", "remote", now=10.0) == Decision(Action.PULL)


def test_an_echo_that_equals_the_local_content_is_not_taken_for_what_the_index_holds():
    # b was pushed over a; then the row became a again here. The index still shows the old a: it must get a once more.
    agreed = Agreed("b", "b", (), (Echo("a", until=10.0),))
    assert decide(agreed, "a", "a", "both", "local", now=5.0) == Decision(Action.PUSH)


@pytest.mark.parametrize("shown", ["a", "b"])
def test_after_a_request_without_answer_the_row_is_sent_again_whatever_it_shows(shown):
    marked = Agreed("a", "a").sending("b")
    for local, direction in itertools.product(("a", "b", "c", ABSENT), ("push", "both")):
        assert decide(marked, local, shown, direction, "remote", now=0.0) == Decision(Action.PUSH)
    assert decide(marked, "c", "other", "both", "remote", now=0.0) == Decision(Action.PULL, conflict=True)


def test_content_of_every_request_without_answer_is_ours():
    marked = Agreed("a", "a").sending("b").sending("c")
    for shown in ("a", "b", "c"):
        assert decide(marked, "c", shown, "both", "remote", now=0.0) == Decision(Action.PUSH)
    settled = marked.settled("c", "c", seen="b", until=10.0, now=0.0)
    assert settled == Agreed("c", "c", (), (Echo("a", 10.0), Echo("b", 10.0)))


def test_what_is_remembered_once_both_sides_have_it():
    first = UNKNOWN_ROW.sending("a").settled("a", "a", seen=ABSENT, until=10.0, now=0.0)
    assert first == Agreed("a", "a", (), (Echo(ABSENT, 10.0),))
    second = first.sending("b").settled("b", "b", seen="a", until=14.0, now=4.0)
    assert second == Agreed("b", "b", (), (Echo(ABSENT, 10.0), Echo("a", 14.0)))
    third = second.settled("a", "a", seen="b", until=25.0, now=15.0)
    assert third == Agreed("a", "a", (), (Echo("b", 25.0),))
    lost = third.sending("x").settled("y", "y", seen="a", until=30.0, now=25.0)  # x was sent, its answer lost, then y
    assert lost == Agreed("y", "y", (), (Echo("a", 30.0), Echo("x", 30.0)))


def test_what_lost_to_us_there_is_an_echo_too():
    won = Agreed("a", "a").sending("b").settled("b", "b", seen="theirs", until=10.0, now=0.0)
    assert decide(won, "b", "theirs", "both", "remote", now=5.0) == Decision(Action.NOTHING)


def test_a_row_gone_on_both_sides_is_forgotten_when_its_echoes_are():
    gone = Agreed("a", "a").settled(ABSENT, ABSENT, seen="a", until=10.0, now=0.0)
    assert not gone.is_over
    assert not gone.faded(9.0).is_over
    assert gone.faded(10.0).is_over
