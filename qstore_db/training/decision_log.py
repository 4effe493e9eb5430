"""What a run decided by itself between two epochs, with its reasons."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from qstore_db.optimizers.plateau import Plateau
from qstore_db.training.best_epoch import BestEpoch, is_over
from qstore_db.training.options import TrainingOptions
from storage_engine.batch import JsonValue


@dataclass(frozen=True, slots=True)
class Decided:
    """One decision; equal runs decide the same, so that a resumed run has the same log.

    Args:
        epoch: The epoch after which it was made.
        what: In a few words.
        reason: The option and the number that led to it.
    """

    epoch: int
    what: str
    reason: str

    def to_json(self) -> dict[str, JsonValue]:
        """JSON values; :meth:`from_json` is the inverse."""
        return dict(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """The decision that :meth:`to_json` wrote."""
        return cls(**document)


def joined_layers(options: TrainingOptions, layers: int, epoch: int) -> int:
    """How many layers of a circuit train in an epoch: all, unless ``layerwise`` lets them join one after the other."""
    return layers if options.layerwise is None else min(layers, 1 + (epoch - 1) // options.layerwise)


def decided(
    options: TrainingOptions,
    layers: int,
    *,
    epoch: int,
    before: Mapping[str, NDArray[np.float64]],
    after: Mapping[str, NDArray[np.float64]],
    plateau: Plateau | None,
    best: BestEpoch | None,
) -> Iterator[Decided]:
    """The decisions at the end of an epoch.

    Args:
        options: Of the run.
        layers: Of the model.
        epoch: Which ended.
        before: State of the optimizer in it.
        after: State once it has seen the epoch's loss.
        plateau: What lowers the rate, or ``None``.
        best: The best epoch, this one included.
    """
    if plateau is not None and plateau.factor_in(after) != plateau.factor_in(before):
        yield Decided(
            epoch,
            f"learning rate times {plateau.factor:g}",
            f"schedule = 'plateau': no improvement in {plateau.patience} epochs",
        )
    if is_over(best, options, epochs_done=epoch):
        if epoch < options.epochs and best is not None:
            reason = f"early_stopping = {options.early_stopping}: {options.monitored} was best in epoch {best.epoch}"
            yield Decided(epoch, "stopped", reason)
        return
    joined = joined_layers(options, layers, epoch + 1)
    if joined > joined_layers(options, layers, epoch):
        yield Decided(epoch, f"layer[{joined - 1}] trains", f"layerwise = {options.layerwise}")
