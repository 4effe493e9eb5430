"""Losses: functions of a model's outputs and of its targets, with their derivative by the outputs.

A loss is any callable ``(outputs, targets) -> (losses, derivative)``; its shapes stand at :class:`Loss`. It knows no
circuit: the chain rule carries ``derivative`` through head and readouts, and no loss is ever shifted.

With the scores u of K classes and the class y, one-hot vector e_y, softmax p:

- ``cross_entropy``: log Σ_k exp(u_k) − u_y, in nats. Both sums are taken after the row's largest score is subtracted,
  so that no exponential overflows and the logarithm's argument is at least one.
- ``mse``: mean over the outputs of (u_k − t_k)², t = e_y for a classifier (least squares on the classes).
- ``hinge``: max(0, 1 + max_{k≠y} u_k − u_y) (Crammer and Singer, Journal of Machine Learning Research 2, 265 (2001)).
  At kinks the derivative is that of one side, the first of equal rivals.
- ``fidelity``: 1 − F, with F the fidelity of what is read with what should be: for a classifier
  (Σ_k √(p_k e_y,k))² = p_y, bounded where cross-entropy is not; for an autoencoder that of its trash qubits with |0…0⟩.

For an autoencoder ``mse`` is the mean square error of the complex amplitudes given back, ‖x‖²(1 − F)/width: see
:mod:`qstore_db.models.autoencoder`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.errors import InvalidArgumentError, InvalidLabelError, InvalidTargetError

LossValues = tuple[NDArray[np.float64], NDArray[np.float64]]

CUSTOM: Final = "custom"
"""What stands for a callable wherever a loss is recorded by name."""


class Loss(Protocol):
    """A function of outputs and targets, pure, that a run calls once a minibatch."""

    def __call__(self, outputs: NDArray[np.float64], targets: NDArray[Any], /) -> LossValues:
        """Loss of each row and its derivative.

        Args:
            outputs: (B, K): scores of a classifier; outputs of a regressor in units of the training targets' standard
                deviation from their mean; (B, 1) trash fidelities of an autoencoder.
            targets: int64 (B,) classes; float64 (B, K) targets in the same units; float64 (B, 1) mean squares
                ‖x‖²/width of an autoencoder's rows.

        Returns:
            (B,) losses, and (B, K), the derivative of each row's loss by its outputs: not divided by B.
        """
        ...


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


def cross_entropy_loss(outputs: NDArray[np.float64], targets: NDArray[Any], /) -> LossValues:
    """``cross_entropy`` as a :class:`Loss`."""
    derivative = softmax(outputs)
    derivative[np.arange(len(targets)), targets] -= 1.0
    return cross_entropy(outputs, targets), derivative


def mean_square_loss(outputs: NDArray[np.float64], targets: NDArray[Any], /) -> LossValues:
    """``mse`` of outputs and targets (B, K) as a :class:`Loss`."""
    away = outputs - targets
    losses: NDArray[np.float64] = np.square(away).mean(axis=1)
    return losses, away * (2.0 / outputs.shape[1])


def class_square_loss(outputs: NDArray[np.float64], targets: NDArray[Any], /) -> LossValues:
    """``mse`` of scores against one-hot classes as a :class:`Loss`."""
    wanted = np.zeros_like(outputs)
    wanted[np.arange(len(targets)), targets] = 1.0
    return mean_square_loss(outputs, wanted)


def hinge_loss(outputs: NDArray[np.float64], targets: NDArray[Any], /) -> LossValues:
    """``hinge`` as a :class:`Loss`."""
    rows = np.arange(len(targets))
    others = outputs.copy()
    others[rows, targets] = -np.inf
    rivals = others.argmax(axis=1)
    margins = 1.0 + outputs[rows, rivals] - outputs[rows, targets]
    derivative = np.zeros_like(outputs)
    inside = (margins > 0.0).astype(np.float64)
    derivative[rows, rivals] = inside
    derivative[rows, targets] = -inside
    return np.maximum(margins, 0.0), derivative


def class_fidelity_loss(outputs: NDArray[np.float64], targets: NDArray[Any], /) -> LossValues:
    """``fidelity`` of a classifier as a :class:`Loss`: 1 − p_y, and p_y (p − e_y)."""
    derivative = softmax(outputs)
    right = np.take_along_axis(derivative, targets[:, None], axis=1)
    losses: NDArray[np.float64] = 1.0 - right[:, 0]
    derivative[np.arange(len(targets)), targets] -= 1.0
    return losses, derivative * right


def infidelity_loss(outputs: NDArray[np.float64], targets: NDArray[Any], /) -> LossValues:
    """``fidelity`` of an autoencoder as a :class:`Loss`: 1 − F; targets are not looked at."""
    return 1.0 - outputs[:, 0], np.full_like(outputs, -1.0)


def amplitude_square_loss(outputs: NDArray[np.float64], targets: NDArray[Any], /) -> LossValues:
    """``mse`` of an autoencoder as a :class:`Loss`: t (1 − F) with the rows' mean squares t."""
    return targets[:, 0] * (1.0 - outputs[:, 0]), -targets


LOSSES: Final[Mapping[str, Mapping[str, Loss]]] = {
    "classifier": {
        "cross_entropy": cross_entropy_loss,
        "mse": class_square_loss,
        "hinge": hinge_loss,
        "fidelity": class_fidelity_loss,
    },
    "regressor": {"mse": mean_square_loss},
    "autoencoder": {"fidelity": infidelity_loss, "mse": amplitude_square_loss},
}
"""The named losses of each kind of model; the first is its default."""


def default_loss(kind: str) -> Loss:
    """The loss that a kind of model is trained with where none is named, and always evaluated with."""
    return next(iter(LOSSES[kind].values()))


def loss_named(kind: str, name: str | None, given: Loss | None = None) -> Loss:
    """A loss by its name, or the callable that was given.

    Args:
        kind: Of the model.
        name: Of the loss; ``None`` for the default, ``CUSTOM`` for ``given``.
        given: A callable; then ``name`` must be ``CUSTOM``.

    Raises:
        InvalidArgumentError: The kind has no loss of that name; a callable was recorded and is not given, or the
            opposite.
    """
    if name == CUSTOM:
        if given is None:
            raise InvalidArgumentError(
                "The loss is a Python function, which no database stores and SQL cannot name",
                fix="Give it from Python: db.train(…, loss=function), and again to db.resume(run, loss=function).",
                value=name,
            )
        return given
    if given is not None:
        raise InvalidArgumentError(
            f"A Python function was given as loss, but the run was begun with loss = {name!r}",
            fix="Leave the function out.",
            value=name,
        )
    if name is None:
        return default_loss(kind)
    if name not in LOSSES[kind]:
        raise InvalidArgumentError(
            f"Models of kind {kind!r} have no loss {name!r}",
            fix=f"Use one of {', '.join(map(repr, LOSSES[kind]))}, or give a function (outputs, targets) -> (losses,"
            " derivative) from Python: db.train(…, loss=function).",
            value=name,
        )
    return LOSSES[kind][name]


def checked_values(found: object, rows: int, width: int) -> LossValues:
    """What a loss returned, once its shapes are those that :class:`Loss` says.

    Raises:
        InvalidArgumentError: They are not, as they may be of a callable of the caller's.
    """
    losses, derivative = found if isinstance(found, tuple) and len(found) == 2 else (None, None)
    arrays = (np.asarray(losses), np.asarray(derivative))
    shapes = tuple(array.shape for array in arrays)
    if shapes != ((rows,), (rows, width)) or any(array.dtype.kind not in "iuf" for array in arrays):
        raise InvalidArgumentError(
            f"The loss returned {type(found).__name__} with shapes {shapes} for {rows} rows of {width} outputs",
            fix=f"Return (losses, derivative) of shapes ({rows},) and ({rows}, {width}), real numbers.",
            value=shapes,
        )
    return arrays[0].astype(np.float64), arrays[1].astype(np.float64)


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


def checked_targets(targets: ArrayLike, rows: int, outputs: int) -> NDArray[np.float64]:
    """Targets of a regressor as float64, (rows, outputs).

    Args:
        targets: (rows, outputs), or (rows,) where ``outputs`` is 1.
        rows: How many there must be.
        outputs: Numbers in each.

    Raises:
        InvalidTargetError: They have another shape, or are no finite real numbers; the message names the position.
    """
    given = np.asarray(targets)
    if given.ndim == 1 and outputs == 1:
        given = given[:, None]
    if given.shape != (rows, outputs):
        raise InvalidTargetError(
            f"The targets have shape {np.shape(targets)}, but there are {rows} rows and {outputs} output(s)",
            fix="Give one target for each row, with as many numbers as the model has outputs.",
            value=np.shape(targets),
        )
    if given.dtype.kind not in "iuf":
        raise InvalidTargetError(
            f"The targets are of type {given.dtype}, not real numbers", fix="Give numbers.", value=str(given.dtype)
        )
    values = given.astype(np.float64)
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        row, column = (int(index) for index in wrong[0])
        raise InvalidTargetError(
            f"The target of row {row} is {values[row, column]}",
            fix="Remove or replace targets that are not finite.",
            value=float(values[row, column]),
        )
    return values
