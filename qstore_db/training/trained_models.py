"""Trained versions ready to predict, loaded once each."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qstore_db.errors import InvalidArgumentError, InvalidModelError, InvalidVectorError
from qstore_db.models.autoencoder import Autoencoder
from qstore_db.models.classifier import Classifier
from qstore_db.models.losses import softmax
from qstore_db.models.model import Model
from qstore_db.models.named import AnyModel
from qstore_db.models.regressor import Regressor
from qstore_db.optimizers.optimizer import Arrays
from qstore_db.training import checkpoints
from qstore_db.training.model_reading import EXACT, ModelReading, source_of
from qstore_db.training.registry import ModelVersion, find_version
from storage_engine.engine import Engine

M = TypeVar("M", bound=AnyModel)

_VERBS: Final[Mapping[str, str]] = {
    "classifier": "predict, predict_proba (probabilities in SQL) or features",
    "regressor": "predict (predict_value or ML.PREDICT_VALUE in SQL), predict_values or features",
    "autoencoder": "features, decode or reconstruct",
}
"""What each kind of model answers to."""


@dataclass(frozen=True, slots=True, eq=False)
class TrainedModel:
    """A model version with its parameters.

    Args:
        version: Its entry in the registry.
        model: The function.
        parameters: What it was trained to.
    """

    version: ModelVersion
    model: AnyModel
    parameters: Arrays

    def predict(self, rows: ArrayLike, reading: ModelReading = EXACT) -> NDArray[np.int64] | NDArray[np.float64]:
        """Class, number or numbers of each row; see :func:`predict`."""
        if isinstance(self.model, Regressor):
            values = self.model.scaling.restored(self._outputs(self.model, rows, reading))
            return values[:, 0] if self.model.spec.width == 1 else values
        return self.predict_classes(rows, reading)

    def predict_classes(self, rows: ArrayLike, reading: ModelReading = EXACT) -> NDArray[np.int64]:
        """Class of each row, (n,); of a classifier only."""
        scores = self._outputs(self._of_kind("predict", Classifier), rows, reading)
        classes: NDArray[np.int64] = scores.argmax(axis=1).astype(np.int64)
        return classes

    def predict_values(self, rows: ArrayLike) -> NDArray[np.float64]:
        """Numbers of each row, (n, outputs); of a regressor only."""
        model = self._of_kind("predict_values", Regressor)
        return model.predict(self.parameters, as_matrix(rows))

    def predict_value(self, rows: ArrayLike) -> NDArray[np.float64]:
        """The number of each row, (n,); of a regressor with one output only."""
        values = self.predict_values(rows)
        if values.shape[1] != 1:
            raise InvalidModelError(
                f"Model {self.version.model!r} gives {values.shape[1]} numbers, not one",
                fix="Use predict_values.",
                value=values.shape[1],
            )
        return values[:, 0]

    def predict_proba(self, rows: ArrayLike, reading: ModelReading = EXACT) -> NDArray[np.float64]:
        """Probabilities of the classes; see :func:`predict_proba`."""
        return softmax(self._outputs(self._of_kind("predict_proba", Classifier), rows, reading))

    def features(self, rows: ArrayLike) -> NDArray[np.float64]:
        """What the circuit makes of the rows; see :func:`features`."""
        matrix = as_matrix(rows)
        if isinstance(self.model, Autoencoder):
            return self.model.encode(self.parameters, matrix)
        return self.model.readouts(self.parameters, matrix)

    def decode(self, codes: ArrayLike) -> NDArray[np.float64]:
        """The reduced rows that codes stand for; see :func:`decode`."""
        matrix = np.asarray(codes)
        model = self._of_kind("decode", Autoencoder)
        return model.decode(self.parameters, matrix[None, :] if matrix.ndim == 1 else matrix)

    def reconstruct(self, rows: ArrayLike) -> NDArray[np.float64]:
        """The reduced rows after their way through the code; see :func:`decode`."""
        model = self._of_kind("reconstruct", Autoencoder)
        return model.reconstruct(self.parameters, as_matrix(rows))

    def _of_kind(self, verb: str, kind: type[M]) -> M:
        if isinstance(self.model, kind):
            return self.model
        raise InvalidModelError(
            f"{verb} needs a model of kind {kind.__name__.lower()!r}, but {self.version.model!r} is of kind"
            f" {self.model.spec.kind!r}",
            fix=f"Use {_VERBS[self.model.spec.kind]}.",
            value=self.model.spec.kind,
        )

    def _outputs(self, model: Model, rows: ArrayLike, reading: ModelReading) -> NDArray[np.float64]:
        features = model.features(as_matrix(rows))
        with source_of(reading, model.spec.qubits) as source:
            return model.outputs_of_features(self.parameters, features, source)


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
        return TrainedModel(version, checkpoint.model_itself(), checkpoint.state.parameters)


def predict(
    models: TrainedModels,
    model: str,
    rows: ArrayLike,
    *,
    version: int | None = None,
    reading: ModelReading = EXACT,
) -> NDArray[np.int64] | NDArray[np.float64]:
    """Class of each row by a classifier, number or numbers by a regressor.

    Args:
        models: Of the database.
        model: Name.
        rows: Finite numbers, (n, d), or one row (d,).
        version: Number; the newest if ``None``.
        reading: Where the circuits run.

    Returns:
        Of a classifier int64 (n,). Of a regressor float64 (n,), or (n, outputs) where it has more than one output, in
        the unit of the targets. One row gives n = 1. On the exact simulator the same row has the same answer in any
        company.

    Raises:
        UnknownModelError: There is no such model or version.
        InvalidModelError: The version is not trained, or is an autoencoder.
        DimensionMismatchError: The rows have another length than the training rows.
        InvalidVectorError: A row is not finite, or cannot be encoded.
        UnsupportedRequestError: The backend has no room for the model.
    """
    return models.load(model, version).predict(rows, reading)


def predict_proba(
    models: TrainedModels,
    model: str,
    rows: ArrayLike,
    *,
    version: int | None = None,
    reading: ModelReading = EXACT,
) -> NDArray[np.float64]:
    """Softmax probabilities of the classes, float64 (n, classes), each row summing to one; see :func:`predict`.

    Raises:
        InvalidModelError: The model is no classifier, or not trained.
    """
    return models.load(model, version).predict_proba(rows, reading)


def features(models: TrainedModels, model: str, rows: ArrayLike, *, version: int | None = None) -> NDArray[np.float64]:
    """What the trained circuit makes of each row, for any other learner to use, on the exact simulator.

    Returns:
        float64 (n, readouts), each in [-1, 1], in the order of :mod:`qstore_db.circuits.readouts`; of an autoencoder
        its codes (n, 2^(latent + 1)), see :mod:`qstore_db.models.autoencoder`. Raises as :func:`predict`.
    """
    return models.load(model, version).features(rows)


def decode(models: TrainedModels, model: str, codes: ArrayLike, *, version: int | None = None) -> NDArray[np.float64]:
    """The rows that an autoencoder's codes stand for, as they were after their reduction: float64 (n, width).

    Args:
        models: Of the database.
        model: Name of an autoencoder.
        codes: As :func:`features` gives them, (n, 2^(latent + 1)), or one.
        version: Number; the newest if ``None``.

    Raises:
        UnknownModelError: There is no such model or version.
        InvalidModelError: It is not trained, or no autoencoder.
        DimensionMismatchError: The codes have another length.
        InvalidVectorError: They are no finite numbers.
    """
    return models.load(model, version).decode(codes)


def as_matrix(rows: ArrayLike) -> NDArray[np.float64]:
    """Rows as users have them, as training saw them: rounded to float32; one row becomes a matrix of one.

    Raises:
        InvalidVectorError: They are no numbers.
    """
    try:
        with np.errstate(over="ignore"):
            matrix = np.asarray(rows, dtype=np.float32).astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidVectorError(
            "The rows are not a matrix of numbers", fix="Give an array of shape (rows, features)."
        ) from error
    return matrix[None, :] if matrix.ndim == 1 else matrix
