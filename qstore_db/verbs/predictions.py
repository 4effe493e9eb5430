"""The verbs of a database that ask trained models: about rows, or about how well they do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from storage_engine.engine import Engine

if TYPE_CHECKING:
    from qstore_db.sql.plugins import OpenSession
    from qstore_db.training.evaluation import Evaluation
    from qstore_db.training.feature_extraction import Extraction


class PredictionVerbs(ABC):
    """Each verb is a few lines over a function of ``qstore_db.training``."""

    _engine: Engine

    @abstractmethod
    def _plugins(self) -> OpenSession:
        """The SQL session and the trained models."""

    def evaluate(
        self,
        model: str,
        dataset: str,
        split: str = "test",
        *,
        version: int | None = None,
        backend: str = "local",
        shots: int | None = None,
        seed: int | None = None,
    ) -> Evaluation:
        """Ask a model about every row of a split and compare: accuracy and confusion, RMSE, MAE and R², or fidelity.

        Args:
            model: Name of the model.
            dataset: Name of the data set.
            split: Which rows.
            version: Of the model; the newest if ``None``.
            backend: Where its circuits run; the answer says so.
            shots: Of each circuit; exact values if ``None``, where the backend gives them.
            seed: Of the shots.

        Raises:
            UnknownModelError, UnknownDatasetError: A name is not there.
            EmptyDatasetError: The split has no rows.
            InvalidModelError: The model is not trained.
            InvalidLabelError: A row has no label, or one that the model does not know.
        """
        from qstore_db.training.evaluation import evaluate
        from qstore_db.training.model_reading import ModelReading

        return evaluate(
            self._engine,
            self._plugins().trained_models,
            model,
            dataset,
            split=split,
            version=version,
            reading=ModelReading(backend=backend, shots=shots, seed=seed),
        )

    def extract_features(
        self, dataset: str, model: str, *, name: str | None = None, version: int | None = None
    ) -> Extraction:
        """Write what a model's circuit makes of a data set's rows as a data set of its own, for any other learner.

        See :func:`qstore_db.training.feature_extraction.extract_features`.
        """
        from qstore_db.training.feature_extraction import extract_features

        models = self._plugins().trained_models
        return extract_features(self._engine, models, dataset, model, name=name, version=version)

    def predict(
        self,
        model: str,
        data: ArrayLike,
        *,
        version: int | None = None,
        backend: str = "local",
        shots: int | None = None,
        seed: int | None = None,
    ) -> NDArray[np.int64] | NDArray[np.float64]:
        """Class of each row, int64 (rows,); of a regressor float64 (rows,) or (rows, outputs).

        ``backend``, ``shots`` and ``seed`` say where the circuits run, as in :meth:`evaluate`; see
        :func:`qstore_db.training.trained_models.predict`.
        """
        from qstore_db.training.model_reading import ModelReading
        from qstore_db.training.trained_models import predict

        reading = ModelReading(backend=backend, shots=shots, seed=seed)
        return predict(self._plugins().trained_models, model, data, version=version, reading=reading)

    def predict_proba(
        self,
        model: str,
        data: ArrayLike,
        *,
        version: int | None = None,
        backend: str = "local",
        shots: int | None = None,
        seed: int | None = None,
    ) -> NDArray[np.float64]:
        """Probability of each class for each row, float64 (rows, classes); the circuits run as in :meth:`predict`."""
        from qstore_db.training.model_reading import ModelReading
        from qstore_db.training.trained_models import predict_proba

        reading = ModelReading(backend=backend, shots=shots, seed=seed)
        return predict_proba(self._plugins().trained_models, model, data, version=version, reading=reading)

    def features(self, model: str, data: ArrayLike, *, version: int | None = None) -> NDArray[np.float64]:
        """What the circuit makes of each row, float64 (rows, readouts); of an autoencoder, its code.

        See :func:`qstore_db.training.trained_models.features`.
        """
        from qstore_db.training.trained_models import features

        return features(self._plugins().trained_models, model, data, version=version)

    def decode(self, model: str, codes: ArrayLike, *, version: int | None = None) -> NDArray[np.float64]:
        """The rows that an autoencoder's codes stand for; :func:`qstore_db.training.trained_models.decode`."""
        from qstore_db.training.trained_models import decode

        return decode(self._plugins().trained_models, model, codes, version=version)
