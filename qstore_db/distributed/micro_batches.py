"""A minibatch cut into micro-batches of fixed size, computed anywhere and added up in order.

Loss and gradient of a minibatch of N rows are the means over its rows, so with micro-batches of n_1, n_2, … rows they
are Σ (n_i / N) · (those of micro-batch i). The cuts depend on the size of a micro-batch and on the order of the rows,
never on who computes: the same bits for one worker, for ten, and for none. They are not the bits of the minibatch
computed in one piece, whose sums are taken in another order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from qstore_db.errors import InvalidArgumentError
from qstore_db.models.losses import LOSSES
from qstore_db.models.model import LossGradient, Model
from qstore_db.models.named import model_of, scaling_of
from qstore_db.models.reduction import Reduction
from qstore_db.models.specification import ModelSpec
from qstore_db.models.target_scaling import TargetScaling

MICRO_BATCH: Final = 64
"""Rows of a micro-batch where nothing else is said."""


@dataclass(frozen=True, slots=True, eq=False)
class MicroBatch:
    """Some rows of a minibatch.

    Args:
        features: Of the rows, (n, width).
        targets: Of them; ``None`` for a model without targets.
    """

    features: NDArray[np.float64]
    targets: NDArray[Any] | None


@dataclass(frozen=True, slots=True, eq=False)
class ModelDescription:
    """A model as plain values, from which a worker makes its own.

    Args:
        spec: JSON of the specification.
        reduction: Arrays of the reduction.
        scaling: Arrays of the targets' units; ``None`` where the kind has none.
        loss: Name of the loss; ``None`` for the default of the kind.
    """

    spec: Mapping[str, Any]
    reduction: Mapping[str, NDArray[np.float64]]
    scaling: Mapping[str, NDArray[np.float64]] | None
    loss: str | None

    @classmethod
    def of(cls, model: Model, loss: str | None) -> ModelDescription:
        """That of a model and the name of its loss.

        Raises:
            InvalidArgumentError: The loss has no name that the kind of model knows.
        """
        known = LOSSES[model.spec.kind]
        if loss is not None and loss not in known:
            raise InvalidArgumentError(
                f"the loss {loss!r} cannot be computed by workers",
                fix=f"Use one of {', '.join(map(repr, known))}, or train without workers.",
                value=loss,
            )
        scaling = scaling_of(model)
        arrays = None if scaling is None else scaling.arrays
        return cls(model.spec.to_json(), model.reduction.arrays, arrays, loss)

    def made(self) -> Model:
        """The model."""
        spec = ModelSpec.from_json(dict(self.spec))
        scaling = None if self.scaling is None else TargetScaling.from_arrays(self.scaling, spec.outputs or 1)
        return model_of(spec, Reduction.from_arrays(spec, self.reduction), scaling)

    def measured(self, model: Model, parameters: Mapping[str, NDArray[np.float64]], part: MicroBatch) -> LossGradient:
        """Loss and gradient of a micro-batch, by the adjoint method."""
        loss = None if self.loss is None else LOSSES[model.spec.kind][self.loss]
        return model.loss_and_gradient_of_features(parameters, part.features, part.targets, loss=loss)


class Workers(Protocol):
    """Computes micro-batches; made for one model."""

    def gradients(
        self, parameters: Mapping[str, NDArray[np.float64]], parts: Sequence[MicroBatch]
    ) -> list[LossGradient]:
        """One result for each part, in order.

        Raises:
            WorkerLostError: A worker ended; nothing was lost but the step.
        """
        ...

    def close(self) -> None:
        """Ends the workers. Idempotent."""
        ...


class InThisProcess:
    """Micro-batches one after the other, here.

    Args:
        description: Of the model.
    """

    def __init__(self, description: ModelDescription) -> None:
        self._description = description
        self._model = description.made()

    def gradients(
        self, parameters: Mapping[str, NDArray[np.float64]], parts: Sequence[MicroBatch]
    ) -> list[LossGradient]:
        """See :class:`Workers`."""
        return [self._description.measured(self._model, parameters, part) for part in parts]

    def close(self) -> None:
        """Nothing to end."""


def spread_gradient(
    workers: Workers,
    rows: int,
    parameters: Mapping[str, NDArray[np.float64]],
    features: NDArray[np.float64],
    targets: NDArray[Any] | None,
) -> LossGradient:
    """Loss and gradient of a minibatch by workers.

    Args:
        workers: Made for the model.
        rows: Of a micro-batch, at least 1; the last one may be shorter.
        parameters: Of the model.
        features: Of the minibatch, (N, width).
        targets: Of its rows.

    Raises:
        InvalidArgumentError: ``rows`` is below 1, or the minibatch has no rows.
        WorkerLostError: As for :meth:`Workers.gradients`.
    """
    if isinstance(rows, bool) or rows < 1:
        raise InvalidArgumentError(f"a micro-batch of {rows} rows", fix="Use at least 1.", value=rows)
    if not len(features):
        raise InvalidArgumentError("a minibatch without rows", fix="Give at least one.", value=0)
    parts = [
        MicroBatch(features[first : first + rows], None if targets is None else targets[first : first + rows])
        for first in range(0, len(features), rows)
    ]
    return _joined(workers.gradients(parameters, parts), [len(part.features) for part in parts])


def _joined(found: Sequence[LossGradient], sizes: Sequence[int]) -> LossGradient:
    shares = [size / sum(sizes) for size in sizes]
    gradients = {name: found[0].gradients[name] * shares[0] for name in found[0].gradients}
    loss = found[0].loss * shares[0]
    for one, share in zip(found[1:], shares[1:], strict=True):
        loss += one.loss * share
        for name, gradient in one.gradients.items():
            gradients[name] = gradients[name] + gradient * share
    known = [one.correct for one in found if one.correct is not None]
    return LossGradient(
        loss=loss,
        correct=sum(known) if len(known) == len(found) else None,
        gradients=gradients,
        circuits=sum(one.circuits for one in found),
    )
