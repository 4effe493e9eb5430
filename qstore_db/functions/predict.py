"""The SQL function ``predict('model', vector)``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from qstore_db.errors import DimensionMismatchError
from qstore_db.training.trained_models import TrainedModels


@dataclass(frozen=True, slots=True)
class Predict:
    """``predict(model VARCHAR, vector FLOAT[]) → BIGINT``: the class that a model's newest version gives a vector.

    Null where an argument is null. The same vector gets the same class in any company, so it does not
    matter how the rows of a query are cut into batches.

    Args:
        models: The trained versions of the database.
    """

    models: TrainedModels

    @property
    def name(self) -> str:
        """Its name in SQL."""
        return "predict"

    @property
    def argument_types(self) -> Sequence[str]:
        """DuckDB types of its arguments."""
        return ("VARCHAR", "FLOAT[]")

    @property
    def result_type(self) -> str:
        """DuckDB type of its result."""
        return "BIGINT"

    def evaluate(self, arguments: Sequence[pa.Array]) -> pa.Array:
        """Classes of one batch of rows.

        Args:
            arguments: Model names (string) and vectors (lists of float32), equally long.

        Returns:
            int64, null where an argument is null.

        Raises:
            UnknownModelError: There is no model of one of the names.
            InvalidModelError: A model is not trained.
            DimensionMismatchError: A vector has another length than the model's training rows.
            InvalidVectorError: A vector is not finite, holds a null, or cannot be encoded.
        """
        names, vectors = arguments
        asked = (names.is_valid().to_numpy(False)) & (vectors.is_valid().to_numpy(False))
        classes = np.zeros(len(names), dtype=np.int64)
        words = np.array(names.to_pylist(), dtype=object)
        for name in sorted(set(words[asked].tolist())):
            positions = np.flatnonzero(asked & (words == name))
            trained = self.models.load(name)
            rows = _matrix(vectors.take(pa.array(positions)), name, trained.classifier.reduction.dimension)
            classes[positions] = trained.predict(rows)
        return pa.array(classes, pa.int64(), mask=~asked)


def _matrix(vectors: pa.Array, model: str, dimension: int) -> NDArray[np.float32]:
    # Lists to a matrix; nulls inside a list become NaN, which the model refuses.
    if isinstance(vectors, pa.FixedSizeListArray):
        lengths = np.full(len(vectors), vectors.type.list_size)
    else:
        lengths = vectors.value_lengths().to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero(lengths != dimension)
    if len(wrong):
        length = int(lengths[wrong[0]])
        raise DimensionMismatchError(
            f"predict('{model}', vector) got a vector of {length} numbers, but the model was trained on {dimension}",
            fix=f"Give vectors of {dimension} numbers.",
            value=length,
        )
    flat = vectors.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat, dtype=np.float32).reshape(len(vectors), dimension)
