"""How well a trained model does on a split of a data set."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qstore_db.models.autoencoder import Autoencoder
from qstore_db.models.losses import default_loss
from qstore_db.models.named import AnyModel
from qstore_db.models.regressor import Regressor
from qstore_db.training.dataset import find_dataset, split_rows, vector_blocks
from qstore_db.training.material import rows_for, targets_for
from qstore_db.training.model_reading import EXACT, ModelReading, source_of
from qstore_db.training.trained_models import TrainedModels
from storage_engine.engine import Engine

_BLOCK_ROWS = 1024


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Evaluation:
    """A model version measured on rows of a split; what has no meaning for its kind is ``None``.

    Args:
        model: Name of the model.
        version: Its number.
        dataset: Name of the data set.
        dataset_version: The LSN at which it was read.
        split: The split.
        rows: How many rows were read.
        loss: Mean of the default loss of the kind, whatever the version was trained by: cross-entropy in nats; mean
            square error in units of the training targets' variance; 1 − trash fidelity.
        accuracy: Of a classifier: share of rows that were classified rightly.
        confusion: Of a classifier: int64 (classes, classes): how many rows of class i were taken for class j.
        rmse: Of a regressor, in the targets' unit: root of the mean square error, over rows and outputs. Of an
            autoencoder, in the reduced rows' unit: that of the rows given back; ``None`` where a backend was asked, as
            only states give rows back.
        mae: Of a regressor: mean absolute error over rows and outputs.
        r2: Of a regressor: 1 − Σ(t − p)² / Σ(t − mean t)² with the mean of these rows, averaged over outputs; ``None``
            where an output is constant on them. 0 is what their mean would have, below is worse.
        backend: Where the circuits ran.
        shots: Of each of them; ``None`` where values are exact.
        seed: Of the shots.
        circuits: How many ran.
    """

    model: str
    version: int
    dataset: str
    dataset_version: int
    split: str
    rows: int
    loss: float
    accuracy: float | None = None
    confusion: NDArray[np.int64] | None = field(default=None, repr=False)
    rmse: float | None = None
    mae: float | None = None
    r2: float | None = None
    backend: str
    shots: int | None
    seed: int | None
    circuits: int


def evaluate(
    engine: Engine,
    models: TrainedModels,
    model: str,
    dataset: str,
    *,
    split: str = "test",
    version: int | None = None,
    reading: ModelReading = EXACT,
) -> Evaluation:
    """Ask a model about every row of a split and compare with what is stored. Writes nothing.

    Args:
        engine: The database.
        models: Its trained versions.
        model: Name of the model.
        dataset: Name of the data set.
        split: Which rows.
        version: Of the model; the newest if ``None``.
        reading: Where its circuits run.

    Raises:
        UnknownModelError: There is no such model or version.
        InvalidModelError: The version is not trained.
        UnknownDatasetError: There is no such data set.
        EmptyDatasetError: The split has no rows.
        InvalidLabelError: A row has no label, or one that the model does not know.
        InvalidTargetError: A row has no target, or one that does not fit the model.
        DimensionMismatchError: The rows have another length than the training rows.
        InvalidVectorError: A row cannot be encoded.
        UnsupportedRequestError: The backend has no room for the model.
    """
    trained = models.load(model, version)
    view = find_dataset(engine.snapshot(), dataset)
    function = trained.model
    rows = rows_for(function.spec, split_rows(view, split))
    targets = targets_for(function.spec, rows)
    losses, outputs, squares = [], [], 0.0
    with source_of(reading, function.spec.qubits) as source:
        done = 0
        for block in vector_blocks(rows, _BLOCK_ROWS):
            features = function.features(block)
            found = function.outputs_of_features(trained.parameters, features, source)
            wanted = function.checked_targets(None if targets is None else targets[done : done + len(block)], features)
            losses.append(default_loss(function.spec.kind)(found, wanted)[0])
            outputs.append(found)
            if isinstance(function, Autoencoder) and source is None:
                squares += float(np.square(function.reconstruct(trained.parameters, block) - features).sum())
            done += len(block)
        circuits = done if source is None else source.circuits
    return Evaluation(
        model=trained.version.model,
        version=trained.version.version,
        dataset=dataset,
        dataset_version=view.version,
        split=split,
        rows=done,
        loss=float(np.concatenate(losses).sum()) / done,
        backend=reading.backend,
        shots=reading.shots,
        seed=reading.seed,
        circuits=circuits,
        **_measured(function, np.concatenate(outputs), targets, squares if reading.is_exact else None),
    )


def _measured(
    function: AnyModel, outputs: NDArray[np.float64], targets: NDArray[Any] | None, squares: float | None
) -> dict[str, Any]:
    # The numbers that only this kind of model has; ``squares``: the summed square error of rows given back.
    if targets is None:
        return {"rmse": None if squares is None else (squares / (len(outputs) * function.reduction.width)) ** 0.5}
    if isinstance(function, Regressor):
        return dict(regression_scores(function.scaling.restored(outputs), targets))
    classes = outputs.shape[1]
    confusion = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(confusion, (targets, outputs.argmax(axis=1)), 1)
    return {"accuracy": int(np.trace(confusion)) / len(outputs), "confusion": confusion}


def regression_scores(predicted: NDArray[np.float64], targets: NDArray[np.float64]) -> dict[str, float | None]:
    """RMSE, MAE and R² of predictions (n, K), as :class:`Evaluation` defines them."""
    away = predicted - targets
    spread = np.square(targets - targets.mean(axis=0)).sum(axis=0)
    r2 = None if not spread.all() else float((1.0 - np.square(away).sum(axis=0) / spread).mean())
    return {"rmse": float(np.sqrt(np.square(away).mean())), "mae": float(np.abs(away).mean()), "r2": r2}
