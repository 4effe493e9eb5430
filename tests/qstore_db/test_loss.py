"""Softmax cross-entropy against closed forms, its derivative against differences, and labels."""

from __future__ import annotations

import math

import numpy as np
import pytest

from qstore_db.errors import InvalidLabelError
from qstore_db.models.losses import checked_labels, cross_entropy, cross_entropy_gradient, softmax


def test_two_classes_are_the_logistic_function():
    gap = np.linspace(-30, 30, 121)
    logits = np.stack([gap, np.zeros_like(gap)], axis=1)
    logistic = np.array([1 / (1 + math.exp(-g)) for g in gap])
    np.testing.assert_allclose(softmax(logits)[:, 0], logistic, rtol=1e-14)
    expected = [math.log1p(math.exp(-abs(g))) + max(-g, 0.0) for g in gap]
    np.testing.assert_allclose(cross_entropy(logits, np.zeros(121, np.int64)), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_equal_scores_cost_log_k(classes):
    logits = np.full((4, classes), 7.25)
    assert cross_entropy(logits, np.arange(4) % classes) == pytest.approx(math.log(classes), abs=1e-15)
    assert softmax(logits) == pytest.approx(1 / classes, abs=1e-15)


def test_scores_given_as_logarithms_give_the_probabilities_back():
    probabilities = np.array([[0.1, 0.2, 0.7], [0.5, 0.25, 0.25]])
    logits = np.log(probabilities) + np.array([[3.0], [-5.0]])
    np.testing.assert_allclose(softmax(logits), probabilities, rtol=1e-14)
    np.testing.assert_allclose(cross_entropy(logits, np.array([2, 0])), -np.log([0.7, 0.5]), rtol=1e-13)


def test_huge_scores_neither_overflow_nor_lose_the_loss():
    logits = np.array([[1e300, 0.0], [-1e4, 1e4], [800.0, 0.0]])
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert cross_entropy(logits, np.array([0, 0, 1])).tolist() == [0.0, 2e4, 800.0]
        assert softmax(logits)[:, 0].tolist() == [1.0, 0.0, 1.0]


def test_the_gradient_is_that_of_the_mean():
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(5, 4)) * 3, rng.integers(0, 4, 5)
    gradient = cross_entropy_gradient(logits, labels)
    step = 1e-6
    for row, column in np.ndindex(*logits.shape):
        moved = np.zeros_like(logits)
        moved[row, column] = step
        difference = (cross_entropy(logits + moved, labels).mean() - cross_entropy(logits - moved, labels).mean()) / (
            2 * step
        )
        assert gradient[row, column] == pytest.approx(difference, abs=1e-9)
    np.testing.assert_allclose(gradient.sum(axis=1), 0, atol=1e-16)


def test_labels_of_any_integer_type_become_int64():
    for labels in ([0, 2, 1], np.array([0, 2, 1], np.uint8), (np.int32(0), np.int32(2), np.int32(1))):
        checked = checked_labels(labels, 3, 3)
        assert checked.dtype == np.int64
        assert checked.tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 3, 1], "Label 3 at position 1 is outside 0 to 2"),
        ([0, 1, -1], "Label -1 at position 2"),
        (np.array([0, 1, 2**64 - 1], np.uint64), "Label 18446744073709551615 at position 2"),
        ([0, 1], r"shape \(2,\), but there are 3 rows"),
        ([[0], [1], [2]], r"shape \(3, 1\)"),
        ([0.0, 1.0, 2.0], "float64, not integers"),
        ([True, False, True], "bool, not integers"),
        (["a", "b", "c"], "not integers"),
        ([0, None, 1], "object, not integers"),
    ],
)
def test_labels_that_are_no_classes_are_refused(labels, message):
    with pytest.raises(InvalidLabelError, match=message) as caught:
        checked_labels(labels, 3, 3)
    assert caught.value.fix
