"""Trained versions ready to predict, loaded once each."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.errors import InvalidArgumentError, InvalidModelError, InvalidVectorError
from qstore_db.models.classifier import Classifier
from qstore_db.optimizers.optimizer import Arrays
from qstore_db.training import checkpoints
from qstore_db.training.registry import ModelVersion, find_version
from storage_engine.engine import Engine


@dataclass(frozen=True, slots=True, eq=False)
class TrainedModel:
    """A model version with its parameters.

    Args:
        version: Its entry in the registry.
        classifier: The function.
        parameters: What it was trained to.
    """

    version: ModelVersion
    classifier: Classifier
    parameters: Arrays

    def predict(self, rows: ArrayLike) -> NDArray[np.int64]:
        """Class of each row; see :func:`predict`."""
        return self.classifier.predict(self.parameters, _matrix(rows))

    def predict_proba(self, rows: ArrayLike) -> NDArray[np.float64]:
        """Probabilities of the classes; see :func:`predict_proba`."""
        return self.classifier.predict_proba(self.parameters, _matrix(rows))

    def readouts(self, rows: ArrayLike) -> NDArray[np.float64]:
        """Expectation values of the circuit's readouts; see :func:`features`."""
        return self.classifier.readouts(self.parameters, _matrix(rows))


class TrainedModels:
    """The trained versions of one database, the latest used ones kept in memory; safe to use from several threads.

    Args:
        engine: The database.
        capacity: How many versions to keep, at least 1.

    Raises:
        InvalidArgumentError: ``capacity`` is below 1.
    """

    def __init__(self, engine: Engine, *, capacity: int = 8) -> None:
        if capacity < 1:
            raise InvalidArgumentError(f"capacity is {capacity}", fix="Keep at least 1 version.", value=capacity)
        self._engine = engine
        self._capacity = capacity
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, int], TrainedModel] = OrderedDict()

    def load(self, name: str, version: int | None = None) -> TrainedModel:
        """A version of a model; the newest if no number is given.

        The first time it costs reading and checking a checkpoint, some milliseconds; then a look into the registry.

        Raises:
            UnknownModelError: There is no such model or version.
            InvalidModelError: The version is not trained.
            DamagedError: Its checkpoint is damaged.
        """
        found = find_version(self._engine.snapshot(), name, version)
        key = (found.uuid, found.version)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        model = self._read(found)
        with self._lock:
            self._kept[key] = model
            while len(self._kept) > self._capacity:
                self._kept.popitem(last=False)
        return model

    def _read(self, version: ModelVersion) -> TrainedModel:
        if version.checkpoint is None:
            raise InvalidModelError(
                f"Version {version.version} of model {version.model!r} is not trained",
                fix=f"Train it first: CALL train(model => '{version.model}', dataset => …) or db.train.",
                value=version.model,
            )
        checkpoint = checkpoints.load(self._engine, version.checkpoint)
        classifier = Classifier(checkpoint.spec, checkpoint.reduction)
        return TrainedModel(version, classifier, checkpoint.state.parameters)


def predict(models: TrainedModels, model: str, rows: ArrayLike, *, version: int | None = None) -> NDArray[np.int64]:
    """Class of each row.

    Args:
        models: Of the database.
        model: Name.
        rows: Finite numbers, (n, d), or one row (d,).
        version: Number; the newest if ``None``.

    Returns:
        int64 (n,); (1,) for one row. The same row has the same class in any company.

    Raises:
        UnknownModelError: There is no such model or version.
        InvalidModelError: The version is not trained.
        DimensionMismatchError: The rows have another length than the training rows.
        InvalidVectorError: A row is not finite, or cannot be encoded.
    """
    return models.load(model, version).predict(rows)


def predict_proba(
    models: TrainedModels, model: str, rows: ArrayLike, *, version: int | None = None
) -> NDArray[np.float64]:
    """Softmax probabilities of the classes, float64 (n, classes), each row summing to one; see :func:`predict`."""
    return models.load(model, version).predict_proba(rows)


def features(models: TrainedModels, model: str, rows: ArrayLike, *, version: int | None = None) -> NDArray[np.float64]:
    """What the trained circuit makes of each row: expectation values of its readouts, for any other learner to use.

    Returns:
        float64 (n, readouts), each in [-1, 1], in the order of :mod:`qstore_db.circuits.readouts`; raises as
        :func:`predict`.
    """
    return models.load(model, version).readouts(rows)


def _matrix(rows: ArrayLike) -> NDArray[np.float64]:
    # Rows come as users have them; training saw float32, so that is what prediction sees.
    try:
        with np.errstate(over="ignore"):
            matrix = np.asarray(rows, dtype=np.float32).astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidVectorError(
            "The rows are not a matrix of numbers", fix="Give an array of shape (rows, features)."
        ) from error
    return matrix[None, :] if matrix.ndim == 1 else matrix
