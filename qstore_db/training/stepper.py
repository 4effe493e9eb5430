"""The parts of a training run for loops of one's own: batches, forward, gradient, step.

They are the trainer's own functions, so that a loop which takes the same batches in the same order reaches the same
bits as ``train`` with the same options.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from qstore_db.models.losses import Loss
from qstore_db.models.model import LossGradient
from qstore_db.models.named import AnyModel
from qstore_db.optimizers.optimizer import Arrays
from qstore_db.training.material import Features, Material, batches, gather
from qstore_db.training.options import TrainingOptions
from qstore_db.training.progress import Silence
from qstore_db.training.recipe import executor_for, recipe_for
from qstore_db.training.registry import ModelVersion, Run, find_version
from qstore_db.training.spreading import workers_for
from qstore_db.training.step import StepResult, TrainState, advance, measured_gradient, next_epoch, start
from qstore_db.training.trainer import registered, with_loss
from qstore_db.training.training_loop import TrainingLoop
from storage_engine.engine import Engine


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Rows of a step, as the model takes them.

    Args:
        features: What the circuit encodes, (B, width).
        targets: Classes int64 (B,), numbers float64 (B, outputs), or ``None``.
    """

    features: NDArray[np.float64]
    targets: NDArray[Any] | None

    def __len__(self) -> int:
        return len(self.features)


class Stepper:
    """A training run in the hands of its caller; made by :func:`stepper`, used by one thread, closed when done.

    Args:
        engine: The database.
        version: The model's version whose specification is trained.
        material: The rows.
        model: The model.
        options: Of the run.
        loss: A callable of the caller's, where the options say ``loss = "custom"``.
    """

    def __init__(
        self,
        engine: Engine,
        version: ModelVersion,
        material: Material,
        model: AnyModel,
        options: TrainingOptions,
        loss: Loss | None,
    ) -> None:
        self.model = model
        self.options = options
        self._engine, self._version, self._material, self._loss = engine, version, material, loss
        self._open = ExitStack()
        recipe = recipe_for(options, model, len(material.rows), loss)
        self._features = Features(model, material.rows)
        executor = self._open.enter_context(executor_for(options))
        workers = self._open.enter_context(workers_for(options, model))
        self._recipe = replace(recipe, executor=executor, workers=workers)
        self._state = start(model, recipe)

    @property
    def state(self) -> TrainState:
        """Parameters, optimizer state and position."""
        return self._state

    @property
    def parameters(self) -> Arrays:
        """The present parameters, float64, by name; not to be changed in place."""
        return self._state.parameters

    def batches(self) -> Iterator[Batch]:
        """The minibatches of the present epoch that no step was taken for, as the trainer orders them."""
        state, targets = self._state, self._material.targets
        labels = self._material.rows.labels
        for positions in batches(
            len(self._features), self.options, epoch=state.epoch, done=state.sums.steps, labels=labels
        ):
            yield Batch(self._features.at(positions), None if targets is None else targets[positions])

    def forward(self, batch: Batch) -> NDArray[np.float64]:
        """Outputs (B, K) under the present parameters, with values from the run's backend.

        With shots they are those of the next step's seed; no gate is left out.
        """
        source = self._recipe.step_source(self._state.steps)
        return self.model.outputs_of_features(self.parameters, batch.features, source)

    def gradient(self, batch: Batch) -> LossGradient:
        """Loss and gradient that the next step takes: of what trains, before clipping; nothing moves."""
        return measured_gradient(self.model, self._recipe, self._state, batch.features, batch.targets)

    def step(self, batch: Batch) -> StepResult:
        """Take one step; what it found is of the parameters before it.

        Raises:
            QStoreError: As the model, the loss or the backend raise it; nothing has moved then.
        """
        self._state, found = advance(self.model, self._recipe, self._state, batch.features, batch.targets)
        return found

    def end_epoch(self, watched: float) -> None:
        """Go on to the next epoch: another order of rows, and a plateau has seen a loss.

        Args:
            watched: What a plateau of the options watches: a validation loss, say.
        """
        seen = self._recipe.optimizer.observe(watched, self._state.optimizer_state)
        self._state = next_epoch(self._state, optimizer_state=seen, circuits=0, seconds=0.0, best=None)

    def register(self) -> Run:
        """Make the present parameters a new version of the model, with a run of its own that is finished.

        The run's record has the options, the data set and the steps that were taken; what the loop did between them it
        cannot know. It has no rows in ``metrics``.

        Raises:
            UnknownModelError: The model was dropped meanwhile.
        """
        epochs = max(1, self._state.epoch - 1)
        options = replace(self.options, epochs=epochs)
        state = replace(self._state, epoch=epochs + 1)
        run = registered(self._engine, self._version, self._material, options, self.model, state, learned=False)
        loop = TrainingLoop(
            self._engine, run, self.model, self._material, self._features, None, state, Silence(), loss=self._loss
        )
        return loop.train()

    def close(self) -> None:
        """Close what runs circuits. Idempotent."""
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def stepper(
    engine: Engine,
    model: str,
    dataset: str,
    options: TrainingOptions | None = None,
    *,
    loss: Loss | None = None,
) -> Stepper:
    """Begin a run whose loop the caller writes. Writes nothing until :meth:`Stepper.register`.

    Args:
        engine: The database.
        model: A registered model; its newest specification, or that of a reference, is trained from fresh parameters.
        dataset: What the kind of model learns from.
        options: How to train; ``epochs`` and ``validation`` are the loop's own affair, rows held out are left out.
        loss: A function of the caller's.

    Raises:
        QStoreError: As :func:`qstore_db.training.trainer.train` before it writes.
    """
    engine.refuse_transaction("training")
    chosen = with_loss(options, loss)
    engine.seal()
    snapshot = engine.snapshot()
    version = find_version(snapshot, model)
    material = gather(snapshot, dataset, version.spec, chosen)
    return Stepper(engine, version, material, material.model(version.spec, chosen.seed), chosen, loss)
