"""Shots: the right distribution, the right order of bits, and nothing but the seed decides."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qstore_db.errors import InvalidArgumentError
from qstore_db.simulation.sampling import (
    MERGE_SHOTS,
    bits,
    bitstring_counts,
    sample_batch,
    sample_counts,
    sample_outcomes,
    shot_generator,
)


def chi_square(counts, chances):
    expected = counts.sum() * chances
    seen = chances > 0
    assert counts[~seen].sum() == 0
    return float(((counts[seen] - expected[seen]) ** 2 / expected[seen]).sum()), int(seen.sum()) - 1


@pytest.mark.parametrize("shots", [1, 7, 1024, MERGE_SHOTS + 1])
def test_counts_follow_the_probabilities(shots):
    rng = np.random.default_rng(7)
    chances = rng.random(32) ** 3
    chances[[0, 13, 31]] = 0.0
    chances /= chances.sum()
    draws = max(1, 60_000 // shots)
    total = sum(sample_counts(chances, shots, rng) for _ in range(draws))
    assert total.sum() == shots * draws
    statistic, freedom = chi_square(total, chances)
    assert abs(statistic - freedom) < 5 * np.sqrt(2 * freedom)


def test_shots_are_independent_of_each_other():
    """Counts of one outcome in many runs vary like a binomial number, not less as those of stratified shots would."""
    chances, rng = np.array([0.3, 0.2, 0.5]), np.random.default_rng(3)
    counts = np.array([sample_counts(chances, 100, rng)[0] for _ in range(4000)])
    assert abs(counts.var() / 21.0 - 1) < 0.12


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=70), st.integers(1, 200), st.integers(0, 10**6))
def test_impossible_outcomes_never_occur_and_no_shot_is_lost(weights, shots, seed):
    chances = np.array(weights)
    chances[seed % len(chances)] += 1e-3
    chances /= chances.sum()
    counts = sample_counts(chances, shots, np.random.default_rng(seed))
    assert counts.sum() == shots and counts.dtype == np.int64
    assert (counts[chances == 0] == 0).all()


def test_a_sample_depends_on_seed_and_number_only():
    chances = np.random.default_rng(0).dirichlet(np.ones(8), 5)
    whole = sample_batch(chances, 50, 11)
    backwards = sample_batch(chances[::-1], 50, 11, sample_numbers=[4, 3, 2, 1, 0])
    assert np.array_equal(whole, backwards[::-1])
    assert not np.array_equal(whole, sample_batch(chances, 50, 12))


def test_outcomes_and_bitstrings_have_qubit_0_left():
    counts = sample_counts([0.0, 0.0, 0.0, 0.0, 0.25, 0.0, 0.75, 0.0], 400, np.random.default_rng(1))
    named = bitstring_counts(counts)
    assert list(named) == ["100", "110"] and sum(named.values()) == 400
    outcomes = sample_outcomes([0.0, 0.5, 0.0, 0.5], 1000, shot_generator(3))
    assert np.array_equal(bits(outcomes, 2)[:, 1], np.ones(1000))
    first = bits(outcomes, 2)[:, 0].astype(float)
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.15  # in random order, not sorted


@pytest.mark.parametrize(
    "wrong",
    [[0.5, 0.4], [1.2, -0.2], [0.5, float("nan")], [float("inf"), 0.0], [0.0, 0.0], [], [[0.5, 0.5]]],
)
def test_what_are_no_probabilities_is_refused(wrong):
    with pytest.raises(InvalidArgumentError):
        sample_counts(wrong, 10, np.random.default_rng(0))


def test_shots_and_seeds_out_of_range_are_refused():
    for shots in (0, -1, 1.5, True, 2**53 + 1):
        with pytest.raises(InvalidArgumentError, match="shots"):
            sample_counts([1.0], shots, np.random.default_rng(0))
    with pytest.raises(InvalidArgumentError, match="negative"):
        shot_generator(-1)
    with pytest.raises(InvalidArgumentError, match="3"):
        bitstring_counts([1, 2, 3])
    assert sample_counts([0.5, 0.5], 2**53, np.random.default_rng(0)).sum() == 2**53
