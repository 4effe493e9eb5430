"""What a trained model says about a vector, in SQL: a function for each type of answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from qstore_db.errors import DimensionMismatchError
from qstore_db.sql.vector_lists import lengths, matrix
from qstore_db.training.trained_models import TrainedModel, TrainedModels

_ARROW = {"BIGINT": pa.int64(), "DOUBLE": pa.float64(), "DOUBLE[]": pa.list_(pa.float64())}

Compute = Callable[[TrainedModel, NDArray[np.float32]], NDArray[Any]]


@dataclass(frozen=True, slots=True)
class ModelFunction:
    """A function of a model and a vector. Null where an argument is null.

    The model is a name, or a reference such as ``clothes@champion``. A vector has the same answer in any company, so it
    does not matter how the rows of a query are cut into batches.

    Args:
        name: In SQL, lower case.
        result_type: In SQL: ``BIGINT``, ``DOUBLE`` or ``DOUBLE[]``.
        compute: Gives (n,) or (n, m) for vectors (n, d).
        models: The trained versions of the database.
    """

    name: str
    result_type: str
    compute: Compute
    models: TrainedModels

    @property
    def argument_types(self) -> Sequence[str]:
        """DuckDB types of its arguments."""
        return ("VARCHAR", "FLOAT[]")

    def evaluate(self, arguments: Sequence[pa.Array]) -> pa.Array:
        """Answers for one batch of rows.

        Args:
            arguments: Model names (string) and vectors (lists of float32), equally long.

        Returns:
            int64, float64, or lists of float64; null where an argument is null.

        Raises:
            UnknownModelError: There is no model, version or alias of one of the names.
            InvalidModelError: A model is not trained, or of a kind that does not answer so.
            DimensionMismatchError: A vector has another length than the model's training rows.
            InvalidVectorError: A vector is not finite, holds a null, or cannot be encoded.
        """
        names, vectors = arguments
        asked = (names.is_valid().to_numpy(False)) & (vectors.is_valid().to_numpy(False))
        words = np.array(names.to_pylist(), dtype=object)
        answers = np.full(len(names), None, dtype=object)
        for name in sorted(set(words[asked].tolist())):
            positions = np.flatnonzero(asked & (words == name))
            trained = self.models.load(name)
            rows = self._rows(vectors.take(pa.array(positions)), name, trained.model.reduction.dimension)
            for position, answer in zip(positions, self.compute(trained, rows), strict=True):
                answers[position] = answer
        return pa.array(answers, _ARROW[self.result_type])

    def _rows(self, vectors: pa.Array, model: str, dimension: int) -> NDArray[np.float32]:
        wrong = np.flatnonzero(lengths(vectors) != dimension)
        if len(wrong):
            length = int(lengths(vectors)[wrong[0]])
            raise DimensionMismatchError(
                f"{self.name}('{model}', vector) got a vector of {length} numbers, but the model was trained on"
                f" {dimension}",
                fix=f"Give vectors of {dimension} numbers.",
                value=length,
            )
        return matrix(vectors, dimension)


def model_functions(models: TrainedModels) -> tuple[ModelFunction, ...]:
    """``predict(model, vector) → BIGINT``: the class, by a classifier.

    ``probabilities(model, vector) → DOUBLE[]``: softmax of the classes' scores, in the order of the classes.
    ``predict_value(model, vector) → DOUBLE``: the number, by a regressor with one output.
    ``predict_values(model, vector) → DOUBLE[]``: the numbers, by a regressor.
    ``features(model, vector) → DOUBLE[]``: expectation values of the circuit's readouts, what the linear head sees; of
    an autoencoder the code.
    ``reconstruct(model, vector) → DOUBLE[]``: the reduced vector after its way through an autoencoder's code.
    """
    return (
        ModelFunction("predict", "BIGINT", TrainedModel.predict_classes, models),
        ModelFunction("probabilities", "DOUBLE[]", TrainedModel.predict_proba, models),
        ModelFunction("predict_value", "DOUBLE", TrainedModel.predict_value, models),
        ModelFunction("predict_values", "DOUBLE[]", TrainedModel.predict_values, models),
        ModelFunction("features", "DOUBLE[]", TrainedModel.features, models),
        ModelFunction("reconstruct", "DOUBLE[]", TrainedModel.reconstruct, models),
    )
