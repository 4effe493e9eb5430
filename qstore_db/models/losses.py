"""The loss of a classifier and its derivative by the scores.

Softmax cross-entropy of one row with scores u and label y is ``log Σ_k exp(u_k) − u_y``. Both sums are taken after the
row's largest score is subtracted, so that no exponential overflows and the logarithm's argument is at least one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.errors import InvalidLabelError


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities exp(u_k) / Σ_j exp(u_j), row by row.

    Args:
        logits: Scores, (B, K).

    Returns:
        (B, K), not negative; each row sums to one within rounding.
    """
    powers: NDArray[np.float64] = np.exp(logits - logits.max(axis=1, keepdims=True))
    powers /= powers.sum(axis=1, keepdims=True)
    return powers


def cross_entropy(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Softmax cross-entropy of each row, in nats.

    Args:
        logits: Scores, (B, K).
        labels: Right classes, (B,), each in 0 … K − 1.

    Returns:
        (B,), not negative.
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    right = np.take_along_axis(shifted, labels[:, None], axis=1)[:, 0]
    loss: NDArray[np.float64] = np.log(np.exp(shifted).sum(axis=1)) - right
    return loss


def cross_entropy_gradient(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Derivative of the *mean* of :func:`cross_entropy` by the scores: (softmax(u) − one-hot(y)) / B.

    Args:
        logits: Scores, (B, K).
        labels: Right classes, (B,).

    Returns:
        (B, K); each row sums to zero within rounding.
    """
    rows = len(labels)
    gradient = softmax(logits)
    gradient[np.arange(rows), labels] -= 1.0
    return gradient / rows


def checked_labels(labels: ArrayLike | Sequence[object], rows: int, classes: int) -> NDArray[np.int64]:
    """Labels as int64, (rows,).

    Raises:
        InvalidLabelError: Their number differs from that of the rows, or one is no integer or outside
            0 … ``classes - 1``; the message names its position.
    """
    given = np.asarray(labels)
    if given.shape != (rows,):
        raise InvalidLabelError(
            f"The labels have shape {given.shape}, but there are {rows} rows",
            fix="Give one label for each row.",
            value=given.shape,
        )
    if given.dtype.kind not in "iu":
        raise InvalidLabelError(
            f"The labels are of type {given.dtype}, not integers",
            fix=f"Number the classes 0 to {classes - 1} and give integers.",
            value=str(given.dtype),
        )
    wrong = np.flatnonzero((given < 0) | (given >= classes))
    if wrong.size:
        first = int(wrong[0])
        raise InvalidLabelError(
            f"Label {int(given[first])} at position {first} is outside 0 to {classes - 1}",
            fix="Number the classes from 0, or make a model with more classes.",
            value=int(given[first]),
        )
    return given.astype(np.int64)
